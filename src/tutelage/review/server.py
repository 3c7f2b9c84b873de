"""`tutelage review`: the application behind a server, and the browser on it."""

import secrets
import socket
import webbrowser
from collections.abc import Callable

from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.review.access import PARAMETER, is_loopback
from tutelage.store import Selection, TraceStore

HOST = "127.0.0.1"


def run_review(
    project: Project,
    store: TraceStore,
    *,
    reviewer: str,
    host: str = HOST,
    port: int,
    browser: bool,
    on_ready: Callable[[str], None],
) -> None:
    """Serve until Ctrl-C. `port` 0 takes a free one; `on_ready` is given the URL once the server answers.

    On a host that is not loopback the URL holds a token, without which nobody is let in.
    """
    import uvicorn

    from tutelage.review.app import create_app

    access = None if is_loopback(host) else secrets.token_urlsafe(24)
    app = create_app(project, store, reviewer, access)
    store.listing.counts(Selection())  # reads the summaries, so that the first page is as fast as the next
    listening = listen(port, host)
    name = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    url = f"http://{name}:{listening.getsockname()[1]}/" + (f"?{PARAMETER}={access}" if access else "")

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            on_ready(url)
            if browser:
                webbrowser.open(url)

    server = Server(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=2))
    server.run(sockets=[listening])


def listen(port: int, host: str = HOST) -> socket.socket:
    # The protocol is named, or asyncio leaves out TCP_NODELAY: 40 ms a page.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, proto=socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise TutelageError(
            f"Port {port} of {host} cannot be used: {error.strerror}. Name another with --port, or 0 for a free one."
        ) from None
    return listening
