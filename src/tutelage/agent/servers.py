"""The MCP servers of one rollout: connected, listed, called."""

import asyncio
import logging
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import IO, Any

import httpx2
from mcp.client import Client
from mcp.client.auth import OAuthFlowError
from mcp.client.session import ClientRequestContext, IncomingMessage
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
from tutelage.agent.putting_back import held_and_put_back, put_back_by_tool
from tutelage.agent.recordings import Call, Recording, recordings_of
from tutelage.agent.results import ToolResult, tool_result
from tutelage.agent.tool_list import list_tools
from tutelage.agent.transports import http, sign_in, stdio
from tutelage.endpoint.processes import last_lines
from tutelage.errors import TutelageError
from tutelage.redact import redact
from tutelage.settings import McpServer
from tutelage.sign_in.person import SECONDS as SIGN_IN_SECONDS
from tutelage.sign_in.provider import OpenPage
from tutelage.sign_in.rollouts import KeptSignIn, SignInNeeded
from tutelage.world import World
from tutelage.world.reaper import end_processes

PROGRESS_FACTOR = 10  # a call that reports progress may take so many times as long
START_SECONDS = 60.0  # to connect and list the tools; the first start of `npx` downloads
logger = logging.getLogger(__name__)
Elicit = Callable[[str, ElicitRequestParams], Awaitable[ElicitResult]]  # what a server, by name, asks a person
GONE = ("connection closed", "session terminated")  # the SDK's own words, whole: a tool may speak of closed shops


class ServerNotStarted(TutelageError):
    """An MCP server does not start or cannot be reached."""


class ServerDied(Exception):
    """An MCP server ended, or closed the connection, during a call."""


