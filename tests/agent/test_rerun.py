"""Re-runs of the shop's traces: its real MCP server, its scripted teacher, its verifier."""

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from endpoint_double import endpoint_double, fails, says

from tutelage.agent.replay import Decision, Question, ReplayStopped, Topic
from tutelage.agent.rerun import Rerun, plan_rerun, rerun
from tutelage.cli.rerun import asked_on_the_terminal
from tutelage.collect import collect
from tutelage.dataset.unroll import unroll
from tutelage.endpoint.services import start_services
from tutelage.endpoint.teacher import connect_teacher
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.scaffold import make_project
from tutelage.settings import ToolRules
from tutelage.store import TraceStore
from tutelage.trace import RECORDED, Message, StopReason, Trace, Verdict

SERVER = {"command": sys.executable, "args": ["-m", "tutelage.quickstart.shop", "--stdio"]}
STDIO = {"mcpServers": {"shop": {**SERVER, "env": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}}}}
HINT = "Anna always wants to be greeted by her name first."


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A shop with traces of its teacher's, collected over one server; each re-run has a server of its own."""
    folder = tmp_path_factory.mktemp("rerun") / "shop"
    make_project(folder, "shop", seed=0, train_tasks=8, evaluate_tasks=1)
    project = Project.open(folder)
    with TraceStore(project.store_url) as store:
        collect(project, store)
    project.path("mcp.json").write_text(json.dumps(STDIO))
    return project


@pytest.fixture(scope="module")
def teacher_url(tmp_path_factory: pytest.TempPathFactory, project: Project) -> Iterator[str]:
    """The scripted teacher, running once for all tests."""
    with start_services(project, tmp_path_factory.mktemp("services"), skip={"shop"}) as values:
        yield f"http://127.0.0.1:{values['teacher.port']}/v1"


@pytest.fixture
def store(project: Project) -> Iterator[TraceStore]:
    with TraceStore(project.store_url) as store:
        yield store


def untouched(store: TraceStore, kind: str) -> Trace:
    """A trace of the kind that no test has changed yet."""
    return next(trace for trace in store.traces() if trace.task.kind == kind and trace.revision == 0)


def run(
    project: Project,
    store: TraceStore,
    trace: Trace,
    steps: int,
    *decisions: Decision,
    url: str,
    hint: str = "",
) -> tuple[Rerun, list[Question]]:
    """Run it again; the questions are answered by `decisions` in order, the last one again and again."""
    asked: list[Question] = []

    async def decide(question: Question) -> Decision:
        asked.append(question)
        return decisions[min(len(asked), len(decisions)) - 1]

    teacher = project.teacher(url, "scripted-shop-expert")
    plan = plan_rerun(trace, steps)
    endpoint = connect_teacher(project, teacher)
    skip = set(project.settings.services)
    done = asyncio.run(
        rerun(project, store, plan, endpoint=endpoint, decide=decide, author="ada", hint=hint, skip_services=skip)
    )
    return done, asked


def edited_draft(store: TraceStore, trace: Trace, quantity: int) -> tuple[Trace, int]:
    """The trace with another quantity in its draft, and the number of that step."""
    steps = [index for index, message in enumerate(trace.messages) if message.role == "assistant"]
    step, place = next(
        (number, index)
        for number, index in enumerate(steps, 1)
        if [call.name for call in trace.messages[index].tool_calls] == ["draft"]
    )
    (call,) = trace.messages[place].tool_calls
    arguments = json.dumps({**json.loads(call.arguments), "quantity": quantity})
    message = trace.messages[place].model_copy(
        update={"tool_calls": (call.model_copy(update={"arguments": arguments}),)}
    )
    messages = [*trace.messages[:place], message, *trace.messages[place + 1 :]]
    store.revise(trace.id, messages, base=0, author="ada", note="another quantity")
    return store.load(trace.id), step


