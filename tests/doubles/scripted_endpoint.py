"""A test double of an endpoint that speaks all three dialects, whole and streamed: a script stands in for the model.

The script is asked with the number of tool results since the last user message, and with that message's text. Each
answer is cut into small events, and its bytes where the test says.
"""

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOOK = {
    "type": "object",
    "properties": {"what": {"type": "string"}},
    "required": ["what"],
}


@dataclass
class Said:
    """What the script lets the model say."""

    content: str = ""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # name, arguments
    reasoning: str = ""


def two_looks(results: int, asked: str) -> Said:
    """Looks twice, the second time at two things at once, then answers."""
    if results == 0:
        return Said("", [("look", {"what": "the lamp’s price"})], "Where is the lamp?\n")
    if results == 1:
        return Said("One more look.", [("look", {"what": "cellar"}), ("look", {"what": "attic"})], "Not here.")
    return Said(f"Done: “{asked[-20:]}” – {results} looks 💡.", [], "That is all.")


@dataclass
class Fault:
    """An answer that is none."""

    status: int = 200
    body: str = ""
    missing: int = 0  # bytes of the body that are announced and not sent; then the connection is closed


@dataclass
class ScriptedEndpoint:
    script: Callable[[int, str], Said] = two_looks
    reasoning_field: str = "reasoning_content"  # of chat completions: or "reasoning", or "think" inside content
    url: str = ""
    cut: int = 0  # bytes of a piece of a stream; 0: one event
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)  # statuses of the next answers
    faults: dict[int, Fault] = field(default_factory=dict)  # by the request's number, from 0
    calls: Iterator[int] = field(default_factory=itertools.count)
    lock: threading.Lock = field(default_factory=threading.Lock)
    kept: dict[str | None, int] = field(default_factory=dict)  # response id -> results that its turn had


@contextmanager
def scripted_endpoint(**settings: Any) -> Iterator[ScriptedEndpoint]:
    double = ScriptedEndpoint(**settings)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"double": double}))
    double.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        pass  # a client that was killed in its request


class _Handler(BaseHTTPRequestHandler):
    double: ScriptedEndpoint
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._whole(200, {"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    def do_POST(self) -> None:
        double = self.double
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with double.lock:
            fault = double.faults.get(len(double.requests))
            double.requests.append(body)
        double.headers.append({name.lower(): value for name, value in self.headers.items()})
        if fault:
            self._fail(fault)
            return
        if double.failures:
            self._whole(double.failures.pop(0), {"error": {"message": "scripted failure"}})
            return
        whole, events = _DIALECTS[self.path.rsplit("/", 1)[1]](double, body)
        if not body.get("stream"):
            self._whole(200, whole)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in _pieces(events, double.cut):
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _fail(self, fault: Fault) -> None:
        self.send_response(fault.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(fault.body.encode()) + fault.missing))
        self.end_headers()
        self.wfile.write(fault.body.encode())
        self.close_connection = fault.missing > 0

    def _whole(self, status: int, body: Any) -> None:
        data = json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def _pieces(events: list[bytes], cut: int) -> Iterator[bytes]:
    if not cut:
        yield from events
        return
    data = b"".join(events)
    for start in range(0, len(data), cut):
        yield data[start : start + cut]


def _event(data: Any, name: str = "") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def _words(text: str) -> list[str]:
    return [text[start : start + 7] for start in range(0, len(text), 7)]


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content or ""


def _chat(double: ScriptedEndpoint, body: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    last = max(index for index, message in enumerate(body["messages"]) if message["role"] == "user")
    results = sum(message["role"] == "tool" for message in body["messages"][last:])
    said = double.script(results, _text(body["messages"][last]["content"]))
    content, reasoning = said.content, {double.reasoning_field: said.reasoning} if said.reasoning else {}
    if double.reasoning_field == "think":
        content, reasoning = (f"<think>{said.reasoning}</think>{content}" if said.reasoning else content), {}
    calls = [
        {
            "id": f"call_{next(double.calls)}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(given, ensure_ascii=False)},
        }
        for name, given in said.calls
    ]
    finish = "tool_calls" if calls else "stop"
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    common = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
    message = {"role": "assistant", "content": content or None, **reasoning, **({"tool_calls": calls} if calls else {})}
    whole = {
        **common,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": usage,
    }
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{name: word} for name, text in reasoning.items() for word in _words(text)]
    deltas += [{"content": word} for word in _words(content)]
    for index, made in enumerate(calls):
        function = made["function"]
        deltas.append(
            {"tool_calls": [{**made, "index": index, "function": {"name": function["name"], "arguments": ""}}]}
        )
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": word}}]}
            for word in _words(function["arguments"])
        ]
    chunk = {**common, "object": "chat.completion.chunk"}
    events = [_event({**chunk, "choices": [{"index": 0, "delta": d, "finish_reason": None}]}) for d in deltas]
    events.append(_event({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}))
    if (body.get("stream_options") or {}).get("include_usage"):
        events.append(_event({**chunk, "choices": [], "usage": usage}))
    return whole, [*events, _event("[DONE]")]


