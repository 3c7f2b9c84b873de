"""Requests that fail, clients that leave and endpoints that break off: what was not said whole is not recorded."""

import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest
from aiohttp import web
from record_helpers import drained, recording, shape
from scripted_endpoint import Said, scripted_endpoint
from serving import serving

from tutelage.record.spool import Spool
from tutelage.store import TraceStore

WAIT = 60.0  # seconds, of a machine that is busy
ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Look."}]}


def chunk(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return f"data: {json.dumps({'id': '1', 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n".encode()


class Upstream:
    """An endpoint whose first answer is `begun` and then whatever a test does; the next ones are whole."""

    def __init__(self, *begun: bytes, breaks: bool = False) -> None:
        self.begun, self.breaks = begun, breaks
        self.asked = 0
        self.left = threading.Event()  # by the client of the first one
        self.app = web.Application()
        self.app.router.add_post("/v1/chat/completions", self.answer)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        first = self.asked == 1
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        async for part in self.parts(request) if first else self.whole():
            await response.write(part)
        return response

    async def parts(self, request: web.Request) -> AsyncIterator[bytes]:
        import asyncio

        for part in self.begun:
            yield part
        if self.breaks:
            assert request.transport
            request.transport.abort()
            return
        try:
            await asyncio.Event().wait()  # until it is cancelled, since the client is gone
        finally:
            self.left.set()

    async def whole(self) -> AsyncIterator[bytes]:
        for part in (chunk("A lamp."), chunk("", "stop"), b"data: [DONE]\n\n"):
            yield part


def ask(url: str, **more: Any) -> str:
    """The text of a streamed answer."""
    with openai.OpenAI(base_url=url, api_key="none", **more) as client:
        chunks = client.chat.completions.create(**ASKED, stream=True)
        return "".join(each.choices[0].delta.content or "" for each in chunks)


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_sdks_retry_after_an_error_is_one_answer(spool: Spool, store: TraceStore, stream: bool, api: str) -> None:
    script = lambda results, asked: Said(f"You asked: {asked}")  # noqa: E731
    with scripted_endpoint(script=script, failures=[500, 429]) as double, recording(double.url, spool) as url:
        with openai.OpenAI(base_url=url, api_key="none", max_retries=3) as client:
            if api == "chat":
                got: Any = client.chat.completions.create(**ASKED, stream=stream)
                text = "".join(each.choices[0].delta.content or "" for each in got) if stream else None
                text = text or got.choices[0].message.content
            else:
                got = client.responses.create(model="m", input="Look.", stream=stream)
                done = [event.response for event in got if event.type == "response.completed"] if stream else [got]
                text = done[0].output_text
        assert len(double.requests) == 3
    (trace,) = drained(spool, store)
    assert shape(trace) == ["u: Look.", f"a: {text}"] and text == "You asked: Look."
    assert trace.task.kind == "recorded"


def test_a_client_that_leaves_in_the_middle_of_an_answer_and_asks_again(spool: Spool, store: TraceStore) -> None:
    upstream = Upstream(chunk("Half of "), chunk("an answer"))
    with serving(upstream.app) as there, recording(there, spool) as url:
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
            stream = client.chat.completions.create(**ASKED, stream=True)
            assert next(iter(stream)).choices[0].delta.content == "Half of "
            stream.close()
        assert upstream.left.wait(WAIT)  # the endpoint need not go on for nobody
        assert spool.waiting() == []
        assert ask(url, max_retries=0) == "A lamp."
    (trace,) = drained(spool, store)
    assert shape(trace) == ["u: Look.", "a: A lamp."]


@pytest.mark.parametrize("begun", [(), (chunk("Half of "), chunk("an answer"))])
def test_an_endpoint_that_breaks_off_breaks_off_for_the_client_too(
    spool: Spool, store: TraceStore, begun: tuple[bytes, ...]
) -> None:
    upstream = Upstream(*begun, breaks=True)
    with serving(upstream.app) as there, recording(there, spool) as url:
        with pytest.raises((openai.APIError, httpx2.HTTPError)):
            ask(url, max_retries=0)
        assert spool.waiting() == []
        assert ask(url, max_retries=0) == "A lamp."
    (trace,) = drained(spool, store)
    assert shape(trace) == ["u: Look.", "a: A lamp."]


def test_an_answer_that_was_said_whole_before_the_endpoint_broke_off_is_kept(spool: Spool, store: TraceStore) -> None:
    upstream = Upstream(chunk("A lamp"), chunk(".", "stop"), breaks=True)
    with (
        serving(upstream.app) as there,
        recording(there, spool) as url,
        pytest.raises((openai.APIError, httpx2.HTTPError)),
    ):
        ask(url, max_retries=0)
    (trace,) = drained(spool, store)
    assert shape(trace) == ["u: Look.", "a: A lamp."]


def test_an_error_in_the_middle_of_a_stream_arrives_and_the_half_answer_is_not_recorded(
    spool: Spool, store: TraceStore
) -> None:
    """As vLLM ends a stream that fails: with an error and then as if all was well."""
    error = b'data: {"error": {"message": "out of memory", "code": 500}}\n\ndata: [DONE]\n\n'
    upstream = Upstream(chunk("Half of "), error, breaks=True)
    with serving(upstream.app) as there, recording(there, spool) as url:
        with pytest.raises(openai.APIError, match="out of memory"):
            ask(url, max_retries=0)
        assert ask(url, max_retries=0) == "A lamp."
    (trace,) = drained(spool, store)
    assert shape(trace) == ["u: Look.", "a: A lamp."]
