"""A build's rows, from its Parquet files."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.errors import TutelageError
from tutelage.train.tree import Row

COLUMNS = ("input_ids", "weights", "trace_id", "step")


def load_rows(path: Path) -> list[Row]:
    """The rows of a Parquet file: input_ids, weights, trace_id, step. Raises TutelageError where it cannot be read."""
    if not path.is_file():
        raise TutelageError(f"{path}: no such file. Build the dataset first: tutelage dataset build")
    try:
        table = pq.read_table(path, columns=list(COLUMNS)).to_pydict()
        columns = [table[name] for name in COLUMNS]
    except (OSError, KeyError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise TutelageError(f"{path} cannot be read ({reason}). Run `tutelage dataset build` again.") from None
    return [
        Row(np.asarray(ids, np.int64), np.asarray(row_weights, np.float32), trace, step)
        for ids, row_weights, trace, step in zip(*columns, strict=True)
    ]


def data_hash(build: Path, mixed: Sequence[Path] = ()) -> str:
    """SHA-256 of what is trained and evaluated on."""
    digest = hashlib.sha256()
    files = [build / "train.parquet", build / "validation.parquet", *(folder / "train.parquet" for folder in mixed)]
    for file in files:
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()