def _responses(double: ScriptedEndpoint, body: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    items = body["input"] if isinstance(body["input"], list) else [{"role": "user", "content": body["input"]}]
    users = [index for index, item in enumerate(items) if item.get("role") == "user"]
    last = max(users, default=0)
    results = sum(item.get("type") == "function_call_output" for item in items[last:])
    results += double.kept.get(body.get("previous_response_id"), 0) if not users else 0
    said = double.script(results, _text(items[last].get("content")) if users else "")
    output: list[dict[str, Any]] = []
    number = len(double.requests)
    if said.reasoning:
        summary = [{"type": "summary_text", "text": said.reasoning}]
        output.append({"id": f"rs_{number}", "type": "reasoning", "summary": summary})
    if said.content:
        part = {"type": "output_text", "text": said.content, "annotations": []}
        message = {
            "id": f"msg_{number}",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [part],
        }
        output.append(message)
    for name, given in said.calls:
        call = next(double.calls)
        output.append(
            {
                "id": f"fc_{call}",
                "type": "function_call",
                "call_id": f"call_{call}",
                "name": name,
                "arguments": json.dumps(given, ensure_ascii=False),
                "status": "completed",
            }
        )
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    whole = {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": body["model"],
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": body.get("tools") or [],
        "usage": {"input_tokens": 11, "output_tokens": 5, "total_tokens": 16, **details},
    }
    double.kept[whole["id"]] = results
    started = {**whole, "status": "in_progress", "output": [], "usage": None}
    found: list[dict[str, Any]] = [{"type": "response.created", "response": started}]
    for index, item in enumerate(output):
        at = {"output_index": index, "item_id": item["id"]}
        empty: dict[str, Any] = {**item, "status": "in_progress"}
        if item["type"] == "message":
            empty["content"] = []
        found.append({"type": "response.output_item.added", "output_index": index, "item": empty})
        if item["type"] == "message":
            blank = {"type": "output_text", "text": "", "annotations": []}
            found.append({"type": "response.content_part.added", **at, "content_index": 0, "part": blank})
            found += [
                {"type": "response.output_text.delta", **at, "content_index": 0, "delta": word, "logprobs": []}
                for word in _words(item["content"][0]["text"])
            ]
            part = item["content"][0]
            done = {"type": "response.output_text.done", **at, "content_index": 0, "text": part["text"], "logprobs": []}
            found += [done, {"type": "response.content_part.done", **at, "content_index": 0, "part": part}]
        elif item["type"] == "function_call":
            found += [
                {"type": "response.function_call_arguments.delta", **at, "delta": word}
                for word in _words(item["arguments"])
            ]
            found.append({"type": "response.function_call_arguments.done", **at, "arguments": item["arguments"]})
        found.append({"type": "response.output_item.done", "output_index": index, "item": item})
    found.append({"type": "response.completed", "response": whole})
    return whole, [_event({**each, "sequence_number": n}, each["type"]) for n, each in enumerate(found)]


def _messages(double: ScriptedEndpoint, body: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    results, asked = 0, ""
    for message in body["messages"]:
        blocks = message["content"] if isinstance(message["content"], list) else [{"text": message["content"]}]
        if message["role"] == "user":
            found = sum(block.get("type") == "tool_result" for block in blocks)
            results = results + found if found else 0
            asked = asked if found else _text(message["content"])
    said = double.script(results, asked)
    content: list[dict[str, Any]] = []
    if said.reasoning:
        content.append({"type": "thinking", "thinking": said.reasoning, "signature": "c2ln"})
    if said.content:
        content.append({"type": "text", "text": said.content})
    content += [
        {"type": "tool_use", "id": f"toolu_{next(double.calls)}", "name": name, "input": given}
        for name, given in said.calls
    ]
    stop = "tool_use" if said.calls else "end_turn"
    whole = {
        "id": f"msg_{len(double.requests)}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 11, "output_tokens": 5},
    }
    start = {**whole, "content": [], "stop_reason": None, "usage": {"input_tokens": 11, "output_tokens": 1}}
    found_events: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for index, block in enumerate(content):
        kind = block["type"]
        empty = {
            **block,
            **{"thinking": {"thinking": "", "signature": ""}, "text": {"text": ""}}.get(kind, {"input": {}}),
        }
        found_events.append({"type": "content_block_start", "index": index, "content_block": empty})
        deltas: list[dict[str, Any]]
        if kind == "tool_use":
            text = json.dumps(block["input"], ensure_ascii=False)
            deltas = [{"type": "input_json_delta", "partial_json": word} for word in ["", *_words(text)]]
        else:
            deltas = [{"type": f"{kind}_delta", kind: word} for word in _words(block[kind])]
        if kind == "thinking":
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        found_events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        found_events.append({"type": "content_block_stop", "index": index})
    ended = {"stop_reason": stop, "stop_sequence": None}
    found_events += [
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    return whole, [_event(each, each["type"]) for each in found_events]


_DIALECTS = {"completions": _chat, "responses": _responses, "messages": _messages}
