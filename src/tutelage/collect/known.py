"""What a run holds already of what is imported: whole records, and the steps that records share."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pydantic import JsonValue

from tutelage.collect.record import Record
from tutelage.dialect.identity import chain
from tutelage.trace import Message

LINK = 16  # hexadecimal digits that tell a step, with all that was before it, from the others of a run


class Known:
    """The records and steps of a run. A step that is imported already is context in what comes later."""

    def __init__(self, notes: Iterable[dict[str, Any]]) -> None:
        """`notes` are those that `new` gave of the run's traces."""
        self._records: set[str] = set()
        self._steps: set[str] = set()
        for note in notes:
            self._records.add(str(note.get("sha256")))
            self._steps.update(note.get("steps") or ())

    def new(self, record: Record) -> tuple[Record, dict[str, JsonValue]] | None:
        """`record`, of which only what is new is taught, and what to note of its trace; None where nothing is new."""
        digest = _digest(record)
        if digest in self._records:
            return None
        note: dict[str, JsonValue] = {"sha256": digest}
        if record.repeats:
            links = [link[:LINK] for link in chain(record.messages)]
            given = [link for link, message in zip(links, record.messages, strict=True) if _is_taught(message)]
            steps = [link for link in given if link not in self._steps]
            if given and not steps:
                return None
            messages = (
                message.model_copy(update={"weight": 0.0}) if _is_taught(message) and link in self._steps else message
                for link, message in zip(links, record.messages, strict=True)
            )
            record = replace(record, messages=tuple(messages))
            self._steps.update(steps)
            note["steps"] = [*steps]
        self._records.add(digest)
        return record, note


def _is_taught(message: Message) -> bool:
    return message.role == "assistant" and message.weight > 0


def _digest(record: Record) -> str:
    """Tells whether a record was imported before; where its file lies does not count."""
    messages = [message.model_dump(mode="json", exclude_defaults=True) for message in record.messages]
    timestamp = record.timestamp.isoformat() if record.timestamp else None
    parts = [timestamp, record.model, messages, [tool.definition for tool in record.tools]]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()
