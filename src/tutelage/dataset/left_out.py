"""What a build could not take, and why: left_out.jsonl, a line for each row or trace."""

import json
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tutelage.trace import Trace

LEFT_OUT_FILE = "left_out.jsonl"
NAMED = 3  # of each reason, in the summary


class LeftOut:
    """Counts rows by their reason, keeps the first names of each, and writes all of them down where there is a file."""

    def __init__(self) -> None:
        self.rows = Counter[str]()  # reason -> rows
        self.first: dict[str, list[str]] = {}  # reason -> "trace id", or "trace id step 2"
        self._file: TextIO | None = None

    @contextmanager
    def written_to(self, path: Path) -> Iterator[None]:
        with path.open("w", encoding="utf-8", errors="replace") as self._file:
            yield
        self._file = None

    def row(self, trace: Trace, step: int, reason: str, detail: str = "") -> None:
        self.rows[reason] += 1
        self._note(reason, f"{trace.id} step {step}", trace.id, trace.revision, step, detail)

    def trace(self, id: str, revision: int, reason: str) -> None:
        """Traces are counted elsewhere: one that comes in parts may be taken after all."""
        self._note(reason, id, id, revision, None, "")

    def _note(self, reason: str, name: str, id: str, revision: int, step: int | None, detail: str) -> None:
        first = self.first.setdefault(reason, [])
        if len(first) < NAMED:
            first.append(name)
        if self._file:
            line = {"trace_id": id, "revision": revision, "step": step, "reason": reason, "detail": detail}
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")


def left_out_of(build: Path) -> set[str]:
    """Ids of the traces that the build's file names."""
    if not (build / LEFT_OUT_FILE).is_file():
        return set()
    with (build / LEFT_OUT_FILE).open(encoding="utf-8") as lines:
        return {json.loads(line)["trace_id"] for line in lines}


def copy_left_out(source: Path, target: Path, gone: Collection[str]) -> None:
    """The file of another build, without the lines of these traces."""
    if not (source / LEFT_OUT_FILE).is_file():
        return
    with (
        (source / LEFT_OUT_FILE).open(encoding="utf-8") as lines,
        (target / LEFT_OUT_FILE).open("w", encoding="utf-8") as kept,
    ):
        kept.writelines(line for line in lines if json.loads(line)["trace_id"] not in gone)