def test_a_trace_goes_on_from_an_edited_step_in_a_world_where_that_step_happened(
    project: Project, store: TraceStore, teacher_url: str
) -> None:
    original = untouched(store, "order")
    edited, step = edited_draft(store, original, quantity=1)
    assert edited.stale
    done, asked = run(project, store, edited, step, Decision.GO_ON, url=teacher_url)
    again = store.load(original.id)
    # Reading is not asked about; the draft's old result was that of another call, and is no difference.
    assert [(question.topic, question.call.name) for question in asked] == [(Topic.EFFECTS, "draft")]
    call = asked[0].call
    result = next(message for message in again.messages if message.tool_call_id == call.id)
    before = next(message for message in original.messages if message.tool_call_id == call.id)
    assert result.content != before.content
    assert (again.revision, done.revision, again.stale) == (2, 2, ())
    assert again.stop_reason == StopReason.ANSWER
    assert done.reward is not None
    assert again.reward == done.reward.value == 0.0  # the verifier looked at the new world: the wrong quantity
    assert again.verdict == Verdict.UNDECIDED
    assert store.load(original.id, 0) == original
    (summary,) = [summary for summary in store.summaries() if summary.id == original.id]
    assert (summary.revision, summary.reward) == (2, 0.0)
    assert [index for index, message in enumerate(again.messages) if message.role == "assistant"][step:] == [
        step.seen for step in again.steps if step.seen > again.messages.index(result)
    ]


def test_a_result_that_differs_is_asked_about_and_stopping_stores_nothing(
    project: Project, store: TraceStore, teacher_url: str
) -> None:
    trace = untouched(store, "order two products")
    place = next(index for index, message in enumerate(trace.messages) if message.role == "tool")
    other = trace.messages[place].model_copy(update={"content": "P1 nothing like it $3"})
    messages = [*trace.messages[:place], other, *trace.messages[place + 1 :]]
    store.revise(trace.id, messages, base=0, author="ada", note="")
    edited = store.load(trace.id)
    with pytest.raises(ReplayStopped, match="at step 1"):
        run(project, store, edited, 4, Decision.GO_ON, Decision.STOP, url=teacher_url)
    assert store.load(trace.id).revision == 1
    assert store.unfinished_reruns(trace.id) == []
    done, asked = run(project, store, edited, 4, Decision.GO_ON_ALWAYS, Decision.KEEP, url=teacher_url)
    effects, difference = asked[0], asked[-1]
    assert (effects.topic, difference.topic, len(asked)) == (Topic.EFFECTS, Topic.DIFFERENCE, 2)
    assert (difference.recorded, difference.given) == (other.content, trace.messages[place].content)
    again = store.load(trace.id)
    assert again.messages[place] == other
    assert again.reward == 1.0
    assert again.steps[-1].seen == len(again.messages) - 1
    assert done.steps == 1


def test_a_person_is_asked_before_the_model_calls_what_only_a_person_may_allow(
    project: Project, store: TraceStore
) -> None:
    trace = untouched(store, "refuse to cancel")
    settings = project.settings.model_copy(update={"servers": {"shop": ToolRules(ask=("search",))}})
    asking = Project(folder=project.folder, settings=settings)
    search = says(None, ("search", '{"query": "lamp"}'))
    with endpoint_double(search, says("Done."), search) as double:
        _, asked = run(asking, store, trace, 0, Decision.GO_ON, url=double.url)
        assert [(question.topic, question.step, question.call.name) for question in asked] == [
            (Topic.EFFECTS, 1, "search")
        ]
        with pytest.raises(ReplayStopped, match="at step 1"):
            run(asking, store, store.load(trace.id), 0, Decision.STOP, url=double.url)
    (left,) = store.unfinished_reruns(trace.id)
    assert store.load(trace.id).revision == left.base == 1


def test_a_hint_is_shown_to_the_model_and_taught_to_nobody(project: Project, store: TraceStore) -> None:
    trace = untouched(store, "look up")
    with endpoint_double(says("I greet Anna.", reasoning="I was told that Anna always wants to be greeted.")) as double:
        run(project, store, trace, 0, Decision.STOP, url=double.url, hint=HINT)
    system = double.requests[0]["messages"][0]
    assert system == {"role": "system", "content": f"{trace.messages[0].content}\n\n{HINT}"}
    again = store.load(trace.id)
    assert again.messages[0] == trace.messages[0]
    assert again.metadata["rerun"]["hint"] == HINT  # type: ignore[call-overload,index]
    assert again.metadata["rerun"]["hint_quoted"] is True  # type: ignore[call-overload,index]
    assert HINT not in "".join(message.model_dump_json() for row in unroll(again) for message in row.messages)


