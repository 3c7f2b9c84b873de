"""What the scrubber of `tutelage curate` finds and what it takes by mistake; detect-secrets alone beside it.

    python benchmarks/curate.py [--seed 0] [--count 500]

Plants secrets of many kinds in texts as traces have them, and offers as many texts that only look as if they held one
(tests/secrets/secret_corpus.py makes both). A secret is found where nothing of it is left; detect-secrets' own
plugins, without its two that go by entropy, are asked line by line as its scanner does. Then what the steps of
curation take on a store of synthetic traces. Figures as lines `name: value`.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests" / "secrets"))

from secret_corpus import Planted, look_alikes, planted

from tutelage.curate import curate
from tutelage.curate.config import MaskStep
from tutelage.curate.masking import Masker
from tutelage.project import Project
from tutelage.store import TraceStore
from tutelage.trace import Message, StopReason, Task, Tool, ToolCall, Trace, now

TRACES, CHARACTERS = 200, 20_000  # of the store, of a trace
STEPS = """
[[curate]]
step = "reward"
[[curate]]
step = "loops"
[[curate]]
step = "format"
[[curate]]
step = "mask"
[[curate]]
step = "duplicates"
[[curate]]
step = "best"
[[curate]]
step = "balance"
ratio = 3.0
"""
TOOL = Tool(
    name="look", definition='{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}'
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=500)
    arguments = parser.parse_args()
    corpus, others = planted(arguments.seed, arguments.count), look_alikes(arguments.seed, arguments.count)
    masker = Masker(MaskStep(step="mask"), {})
    found = sum(_is_gone(masker, item) for item in corpus)
    taken = sum(masker.mask(_trace(text)) is not None for text in others)
    print(f"planted: {len(corpus)} of {len({item.kind for item in corpus})} kinds")
    print(f"planted_found: {found}")
    print(f"look_alikes: {len(others)}")
    print(f"look_alikes_masked: {taken}")
    print(f"false_positive_rate: {taken / len(others):.4f}")
    print(f"detect_secrets_found_whole: {sum(item.secret in _detect_secrets(item.text) for item in corpus)}")
    print(f"detect_secrets_look_alikes: {sum(bool(_detect_secrets(text)) for text in others)}")
    _time_steps(arguments.seed)


def _is_gone(masker: Masker, item: Planted) -> bool:
    masked = masker.mask(_trace(item.text))
    if masked is None:
        return False
    left = masked.messages[0].content or ""
    return not any(form in left for form in (item.secret, json.dumps(item.secret)[1:-1]))


def _trace(text: str) -> Trace:
    message = Message(role="tool", content=text, tool_call_id="c")
    task = Task(id="t", turns=("Do it.",))
    return Trace(id="t", task=task, run="r", attempt=0, model="m", timestamp=now(), messages=(message,), tools=())


def _detect_secrets(text: str) -> set[str]:
    from detect_secrets.core.scan import scan_line
    from detect_secrets.settings import default_settings, get_settings

    with default_settings():
        get_settings().disable_plugins("Base64HighEntropyString", "HexHighEntropyString")
        return {secret.secret_value or "" for line in text.splitlines() for secret in scan_line(line)}


def _time_steps(seed: int) -> None:
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tutelage.toml").write_text(f'name = "benchmark"\n{STEPS}')
        project = Project.open(Path(folder))
        with TraceStore(project.store_url) as store:
            store.add([_long_trace(number, draw) for number in range(TRACES)])
            seconds = []
            for _ in range(2):
                started = time.process_time()
                report = curate(project, store, runs=["collect"])
                seconds.append(time.process_time() - started)
    print(f"traces: {TRACES}, {CHARACTERS / 1000:g} kB each")
    for step in report.steps:
        print(f"left_by_{step.step}: {step.left}")
    print(f"first_run_cpu_ms_a_trace: {1000 * seconds[0] / TRACES:.1f}")
    print(f"second_run_cpu_ms_a_trace: {1000 * seconds[1] / TRACES:.1f}")
    print(f"second_run_writes: {report.verdicts + report.revisions}")


def _long_trace(number: int, draw: random.Random) -> Trace:
    """Every tenth has a secret, every seventh is nearly the one before it."""
    words = random.Random(number - 1 if number % 7 == 0 else number)
    messages = [Message(role="user", content=f"Question {words.random()}")]
    size = 0
    while size < CHARACTERS:
        call = ToolCall(id=f"c{len(messages)}", name="look", arguments=json.dumps({"at": words.random()}))
        text = json.dumps({"text": " ".join(f"word{words.randrange(9999)}" for _ in range(300))})
        messages += [
            Message(role="assistant", tool_calls=(call,)),
            Message(role="tool", content=text, tool_call_id=call.id),
        ]
        size += len(text)
    secret = planted(number, 1)[0].secret if number % 10 == 0 else "done"
    return Trace(
        id=f"{number:032x}",
        task=Task(id=f"t{number // 2}", turns=("What?",), kind=draw.choice(("price", "price", "price", "stock"))),
        run="collect",
        attempt=number % 2,
        model="m",
        timestamp=now(),
        messages=(*messages, Message(role="assistant", content=f"It is {secret}.")),
        tools=(TOOL,),
        stop_reason=StopReason.ANSWER,
        reward=float(draw.random() < 0.9),
    )


if __name__ == "__main__":
    main()
