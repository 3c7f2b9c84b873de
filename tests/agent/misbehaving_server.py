"""A scripted stdio MCP server, for what well-behaved ones do not do. The first argument says how it misbehaves.

Speaks just enough of the protocol by hand, since the SDK's own server would not let it.
"""

import json
import os
import sys
import time
from pathlib import Path

MODE = sys.argv[1]
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}


def tool(name: str) -> dict[str, object]:
    return {"name": name, "description": f"the tool {name}", "inputSchema": SCHEMA}


def pages(cursor: str | None) -> dict[str, object]:
    if MODE == "pages":
        return {"tools": [tool("second")]} if cursor else {"tools": [tool("first")], "nextCursor": "2"}
    if MODE == "no-schema":
        return {"tools": [tool("echo"), {"name": "bare"}, {"name": "null", "inputSchema": None}]}
    if MODE == "many":
        return {"tools": [tool(f"echo{number}") for number in range(26)]}
    if MODE == "same-cursor":
        return {"tools": [tool("first")] if cursor is None else [], "nextCursor": "again"}
    return {
        "tools": [tool("echo"), tool("hang"), tool("die"), tool("fail"), tool("picture"), tool("where"), tool("shop")]
    }


def call(name: str, arguments: dict[str, str]) -> dict[str, object]:
    if name == "hang":
        time.sleep(60)
    if name == "die":
        print("I am dying", file=sys.stderr, flush=True)
        os._exit(3)
    if name == "picture":
        image = {"type": "image", "data": "AAAA", "mimeType": "image/png"}
        return {"content": [{"type": "text", "text": "look"}, image]}
    if name == "where":
        return text(f"{Path.cwd()} {os.environ.get('TUTELAGE_WORLD')} {os.environ.get('MINE')}")
    if name == "shop":
        raise KeyError("the shop is closed")
    return {**text(arguments.get("text", "")), "isError": name == "fail"}


def text(words: str) -> dict[str, object]:
    return {"content": [{"type": "text", "text": words}]}


def main() -> None:
    if MODE == "second-fails":
        (Path(os.environ["STARTS"]) / str(os.getpid())).touch()
        if len(list(Path(os.environ["STARTS"]).iterdir())) == 2:
            sys.exit("not now")
    if MODE == "exit":
        print(f"no licence found for {os.environ.get('TOKEN')}", file=sys.stderr)
        sys.exit(1)
    print("junk that is no JSON", flush=True) if MODE == "junk" else None
    for line in sys.stdin:
        request = json.loads(line)
        if "id" not in request:
            continue
        reply = {"jsonrpc": "2.0", "id": request["id"]}
        parameters = request.get("params") or {}
        if request["method"] == "initialize":
            info = {"name": "misbehaving", "version": "1"}
            reply["result"] = {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": info,
            }
        elif request["method"] == "tools/list":
            reply["result"] = pages(parameters.get("cursor"))
        elif request["method"] == "tools/call":
            try:
                reply["result"] = call(parameters["name"], parameters.get("arguments") or {})
            except KeyError as error:
                reply["error"] = {"code": -32603, "message": str(error)}
        else:
            reply["error"] = {"code": -32601, "message": "method not found"}
        print(json.dumps(reply), flush=True)


main()
