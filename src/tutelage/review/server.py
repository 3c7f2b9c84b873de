"""`tutelage review`: the application behind a server, and the browser on it."""

import secrets
import socket
import webbrowser
from collections.abc import Callable

from tutelage.endpoint.addresses import in_url, is_loopback, listen
from tutelage.project import Project
from tutelage.review.access import PARAMETER
from tutelage.store import Selection, TraceStore


def run_review(
    project: Project,
    store: TraceStore,
    *,
    reviewer: str,
    host: str,
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
    listening = listen(host, port)
    name = socket.gethostname() if host in ("0.0.0.0", "::") else in_url(host)
    url = f"http://{name}:{listening.getsockname()[1]}/" + (f"?{PARAMETER}={access}" if access else "")

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            on_ready(url)
            if browser:
                webbrowser.open(url)

    server = Server(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=2))
    server.run(sockets=[listening])
