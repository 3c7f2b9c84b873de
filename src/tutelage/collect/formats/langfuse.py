"""Langfuse exports: traces with their observations, or observations alone, as its API and its page give them.

A generation's `input` holds messages (alone, or beside `tools`), its `output` the answer. The generations of one trace
that repeat each other are one conversation.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tutelage.collect.formats.common import Entry, Format, joined, make_record, read_or_fail, values
from tutelage.collect.record import BadRecord, Record, parsed
from tutelage.dialect import chat
from tutelage.dialect.exchange import Transcript

GENERATION = "GENERATION"


def _matches(first: Any) -> bool:
    if isinstance(first, dict) and isinstance(first.get("data"), list):
        first = next(iter(first["data"]), None)
    return isinstance(first, dict) and (
        "observations" in first or ("type" in first and ("traceId" in first or "trace_id" in first))
    )


def _read(path: Path) -> Iterator[Entry]:
    by_trace: dict[str, list[Entry]] = defaultdict(list)
    for where, parse in values(path):
        try:
            value = parse()
        except BadRecord:
            yield Entry(where, parse)
            continue
        for place, found in _generations(value, where):
            entry = Entry(place, partial(_record, found))
            by_trace[str(found.get("traceId", found.get("trace_id")))].append(entry)
    for entries in by_trace.values():
        good, bad = read_or_fail(iter(entries))
        yield from bad
        yield from joined(good)


def _generations(value: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The generations in a trace, an observation or a page of either, and where each stands."""
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    if isinstance(value, list):
        for number, item in enumerate(value, 1):
            yield from _generations(item, f"{where}, item {number}".removeprefix(", "))
    elif isinstance(value, dict) and isinstance(value.get("observations"), list):
        for number, item in enumerate(value["observations"], 1):
            if isinstance(item, dict):
                yield from _generations(
                    {"traceId": value.get("id"), **item}, f"{where}, observation {number}".strip(", ")
                )
    elif isinstance(value, dict) and value.get("type") == GENERATION:
        yield where, value


def _record(found: dict[str, Any]) -> Record:
    given, output = _parsed(found.get("input")), _parsed(found.get("output"))
    tools: Any = None
    if isinstance(given, dict):
        tools, given = given.get("tools"), given.get("messages", given)
    entries = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if isinstance(entries, dict):
        entries = [entries]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadRecord("input", "no messages")
    tools = tools or next((entry.get("tools") for entry in entries if entry.get("role") is None), None)
    if isinstance(output, list):
        output = output[0] if output else None
    if isinstance(output, str):
        output = {"content": output}
    if not isinstance(output, dict):
        raise BadRecord("output", "no answer")
    if isinstance(output.get("choices"), list) and output["choices"]:
        output = output["choices"][0].get("message") or {}
    transcript = Transcript()
    for entry in [*entries, {**output, "role": "assistant"}]:
        if entry.get("role") is not None:
            transcript.add(chat.read_message(entry, transcript))
    return make_record(
        transcript,
        tools=chat.read_tools(tools),
        model=found.get("model", found.get("providedModelName")),
        timestamp=found.get("startTime", found.get("start_time")),
    )


def _parsed(value: Any) -> Any:
    """What some exports hold as JSON text."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            return parsed(value)
        except BadRecord:
            return value
    return value


FORMAT = Format("langfuse", "Langfuse traces or observations", _matches, _read)
