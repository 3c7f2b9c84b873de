"""A build's folder on disk: written beside the old one, which it replaces only once it is whole."""

import shutil
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.dataset.unroll import Unrolled
from tutelage.errors import TutelageError
from tutelage.render.renderer import TokenRow
from tutelage.trace import Message, Trace

BUILD_FILE = "build.json"
ROWS_A_GROUP = 512

CALL = pa.struct(
    [
        ("id", pa.string()),
        ("type", pa.string()),
        ("function", pa.struct([("name", pa.string()), ("arguments", pa.string())])),
    ]
)
MESSAGE = pa.struct(
    [
        ("role", pa.string()),
        ("content", pa.string()),
        ("reasoning_content", pa.string()),
        ("tool_calls", pa.list_(CALL)),
        ("tool_call_id", pa.string()),
        ("weight", pa.float32()),  # of an assistant message, as in OpenAI's format: 0 is context only
    ]
)
CONVERSATION = pa.schema(
    [
        ("id", pa.string()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("model", pa.string()),
        ("messages", pa.list_(MESSAGE)),
        ("tools", pa.string()),  # JSON text of OpenAI's list of tools
        ("task_id", pa.string()),
        ("kind", pa.string()),
        ("trace_id", pa.string()),
        ("revision", pa.int32()),
        ("step", pa.int32()),
        ("reward", pa.float64()),
        ("reasoning_written", pa.list_(pa.int32())),  # places of messages whose reasoning was written afterwards
    ]
)
SCHEMA = pa.schema(
    [
        *CONVERSATION,
        pa.field("input_ids", pa.list_(pa.int32())),
        pa.field("weights", pa.list_(pa.float32())),  # target weights, aligned to input_ids
    ]
)


class RowWriter:
    """One split's Parquet file, a row group at a time."""

    def __init__(self, path: Path, schema: pa.Schema = SCHEMA) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._waiting: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._writer.close()

    def add(self, trace: Trace, row: Unrolled, tokens: TokenRow, written: Set[str | None]) -> None:
        """A row a step, with its tokens."""
        taught = {len(row.messages) - 1}
        self.add_conversation(trace, row, taught, written, input_ids=tokens.input_ids, weights=tokens.weights)

    def add_conversation(
        self, trace: Trace, row: Unrolled, taught: Set[int], written: Set[str | None], **more: Any
    ) -> None:
        """A conversation whose messages at the places `taught` carry loss.

        `written` is what of its reasoning was not recorded, but written afterwards.
        """
        self.add_record(
            {
                "id": f"{trace.id}-{trace.revision}-{row.step}",
                "timestamp": row.timestamp,
                "model": trace.model,
                "messages": row_messages(row.messages, taught),
                "tools": tools_text(trace),
                "task_id": trace.task.id,
                "kind": trace.task.kind,
                "trace_id": trace.id,
                "revision": trace.revision,
                "step": row.step,
                "reward": trace.reward,
                "reasoning_written": [
                    place for place, message in enumerate(row.messages) if message.reasoning_content in written
                ],
                **more,
            }
        )

    def add_record(self, record: dict[str, Any]) -> None:
        self._waiting.append(record)
        if len(self._waiting) >= ROWS_A_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=self._schema))
            self._waiting = []


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to write to; it takes its place at the end, unless something went wrong.

    Raises TutelageError where `folder` holds something else than a build, or the disk takes no more.
    """
    partial, old = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("partial", "old"))
    if not folder.exists() and old.exists():  # killed between the two renames below
        old.rename(folder)
    if folder.exists() and not (folder / BUILD_FILE).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TutelageError(f"{folder} is there and holds no build of a dataset. Name another folder or remove it.")
    try:
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise TutelageError(
            f"The dataset {folder} could not be written: {reason}. What was there before is untouched."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if not folder.exists() and old.exists():
            old.rename(folder)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)


def tools_text(trace: Trace) -> str:
    return "[" + ", ".join(tool.definition for tool in trace.tools) + "]"


def row_messages(messages: Sequence[Message], taught: Set[int]) -> list[dict[str, Any]]:
    """`messages` as a row holds them; of the assistant's, those at the places `taught` carry loss."""
    return [_message(message, message.weight if index in taught else 0.0) for index, message in enumerate(messages)]


def _message(message: Message, weight: float) -> dict[str, Any]:
    calls: Sequence[dict[str, Any]] = [call.to_openai() for call in message.tool_calls]
    return {
        "role": message.role,
        "content": message.content,
        "reasoning_content": message.reasoning_content,
        "tool_calls": calls or None,
        "tool_call_id": message.tool_call_id,
        "weight": weight if message.role == "assistant" else None,
    }
