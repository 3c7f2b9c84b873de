"""Who may look: on loopback everybody on this machine, on another host those who were given the link."""

import secrets
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

PARAMETER = "access"  # of the link
COOKIE = "tutelage-review"
REFUSED = "Open the link that `tutelage review` printed where it was started: it holds what lets you in.\n"


class Access:
    """Lets in whoever has the token, in the link that was printed or in the cookie that the link leaves."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope)
        if self._is_token(request.cookies.get(COOKIE, "")):
            await self.app(scope, receive, send)
        else:
            await self._enter(request)(scope, receive, send)

    def _enter(self, request: Request) -> Response:
        if request.method != "GET" or not self._is_token(request.query_params.get(PARAMETER, "")):
            return PlainTextResponse(REFUSED, 401)
        rest = [(name, value) for name, value in parse_qsl(request.url.query) if name != PARAMETER]
        answer = RedirectResponse(str(URL(path=request.url.path, query=urlencode(rest))), 303)
        # Lax: with Strict, a browser that comes from a mail would not send it after the redirection.
        answer.set_cookie(COOKIE, self.token, httponly=True, samesite="lax")
        return answer

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self.token.encode())
