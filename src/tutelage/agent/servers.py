"""The MCP servers of one rollout: connected, listed, called."""

import asyncio
import functools
import logging
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

import httpx2
from mcp.client import Client
from mcp.client.auth import OAuthFlowError
from mcp.client.session import ClientRequestContext, IncomingMessage
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    REQUEST_TIMEOUT,
    CallToolResult,
    ElicitRequestParams,
    ElicitResult,
    Implementation,
    ListRootsResult,
    Root,
    ToolListChangedNotification,
)
from pydantic import FileUrl, ValidationError

from tutelage import __version__
from tutelage.agent.offer import Listed, Offer, Permission, model_tool, named
from tutelage.agent.results import ToolResult, tool_result
from tutelage.agent.tool_list import list_tools
from tutelage.endpoint.addresses import is_local
from tutelage.endpoint.processes import last_lines
from tutelage.errors import TutelageError
from tutelage.project import McpServer
from tutelage.redact import redact
from tutelage.sign_in.client import of_the_client
from tutelage.sign_in.person import SECONDS as SIGN_IN_SECONDS
from tutelage.sign_in.person import signing_in
from tutelage.sign_in.provider import OpenPage
from tutelage.sign_in.rollouts import KeptSignIn, SignInNeeded
from tutelage.world import World
from tutelage.world.reaper import end_processes

PROGRESS_FACTOR = 10  # a call that reports progress may take so many times as long
START_SECONDS = 60.0  # to connect and list the tools; the first start of `npx` downloads
logger = logging.getLogger(__name__)
GONE = ("connection closed", "session terminated")  # the SDK's own words, whole: a tool may speak of closed shops


class ServerDied(Exception):
    """An MCP server ended, or closed the connection, during a call."""


@dataclass
class _Connection:
    name: str
    client: Client
    log: IO[bytes] | None  # a stdio server's standard error
    sign_in: httpx2.Auth | None = None
    changed: bool = False  # whether the server said that it has other tools now

    @property
    def refusal(self) -> SignInNeeded | None:
        """What the server said of our sign-in, where it did not take it."""
        return self.sign_in.refusal if isinstance(self.sign_in, KeptSignIn) else None

    def quote(self) -> str:
        lines = last_lines(self.log) if self.log else ""
        return redact(f" Its last lines:\n{lines}") if lines else ""


class Servers:
    """Open connections to all MCP servers of a project, for one world. Made by `connect_servers`.

    The model sees the tools that were there at the start, whatever a server does to its list meanwhile: all steps of a
    trace share them.
    """

    def __init__(
        self, listed: Sequence[Listed], connections: Mapping[str, _Connection], offer: Offer, tool_seconds: float
    ) -> None:
        self.listed = tuple(listed)
        self._offer = offer
        self._by_name = named(offer.offered(self.listed))
        # May be narrowed or put in the words of an earlier listing.
        self.tools = tuple(model_tool(name, tool) for name, tool in self._by_name.items())
        self.tools_changed = False
        self.connections = connections  # by server
        self._tool_seconds = tool_seconds

    def only_reads(self, name: str) -> bool:
        """Whether the server says that the tool changes nothing; a tool that says nothing may change something."""
        tool = self._by_name.get(name)
        return tool is None or tool.read_only

    def needs_a_person(self, name: str) -> bool:
        """Whether somebody has to allow each call of the tool."""
        tool = self._by_name.get(name)
        return tool is not None and self._offer.permission(tool) is Permission.ASK

    async def call(self, name: str, arguments: dict[str, Any]) -> ToolResult:
        """Call a tool; whatever goes wrong with the call itself is a result that a model can react to.

        A server that reports progress has `tool_seconds` from each report on, ten times as long in all. One that takes
        longer is told that the call is cancelled. Raises ServerDied where the server is gone, SignInNeeded where it
        does not take our sign-in any more.
        """
        tool = self._by_name.get(name)
        if tool is None:
            known = ", ".join(sorted(self._by_name))
            return ToolResult(f'There is no tool "{name}". The tools are: {known}.', is_error=True)
        connection = self.connections[tool.server]
        try:
            if connection.changed:
                await self._list_again(connection)
            result = await self._call_in_time(connection.client, tool.name, arguments)
        except TimeoutError:
            return self._timed_out(name)
        except MCPError as error:
            if connection.refusal:
                raise connection.refusal from None
            if error.code == REQUEST_TIMEOUT:
                return self._timed_out(name)
            if error.code == CONNECTION_CLOSED or error.message.lower() in GONE:
                raise ServerDied(f'MCP server "{connection.name}" ended during a call.{connection.quote()}') from None
            return ToolResult(redact(f"Error: {error.message}"), is_error=True)
        except ValidationError:
            return ToolResult(f'Error: the result of "{name}" is not a valid MCP result.', is_error=True)
        except RuntimeError as error:  # the SDK's word for structured content that is not what the tool declares
            return ToolResult(redact(f"Error: {sentence(error)}"), is_error=True)
        except Exception as error:  # a transport's own errors; not all of them are documented
            raise ServerDied(f'MCP server "{connection.name}" failed during a call: {sentence(error)}') from None
        return tool_result(result)

    async def _call_in_time(self, client: Client, name: str, arguments: dict[str, Any]) -> CallToolResult:
        most = self._tool_seconds * PROGRESS_FACTOR
        latest = asyncio.get_running_loop().time() + most

        async def progressed(progress: float, total: float | None, message: str | None) -> None:
            if not deadline.expired():
                deadline.reschedule(min(asyncio.get_running_loop().time() + self._tool_seconds, latest))

        async with asyncio.timeout(self._tool_seconds) as deadline:
            return await client.call_tool(name, arguments, read_timeout_seconds=most + 5, progress_callback=progressed)

    async def _list_again(self, connection: _Connection) -> None:
        """So that calls are checked by what the tools are now; what the model was shown stays."""
        connection.changed, self.tools_changed = False, True
        async with asyncio.timeout(self._tool_seconds):
            await list_tools(connection.client, connection.name)

    def _timed_out(self, name: str) -> ToolResult:
        return ToolResult(f'Error: "{name}" did not answer within {self._tool_seconds:g} s.', is_error=True)


