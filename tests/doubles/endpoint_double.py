"""A test double of an OpenAI-style endpoint: it answers each request with the next of the given answers."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    status: int = 200
    body: Any = None


@dataclass
class EndpointDouble:
    answers: list[Answer]
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def says(
    content: str | None = None, *calls: tuple[str, str], reasoning: str | None = None, finish: str = "stop", **more: Any
) -> Answer:
    """A chat completion; each call is a tool's name and its arguments' text."""
    message: dict[str, Any] = {"role": "assistant", "content": content, **more}
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = [
            {"id": f"id{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for n, (name, arguments) in enumerate(calls)
        ]
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    return Answer(body={"choices": [{"message": message, "finish_reason": finish}], "usage": usage})


def fails(status: int, message: str, **more: Any) -> Answer:
    return Answer(status, {"error": {"message": message, **more}})


@contextmanager
def endpoint_double(*answers: Answer) -> Iterator[EndpointDouble]:
    """Serve `answers` in order; the last one again and again."""
    double = EndpointDouble(list(answers))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: apart, the second waits 40 ms for an acknowledgement

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with double.lock:
                double.requests.append(body)
                answer = double.answers.pop(0) if len(double.answers) > 1 else double.answers[0]
            data = answer.body.encode() if isinstance(answer.body, str) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    double.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
