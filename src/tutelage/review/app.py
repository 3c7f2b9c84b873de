"""The web application: its routes, and what keeps other web pages out of it.

It listens on loopback and has no passwords (access.py stands before it on other hosts), so that any page which the
reviewer's browser opens could try to talk to it. Three things stand against that: requests have to name this host (no
DNS rebinding), what changes the store has to carry a token which only our own pages hold, and no page runs any script
but our own file (traces hold hostile text).
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from typing import Any

from sqlalchemy.exc import DBAPIError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.review.access import Access
from tutelage.review.reruns import Reruns
from tutelage.review.tokens import StepRows
from tutelage.store import TraceStore

HOSTS = ["127.0.0.1", "localhost"]
LARGEST_FIELD = 64 * 2**20  # bytes: a whole trace as JSON
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass
class Review:
    """What the pages share."""

    project: Project
    store: TraceStore
    reviewer: str
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))  # of this process
    reruns: Reruns = field(default_factory=Reruns)
    _step_rows: StepRows | None = None

    def step_rows(self) -> StepRows:
        """Made where it is asked for: the tokenizer takes a second. Raises TutelageError."""
        if self._step_rows is None:
            self._step_rows = StepRows.of(self.project, self.store)
        return self._step_rows


Get = Callable[[Review, Request], Response]
Post = Callable[[Review, Request, FormData], Response]


def create_app(project: Project, store: TraceStore, reviewer: str, access: str | None = None) -> Starlette:
    """The application on an open store; verdicts and edits carry the name of `reviewer`.

    `access` is the token that lets people in who are not on this machine; None: nobody else can reach it.
    """
    from tutelage.review.pages import comparing, editing, listing, overview, reading, rerunning

    review = Review(project, store, reviewer)

    def get(path: str, page: Get) -> Route:
        return Route(path, partial(_get, review, page), methods=["GET"])

    def post(path: str, action: Post) -> Route:
        return Route(path, partial(_post, review, action), methods=["POST"])

    static = resources.files("tutelage.review") / "static"
    return Starlette(
        routes=[
            get("/", listing.traces),
            get("/queue", listing.queue),
            post("/verdicts", listing.judge_many),
            post("/undo", listing.undo),
            get("/trace/{id}", reading.trace),
            get("/trace/{id}/tokens/{index:int}", reading.tokens),
            get("/trace/{id}/part/{sha256}", reading.part),
            get("/trace/{id}/diff", reading.diff),
            post("/trace/{id}/verdict", reading.judge),
            post("/trace/{id}/tags", reading.tag),
            post("/trace/{id}/change", editing.change),
            get("/trace/{id}/json", editing.as_json),
            post("/trace/{id}/json", editing.save_json),
            post("/trace/{id}/restore", editing.restore),
            post("/trace/{id}/confirm", editing.confirm),
            get("/trace/{id}/rerun", rerunning.form),
            post("/trace/{id}/rerun", rerunning.start),
            get("/trace/{id}/rerun/progress", rerunning.progress),
            post("/trace/{id}/rerun/answer", rerunning.answer),
            post("/trace/{id}/rerun/stop", rerunning.stop),
            post("/trace/{id}/rerun/keep", rerunning.keep),
            post("/validate", editing.validate),
            get("/overview", overview.overview),
            get("/compare", comparing.compare),
            post("/prefer", comparing.prefer),
            get("/runs", comparing.runs),
            Mount("/static", StaticFiles(directory=str(static))),
        ],
        middleware=[Middleware(_Headers), _guard(access)],
        exception_handlers={kind: partial(_failed, review) for kind in (TutelageError, HTTPException, DBAPIError)},
    )


def _guard(access: str | None) -> Middleware:
    if access is None:
        return Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)
    return Middleware(Access, token=access)  # whose cookie a page under another name of this host does not have


async def _get(review: Review, page: Get, request: Request) -> Response:
    return await run_in_threadpool(page, review, request)


async def _post(review: Review, action: Post, request: Request) -> Response:
    form = await request.form(max_part_size=LARGEST_FIELD, max_fields=10_000)
    token = str(form.get("token") or request.headers.get("x-token") or "")
    if not secrets.compare_digest(token.encode(), review.token.encode()):
        return PlainTextResponse(
            "This page is out of date: `tutelage review` was started again. Go back, reload the page, and try again.",
            403,
        )
    return await run_in_threadpool(action, review, request, form)


async def _failed(review: Review, request: Request, error: Exception) -> Response:
    from tutelage.review.pages.common import page

    if isinstance(error, DBAPIError):  # a lock, a full disk
        status, detail = 503, f"The store failed: {error.orig}. Nothing was stored: go back and try again."
    elif isinstance(error, HTTPException):
        status, detail = error.status_code, error.detail
    else:
        status, detail = 404 if request.method == "GET" else 422, str(error)
    return page(review, "failed.html", status=status, detail=detail)


class _Headers:
    """Adds SECURITY to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers: Any = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, send_with_headers)
