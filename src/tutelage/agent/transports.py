"""How an MCP server is reached: a process's pipes, or HTTP with a sign-in."""

import functools
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import IO, Any, cast

import httpx2
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from tutelage.endpoint.addresses import is_local
from tutelage.settings import McpServer
from tutelage.sign_in.client import of_the_client
from tutelage.sign_in.person import signing_in
from tutelage.sign_in.provider import OpenPage
from tutelage.sign_in.rollouts import KeptSignIn
from tutelage.world import World


def stdio(server: McpServer, world: World, log: IO[bytes]) -> Any:
    parameters = StdioServerParameters(
        command=server.command or "",
        args=list(server.args),
        env={**server.env, **world.environment},
        cwd=server.cwd or world.folder,
        encoding_error_handler="replace",
    )
    # The type says text; it is only ever handed to the process as its standard error.
    return stdio_client(parameters, errlog=cast("Any", log))


async def sign_in(
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


async def http(stack: AsyncExitStack, server: McpServer, headers: Mapping[str, str], auth: httpx2.Auth | None) -> Any:
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
