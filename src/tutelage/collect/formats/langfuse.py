"""Langfuse exports: traces with their observations, or observations alone, as its API and its page give them.

A generation's `input` holds messages (alone, or beside `tools`), its `output` the answer. The generations of one trace
that repeat each other are one conversation. LangChain's messages stand there in a form of their own.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tutelage.collect.formats.common import Entry, Format, as_text, joined, make_record, read_or_fail, values
from tutelage.collect.record import BadRecord, Record, parsed
from tutelage.dialect import anthropic, chat
from tutelage.dialect.exchange import Transcript
from tutelage.trace import Tool

GENERATION = "GENERATION"
MODELS = ("model", "providedModelName", "provided_model_name")
BLOCKS = ("tool_use", "thinking", "redacted_thinking")  # of Anthropic, which LangChain leaves in the content


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
    tools = tools or [entry["content"] for entry in entries if _is_tool(entry)]
    transcript = Transcript()
    for entry in [*entries, {**_answer(output), "role": "assistant"}]:
        if entry.get("role") is not None and not _is_tool(entry):
            transcript.add(chat.read_message(_as_chat(entry), transcript))
    return make_record(
        transcript,
        tools=_tools(tools),
        model=next((found[key] for key in MODELS if found.get(key)), None),
        timestamp=found.get("startTime", found.get("start_time")),
    )


def _answer(output: Any) -> dict[str, Any]:
    if isinstance(output, list):
        output = output[0] if output else None
    if isinstance(output, str):
        output = {"content": output}
    if not isinstance(output, dict):
        raise BadRecord("output", "no answer")
    if isinstance(output.get("choices"), list) and output["choices"]:
        output = output["choices"][0].get("message") or {}
    return dict(output)


def _is_tool(entry: dict[str, Any]) -> bool:
    """Whether it is a tool's definition, which the handler for LangChain puts after the messages."""
    return entry.get("role") == "tool" and isinstance(entry.get("content"), dict) and not entry.get("tool_call_id")


def _tools(definitions: Any) -> tuple[Tool, ...]:
    anthropics = isinstance(definitions, list) and any("input_schema" in each for each in definitions)
    return anthropic.read_tools(definitions) if anthropics else chat.read_tools(definitions)


def _as_chat(entry: dict[str, Any]) -> dict[str, Any]:
    """A message as chat completions write it: LangChain's calls have `args`, and may stand in the content as well."""
    calls, content, more = entry.get("tool_calls"), entry.get("content"), entry.get("additional_kwargs")
    more = dict(more) if isinstance(more, dict) else {}
    if isinstance(content, list):
        blocks = [part for part in content if isinstance(part, dict) and part.get("type") in BLOCKS]
        thoughts = [part["thinking"] for part in blocks if isinstance(part.get("thinking"), str)]
        more.setdefault("reasoning_content", "\n".join(thoughts) or None)
        content = [part for part in content if part not in blocks]
    elif isinstance(content, dict):
        content = as_text(content)
    if isinstance(calls, list):
        calls = [_call(each) if isinstance(each, dict) and "args" in each else each for each in calls]
    told = {"tool_calls": more.get("tool_calls"), "reasoning_content": more.get("reasoning_content"), **entry}
    return {**told, "content": content, "tool_calls": calls or told["tool_calls"]}


def _call(call: dict[str, Any]) -> dict[str, Any]:
    return {"id": call.get("id"), "function": {"name": call.get("name"), "arguments": call["args"]}}


def _parsed(value: Any) -> Any:
    """What some exports hold as JSON text."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            return parsed(value)
        except BadRecord:
            return value
    return value


FORMAT = Format("langfuse", "Langfuse traces or observations", _matches, _read)