def test_a_re_run_that_is_broken_off_makes_no_revision_until_a_person_keeps_it(
    project: Project, store: TraceStore
) -> None:
    trace = untouched(store, "cancel")
    with (
        endpoint_double(says(None, ("search", '{"query": "lamp"}')), fails(400, "no more")) as double,
        pytest.raises(TutelageError, match="broken off: endpoint error"),
    ):
        run(project, store, trace, 0, Decision.STOP, url=double.url)
    assert store.load(trace.id).revision == 0
    (left,) = store.unfinished_reruns(trace.id)
    assert store.keep_rerun(left.id) == 1
    kept = store.load(trace.id)
    assert [message.role for message in kept.messages] == ["system", "user", "assistant", "tool"]
    assert (kept.stop_reason, kept.reward) == (StopReason.UNKNOWN, None)
    with pytest.raises(TutelageError, match="no unfinished re-run"):
        store.keep_rerun(left.id)


def test_an_edit_that_came_meanwhile_is_kept_beside_the_re_run(project: Project, store: TraceStore) -> None:
    trace = untouched(store, "order the cheapest")
    recording = store.begin_rerun(trace.id, trace.messages[:2], base=0, model="m", author="ada")
    answer = Message(role="assistant", content="12 EUR.")
    recording.message(answer)
    store.revise(trace.id, trace.messages[:3], base=0, author="ben", note="meanwhile")
    assert recording.finish_rerun(StopReason.ANSWER, None, {}) == 2
    with pytest.raises(TutelageError, match="before it ended"):
        recording.finish_rerun(StopReason.ANSWER, None, {})
    assert store.load(trace.id, 1).messages == trace.messages[:3]
    assert store.load(trace.id).messages == (*trace.messages[:2], answer)
    assert [revision.base for revision in store.reviews.revisions(trace.id)] == [None, 0, 0]


def test_the_verifier_judges_no_re_run_of_what_another_agent_did(project: Project, store: TraceStore) -> None:
    trace = store.load(next(store.traces()).id, 0)
    recording = store.begin(
        run="record", task=trace.task, attempt=0, model="m", tools=trace.tools, metadata={RECORDED: {"session": "s"}}
    )
    recording.messages([*trace.messages[:2], Message(role="assistant", content="No.")])
    recording.finish(StopReason.ANSWER)
    with endpoint_double(says("Yes.")) as double:
        done, _ = run(project, store, store.load(recording.id), 0, Decision.STOP, url=double.url)
    assert (done.revision, done.reward) == (1, None)


def test_what_cannot_be_run_again_is_said(store: TraceStore) -> None:
    trace = store.load(next(store.traces()).id, 0)
    with pytest.raises(TutelageError, match="There is no step 99"):
        plan_rerun(trace, 99)
    with pytest.raises(TutelageError, match="Nothing comes after step"):
        plan_rerun(trace, len(trace.steps))


def test_the_command_runs_again_and_asks_nobody_where_nobody_is(
    project: Project, store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = untouched(store, "refuse to order")
    steps = len(trace.steps) - 1
    command = [sys.executable, "-m", "tutelage", "traces", "rerun", trace.id[:12], "-p", str(project.folder)]
    done = subprocess.run(
        [*command, "--from", str(steps), "--yes", "--json"], capture_output=True, text=True, check=False, timeout=120
    )
    assert json.loads(done.stdout) == {
        "trace": trace.id,
        "revision": 1,
        "stop_reason": "answer",
        "reward": 1.0,
        "steps": 1,
    }
    monkeypatch.setattr("sys.stdin", io.StringIO())
    call = trace.messages[2].tool_calls[0]
    with pytest.raises(TutelageError, match=r"(?s)may have side effects.*say so with --yes"):
        asked_on_the_terminal(Question(Topic.EFFECTS, 1, call, None))
