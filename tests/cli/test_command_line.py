"""The command line as a user meets it: start-up, help, mistakes."""

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tutelage.cli.common import RUNS_HELP
from tutelage.cli.imports import NAMES
from tutelage.collect import collect, import_traces
from tutelage.collect.formats import FORMATS
from tutelage.record import run_record
from tutelage.trace import RUNS_TO_LEARN


def tutelage(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tutelage", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def refuses(ended: "subprocess.CompletedProcess[str]", *sentence: str) -> None:
    """It ended with exit code 2 and one message, without a traceback."""
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    for part in sentence:
        assert part in ended.stderr


def seconds(*command: str) -> float:
    """The best of five, as the machine may be busy."""
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        best = min(best, time.perf_counter() - started)
    return best


def test_importing_takes_under_half_a_second() -> None:
    assert seconds(sys.executable, "-c", "import tutelage") < 0.5


def test_help_takes_under_half_a_second() -> None:
    assert seconds(sys.executable, "-m", "tutelage", "--help") < 0.5


COMMANDS = (
    *("init", "collect", "import", "dataset build", "train", "evaluate", "report", "quickstart", "chat", "doctor"),
    *(
        "traces list",
        "traces show",
        "traces approve",
        "traces reject",
        "traces edit",
        "traces export",
        "traces rerun",
        "record",
        "curate",
        "review",
        "forget",
        "serve",
        "endpoint",
        "tools",
    ),
    *("push dataset", "push model"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    ended = tutelage(*command.split(), "--help")
    assert ended.returncode == 0, ended.stderr
    assert "Usage:" in ended.stdout


def test_what_is_collected_imported_and_recorded_is_built_into_a_dataset() -> None:
    names = (inspect.signature(stage).parameters["run"].default for stage in (collect, import_traces, run_record))
    assert tuple(names) == RUNS_TO_LEARN
    assert ", ".join(RUNS_TO_LEARN) in RUNS_HELP


def test_every_format_that_import_reads_is_in_its_help() -> None:
    assert set(NAMES.split(", ")) == set(FORMATS)


@pytest.mark.parametrize(
    "command", ["collect", "dataset build", "train", "evaluate", "report", "doctor", "traces list"]
)
def test_a_folder_without_a_project_is_refused(tmp_path: Path, command: str) -> None:
    refuses(tutelage(*command.split(), "-p", tmp_path), "tutelage.toml was not found", "tutelage init")
    assert not list(tmp_path.iterdir())


def test_a_bad_key_is_named(tmp_path: Path) -> None:
    tutelage("init", tmp_path / "p")
    settings = tmp_path / "p/tutelage.toml"
    settings.write_text(settings.read_text().replace("max_steps", "max_stepz"))
    refuses(tutelage("collect", "-p", tmp_path / "p"), "rollout.max_stepz", 'Did you mean "max_steps"?')


def test_an_empty_task_file_is_named(tmp_path: Path) -> None:
    tutelage("init", tmp_path / "p")
    (tmp_path / "p/tasks/train.jsonl").write_text("")
    refuses(tutelage("collect", "-p", tmp_path / "p"), "train.jsonl holds no task")


def test_a_server_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    tutelage("init", tmp_path / "p", "--example", "shop", "--train-tasks", "2", "--evaluate-tasks", "2")
    (tmp_path / "p/mcp.json").write_text(
        '{"mcpServers": {"broken": {"command": "${python}", "args": ["-c", "raise SystemExit(\'no licence file\')"]}}}'
    )
    refuses(tutelage("collect", "-p", tmp_path / "p"), '"broken"', "no licence file")


def test_an_endpoint_that_nobody_serves_is_named(tmp_path: Path) -> None:
    tutelage("init", tmp_path / "p", "--example", "shop", "--train-tasks", "2", "--evaluate-tasks", "2")
    ended = tutelage(
        "collect", "-p", tmp_path / "p", "--teacher-url", "http://127.0.0.1:9/v1", "--teacher-model", "nobody"
    )
    refuses(ended, "http://127.0.0.1:9/v1", "cannot be reached")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_without_room_is_said_and_keeps_what_was_there(full_disk: Path) -> None:
    folder = full_disk / "p"
    tutelage("init", folder, "--example", "shop", "--train-tasks", "40", "--evaluate-tasks", "2")
    refuses(tutelage("collect", "-p", folder), "The disk is full")
    refuses(tutelage("dataset", "build", "-p", folder), "")
    assert not (folder / "dataset").exists()
    assert tutelage("traces", "list", "-p", folder).returncode == 0


def test_a_store_without_traces_makes_no_dataset(tmp_path: Path) -> None:
    tutelage("init", tmp_path / "p")
    ended = tutelage("dataset", "build", "-p", tmp_path / "p")
    refuses(ended, "holds no trace", "tutelage collect")
    assert not (tmp_path / "p/dataset").exists()


def test_training_without_a_dataset_says_what_to_run(tmp_path: Path) -> None:
    tutelage("init", tmp_path / "p")
    refuses(tutelage("train", "-p", tmp_path / "p"), "tutelage dataset build")


def test_a_missing_adapter_says_what_to_run(tmp_path: Path) -> None:
    tutelage("init", tmp_path / "p")
    refuses(tutelage("evaluate", "-p", tmp_path / "p"), "tutelage train")


def test_an_unknown_example_is_refused(tmp_path: Path) -> None:
    refuses(tutelage("init", tmp_path / "p", "--example", "zoo"), '"zoo"')


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    file = tmp_path / "tutelage.toml"
    file.write_text("")
    refuses(tutelage("init", file), "is a file")
    refuses(tutelage("collect", "-p", file), "was not found", "--project")
    assert file.read_text() == ""


@pytest.mark.parametrize("arguments", [["collect", "--nope"], ["traces", "nope"], ["push", "dataset"]])
def test_what_no_command_knows_is_refused(arguments: list[str]) -> None:
    refuses(tutelage(*arguments), "Usage: ", "Error: ")


def test_ctrl_c_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    tutelage("init", folder)
    settings = folder / "tutelage.toml"
    wait = "import time; open('started', 'w'); time.sleep(60)"
    service = f'[services.slow]\ncommand = ["{sys.executable}", "-c", "{wait}"]\nready = "http://127.0.0.1:9/"\n'
    settings.write_text(settings.read_text() + service)
    command = [sys.executable, "-m", "tutelage", "collect", "-p", str(folder)]

    def heed() -> None:  # a shell's background job ignores Ctrl-C, and so would what it starts
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    while not (folder / "started").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "Stopped. What was finished is kept" in said


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    tutelage("init", tmp_path / "p")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "tutelage", "traces", "list", "--json", "-p", str(tmp_path / "p")]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_a_trace_is_edited_in_the_users_editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "p"
    tutelage("init", folder, "--example", "shop", "--train-tasks", "1", "--evaluate-tasks", "1")
    assert tutelage("collect", "-p", folder).returncode == 0
    from tutelage import Project, TraceStore

    with TraceStore(Project.open(folder).store_url) as store:
        (summary,) = store.summaries()
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import sys, pathlib\np = pathlib.Path(sys.argv[1])\np.write_text(p.read_text().replace('I', 'We'))"
    )
    monkeypatch.setenv("EDITOR", f"{sys.executable} {editor}")
    monkeypatch.delenv("VISUAL", raising=False)
    ended = tutelage("traces", "edit", summary.id[:8], "-p", folder)
    assert "revision 1" in ended.stdout, ended.stderr
    editor.write_text("import sys, pathlib\npathlib.Path(sys.argv[1]).write_text('[{}]')")
    refuses(tutelage("traces", "edit", summary.id[:8], "-p", folder), "Message 1", "Nothing was stored")
    editor.write_text("import sys, pathlib\npathlib.Path(sys.argv[1]).write_text('hours of work')\nsys.exit(1)")
    ended = tutelage("traces", "edit", summary.id[:8], "-p", folder)
    refuses(ended, "ended with 1", "your text is kept in")
    assert Path(ended.stderr.split("kept in ")[1].strip()[:-1]).read_text() == "hours of work"
    assert tutelage("traces", "approve", summary.id[:8], "-p", folder).returncode == 0
    shown = tutelage("traces", "show", summary.id[:8], "-p", folder).stdout
    assert "revision 1 (approved)" in shown


def test_an_import_with_a_bad_file_takes_the_others_and_names_it(tmp_path: Path) -> None:
    tutelage("init", tmp_path / "p")
    folder = tmp_path / "traces"
    folder.mkdir()
    messages = '[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]'
    good = '{"timestamp": "2026-01-01", "model": "m", "messages": %s, "tools": []}'
    (folder / "good.json").write_text(good % messages)
    (folder / "bad.json").write_text(good % '[{"role": "user", "content": 5}]')
    ended = tutelage("import", folder, "-p", tmp_path / "p")
    refuses(ended, 'bad.json: "messages[0].content": not a text')
    assert "Imported 1 of 2 traces" in ended.stdout
    (folder / "bad.json").unlink()
    ended = tutelage("import", folder, "-p", tmp_path / "p", "--approve")
    assert (ended.returncode, "1 were there already" in ended.stdout) == (0, True)


def test_traces_are_exported_into_a_file_that_is_whole_or_not_there(tmp_path: Path) -> None:
    project, out = tmp_path / "p", tmp_path / "out.jsonl"
    tutelage("init", project)
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    (tmp_path / "one.json").write_text(json.dumps({"timestamp": 0, "model": "m", "messages": messages, "tools": []}))
    tutelage("import", tmp_path / "one.json", "-p", project)
    refuses(tutelage("traces", "export", "--format", "xml", "-p", project), "Name openai or otel")
    refuses(tutelage("traces", "export", "--format", "otel", "--out", tmp_path / "no" / "x", "-p", project), "no/x")
    assert tutelage("traces", "export", "--format", "openai", "--out", out, "-p", project).returncode == 0
    assert json.loads(out.read_text())["messages"] == messages
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.json", "out.jsonl", "p"]
