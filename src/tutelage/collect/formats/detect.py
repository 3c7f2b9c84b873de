"""Which format a file is of."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tutelage.collect.formats import claude_code, codex, huggingface, inspect_logs, langfuse, openai, otel, trace_files
from tutelage.collect.formats.common import Format
from tutelage.errors import TutelageError
from tutelage.hub import download_dataset

# In this order: a file is of the first one that it matches.
FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (trace_files, inspect_logs, otel, langfuse, codex, claude_code, huggingface, openai)
}
BY_SUFFIX = {".parquet": "huggingface", ".arrow": "huggingface", ".eval": "inspect"}
HUB = "hf:"  # before a dataset's name
SUFFIXES = (".json", ".jsonl", *BY_SUFFIX)
NOT_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")  # beside a dataset's files
LINES_TO_TRY = 20  # session files may begin with lines of other kinds
BEGINNING = 1 << 20  # bytes in which those stand


def files_of(source: Path) -> list[Path]:
    """The file, or the files of a folder and of those in it that may hold records. Raises TutelageError."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise TutelageError(f"{source} was not found. Name a file, or a folder of files, that holds traces.")
    files = [path for path in sorted(source.rglob("*")) if path.suffix in SUFFIXES and path.name not in NOT_DATA]
    if not files:
        raise TutelageError(f"{source} holds no file of a known kind ({', '.join(SUFFIXES)}).")
    return files


@contextmanager
def local(source: Path | str) -> Iterator[Path]:
    """`source` itself, or while it is needed a folder with the data files of the dataset hf:OWNER/NAME on the Hub.

    Raises TutelageError where it cannot be had.
    """
    name = str(source).removeprefix(HUB)
    if name == str(source):
        yield Path(source)
        return

    def data_files(files: list[str]) -> list[str]:
        """The tables; of a dataset without any its JSON files."""
        found = [file for file in files if Path(file).suffix in SUFFIXES and Path(file).name not in NOT_DATA]
        tables = [file for file in found if BY_SUFFIX.get(Path(file).suffix) == "huggingface"]
        if not found:
            raise TutelageError(f"The dataset {name} holds no file of a known kind ({', '.join(SUFFIXES)}).")
        return tables or found

    with TemporaryDirectory(prefix="tutelage-") as folder:
        download_dataset(name, Path(folder), data_files)
        yield Path(folder)


def choose(path: Path, name: str | None) -> Format | None:
    """The format of a file: the one of that name, or as its content tells; None where it tells nothing."""
    if name is not None:
        if name not in FORMATS:
            raise TutelageError(f'There is no format "{name}". Known are {", ".join(FORMATS)}.')
        return FORMATS[name]
    if path.suffix in BY_SUFFIX:
        return FORMATS[BY_SUFFIX[path.suffix]]
    for first in _beginning(path):
        for format in FORMATS.values():
            if format.matches(first):
                return format
    return None


def _beginning(path: Path) -> list[Any]:
    """The first JSON values of a file: of a list its first item."""
    with path.open("rb") as file:
        beginning = file.read(BEGINNING)
    text, whole = beginning.decode("utf-8-sig", errors="replace"), len(beginning) < BEGINNING
    found = []
    for line in text.split("\n")[:LINES_TO_TRY]:
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    if not any(isinstance(value, (dict, list)) for value in found):
        try:
            found = [json.loads(text if whole else path.read_bytes().decode("utf-8-sig", errors="replace"))]
        except (ValueError, RecursionError):
            return []
    return [(value[0] if value else None) if isinstance(value, list) else value for value in found]
