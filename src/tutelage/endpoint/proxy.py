"""What servers before an endpoint share: requests handed on, answers handed back, a port to listen on.

aiohttp on both sides, whose parsers are in C: what a token costs on its way decides how many streams a server carries.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tutelage.endpoint.addresses import in_url, is_local, listen

# Headers that are not handed on: they speak of one connection.
OF_THE_CONNECTION = {"connection", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
OF_THE_BODY = {"content-encoding", "content-length"}  # wrong where the body was unpacked or is another
ADDED_BY_AIOHTTP = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
HEAD_BYTES = 65_536  # the longest header
STOP_SECONDS = 1.0  # for the requests that are under way at the end

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Upstream:
    """The endpoint behind a server of ours: `url` up to and including /v1."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def connected(self, _app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # the endpoint says itself when it has enough
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=ADDED_BY_AIOHTTP,
            auto_decompress=False,
            max_field_size=HEAD_BYTES,
            trust_env=not is_local(self.url),
        ) as session:
            self._session = session
            yield

    def ask(
        self, request: web.Request, body: bytes, *, unpacked: bool = False
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Hand `request` on with `body`; the answer's head, its body still to be read, as it was sent or `unpacked`.

        Entering it raises aiohttp.ClientError.
        """
        assert self._session
        headers = _kept(request.headers, {"content-length"})
        if unpacked:
            headers["Accept-Encoding"] = "identity"
        url = URL(self.target(request.raw_path), encoded=True)
        return self._session.request(
            request.method, url, headers=headers, data=body or None, allow_redirects=False, auto_decompress=unpacked
        )

    def target(self, path: str) -> str:
        """Where a request to our `path` goes: our /v1 stands for the upstream's last folder, whatever its name."""
        if self.url.endswith("/v1") or not urlsplit(self.url).path:
            return self.url.removesuffix("/v1") + path
        return self.url + path.removeprefix("/v1")

    def unreachable(self, error: aiohttp.ClientError) -> web.Response:
        reason = str(error) or type(error).__name__
        return web.json_response({"error": {"message": f"{self.url} cannot be reached: {reason}"}}, status=502)


async def hand_back(
    request: web.Request, answer: aiohttp.ClientResponse, parts: AsyncGenerator[bytes, None] | None = None
) -> web.StreamResponse:
    """The answer with its body as it comes, or with the unpacked `parts` of it. It breaks off where they do."""
    headers = _kept(answer.headers, OF_THE_BODY if parts else set())
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    try:
        await response.prepare(request)
        async with contextlib.aclosing(parts or as_it_comes(answer)) as body:
            async for part in body:
                await response.write(part)
    except (aiohttp.ClientError, OSError):  # the endpoint's connection broke off, or the client's
        response.force_close()
        if request.transport:
            request.transport.close()
    return response


async def as_it_comes(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    async for part in answer.content.iter_any():
        yield part


def whole(answer: aiohttp.ClientResponse, body: bytes) -> web.Response:
    """An answer whose body was unpacked."""
    headers = _kept(answer.headers, OF_THE_BODY)
    return web.Response(status=answer.status, reason=answer.reason, headers=headers, body=body)


def application(upstream: Upstream, handle: Handler) -> web.Application:
    """A server that gives every request to `handle`."""
    app = web.Application(client_max_size=0)
    app.cleanup_ctx.append(upstream.connected)
    app.router.add_route("*", "/{path:.*}", handle)
    return app


def serve(app: web.Application, host: str, port: int, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until Ctrl-C; `on_ready` gets our own URL. Raises TutelageError where the port is taken."""
    with listen(host, port) as listening:
        listening.listen(socket.SOMAXCONN)
        if on_ready:
            on_ready(f"http://{in_url(host)}:{listening.getsockname()[1]}/v1")
        asyncio.run(serve_on(app, listening))


async def serve_on(app: web.Application, listening: socket.socket) -> None:
    """Serve until cancelled. A client that is gone cancels what is done for it."""
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=STOP_SECONDS,
        auto_decompress=False,
        max_field_size=HEAD_BYTES,
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listening, backlog=socket.SOMAXCONN).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _kept(headers: Mapping[str, str], left_out: set[str]) -> CIMultiDict[str]:
    out = OF_THE_CONNECTION | left_out
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in out)
