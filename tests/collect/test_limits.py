"""Pauses, budgets and estimates of a run, against an endpoint that fails when it is told to."""

import json
import sys
from pathlib import Path

import pytest
from endpoint_double import Answer, endpoint_double, fails, says

from tutelage.collect import collect
from tutelage.collect.budget import Limits
from tutelage.collect.estimate import estimate
from tutelage.collect.progress import Progress
from tutelage.endpoint import client
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.store import TraceStore

TASKS = 12
SERVER = Path(__file__).parents[1] / "agent" / "misbehaving_server.py"
BUSY = fails(503, "starting")
PRICES = "prompt_price = 1000\ncompletion_price = 3000\n"  # a step of the double's, 10 and 5 tokens, costs 0.025


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.001)
    (tmp_path / "tasks").mkdir()
    lines = [json.dumps({"id": str(number), "prompt": f"say {number}"}) + "\n" for number in range(TASKS)]
    (tmp_path / "tasks" / "train.jsonl").write_text("".join(lines))
    entry = {"command": sys.executable, "args": [str(SERVER), "ordinary"]}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"s": entry}}))
    return tmp_path


def opened(folder: Path, url: str, more: str = "", teacher: str = "") -> Project:
    text = f'servers = {{s = {{share = true}}}}\n[teacher]\nurl = "{url}"\nmodel = "m"\n{teacher}'
    (folder / "tutelage.toml").write_text(f"{text}[collect]\nconcurrency = 2\npause_seconds = 0.01\n{more}")
    return Project.open(folder)


def outage(answers: list[Answer], length: int) -> list[Answer]:
    """Some answers, then as many failures as calls make that are tried again and again, then answers."""
    return [*answers, *[BUSY] * length, says("done")]


def test_a_run_pauses_while_the_endpoint_is_down_and_loses_no_task(folder: Path) -> None:
    said: list[str] = []
    with endpoint_double(*outage([says("done")] * 4, 60)) as double:
        project = opened(folder, double.url)
        with TraceStore(project.store_url) as store:
            summary = collect(project, store, on_notice=said.append)
            traces = store.summaries()
    assert summary.stop_reasons == {"answer": TASKS}
    assert len(traces) == TASKS and all(trace.finished for trace in traces)  # none was begun anew
    assert "overloaded or down (503)" in said[0] and "pauses for 0.01 s (1 of 6)" in said[0]
    assert said[-1] == "The endpoint answers again; the run goes on."


def test_a_run_whose_endpoint_stays_down_stops_and_can_be_taken_up_again(folder: Path) -> None:
    with endpoint_double(*[says("done")] * 4, BUSY) as double:
        project = opened(folder, double.url, "pauses = 2")
        with TraceStore(project.store_url) as store:
            with pytest.raises(TutelageError, match=r"paused 2 times.*undone, not failed"):
                collect(project, store)
            done = len(store.finished("collect"))
            assert done >= 3
            double.answers[:] = [says("done")]
            summary = collect(project, store)
    assert (summary.done_before, summary.stop_reasons) == (done, {"answer": TASKS - done})


@pytest.mark.parametrize(
    ("settings", "teacher", "words"),
    [
        ("max_tokens = 100", "", "budget of 100 tokens"),
        ("max_cost = 0.2", PRICES, "budget of 0.2 too"),
        ("max_minutes = 0.000001", "", "1e-06 minutes are over"),
    ],
)
def test_a_budget_ends_a_run_which_then_goes_on_with_a_larger_one(
    settings: str, teacher: str, words: str, folder: Path
) -> None:
    with endpoint_double(says("done")) as double:
        project = opened(folder, double.url, settings, teacher)
        with TraceStore(project.store_url) as store:
            summary = collect(project, store)
            ran = TASKS - summary.undone
            assert words in summary.stopped and words in summary.sentence()
            assert summary.prompt_tokens + summary.completion_tokens == 15 * ran <= 120
            assert summary.undone > 0
            again = collect(project, store)
            assert again.undone == summary.undone  # what the run used before counts, too
            assert collect(project, store, limits=Limits()).undone == 0
            assert len(store.finished("collect")) == TASKS


def test_a_budget_of_money_needs_prices(folder: Path) -> None:
    project = opened(folder, "http://127.0.0.1:9/v1", "max_cost = 5")
    with TraceStore(project.store_url) as store, pytest.raises(TutelageError, match="prompt_price"):
        collect(project, store)


def test_a_budget_of_tokens_needs_an_endpoint_that_tells_them(folder: Path) -> None:
    silent = says("done")
    del silent.body["usage"]
    with endpoint_double(silent) as double:
        project = opened(folder, double.url, "max_tokens = 100")
        with TraceStore(project.store_url) as store, pytest.raises(TutelageError, match="how many tokens"):
            collect(project, store)


def test_what_a_run_will_take_is_known_once_the_store_holds_earlier_ones(folder: Path) -> None:
    with endpoint_double(says("done")) as double:
        project = opened(folder, double.url, teacher=PRICES)
        teacher = project.teacher()
        with TraceStore(project.store_url) as store:
            before = estimate(project, store, "collect", teacher)
            assert (before.left, before.known, before.tokens) == (TASKS, 0, None)
            assert "not known" in before.sentence()
            collect(project, store, limit=4)
            found = estimate(project, store, "collect", teacher)
    assert (found.left, found.known, found.tokens, found.cost) == (8, 4, 120, pytest.approx(0.2))
    assert found.minutes is not None and 0 < found.minutes < 1
    assert "about 120 tokens, 0.20 in money and" in found.sentence()


def test_progress_says_what_runs_what_is_done_and_how_fast(folder: Path) -> None:
    seen: list[Progress] = []
    with endpoint_double(says("done")) as double:
        project = opened(folder, double.url)
        with TraceStore(project.store_url) as store:
            collect(project, store, on_progress=seen.append)
    assert (seen[0].done, seen[0].rollouts, seen[0].seconds_left) == (0, TASKS, None)
    assert max(now.running for now in seen) == 2
    assert (seen[-1].done, seen[-1].running, seen[-1].seconds_left) == (TASKS, 0, 0)
    assert seen[-1].tokens_per_second > 0
