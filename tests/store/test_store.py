"""The trace store."""

import hashlib
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tutelage.errors import TutelageError
from tutelage.store import AlreadyRecorded, Recording, TraceStore
from tutelage.trace import Message, Part, Step, StopReason, Task, Tool, ToolCall, Verdict, now
from tutelage.world import Reward

TASK = Task(id="t1", turns=("What does the Ada lamp cost?",), kind="price")
TOOL = Tool(name="look", definition='{"type": "function", "function": {"name": "look", "z": 1, "a": 2}}', server="shop")
CALL = Message(
    role="assistant",
    reasoning_content="I look.\n",
    tool_calls=(ToolCall(id="c1", name="look", arguments='{"b": 1,  "a": "ü"}'),),
)


def record(store: TraceStore, *, task: Task = TASK, finish: bool = True) -> Recording:
    recording = store.begin(run="r", task=task, attempt=0, model="m", tools=[TOOL])
    recording.message(Message(role="user", content=task.turns[0]))
    recording.step(Step(seen=1, started=now(), seconds=0.5, completion_tokens=7), CALL)
    recording.message(Message(role="tool", content="12 EUR", tool_call_id="c1"))
    recording.step(Step(seen=3, started=now(), seconds=0.25), Message(role="assistant", content="12 EUR."))
    if finish:
        recording.finish(StopReason.ANSWER, Reward(1.0, "right"))
    return recording


def test_a_trace_comes_back_as_it_was_recorded_to_the_letter(store: TraceStore) -> None:
    trace = store.load(record(store).id)
    assert [message.role for message in trace.messages] == ["user", "assistant", "tool", "assistant"]
    assert trace.messages[1] == CALL
    assert trace.tools == (TOOL,)
    assert [step.seen for step in trace.steps] == [1, 3]
    assert trace.steps[0].completion_tokens == 7
    assert (trace.reward, trace.stop_reason, trace.answer()) == (1.0, StopReason.ANSWER, "12 EUR.")


def test_a_second_execution_of_a_finished_attempt_does_not_count(store: TraceStore) -> None:
    record(store)
    with pytest.raises(AlreadyRecorded):
        record(store)
    assert store.finished("r") == {("t1", 0)}
    assert [summary.finished for summary in store.summaries()] == [True, False]
    assert len(list(store.traces())) == 1


def test_an_edit_makes_a_revision_and_leaves_the_original_readable(store: TraceStore) -> None:
    id = record(store).id
    store.judge(id, 0, Verdict.APPROVED, reviewer="ada")
    original = store.load(id)
    edited = [*original.messages[:-1], Message(role="assistant", content="It costs 12 EUR.")]
    assert store.revise(id, edited, base=0, author="ada", note="full sentence") == 1
    assert store.load(id).answer() == "It costs 12 EUR."
    assert store.load(id).verdict == Verdict.UNDECIDED
    assert store.load(id, 0) == original
    assert [step.seen for step in store.load(id).steps] == [1]  # the edited message is nobody's step


def test_the_newest_verdict_of_a_revision_counts(store: TraceStore) -> None:
    id = record(store).id
    store.judge(id, 0, Verdict.APPROVED, reviewer="ada")
    store.judge(id, 0, Verdict.REJECTED, reviewer="ben", comment="wrong price")
    assert store.load(id).verdict == Verdict.REJECTED
    assert [summary.id for summary in store.summaries(verdict=Verdict.REJECTED)] == [id]


def test_each_step_of_a_killed_process_is_on_disk(url: str) -> None:
    script = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_store import record, TraceStore
        record(TraceStore({url!r}), finish=False)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False).returncode == -9
    with TraceStore(url) as store:
        (summary,) = store.summaries()
        assert not summary.finished
        assert len(store.load(summary.id).messages) == 4


def test_what_a_result_names_is_kept_once_and_found_by_its_digest(store: TraceStore) -> None:
    picture = bytes(range(256))
    part = Part(sha256=hashlib.sha256(picture).hexdigest(), mime_type="image/png", bytes=256)
    for attempt in range(2):
        recording = store.begin(run="r", task=TASK, attempt=attempt, model="m", tools=[TOOL])
        recording.message(Message(role="tool", content="[image]", tool_call_id="c", parts=(part, part)), [picture] * 2)
    assert store.load(recording.id).messages[0].parts == (part, part)
    assert store.blob(part.sha256) == picture
    assert store.blob("0" * 64) is None


def test_what_does_not_exist_is_named(store: TraceStore, tmp_path: Path) -> None:
    with pytest.raises(TutelageError, match='no trace "nope"'):
        store.load("nope")
    with pytest.raises(TutelageError, match="No trace has an id"):
        store.find("nope")
    id = record(store).id
    with pytest.raises(TutelageError, match="no revision 7"):
        store.load(id, 7)
    with pytest.raises(TutelageError, match="could not be opened"):
        TraceStore(f"sqlite:///{tmp_path / 'absent' / 'traces.db'}")
    with pytest.raises(TutelageError, match=r"mysql://me:\*\*\*@db/x.*does not know"):
        TraceStore("mysql://me:secret@db/x")
