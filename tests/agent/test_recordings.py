"""Servers that cannot be had fresh: recorded and replayed, or put back before each rollout."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from endpoint_double import Answer, endpoint_double, says

from tutelage.agent.pool import Finished, Job, run_tasks
from tutelage.endpoint.client import ChatEndpoint
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.store import TraceStore
from tutelage.trace import Task
from tutelage.world import worlds_folder

SERVER = str(Path(__file__).with_name("counting_server.py"))


def project(folder: Path, rules: str, program: str = sys.executable) -> Project:
    (folder / "tutelage.toml").write_text(f"[servers.db]\n{rules}\n")
    entry = {"command": program, "args": [SERVER, "${project}/count"]}
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": {"db": entry}}))
    return Project.open(folder)


def run(project: Project, store: TraceStore, name: str, answers: Sequence[Answer], rollouts: int = 1) -> list[Finished]:
    async def go(url: str, worlds: Path) -> list[Finished]:
        async with ChatEndpoint(url, "double") as endpoint:
            return await run_tasks(
                [Job(Task(id=str(number), turns=("count",))) for number in range(rollouts)],
                project=project,
                store=store,
                endpoint=endpoint,
                run=name,
                worlds_root=worlds,
                values={},
                concurrency=4,
            )

    with worlds_folder() as worlds, endpoint_double(*answers) as double:
        return asyncio.run(go(double.url, worlds))


def calls(*arguments: str) -> list[Answer]:
    return [*(says(None, ("count", one)) for one in arguments), says("done")]


def results(store: TraceStore, name: str) -> list[tuple[Any, ...]]:
    (trace,) = store.traces(run=name)
    return [(message.content, message.parts) for message in trace.messages if message.role == "tool"]


def test_a_replayed_server_answers_as_it_was_recorded_and_is_not_needed(tmp_path: Path) -> None:
    asked = [says(None, ("picture", "{}")), *calls('{"by": 2, "note": "a"}', '{ "note":"a", "by":2 }')]
    recorded = project(tmp_path, 'mode = "record"')
    with TraceStore(recorded.store_url) as store:
        run(recorded, store, "live", asked)
        (tmp_path / "count").write_text("1000")
        replayed = project(tmp_path, 'mode = "replay"', program="no-such-program")
        run(replayed, store, "replayed", asked)
        assert [content for content, _ in results(store, "live")] == ["look\n[image/png, 3 bytes]", "2", "4"]
        assert results(store, "replayed") == results(store, "live")
        notes = [trace.metadata.get("replayed") for name in ("live", "replayed") for trace in store.traces(run=name)]
    assert notes == [None, {"db": 3}]


def test_a_call_that_was_never_recorded_ends_the_rollout_and_is_named(tmp_path: Path) -> None:
    with TraceStore(project(tmp_path, "").store_url) as store:
        with pytest.raises(TutelageError, match=r'"db" is replayed, but .*db.jsonl holds no recording'):
            run(project(tmp_path, 'mode = "replay"'), store, "nothing", calls("{}"))
        run(project(tmp_path, 'mode = "record"'), store, "live", calls('{"by": 1}'))
        replayed = project(tmp_path, 'mode = "replay"')
        (other,) = run(replayed, store, "other", calls('{"by": 3}'))
        assert other.broken
        assert 'holds no such call: count({"by": 3}). Record it with mode = "record"' in other.detail
        (again,) = run(replayed, store, "again", calls('{"by": 1}', '{"by": 1}'))
        assert 'holds no such call: count({"by": 1}), time 2' in again.detail
        assert store.finished("other") == store.finished("again") == set()


def test_of_two_recordings_of_a_call_the_first_counts(tmp_path: Path) -> None:
    recorded = project(tmp_path, 'mode = "record"')
    with TraceStore(recorded.store_url) as store:
        run(recorded, store, "first", calls("{}"))
        run(recorded, store, "second", calls("{}"))
        lines = (tmp_path / "recordings" / "db.jsonl").read_text().splitlines()
        with (tmp_path / "recordings" / "db.jsonl").open("a") as file:
            file.write('{"tool": "count", "argu')  # of a writer that was killed
        run(recorded, store, "third", calls('{"by": 5}'))
        run(project(tmp_path, 'mode = "replay"'), store, "replayed", calls("{}", '{"by": 5}'))
        assert len(lines) == 2  # the tools, the call
        assert [content for content, _ in results(store, "replayed")] == ["1", "7"]


@pytest.mark.parametrize("reset", ['reset_tool = "put_back"', 'reset_command = ["rm", "-f", "${project}/count"]'])
def test_a_server_with_a_reset_is_put_back_before_each_rollout_which_has_it_alone(reset: str, tmp_path: Path) -> None:
    with TraceStore(project(tmp_path, reset).store_url) as store:
        run(project(tmp_path, reset), store, "r", [says(None, ("count", "{}")), says("done")] * 3, rollouts=3)
        said = [m.content for trace in store.traces(run="r") for m in trace.messages if m.role == "tool"]
    assert said == ["1"] * 3


@pytest.mark.parametrize(
    ("reset", "words"),
    [
        ('reset_tool = "nothing"', r"the reset of \[servers.db\] failed: the tool \"nothing\": .*nothing"),
        ('reset_command = ["ls", "/nowhere"]', r"(?s)failed: \"ls\" ended with exit code 2.*/nowhere"),
        ('reset_command = ["no-such-program"]', r'failed: "no-such-program": No such file'),
    ],
)
def test_a_reset_that_fails_is_named(reset: str, words: str, tmp_path: Path) -> None:
    with TraceStore(project(tmp_path, reset).store_url) as store, pytest.raises(TutelageError, match=words):
        run(project(tmp_path, reset), store, "r", calls("{}"))


def test_a_shared_server_cannot_be_reset(tmp_path: Path) -> None:
    with pytest.raises(TutelageError, match="a server that rollouts share cannot be reset for each"):
        project(tmp_path, 'share = true\nreset_tool = "put_back"')
