"""Retries, parallel and edited conversations, compacted contexts and sub-agents are told apart."""

import itertools
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from record_helpers import drained, shape

from tutelage.dataset import build, read_rows
from tutelage.dataset.summary import SplitName
from tutelage.project import Project
from tutelage.record.recorder import Recorder
from tutelage.record.spool import Spool, read
from tutelage.store import TraceStore
from tutelage.store.listing import Selection
from tutelage.trace import Message, Step, StopReason, Task, Trace, Verdict, now

SUMMARY = "So far the agent looked in the cellar and in the attic, and found the lamp in neither. " * 3


class Agent:
    """Requests and answers of a made-up agent, put into the spool one second after another."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.clock = now()
        self.ids = itertools.count()

    def ask(
        self, history: list[Any], answer: Any, *, seconds: float = 0.5, at: datetime | None = None, **more: Any
    ) -> Any:
        """One exchange; the history with the answer."""
        self.clock = (at or self.clock) + timedelta(seconds=1)
        message = {"role": "assistant", **(answer if isinstance(answer, dict) else {"content": answer})}
        request = {"model": "m", "messages": history, **more}
        response = {"choices": [{"message": message, "finish_reason": "stop"}]}
        self.spool.write("chat", self.clock, seconds, json.dumps(request).encode(), response, [])
        return [*history, message]

    def call(self, **arguments: Any) -> dict[str, Any]:
        function = {"name": "look", "arguments": json.dumps(arguments)}
        return {"content": None, "tool_calls": [{"id": f"c{next(self.ids)}", "type": "function", "function": function}]}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def result(history: list[Any], text: str = "nothing") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": history[-1]["tool_calls"][0]["id"], "content": text}


def told(trace: Trace) -> dict[str, Any]:
    found: Any = trace.metadata["recorded"]
    return dict(found)


@pytest.fixture
def agent(spool: Spool) -> Agent:
    return Agent(spool)


def test_a_request_that_extends_an_earlier_one_goes_on_with_its_trace(agent: Agent, store: TraceStore) -> None:
    history = agent.ask([user("Look.")], agent.call(what="cellar"))
    # The client writes the arguments anew and trims: that is still the same message.
    history[1]["tool_calls"][0]["function"]["arguments"] = '{ "what":"cellar" }'
    history[1]["content"] = " "
    history = agent.ask([*history, result(history)], "Nothing there.")
    agent.ask([*history, user("And the attic?")], "Nor there.")
    (trace,) = drained(agent.spool, store)
    assert shape(trace) == [
        "u: Look.",
        'a: look{"what": "cellar"}',
        "t: nothing",
        "a: Nothing there.",
        "u: And the attic?",
        "a: Nor there.",
    ]


def test_a_retry_is_a_lineage_beside_the_first_answer(agent: Agent, store: TraceStore) -> None:
    history = agent.ask([user("Look.")], agent.call(what="cellar"))
    again = [*history, result(history)]
    agent.ask(again, "Nothing.")
    better = agent.ask(again, "There is a lamp.")
    agent.ask([*better, user("Thanks.")], "Welcome.")
    first, retried = drained(agent.spool, store)
    assert (first.task.kind, shape(first)[-1]) == ("recorded", "a: Nothing.")
    assert retried.task.kind == "retry"
    # What the first trace teaches is context here, and taught once.
    assert shape(retried)[1:4] == ['(a: look{"what": "cellar"})', "t: nothing", "a: There is a lamp."]
    assert shape(retried)[-1] == "a: Welcome."
    assert told(retried) | {"of": first.id, "shared": 3, "session": first.id} == told(retried)
    assert (retried.task.id, retried.attempt) == (first.task.id, 1)


def test_the_same_prompt_at_once_or_later_begins_an_attempt_of_its_own(agent: Agent, store: TraceStore) -> None:
    start = agent.clock
    one = agent.ask([user("Look.")], agent.call(what="cellar"), seconds=5, at=start)
    two = agent.ask([user("Look.")], agent.call(what="attic"), seconds=5, at=start)
    agent.clock += timedelta(seconds=10)
    agent.ask([*two, result(two)], "Two.")
    agent.ask([*one, result(one)], "One.")
    agent.ask([user("Look.")], "Three.")
    traces = drained(agent.spool, store)
    assert [shape(trace)[-1] for trace in traces] == ["a: One.", "a: Two.", "a: Three."]
    assert [(trace.task.kind, trace.attempt) for trace in traces] == [("recorded", n) for n in range(3)]
    assert len({told(trace)["session"] for trace in traces}) == 3
    assert len({trace.task.id for trace in traces}) == 1


@pytest.mark.parametrize("what", ["result", "model", "tools", "system"])
def test_an_edited_history_is_a_lineage_of_its_own(agent: Agent, store: TraceStore, what: str) -> None:
    start = [{"role": "system", "content": "You look."}, user("Look.")]
    history = agent.ask(start, agent.call(what="cellar"))
    history = agent.ask([*history, result(history)], agent.call(what="attic"))
    more: dict[str, Any] = {}
    edited = [*history, result(history)]
    if what == "result":
        edited[3] = {**edited[3], "content": "[cleared]"}
    elif what == "system":
        edited[0] = {"role": "system", "content": "You look well."}
    else:
        more = {"model": "other"} if what == "model" else {"tools": [{"type": "function", "function": {"name": "f"}}]}
    agent.ask(edited, "Nothing.", **more)
    first, second = drained(agent.spool, store)
    assert (first.task.kind, second.task.kind) == ("recorded", "compacted" if what == "system" else "edited")
    assert [line[0] for line in shape(second)] == list("su(t(ta")
    assert told(second)["session"] == first.id
    assert (first.stop_reason, second.stop_reason) == (StopReason.UNKNOWN, StopReason.ANSWER)


def test_a_compacted_context_is_known_by_the_steps_it_keeps_or_by_its_summary(agent: Agent, store: TraceStore) -> None:
    history = agent.ask([user("Look everywhere.")], agent.call(what="cellar"))
    history = agent.ask([*history, result(history)], agent.call(what="attic"))
    kept = [user("[earlier messages were removed]"), history[-1], result(history)]
    tail = agent.ask(kept, SUMMARY)
    agent.ask([user(f"This session goes on from another one: {SUMMARY.strip()}\nGo on.")], "In the shed.")
    assert len(tail) == 4
    first, second, third = drained(agent.spool, store)
    assert [trace.task.kind for trace in (first, second, third)] == ["recorded", "compacted", "compacted"]
    assert told(second)["of"] == first.id and told(third)["of"] == second.id
    assert {told(trace)["session"] for trace in (first, second, third)} == {first.id}
    assert shape(second)[1].startswith("(a: look")


def test_a_sub_agent_is_known_by_the_call_that_asks_it(agent: Agent, store: TraceStore) -> None:
    tasks = ["Search the whole cellar for a lamp.", "Search the whole attic for a lamp."]
    calls = [agent.call(prompt=task)["tool_calls"][0] for task in tasks]
    history = agent.ask([user("Find the lamp.")], {"content": None, "tool_calls": calls})
    one = agent.ask([{"role": "system", "content": "You search."}, user(tasks[0])], agent.call(what="shelf"))
    two = agent.ask([{"role": "system", "content": "You search."}, user(tasks[1])], "No lamp in the attic.")
    agent.ask([*one, result(one)], "A lamp on the shelf.")
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "see there"} for call in calls]
    agent.ask([*history, *results], "On the shelf.")
    agent.ask([user("Something else altogether.")], two[-1]["content"])
    main, first, second, other = drained(agent.spool, store)
    assert [trace.task.kind for trace in (main, first, second, other)] == [
        "recorded",
        "sub-agent",
        "sub-agent",
        "recorded",
    ]
    assert told(first)["of"] == told(second)["of"] == main.id != told(other)["session"]
    assert (shape(main)[-1], shape(first)[-1]) == ("a: On the shelf.", "a: A lamp on the shelf.")


def test_a_path_or_a_phrase_of_a_waiting_call_makes_no_sub_agent(agent: Agent, store: TraceStore) -> None:
    path, phrase = "/home/ada/projects/shop/catalogue", "a lamp with a green shade"
    agent.ask([user("Tidy up.")], agent.call(path=path, what=phrase))
    system = {"role": "system", "content": f"You work in {path}."}
    agent.ask([system, user("Say hello.")], "Hello.")
    agent.ask([system, user(f"In {path}, is there {phrase}? Say where it stands and what it costs.")], "There.")
    traces = drained(agent.spool, store)
    assert [trace.task.kind for trace in traces] == ["recorded"] * 3


@pytest.mark.parametrize("wrapped", ["{}", "Today is Monday.\n\n{}\n\nAnswer in one word.", "{}" + " Be kind." * 50])
def test_a_sub_agents_prompt_may_stand_in_more(agent: Agent, store: TraceStore, wrapped: str) -> None:
    task = "Search the whole cellar for a lamp, on all shelves and in all boxes. " * (4 if "kind" in wrapped else 1)
    agent.ask([user("Find the lamp.")], agent.call(prompt=task))
    agent.ask([user(wrapped.format(task))], "Nothing.")
    assert [trace.task.kind for trace in drained(agent.spool, store)] == ["recorded", "sub-agent"]


def test_the_lineages_that_are_approved_are_what_is_trained(
    agent: Agent, project: Project, store: TraceStore, tmp_path: Path
) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    task = "Search the whole cellar for a lamp."
    history = agent.ask([user("Find the lamp.")], agent.call(prompt=task), tools=tools)
    part = agent.ask([{"role": "system", "content": "You search."}, user(task)], agent.call(what="shelf"), tools=tools)
    agent.ask([*part, result(part)], "A lamp on the shelf.", tools=tools)
    agent.ask([*history, result(history)], "On the shelf.", tools=tools)
    drained(agent.spool, store)
    for id, revision in store.listing.ids(Selection({"kind": ("sub-agent",)})):  # as the review page filters them
        store.judge(id, revision, Verdict.APPROVED, reviewer="me")
    build(project, store, tmp_path / "out")
    splits: tuple[SplitName, ...] = ("train", "validation")
    rows = [row for split in splits for row in read_rows(tmp_path / "out", split)]
    assert sorted(row["step"] for row in rows) == [0, 1]
    assert {row["messages"][0]["content"] for row in rows} == {"You search."}


def test_a_history_that_nobody_saw_is_context(agent: Agent, store: TraceStore) -> None:
    agent.ask([user("Hi."), {"role": "assistant", "content": "Hello."}, user("Look.")], "Nothing.")
    (trace,) = drained(agent.spool, store)
    assert shape(trace) == ["u: Hi.", "(a: Hello.)", "u: Look.", "a: Nothing."]


def test_an_answer_that_the_agent_began_is_not_taught(agent: Agent, store: TraceStore) -> None:
    begun = [user("List them."), {"role": "assistant", "content": "["}]
    agent.ask(begun, "1, 2]")
    agent.ask([user("List them."), {"role": "assistant", "content": "[1, 2]"}, user("Sure?")], "I am.")
    first, second = drained(agent.spool, store)
    assert shape(first) == ["u: List them.", "(a: [)", "(a: 1, 2])"]
    assert shape(second) == ["u: List them.", "(a: [1, 2])", "u: Sure?", "a: I am."]


def test_what_follows_a_picture_is_not_taught(agent: Agent, store: TraceStore) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    agent.ask([{"role": "user", "content": [{"type": "text", "text": "What is it? "}, picture]}], "A lamp.")
    (trace,) = drained(agent.spool, store)
    assert shape(trace) == ["u: What is it? [image_url not kept]", "(a: A lamp.)"]
    assert told(trace)["not_kept"] == {"image_url": 1}


def test_a_recorder_goes_on_where_another_one_was_killed_and_records_nothing_twice(
    agent: Agent, store: TraceStore
) -> None:
    history = agent.ask([user("Look.")], agent.call(what="cellar"))
    first = Recorder(store, "record", agent.spool.owner())
    (waiting,) = agent.spool.waiting()
    first.record(waiting.id, read(waiting))  # killed before it removed the exchange from the spool
    agent.ask([*history, result(history)], "Nothing there.")
    (trace,) = drained(agent.spool, store)
    assert shape(trace) == ["u: Look.", 'a: look{"what": "cellar"}', "t: nothing", "a: Nothing there."]
    assert trace.stop_reason is StopReason.ANSWER


def test_two_recorders_of_one_run_go_on_and_finish_each_its_own_traces(
    agent: Agent, store: TraceStore, tmp_path: Path
) -> None:
    other = Agent(Spool(tmp_path / "other"))
    for asked in (agent, other):  # by two agents, the same: one begins while the other's trace is open
        history = asked.ask([user("Look.")], asked.call(what="cellar"))
        recorder = Recorder(store, "record", asked.spool.owner())
        (waiting,) = asked.spool.waiting()
        recorder.record(waiting.id, read(waiting))
        asked.spool.remove(waiting)
        asked.ask([*history, result(history)], f"Nothing, says {asked.spool.folder.name}.")
    assert len(drained(other.spool, store)) == 1  # the first one's is still open
    first, second = drained(agent.spool, store)
    assert [shape(trace)[-1] for trace in (first, second)] == [
        "a: Nothing, says recordings.",
        "a: Nothing, says other.",
    ]
    assert [len(trace.steps) for trace in (first, second)] == [2, 2]
    assert (first.task.id, {first.attempt, second.attempt}) == (second.task.id, {0, 1})


def test_traces_that_two_recorders_began_as_the_same_attempt_are_both_kept(agent: Agent, store: TraceStore) -> None:
    task, seen = Task(id="recorded-1", turns=("Look.",)), Message(role="user", content="Look.")
    recordings = [store.begin(run="record", task=task, attempt=0, model="m", tools=()) for _ in range(2)]
    for recording in recordings:
        step, notes = Step(seen=1, started=now(), seconds=1.0), {"lineage": "recorded", "task": task.id}
        notes |= {"recorder": recording.id, "session": recording.id, "exchange": "1"}
        answer = Message(role="assistant", content=recording.id)
        recording.exchange((seen,), step, answer, {"recorded": notes})
    for recording in recordings:
        assert Recorder(store, "record", recording.id).finish() == 1
    traces = list(store.traces(run="record"))
    assert {trace.messages[-1].content for trace in traces} == {recording.id for recording in recordings}
    assert [trace.attempt for trace in traces] == [0, 1]
    assert [summary.attempt for summary in store.summaries(run="record")] == [0, 1]


def test_a_trace_that_was_finished_is_left_as_it_is(agent: Agent, store: TraceStore) -> None:
    history = agent.ask([user("Look.")], "Nothing there.")
    (first,) = drained(agent.spool, store)
    agent.ask([*history, user("Sure?")], "Yes.")
    before, later = drained(agent.spool, store)
    assert before == first
    assert shape(later) == ["u: Look.", "(a: Nothing there.)", "u: Sure?", "a: Yes."]
