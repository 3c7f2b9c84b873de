"""A build's rows, from its Parquet files."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tutelage.errors import TutelageError
from tutelage.train.tree import Row


def load_rows(path: Path) -> list[Row]:
    """The rows of a Parquet file: input_ids, weights, trace_id, step. Raises TutelageError where it is not there."""
    if not path.is_file():
        raise TutelageError(f"{path}: no such file. Build the dataset first: tutelage dataset build")
    table = pq.read_table(path, columns=["input_ids", "weights", "trace_id", "step"]).to_pydict()
    columns = (table[name] for name in ("input_ids", "weights", "trace_id", "step"))
    return [
        Row(np.asarray(ids, np.int64), np.asarray(row_weights, np.float32), trace, step)
        for ids, row_weights, trace, step in zip(*columns, strict=True)
    ]


def data_hash(build: Path) -> str:
    """SHA-256 of what is trained and evaluated on."""
    digest = hashlib.sha256()
    for name in ("train.parquet", "validation.parquet"):
        if (build / name).is_file():
            digest.update((build / name).read_bytes())
    return digest.hexdigest()
