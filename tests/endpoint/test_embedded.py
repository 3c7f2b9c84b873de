import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tutelage.endpoint.client import ChatEndpoint
from tutelage.endpoint.embedded import EmbeddedEndpoint
from tutelage.endpoint.errors import ContextExceeded
from tutelage.errors import TutelageError
from tutelage.render.student import embedded_gguf, load_template
from tutelage.settings import Sampling
from tutelage.trace import Message


@pytest.fixture(scope="module")
def endpoint() -> object:
    template = load_template("qwen3", Path())
    with EmbeddedEndpoint(embedded_gguf(), template, context=512, parallel=2) as opened:
        yield opened


def complete(endpoint: EmbeddedEndpoint, text: str, **extra: object):  # type: ignore[no-untyped-def]
    async def run():  # type: ignore[no-untyped-def]
        async with ChatEndpoint(endpoint.url, "student", sampling=Sampling(temperature=0, max_tokens=40)) as client:
            return await client.complete([Message(role="user", content=text)], (), extra=extra)

    return asyncio.run(run())


def test_reasoning_comes_back_apart(endpoint: EmbeddedEndpoint) -> None:
    """A grammar makes the untrained model write what a trained one would."""
    grammar = 'root ::= "<think>\\nI add.\\n</think>\\n\\nIt is 2."'
    message = complete(endpoint, "Add 2.", grammar=grammar).message
    assert ((message.reasoning_content or "").strip(), message.content) == ("I add.", "It is 2.")


def test_a_prompt_longer_than_the_context_is_told_apart(endpoint: EmbeddedEndpoint) -> None:
    with pytest.raises(ContextExceeded):
        complete(endpoint, "word " * 600)


def test_the_same_request_gets_the_same_answer_and_its_prompt_is_not_computed_again(endpoint: EmbeddedEndpoint) -> None:
    first, second = (complete(endpoint, "Name three animals that live in the sea.") for _ in range(2))
    assert first.message == second.message
    assert second.raw["timings"]["cache_n"] > first.prompt_tokens - 5


def test_a_prompt_computed_in_one_slot_is_shared_with_all(endpoint: EmbeddedEndpoint) -> None:
    text = "Name a river of each country of Europe, in the order of their length, and say where it ends."
    whole = complete(endpoint, text, id_slot=0).prompt_tokens or 0
    endpoint.share_slot({})
    again = complete(endpoint, text, id_slot=1)
    assert again.raw["timings"]["cache_n"] > whole - 5
    assert again.message == complete(endpoint, text, id_slot=0).message


def test_a_file_that_is_no_model_is_named_with_the_servers_last_lines(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF nonsense")
    with (
        pytest.raises(TutelageError, match=r"(?s)did not start with broken.gguf.*last lines:\n.*broken.gguf"),
        EmbeddedEndpoint(broken, "{{ messages }}"),
    ):
        pass
    with (
        pytest.raises(TutelageError, match=r"missing\.gguf was not found"),
        EmbeddedEndpoint(tmp_path / "missing.gguf", ""),
    ):
        pass


def test_the_server_ends_when_its_parent_is_killed() -> None:
    code = (
        "import time; from pathlib import Path; from tutelage.endpoint.embedded import EmbeddedEndpoint\n"
        "from tutelage.render.student import embedded_gguf, load_template\n"
        "with EmbeddedEndpoint(embedded_gguf(), load_template('qwen3', Path()), context=256, parallel=1) as e:\n"
        "    print(e.pid, flush=True); time.sleep(99)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout
    pid = int(parent.stdout.readline())
    os.kill(pid, 0)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 5
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running(pid)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
