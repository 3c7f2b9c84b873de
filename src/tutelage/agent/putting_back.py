"""Servers that all rollouts find in the same state: put back before each, which then has them alone."""

import asyncio
import fcntl
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import IO

from mcp.client import Client
from mcp.shared.exceptions import MCPError

from tutelage.endpoint.processes import last_lines
from tutelage.errors import TutelageError
from tutelage.redact import redact
from tutelage.settings import McpServer, Reset
from tutelage.world import World

SECONDS = 120.0  # for a reset
POLL_SECONDS = 0.05


@asynccontextmanager
async def held_and_put_back(servers: Mapping[str, McpServer], world: World) -> AsyncIterator[None]:
    """Hold the servers that have a reset for one rollout of all on this machine, and run their reset commands.

    Raises TutelageError where one fails.
    """
    async with AsyncExitStack() as stack:
        for name, server in sorted(servers.items()):  # one order for all, or two rollouts could wait for each other
            if server.reset:
                await _hold(stack, server.reset)
                if server.reset.command:
                    await _run(name, server.reset, world)
        yield


async def put_back_by_tool(name: str, server: McpServer, client: Client) -> None:
    """Call the tool that resets the server, if it has one. Raises TutelageError where that fails."""
    if not server.reset or not server.reset.tool:
        return
    tool = server.reset.tool
    try:
        result = await client.call_tool(tool, {}, read_timeout_seconds=SECONDS)
    except MCPError as error:
        raise _failed(name, f'the tool "{tool}": {error.message}') from None
    if result.is_error:
        said = " ".join(part.text for part in result.content if part.type == "text")
        raise _failed(name, f'the tool "{tool}": {said}')


async def _hold(stack: AsyncExitStack, reset: Reset) -> None:
    lock: IO[str] = stack.enter_context(reset.lock.open("w"))
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            await asyncio.sleep(POLL_SECONDS)


async def _run(name: str, reset: Reset, world: World) -> None:
    with tempfile.TemporaryFile() as log:
        try:
            process = await asyncio.create_subprocess_exec(
                *reset.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=reset.lock.parent,
                env={**os.environ, **world.environment},
            )
        except OSError as error:
            raise _failed(name, f'"{reset.command[0]}": {error.strerror}') from None
        try:
            code = await asyncio.wait_for(process.wait(), SECONDS)
        except TimeoutError:
            raise _failed(name, f'"{reset.command[0]}" took more than {SECONDS:g} s') from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code:
            raise _failed(name, f'"{reset.command[0]}" ended with exit code {code}. Its last lines:\n{last_lines(log)}')


def _failed(name: str, why: str) -> TutelageError:
    return TutelageError(redact(f"tutelage.toml: the reset of [servers.{name}] failed: {why}"))
