"""`tutelage review`: the application behind a server on loopback, and the browser on it."""

import socket
import webbrowser
from collections.abc import Callable

from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.store import Selection, TraceStore

HOST = "127.0.0.1"


def run_review(
    project: Project,
    store: TraceStore,
    *,
    reviewer: str,
    port: int,
    browser: bool,
    on_ready: Callable[[str], None],
) -> None:
    """Serve until Ctrl-C. `port` 0 takes a free one; `on_ready` is given the URL once the server answers."""
    import uvicorn

    from tutelage.review.app import create_app

    app = create_app(project, store, reviewer)
    store.listing.counts(Selection())  # reads the summaries, so that the first page is as fast as the next
    listening = listen(port)
    url = f"http://{HOST}:{listening.getsockname()[1]}/"

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            on_ready(url)
            if browser:
                webbrowser.open(url)

    server = Server(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=2))
    server.run(sockets=[listening])


def listen(port: int) -> socket.socket:
    listening = socket.socket(proto=socket.IPPROTO_TCP)  # named, or asyncio leaves out TCP_NODELAY: 40 ms a page
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise TutelageError(
            f"Port {port} cannot be used: {error.strerror}. Name another with --port, or 0 for a free one."
        ) from None
    return listening
