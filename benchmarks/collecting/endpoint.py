"""An OpenAI-style endpoint that thinks for no time: it calls `note` so many times, then answers.

`python endpoint.py PORT STEPS` serves until its standard input closes. Imported, `Witness` runs it in threads and keeps
what it was shown, for a benchmark that holds the store against it.
"""

import json
import sys
import threading
import uuid
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "no-latency"


def answer(messages: list[dict[str, Any]], steps: int) -> dict[str, Any]:
    """The next message: `steps` of them in all, the last one an answer."""
    said = sum(message["role"] == "assistant" for message in messages)
    if said >= steps - 1:
        return {"role": "assistant", "content": f"done after {said + 1} steps"}
    arguments = json.dumps({"text": f"note {said} " + "word " * 40})
    call = {"id": uuid.uuid4().hex, "type": "function", "function": {"name": "note", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is none."""


class Witness:
    """The endpoint on a port of its own; `seen` are the ids of the calls that it was shown as history."""

    def __init__(self, port: int, steps: int) -> None:
        self.lock = threading.Lock()
        self.seen: set[str] = set()
        self.asked: Counter[str] = Counter()  # requests by the task's prompt
        witness = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                witness.note(body["messages"])
                message = answer(body["messages"], steps)
                usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                about = {"id": "c", "object": "chat.completion", "created": 0, "model": MODEL}
                data = json.dumps({**about, "choices": [choice], "usage": usage}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def note(self, messages: list[dict[str, Any]]) -> None:
        with self.lock:
            self.asked[next(message["content"] for message in messages if message["role"] == "user")] += 1
            for message in messages:
                self.seen.update(call["id"] for call in message.get("tool_calls") or ())

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


if __name__ == "__main__":
    running = Witness(int(sys.argv[1]), int(sys.argv[2]))
    sys.stdin.read()
