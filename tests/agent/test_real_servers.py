"""Rollouts over servers of other makers, from npm and PyPI; a scripted endpoint plays the model."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from endpoint_double import endpoint_double, says

from npm_packages import NEEDS_NPM, program
from tutelage.agent.pool import Job, run_tasks
from tutelage.endpoint.client import ChatEndpoint
from tutelage.project import Project
from tutelage.store import TraceStore
from tutelage.trace import Message, StopReason, Task, Trace
from tutelage.world import worlds_folder
from tutelage.world.reaper import processes

PREPARE = """
import subprocess
def prepare(task, world):
    (world.folder / "notes.txt").write_text("buy lamps\\n")
    for arguments in (["init", "-q"], ["add", "notes.txt"]):
        subprocess.run(["git", *arguments], cwd=world.folder, check=True)
"""
Call = tuple[str, dict[str, Any]]


def rollout(folder: Path, command: list[str], *calls: Call, env: dict[str, str] | None = None) -> Trace:
    """The trace of one rollout that makes the calls; in their arguments, WORLD stands for the world's folder."""
    (folder / "prepare.py").write_text(PREPARE)
    (folder / "tutelage.toml").write_text('[tasks]\nprepare = "prepare.py:prepare"\n')
    entry = {"command": command[0], "args": command[1:], "env": env or {}}
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": {"s": entry}}))
    project = Project.open(folder)

    async def go(worlds: Path) -> None:
        answers = [says(None, (name, json.dumps(arguments))) for name, arguments in calls]
        with endpoint_double(*answers, says("done")) as double:
            async with ChatEndpoint(double.url, "double") as endpoint:
                await run_tasks(
                    [Job(Task(id="t", turns=("go",)))],
                    project=project,
                    store=store,
                    endpoint=endpoint,
                    run="r",
                    worlds_root=worlds,
                    values={},
                    concurrency=1,
                )
        assert processes(worlds) == []

    with worlds_folder() as worlds, TraceStore(project.store_url) as store:
        asyncio.run(go(worlds))
        (trace,) = store.traces(run="r")
    assert trace.stop_reason is StopReason.ANSWER
    return trace


def results(trace: Trace) -> list[Message]:
    return [message for message in trace.messages if message.role == "tool"]


@NEEDS_NPM
def test_filesystem_works_in_the_world_that_is_its_root(tmp_path: Path) -> None:
    write = ("write_file", {"path": "answer.txt", "content": "42"})
    trace = rollout(
        tmp_path, [*program("mcp-server-filesystem"), "."], ("read_text_file", {"path": "notes.txt"}), write,
        ("list_directory", {"path": "."}), ("read_text_file", {"path": "/etc/hostname"}),
    )  # fmt: skip
    read, _, listed, outside = results(trace)
    assert read.content == "buy lamps\n"
    assert "[FILE] answer.txt" in (listed.content or "")
    assert outside.is_error
    assert len(trace.tools) >= 14


@NEEDS_NPM
def test_memory_remembers_within_the_rollout(tmp_path: Path) -> None:
    lamp = {"name": "lamp", "entityType": "product", "observations": ["amber"]}
    trace = rollout(
        tmp_path,
        program("mcp-server-memory"),
        ("create_entities", {"entities": [lamp]}),
        ("search_nodes", {"query": "amber"}),
        env={"MEMORY_FILE_PATH": "memory.jsonl"},
    )
    found = results(trace)[1].content or ""
    assert json.loads(found)["entities"] == [lamp]


@NEEDS_NPM
def test_everything_gives_text_pictures_resources_and_structured_content(tmp_path: Path) -> None:
    trace = rollout(
        tmp_path,
        program("mcp-server-everything"),
        ("echo", {"message": "hello"}),
        ("get-sum", {"a": 2, "b": 3}),
        ("get-tiny-image", {}),
        ("get-structured-content", {"location": "New York"}),
    )
    echo, total, picture, structured = results(trace)
    assert (echo.content, "5" in (total.content or "")) == ("Echo: hello", True)
    assert [part.mime_type for part in picture.parts] == ["image/png"]
    assert "temperature" in (structured.content or "")


def test_time_and_git_from_pypi(tmp_path: Path) -> None:
    at = {"source_timezone": "Asia/Tokyo", "time": "09:00", "target_timezone": "UTC"}
    trace = rollout(tmp_path, [sys.executable, "-m", "mcp_server_time"], ("convert_time", at))
    assert "T00:00:00" in (results(trace)[0].content or "")
    (tmp_path / "git").mkdir()
    trace = rollout(
        tmp_path / "git", [sys.executable, "-m", "mcp_server_git"], ("git_status", {"repo_path": "."}),
        ("git_diff_staged", {"repo_path": "."}), ("git_commit", {"repo_path": ".", "message": "notes"}),
    )  # fmt: skip
    status, diff, commit = results(trace)
    assert "new file:   notes.txt" in (status.content or "")
    assert "+buy lamps" in (diff.content or "")
    assert "committed" in (commit.content or "").lower()
