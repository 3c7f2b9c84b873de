"""The proxy: an agent's traffic, byte for byte; a copy of each finished exchange goes into the spool.

An answer's last bytes are held back until the exchange is on disk: what a client saw the end of is recorded, whenever
this process is killed. Nothing that goes wrong with the copy reaches the traffic.
"""

import json
import sys
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Protocol

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tutelage.dialect import Progress, anthropic, chat, responses
from tutelage.endpoint.proxy import METHODS, Upstream, as_it_comes, kept_headers
from tutelage.record.events import EventReader
from tutelage.record.spool import Spool, keys_of
from tutelage.trace import now

PATHS = {"/chat/completions": "chat", "/responses": "responses", "/messages": "anthropic"}  # end -> dialect


class Stream(Protocol):
    """A streamed answer in one of the dialects."""

    def add(self, event: dict[str, Any] | str) -> Progress: ...

    def response(self) -> dict[str, Any] | None: ...


STREAMS: dict[str, type[Stream]] = {"chat": chat.Stream, "responses": responses.Stream, "anthropic": anthropic.Stream}


def proxy(url: str, spool: Spool) -> Starlette:
    """The server as an ASGI application, before the endpoint `url` (up to and including /v1)."""
    upstream = Upstream(url)

    async def handle(request: Request) -> Response:
        body = await request.body()
        dialect = _dialect(request)
        copy = Copy(spool, dialect, body, request) if dialect else None
        # What is compressed could not be read; the bytes between us and the client are few.
        encoding = {"accept-encoding": "identity"} if copy else {}
        try:
            answer = await upstream.ask(request, body, **encoding)
        except httpx2.HTTPError as error:
            return upstream.unreachable(error)
        headers = kept_headers(answer)
        if copy is None or answer.status_code != 200:
            return StreamingResponse(as_it_comes(answer), answer.status_code, headers)
        headers.pop("content-encoding", None)  # an endpoint that compresses nevertheless: httpx2 undoes it
        if "text/event-stream" in headers.get("content-type", ""):
            return StreamingResponse(_recorded(answer, copy), 200, headers)
        try:
            whole = await answer.aread()
        except httpx2.HTTPError as error:
            return upstream.unreachable(error)
        finally:
            await answer.aclose()
        if not await request.is_disconnected():
            copy.save(whole)
        return Response(whole, 200, headers)

    return Starlette(routes=[Route("/{path:path}", handle, methods=METHODS)], lifespan=upstream.connected)


class Copy:
    """The copy of one exchange."""

    def __init__(self, spool: Spool, dialect: str, body: bytes, request: Request) -> None:
        self._spool, self._dialect, self._body = spool, dialect, body
        self._keys = keys_of(request.headers)
        self._started: datetime = now()
        self._clock = time.monotonic()
        self._reader, self._stream = EventReader(), STREAMS[dialect]()
        self._saved = self._broken = False

    def add(self, part: bytes) -> Progress:
        """Read the events of a streamed answer's next bytes."""
        return self._read(self._reader.feed(part))

    def end(self) -> None:
        """The stream ended, or broke off: an answer that was said whole is kept."""
        self._read(self._reader.end())
        if self._saved or self._broken:
            return
        response = self._stream.response()
        if response is not None:
            self.save(response)

    def save(self, response: dict[str, Any] | bytes) -> None:
        self._saved = True
        try:
            seconds = round(time.monotonic() - self._clock, 4)
            self._spool.write(self._dialect, self._started, seconds, self._body, response, self._keys)
        except OSError as error:  # the agent goes on; a trace lacks this exchange
            print(f"tutelage: an exchange could not be recorded: {error}", file=sys.stderr, flush=True)

    def _read(self, events: list[str]) -> Progress:
        progress = Progress.GOES_ON
        for event in events:
            if self._broken or self._saved:
                break
            try:
                data = json.loads(event) if event.startswith("{") else event
                progress = max(progress, self._stream.add(data), key=lambda each: each.value)
            except Exception as error:  # whatever an endpoint sends, the agent gets it
                self._broken = True
                print(f"tutelage: a streamed answer could not be read: {error!r}", file=sys.stderr, flush=True)
        return progress


def _dialect(request: Request) -> str | None:
    if request.method != "POST":
        return None
    return next((name for end, name in PATHS.items() if request.url.path.endswith(end)), None)


async def _recorded(answer: httpx2.Response, copy: Copy) -> AsyncIterator[bytes]:
    held: list[bytes] = []  # from the bytes on with which all is said
    try:
        async for part in answer.aiter_bytes():
            progress = copy.add(part)
            if progress is Progress.ENDED:
                copy.end()
                yield b"".join([*held, part])
                held = []
            elif progress is Progress.SAID or held:
                held.append(part)
            else:
                yield part
        copy.end()
        if held:
            yield b"".join(held)
    except httpx2.HTTPError:
        copy.end()
        if held:
            yield b"".join(held)
        raise
    finally:
        await answer.aclose()
