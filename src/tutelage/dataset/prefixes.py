"""How many nodes a prefix tree of all rows would have, without holding the rows."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

MERGE_AT = 1 << 20  # hashes kept apart before they are merged: 8 MiB
SPILL_AT = 1 << 23  # distinct hashes held; more go to a file: 64 MiB
RANGES = 64  # parts in which the files are counted, one after the other


class PrefixCounter:
    """Counts distinct prefixes, each as a 64-bit hash, whose collisions are too rare to matter.

    Holds 64 MiB of them, however many there are; the rest lies sorted in files under `folder`, 8 bytes each, which are
    removed at the end.
    """

    def __init__(self, folder: Path, spill_at: int = SPILL_AT, merge_at: int = MERGE_AT) -> None:
        self._folder, self._spill_at, self._merge_at = folder, spill_at, merge_at
        self._files: list[Path] = []
        self._merged = np.empty(0, np.uint64)
        self._waiting: list[NDArray[np.uint64]] = []
        self._waiting_size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for file in self._files:
            file.unlink(missing_ok=True)

    def add(self, tokens: Sequence[int]) -> None:
        ids = np.asarray(tokens, np.uint64)
        places = _mix(np.arange(len(ids), dtype=np.uint64))
        hashes = np.cumsum(_mix(ids ^ places), dtype=np.uint64)  # (length,) one for each prefix
        self._waiting.append(hashes)
        self._waiting_size += len(hashes)
        if self._waiting_size > self._merge_at:
            self._merge()
        if len(self._merged) > self._spill_at:
            self._spill()

    @property
    def count(self) -> int:
        """Of all prefixes so far."""
        self._merge()
        if not self._files:
            return len(self._merged)
        runs = [self._merged, *(np.load(file, mmap_mode="r") for file in self._files)]
        bounds = np.arange(1, RANGES, dtype=np.uint64) * np.uint64(2**64 // RANGES)
        places = [[0, *np.searchsorted(run, bounds), len(run)] for run in runs]
        parts = (
            np.concatenate([run[place[part] : place[part + 1]] for run, place in zip(runs, places, strict=True)])
            for part in range(RANGES)
        )
        return sum(len(_distinct(part)) for part in parts)

    def _merge(self) -> None:
        if self._waiting:
            self._merged = _distinct(np.concatenate([self._merged, *self._waiting]))
            self._waiting, self._waiting_size = [], 0

    def _spill(self) -> None:
        file = self._folder / f".prefixes-{len(self._files)}.npy"
        self._files.append(file)
        np.save(file, self._merged)
        self._merged = np.empty(0, np.uint64)


def _distinct(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """In order; sorts `hashes` in place. NumPy's own `unique` hashes them first: thirty times slower for 8 million."""
    hashes.sort()
    first = np.ones(len(hashes), bool)
    np.not_equal(hashes[1:], hashes[:-1], out=first[1:])
    return hashes[first]


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64: spreads every bit of a value over all 64."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
