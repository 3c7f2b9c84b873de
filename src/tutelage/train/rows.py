"""A build's rows, from its Parquet files."""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.errors import TutelageError
from tutelage.train.tree import Row

COLUMNS = ("input_ids", "weights", "trace_id", "step")
PAIR_COLUMNS = ("id", "step", "chosen_input_ids", "chosen_weights", "rejected_input_ids", "rejected_weights")


def load_rows(path: Path) -> list[Row]:
    """The rows of a Parquet file: input_ids, weights, trace_id, step. Raises TutelageError where it cannot be read."""
    return [
        Row(ids.astype(np.int64), row_weights.astype(np.float32), trace, step)
        for ids, row_weights, trace, step in zip(*_columns(path, COLUMNS), strict=True)
    ]


def _columns(path: Path, names: Sequence[str]) -> list[list[Any]]:
    if not path.is_file():
        raise TutelageError(f"{path}: no such file. Build the dataset first: tutelage dataset build")
    try:
        table = pq.read_table(path, columns=list(names))
        return [_values(table[name].combine_chunks()) for name in names]
    except (OSError, KeyError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise TutelageError(f"{path} cannot be read ({reason}). Run `tutelage dataset build` again.") from None


def _values(column: Any) -> list[Any]:
    """Python's own values; of a column of lists, arrays that share one block of memory."""
    if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
        return list(column.to_pylist())
    numbers, bounds = column.values.to_numpy(zero_copy_only=False), column.offsets.to_numpy()
    return [numbers[start:end] for start, end in pairwise(bounds)]


def load_pairs(path: Path) -> list[Row]:
    """The rows of a Parquet file of pairs, chosen and rejected in turn; the two of a pair have its id as trace_id."""
    table = _columns(path, PAIR_COLUMNS)
    return [
        Row(ids.astype(np.int64), row_weights.astype(np.float32), pair, step)
        for pair, step, *both in zip(*table, strict=True)
        for ids, row_weights in (both[:2], both[2:])
    ]


def require_rows(rows: Iterable[Row], vocabulary: int) -> None:
    """Raises TutelageError for a row that teaches nothing or has tokens that the student does not know."""
    for row in rows:
        where = f'Step {row.step} of trace "{row.trace_id}"'
        if len(row) and not 0 <= row.input_ids.min() <= row.input_ids.max() < vocabulary:
            raise TutelageError(
                f"{where} has the token {row.input_ids.max()}, and the student knows {vocabulary}: the dataset was "
                "built for another one. Run `tutelage dataset build` again."
            )
        if not row.weights.any():
            raise TutelageError(f"{where} teaches nothing: no token has a weight. Run `tutelage dataset build` again.")


def files_of(build: Path, objective: str) -> tuple[Path, Path]:
    """What is trained on, and what the evaluation loss is taken of."""
    kind = "-pairs" if objective == "dpo" else ""
    return build / f"train{kind}.parquet", build / f"validation{kind}.parquet"


def data_hash(build: Path, mixed: Sequence[Path] = (), objective: str = "sft") -> str:
    """SHA-256 of what is trained and evaluated on."""
    digest = hashlib.sha256()
    for file in (*files_of(build, objective), *(files_of(folder, objective)[0] for folder in mixed)):
        if file.is_file():
            with file.open("rb") as opened:
                while block := opened.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()
