"""Exchanges on their way to the store: a folder with a file each, in the order in which they ended."""

import contextlib
import fcntl
import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from tutelage.dialect.characters import without_half_characters
from tutelage.errors import TutelageError
from tutelage.record.keys import without_keys

UNREADABLE = "unreadable"  # a folder in the spool: exchanges of which no trace could be made
OWNER = "recorder"  # a file in the spool: the recorder's name, and the file's own inode
UNREADABLE_MOST = 1000  # exchanges; before another one, the oldest is removed


class Waiting(NamedTuple):
    """An exchange in the spool."""

    id: str
    path: Path


class Spool:
    """What is written survives the killing of every process; a power cut may take the last moment's."""

    def __init__(self, folder: Path, run: str = "record") -> None:
        """`run`: the one that what is written belongs to, whichever recorder comes to it."""
        self.folder, self.run = folder, run
        self._last = 0
        folder.mkdir(parents=True, exist_ok=True)

    def write(
        self,
        dialect: str,
        started: datetime,
        seconds: float,
        request: bytes,
        response: Mapping[str, Any] | bytes,
        keys: Sequence[str],
    ) -> None:
        """Put an exchange there, whole or not at all; without `keys`. The request's bytes are JSON.

        Raises OSError.
        """
        if not isinstance(response, bytes):
            response = json.dumps(response, ensure_ascii=False).encode(errors="replace")
        told = {"run": self.run, "dialect": dialect, "started": started.isoformat(), "seconds": seconds}
        request, response = without_keys(request, keys), without_keys(response, keys)
        data = json.dumps(told)[:-1].encode() + b', "request": ' + request + b', "response": ' + response + b"}"
        self._last = max(self._last + 1, time.time_ns())
        path = self.folder / f"{self._last:020d}.json"
        unfinished = path.with_suffix(".part")
        unfinished.write_bytes(data)
        unfinished.replace(path)

    def waiting(self) -> list[Waiting]:
        """First to last."""
        return [Waiting(path.stem, path) for path in sorted(self.folder.glob("*.json"))]

    def remove(self, exchange: Waiting) -> None:
        exchange.path.unlink(missing_ok=True)

    def set_aside(self, exchange: Waiting) -> Path:
        """Keep an exchange that cannot be read out of the way; where it lies now."""
        folder = self.folder / UNREADABLE
        folder.mkdir(exist_ok=True)
        for old in sorted(folder.iterdir())[: 1 - UNREADABLE_MOST]:
            old.unlink()
        return exchange.path.replace(folder / exchange.path.name)

    def owner(self) -> str:
        """The name of the recorder that drains this spool; of a copy of the folder, another one."""
        path = self.folder / OWNER
        with contextlib.suppress(FileNotFoundError):
            name, _, inode = path.read_text().partition(" ")
            if inode == str(path.stat().st_ino):
                return name
        unfinished = path.with_suffix(".part")
        unfinished.touch()
        name = uuid.uuid4().hex
        unfinished.write_text(f"{name} {unfinished.stat().st_ino}")
        unfinished.replace(path)
        return name

    @contextmanager
    def locked(self, name: str, *, wait: bool) -> Iterator[None]:
        """Hold one of the spool's locks. Raises TutelageError where another process holds it and `wait` is False."""
        with (self.folder / f"{name}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise TutelageError(
                    f"Another `tutelage record` works in {self.folder}. One proxy serves any number of agents; for "
                    "another upstream make another project."
                ) from None
            yield

    def clean(self) -> None:
        """Remove what was being written when a proxy was killed: no client saw the end of these answers."""
        for path in self.folder.glob("*.part"):
            with contextlib.suppress(OSError):
                path.unlink()


def read(exchange: Waiting) -> dict[str, Any]:
    """What was written; half a surrogate pair, which no store takes, becomes "?". Raises ValueError, RecursionError."""
    data: dict[str, Any] = json.loads(exchange.path.read_bytes().decode(errors="replace"))
    if not isinstance(data, dict):
        raise ValueError("no JSON object")
    return without_half_characters(data)
