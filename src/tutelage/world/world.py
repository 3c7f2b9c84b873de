"""A world: one folder a rollout."""

import fcntl
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tutelage.endpoint.processes import ChildProcess
from tutelage.errors import TutelageError
from tutelage.trace import Task, Trace

WORLD_VARIABLE = "TUTELAGE_WORLD"  # the world's folder, in a stdio server's environment
ROOT_VARIABLE = "TUTELAGE_WORLDS"  # the folder that holds all worlds, in a service's environment
WORLD_HEADER = "X-Tutelage-World"  # the world's id, sent to an HTTP server


@dataclass(frozen=True)
class World:
    id: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {WORLD_VARIABLE: str(self.folder)}

    @property
    def headers(self) -> dict[str, str]:
        return {WORLD_HEADER: self.id}


@dataclass(frozen=True)
class Reward:
    """What a verifier says of a finished rollout."""

    value: float  # in [0, 1]
    reason: str
    category: str = ""  # of a failure: "wrong tool", "wrong argument", "no tool call", "gave up", "wrong answer", …

    def __post_init__(self) -> None:
        if not 0.0 <= self.value <= 1.0:
            raise ValueError(f"a reward lies in [0, 1], not {self.value}")


REAPER = Path(__file__).with_name("reaper.py")
PREFIX, LOCK = "tutelage-worlds-", "lock"  # of the folder that holds a run's worlds, and what its run holds locked

Prepare = Callable[[Task, World], None]
Verifier = Callable[[Trace, World], Reward]


@contextmanager
def worlds_folder() -> Iterator[Path]:
    """A folder for all worlds of a run, removed at its end. Those that killed runs left behind are removed first.

    What runs in a world ends with the run in every case, `kill -9` included.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError), (left / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its run lives
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        folder = Path(name)
        with (folder / f".{LOCK}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / f".{LOCK}").rename(folder / LOCK)
            reaper = ChildProcess([sys.executable, "-I", "-S", str(REAPER), str(folder)], guarded=False)
            try:
                yield folder
            finally:
                reaper.close()


@contextmanager
def open_world(task: Task, root: Path, prepare: Prepare | None = None) -> Iterator[World]:
    """Set up a world for one rollout under `root`; remove it at the end.

    Raises TutelageError where `prepare`, the user's own, fails.
    """
    id = uuid.uuid4().hex[:16]
    folder = root / id
    folder.mkdir(parents=True)
    try:
        world = World(id, folder)
        if prepare:
            _prepare(prepare, task, world)
        yield world
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(prepare: Prepare, task: Task, world: World) -> None:
    try:
        prepare(task, world)
    except Exception as error:
        name = getattr(prepare, "__qualname__", repr(prepare))
        why = f"{type(error).__name__}: {error}"
        raise TutelageError(f'"{name}", which prepares worlds, failed on task "{task.id}": {why}.') from error
