"""The tools of one connected MCP server."""

import functools
import logging
from collections.abc import Mapping
from typing import Any

from mcp.client import Client
from mcp_types import ListToolsResult, ToolAnnotations
from pydantic import ValidationError

from tutelage.agent.offer import Listed

logger = logging.getLogger(__name__)


async def list_tools(client: Client, server: str) -> list[Listed]:
    """All pages of the list, each name once; a server that repeats a cursor would never end."""
    tools: dict[str, Listed] = {}
    seen: set[str] = set()
    cursor: str | None = None
    while True:
        try:
            page = await client.list_tools(cursor=cursor, cache_mode="refresh")
        except ValidationError:
            found, cursor = await _list_unchecked(client, server, cursor)
        else:
            found = [
                _listed(server, tool.name, tool.description or "", tool.input_schema, tool.annotations)
                for tool in page.tools
            ]
            cursor = page.next_cursor
        for tool in found:
            if tool.name in tools:
                _notice(f'MCP server "{server}" lists the tool "{tool.name}" twice; the first one is taken.')
            tools.setdefault(tool.name, tool)
        if not cursor or cursor in seen:
            return list(tools.values())
        seen.add(cursor)


async def _list_unchecked(client: Client, server: str, cursor: str | None) -> tuple[list[Listed], str | None]:
    """A page of the list without its faulty tools: the SDK refuses the whole page for one of them."""
    parameters = {"cursor": cursor} if cursor else {}
    # The SDK has no public request whose result it does not check; it lists again before a call of a tool that it
    # has not absorbed, which would fail as this listing did.
    raw = await client.session._dispatcher.send_raw_request("tools/list", parameters, {})
    tools, valid = [], []
    for tool in raw.get("tools") or []:
        name, schema = tool.get("name"), tool.get("inputSchema")
        try:
            ListToolsResult.model_validate({"tools": [tool]})
        except ValidationError:
            _notice(f'MCP server "{server}": the tool "{name}" is left out: it has no valid inputSchema.')
            continue
        annotations = ToolAnnotations.model_validate(tool.get("annotations") or {})
        tools.append(_listed(server, name, tool.get("description") or "", schema, annotations))
        valid.append(tool)
    client.session._absorb_tool_listing(ListToolsResult.model_validate({"tools": valid}), complete=False)
    return tools, raw.get("nextCursor")


def _listed(
    server: str, name: str, description: str, schema: Mapping[str, Any], annotations: ToolAnnotations | None
) -> Listed:
    hints = annotations or ToolAnnotations()
    return Listed(
        server,
        name,
        description,
        schema,
        read_only=bool(hints.read_only_hint),
        destructive=hints.destructive_hint,
    )


@functools.cache
def _notice(text: str) -> None:
    """Say it once, not once a rollout."""
    logger.warning(text)
