"""What rollouts show a server of a sign-in that is kept. Nobody is there to sign in again."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

import httpx2

from tutelage.errors import TutelageError
from tutelage.settings import OAuthClient
from tutelage.sign_in.kept import Kept, SignIn
from tutelage.sign_in.provider import Provider

EARLY_SECONDS = 10.0  # before a token runs out it is refreshed: a request takes time


class SignInNeeded(TutelageError):
    """A person has to sign in to a server."""

    def __init__(self, name: str, url: str, why: str) -> None:
        super().__init__(
            f'mcp.json: server "{name}" at {url} {why}. Run `tutelage tools` in a terminal: it opens the page for that '
            "and keeps the sign-in. A server that takes a fixed token wants it in its headers."
        )


class KeptSignIn(httpx2.Auth):
    """Adds the kept token to requests. One that runs out is refreshed once for all rollouts, also of other processes.

    The SDK's own client would send one request at a time, and rollouts would use up each other's refresh token.
    """

    refusal: SignInNeeded | None = None  # noted and not raised: an error in here would end the SDK's whole connection

    def __init__(self, name: str, url: str, client: OAuthClient, new_http: Callable[[], httpx2.AsyncClient]) -> None:
        self.name, self.client, self.new_http = name, client, new_http
        self.kept = Kept(url)
        self._found: SignIn | None = None

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        token = await self._token()
        response = yield _with(request, token)
        if response.status_code == httpx2.codes.UNAUTHORIZED and token:
            again = await self._token(refused=token)
            if again != token:
                response = yield _with(request, again)
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            self._note("wants somebody to sign in")
        if response.status_code == httpx2.codes.FORBIDDEN and _wants_more(response):
            self._note("wants more rights than the kept sign-in has")

    async def _token(self, refused: str = "") -> str:
        """The access token, "" where nothing is kept; where it can be had, another than `refused`."""
        if self._found is None or not _is_good(self._found, refused):
            self._found = await asyncio.to_thread(self._look, refused)
        return self._found.tokens.access_token if self._found.tokens else ""

    def _look(self, refused: str) -> SignIn:
        """What is kept, refreshed where it has to be and can be."""
        found = self.kept.load()
        if found.tokens is None or _is_good(found, refused):
            return found
        with self.kept.locked():
            found = self.kept.load()
            if _is_good(found, refused):
                return found
            try:
                asyncio.run(self._refresh())
            except httpx2.HTTPError as error:
                self._note(
                    f"wants a fresh token, and the server that gives them failed: {error or type(error).__name__}"
                )
            return self.kept.load()

    async def _refresh(self) -> None:
        async with self.new_http() as http:
            await Provider(self.kept, self.client).refresh(http)

    def _note(self, why: str) -> None:
        self.refusal = self.refusal or SignInNeeded(self.name, self.kept.url, why)


def _is_good(found: SignIn, refused: str) -> bool:
    in_time = found.expires is None or time.time() < found.expires - EARLY_SECONDS
    return found.tokens is not None and found.tokens.access_token != refused and in_time


def _with(request: httpx2.Request, token: str) -> httpx2.Request:
    if token:
        request.headers["Authorization"] = f"Bearer {token}"
    return request


def _wants_more(response: httpx2.Response) -> bool:
    return "insufficient_scope" in response.headers.get("WWW-Authenticate", "")
