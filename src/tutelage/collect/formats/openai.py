"""OpenAI-style JSONL: fine-tuning data, and logs of requests with their responses.

A log's line holds `request` and `response` (or `body` of them, as proxies and batch files write it) of chat
completions, the Responses API or Anthropic's Messages API.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tutelage.collect.formats.common import Entry, Format, joined, make_record, read_or_fail, values
from tutelage.collect.record import BadRecord, Record, read_messages, read_tools
from tutelage.dialect import anthropic, chat, responses
from tutelage.trace import Tool

TIMES = ("timestamp", "created", "created_at", "time", "start_time", "startTime")


def _matches(first: Any) -> bool:
    return isinstance(first, dict) and ("messages" in first or _is_log(first))


def _is_log(line: Any) -> bool:
    return isinstance(line, dict) and isinstance(line.get("response"), dict)


def _read(path: Path) -> Iterator[Entry]:
    logged: list[Entry] = []
    for where, parse in values(path):
        entry = Entry(where, lambda parse=parse: _record(parse()))  # type: ignore[misc]
        try:
            log = _is_log(parse())
        except BadRecord:
            log = False
        if log:
            logged.append(entry)
        else:
            yield entry
    good, bad = read_or_fail(iter(logged))
    yield from bad
    yield from joined(good)


def _record(line: Any) -> Record:
    if not isinstance(line, dict):
        raise BadRecord("", "it is no JSON object")
    return _call(line) if _is_log(line) else _example(line)


def _example(line: dict[str, Any]) -> Record:
    """A line of fine-tuning data."""
    entries = line.get("messages")
    if not isinstance(entries, list) or not entries:
        raise BadRecord("messages", "not a list of messages")
    functions = [{"type": "function", "function": function} for function in line.get("functions") or ()]
    messages = read_messages(entries, "messages")
    tools = line.get("tools")
    return make_record(
        messages,
        tools=read_tools(functions if tools is None else tools),
        model=line.get("model"),
        timestamp=_time(line),
    )


def _call(line: dict[str, Any]) -> Record:
    """A line of a log."""
    request, response = _body(line.get("request", line.get("body"))), _body(line["response"])
    if not request:
        raise BadRecord("request", "missing: beside a response stands what was asked")
    reader = chat.read if "choices" in response else responses.read if "output" in response else anthropic.read
    exchange = reader(request, response)
    if not exchange.answers:
        raise BadRecord("response", "it holds no answer")
    if exchange.not_kept:
        kinds = ", ".join(sorted(exchange.not_kept))
        raise BadRecord("request", f"it holds what is no text and cannot be taught: {kinds}")
    tools: tuple[Tool, ...] = exchange.tools
    messages = (*exchange.messages, exchange.answers[0].message)
    return make_record(messages, tools=tools, model=exchange.model, timestamp=_time(line) or _time(response))


def _body(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    inner = value.get("body")
    return inner if isinstance(inner, dict) else value


def _time(found: dict[str, Any]) -> Any:
    return next((found[name] for name in TIMES if isinstance(found.get(name), (str, int, float))), None)


FORMAT = Format("openai", "JSONL: fine-tuning data, or logs of requests and responses", _matches, _read)
