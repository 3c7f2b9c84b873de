"""A conversation about a lamp as each format tells it."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"what": "attic"}'}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "You look."},
    {"role": "user", "content": "Where is the lamp?"},
    {"role": "assistant", "content": None, "reasoning_content": "Up there?", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "a lamp"},
    {"role": "assistant", "content": "In the attic."},
]
STARTED = "2026-03-04T05:06:07+00:00"


def lines(*values: Any) -> str:
    return "".join(f"{value if isinstance(value, str) else json.dumps(value)}\n" for value in values)


def log(messages: list[dict[str, Any]], at: int = 0) -> dict[str, Any]:
    """A line of a log of requests: all but the last message were asked."""
    response = {"created": 1772600767 + at, "choices": [{"message": messages[-1], "finish_reason": "stop"}]}
    headers = {"Authorization": "Bearer sk-0123456789abcdef0123"}
    request = {"model": "gpt", "messages": messages[:-1], "tools": [TOOL]}
    return {"request": request, "response": response, "headers": headers}


def sent_back(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As a client repeats a history: without reasoning."""
    return [{key: value for key, value in message.items() if key != "reasoning_content"} for message in messages]


def anthropic_log() -> dict[str, Any]:
    use = {"type": "tool_use", "id": "call_1", "name": "look", "input": {"what": "attic"}}
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "a lamp"}]}
    return {
        "timestamp": STARTED,
        "request": {
            "model": "claude",
            "system": "You look.",
            "tools": [{"name": "look", "input_schema": {"type": "object"}}],
            "messages": [
                {"role": "user", "content": "Where is the lamp?"},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "Up there?"}, use]},
                {"role": "user", "content": [result]},
            ],
        },
        "response": {"content": [{"type": "text", "text": "In the attic."}], "stop_reason": "end_turn"},
    }


def attribute(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value if isinstance(value, str) else json.dumps(value)}}


def span(messages: list[dict[str, Any]], start: int) -> dict[str, Any]:
    def parts(message: dict[str, Any]) -> list[dict[str, Any]]:
        if message["role"] == "tool":
            return [{"type": "tool_call_response", "id": message["tool_call_id"], "response": message["content"]}]
        found = []
        if message.get("reasoning_content"):
            found.append({"type": "reasoning", "content": message["reasoning_content"]})
        if message["content"]:
            found.append({"type": "text", "content": message["content"]})
        for call in message.get("tool_calls", ()):
            function = call["function"]
            arguments = json.loads(function["arguments"])
            found.append({"type": "tool_call", "id": call["id"], "name": function["name"], "arguments": arguments})
        return found

    told = [{"role": message["role"], "parts": parts(message)} for message in messages]
    return {
        "traceId": "a1",
        "spanId": f"b{start}",
        "startTimeUnixNano": str(1772600767 * 10**9 + start),
        "attributes": [
            attribute("gen_ai.operation.name", "chat"),
            attribute("gen_ai.request.model", "gpt"),
            attribute("gen_ai.system_instructions", told[0]["parts"]),
            attribute("gen_ai.input.messages", told[1:-1]),
            attribute("gen_ai.output.messages", [{**told[-1], "finish_reason": "stop"}]),
            attribute("gen_ai.tool.definitions", [{"type": "function", **TOOL["function"]}]),  # type: ignore[dict-item]
        ],
    }


def otel(*spans: dict[str, Any]) -> dict[str, Any]:
    other = {"traceId": "a1", "spanId": "c", "name": "execute_tool look", "attributes": []}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [other, *spans]}]}]}


def generation(messages: list[dict[str, Any]], at: int) -> dict[str, Any]:
    return {
        "id": f"o{at}",
        "traceId": "t1",
        "type": "GENERATION",
        "model": "gpt",
        "startTime": f"2026-03-04T05:06:0{at}Z",
        "input": {"messages": messages[:-1], "tools": [TOOL]},
        "output": messages[-1],
    }


