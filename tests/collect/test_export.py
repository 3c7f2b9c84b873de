"""What is exported comes in again as it was, in both forms."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from round_trip import came_back

from tutelage.collect.export import FORMATS as EXPORTS
from tutelage.collect.record import BadRecord, check_order
from tutelage.trace import Message, Step, Task, Tool, ToolCall, Trace, now

FUNCTION = {"name": "look", "description": None, "strict": True, "parameters": {"type": "object", "z": 1, "a": 2.0}}
TOOLS = tuple(
    Tool(name="look", definition=json.dumps(definition))
    for definition in (
        {"type": "function", "function": FUNCTION},
        {"type": "function", "function": {**FUNCTION, "description": "Looks."}},
        {"type": "custom", "custom": {"name": "look", "format": {"type": "text"}}},
    )
)


def trace(*messages: Message, tools: tuple[Tool, ...] = TOOLS, steps: bool = True) -> Trace:
    started = now()
    given = [index for index, message in enumerate(messages) if message.role == "assistant"]
    return Trace(
        id="t",
        task=Task(id="t", turns=("?",)),
        run="import",
        attempt=0,
        model="gpt",
        timestamp=started,
        messages=messages,
        tools=tools,
        steps=tuple(Step(seen=index, started=started, seconds=0.0) for index in given if steps),
    )


USER = Message(role="user", content="Where?")
CALL = ToolCall(id="c", name="look", arguments='{"what":  "ü"}')
LOOKS = Message(role="assistant", reasoning_content="Up?", tool_calls=(CALL,))
RESULT = Message(role="tool", content="no such place", tool_call_id="c", is_error=True)
ANSWER = Message(role="assistant", content="In the attic.")
CONTEXT = ANSWER.model_copy(update={"weight": 0.0})

TOLD: dict[str, tuple[Message, ...]] = {
    "a call": (Message(role="system", content="You look."), USER, LOOKS, RESULT, ANSWER),
    "a later system message": (USER, ANSWER, Message(role="system", content="Be short."), USER, LOOKS),
    "two system messages": (Message(role="system", content="A"), Message(role="system", content="B"), USER, ANSWER),
    "an empty system message": (Message(role="system", content=""), USER, ANSWER),
    "a system message without content": (Message(role="system"), USER, ANSWER),
    "an empty user message": (Message(role="user", content=""), ANSWER, Message(role="user"), ANSWER),
    "what follows the last step": (USER, LOOKS, RESULT, Message(role="user", content="So?")),
    "context at the end": (USER, ANSWER, USER, CONTEXT),
    "context in the middle": (USER, CONTEXT, USER, ANSWER),
    "nothing to teach": (USER, CONTEXT),
    "half a weight": (USER, ANSWER.model_copy(update={"weight": 0.5})),
    "a result that is nothing": (USER, LOOKS, RESULT.model_copy(update={"content": None}), ANSWER),
    "arguments that are a text": (
        USER,
        LOOKS.model_copy(update={"tool_calls": (CALL.model_copy(update={"arguments": '"a"'}),)}),
    ),
}


@pytest.mark.parametrize("form", EXPORTS)
@pytest.mark.parametrize("name", TOLD)
def test_what_is_exported_comes_in_again_exactly(tmp_path: Path, name: str, form: str) -> None:
    told = trace(*TOLD[name])
    record = came_back(told, form, tmp_path)
    assert record.messages == told.messages
    assert [json.dumps(tool.to_openai()) for tool in record.tools] == [tool.definition for tool in TOOLS]
    assert (record.model, record.timestamp) == (told.model, told.timestamp)


def test_an_answer_that_a_reviewer_put_in_is_exported_as_a_step(tmp_path: Path) -> None:
    assert came_back(trace(USER, ANSWER, steps=False), "otel", tmp_path).messages == (USER, ANSWER)


TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ARGUMENTS = st.sampled_from(
    ['{"what": "ü"}', '{"what":1}', '{"a": 1, "a": 2}', "[1]", '"x"', "null", "", "{", '{"a": NaN}']
)


@st.composite
def histories(draw: Any) -> tuple[Message, ...]:
    """A history whose calls are answered or not; its messages have any content."""
    messages: list[Message] = [Message(role="user", content=draw(TEXT))]
    waiting: list[str] = []
    for number in range(draw(st.integers(1, 7))):
        role = draw(st.sampled_from(["system", "user", "assistant", "assistant", "tool" if waiting else "user"]))
        calls: tuple[ToolCall, ...] = ()
        if role == "assistant":
            calls = tuple(
                ToolCall(id=f"{number}.{each}", name="look", arguments=draw(ARGUMENTS))
                for each in range(draw(st.integers(0, 2)))
            )
        given = role == "assistant"
        messages.append(
            Message(
                role=role,
                content=draw(TEXT),
                reasoning_content=(draw(TEXT) or None) if given else None,
                tool_calls=calls,
                tool_call_id=waiting.pop(0) if role == "tool" else None,
                weight=draw(st.sampled_from([0.0, 1.0])) if given else 1.0,
                is_error=role == "tool" and draw(st.booleans()),
            )
        )
        waiting += [call.id for call in calls]
    return tuple(messages)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=histories())
def test_any_history_comes_back(tmp_path: Path, messages: tuple[Message, ...]) -> None:
    try:
        check_order(messages)
    except BadRecord:
        return  # such a trace is none: nothing was answered
    for form in EXPORTS:
        assert came_back(trace(*messages), form, tmp_path).messages == messages
