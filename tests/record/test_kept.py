"""Histories that a server of the Responses API keeps: a request only names them."""

import itertools
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from record_helpers import drained, shape

from tutelage.record.recorder import Recorder
from tutelage.record.spool import Spool, read
from tutelage.store import TraceStore
from tutelage.trace import Trace, now


class Server:
    """Requests of an agent and a made-up server's responses, put into the spool one second after another."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.clock = now()
        self.ids = itertools.count(1)

    def ask(self, asked: str | Sequence[Any], answer: str | Sequence[Any], **more: Any) -> str:
        """One exchange; the response's id."""
        self.clock += timedelta(seconds=1)
        number = next(self.ids)
        if isinstance(answer, str):
            part = {"type": "output_text", "text": answer}
            answer = [{"id": f"msg_{number}", "type": "message", "role": "assistant", "content": [part]}]
        request = {"model": "m", "input": asked, **more}
        response = {"id": f"resp_{number}", "status": "completed", "output": answer}
        self.spool.write("responses", self.clock, 0.5, json.dumps(request).encode(), response, [])
        return f"resp_{number}"


@pytest.fixture
def server(spool: Spool) -> Server:
    return Server(spool)


def killed(spool: Spool, store: TraceStore) -> None:
    """Record what waits with a recorder that does not live to finish it."""
    recorder = Recorder(store, "record", spool.owner())
    for waiting in spool.waiting():
        recorder.record(waiting.id, read(waiting))
        spool.remove(waiting)


def told(trace: Trace) -> dict[str, Any]:
    found: Any = trace.metadata["recorded"]
    return dict(found)


def test_a_response_that_is_gone_on_from_twice_has_the_history_that_it_had(server: Server, store: TraceStore) -> None:
    first = server.ask("A.", "One is said.")
    server.ask("B.", "Two is said.", previous_response_id=first)
    server.ask("C.", "Three is said.", previous_response_id=first)
    server.ask("B.", "Four is said.", previous_response_id=first)
    main, forked, again = drained(server.spool, store)
    assert shape(main) == ["u: A.", "a: One is said.", "u: B.", "a: Two is said."]
    assert shape(forked) == ["u: A.", "(a: One is said.)", "u: C.", "a: Three is said."]
    assert shape(again) == ["u: A.", "(a: One is said.)", "u: B.", "a: Four is said."]
    assert [trace.task.kind for trace in (main, forked, again)] == ["recorded", "edited", "retry"]


def test_a_response_is_gone_on_from_after_the_recorder_was_killed(server: Server, store: TraceStore) -> None:
    first = server.ask("A.", "One is said.", instructions="Be short.")
    killed(server.spool, store)
    server.ask("B.", "Two is said.", instructions="Be short.", previous_response_id=first)
    (trace,) = drained(server.spool, store)
    assert shape(trace) == ["s: Be short.", "u: A.", "a: One is said.", "u: B.", "a: Two is said."]


@pytest.mark.parametrize(
    "more", [{"previous_response_id": "resp_9"}, {"previous_response_id": "9"}, {"conversation": {"id": "conv_9"}}]
)
def test_after_a_history_that_nobody_saw_nothing_is_taught(
    server: Server, store: TraceStore, more: dict[str, Any]
) -> None:
    first = server.ask("And?", "One is said.", **more)
    server.ask("B.", "Two is said.", previous_response_id=first)
    server.ask("C.", "Three is said.", previous_response_id=first)
    main, forked = drained(server.spool, store)
    assert shape(main) == ["u: And?", "(a: One is said.)", "u: B.", "(a: Two is said.)"]
    assert shape(forked) == ["u: And?", "(a: One is said.)", "u: C.", "(a: Three is said.)"]
    assert told(main)["history_unknown"] is told(forked)["history_unknown"] is True


@pytest.mark.parametrize("die", [False, True])
def test_a_conversation_keeps_its_name_as_it_goes_on(server: Server, store: TraceStore, die: bool) -> None:
    server.ask("A.", "One is said.", conversation="conv_1")
    if die:
        killed(server.spool, store)
    server.ask("B.", "Two is said.", conversation={"id": "conv_1"})
    server.ask("C.", "Three is said.", conversation="conv_1")
    (trace,) = drained(server.spool, store)
    assert [line.strip("()")[0] for line in shape(trace)] == list("uauaua")


@pytest.mark.parametrize("die", [False, True])
def test_instructions_are_one_requests_and_a_developers_message_stays(
    server: Server, store: TraceStore, die: bool
) -> None:
    developer = {"role": "developer", "content": "Call it a lamp."}
    first = server.ask(
        [developer, {"role": "user", "content": "A."}], "One is said, shortly.", instructions="Be short."
    )
    if die:
        killed(server.spool, store)
    second = server.ask("B.", "Two is said.", previous_response_id=first)
    server.ask("C.", "Three is said.", previous_response_id=second, instructions="Be long.")
    traces = drained(server.spool, store)
    kept = ["s: Call it a lamp.", "u: A."]
    assert shape(traces[0]) == ["s: Be short.", *kept, "a: One is said, shortly."]
    assert shape(traces[1]) == [*kept, "(a: One is said, shortly.)", "u: B.", "a: Two is said."]
    context = ["(a: One is said, shortly.)", "u: B.", "(a: Two is said.)"]
    assert shape(traces[2]) == ["s: Be long.", *kept, *context, "u: C.", "a: Three is said."]


def test_items_that_a_request_only_refers_to_are_those_of_the_responses(server: Server, store: TraceStore) -> None:
    call = {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
    thought = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Where?"}]}
    user, result = {"role": "user", "content": "A."}, {"type": "function_call_output", "call_id": "c", "output": "dark"}
    server.ask([user], [thought, call])
    references = [{"type": "item_reference", "id": "rs_1"}, {"id": "fc_1"}]
    server.ask([user, *references, result], "Nothing is there.")
    (trace,) = drained(server.spool, store)
    assert shape(trace) == ["u: A.", "a: look{}", "t: dark", "a: Nothing is there."]
    server.ask([user, *references[:1], result], "Nothing at all.")  # the trace is finished: nobody knows them now
    _, later = drained(server.spool, store)
    assert shape(later)[-1] == "(a: Nothing at all.)" and told(later)["not_kept"] == {"item_reference": 1}


def test_what_follows_a_picture_is_not_taught_though_it_only_names_it(server: Server, store: TraceStore) -> None:
    picture = {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}
    first = server.ask([picture], "A lamp, it seems.")
    server.ask("B.", "Two is said.", previous_response_id=first)
    server.ask("C.", "Three is said.", previous_response_id=first)
    for trace in drained(server.spool, store):
        assert all(message.weight == 0 for message in trace.messages if message.role == "assistant")