def sample() -> dict[str, Any]:
    answer = {"role": "assistant", "content": [{"type": "reasoning", "reasoning": "Up there?"}], "tool_calls": []}
    answer["tool_calls"] = [{"id": "call_1", "function": "look", "arguments": {"what": "attic"}, "type": "function"}]
    tool = {"name": "look", "description": "", "parameters": {"type": "object", "properties": {}, "anyOf": None}}
    return {
        "id": 7,
        "epoch": 1,
        "messages": [
            MESSAGES[0],
            {"role": "user", "content": "attachment://a"},
            answer,
            {"role": "tool", "tool_call_id": "call_1", "content": "a lamp", "function": "look"},
            {"role": "assistant", "content": "In the attic."},
        ],
        "attachments": {"a": "Where is the lamp?"},
        "scores": {"match": {"value": "C"}},
        "events": [{"event": "model", "tools": [tool]}],
    }


def inspect_log(*samples: Any) -> dict[str, Any]:
    return {"version": 2, "eval": {"model": "gpt", "created": STARTED, "task": "attic"}, "samples": list(samples)}


def claude_code() -> list[dict[str, Any]]:
    use = {"type": "tool_use", "id": "call_1", "name": "look", "input": {"what": "attic"}}
    answers = [{"type": "thinking", "thinking": "Up there?", "signature": "x"}, use]
    told: list[tuple[str, Any]] = [("user", {"role": "user", "content": "Where is the lamp?"})]
    told += [
        ("assistant", {"role": "assistant", "id": "m1", "model": "claude", "content": [block]}) for block in answers
    ]
    told.append(
        ("user", {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "a lamp"}]})
    )
    text = {"type": "text", "text": "In the attic."}
    told.append(("assistant", {"role": "assistant", "id": "m2", "model": "claude", "content": [text]}))
    common = {"sessionId": "s", "isSidechain": False, "timestamp": STARTED, "version": "2.1.0"}
    found: list[dict[str, Any]] = [{"type": "summary", "summary": "The lamp", "leafUuid": "u4"}]
    for number, (kind, message) in enumerate(told):
        parent = f"u{number - 1}" if number else None
        found.append({**common, "type": kind, "uuid": f"u{number}", "parentUuid": parent, "message": message})
    return found


def codex() -> list[dict[str, Any]]:
    user = [{"type": "input_text", "text": "Where is the lamp?"}]
    items: list[dict[str, Any]] = [
        {"type": "message", "role": "user", "content": user},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Up there?"}], "encrypted_content": "x"},
        {"type": "function_call", "name": "look", "arguments": '{"what": "attic"}', "call_id": "call_1"},
        {"type": "function_call_output", "call_id": "call_1", "output": "a lamp"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "In the attic."}]},
    ]
    meta = {"id": "s", "cli_version": "1", "base_instructions": {"text": "You look."}}
    told = [("session_meta", meta), ("turn_context", {"model": "gpt"}), ("event_msg", {"type": "task_started"})]
    told += [("response_item", item) for item in items]
    return [{"timestamp": STARTED, "type": kind, "payload": payload} for kind, payload in told]


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


FILES: dict[str, tuple[str, Any]] = {
    "trace": ("a.json", {"timestamp": STARTED, "model": "gpt", "messages": MESSAGES, "tools": [TOOL]}),
    "openai": ("a.jsonl", [{"messages": MESSAGES, "tools": [TOOL]}]),
    "openai log": ("b.jsonl", [log(MESSAGES[:3]), log(sent_back(MESSAGES), 1)]),
    "openai anthropic": ("c.jsonl", [anthropic_log()]),
    "huggingface": ("a.parquet", [{"messages": sent_back(MESSAGES), "tools": json.dumps([TOOL]), "id": 1}]),
    "otel": ("d.jsonl", [otel(span(sent_back(MESSAGES), 5)), otel(span(MESSAGES[:3], 1))]),
    "langfuse": ("e.json", {"data": [generation(MESSAGES[:3], 1), generation(sent_back(MESSAGES), 2)]}),
    "langfuse trace": ("f.json", [{"id": "t1", "observations": [generation(MESSAGES, 1), {"type": "SPAN"}]}]),
    "inspect": ("g.json", inspect_log(sample())),
    "claude-code": ("h.jsonl", claude_code()),
    "codex": ("i.jsonl", codex()),
}


def write(folder: Path, name: str, value: Any) -> Path:
    path = folder / name
    if name.endswith(".parquet"):
        parquet(path, value)
    else:
        path.write_text(lines(*value) if name.endswith("l") else json.dumps(value))
    return path
