"""A stdio MCP server that says what the file it is given says: `{"tools": …, "results": […]}`, each result in turn.

Written by hand, so that it can say what the SDK's servers would refuse to.
"""

import json
import sys
from itertools import cycle
from pathlib import Path

said = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
results = cycle(said["results"])
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    match message["method"]:
        case "initialize":
            info = {"name": "fuzz", "version": "1"}
            reply = {"result": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}}
        case "tools/list":
            reply = {"result": {"tools": said["tools"]}}
        case "tools/call":
            reply = {"result": next(results)}
        case _:
            reply = {"error": {"code": -32601, "message": "method not found"}}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **reply}), flush=True)
