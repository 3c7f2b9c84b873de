"""Whatever agents and endpoints send: no crash, each answer is taught once, and no key is stored."""

import contextlib
import json
import sqlite3
import uuid
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.dialect import Unreadable
from tutelage.record.keys import keys_of
from tutelage.record.recorder import Recorder
from tutelage.record.spool import Spool, read
from tutelage.store import TraceStore
from tutelage.trace import Trace, now

KEY = "sk-Zq3vKey-0123456789"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


# All examples share the store, each as a run of its own.
shared: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@settings(max_examples=25, **shared)
@given(data=st.data())
def test_each_answer_is_taught_once_whatever_becomes_of_the_histories(
    spool: Spool, store: TraceStore, data: st.DataObject
) -> None:
    """Agents go on with, repeat, cut, edit and mix histories, and the recorder is killed in between."""
    histories: list[list[dict[str, Any]]] = [[]]
    clock, run = now(), uuid.uuid4().hex
    spool = Spool(spool.folder / run)
    recorder = Recorder(store, run, spool.owner())
    for number in range(data.draw(st.integers(1, 8))):
        history = list(data.draw(st.sampled_from(histories)))
        change = data.draw(st.sampled_from(["none", "again", "cut", "edit", "system", "mix"]))
        if change == "cut":
            history = history[data.draw(st.integers(0, len(history))) :]
        elif change == "edit" and history:
            index = data.draw(st.integers(0, len(history) - 1))
            history[index] = {**history[index], "content": data.draw(TEXTS)}
        elif change == "system":
            history = [{"role": "system", "content": data.draw(TEXTS)}, *history]
        elif change == "mix":
            history += data.draw(st.sampled_from(histories))
        if change == "again":
            history = history[:-1]  # without the answer
        if change != "again" or not history:
            pending = (history[-1].get("tool_calls") if history else None) or []
            results = [{"role": "tool", "tool_call_id": call["id"], "content": "r"} for call in pending]
            history += results or [{"role": "user", "content": data.draw(TEXTS)}]
        answer: dict[str, Any] = {"role": "assistant", "content": f"answer {number}"}
        if data.draw(st.booleans()):
            function = {"name": "look", "arguments": json.dumps({"what": data.draw(TEXTS)})}
            answer["tool_calls"] = [{"id": f"c{number}", "type": "function", "function": function}]
        clock += timedelta(seconds=data.draw(st.integers(0, 2)))
        response = {"choices": [{"message": answer, "finish_reason": "stop"}]}
        spool.write("chat", clock, 0.5, json.dumps({"model": "m", "messages": history}).encode(), response, [])
        histories.append([*history, answer])
        (waiting,) = spool.waiting()
        recorder.record(waiting.id, read(waiting))
        if data.draw(st.integers(0, 3)) == 0:
            recorder = Recorder(store, run, spool.owner())  # killed before the exchange left the spool
            recorder.record(waiting.id, read(waiting))
        spool.remove(waiting)
    recorder.finish()
    traces = list(store.traces(run=run))
    taught = Counter(m.content for t in traces for m in t.messages if m.role == "assistant" and m.weight > 0)
    assert taught == Counter(f"answer {number}" for number in range(len(histories) - 1))
    for trace in traces:
        assert Trace.model_validate_json(trace.model_dump_json()) == trace
        for step in trace.steps:
            assert trace.messages[step.seen].role == "assistant"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS | st.just(KEY) | st.just(f"Bearer {KEY}") | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "text", "name", "input", "id", "output"]), inner)
    ),
    max_leaves=8,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        name: VALUES | st.just([{"role": "user", "content": f"It is {KEY}."}])
        for name in (
            *(
                "model",
                "messages",
                "tools",
                "functions",
                "input",
                "system",
                "choices",
                "content",
                "output",
                "usage",
                "n",
            ),
            *("previous_response_id", "conversation", "instructions", "id", "status"),
        )
    },
)


@settings(max_examples=50, **shared)
@given(dialect=st.sampled_from(["chat", "responses", "anthropic"]), asked=BODIES, given_back=BODIES)
def test_no_body_crashes_the_recorder_and_no_key_is_stored(
    spool: Spool, store: TraceStore, tmp_path: Path, dialect: str, asked: dict[str, Any], given_back: dict[str, Any]
) -> None:
    answer = {"choices": [{"message": {"role": "assistant", "content": f"{KEY}!"}}], "content": f"{KEY}?", **given_back}
    keys, run = keys_of({"authorization": f"Bearer {KEY}"}), uuid.uuid4().hex
    spool = Spool(spool.folder / run)
    spool.write(dialect, now(), 0.1, json.dumps(asked).encode(), answer, keys)
    (waiting,) = spool.waiting()
    assert KEY.encode() not in waiting.path.read_bytes()
    recorder = Recorder(store, run, spool.owner())
    with contextlib.suppress(Unreadable):
        recorder.record(waiting.id, read(waiting))
    spool.remove(waiting)
    recorder.finish()
    for trace in store.traces(run=run):
        assert Trace.model_validate_json(trace.model_dump_json()) == trace
    with sqlite3.connect(tmp_path / "traces.db") as connection:
        assert KEY not in "".join(connection.iterdump())
