"""The pool on the shop, over both transports, with the shop's scripted teacher."""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from endpoint_double import endpoint_double, fails, says
from scripted_endpoint import Fault, Said, scripted_endpoint

from tutelage.agent import pool
from tutelage.agent.offer import warn_of_many
from tutelage.agent.pool import Finished, Job, run_tasks
from tutelage.endpoint import client
from tutelage.endpoint.client import ChatEndpoint
from tutelage.endpoint.services import start_services
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.scaffold import make_project
from tutelage.store import TraceStore
from tutelage.trace import StopReason

STDIO = {"mcpServers": {"shop": {"command": sys.executable, "args": ["-m", "tutelage.quickstart.shop", "--stdio"]}}}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    make_project(tmp_path / "shop", "shop", seed=0, train_tasks=12, evaluate_tasks=4)
    return Project.open(tmp_path / "shop")


def run(
    project: Project, store: TraceStore, *, url: str | None = None, jobs: int = 12, **options: Any
) -> list[Finished]:
    async def go(endpoint_url: str, worlds: Path, values: dict[str, str]) -> list[Finished]:
        async with ChatEndpoint(endpoint_url, "scripted-shop-expert") as endpoint:
            return await run_tasks(
                [Job(task) for task in project.tasks("train")[:jobs]],
                project=project,
                store=store,
                endpoint=endpoint,
                run="r",
                worlds_root=worlds,
                values=values,
                system_prompt=project.system_prompt(),
                **{"concurrency": 4, **options},
            )

    with tempfile.TemporaryDirectory() as worlds, start_services(project, Path(worlds)) as values:
        result = asyncio.run(go(url or f"http://127.0.0.1:{values['teacher.port']}/v1", Path(worlds), values))
        assert list(Path(worlds).iterdir()) == []  # every world was removed
        return result


@pytest.mark.parametrize("transport", ["http", "stdio"])
def test_rollouts_at_once_leave_each_others_worlds_alone(transport: str, project: Project) -> None:
    if transport == "stdio":
        project.path("mcp.json").write_text(json.dumps(STDIO))
    with TraceStore(project.store_url) as store:
        finished = run(project, store)
        assert [one.reward.value for one in finished if one.reward] == [1.0] * 12
        assert run(project, store) == []  # nothing is left to do
        traces = list(store.traces(run="r"))
    assert all(trace.stop_reason == StopReason.ANSWER and trace.steps and trace.tools for trace in traces)


def test_an_endpoint_that_goes_away_stops_the_run_and_keeps_what_is_finished(project: Project) -> None:
    with TraceStore(project.store_url) as store:
        with (
            endpoint_double(*[says("no")] * 6, fails(401, "gone")) as double,
            pytest.raises(TutelageError, match="key"),
        ):
            run(project, store, url=double.url)
        done = len(store.finished("r"))
        assert 0 < done <= 6
        assert len(run(project, store)) == 12 - done


def test_an_endpoint_that_fails_every_rollout_is_given_up(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.01)
    with (
        TraceStore(project.store_url) as store,
        endpoint_double(fails(500, "CUDA is gone")) as double,
    ):
        with pytest.raises(TutelageError, match=r"5 rollouts in a row failed.*CUDA is gone"):
            run(project, store, url=double.url)
        assert store.finished("r") == set()


def test_a_rollout_that_the_endpoint_broke_is_run_again(project: Project) -> None:
    with TraceStore(project.store_url) as store:
        with endpoint_double(says("no"), fails(422, "oops"), says("no")) as double:
            results = run(project, store, url=double.url, jobs=4)
            assert [one.broken for one in results].count(True) == 1
            assert len(run(project, store, url=double.url, jobs=4)) == 1
        assert len(store.finished("r")) == 4


FAULTS = (
    Fault(429, '{"error": {"message": "busy"}}'),
    Fault(500, "oops"),
    Fault(200, '{"choices": [{"mess', missing=900),  # the connection is cut
    Fault(200, '{"choices": [{"me'),
    Fault(200, '{"choices": []}'),
)
TASKS, STEPS = 12, 4
FATES = {  # by the number of the task, modulo: what the model does, and what comes of it
    0: StopReason.ANSWER,
    1: StopReason.STEP_LIMIT,  # it calls for ever
    2: StopReason.REPEATED_CALL,  # it makes the same failing call
    3: StopReason.SERVER_ERROR,  # it calls a tool that kills the server
}


