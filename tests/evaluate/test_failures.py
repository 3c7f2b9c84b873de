from datetime import UTC, datetime

import pytest

from tutelage.evaluate.failures import category
from tutelage.trace import Message, StopReason, Task, Tool, ToolCall, Trace

ANSWER = Message(role="assistant", content="42")


def calling(name: str = "search", arguments: str = "{}") -> Message:
    return Message(role="assistant", tool_calls=(ToolCall(id="c", name=name, arguments=arguments),))


def result(error: bool = False) -> Message:
    return Message(role="tool", tool_call_id="c", content="found", is_error=error)


def trace(*messages: Message, stop: StopReason = StopReason.ANSWER, said: str = "") -> Trace:
    return Trace(
        id="t",
        task=Task(id="t", turns=("?",)),
        run="r",
        attempt=0,
        model="m",
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
        messages=(Message(role="user", content="?"), *messages),
        tools=(Tool(name="search", definition="{}"),),
        stop_reason=stop,
        reward=0.0,
        reward_category=said,
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (trace(ANSWER), "no tool call"),
        (trace(calling("serch"), result(error=True), ANSWER), "unknown tool"),
        (trace(calling(arguments='{"a"'), result(error=True), ANSWER), "malformed call"),
        (trace(calling(arguments="[1]"), result(error=True), ANSWER), "malformed call"),
        (trace(calling(), result(error=True), stop=StopReason.REPEATED_CALL), "repeated failing call"),
        (trace(calling(), result(), stop=StopReason.STEP_LIMIT), "step limit"),
        (trace(calling(), result(), stop=StopReason.INVALID_OUTPUT), "malformed output"),
        (trace(calling(), result(), Message(role="assistant", content=" ")), "no answer"),
        (trace(calling(), result(error=True), ANSWER), "tool error"),
        (trace(calling(), result(), ANSWER), "wrong answer"),
    ],
)
def test_a_trace_shows_what_went_wrong(found: Trace, expected: str) -> None:
    assert category(found) == expected


def test_the_verifiers_word_counts_before_the_traces() -> None:
    assert category(trace(ANSWER, said="gave up")) == "gave up"
