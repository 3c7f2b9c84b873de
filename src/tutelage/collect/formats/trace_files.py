"""A JSON object a trace with `timestamp`, `model`, `messages` and `tools`; also what Tutelage publishes, as JSONL."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tutelage.collect.formats.common import Entry, Format, values
from tutelage.collect.record import read_record


def _matches(first: Any) -> bool:
    return isinstance(first, dict) and {"timestamp", "model", "messages", "tools"} <= first.keys()


def _read(path: Path) -> Iterator[Entry]:
    for where, parse in values(path):
        yield Entry(where, lambda parse=parse: read_record(parse()))  # type: ignore[misc]


FORMAT = Format("trace", "JSON with timestamp, model, messages and tools", _matches, _read)
