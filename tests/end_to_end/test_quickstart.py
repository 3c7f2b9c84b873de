"""The whole loop with the real model and real servers, in its short form; README.md's commands on what it leaves."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hub_server import TOKEN, hub_server

from tutelage import Project, TraceStore

README = Path(__file__).parents[2] / "README.md"
SHORT = ["--train-tasks", "24", "--evaluate-tasks", "8"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tutelage", *arguments]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def quickstart(work: Path) -> dict[str, Any]:
    """The short form, killed in the middle of collecting, of training and of evaluating before it may end."""
    arguments = command("quickstart", *SHORT, "--json")
    _kill_when(arguments, work, lambda: _finished(work / "quickstart") >= 5)
    collected = _ids(work / "quickstart")
    _kill_when(arguments, work, lambda: any((work / "quickstart/training/checkpoints").glob("checkpoint-*")))
    assert collected <= _ids(work / "quickstart")
    _kill_when(arguments, work, lambda: _finished(work / "quickstart", "evaluate") >= 2)
    ended = subprocess.run(arguments, cwd=work, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def test_the_json_says_what_was_gained_and_at_what_cost(quickstart: dict[str, Any]) -> None:
    assert quickstart["tasks"] == 8
    assert quickstart["teacher"]["success"] == 1.0
    assert quickstart["before"]["success"] <= 0.25
    assert 0 <= quickstart["after"]["success"] <= 1
    stages = ["collect", "dataset", "evaluate", "init", "report", "total", "train"]
    assert sorted(quickstart["seconds"]) == stages
    assert 0 < quickstart["peak_rss_mb"] <= 4096
    assert quickstart["tokens_unrolled"] >= 4 * quickstart["tokens_tree"] > 0
    assert quickstart["gflops"] > 0
    assert quickstart["seed"] == 0


def test_a_killed_quickstart_repeats_no_finished_task(work: Path, quickstart: dict[str, Any]) -> None:
    project = Project.open(work / "quickstart")
    with TraceStore(project.store_url) as store:
        finished = [summary for summary in store.summaries(run="collect") if summary.finished]
    assert len(finished) == len({summary.task_id for summary in finished}) == 24


def test_a_finished_quickstart_is_done_again_at_once(work: Path, quickstart: dict[str, Any]) -> None:
    before = _ids(work / "quickstart")
    started = time.monotonic()
    subprocess.run(command("quickstart", *SHORT), cwd=work, check=True, capture_output=True)
    assert _ids(work / "quickstart") == before
    assert time.monotonic() - started < 60


def test_other_options_in_the_same_folder_are_refused(work: Path, quickstart: dict[str, Any]) -> None:
    ended = subprocess.run(command("quickstart", "--seed", "5"), cwd=work, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "Name another --folder" in ended.stderr


def test_every_command_of_the_readme_runs(work: Path, quickstart: dict[str, Any]) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    assert len(lines) >= 10
    for line in lines:
        program, *arguments = shlex.split(line, comments=True)
        assert program == "tutelage"
        ended = subprocess.run(command(*arguments), cwd=work, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"{line}\n{ended.stdout}\n{ended.stderr}"


def test_the_report_stands_alone(work: Path, quickstart: dict[str, Any]) -> None:
    page = (work / "quickstart/report.html").read_text()
    assert "scripted-shop-expert" in page
    assert not re.search(r"""(?:src|href)=["']?https?:""", page)


def test_chat_answers_with_the_tools_and_logs_its_trace(work: Path, quickstart: dict[str, Any]) -> None:
    ended = subprocess.run(
        command("chat", "-p", "quickstart", "--yes"),
        cwd=work,
        input="How much is the blue lamp?\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    with TraceStore(Project.open(work / "quickstart").store_url) as store:
        (summary,) = store.summaries(run="chat")
        assert store.load(summary.id).messages[1].content == "How much is the blue lamp?"


def test_the_student_is_served_behind_an_openai_style_endpoint(work: Path, quickstart: dict[str, Any]) -> None:
    import openai

    process = subprocess.Popen(
        command("serve", "-p", "quickstart", "--port", "0"),
        cwd=work,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores Ctrl-C
    )
    try:
        assert process.stdout
        url = re.search(r"http://\S+/v1", process.stdout.readline())
        assert url
        with openai.OpenAI(base_url=url[0], api_key="none") as client:
            answer = client.chat.completions.create(
                model=client.models.list().data[0].id,
                messages=[{"role": "user", "content": "Hello"}],
                max_tokens=8,
            )
        assert answer.usage and answer.usage.completion_tokens
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (0, 130)


def test_dataset_and_adapter_are_pushed_private(
    work: Path, quickstart: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    with hub_server() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        for kind in ("dataset", "model"):
            arguments = command("push", kind, "ada/shop", "-p", "quickstart")
            subprocess.run(arguments, cwd=work, check=True, capture_output=True)
    dataset, model = hub.repositories["dataset", "ada/shop"], hub.repositories["model", "ada/shop"]
    assert dataset.private and model.private
    assert dataset.files["train.parquet"] == (work / "quickstart/dataset/train.parquet").read_bytes()
    adapter = work / "quickstart/training/adapter/adapter_model.safetensors"
    assert model.files["adapter_model.safetensors"] == adapter.read_bytes()


def _finished(folder: Path, run: str = "") -> int:
    return len(_ids(folder, run))


def _ids(folder: Path, run: str = "") -> set[str]:
    """The finished traces of the runs whose names begin with `run`."""
    if not (folder / "traces.db").exists():
        return set()
    with TraceStore(f"sqlite:///{folder / 'traces.db'}") as store:
        return {item.id for item in store.summaries() if item.finished and item.run.startswith(run)}


def _kill_when(arguments: list[str], folder: Path, ready: Any) -> None:
    """Start the command and kill it with all its processes, without warning, once `ready`."""
    process = subprocess.Popen(
        arguments, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not ready():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
