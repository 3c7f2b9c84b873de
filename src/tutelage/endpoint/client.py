"""One model call at any OpenAI-style chat-completions endpoint."""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import openai

from tutelage.dialect.characters import without_half_characters
from tutelage.dialect.reasoning import apart
from tutelage.endpoint.addresses import is_local
from tutelage.endpoint.breaker import Breaker
from tutelage.endpoint.clock import stopped
from tutelage.endpoint.errors import (
    ContextExceeded,
    EndpointDown,
    EndpointError,
    EndpointTimeout,
    EndpointUnreachable,
    InvalidOutput,
    NoCompletion,
    Outage,
)
from tutelage.endpoint.extra import with_extra
from tutelage.errors import TutelageError
from tutelage.settings import Sampling
from tutelage.trace import Message, Tool, ToolCall

RETRIES = 2  # of a refused connection: a server that is gone is said soon
BUSY_RETRIES = 7  # of an endpoint that is overloaded: about a minute, unless it says how long to wait
FAULT_RETRIES = 4  # of an answer that is none: an internal error, a body that was cut off or holds no message
FIRST_WAIT = 0.5  # seconds; each next wait is twice as long
LONGEST_WAIT = 60.0  # seconds between two tries
LONGEST_ASKED = 900.0  # likewise, where the endpoint says how long
NO_KEY = "none"  # the client insists on a key; servers without one ignore it
BUSY = (429, 502, 503, 504)  # of a server or of the proxy before it
QUOTED_CHARACTERS = 400
MOST_TOKENS = 2**31  # that a database counts
PROBE = (Message(role="user", content="Say yes."),)
PROBE_TOKENS = 16


@dataclass(frozen=True)
class Completion:
    message: Message
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    raw: dict[str, Any] = field(repr=False)  # the response body as it came


