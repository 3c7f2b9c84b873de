"""The proxy: an agent's traffic, byte for byte; a copy of each finished exchange goes into the spool.

An answer's last bytes are held back until the exchange is on disk: what a client saw the end of is recorded, whenever
this process is killed. Nothing that goes wrong with the copy reaches the traffic.
"""

import contextlib
import json
import sys
import time
import zlib
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Any, Protocol

import aiohttp
from aiohttp import web

from tutelage.dialect import Progress, anthropic, chat, responses
from tutelage.endpoint.proxy import Upstream, application, as_it_comes, hand_back, whole
from tutelage.record.events import EventReader
from tutelage.record.keys import keys_of
from tutelage.record.spool import Spool
from tutelage.trace import now

PATHS = {"/chat/completions": "chat", "/responses": "responses", "/messages": "anthropic"}  # end -> dialect


class Stream(Protocol):
    """A streamed answer in one of the dialects."""

    def add(self, event: dict[str, Any] | str) -> Progress: ...

    def response(self) -> dict[str, Any] | None: ...


STREAMS: dict[str, type[Stream]] = {"chat": chat.Stream, "responses": responses.Stream, "anthropic": anthropic.Stream}


def proxy(url: str, spool: Spool) -> web.Application:
    """The server before the endpoint `url` (up to and including /v1)."""
    upstream = Upstream(url)

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        dialect = _dialect(request)
        plain = _unpacked(body, request.headers) if dialect else None
        copy = Copy(spool, dialect, plain, request.headers) if dialect and plain is not None else None
        try:
            # What is compressed could not be read; the bytes between us and the client are few.
            async with upstream.ask(request, body, unpacked=copy is not None) as answer:
                if copy is None:
                    return await hand_back(request, answer)
                if answer.status != 200:
                    return await hand_back(request, answer, as_it_comes(answer))
                if answer.content_type == "text/event-stream":
                    return await hand_back(request, answer, recorded(answer, copy))
                got = await answer.read()
        except aiohttp.ClientError as error:
            return upstream.unreachable(error)
        copy.save(got)
        return whole(answer, got)

    return application(upstream, handle)


class Copy:
    """The copy of one exchange."""

    def __init__(self, spool: Spool, dialect: str, body: bytes, headers: Mapping[str, str]) -> None:
        self._spool, self._dialect, self._body = spool, dialect, body
        self._keys = keys_of(headers)
        self._started: datetime = now()
        self._clock = time.monotonic()
        self._reader, self._stream = EventReader(), STREAMS[dialect]()
        self._saved = self._broken = False
        self._progress = Progress.GOES_ON

    def add(self, part: bytes) -> Progress:
        """Read a streamed answer's next bytes; how far it has come with their last event."""
        self._read(self._reader.feed(part))
        return self._progress

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

    def _read(self, events: list[str]) -> None:
        for event in events:
            if self._broken or self._progress is Progress.ENDED:
                break
            try:
                data = json.loads(event) if event.startswith("{") else event
                self._progress = self._stream.add(data)
            except Exception as error:  # whatever an endpoint sends, the agent gets it
                self._broken, self._progress = True, Progress.GOES_ON
                print(f"tutelage: a streamed answer could not be read: {error!r}", file=sys.stderr, flush=True)


def _dialect(request: web.Request) -> str | None:
    if request.method != "POST":
        return None
    return next((name for end, name in PATHS.items() if request.path.endswith(end)), None)


def _unpacked(body: bytes, headers: Mapping[str, str]) -> bytes | None:
    """A request's body, which a client may have compressed; None where it cannot be read."""
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding == "identity":
        return body
    if encoding in ("gzip", "deflate"):
        with contextlib.suppress(zlib.error):
            return zlib.decompress(body, zlib.MAX_WBITS | 32)  # of either kind
    print(f"tutelage: a request could not be recorded: its body is in {encoding}", file=sys.stderr, flush=True)
    return None


async def recorded(answer: aiohttp.ClientResponse, copy: Copy) -> AsyncGenerator[bytes, None]:
    """A streamed answer's bytes as they come, but for the last ones, which wait until `copy` is on disk."""
    held: list[bytes] = []  # from the bytes on with which all seems to be said
    try:
        async for part in as_it_comes(answer):
            held.append(part)
            progress = copy.add(part)
            if progress is Progress.SAID:
                continue
            if progress is Progress.ENDED:
                copy.end()
            yield b"".join(held)
            held = []
        copy.end()
        if held:
            yield b"".join(held)
    except aiohttp.ClientError:
        copy.end()
        if held:
            yield b"".join(held)
        raise
