"""Importing, building, pushing and training on what was pushed, as commands."""

import json
from pathlib import Path

import pytest
from hub_server import Hub
from test_command_line import refuses, tutelage


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a built dataset of two imported traces."""
    folder, traces = tmp_path / "p", tmp_path / "traces"
    tutelage("init", folder)
    traces.mkdir()
    for name in ("Ada", "Bo"):
        messages = [
            {"role": "user", "content": f"Greet {name}."},
            {"role": "assistant", "content": f"Hello, {name}!", "reasoning_content": "Politely."},
            {"role": "user", "content": "Again."},
            {"role": "assistant", "content": f"Hello again, {name}!", "reasoning_content": "Politely."},
        ]
        record = {"timestamp": "2026-01-01T00:00:00Z", "model": "m", "messages": messages, "tools": []}
        (traces / f"{name}.json").write_text(json.dumps(record))
    assert tutelage("import", traces, "-p", folder, "--approve").returncode == 0
    assert tutelage("dataset", "build", "-p", folder).returncode == 0
    return folder


@pytest.mark.parametrize(("unroll", "rows"), [("none", 2), ("turns", 4), ("steps", 4)])
def test_what_is_pushed_can_be_trained_on(hub: Hub, project: Path, unroll: str, rows: int) -> None:
    ended = tutelage("push", "dataset", "me/greetings", "-p", project, "--unroll", unroll)
    assert ended.returncode == 0, ended.stderr
    pushed = hub.repositories["dataset", "me/greetings"]
    assert pushed.private and f"| train | 2 | 2 | {rows} |" in pushed.files["README.md"].decode()
    ended = tutelage("train", "-p", project, "--dataset", "me/greetings", "--dry-run", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["rows"] == 4
    assert (project / "dataset-me-greetings" / "build.json").is_file()


def test_making_a_dataset_public_is_asked_for(hub: Hub, project: Path) -> None:
    refuses(tutelage("push", "dataset", "me/x", "-p", project, "--public"), "Make me/x public", "--yes")
    assert hub.requests == []
    refuses(tutelage("push", "dataset", "me/x", "-p", project, "--unroll", "rows"), "Name none, turns or steps")