class ChatEndpoint:
    """An endpoint and how to ask it. Holds one pool of HTTP connections: share it among rollouts, then close it.

    With a breaker, calls wait while the endpoint is down.
    """

    breaker: Breaker | None = None
    prompt_tokens = 0  # of all answers so far, as far as the endpoint tells
    completion_tokens = 0

    def __init__(
        self,
        url: str,
        model: str,
        api_key: str | None = None,
        sampling: Sampling | None = None,
        request_seconds: float = 120.0,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.url = url
        self.model = model
        self.sampling = sampling or Sampling()
        self._extra = with_extra(self.sampling.extra, extra or {})
        self._key = api_key
        try:
            self._client = openai.AsyncOpenAI(
                base_url=url,
                api_key=api_key or NO_KEY,
                timeout=request_seconds,
                max_retries=0,
                http_client=openai.DefaultAsyncHttpxClient(trust_env=False) if is_local(url) else None,
            )
        except Exception as error:  # that of the HTTP library that the SDK stands on, or Python's own
            if not isinstance(error, ValueError) and type(error).__name__ != "InvalidURL":
                raise
            raise TutelageError(f'"{url}" is no URL of an endpoint: {error}. Write http://HOST:PORT/v1.') from None
        self._request_seconds = request_seconds

    async def complete(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        *,
        send_reasoning: bool = True,
        max_tokens: int | None = None,
        extra: Mapping[str, Any] | None = None,
        clock: asyncio.Timeout | None = None,
    ) -> Completion:
        """The model's answer to `messages`. `extra` goes into the request body, over the sampling's own extra fields.

        `clock` stands still while the endpoint keeps the call waiting. Raises an error of endpoint/errors.py.
        """
        body = self._body(messages, tools, send_reasoning, max_tokens, extra)

        async def ask() -> Completion:
            return self._completion(await self._post(body, clock))

        if self.breaker is None:
            return await ask()
        return await self.breaker.call(ask, self._probe, clock)

    async def _probe(self) -> None:
        """Whether the endpoint answers: the smallest request that shows it."""
        await self._post(self._body(PROBE, (), False, PROBE_TOKENS, None), None)

    def _body(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        send_reasoning: bool,
        max_tokens: int | None,
        extra: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        more = with_extra(self._extra, extra or {})
        body: dict[str, Any] = {
            "messages": [message.to_openai(reasoning=send_reasoning) for message in messages],
            "temperature": self.sampling.temperature,
        }
        if "max_completion_tokens" not in more:  # servers that know this name refuse to be told both
            body["max_tokens"] = min(max_tokens or self.sampling.max_tokens, self.sampling.max_tokens)
        if tools:
            body["tools"] = [tool.to_openai() for tool in tools]
        if self.sampling.top_p is not None:
            body["top_p"] = self.sampling.top_p
        return {**body, **more}

    async def close(self) -> None:
        await self._client.close()

    async def __aenter__(self) -> "ChatEndpoint":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _post(self, body: dict[str, Any], clock: asyncio.Timeout | None) -> dict[str, Any]:
        for attempt in range(BUSY_RETRIES + 1):
            try:
                # `post` rather than `chat.completions.create`: the body is sent and kept as it is, unvalidated.
                response = await self._client.post("/chat/completions", body={"model": self.model, **body}, cast_to=str)
                return self._parsed(response)
            except openai.APIError as error:
                failure = self._error(error)
                if attempt >= _retries(error, failure):
                    raise failure from None
                wait = _wait(attempt, _asked_seconds(_retry_after(error)))
            except NoCompletion:
                if attempt >= FAULT_RETRIES:
                    raise
                wait = _wait(attempt)
            with stopped(clock):
                await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    def _parsed(self, response: str) -> dict[str, Any]:
        try:
            data: dict[str, Any] = without_half_characters(json.loads(response))
            data["choices"][0]["message"]["role"]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise NoCompletion(
                f"{self.url} answered with something that is no chat completion: {self._quote(response)}. "
                "Check that the URL ends in /v1 of an OpenAI-style server."
            ) from None
        return data

    def _completion(self, data: dict[str, Any]) -> Completion:
        choice = data["choices"][0]
        try:
            message = _message(choice["message"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EndpointError(f"{self.url} answered with a message that cannot be read: {error}.") from None
        prompt_tokens, completion_tokens = (
            _count(data.get("usage"), f"{kind}_tokens") for kind in ("prompt", "completion")
        )
        self.prompt_tokens += prompt_tokens or 0
        self.completion_tokens += completion_tokens or 0
        finish = choice.get("finish_reason")
        return Completion(
            message, finish if isinstance(finish, str) else None, prompt_tokens, completion_tokens, raw=data
        )

    def _error(self, error: openai.APIError) -> EndpointError:
        """The error as one of ours, with one sentence that names the endpoint and never the key."""
        if isinstance(error, openai.APITimeoutError):
            return EndpointTimeout(f"{self.url} did not answer within {self._request_seconds:g} s.")
        if isinstance(error, openai.APIConnectionError):
            return EndpointDown(
                f"The endpoint {self.url} cannot be reached. Check that its server runs and that the URL is right."
            )
        status = error.status_code if isinstance(error, openai.APIStatusError) else None
        text = self._quote(_detail(error))
        if _is_context_error(error, text):
            return ContextExceeded(f"The prompt is longer than the context of {self.url}: {text}")
        if status == 500 and _is_parser_error(text):
            return InvalidOutput(f"{self.url} could not parse the model's output: {text}")
        if status in (401, 403):
            return EndpointUnreachable(f"The endpoint {self.url} refuses the key ({status}): {text}. Check the key.")
        if status in BUSY:
            return EndpointDown(
                f"The endpoint {self.url} is overloaded or down ({status}): {text}. Run again once it answers; "
                "a lower [collect] concurrency may help."
            )
        if status == 404:
            return EndpointUnreachable(
                f'The endpoint {self.url} does not know the path or the model "{self.model}" (404): {text}. '
                "Check both; the URL of most servers ends in /v1."
            )
        kind = Outage if status is not None and status >= 500 else EndpointError
        return kind(f"The endpoint {self.url} answered {status or 'with an error'}: {text}")

    def _quote(self, text: str) -> str:
        """`text` without the key, in case a server repeats it, cut to a length that fits an error."""
        if self._key:
            text = text.replace(self._key, "…")
        return " ".join(text.split())[:QUOTED_CHARACTERS]


def _is_parser_error(text: str) -> bool:
    """llama.cpp's words for output of the model's that its tool-call parser refuses."""
    return "pars" in text.lower() or "does not match the expected" in text


def _retries(error: openai.APIError, failure: EndpointError) -> int:
    """How often to send the same request again: never for what a model wrote, nor for a request that was wrong."""
    if isinstance(failure, (EndpointTimeout, InvalidOutput, ContextExceeded)):
        return 0
    if isinstance(error, openai.APIStatusError):
        if error.status_code in BUSY:
            return BUSY_RETRIES
        return FAULT_RETRIES if error.status_code >= 500 else 0
    # A connection that was refused is soon said; one that broke off during an answer is another matter.
    refused = type(error.__cause__).__name__ == "ConnectError"  # of the HTTP library that the SDK stands on
    return RETRIES if refused else FAULT_RETRIES


def _wait(attempt: int, asked: float = 0.0) -> float:
    """Seconds up to the next try: what the endpoint asked for, else doubling; spread, so that rollouts do not march."""
    seconds = min(LONGEST_ASKED, asked) or min(LONGEST_WAIT, FIRST_WAIT * 2**attempt)
    return seconds * random.uniform(1.0, 1.25)


def _retry_after(error: openai.APIError) -> str:
    return error.response.headers.get("retry-after", "") if isinstance(error, openai.APIStatusError) else ""


def _asked_seconds(retry_after: str) -> float:
    """The header's value, which is a number of seconds or a date; 0 where it is neither or over."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _detail(error: openai.APIError) -> str:
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        return str(inner.get("message", inner)) if isinstance(inner, dict) else str(inner)
    return str(body or error.message)


def _is_context_error(error: openai.APIError, text: str) -> bool:
    """llama.cpp names the type; vLLM and OpenAI say it in words or in `code`."""
    body = error.body if isinstance(error.body, dict) else {}
    kinds = (body.get("type"), body.get("code"))
    return bool({"exceed_context_size_error", "context_length_exceeded"} & {str(kind) for kind in kinds}) or (
        isinstance(error, openai.BadRequestError)
        and any(words in text.lower() for words in ("maximum context length", "context size", "max_model_len"))
    )


def _message(data: dict[str, Any]) -> Message:
    """The assistant message with its reasoning apart, wherever the server put it, and otherwise as it arrived."""
    content, reasoning = apart(data.get("content"), data.get("reasoning_content") or data.get("reasoning"))
    calls = tuple(_tool_call(call, number) for number, call in enumerate(data.get("tool_calls") or ()))
    if calls and content is not None and not content.strip():
        content = ""
    return Message(role="assistant", content=content, reasoning_content=reasoning, tool_calls=calls)


def _count(usage: Any, name: str) -> int | None:
    """A number of tokens, as far as the server tells it."""
    found = usage.get(name) if isinstance(usage, dict) else None
    return found if isinstance(found, int) and 0 <= found < MOST_TOKENS else None


def _tool_call(call: dict[str, Any], number: int) -> ToolCall:
    function = call["function"]
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments or {}, ensure_ascii=False)
    return ToolCall(id=call.get("id") or f"call_{number}", name=function.get("name") or "", arguments=arguments)
