"""The MCP server of benchmarks/collect.py, written with the SDK, over HTTP: `python notes_http.py PORT`."""

import sys

from mcp.server import MCPServer

app = MCPServer("notes", log_level="ERROR")


@app.tool(structured_output=False)
def note(text: str) -> str:
    """Keep a note."""
    return f"noted: {text}"


app.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