@dataclass
class _Connection:
    name: str
    client: Client
    log: IO[bytes] | None  # a stdio server's standard error
    sign_in: httpx2.Auth | None = None
    asks_a_person: bool = False
    changed: bool = False  # whether the server said that it has other tools now
    deadlines: list[asyncio.Timeout] = field(default_factory=list)  # of the calls that it works on

    @contextmanager
    def waiting_for_a_person(self) -> Iterator[None]:
        """Meanwhile the time of its calls stands still."""
        loop = asyncio.get_running_loop()
        left = {deadline: when - loop.time() for deadline in self.deadlines if (when := deadline.when()) is not None}
        for deadline in left:
            deadline.reschedule(None)
        try:
            yield
        finally:
            for deadline, seconds in left.items():
                if deadline in self.deadlines:
                    deadline.reschedule(loop.time() + seconds)

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
        self,
        listed: Sequence[Listed],
        connections: Mapping[str, _Connection],
        offer: Offer,
        tool_seconds: float,
        recordings: Mapping[str, Recording],
    ) -> None:
        self.listed = tuple(listed)
        self._offer = offer
        self._by_name = named(offer.offered(self.listed))
        # May be narrowed or put in the words of an earlier listing.
        self.tools = tuple(model_tool(name, tool) for name, tool in self._by_name.items())
        self.tools_changed = False
        self.connections = connections  # by server
        self._recordings = recordings
        self._times: Counter[tuple[str, Call]] = Counter()  # by server and first call of its kind
        self.replayed: Counter[str] = Counter()  # calls answered from a recording, by server
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
        longer is told that the call is cancelled. Raises ServerDied where the server is gone, or is replayed and has no
        recording of the call; SignInNeeded where it does not take our sign-in any more.
        """
        tool = self._by_name.get(name)
        if tool is None:
            known = ", ".join(sorted(self._by_name))
            return ToolResult(f'There is no tool "{name}". The tools are: {known}.', is_error=True)
        recording = self._recordings.get(tool.server)
        if recording is None:
            return await self._call(name, tool, arguments)
        call = Call.of(tool.name, arguments)
        self._times[tool.server, call] += 1
        call = replace(call, time=self._times[tool.server, call])
        if tool.server not in self.connections:
            found = recording.result(call)
            if found is None:
                raise ServerDied(recording.unknown(call))
            self.replayed[tool.server] += 1
            return found
        result = await self._call(name, tool, arguments)
        if result != self._timed_out(name):
            recording.add(call, result)
        return result

    async def _call(self, name: str, tool: Listed, arguments: dict[str, Any]) -> ToolResult:
        connection = self.connections[tool.server]
        try:
            if connection.changed:
                await self._list_again(connection)
            result = await self._call_in_time(connection, tool.name, arguments)
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

    async def _call_in_time(self, connection: _Connection, name: str, arguments: dict[str, Any]) -> CallToolResult:
        most = self._tool_seconds * PROGRESS_FACTOR
        latest = asyncio.get_running_loop().time() + most

        async def progressed(progress: float, total: float | None, message: str | None) -> None:
            if not deadline.expired():
                deadline.reschedule(min(asyncio.get_running_loop().time() + self._tool_seconds, latest))

        # Where a person may be asked, the SDK's own clock, which does not stand still for them, is off.
        longest = None if connection.asks_a_person else most + 5
        async with asyncio.timeout(self._tool_seconds) as deadline:
            connection.deadlines.append(deadline)
            try:
                return await connection.client.call_tool(
                    name, arguments, read_timeout_seconds=longest, progress_callback=progressed
                )
            finally:
                connection.deadlines.remove(deadline)

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
    elicit: Elicit | None = None,
    put_back: bool = False,
) -> AsyncIterator[Servers]:
    """Start or reach every server for `world` and list the tools; `offer` says which of them are for the model.

    Those that are among `shared` are open already: they are used, and stay open.

    A stdio server gets the world's environment and, unless its entry names another, the world's folder as its working
    directory; an HTTP server gets the world's headers. When they are closed, no process that ran in the world is left.
    One that is replayed is not started. With `put_back`, for a rollout, those that have a reset are held until it ends,
    and reset. A server that wants somebody to sign in is shown the sign-in that is kept; `open_page` brings a person to
    its page. `elicit` answers what a server asks a person; without it, every such question is declined.
    Raises ServerNotStarted, with the last lines of its standard error, where one does not start; SignInNeeded where a
    person is needed and not there; TutelageError where there are too many tools.
    """
    body: BaseException | None = None
    try:
        async with AsyncExitStack() as stack:
            try:
                own = {name: server for name, server in servers.items() if not shared or name not in shared.connections}
                recordings = recordings_of(servers)
                live = {name: server for name, server in own.items() if server.mode != "replay"}
                if put_back:
                    await stack.enter_async_context(held_and_put_back(live, world))
                if any(server.command for server in live.values()):
                    stack.push_async_callback(_end_processes, world)
                listed, connections = await _connect_all(stack, live, world, start_seconds, open_page, elicit)
                for name in live if put_back else ():
                    await put_back_by_tool(name, live[name], connections[name].client)
                listed += _recorded(recordings, own, listed)
                if shared:
                    listed += [tool for tool in shared.listed if tool.server in shared.connections]
                    connections = {**connections, **shared.connections}
                order = list(servers)
                listed.sort(key=lambda tool: order.index(tool.server))
                yield Servers(listed, connections, offer or Offer(), tool_seconds, recordings)
            except BaseException as error:
                body = error
                raise
    except BaseException as error:
        if body is not None:
            raise body from None  # the SDK's task groups wrap whatever passes through them
        if not isinstance(error, Exception):
            raise
        logger.debug("closing the MCP servers of world %s: %s", world.id, sentence(error))


def _recorded(
    recordings: Mapping[str, Recording], servers: Mapping[str, McpServer], listed: Sequence[Listed]
) -> list[Listed]:
    """The tools of the servers that are replayed; those of the ones that are recorded, among `listed`, are noted."""
    found: list[Listed] = []
    for name in recordings.keys() & servers.keys():
        if servers[name].mode == "replay":
            found += recordings[name].tools()
        else:
            recordings[name].add_tools([tool for tool in listed if tool.server == name])
    return found


async def _end_processes(world: World) -> None:
    """What the servers started and left behind. They had their time to go."""
    await asyncio.shield(asyncio.to_thread(end_processes, world.folder, 0.0))


async def _connect_all(
    stack: AsyncExitStack,
    servers: Mapping[str, McpServer],
    world: World,
    start_seconds: float,
    open_page: OpenPage | None,
    elicit: Elicit | None,
) -> tuple[list[Listed], dict[str, _Connection]]:
    listed: list[Listed] = []
    connections: dict[str, _Connection] = {}
    for name, server in servers.items():
        connections[name], found = await _connect(stack, name, server, world, start_seconds, open_page, elicit)
        listed += found
    return listed, connections


async def _connect(
    stack: AsyncExitStack,
    name: str,
    server: McpServer,
    world: World,
    start_seconds: float,
    open_page: OpenPage | None,
    elicit: Elicit | None,
) -> tuple[_Connection, list[Listed]]:
    log = stack.enter_context(tempfile.TemporaryFile()) if server.command else None  # noqa: SIM115
    auth: httpx2.Auth | None = None
    try:
        async with asyncio.timeout(start_seconds + (SIGN_IN_SECONDS if open_page else 0)):
            if log:
                transport = stdio(server, world, log)
            else:
                auth = await sign_in(stack, name, server, open_page)
                transport = await http(stack, server, {**server.headers, **world.headers}, auth)
            client = _client(transport, server, world, lambda: connection, elicit)
            connection = _Connection(name, client, log, auth, elicit is not None)
            await stack.enter_async_context(connection.client)
            return connection, await list_tools(connection.client, name)
    except Exception as error:
        cause = (auth.refusal if isinstance(auth, KeptSignIn) else None) or first_cause(error)
        if isinstance(cause, TutelageError):
            raise cause from None
        raise ServerNotStarted(redact(_not_started(name, server, error, start_seconds, log))) from None


def _client(
    transport: Any, server: McpServer, world: World, connection: Callable[[], _Connection], elicit: Elicit | None
) -> Client:
    """A client with sane answers to what servers may ask: the world as the root of a local server, no to questions
    where nobody is there to answer them.

    It has no model to lend: sampling is not among its capabilities, and is refused by the SDK.
    """

    async def roots(context: ClientRequestContext) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri=FileUrl(world.folder.as_uri()), name="world")] if server.command else [])

    async def asked(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        if elicit is None:
            return ElicitResult(action="decline")
        with connection().waiting_for_a_person():
            return await elicit(connection().name, params)

    async def notice(message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            connection().changed = True

    return Client(
        transport,
        client_info=Implementation(name="tutelage", version=__version__),
        list_roots_callback=roots,
        elicitation_callback=asked,
        message_handler=notice,
    )


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
