"""One model call at any OpenAI-style chat-completions endpoint."""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import openai

from tutelage.dialect.reasoning import apart
from tutelage.errors import TutelageError
from tutelage.project import Sampling
from tutelage.trace import Message, Tool, ToolCall

RETRIES = 2  # of a refused connection: a server that is gone is said soon
BUSY_RETRIES = 7  # of an endpoint that is overloaded: about a minute, unless it says how long to wait
LONGEST_WAIT = 60.0  # seconds between two tries
NO_KEY = "none"  # the client insists on a key; servers without one ignore it
BUSY = (429, 502, 503, 504)  # of a server or of the proxy before it
QUOTED_CHARACTERS = 400
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class EndpointError(TutelageError):
    """The endpoint answered a request with an error."""


class EndpointUnreachable(EndpointError):
    """Nobody answers at the endpoint's URL, or it refuses every request (a wrong key, an unknown model)."""


class EndpointTimeout(EndpointError):
    """A model call took longer than it may."""


class InvalidOutput(EndpointError):
    """The engine could not parse what the model wrote. Says more about the model than about the endpoint."""


class ContextExceeded(EndpointError):
    """The prompt is longer than the endpoint's context."""


@dataclass(frozen=True)
class Completion:
    message: Message
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    raw: dict[str, Any] = field(repr=False)  # the response body as it came


class ChatEndpoint:
    """An endpoint and how to ask it. Holds one pool of HTTP connections: share it among rollouts, then close it."""

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
        self._extra = {**self.sampling.extra, **(extra or {})}
        self._key = api_key
        local = urlsplit(url).hostname in LOOPBACK  # a proxy is not asked for this machine's own addresses
        self._client = openai.AsyncOpenAI(
            base_url=url,
            api_key=api_key or NO_KEY,
            timeout=request_seconds,
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False) if local else None,
        )
        self._request_seconds = request_seconds

    async def complete(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        *,
        send_reasoning: bool = True,
        max_tokens: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Completion:
        """The model's answer to `messages`. `extra` goes into the request body, over the sampling's own extra fields.

        Raises EndpointUnreachable, EndpointTimeout, InvalidOutput, ContextExceeded or EndpointError.
        """
        more = {**self._extra, **(extra or {})}
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
        return self._completion(await self._post({**body, **more}))

    async def close(self) -> None:
        await self._client.close()

    async def __aenter__(self) -> "ChatEndpoint":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        for attempt in range(BUSY_RETRIES + 1):
            try:
                # `post` rather than `chat.completions.create`: the body is sent and kept as it is, unvalidated.
                response = await self._client.post("/chat/completions", body={"model": self.model, **body}, cast_to=str)
            except openai.APIError as error:
                if attempt >= _retries(error):
                    raise self._error(error) from None
                wait = _wait(error, attempt)
            else:
                return self._parsed(response)
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    def _parsed(self, response: str) -> dict[str, Any]:
        try:
            data = json.loads(response)
            data["choices"][0]["message"]["role"]
        except (json.JSONDecodeError, KeyError, IndexError, TypeError):
            raise EndpointError(
                f"{self.url} answered with something that is no chat completion: {self._quote(response)}. "
                "Check that the URL ends in /v1 of an OpenAI-style server."
            ) from None
        return dict(data)

    def _completion(self, data: dict[str, Any]) -> Completion:
        choice, usage = data["choices"][0], data.get("usage") or {}
        try:
            message = _message(choice["message"])
        except (KeyError, TypeError, ValueError) as error:
            raise EndpointError(f"{self.url} answered with a message that cannot be read: {error}.") from None
        return Completion(
            message=message,
            finish_reason=choice.get("finish_reason"),
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
            raw=data,
        )

    def _error(self, error: openai.APIError) -> EndpointError:
        """The error as one of ours, with one sentence that names the endpoint and never the key."""
        if isinstance(error, openai.APITimeoutError):
            return EndpointTimeout(f"{self.url} did not answer within {self._request_seconds:g} s.")
        if isinstance(error, openai.APIConnectionError):
            return EndpointUnreachable(
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
            return EndpointUnreachable(
                f"The endpoint {self.url} is overloaded or down ({status}): {text}. Run again once it answers; "
                "a lower [collect] concurrency may help."
            )
        if status == 404:
            return EndpointUnreachable(
                f'The endpoint {self.url} does not know the path or the model "{self.model}" (404): {text}. '
                "Check both; the URL of most servers ends in /v1."
            )
        return EndpointError(f"The endpoint {self.url} answered {status or 'with an error'}: {text}")

    def _quote(self, text: str) -> str:
        """`text` without the key, in case a server repeats it, cut to a length that fits an error."""
        if self._key:
            text = text.replace(self._key, "…")
        return " ".join(text.split())[:QUOTED_CHARACTERS]


def _is_parser_error(text: str) -> bool:
    """llama.cpp's words for output of the model's that its tool-call parser refuses."""
    return "pars" in text.lower() or "does not match the expected" in text


def _retries(error: openai.APIError) -> int:
    """How often to send the same request again: never for what a model wrote, nor for a request that was wrong."""
    if isinstance(error, openai.APITimeoutError):
        return 0
    if isinstance(error, openai.APIStatusError):
        return BUSY_RETRIES if error.status_code in BUSY else 0
    return RETRIES if isinstance(error, openai.APIConnectionError) else 0


def _wait(error: openai.APIError, attempt: int) -> float:
    """Seconds up to the next try: what the endpoint asks for, else doubling; spread, so that rollouts do not march."""
    asked = 0.0
    if isinstance(error, openai.APIStatusError):
        try:
            asked = float(error.response.headers.get("retry-after", 0))
        except ValueError:  # a date
            asked = 0.0
    seconds = asked if asked > 0 else 0.5 * 2**attempt
    return min(LONGEST_WAIT, seconds * random.uniform(1.0, 1.25))


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


def _tool_call(call: dict[str, Any], number: int) -> ToolCall:
    function = call["function"]
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments or {}, ensure_ascii=False)
    return ToolCall(id=call.get("id") or f"call_{number}", name=function.get("name") or "", arguments=arguments)
