"""Changes to a trace's messages."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.agent.arguments import fault
from tutelage.errors import TutelageError
from tutelage.review import changes
from tutelage.review.changes import CallText, pretty
from tutelage.review.differences import differences, origins, word_difference
from tutelage.review.edit import check_messages, read_edited, to_editable
from tutelage.trace import Message, Tool, ToolCall

SCHEMA = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "count": {"type": "integer", "minimum": 1}},
    "required": ["id"],
}
TOOL = Tool(
    name="look", definition=json.dumps({"type": "function", "function": {"name": "look", "parameters": SCHEMA}})
)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.builds(
    lambda value, indent, ascii: json.dumps(value, indent=indent, ensure_ascii=ascii),
    st.dictionaries(TEXT, JSON, max_size=3),
    st.sampled_from([None, 1, 2]),
    st.booleans(),
)


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """A system prompt, a question, some steps with calls and results, an answer."""
    messages = [Message(role="system", content=draw(TEXT)), Message(role="user", content=draw(TEXT))]
    for step in range(draw(st.integers(0, 4))):
        calls = tuple(
            ToolCall(id=f"c{step}-{number}", name="look", arguments=draw(ARGUMENTS))
            for number in range(draw(st.integers(1, 2)))
        )
        reasoning, content = draw(st.none() | TEXT), draw(st.none() | TEXT)
        messages.append(Message(role="assistant", reasoning_content=reasoning, content=content, tool_calls=calls))
        messages += [Message(role="tool", content=draw(TEXT), tool_call_id=call.id) for call in calls]
    return [*messages, Message(role="assistant", content=draw(TEXT))]


def steps(messages: Sequence[Message]) -> list[int]:
    return [index for index, message in enumerate(messages) if message.role == "assistant"]


def as_sent(text: str) -> str:
    """What a browser makes of a text field's lines."""
    return changes.unix(text).replace("\n", "\r\n")


@settings(deadline=None)
@given(conversations())
def test_a_form_that_nobody_changed_changes_no_letter(messages: list[Message]) -> None:
    for index, message in enumerate(messages):
        same = changes.rewrite(
            messages,
            index,
            content=as_sent(message.content or ""),
            reasoning=as_sent(message.reasoning_content or ""),
            calls=[CallText(call.name, as_sent(pretty(call.arguments))) for call in message.tool_calls],
        )
        assert same == messages


@settings(deadline=None)
@given(conversations(), st.data())
def test_every_change_leaves_a_conversation_that_can_be_stored(messages: list[Message], data: st.DataObject) -> None:
    before = list(messages)
    for _ in range(4):
        index = data.draw(st.sampled_from(steps(messages) or [0]))
        if messages[index].role != "assistant":
            break
        change = data.draw(st.sampled_from(["delete", "cut", "insert", "remove call", "context"]))
        if change == "delete" and len(messages) > 2:
            messages = changes.delete_step(messages, index)
        elif change == "cut":
            messages = changes.cut_after(messages, index)
        elif change == "insert":
            messages = changes.insert_step(messages, index, content="", call=CallText("look", "{}"), result="there")
        elif change == "remove call":
            messages = changes.rewrite(messages, index, content="So it is.", calls=[])
        else:
            messages = changes.context_only(messages, index, on=True)
        check_messages(messages)
        assert read_edited(to_editable(messages))
    unchanged = [one for one in differences(before, messages) if one.change == "same"]
    assert len(unchanged) == len(messages) - origins(before, messages).count(None)


@settings(deadline=None)
@given(TEXT, TEXT)
def test_a_difference_holds_both_texts_to_the_letter(old: str, new: str) -> None:
    pieces = word_difference(old, new)
    assert "".join(piece.text for piece in pieces if piece.change != "new") == old
    assert "".join(piece.text for piece in pieces if piece.change != "gone") == new


def test_words_are_compared_not_letters_and_not_lines() -> None:
    pieces = word_difference("It costs 12 EUR.", "It costs 13 EUR.")
    assert [tuple(piece) for piece in pieces] == [
        ("same", "It costs "),
        ("gone", "12"),
        ("new", "13"),
        ("same", " EUR."),
    ]


def test_changed_arguments_are_one_line_of_json() -> None:
    messages = [
        Message(role="user", content="?"),
        Message(role="assistant", tool_calls=(ToolCall(id="c", name="look", arguments='{"id":  "ü"}'),)),
        Message(role="tool", content="!", tool_call_id="c"),
    ]
    changed = changes.rewrite(
        messages, 1, content="", calls=[CallText("look", '{\r\n  "id": "ü",\r\n  "count": 2\r\n}')]
    )
    assert changed[1].tool_calls[0].arguments == '{"id": "ü", "count": 2}'
    assert changed[1].content is None


def test_a_call_that_is_removed_takes_its_result_along() -> None:
    calls = tuple(ToolCall(id=id, name="look", arguments="{}") for id in "ab")
    messages = [
        Message(role="user", content="?"),
        Message(role="assistant", tool_calls=calls),
        *(Message(role="tool", content=id, tool_call_id=id) for id in "ab"),
    ]
    kept = changes.rewrite(messages, 1, content="", calls=[CallText("", ""), CallText("look", "{}")])
    assert [call.id for call in kept[1].tool_calls] == ["b"]
    assert [message.content for message in kept[2:]] == ["b"]


def test_what_is_no_step_is_not_deleted() -> None:
    with pytest.raises(TutelageError, match="Message 1 is no step"):
        changes.delete_step([Message(role="user", content="?")], 0)
    with pytest.raises(TutelageError, match="There is no message 8"):
        changes.cut_after([Message(role="user", content="?")], 7)


def test_a_system_prompt_is_rewritten_added_and_removed() -> None:
    asked = Message(role="user", content="?")
    prompt = Message(role="system", content="Be kind.")
    assert changes.system_prompt([asked], "Be kind.") == [prompt, asked]
    assert changes.system_prompt([Message(role="system", content="x"), asked], "Be kind.") == [prompt, asked]
    assert changes.system_prompt([prompt, asked], " ") == [asked]


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("look", '{"id": "P1", "count": 2}', ""),
        ("look", "", "'id' is a required property"),
        ("look", '{"id": 7}', '"id": 7 is not of type'),
        ("look", '{"id": "P1", "count": 0}', '"count": 0 is less than the minimum'),
        ("look", '{"id": ', "not valid JSON: Expecting value: line 1"),
        ("look", "[]", "not a JSON object"),
        ("lock", "{}", 'There is no tool "lock". There are: look.'),
    ],
)
def test_arguments_are_held_against_the_tools_schema(name: str, arguments: str, sentence: str) -> None:
    found = fault([TOOL], name, arguments)
    assert sentence in found if sentence else not found


def test_a_schema_that_is_broken_or_points_elsewhere_forbids_nothing() -> None:
    for parameters in ({"type": "nonsense"}, None, {"$ref": "http://127.0.0.1:9/schema.json"}):
        definition = json.dumps({"type": "function", "function": {"name": "t", "parameters": parameters}})
        assert fault([Tool(name="t", definition=definition)], "t", "{}") == ""
