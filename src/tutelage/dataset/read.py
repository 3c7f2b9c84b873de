"""Read a build."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tutelage.dataset.summary import BuildSummary, SplitName
from tutelage.dataset.write import BUILD_FILE, SCHEMA
from tutelage.errors import TutelageError


def read_summary(folder: Path) -> BuildSummary:
    """What the build in `folder` says of itself. Raises TutelageError where none can be read."""
    path = folder / BUILD_FILE
    try:
        return BuildSummary.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TutelageError(f"{folder} holds no dataset. Run `tutelage dataset build` first.") from None
    except (OSError, UnicodeDecodeError, ValidationError):
        raise TutelageError(f"{path} cannot be read. Run `tutelage dataset build` again.") from None


def read_rows(folder: Path, split: SplitName, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a split one after the other, all columns unless some are named. Raises TutelageError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / f"{split}.parquet"
    if not path.is_file():
        raise TutelageError(f"{folder} holds no {path.name}. Run `tutelage dataset build` first.")
    try:
        file = pq.ParquetFile(path)
        missing = set(columns or SCHEMA.names) - set(file.schema_arrow.names)
        if missing:
            raise TutelageError(
                f"{path} lacks the columns {', '.join(sorted(missing))}. Run `tutelage dataset build` again."
            )
        for batch in file.iter_batches(batch_size=512, columns=list(columns or SCHEMA.names)):
            yield from batch.to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise TutelageError(f"{path} cannot be read ({error}). Run `tutelage dataset build` again.") from None
