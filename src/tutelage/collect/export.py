"""Traces as other programs read them: OpenAI's fine-tuning format, OpenTelemetry's GenAI spans. A line of JSON each."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tutelage.trace import Message, Step, Trace, canonical

NANOSECONDS = 10**9


def openai_line(trace: Trace) -> str:
    """Messages and tools; a message that is context only has weight 0, as OpenAI's fine-tuning marks it."""
    messages = []
    for message in trace.messages:
        told = {**message.to_openai(), "content": message.content}
        if message.is_error:
            told["is_error"] = True
        if message.role == "assistant" and message.weight != 1:
            told["weight"] = message.weight
        messages.append(told)
    data = {
        "messages": messages,
        "tools": [tool.to_openai() for tool in trace.tools],
        "id": trace.id,
        "timestamp": trace.timestamp.isoformat(),
        "model": trace.model,
        **({} if trace.reward is None else {"reward": trace.reward}),
    }
    return json.dumps(data, ensure_ascii=False)


def otel_line(trace: Trace) -> str:
    """OTLP JSON: a span for the trace and one for each step, with all that the model saw and gave."""
    trace_id = hashlib.sha256(trace.id.encode()).hexdigest()[:32]
    ends = [step.started + timedelta(seconds=step.seconds) for step in trace.steps]
    whole = {
        "traceId": trace_id,
        "spanId": _span_id(trace_id, -1),
        "name": "invoke_agent",
        "kind": 1,
        "startTimeUnixNano": _time(trace.timestamp.timestamp()),
        "endTimeUnixNano": _time(max([trace.timestamp, *ends]).timestamp()),
        "attributes": [_attribute("gen_ai.operation.name", "invoke_agent"), _attribute("tutelage.trace", trace.id)],
    }
    # What is context only is in the history of the steps after it.
    steps = [step for step in trace.steps if trace.messages[step.seen].weight > 0]
    spans = [whole, *(_step(trace, step, trace_id, whole["spanId"]) for step in steps)]
    resource = {"attributes": [_attribute("service.name", "tutelage")]}
    scopes = [{"scope": {"name": "tutelage"}, "spans": spans}]
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": scopes}]}, ensure_ascii=False)


FORMATS: dict[str, Callable[[Trace], str]] = {"openai": openai_line, "otel": otel_line}


def _step(trace: Trace, step: Step, trace_id: str, parent: Any) -> dict[str, Any]:
    seen = trace.messages[: step.seen]
    system = [part for message in seen if message.role == "system" for part in _parts(message)]
    given = {**_told(trace.messages[step.seen]), "finish_reason": step.finish_reason or "stop"}
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": trace.model,
        "gen_ai.system_instructions": system,
        "gen_ai.input.messages": [_told(message) for message in seen if message.role != "system"],
        "gen_ai.output.messages": [given],
        "gen_ai.tool.definitions": [
            {"type": "function", **tool.to_openai().get("function", {})} for tool in trace.tools
        ],
        "gen_ai.usage.input_tokens": step.prompt_tokens,
        "gen_ai.usage.output_tokens": step.completion_tokens,
    }
    start = step.started.timestamp()
    return {
        "traceId": trace_id,
        "spanId": _span_id(trace_id, step.seen),
        "parentSpanId": parent,
        "name": f"chat {trace.model}",
        "kind": 3,
        "startTimeUnixNano": _time(start),
        "endTimeUnixNano": _time(start + step.seconds),
        "attributes": [_attribute(key, value) for key, value in attributes.items() if value not in (None, [])],
    }


def _told(message: Message) -> dict[str, Any]:
    return {"role": message.role, "parts": _parts(message)}


def _parts(message: Message) -> list[dict[str, Any]]:
    if message.role == "tool":
        return [{"type": "tool_call_response", "id": message.tool_call_id, "response": message.content or ""}]
    parts: list[dict[str, Any]] = []
    if message.reasoning_content:
        parts.append({"type": "reasoning", "content": message.reasoning_content})
    if message.content:
        parts.append({"type": "text", "content": message.content})
    for call in message.tool_calls:
        parts.append({"type": "tool_call", "id": call.id, "name": call.name, "arguments": canonical(call.arguments)})
    return parts


def _attribute(key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, int):
        return {"key": key, "value": {"intValue": str(value)}}  # OTLP JSON writes 64-bit numbers as text
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return {"key": key, "value": {"stringValue": text}}


def _time(seconds: float) -> str:
    return str(round(seconds * NANOSECONDS))


def _span_id(trace_id: str, number: int) -> str:
    return hashlib.sha256(f"{trace_id} {number}".encode()).hexdigest()[:16]
