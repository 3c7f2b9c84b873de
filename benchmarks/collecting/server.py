"""A stdio MCP server of one tool, `note`, that starts in 30 ms: what a benchmark measures is not its server.

With `--browser` it starts, as browser servers do, a process in a session of its own that does not watch its parent.
"""

import json
import subprocess
import sys

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
TOOL = {"name": "note", "description": "Keep a note.", "inputSchema": SCHEMA}
ANSWERS = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "notes", "version": "1"},
    },
    "tools/list": {"tools": [TOOL]},
}

if "--browser" in sys.argv:
    subprocess.Popen(["sleep", "600"], start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    reply = {"jsonrpc": "2.0", "id": request["id"]}
    if request["method"] == "tools/call":
        text = request["params"]["arguments"]["text"]
        reply["result"] = {"content": [{"type": "text", "text": f"noted: {text}"}]}
    elif request["method"] in ANSWERS:
        reply["result"] = ANSWERS[request["method"]]
    else:
        reply["error"] = {"code": -32601, "message": "method not found"}
    print(json.dumps(reply), flush=True)
