"""A small real MCP server whose state outlives it: `python counting_server.py FILE`."""

import sys
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp_types import ImageContent, TextContent

app = MCPServer("counting")
FILE = Path(sys.argv[1])


@app.tool(structured_output=False)
def count(by: int = 1, note: str = "") -> str:
    """Adds to the count and tells it."""
    total = int(FILE.read_text()) if FILE.exists() else 0
    FILE.write_text(str(total + by))
    return str(total + by)


@app.tool(structured_output=False)
def picture() -> list[Any]:
    return [TextContent(type="text", text="look"), ImageContent(type="image", data="AAEC", mime_type="image/png")]


@app.tool(structured_output=False)
def put_back() -> str:
    FILE.unlink(missing_ok=True)
    return "done"


if __name__ == "__main__":
    app.run("stdio")
