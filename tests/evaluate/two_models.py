"""An endpoint with two models for tests: "student" does what the scripted expert does, "untrained" only chats."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from tutelage.quickstart.expert import next_reply


@dataclass
class TwoModels:
    url: str = ""
    asked: list[str] = field(default_factory=list)  # models, in the order of requests
    requests: list[dict[str, Any]] = field(default_factory=list)  # their bodies


@contextmanager
def two_models() -> Iterator[TwoModels]:
    state = TwoModels()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked.append(body["model"])
            state.requests.append(body)
            message = {"role": "assistant", "content": "How nice of you to ask!"}
            if body["model"] == "student":
                message = expert_message(body["messages"])
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            answer = json.dumps({"id": "1", "object": "chat.completion", "choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def expert_message(messages: list[dict[str, Any]]) -> dict[str, Any]:
    reply = next_reply(messages)
    message: dict[str, Any] = {"role": "assistant", "content": reply.content, "reasoning_content": reply.reasoning}
    if reply.tool:
        function = {"name": reply.tool, "arguments": json.dumps(reply.arguments)}
        message["tool_calls"] = [{"id": uuid.uuid4().hex, "type": "function", "function": function}]
    return message
