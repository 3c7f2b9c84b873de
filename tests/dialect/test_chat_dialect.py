"""Chat completions as servers other than OpenAI's send them."""

import json
from typing import Any

import pytest

from tutelage.dialect import Exchange, Progress, Unreadable
from tutelage.dialect.chat import Stream, read

USER = {"role": "user", "content": "Look."}


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}], **more}


def streamed(*events: Any, **request: Any) -> Exchange:
    stream = Stream()
    for event in events:
        stream.add(event)
    response = stream.response()
    assert response is not None
    return read({"model": "m", "messages": [USER], **request}, response)


def given(message: dict[str, Any], **request: Any) -> Exchange:
    return read({"model": "m", "messages": [USER], **request}, {"choices": [{"message": message}]})


@pytest.mark.parametrize("finish", [None, "stop"])
def test_a_streamed_answer_in_which_an_error_comes_is_none(finish: str | None) -> None:
    stream = Stream()
    for event in (chunk({"content": "Half of"}, finish), {"error": {"message": "out of memory"}}, "[DONE]"):
        stream.add(event)
    assert stream.response() is None


def test_chunks_that_say_that_there_is_no_error_are_read() -> None:
    exchange = streamed(chunk({"content": "A lamp."}, error=None), chunk({}, "stop", error=None), "[DONE]")
    assert exchange.answers[0].message.content == "A lamp."


def test_an_answer_of_several_is_not_said_before_the_others_are() -> None:
    stream = Stream()
    assert stream.add(chunk({"content": "heads"}, "stop")) is Progress.SAID
    assert stream.add("a keep-alive that is no object") is Progress.SAID
    assert stream.add(chunk({"content": "ta"}, index=1)) is Progress.GOES_ON
    assert stream.add(chunk({"content": "ils"}, "stop", index=1)) is Progress.SAID
    assert stream.add("[DONE]") is Progress.ENDED


def test_functions_are_tools_whose_calls_have_the_functions_name_for_an_id() -> None:
    function = {"name": "look", "parameters": {"type": "object", "properties": {"what": {"type": "string"}}}}
    asked = {"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": '{"what": "shelf"}'}}
    history = [USER, asked, {"role": "function", "name": "look", "content": "nothing"}]
    whole = given({**asked, "tool_calls": None}, messages=history, functions=[function])
    pieces = [{"name": "look", "arguments": ""}, {"arguments": '{"what": '}, {"arguments": '"shelf"}'}]
    events = [chunk({"content": None, "function_call": piece}) for piece in pieces]
    parts = streamed(*events, chunk({}, "function_call"), messages=history, functions=[function])
    for exchange in (whole, parts):
        (call,) = exchange.answers[0].message.tool_calls
        assert (call.id, call.name, call.arguments) == ("look", "look", '{"what": "shelf"}')
        assert exchange.messages[1].tool_calls == (call,)
        assert (exchange.messages[2].role, exchange.messages[2].tool_call_id) == ("tool", "look")
        assert [tool.to_openai() for tool in exchange.tools] == [{"type": "function", "function": function}]


def test_a_refusal_is_the_answer_where_nothing_else_is_said() -> None:
    deltas = [{"content": ""}, {"refusal": "I will "}, {"refusal": "not."}]
    exchange = streamed(*(chunk(delta) for delta in deltas), chunk({}, "stop"))
    assert exchange.answers[0].message.content == "I will not."


def test_tools_that_the_server_runs_are_passed_over() -> None:
    look = {"type": "function", "function": {"name": "look"}}
    search = {"type": "web_search", "web_search": {}}
    exchange = given({"content": "A lamp."}, tools=[search, look])
    assert [tool.name for tool in exchange.tools] == ["look"] and not exchange.not_kept
    with pytest.raises(Unreadable, match="a tool is no function"):
        given({"content": "A lamp."}, tools=[{"type": "function"}])


def test_a_call_of_a_tool_that_nobody_could_show_a_student_is_noted() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    exchange = given({"content": None, "tool_calls": [call]}, tools=[{"type": "builtin", "name": "search"}])
    assert exchange.not_kept == {"tool search": 1}


def test_a_custom_tools_streamed_input_is_joined() -> None:
    first = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "write", "input": ""}}
    pieces = [first, {"index": 0, "custom": {"input": "a lamp"}}, {"index": 0, "custom": {"input": " is here"}}]
    exchange = streamed(*(chunk({"tool_calls": [piece]}) for piece in pieces), chunk({}, "tool_calls"))
    (call,) = exchange.answers[0].message.tool_calls
    assert (call.id, call.name, call.arguments) == ("c", "write", "a lamp is here")


def test_content_in_parts_is_read_whole_and_streamed() -> None:
    """As Mistral's models give it: a list while they think, then text."""
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": word}]} for word in ("Where ", "is it?")]
    whole = given({"content": [*thinking, {"type": "text", "text": "A lamp."}]})
    parts = streamed(
        *(chunk({"content": [each]}) for each in thinking),
        chunk({"content": "A "}),
        chunk({"content": "lamp."}, "stop"),
    )
    for exchange in (whole, parts):
        message = exchange.answers[0].message
        assert (message.content, message.reasoning_content) == ("A lamp.", "Where is it?")
        assert not exchange.not_kept


def test_pieces_of_parallel_calls_come_in_any_order() -> None:
    def piece(index: int, **more: Any) -> dict[str, Any]:
        return chunk({"tool_calls": [{"index": index, **more}]})

    exchange = streamed(
        piece(1, id="b", function={"name": "look", "arguments": '{"what": '}),
        piece(0, id="a", function={"name": "look", "arguments": "{}"}),
        piece(1, function={"arguments": '"attic"}'}),
        chunk({}, "tool_calls"),
    )
    told = {call.id: json.loads(call.arguments) for call in exchange.answers[0].message.tool_calls}
    assert told == {"a": {}, "b": {"what": "attic"}}
