"""A person signs in: the server's page in their browser, which then sends them back to this machine."""

import asyncio
import html
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

from mcp.client.auth import AuthorizationCodeResult

from tutelage.endpoint.addresses import listen
from tutelage.errors import TutelageError
from tutelage.settings import OAuthClient
from tutelage.sign_in.kept import Kept
from tutelage.sign_in.provider import OpenPage, Provider

SECONDS = 300.0  # for a person to sign in
HOST, PATH = "127.0.0.1", "/callback"
PAGE = """<!doctype html><meta charset="utf-8"><title>Tutelage</title>
<body style="font-family: system-ui; margin: 4rem auto; max-width: 30rem"><h1>{title}</h1><p>{text}"""


@asynccontextmanager
async def signing_in(url: str, client: OAuthClient, open_page: OpenPage) -> AsyncIterator[Provider]:
    """What signs in to the MCP server at `url`, as `open_page` brings a person to its page; kept sign-ins first.

    While it is open, this machine listens for the browser's return. Its errors are the SDK's (OAuthFlowError and its
    kin), and TutelageError where the person refuses or does not come back.
    """
    kept = Kept(url)
    async with _Return.awaited(client.callback_port, urlsplit(kept.load().redirect).port) as back:
        yield Provider(kept, client, back.url, open_page, back.answer)


class _Return:
    """The browser's return to this machine."""

    def __init__(self, port: int) -> None:
        self.url = f"http://{HOST}:{port}{PATH}"
        self._query: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    @classmethod
    @asynccontextmanager
    async def awaited(cls, fixed: int | None, before: int | None) -> AsyncIterator["_Return"]:
        """Listen on the port `fixed`, else on the one of the time before if it is free, else on any."""
        try:
            listening = listen(HOST, fixed or before or 0)
        except TutelageError:
            if fixed:
                raise TutelageError(f'mcp.json: "callbackPort" {fixed} is taken. Free it or name another.') from None
            listening = listen(HOST, 0)
        back = cls(listening.getsockname()[1])
        async with await asyncio.start_server(back._serve, sock=listening):
            yield back

    async def answer(self) -> AuthorizationCodeResult:
        """What the browser brought. Raises TutelageError where that is a no, or nothing in time."""
        try:
            query = await asyncio.wait_for(self._query.get(), SECONDS)
        except TimeoutError:
            raise TutelageError(f"Nobody signed in within {SECONDS:g} s. Run the command again.") from None
        if "code" not in query:
            why = query.get("error_description") or query.get("error") or "it sent no code"
            raise TutelageError(f"The sign-in was refused: {why}.")
        return AuthorizationCodeResult(code=query["code"], state=query.get("state"), iss=query.get("iss"))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            method, target, _ = (await reader.readline()).decode("latin-1").split(" ", 2)
            while (await reader.readline()).strip():
                pass  # headers
        except ValueError:
            method = target = ""
        found = urlsplit(target)
        status, title, text = "404 Not Found", "Not here", "Nothing is here."
        if (method, found.path) == ("GET", PATH):
            query = {key: values[0] for key, values in parse_qs(found.query).items()}
            self._query.put_nowait(query)
            status, title, text = "200 OK", "You are signed in", "You can close this page and go back to the terminal."
            if "code" not in query:
                title, text = "The sign-in was refused", "The terminal says why."
        body = PAGE.format(title=html.escape(title), text=html.escape(text)).encode()
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()