@asynccontextmanager
async def connect_servers(
    servers: Mapping[str, McpServer],
    world: World,
    *,
    offer: Offer | None = None,
    tool_seconds: float = 60.0,
    start_seconds: float = START_SECONDS,
    shared: Servers | None = None,
    open_page: OpenPage | None = None,
) -> AsyncIterator[Servers]:
    """Start or reach every server for `world` and list the tools; `offer` says which of them are for the model.

    Those that are among `shared` are open already: they are used, and stay open.

    A stdio server gets the world's environment and, unless its entry names another, the world's folder as its working
    directory; an HTTP server gets the world's headers. When they are closed, no process that ran in the world is left.
    A server that wants somebody to sign in is shown the sign-in that is kept; `open_page` brings a person to its page.
    Raises TutelageError, with the last lines of its standard error, where one does not start, and where there are too
    many tools; SignInNeeded where a person is needed and not there.
    """
    body: BaseException | None = None
    try:
        async with AsyncExitStack() as stack:
            try:
                own = {name: server for name, server in servers.items() if not shared or name not in shared.connections}
                if any(server.command for server in own.values()):
                    stack.push_async_callback(_end_processes, world)
                listed, connections = await _connect_all(stack, own, world, start_seconds, open_page)
                if shared:
                    order = list(servers)
                    listed = sorted([*listed, *shared.listed], key=lambda tool: order.index(tool.server))
                    connections = {**connections, **shared.connections}
                yield Servers(listed, connections, offer or Offer(), tool_seconds)
            except BaseException as error:
                body = error
                raise
    except BaseException as error:
        if body is not None:
            raise body from None  # the SDK's task groups wrap whatever passes through them
        if not isinstance(error, Exception):
            raise
        logger.debug("closing the MCP servers of world %s: %s", world.id, sentence(error))


async def _end_processes(world: World) -> None:
    """What the servers started and left behind. They had their time to go."""
    await asyncio.shield(asyncio.to_thread(end_processes, world.folder, 0.0))


async def _connect_all(
    stack: AsyncExitStack,
    servers: Mapping[str, McpServer],
    world: World,
    start_seconds: float,
    open_page: OpenPage | None,
) -> tuple[list[Listed], dict[str, _Connection]]:
    listed: list[Listed] = []
    connections: dict[str, _Connection] = {}
    for name, server in servers.items():
        connections[name], found = await _connect(stack, name, server, world, start_seconds, open_page)
        listed += found
    return listed, connections


async def _connect(
    stack: AsyncExitStack,
    name: str,
    server: McpServer,
    world: World,
    start_seconds: float,
    open_page: OpenPage | None,
) -> tuple[_Connection, list[Listed]]:
    log = stack.enter_context(tempfile.TemporaryFile()) if server.command else None  # noqa: SIM115
    auth: httpx2.Auth | None = None
    try:
        async with asyncio.timeout(start_seconds + (SIGN_IN_SECONDS if open_page else 0)):
            if log:
                transport = _stdio(server, world, log)
            else:
                auth = await _sign_in(stack, name, server, open_page)
                transport = await _http(stack, server, {**server.headers, **world.headers}, auth)
            connection = _Connection(name, _client(transport, server, world, lambda: connection), log, auth)
            await stack.enter_async_context(connection.client)
            return connection, await list_tools(connection.client, name)
    except Exception as error:
        cause = (auth.refusal if isinstance(auth, KeptSignIn) else None) or first_cause(error)
        if isinstance(cause, TutelageError):
            raise cause from None
        raise TutelageError(redact(_not_started(name, server, error, start_seconds, log))) from None


