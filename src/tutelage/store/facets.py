"""How many traces there are of each value that a list can be filtered by.

Counting with GROUP BY reads the whole table once a facet, half a second with 100,000 traces. Here each value has a set
of bits, one a trace; counting is AND and a population count, and only rows that were written since are read again.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, case, func, select

from tutelage.store.names import holds_any, split_names
from tutelage.store.schema import summaries
from tutelage.store.search import REVISION

STEPS = (1, 2, 4, 8, 16)  # each class of lengths goes up to the next
# A database with several writers may show a change after one that came later: so many are read again.
OVERLAP = 100


class Facet(NamedTuple):
    values: Callable[[Any], Iterable[str]]  # of a row of `summaries`
    condition: Callable[[tuple[str, ...]], ColumnElement[bool]]  # whether a row has one of these values


def _plain(name: str) -> Facet:
    column = summaries.c[name]
    return Facet(lambda row: [getattr(row, name)], column.in_)


def _names(name: str) -> Facet:
    return Facet(lambda row: split_names(getattr(row, name)), lambda values: holds_any(summaries.c[name], values))


def reward_class(reward: float | None) -> str:
    if reward is None:
        return "none"
    return "full" if reward >= 1 else "zero" if reward <= 0 else "partial"


def steps_class(steps: int) -> str:
    return str(max((least for least in STEPS if least <= steps), default=0))


_reward = summaries.c.reward
_stop = summaries.c.stop_reason
_reward_class = case((_reward.is_(None), "none"), (_reward >= 1, "full"), (_reward <= 0, "zero"), else_="partial")
_steps_class = case(*((summaries.c.steps >= least, str(least)) for least in reversed(STEPS)), else_="0")
UNFINISHED = "unfinished"

FACETS: dict[str, Facet] = {
    "verdict": _plain("verdict"),
    "reward": Facet(lambda row: [reward_class(row.reward)], _reward_class.in_),
    "stop": Facet(
        lambda row: [row.stop_reason or UNFINISHED],
        lambda values: func.coalesce(_stop, UNFINISHED).in_(values),
    ),
    "run": _plain("run"),
    "kind": _plain("kind"),
    "tool": _names("tools"),
    "errors": Facet(
        lambda row: ["with" if row.errors else "without"],
        lambda values: case((summaries.c.errors > 0, "with"), else_="without").in_(values),
    ),
    "steps": Facet(lambda row: [steps_class(row.steps)], _steps_class.in_),
    "model": _plain("model"),
    "tag": _names("tags"),
}


class FacetCounts:
    """The sets of bits; bit n stands for the trace whose summary has the number n."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bits: dict[tuple[str, str], bytearray] = {}
        self._sets: dict[tuple[str, str], int] = {}  # the same as integers, made where asked for
        self._of_row: dict[int, tuple[tuple[str, str], ...]] = {}
        self._edited: dict[int, int] = {}  # the latest revisions that are not the original
        self._everything = bytearray()
        self._seen = 0

    def refresh(self, connection: Connection) -> None:
        """Read what was written since."""
        overlap = 0 if connection.dialect.name == "sqlite" else OVERLAP
        with self._lock:
            query = select(summaries).where(summaries.c.changed > self._seen - overlap)
            for row in connection.execute(query):
                self._seen = max(self._seen, row.changed)
                self._take(row)

    def _take(self, row: Any) -> None:
        pairs = tuple((name, value) for name, facet in FACETS.items() for value in facet.values(row))
        byte, bit = row.number >> 3, 1 << (row.number & 7)
        for pair in self._of_row.get(row.number, ()):
            self._bits[pair][byte] &= ~bit
            self._sets.pop(pair, None)
        for pair in pairs:
            bits = self._bits.setdefault(pair, bytearray())
            _put(bits, byte, bit)
            self._sets.pop(pair, None)
        _put(self._everything, byte, bit)
        self._of_row[row.number] = pairs
        if row.revision:
            self._edited[row.number] = row.revision

    def latest(self, documents: Iterable[int]) -> list[int]:
        """The traces of those documents of search.py that hold a latest revision. Joining them in SQL takes longer."""
        edited, number_of = self._edited, REVISION - 1
        return [
            document & number_of
            for document in documents
            if document // REVISION == edited.get(document & number_of, 0)
        ]

    def count(
        self, chosen: Mapping[str, tuple[str, ...]], among: Iterable[int] | None = None
    ) -> tuple[int, dict[str, dict[str, int]]]:
        """How many traces have the chosen values, and of each facet's values how many would with it instead.

        `among` are the numbers of the only traces that count.
        """
        with self._lock:
            base = int.from_bytes(self._everything, "little")
            if among is not None:
                only = bytearray(len(self._everything))
                for number in among:
                    if number >> 3 < len(only):  # else it was written since
                        only[number >> 3] |= 1 << (number & 7)
                base &= int.from_bytes(only, "little")
            having = {name: self._any(name, values) for name, values in chosen.items()}
            counts: dict[str, dict[str, int]] = {name: {} for name in FACETS}
            bases = {name: base & _all(having, but=name) for name in FACETS}
            for name, value in self._bits:
                count = (self._set((name, value)) & bases[name]).bit_count()
                if count or value in chosen.get(name, ()):
                    counts[name][value] = count
            return (base & _all(having)).bit_count(), counts

    def _any(self, name: str, values: Iterable[str]) -> int:
        found = 0
        for value in values:
            found |= self._set((name, value))
        return found

    def _set(self, pair: tuple[str, str]) -> int:
        if pair not in self._sets:
            self._sets[pair] = int.from_bytes(self._bits.get(pair, b""), "little")
        return self._sets[pair]


def _put(bits: bytearray, byte: int, bit: int) -> None:
    if byte >= len(bits):
        bits.extend(bytes(byte + 1 - len(bits)))
    bits[byte] |= bit


def _all(sets: Mapping[str, int], but: str = "") -> int:
    found = -1
    for name, bits in sets.items():
        if name != but:
            found &= bits
    return found
