"""Session files of Codex ("rollouts"): a line an event, of which the items of the Responses API are the conversation.

Where Codex compacted its context, the file holds what the history was replaced by: the conversation before it ends
there and another one begins. A session file does not hold the tools' schemas.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tutelage.collect.formats.common import Entry, Format, make_record, values
from tutelage.collect.record import BadRecord, Record
from tutelage.dialect.exchange import Transcript
from tutelage.dialect.responses import read_items
from tutelage.trace import Message

LINES = ("session_meta", "response_item", "turn_context", "compacted", "event_msg")


def _matches(first: Any) -> bool:
    return isinstance(first, dict) and first.get("type") in LINES and isinstance(first.get("payload"), dict)


def _read(path: Path) -> Iterator[Entry]:
    items: list[dict[str, Any]] = []
    told: dict[str, Any] = {}
    number = 0
    for where, parse in values(path):
        try:
            line = parse()
            kind, payload = line.get("type"), line.get("payload")
        except (BadRecord, AttributeError):
            yield Entry(where, lambda parse=parse: _no_line(parse()))  # type: ignore[misc]
            continue
        if not isinstance(payload, dict):
            continue
        told.setdefault("timestamp", line.get("timestamp"))
        if kind == "session_meta":
            told |= {"session": payload.get("id"), "instructions": _instructions(payload)}
        elif kind == "turn_context":
            told["model"] = payload.get("model") or told.get("model")
        elif kind == "response_item":
            items.append(payload)
        elif kind == "compacted":
            number += 1
            yield _entry(number, items, dict(told), "imported" if number == 1 else "compacted")
            history = payload.get("replacement_history")
            items = list(history) if isinstance(history, list) else _summary(payload)
            told["timestamp"] = line.get("timestamp")
    if items:
        yield _entry(number + 1, items, told, "compacted" if number else "imported")


def _entry(number: int, items: list[dict[str, Any]], told: dict[str, Any], kind: str) -> Entry:
    return Entry(f"conversation {number}", lambda: _record(items, told, kind))


def _record(items: list[dict[str, Any]], told: dict[str, Any], kind: str) -> Record:
    transcript = Transcript()
    if told.get("instructions"):
        transcript.add(Message(role="system", content=told["instructions"]))
    read_items(items, transcript)
    while transcript.messages and transcript.messages[-1].role != "assistant":
        transcript.messages.pop()  # what was still to be answered
    more = {"session": str(told.get("session"))}
    return make_record(transcript, model=told.get("model"), timestamp=told.get("timestamp"), kind=kind, more=dict(more))


def _instructions(payload: dict[str, Any]) -> str | None:
    found = payload.get("base_instructions", payload.get("instructions"))
    text = found.get("text") if isinstance(found, dict) else found
    return text if isinstance(text, str) else None


def _summary(payload: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "message", "role": "user", "content": str(payload.get("message") or "")}]


def _no_line(value: Any) -> Record:
    raise BadRecord("", f"it is no line of a session: {str(value)[:40]!r}")


FORMAT = Format("codex", "session files of Codex", _matches, _read)
