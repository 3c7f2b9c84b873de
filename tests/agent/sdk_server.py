"""A small real MCP server for the tests, written with the SDK; it speaks over stdio."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)
from pydantic import BaseModel

app = MCPServer("sdk")
AnyContext = Context[Any, Any]


class Point(BaseModel):
    x: int
    y: int | None = None


class Line(BaseModel):
    start: Point
    end: Point


@app.tool(structured_output=False)
def everything() -> list[Any]:
    """All content types."""
    return [
        TextContent(type="text", text="look"),
        ImageContent(type="image", data="AAEC", mime_type="image/png"),
        AudioContent(type="audio", data="AwQ=", mime_type="audio/wav"),
        ResourceLink(type="resource_link", uri="file:///notes.txt", name="notes", mime_type="text/plain"),
        EmbeddedResource(type="resource", resource=TextResourceContents(uri="memo://1", text="a memo")),
        EmbeddedResource(
            type="resource", resource=BlobResourceContents(uri="memo://2", blob="BQY=", mime_type="application/pdf")
        ),
    ]


@app.tool(annotations=ToolAnnotations(destructive_hint=False))
def weather() -> dict[str, float]:
    """Structured content, repeated as text."""
    return {"degrees": 21.5}


@app.tool(structured_output=False)
def big(megabytes: int) -> str:
    return "0123456789abcdef" * 65536 * megabytes


@app.tool(name="draw.line/now")
def draw(line: Line) -> str:
    """A name that APIs refuse, and a schema with $defs."""
    return f"{line.start.x} to {line.end.x}"


@app.tool(structured_output=False)
async def slowly(reports: int, context: AnyContext) -> str:
    """Takes 0.4 s a report."""
    for number in range(reports):
        await asyncio.sleep(0.4)
        await context.report_progress(number, reports)
    return "done"


@app.tool(annotations=ToolAnnotations(destructive_hint=False), structured_output=False)
async def forever() -> str:
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        Path("cancelled").touch()  # noqa: ASYNC240
        raise
    return "never"


@app.tool(structured_output=False)
def cancelled() -> bool:
    return Path("cancelled").exists()


@app.tool(annotations=ToolAnnotations(read_only_hint=True), structured_output=False)
def token() -> str:
    return f"the token is {os.environ.get('API_TOKEN')}"


@app.tool(annotations=ToolAnnotations(destructive_hint=True), structured_output=False)
def background() -> int:
    """Starts a process that does not notice that this one is gone."""
    code = "import time; time.sleep(600)"
    return subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdin=subprocess.DEVNULL).pid


if __name__ == "__main__":
    app.run("stdio")
