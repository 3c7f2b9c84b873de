"""What servers before an endpoint share: requests handed on, answers handed back, a port to listen on."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse

from tutelage.endpoint.addresses import in_url, is_local, listen

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
OF_THE_CONNECTION = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}  # headers not handed on
MAX_CONNECTIONS = 10_000  # to the endpoint: it says itself when it has enough


class Upstream:
    """The endpoint behind a server of ours: `url` up to and including /v1."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._client: httpx2.AsyncClient | None = None

    @asynccontextmanager
    async def connected(self, _app: Starlette) -> AsyncIterator[None]:
        limits = httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
        async with httpx2.AsyncClient(timeout=None, limits=limits, trust_env=not is_local(self.url)) as client:
            self._client = client
            yield

    async def ask(self, request: Request, body: bytes, **headers: str) -> httpx2.Response:
        """Hand `request` on with `body`; the answer's head, its body still to be read. Raises httpx2.HTTPError."""
        assert self._client
        kept = {name: value for name, value in request.headers.items() if name not in OF_THE_CONNECTION} | headers
        query = f"?{request.url.query}" if request.url.query else ""
        url = self.target(request.url.path) + query
        asked = self._client.build_request(request.method, url, headers=kept, content=body)
        return await self._client.send(asked, stream=True)

    def target(self, path: str) -> str:
        """Where a request to our `path` goes: our /v1 stands for the upstream's last folder, whatever its name."""
        if self.url.endswith("/v1") or not urlsplit(self.url).path:
            return self.url.removesuffix("/v1") + path
        return self.url + path.removeprefix("/v1")

    def unreachable(self, error: httpx2.HTTPError) -> JSONResponse:
        reason = str(error) or type(error).__name__
        return JSONResponse({"error": {"message": f"{self.url} cannot be reached: {reason}"}}, 502)


async def as_it_comes(answer: httpx2.Response) -> AsyncIterator[bytes]:
    """The body of an answer, byte for byte."""
    try:
        async for part in answer.aiter_raw():
            yield part
    finally:
        await answer.aclose()


def kept_headers(answer: httpx2.Response) -> dict[str, str]:
    """Of an answer whose body is handed back as it arrived."""
    return {name: value for name, value in answer.headers.items() if name not in OF_THE_CONNECTION}


def serve(app: Starlette, host: str, port: int, on_ready: Callable[[str], None] | None = None, **options: Any) -> None:
    """Serve until Ctrl-C; `on_ready` gets our own URL. Raises TutelageError where the port is taken."""
    import uvicorn

    with listen(host, port) as listening:
        listening.listen(socket.SOMAXCONN)
        if on_ready:
            on_ready(f"http://{in_url(host)}:{listening.getsockname()[1]}/v1")
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1, **options)
        uvicorn.Server(config).run(sockets=[listening])
