"""OpenTelemetry's GenAI spans in OTLP JSON, one export a line or a file (semantic conventions 1.37 and later).

A span of a model call holds `gen_ai.input.messages`, `gen_ai.output.messages`, `gen_ai.system_instructions` and
`gen_ai.tool.definitions`, as JSON text or as values of OTLP's. The calls of one OpenTelemetry trace that repeat each
other are one conversation.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tutelage.collect.formats.common import (
    Entry,
    Format,
    as_text,
    joined,
    make_record,
    nanoseconds,
    objects,
    read_or_fail,
    values,
)
from tutelage.collect.record import BadRecord, Record, parsed
from tutelage.dialect.exchange import Transcript, call, function_tool
from tutelage.trace import Message, Tool

INPUT, OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"
MODELS = ("gen_ai.request.model", "gen_ai.response.model")


def _matches(first: Any) -> bool:
    return isinstance(first, dict) and "resourceSpans" in first


def _read(path: Path) -> Iterator[Entry]:
    calls: dict[str, list[Entry]] = defaultdict(list)
    starts: dict[int, int] = {}
    for where, parse in values(path):
        try:
            spans = list(_spans(parse()))
        except BadRecord as error:
            yield Entry(where, _failing(error))
            continue
        for number, span in enumerate(spans, 1):
            attributes = _attributes(span)
            if OUTPUT not in attributes:
                continue  # a span of a tool, of an agent, or without content
            place = f"{where}, span {number}" if where else f"span {number}"
            entry = Entry(place, partial(_record, span, attributes))
            starts[id(entry)] = int(span.get("startTimeUnixNano") or 0)
            calls[str(span.get("traceId"))].append(entry)
    for entries in calls.values():
        entries.sort(key=lambda entry: starts[id(entry)])
        good, bad = read_or_fail(iter(entries))
        yield from bad
        yield from joined(good)


def _failing(error: BadRecord) -> Any:
    def fail() -> Record:
        raise error

    return fail


def _spans(export: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(export, dict):
        raise BadRecord("", "it is no JSON object")
    for resource in objects(export.get("resourceSpans"), "resourceSpans"):
        for scope in objects(resource.get("scopeSpans") or [], "scopeSpans"):
            yield from objects(scope.get("spans") or [], "spans")


def _attributes(span: dict[str, Any]) -> dict[str, Any]:
    pairs = span.get("attributes")
    return {
        str(pair.get("key")): _value(pair.get("value"))
        for pair in (pairs if isinstance(pairs, list) else ())
        if isinstance(pair, dict)
    }


def _value(value: Any) -> Any:
    """A value of OTLP's as JSON's."""
    if not isinstance(value, dict):
        return None
    if "arrayValue" in value:
        return [_value(item) for item in (value["arrayValue"] or {}).get("values") or ()]
    if "kvlistValue" in value:
        pairs = (value["kvlistValue"] or {}).get("values") or ()
        return {str(pair.get("key")): _value(pair.get("value")) for pair in pairs if isinstance(pair, dict)}
    if "intValue" in value:
        return int(value["intValue"])
    return next((value[kind] for kind in ("stringValue", "boolValue", "doubleValue") if kind in value), None)


def _record(span: dict[str, Any], attributes: dict[str, Any]) -> Record:
    transcript = Transcript()
    system = _json(attributes, "gen_ai.system_instructions")
    if system:
        transcript.add(
            Message(role="system", content=_texts(objects(system, "gen_ai.system_instructions"), transcript))
        )
    for key in (INPUT, OUTPUT):
        for entry in objects(_json(attributes, key) or [], key):
            _message(entry, transcript)
    model = next((attributes[name] for name in MODELS if attributes.get(name)), None)
    tools = _tools(_json(attributes, "gen_ai.tool.definitions") or [])
    return make_record(transcript, tools=tools, model=model, timestamp=nanoseconds(span.get("startTimeUnixNano")))


def _json(attributes: dict[str, Any], key: str) -> Any:
    value = attributes.get(key)
    return parsed(value) if isinstance(value, str) and value else value


def _message(entry: dict[str, Any], transcript: Transcript) -> None:
    """A message of parts; each tool's answer becomes a message of its own."""
    parts = objects(entry.get("parts"), "parts")
    by_kind: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for part in parts:
        by_kind[str(part.get("type"))].append(part)
    for part in by_kind.pop("tool_call_response", ()):
        answer = as_text(part.get("response", part.get("result")))
        transcript.add(Message(role="tool", content=answer, tool_call_id=str(part.get("id") or "")))
    calls = [call(part.get("id"), part.get("name"), part.get("arguments")) for part in by_kind.pop("tool_call", ())]
    thoughts = [str(part.get("content") or "") for part in by_kind.pop("reasoning", ())]
    rest = [part for part in parts if str(part.get("type")) in by_kind]
    role = entry.get("role")
    if role == "assistant":
        content = _texts(rest, transcript) if rest else None
        reasoning = "".join(thoughts) or None
        transcript.add(Message(role=role, content=content, reasoning_content=reasoning, tool_calls=tuple(calls)))
    elif role in ("system", "developer"):
        transcript.add(Message(role="system", content=_texts(rest, transcript)))
    elif rest:
        transcript.add(Message(role="user", content=_texts(rest, transcript)))


def _texts(parts: list[dict[str, Any]], transcript: Transcript) -> str:
    texts: list[str] = []
    for part in parts:
        content = part.get("content")
        if part.get("type") == "text" and isinstance(content, str):
            texts.append(content)
        else:
            texts.append(transcript.leave_out(str(part.get("type"))))
    return "".join(texts)


def _tools(definitions: Any) -> tuple[Tool, ...]:
    found = []
    for definition in objects(definitions, "gen_ai.tool.definitions"):
        inner = definition.get("function") if isinstance(definition.get("function"), dict) else definition
        assert isinstance(inner, dict)
        found.append(function_tool(inner.get("name"), inner.get("description"), inner.get("parameters")))
    return tuple(found)


FORMAT = Format("otel", "OpenTelemetry GenAI spans, OTLP JSON", _matches, _read)