def _client(transport: Any, server: McpServer, world: World, connection: Callable[[], _Connection]) -> Client:
    """A client with sane answers to what servers may ask: the world as the root of a local server, no to questions.

    It has no model to lend: sampling is not among its capabilities, and is refused by the SDK.
    """

    async def roots(context: ClientRequestContext) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri=FileUrl(world.folder.as_uri()), name="world")] if server.command else [])

    async def decline(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="decline")

    async def notice(message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            connection().changed = True

    return Client(
        transport,
        client_info=Implementation(name="tutelage", version=__version__),
        list_roots_callback=roots,
        elicitation_callback=decline,
        message_handler=notice,
    )


def _stdio(server: McpServer, world: World, log: IO[bytes]) -> Any:
    parameters = StdioServerParameters(
        command=server.command or "",
        args=list(server.args),
        env={**server.env, **world.environment},
        cwd=server.cwd or world.folder,
        encoding_error_handler="replace",
    )
    # The type says text; it is only ever handed to the process as its standard error.
    return stdio_client(parameters, errlog=cast("Any", log))


async def _sign_in(
    stack: AsyncExitStack, name: str, server: McpServer, open_page: OpenPage | None
) -> httpx2.Auth | None:
    """What is added to requests to prove who we are; None where the entry's own headers do."""
    if any(header.lower() == "authorization" for header in server.headers):
        return None
    url, client = server.url or "", server.oauth
    if client.grant == "client_credentials":
        return of_the_client(url, client)
    if open_page:
        return await stack.enter_async_context(signing_in(url, client, open_page))
    return KeptSignIn(name, url, client, functools.partial(http_client, url))


async def _http(stack: AsyncExitStack, server: McpServer, headers: Mapping[str, str], auth: httpx2.Auth | None) -> Any:
    client = await stack.enter_async_context(http_client(server.url or "", headers, auth))
    return streamable_http_client(server.url or "", http_client=client)


def http_client(
    url: str, headers: Mapping[str, str] | None = None, auth: httpx2.Auth | None = None
) -> httpx2.AsyncClient:
    """Proxies are not asked for this machine's own addresses."""
    return httpx2.AsyncClient(
        headers=headers,
        auth=auth,
        timeout=httpx2.Timeout(30.0, read=300.0),  # the SDK's own: a server may hold a stream open
        verify=_tls(),
        trust_env=not is_local(url),
    )


@functools.cache
def _tls() -> ssl.SSLContext:
    """One for all clients: reading the certificates takes 20 ms."""
    return ssl.create_default_context()


def _not_started(name: str, server: McpServer, error: Exception, start_seconds: float, log: IO[bytes] | None) -> str:
    """What went wrong in one sentence, what to do, and what the server itself said."""
    cause = first_cause(error)
    if isinstance(cause, OAuthFlowError):
        return (
            f'mcp.json: server "{name}" at {server.url}: signing in failed: {sentence(cause)} If it registers no '
            'clients by itself, register one there and give "oauth": {"clientId": …}.'
        )
    if server.url:
        return (
            f'mcp.json: server "{name}" at {server.url} cannot be used: {sentence(cause)} '
            "Check that it runs and that the URL is that of its streamable HTTP transport (often …/mcp)."
        )
    if isinstance(cause, FileNotFoundError):
        return (
            f'mcp.json: server "{name}" did not start: "{cause.filename or server.command}" was not found. '
            'Install it, or set "command" to its full path.'
        )
    why = f"it was not ready in {start_seconds:g} s" if isinstance(cause, TimeoutError) else sentence(cause).rstrip(".")
    lines = last_lines(log) if log else ""
    return f'mcp.json: server "{name}" did not start: {why}. Its last lines:\n{lines or "(none)"}'


def first_cause(error: BaseException) -> BaseException:
    """The first single exception within nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def sentence(error: BaseException) -> str:
    """An exception from a library as a short sentence."""
    cause = first_cause(error)
    if isinstance(cause, MCPError):
        return f"{cause.message}."
    text = " ".join(str(cause).split())[:300]
    return f"{type(cause).__name__}: {text}." if text else f"{type(cause).__name__}."
