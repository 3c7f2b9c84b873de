"""Server-sent events are the same however their bytes are cut."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.dialect import Progress, chat
from tutelage.record.events import EventReader

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=30)


def events_of(parts: list[bytes]) -> list[str]:
    reader = EventReader()
    return [event for part in parts for event in reader.feed(part)] + reader.end()


@given(st.lists(st.lists(TEXTS, min_size=1, max_size=3), max_size=5), st.sampled_from(["\n", "\r\n", "\r"]), st.data())
def test_events_survive_every_cut_comments_and_each_line_end(events: list[list[str]], end: str, data: Any) -> None:
    text = data.draw(st.sampled_from(["", "\ufeff"]))
    for lines in events:
        if data.draw(st.booleans()):
            text += f": a comment{end}" + data.draw(st.sampled_from(["", end]))
        text += f"event: x{end}id: 1{end}" if data.draw(st.booleans()) else ""
        text += "".join(f"data:{data.draw(st.sampled_from([' ', '']))}{line.lstrip(' ')}{end}" for line in lines) + end
    stream = text.encode()
    expected = ["\n".join(line.lstrip(" ") for line in lines) for lines in events]
    assert events_of([stream]) == expected
    assert events_of([stream[n : n + 1] for n in range(len(stream))]) == expected
    cut = data.draw(st.integers(0, len(stream)))
    assert events_of([stream[:cut], b"", stream[cut:]]) == expected


def test_a_character_cut_in_its_middle_stays_whole() -> None:
    stream = 'data: {"a": "💡é"}\n\n'.encode()
    for cut in range(len(stream)):
        assert events_of([stream[:cut], stream[cut:]]) == ['{"a": "💡é"}']


def test_the_last_blank_line_may_be_missing() -> None:
    assert events_of([b"data: a\n\ndata: b"]) == ["a", "b"]
    assert events_of([b"data: a\n\ndata: b\n"]) == ["a", "b"]
    assert events_of([b"data: a\n\n"]) == ["a"]


@pytest.mark.parametrize("event", [[], 3, "x", {"choices": None}, {"error": {}}, {"choices": []}])
def test_events_that_say_nothing_are_passed_over(event: Any) -> None:
    stream = chat.Stream()
    assert stream.add(event) is Progress.GOES_ON
    assert stream.response() is None


def test_calls_come_together_however_a_server_cuts_them() -> None:
    stream = chat.Stream()
    pieces = [
        {"id": "a", "function": {"name": "look", "arguments": '{"x"'}},
        {"function": {"arguments": ": 1}"}},
        {"id": "b", "function": {"name": "look", "arguments": "{}"}},
    ]
    for piece in pieces:
        stream.add({"choices": [{"delta": {"tool_calls": [piece]}}]})
    stream.add({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    response = stream.response()
    assert response
    calls = json.loads(json.dumps(response))["choices"][0]["message"]["tool_calls"]
    assert [(call["id"], call["function"]["arguments"]) for call in calls] == [("a", '{"x": 1}'), ("b", "{}")]
