"""A build's rows, from its Parquet files."""

import hashlib
from collections.abc import Sequence
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
        Row(np.asarray(ids, np.int64), np.asarray(row_weights, np.float32), trace, step)
        for ids, row_weights, trace, step in zip(*_columns(path, COLUMNS), strict=True)
    ]


def _columns(path: Path, names: Sequence[str]) -> list[list[Any]]:
    if not path.is_file():
        raise TutelageError(f"{path}: no such file. Build the dataset first: tutelage dataset build")
    try:
        table = pq.read_table(path, columns=list(names)).to_pydict()
        return [table[name] for name in names]
    except (OSError, KeyError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise TutelageError(f"{path} cannot be read ({reason}). Run `tutelage dataset build` again.") from None


def load_pairs(path: Path) -> list[Row]:
    """The rows of a Parquet file of pairs, chosen and rejected in turn; the two of a pair have its id as trace_id."""
    table = _columns(path, PAIR_COLUMNS)
    return [
        Row(np.asarray(ids, np.int64), np.asarray(row_weights, np.float32), pair, step)
        for pair, step, *both in zip(*table, strict=True)
        for ids, row_weights in (both[:2], both[2:])
    ]


def files_of(build: Path, objective: str) -> tuple[Path, Path]:
    """What is trained on, and what the evaluation loss is taken of."""
    kind = "-pairs" if objective == "dpo" else ""
    return build / f"train{kind}.parquet", build / f"validation{kind}.parquet"


def data_hash(build: Path, mixed: Sequence[Path] = (), objective: str = "sft") -> str:
    """SHA-256 of what is trained and evaluated on."""
    digest = hashlib.sha256()
    for file in (*files_of(build, objective), *(files_of(folder, objective)[0] for folder in mixed)):
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()
