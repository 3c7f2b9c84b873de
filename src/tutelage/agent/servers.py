"""The MCP servers of one rollout: connected, listed, called."""

import asyncio
import functools
import json
import logging
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import IO, Any, cast
from urllib.parse import urlsplit

import httpx2
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT, Implementation, ListToolsResult
from pydantic import ValidationError

from tutelage import __version__
from tutelage.agent.results import result_text
from tutelage.endpoint.processes import last_lines
from tutelage.errors import TutelageError
from tutelage.project import McpServer, redact
from tutelage.trace import Tool
from tutelage.world import World

START_SECONDS = 60.0  # to connect and list the tools; the first start of `npx` downloads
logger = logging.getLogger(__name__)
GONE = ("connection closed", "session terminated")  # the SDK's own words, whole: a tool may speak of closed shops
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServerDied(Exception):
    """An MCP server ended, or closed the connection, during a call."""


@dataclass(frozen=True)
class ToolResult:
    text: str
    is_error: bool = False


@dataclass(frozen=True)
class _Connection:
    name: str
    client: Client
    log: IO[bytes] | None  # a stdio server's standard error
    readers: set[str] = field(default_factory=set)  # tools that it says change nothing

    def quote(self) -> str:
        lines = last_lines(self.log) if self.log else ""
        return f" Its last lines:\n{lines}" if lines else ""


class Servers:
    """Open connections to all MCP servers of a project, for one world. Made by `connect_servers`."""

    def __init__(self, tools: tuple[Tool, ...], connections: Mapping[str, _Connection], tool_seconds: float) -> None:
        self.tools = tools  # which may be narrowed or put in the words of an earlier listing
        self._connections = connections  # by tool name
        self._tool_seconds = tool_seconds

    def only_reads(self, name: str) -> bool:
        """Whether the server says that the tool changes nothing; a tool that says nothing may change something."""
        connection = self._connections.get(name)
        return connection is None or name in connection.readers

    async def call(self, name: str, arguments: dict[str, Any]) -> ToolResult:
        """Call a tool; whatever goes wrong with the call itself is a result that a model can react to.

        Raises ServerDied where the server is gone.
        """
        connection = self._connections.get(name)
        if connection is None:
            known = ", ".join(sorted(self._connections))
            return ToolResult(f'There is no tool "{name}". The tools are: {known}.', is_error=True)
        try:
            async with asyncio.timeout(self._tool_seconds + 5):  # the client's own timeout comes first
                result = await connection.client.call_tool(name, arguments, read_timeout_seconds=self._tool_seconds)
        except MCPError as error:
            if error.code == REQUEST_TIMEOUT:
                return self._timed_out(name)
            if error.code == CONNECTION_CLOSED or error.message.lower() in GONE:
                raise ServerDied(f'MCP server "{connection.name}" ended during a call.{connection.quote()}') from None
            return ToolResult(f"Error: {error.message}", is_error=True)
        except TimeoutError:
            return self._timed_out(name)
        except ValidationError:
            return ToolResult(f'Error: the result of "{name}" is not a valid MCP result.', is_error=True)
        except Exception as error:  # a transport's own errors; not all of them are documented
            raise ServerDied(f'MCP server "{connection.name}" failed during a call: {sentence(error)}') from None
        return ToolResult(result_text(result), is_error=bool(result.is_error))

    def _timed_out(self, name: str) -> ToolResult:
        return ToolResult(f'Error: "{name}" did not answer within {self._tool_seconds:g} s.', is_error=True)


@asynccontextmanager
async def connect_servers(
    servers: Mapping[str, McpServer],
    world: World,
    *,
    tool_seconds: float = 60.0,
    start_seconds: float = START_SECONDS,
) -> AsyncIterator[Servers]:
    """Start or reach every server for `world` and list the tools.

    A stdio server gets the world's environment and, unless its entry names another, the world's folder as its working
    directory; an HTTP server gets the world's headers. Raises TutelageError, with the last lines of its standard
    error, where one does not start, and where two offer a tool of the same name.
    """
    body: BaseException | None = None
    try:
        async with AsyncExitStack() as stack:
            try:
                yield await _connect_all(stack, servers, world, tool_seconds, start_seconds)
            except BaseException as error:
                body = error
                raise
    except BaseException as error:
        if body is not None:
            raise body from None  # the SDK's task groups wrap whatever passes through them
        if not isinstance(error, Exception):
            raise
        logger.debug("closing the MCP servers of world %s: %s", world.id, sentence(error))


