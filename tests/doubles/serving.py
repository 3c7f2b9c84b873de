"""A server of ours in a thread of the test."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from tutelage.endpoint.proxy import serve_on


@contextmanager
def serving(app: web.Application) -> Iterator[str]:
    """Serve `app` on a free port; its URL, up to and including /v1."""
    listening = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.new_event_loop()
    task = loop.create_task(serve_on(app, listening))

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
