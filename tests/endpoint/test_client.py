import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from endpoint_double import Answer, endpoint_double, fails, says

from tutelage.endpoint import client
from tutelage.endpoint.client import ChatEndpoint, Completion
from tutelage.endpoint.errors import (
    ContextExceeded,
    EndpointError,
    EndpointUnreachable,
    InvalidOutput,
    NoCompletion,
)
from tutelage.errors import TutelageError
from tutelage.settings import Sampling
from tutelage.trace import Message, Tool

ASKED = [Message(role="user", content="hello")]
KEY = "sk-very-secret"


def complete(url: str, **options: object) -> Completion:
    async def run() -> Completion:
        async with ChatEndpoint(url, "m", KEY, Sampling(temperature=0, max_tokens=7)) as endpoint:
            return await endpoint.complete(ASKED, options.pop("tools", ()), **options)  # type: ignore[arg-type]

    return asyncio.run(run())


def ask(*answers: Answer) -> Completion:
    with endpoint_double(*answers) as double:
        return complete(double.url)


def test_reasoning_is_found_wherever_the_server_puts_it() -> None:
    for answer in (
        says("hi", reasoning="I think\n"),
        says("hi", **{"reasoning": "I think\n"}),
        says("<think>I think\n</think>hi"),
    ):
        message = ask(answer).message
        assert (message.reasoning_content, message.content) == ("I think\n", "hi")


def test_reasoning_that_never_ends_leaves_no_content() -> None:
    message = ask(says("<think>on and on")).message
    assert (message.reasoning_content, message.content) == ("on and on", None)


def test_arguments_are_kept_as_they_arrived() -> None:
    message = ask(says(" \n", ("find", '{"b": 1,  "a":2'))).message
    assert message.tool_calls[0].arguments == '{"b": 1,  "a":2'
    assert message.content == ""


def test_a_request_holds_sampling_tools_and_extra_fields() -> None:
    definition = '{"type": "function", "function": {"name": "f", "parameters": {"z": 1, "a": 2}}}'
    with endpoint_double(says("hi")) as double:
        complete(double.url, tools=[Tool(name="f", definition=definition)], extra={"lora": [{"id": 0, "scale": 0.0}]})
    (body,) = double.requests
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("m", 7, 0)
    assert list(body["tools"][0]["function"]["parameters"]) == ["z", "a"]
    assert body["lora"] == [{"id": 0, "scale": 0.0}]


def test_an_overloaded_endpoint_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.01)
    assert ask(*[fails(429, "busy")] * 7, says("hi")).message.content == "hi"
    with pytest.raises(EndpointUnreachable, match="overloaded"):
        ask(*[fails(503, "busy")] * 8, says("hi"))


@pytest.mark.parametrize(
    "fault", [fails(500, "oops"), Answer(200, '{"choices": [{"mess'), Answer(200, {"choices": []})]
)
def test_an_answer_that_is_none_is_asked_for_again(fault: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.01)
    assert ask(*[fault] * 4, says("hi")).message.content == "hi"


def test_the_endpoint_says_how_long_to_wait() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert client._asked_seconds("7.5") == 7.5
    assert 25 < client._asked_seconds(later) <= 30
    assert client._asked_seconds("soon") == client._asked_seconds("") == client._asked_seconds("nan") == 0
    assert 300 <= client._wait(0, 300) <= 375  # longer than we would wait of our own
    assert client._wait(20) <= 75 and client._wait(0, float("inf")) <= 1125


def test_half_a_character_is_replaced() -> None:
    assert ask(says("a\ud800b")).message.content == "a?b"
    assert ask(says(None, ("find", '{"a": "\ud800"}'))).message.tool_calls[0].arguments == '{"a": "?"}'


def test_a_server_that_takes_max_completion_tokens_is_not_told_both() -> None:
    with endpoint_double(says("hi")) as double:
        complete(double.url, extra={"max_completion_tokens": 5})
    assert "max_tokens" not in double.requests[0]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (fails(400, "too long", type="exceed_context_size_error"), ContextExceeded),
        (fails(400, "This model's maximum context length is 4096 tokens"), ContextExceeded),
        (fails(500, "Failed to parse input at pos 12"), InvalidOutput),
        (fails(401, f"wrong key {KEY}"), EndpointUnreachable),
        (fails(404, "no such model"), EndpointUnreachable),
        (fails(422, "bad request"), EndpointError),
        (Answer(200, "<html>"), NoCompletion),
        (Answer(200, {"choices": []}), NoCompletion),
    ],
)
def test_each_failure_has_its_error_without_the_key(
    answer: Answer, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.01)
    with pytest.raises(EndpointError) as raised:
        ask(answer)
    assert type(raised.value) is error
    assert KEY not in str(raised.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:80a/v1", "http://[::1/v1"])
def test_what_is_no_url_is_said(url: str) -> None:
    with pytest.raises(TutelageError, match="is no URL of an endpoint"):
        ChatEndpoint(url, "m")


def test_nobody_at_the_url_is_unreachable() -> None:
    with pytest.raises(EndpointUnreachable, match=r"127\.0\.0\.1:9/v1 cannot be reached"):
        complete("http://127.0.0.1:9/v1")


def test_what_the_template_is_told_by_the_sampling_and_by_a_call_is_told_together() -> None:
    sampling = Sampling(extra={"chat_template_kwargs": {"language": "en", "enable_thinking": False}, "min_p": 0.1})
    more = {"chat_template_kwargs": {"enable_thinking": True}}

    async def ask(url: str) -> None:
        async with ChatEndpoint(url, "m", None, sampling) as endpoint:
            await endpoint.complete(ASKED, (), extra=more)

    with endpoint_double(says("hi")) as double:
        asyncio.run(ask(double.url))
    (body,) = double.requests
    assert (body["chat_template_kwargs"], body["min_p"]) == ({"language": "en", "enable_thinking": True}, 0.1)
