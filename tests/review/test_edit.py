"""Editing a trace by hand."""

import json

import pytest

from tutelage.errors import TutelageError
from tutelage.review import read_edited, to_editable
from tutelage.trace import Message, ToolCall

MESSAGES = [
    Message(role="user", content="Which lamp?"),
    Message(
        role="assistant",
        reasoning_content="I look.\n",
        tool_calls=(ToolCall(id="c1", name="look", arguments='{"b": 1,  "a": "ü"}'),),
        weight=0.0,
    ),
    Message(role="tool", content="no such lamp", tool_call_id="c1", is_error=True),
]


def test_what_nobody_changed_comes_back_to_the_letter() -> None:
    back = read_edited(to_editable(MESSAGES))
    assert back == MESSAGES


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda entries: entries.clear(), "at least one message"),
        (lambda entries: entries[0].update(role="wizard"), 'Message 1: "role"'),
        (lambda entries: entries[1]["tool_calls"][0]["function"].update(arguments="{"), 'arguments of "look"'),
        (lambda entries: entries[1]["tool_calls"][0]["function"].update(arguments="[]"), "not a JSON object"),
        (lambda entries: entries[2].update(tool_call_id="c9"), 'no call before it has the id "c9"'),
        (lambda entries: entries[0].update(contnet="x"), 'Message 1: unknown key "contnet"'),
        (lambda entries: entries[1]["tool_calls"][0]["function"].update(args="{}"), 'unknown key "args"'),
        (lambda entries: entries.append("hello"), "Message 4 is no chat message"),
    ],
)
def test_a_fault_is_named_by_message(change: object, sentence: str) -> None:
    entries = json.loads(to_editable(MESSAGES))
    change(entries)  # type: ignore[operator]
    with pytest.raises(TutelageError, match=sentence):
        read_edited(json.dumps(entries))


def test_a_call_without_arguments_may_have_none() -> None:
    entries = json.loads(to_editable(MESSAGES))
    entries[1]["tool_calls"][0]["function"]["arguments"] = ""
    assert read_edited(json.dumps(entries))[1].tool_calls[0].arguments == ""


def test_broken_json_is_named_by_line() -> None:
    with pytest.raises(TutelageError, match="Line 2: not valid JSON"):
        read_edited("[\n{]")