def fate(results: int, asked: str) -> Said:
    number = int(asked.rpartition(" ")[2])
    kind = FATES[number % len(FATES)]
    if kind is StopReason.SERVER_ERROR and results:
        return Said("", [("die", {})])
    if kind is StopReason.REPEATED_CALL:
        return Said("", [("fail", {"text": "never"})])
    if kind is StopReason.ANSWER and results == 2:
        return Said(f"done with {number}")
    tool = "fail" if (number + results) % 5 == 4 else "echo"
    return Said("", [(tool, {"text": f"{number} {results}"})])


def test_an_endpoint_and_a_server_that_often_fail_lose_no_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the requests every fifth fails, each time in another way, and of the calls every fifth."""
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.01)
    project = odd_project(tmp_path, "ordinary", f"rollout = {{max_steps = {STEPS}}}", TASKS)
    faults = {number: FAULTS[number // 5 % len(FAULTS)] for number in range(0, 1000, 5)}
    with TraceStore(project.store_url) as store:
        with scripted_endpoint(script=fate, faults=faults) as double:
            finished = run(project, store, url=double.url, jobs=TASKS)
        traces = list(store.traces(run="r"))
    assert {int(one.job.task.id): one.stop_reason for one in finished} == {n: FATES[n % 4] for n in range(TASKS)}
    assert {int(trace.task.id) for trace in traces} == {n for n in range(TASKS) if n % 4 != 3}  # the others run again
    assert any(message.is_error for trace in traces for message in trace.messages)
    assert len(double.requests) > TASKS * 2 * 5 / 4  # those that failed were made again


def odd_project(folder: Path, mode: str, toml: str = "", tasks: int = 6, **env: str) -> Project:
    """The tasks "say 0", "say 1", … with a server that misbehaves like that."""
    (folder / "tutelage.toml").write_text(toml)
    (folder / "tasks").mkdir()
    lines = [json.dumps({"id": str(number), "prompt": f"say {number}"}) + "\n" for number in range(tasks)]
    (folder / "tasks" / "train.jsonl").write_text("".join(lines))
    arguments = [str(Path(__file__).with_name("misbehaving_server.py")), mode]
    entry = {"command": sys.executable, "args": arguments, "env": env}
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": {"s": entry}}))
    return Project.open(folder)


def test_a_server_that_is_shared_is_started_once(tmp_path: Path) -> None:
    project = odd_project(tmp_path, "ordinary", "servers = {s = {share = true}}")
    with TraceStore(project.store_url) as store:
        with endpoint_double(*[says(None, ("where", "{}"))] * 6, says("done")) as double:
            run(project, store, url=double.url, jobs=6)
        said = {m.content for trace in store.traces(run="r") for m in trace.messages if m.role == "tool"}
    assert len(said) == 1  # one working directory: one server


def test_a_shared_server_that_dies_does_not_burn_the_tasks_that_are_left(tmp_path: Path) -> None:
    def script(results: int, asked: str) -> Said:
        if asked == "say 0" or results:
            return Said("done")
        return Said("", [("die" if asked == "say 8" else "echo", {"text": asked})])

    project = odd_project(tmp_path, "ordinary", "servers = {s = {share = true}}", tasks=100)
    with TraceStore(project.store_url) as store:
        with (
            scripted_endpoint(script=script) as double,
            pytest.raises(TutelageError, match=r'25 rollouts in a row failed. MCP server "s"'),
        ):
            run(project, store, url=double.url, jobs=100)
        assert len(store.summaries()) < 50


def test_a_server_that_once_does_not_start_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "START_WAITS", (0.01,))
    starts = tmp_path / "starts"
    starts.mkdir()
    project = odd_project(tmp_path, "second-fails", tasks=3, STARTS=str(starts))
    with TraceStore(project.store_url) as store, endpoint_double(says("done")) as double:
        assert len(run(project, store, url=double.url, jobs=3, concurrency=1)) == 3
    assert len(list(starts.iterdir())) == 4


def test_a_run_with_many_tools_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    warn_of_many.cache_clear()
    project = odd_project(tmp_path, "many", tasks=2)
    with TraceStore(project.store_url) as store, endpoint_double(says("done")) as double:
        run(project, store, url=double.url, jobs=2)
    assert caplog.text.count("offer 26 tools; more than 25") == 1


def test_a_verifier_that_fails_is_named_with_its_task(project: Project) -> None:
    project.path("check.py").write_text("def verify(trace, world):\n    return 1 / 0\n")
    settings = project.path("tutelage.toml")
    settings.write_text(settings.read_text().replace("tutelage.quickstart.shop.verify:verify", "check.py:verify"))
    with (
        TraceStore(project.store_url) as store,
        pytest.raises(TutelageError, match=r'verifier "check.py:verify" failed on task ".+": ZeroDivisionError'),
    ):
        run(Project.open(project.folder), store)
