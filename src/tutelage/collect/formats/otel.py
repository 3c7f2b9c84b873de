"""OpenTelemetry's GenAI spans in OTLP JSON, one export a line or a file (semantic conventions 1.37 and later).

A span of a model call holds `gen_ai.input.messages`, `gen_ai.output.messages`, `gen_ai.system_instructions` and
`gen_ai.tool.definitions`, as JSON text or as values of OTLP's. The calls of one OpenTelemetry trace that repeat each
other are one conversation. Of several answers to one call the first is taken. What no convention has a place for
(`weight`, `is_error`, what follows the last call) stands as `tutelage traces export` writes it.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tutelage.collect.formats.common import (
    Entry,
    Format,
    as_text,
    failing,
    joined,
    make_record,
    nanoseconds,
    objects,
    read_or_fail,
    values,
)
from tutelage.collect.record import BadRecord, Record, parsed, read_weight
from tutelage.dialect.exchange import Transcript, call, tool
from tutelage.trace import Message, Tool

INPUT, OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"
SYSTEM, TOOLS, AFTER = "gen_ai.system_instructions", "gen_ai.tool.definitions", "tutelage.after"
MODELS = ("gen_ai.request.model", "gen_ai.response.model")
START = "startTimeUnixNano"


def _matches(first: Any) -> bool:
    return isinstance(first, dict) and "resourceSpans" in first


def _read(path: Path) -> Iterator[Entry]:
    calls: dict[str, list[tuple[int, Entry]]] = defaultdict(list)
    for where, parse in values(path):
        try:
            spans = list(_spans(parse()))
        except BadRecord as error:
            yield Entry(where, failing(error))
            continue
        for number, span in enumerate(spans, 1):
            if not _holds(span, OUTPUT):
                continue  # a span of a tool, of an agent, or without content
            place = f"{where}, span {number}" if where else f"span {number}"
            calls[str(span.get("traceId"))].append((_order(span), Entry(place, partial(_record, span))))
    for entries in calls.values():
        entries.sort(key=lambda entry: entry[0])
        good, bad = read_or_fail(entry for _, entry in entries)
        yield from bad
        yield from joined(good)


def _spans(export: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(export, dict):
        raise BadRecord("", "it is no JSON object")
    for resource in objects(export.get("resourceSpans"), "resourceSpans"):
        for scope in objects(resource.get("scopeSpans") or [], "scopeSpans"):
            yield from objects(scope.get("spans") or [], "spans")


def _pairs(span: dict[str, Any]) -> list[dict[str, Any]]:
    pairs = span.get("attributes")
    return [pair for pair in pairs if isinstance(pair, dict)] if isinstance(pairs, list) else []


def _holds(span: dict[str, Any], key: str) -> bool:
    return any(pair.get("key") == key for pair in _pairs(span))


def _order(span: dict[str, Any]) -> int:
    try:
        return int(span.get(START) or 0)
    except (TypeError, ValueError, OverflowError):
        return 0  # what is wrong is said when it is read


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


def _record(span: dict[str, Any]) -> Record:
    attributes = {str(pair.get("key")): _value(pair.get("value")) for pair in _pairs(span)}
    started = span.get(START) or None
    if started is not None and nanoseconds(started) is None:
        raise BadRecord(START, f"{started!r} is no time in nanoseconds")
    transcript = Transcript()
    system = _json(attributes, SYSTEM)
    if system:
        transcript.add(Message(role="system", content=_texts(objects(system, SYSTEM), transcript)))
    for entry in objects(_json(attributes, INPUT) or [], INPUT):
        _message(entry, transcript)
    answers = objects(_json(attributes, OUTPUT) or [], OUTPUT)
    if not answers:
        raise BadRecord(OUTPUT, "no answer")
    _message({**answers[0], "role": "assistant"}, transcript)
    after = Transcript()
    for entry in objects(_json(attributes, AFTER) or [], AFTER):
        _message(entry, after)
    record = make_record(
        transcript,
        tools=_tools(_json(attributes, TOOLS) or []),
        model=next((attributes[name] for name in MODELS if attributes.get(name)), None),
        timestamp=nanoseconds(started),
        whole=False,
    )
    return replace(record, after=tuple(after.messages))


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
        transcript.add(_answer(part))
    calls = [call(part.get("id"), part.get("name"), part.get("arguments")) for part in by_kind.pop("tool_call", ())]
    thoughts = [str(part.get("content") or "") for part in by_kind.pop("reasoning", ())]
    rest = [part for part in parts if str(part.get("type")) in by_kind]
    role = entry.get("role")
    content = _texts(rest, transcript)
    if role == "assistant":
        transcript.add(
            Message(
                role=role,
                content=content,
                reasoning_content="".join(thoughts) or None,
                tool_calls=tuple(calls),
                weight=read_weight(entry, "parts"),
            )
        )
    elif rest:
        transcript.add(Message(role="system" if role in ("system", "developer") else "user", content=content))
    elif not parts:  # some instrumentations leave out what is no plain text
        raise BadRecord("parts", f"what a message of the {role} says is missing")


def _answer(part: dict[str, Any]) -> Message:
    answer = part.get("response", part.get("result"))
    return Message(
        role="tool",
        content=None if answer is None else as_text(answer),
        tool_call_id=str(part.get("id") or ""),
        is_error=bool(part.get("is_error")),
    )


def _texts(parts: list[dict[str, Any]], transcript: Transcript) -> str | None:
    if all(part.get("type") == "text" and part.get("content") is None for part in parts):
        return None
    texts: list[str] = []
    for part in parts:
        content = part.get("content")
        if part.get("type") == "text" and isinstance(content, str):
            texts.append(content)
        else:
            texts.append(transcript.leave_out(str(part.get("type"))))
    return "".join(texts)


def _tools(definitions: Any) -> tuple[Tool, ...]:
    """Tools as chat completions write them, whether or not what is in `function` there stands at the top."""
    found = []
    for definition in objects(definitions, TOOLS):
        inner = definition.get("function", definition.get("custom"))
        if isinstance(inner, dict):
            found.append(tool(inner.get("name"), {"type": "function", **definition}))
        else:
            inner = {key: value for key, value in definition.items() if key != "type" and value is not None}
            found.append(tool(inner.get("name"), {"type": "function", "function": inner}))
    return tuple(found)


FORMAT = Format("otel", "OpenTelemetry GenAI spans, OTLP JSON", _matches, _read)
