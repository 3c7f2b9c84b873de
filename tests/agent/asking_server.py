"""A stdio MCP server that asks its client: each tool sends the request it is named after and gives back the answer.

The tool `learn` makes another one, `later`, and says that the list has changed.

Written by hand, for the handshake of 2025-11-25, in which servers send requests of their own.
"""

import json
import sys
from typing import Any

NAMES = ["roots", "sampling", "elicitation", "learn"]
ASKED = {
    "roots": ("roots/list", {}),
    "sampling": (
        "sampling/createMessage",
        {"messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}], "maxTokens": 5},
    ),
    "elicitation": (
        "elicitation/create",
        {"message": "Sure?", "requestedSchema": {"type": "object", "properties": {"sure": {"type": "boolean"}}}},
    ),
}


def send(message: dict[str, Any]) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def receive() -> dict[str, Any]:
    line = sys.stdin.readline()
    if not line:
        sys.exit()
    return dict(json.loads(line))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    if request["method"] == "initialize":
        info = {"name": "asking", "version": "1"}
        return {
            "result": {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": info,
            }
        }
    if request["method"] == "tools/list":
        return {"result": {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in NAMES]}}
    if request["method"] != "tools/call":
        return {"error": {"code": -32601, "message": "method not found"}}
    if request["params"]["name"] == "learn":
        NAMES.append("later")
        send({"method": "notifications/tools/list_changed"})
    if request["params"]["name"] not in ASKED:
        return {"result": {"content": [{"type": "text", "text": "done"}]}}
    method, parameters = ASKED[request["params"]["name"]]
    send({"id": "mine", "method": method, "params": parameters})
    while (reply := receive()).get("id") != "mine":
        pass
    said = reply.get("result", reply.get("error"))
    return {"result": {"content": [{"type": "text", "text": json.dumps(said)}]}}


while True:
    message = receive()
    if "id" in message and "method" in message:
        send({"id": message["id"], **answer(message)})
