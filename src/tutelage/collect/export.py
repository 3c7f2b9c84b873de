"""Traces as other programs read them: OpenAI's fine-tuning format, OpenTelemetry's GenAI spans. A line of JSON each."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tutelage.collect.record import BadRecord, parsed
from tutelage.trace import Message, Step, Tool, Trace

NANOSECONDS = 10**9
AFTER = "tutelage.after"  # messages after the last call, for which the conventions have no place


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
    """OTLP JSON: a span for the trace and one for each step that is taught, with all that the model saw and gave."""
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
    steps = _calls(trace)
    spans = [_step(trace, step, trace_id, whole["spanId"]) for step in steps]
    after = [_told(message) for message in trace.messages[steps[-1].seen + 1 :]] if steps else []
    if after:
        spans[-1]["attributes"].append(_attribute(AFTER, after))
    resource = {"attributes": [_attribute("service.name", "tutelage")]}
    scopes = [{"scope": {"name": "tutelage"}, "spans": [whole, *spans]}]
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": scopes}]}, ensure_ascii=False)


FORMATS: dict[str, Callable[[Trace], str]] = {"openai": openai_line, "otel": otel_line}


def _calls(trace: Trace) -> list[Step]:
    """The steps that are taught; what is context only is in the history of those after it. The last, if none is."""
    known = {step.seen: step for step in trace.steps}
    given = [index for index, message in enumerate(trace.messages) if message.role == "assistant"]
    taught = [index for index in given if trace.messages[index].weight > 0]
    return [  # a reviewer may have put an answer in, which is no step
        known.get(index, Step(seen=index, started=trace.timestamp, seconds=0.0)) for index in taught or given[-1:]
    ]


def _step(trace: Trace, step: Step, trace_id: str, parent: Any) -> dict[str, Any]:
    seen = list(trace.messages[: step.seen])
    leads = bool(seen) and seen[0].role == "system"
    system = _parts(seen.pop(0)) if leads else []
    given = {**_told(trace.messages[step.seen]), "finish_reason": step.finish_reason or "stop"}
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": trace.model,
        "gen_ai.system_instructions": system,
        "gen_ai.input.messages": [_told(message) for message in seen],
        "gen_ai.output.messages": [given],
        "gen_ai.tool.definitions": [_definition(tool) for tool in trace.tools],
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


def _definition(tool: Tool) -> dict[str, Any]:
    """With what is in `function` at the top, as the conventions have it; any other form as it is."""
    definition = tool.to_openai()
    inner: Any = definition.get("function")
    plain = definition.keys() == {"type", "function"} and isinstance(inner, dict)
    if plain and not inner.keys() & {"type", "function", "custom"} and None not in inner.values():
        return {"type": definition["type"], **inner}
    return definition


def _told(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "parts": _parts(message)}
    if message.role == "assistant" and message.weight != 1:
        told["weight"] = message.weight
    return told


def _parts(message: Message) -> list[dict[str, Any]]:
    if message.role == "tool":
        failed = {"is_error": True} if message.is_error else {}
        return [{"type": "tool_call_response", "id": message.tool_call_id, "response": message.content, **failed}]
    parts: list[dict[str, Any]] = []
    if message.reasoning_content:
        parts.append({"type": "reasoning", "content": message.reasoning_content})
    if message.content is not None or message.role != "assistant":
        parts.append({"type": "text", "content": message.content})
    for call in message.tool_calls:
        arguments = _arguments(call.arguments)
        parts.append({"type": "tool_call", "id": call.id, "name": call.name, "arguments": arguments})
    return parts


def _arguments(text: str) -> Any:
    """An object where its text can be told from it again; the text itself where not."""
    try:
        value = parsed(text)
    except BadRecord:
        return text
    return value if isinstance(value, dict) and json.dumps(value, ensure_ascii=False) == text else text


def _attribute(key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, int):
        return {"key": key, "value": {"intValue": str(value)}}  # OTLP JSON writes 64-bit numbers as text
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return {"key": key, "value": {"stringValue": text}}


def _time(seconds: float) -> str:
    return str(round(seconds * NANOSECONDS))


def _span_id(trace_id: str, number: int) -> str:
    return hashlib.sha256(f"{trace_id} {number}".encode()).hexdigest()[:16]
