"""Traces whose tool results are cut in another way than they were collected with."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from dataset_examples import PRICE, conversation, make_project

from tutelage.agent.results import ToolResult
from tutelage.agent.rollout import result_message
from tutelage.dataset import build, read_rows
from tutelage.project import Project
from tutelage.render.recut import Recutter
from tutelage.render.serving import read_serving
from tutelage.render.truncate import Cutter, note_of
from tutelage.settings import ToolResults
from tutelage.store import TraceStore
from tutelage.trace import Message, Step, StopReason, Task, Trace, now
from tutelage.world import Reward

WHOLE = "\n".join(f"- item {number}: {number * 7}" for number in range(60))
SHORT = ToolResults(limit=100)


def collected(
    store: TraceStore, policy: ToolResults, project: Project, *, attempt: int = 0, reward: float = 1.0, says: str = ""
) -> str:
    """A trace as the agent records it under `policy`; its id."""
    task = Task(id="t", turns=("What does P-1 cost?",), kind="price")
    recording = store.begin(
        run="collect", task=task, attempt=attempt, model="m", tools=[PRICE], metadata=note_of(policy)
    )
    asked, called, _, answer = conversation("P-1")
    cut = Cutter(policy, project.settings.student, project.folder)
    result, blobs = result_message(called.tool_calls[0], ToolResult(WHOLE), cut)
    recording.message(asked)
    recording.step(Step(seen=1, started=now(), seconds=0.1), called)
    recording.message(result, blobs)
    answer = answer.model_copy(update={"content": says or answer.content})
    recording.step(Step(seen=3, started=now(), seconds=0.1), answer)
    recording.finish(StopReason.ANSWER, Reward(reward, ""))
    return recording.id


def project_with(folder: Path, rollout: str) -> Project:
    return make_project(folder, f"[dataset]\nvalidation = 0.0\n[rollout]\ntool_results = {rollout}\n")


def results(trace: Trace) -> list[str | None]:
    return [message.content for message in trace.messages if message.role == "tool"]


@pytest.mark.parametrize(
    ("rollout", "recut"),
    [("{limit = 100}", 0), ("{limit = 300}", 1), ('{limit = 200, cut = "nodes"}', 1), ("{limit = 90000}", 1)],
)
def test_rows_are_cut_as_the_settings_say_now_without_a_new_rollout(
    rollout: str, recut: int, store: TraceStore, tmp_path: Path
) -> None:
    project = project_with(tmp_path, rollout)
    policy = project.settings.rollout.tool_results
    collected(store, SHORT, project)
    summary = build(project, store, tmp_path / "out")
    *_, row = read_rows(tmp_path / "out", "train")
    assert row["messages"][2]["content"] == Cutter(policy, project.settings.student, tmp_path)(WHOLE)
    assert summary.results_recut == recut
    assert ("cut otherwise" in summary.sentence()) == bool(recut)
    serving = read_serving(tmp_path / "out")
    assert serving and serving.tool_results == policy  # what the student's agent will do


def test_pairs_are_cut_as_the_rows_are(store: TraceStore, tmp_path: Path) -> None:
    project = project_with(tmp_path, "{limit = 300}")
    policy = project.settings.rollout.tool_results
    collected(store, SHORT, project)
    collected(store, policy, project, attempt=1, reward=0.0, says="I do not know.")
    assert build(project, store, tmp_path / "out").results_recut == 1
    (pair,) = pq.read_table(tmp_path / "out" / "train-pairs.parquet").to_pylist()
    assert pair["messages"][2]["content"] == Cutter(policy, project.settings.student, tmp_path)(WHOLE)


def test_what_a_person_changed_does_not_come_back(store: TraceStore, tmp_path: Path) -> None:
    project = project_with(tmp_path, "{limit = 90000}")
    id = collected(store, SHORT, project)
    messages = list(store.load(id).messages)
    messages[2] = messages[2].model_copy(update={"content": "- item 0: (blotted out)"})
    store.revise(id, messages, base=0, author="ada", note="")
    recut = Recutter(project, project.settings.rollout.tool_results, store)
    assert results(recut(store.load(id))) == ["- item 0: (blotted out)"]
    assert results(recut(store.load(id, 0))) == [WHOLE]


def test_of_a_trace_that_was_imported_only_less_can_be_shown(store: TraceStore, tmp_path: Path) -> None:
    project = project_with(tmp_path, "{limit = 200}")
    id = collected(store, SHORT, project)
    trace = store.load(id).model_copy(update={"metadata": {}})
    longer = [m.model_copy(update={"content": WHOLE, "parts": ()}) if m.role == "tool" else m for m in trace.messages]
    recut = Recutter(project, project.settings.rollout.tool_results, store)
    assert recut(trace).messages == trace.messages  # may have been cut, and is short enough
    (content,) = results(recut(trace.model_copy(update={"messages": tuple[Message, ...](longer)})))
    assert content == WHOLE[:200] + f"\n… [cut: 200 of {len(WHOLE)} characters shown]"
