"""Out and in again."""

from pathlib import Path

from tutelage.collect.export import FORMATS as EXPORTS
from tutelage.collect.formats import FORMATS
from tutelage.collect.record import Record
from tutelage.trace import Trace


def came_back(told: Trace, form: str, folder: Path) -> Record:
    """A trace as it is read from what it was exported to."""
    path = folder / "out.jsonl"
    path.write_text(EXPORTS[form](told) + "\n", encoding="utf-8")
    (record,) = [entry.read() for entry in FORMATS[form].read(path)]
    return record
