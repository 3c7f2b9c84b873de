"""Hugging Face datasets on disk, as Parquet or Arrow files: a row a conversation, with `messages` and maybe `tools`.

Rows in ShareGPT's form (`conversations` of `from` and `value`) are read too. Parquet fills structs with nulls for
fields that a row does not have: they are left out.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tutelage.collect.formats.common import Entry, Format, make_record, values
from tutelage.collect.record import BadRecord, Record, read_messages, read_tools

ROLES = {"human": "user", "gpt": "assistant", "system": "system", "user": "user", "assistant": "assistant"}
COLUMNS = ("messages", "conversations", "conversation")


def _matches(first: Any) -> bool:
    return isinstance(first, dict) and ("conversations" in first or "conversation" in first)


def _read(path: Path) -> Iterator[Entry]:
    if path.suffix in (".json", ".jsonl"):
        for where, parse in values(path):
            yield Entry(where, lambda parse=parse: _record(parse()))  # type: ignore[misc]
        return
    for number, (batch, index) in enumerate(_rows(path), 1):
        yield Entry(f"row {number}", partial(_of_batch, batch, index))


def _rows(path: Path) -> Iterator[tuple[Any, int]]:
    """A batch of rows and an index in it, for each row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            batches: Any = pq.ParquetFile(path).iter_batches(batch_size=100)
        else:
            batches = pa.ipc.open_stream(pa.memory_map(str(path)))
        for batch in batches:
            yield from ((batch, index) for index in range(batch.num_rows))
    except (pa.ArrowException, OSError) as error:
        raise BadRecord("", f"it is no {path.suffix} file: {error}") from None


def _of_batch(batch: Any, index: int) -> Record:
    (row,) = batch.slice(index, 1).to_pylist()
    return _record(_without_nulls(row))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _record(row: Any) -> Record:
    if not isinstance(row, dict):
        raise BadRecord("", "it is no JSON object")
    column = next((name for name in COLUMNS if isinstance(row.get(name), list)), None)
    if column is None:
        raise BadRecord("messages", f"missing; there are {', '.join(sorted(row)) or 'no columns'}")
    messages = read_messages([_turned(entry) for entry in row[column]], column)
    return make_record(
        messages,
        tools=read_tools(row.get("tools") or []),
        model=row.get("model"),
        timestamp=row.get("timestamp"),
    )


def _turned(entry: Any) -> Any:
    """ShareGPT's form of a message as OpenAI's."""
    if isinstance(entry, dict) and "from" in entry and "role" not in entry:
        return {"role": ROLES.get(str(entry["from"]), entry["from"]), "content": entry.get("value")}
    return entry


FORMAT = Format("huggingface", "datasets in Parquet or Arrow files with messages and tools", _matches, _read)