async def _connect_all(
    stack: AsyncExitStack, servers: Mapping[str, McpServer], world: World, tool_seconds: float, start_seconds: float
) -> Servers:
    tools: list[Tool] = []
    connections: dict[str, _Connection] = {}
    for name, server in servers.items():
        connection, found = await _connect(stack, name, server, world, start_seconds)
        for tool in found:
            if tool.name in connections:
                other = connections[tool.name].name
                raise TutelageError(
                    f'The MCP servers "{other}" and "{name}" both offer a tool "{tool.name}". Leave one out.'
                )
            connections[tool.name] = connection
            tools.append(tool)
    return Servers(tuple(tools), connections, tool_seconds)


async def _connect(
    stack: AsyncExitStack, name: str, server: McpServer, world: World, start_seconds: float
) -> tuple[_Connection, list[Tool]]:
    log = stack.enter_context(tempfile.TemporaryFile()) if server.command else None  # noqa: SIM115
    try:
        async with asyncio.timeout(start_seconds):
            transport = _stdio(server, world, log) if log else _http(await _http_client(stack, server, world), server)
            client = await stack.enter_async_context(
                Client(transport, client_info=Implementation(name="tutelage", version=__version__))
            )
            connection = _Connection(name, client, log)
            return connection, await _list_tools(connection)
    except TutelageError:
        raise
    except Exception as error:
        raise TutelageError(redact(_not_started(name, server, error, start_seconds, log))) from None


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


def _http(client: httpx2.AsyncClient, server: McpServer) -> Any:
    return streamable_http_client(server.url or "", http_client=client)


async def _http_client(stack: AsyncExitStack, server: McpServer, world: World) -> httpx2.AsyncClient:
    """A client with the world's headers. Proxies are not asked for this machine's own addresses."""
    client = httpx2.AsyncClient(
        headers={**server.headers, **world.headers},
        timeout=httpx2.Timeout(30.0, read=300.0),  # the SDK's own: a server may hold a stream open
        verify=_tls(),
        trust_env=urlsplit(server.url or "").hostname not in LOOPBACK,
    )
    return await stack.enter_async_context(client)


@functools.cache
def _tls() -> ssl.SSLContext:
    """One for all clients: reading the certificates takes 20 ms."""
    return ssl.create_default_context()


async def _list_tools(connection: _Connection) -> list[Tool]:
    """All pages of the tool list; a server that repeats a cursor would never end."""
    tools: list[Tool] = []
    seen: set[str] = set()
    cursor: str | None = None
    while True:
        try:
            page = await connection.client.list_tools(cursor=cursor)
        except ValidationError:
            found, cursor = await _list_unchecked(connection, cursor)
            tools += found
        else:
            for tool in page.tools:
                tools.append(_tool(tool.name, tool.description or "", tool.input_schema, connection.name))
                if tool.annotations and tool.annotations.read_only_hint:
                    connection.readers.add(tool.name)
            cursor = page.next_cursor
        if not cursor or cursor in seen:
            return tools
        seen.add(cursor)


async def _list_unchecked(connection: _Connection, cursor: str | None) -> tuple[list[Tool], str | None]:
    """A page of the tool list without its faulty tools: the SDK refuses the whole page for one of them."""
    parameters = {"cursor": cursor} if cursor else {}
    session = connection.client.session
    # The SDK has no public request whose result it does not check; it lists again before a call of a tool that it
    # has not absorbed, which would fail as this listing did.
    raw = await session._dispatcher.send_raw_request("tools/list", parameters, {})
    tools, valid = [], []
    for tool in raw.get("tools") or []:
        name, schema = tool.get("name"), tool.get("inputSchema")
        if isinstance(name, str) and isinstance(schema, dict) and schema.get("type") == "object":
            tools.append(_tool(name, str(tool.get("description") or ""), schema, connection.name))
            valid.append(tool)
            if (tool.get("annotations") or {}).get("readOnlyHint") is True:
                connection.readers.add(name)
        else:
            _notice(f'MCP server "{connection.name}": the tool "{name}" is left out: it has no valid inputSchema.')
    session._absorb_tool_listing(ListToolsResult.model_validate({"tools": valid}), complete=False)
    return tools, raw.get("nextCursor")


@functools.cache
def _notice(text: str) -> None:
    """Say it once, not once a rollout."""
    logger.warning(text)


def _tool(name: str, description: str, schema: Mapping[str, Any], server: str) -> Tool:
    """The tool in OpenAI's form; its schema as the server gave it, in its order of keys."""
    function = {"name": name, "description": description, "parameters": dict(schema)}
    definition = json.dumps({"type": "function", "function": function}, ensure_ascii=False)
    return Tool(name=name, definition=definition, server=server)


def _not_started(name: str, server: McpServer, error: Exception, start_seconds: float, log: IO[bytes] | None) -> str:
    """What went wrong in one sentence, what to do, and what the server itself said."""
    cause = first_cause(error)
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
