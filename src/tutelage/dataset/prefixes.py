"""How many nodes a prefix tree of all rows would have, without holding the rows."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MERGE_AT = 1 << 20  # hashes kept apart before they are merged: 8 MiB


class PrefixCounter:
    """Counts distinct prefixes. Holds 8 bytes for each: a 64-bit hash, whose collisions are too rare to matter."""

    def __init__(self) -> None:
        self._merged = np.empty(0, np.uint64)
        self._waiting: list[NDArray[np.uint64]] = []
        self._waiting_size = 0

    def add(self, tokens: Sequence[int]) -> None:
        ids = np.asarray(tokens, np.uint64)
        places = _mix(np.arange(len(ids), dtype=np.uint64))
        hashes = np.cumsum(_mix(ids ^ places), dtype=np.uint64)  # (length,) one for each prefix
        self._waiting.append(hashes)
        self._waiting_size += len(hashes)
        if self._waiting_size > max(MERGE_AT, len(self._merged)):
            self._merge()

    @property
    def count(self) -> int:
        self._merge()
        return len(self._merged)

    def _merge(self) -> None:
        self._merged = np.unique(np.concatenate([self._merged, *self._waiting]))
        self._waiting, self._waiting_size = [], 0


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64: spreads every bit of a value over all 64."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
