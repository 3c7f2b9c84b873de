"""Token rows merged into a prefix tree, each distinct prefix once (design.md, "Computing shared prefixes once")."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, cmp_to_key
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import TutelageError

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
LEAST = 4_000  # tokens of a microbatch


@dataclass(frozen=True)
class Row:
    """One training example: its tokens, and how much each of them weighs as a target."""

    input_ids: Ints
    weights: Floats  # aligned to input_ids; the first is 0, since nothing predicts it
    trace_id: str = ""
    step: int = 0

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True)
class Segment:
    """An unbranched stretch of a tree, and the slices of the nodes that lead to it, root first."""

    start: int
    end: int
    ancestors: tuple[tuple[int, int], ...]

    @property
    def keys(self) -> tuple[tuple[int, int], ...]:
        """The slices its tokens may attend to, itself last; slices that touch are one."""
        if self.ancestors and self.ancestors[-1][1] == self.start:
            return (*self.ancestors[:-1], (self.ancestors[-1][0], self.end))
        return (*self.ancestors, (self.start, self.end))


@dataclass(frozen=True)
class Tree:
    """A prefix tree (or several beside each other) in depth-first order; every array has one entry a node.

    Node q may attend to node k exactly if k <= q < ends[k].
    """

    tokens: Ints
    positions: Ints  # depth, so the position id
    parents: Ints  # -1 for a root
    ends: Ints  # index just past the node's subtree
    weights: Floats  # summed over the rows that contain the node; as a target, predicted at its parent
    leaves: Ints  # for each row, in the order in which the rows were given, its last node

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def tokens_unrolled(self) -> int:
        return int((self.positions[self.leaves] + 1).sum())

    @property
    def paths(self) -> Iterator[Ints]:
        """For each row its nodes, one row at a time: together they are as many as the rows have tokens."""
        starts = [segment.start for segment in self.segments]
        for leaf in self.leaves.tolist():
            segment = self.segments[bisect_right(starts, leaf) - 1]
            slices = [*segment.ancestors, (segment.start, leaf + 1)]
            yield np.concatenate([np.arange(start, end) for start, end in slices])

    @property
    def total_weight(self) -> float:
        return float(self.weights.sum(dtype=np.float64))

    @cached_property
    def targets(self) -> Ints:
        """The nodes that are worth a logit."""
        return np.flatnonzero(self.weights)

    @cached_property
    def asked(self) -> Ints:
        """The nodes at which a target is predicted, in order."""
        return np.unique(self.parents[self.targets])

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The unbranched stretches, in order; together they are the tree."""
        nodes = np.arange(len(self))
        jumps = np.flatnonzero(self.parents != nodes - 1)  # a child that does not follow its parent; a further root
        cuts = {0, len(self), *jumps.tolist(), *(self.parents[jumps] + 1).tolist()}  # a branching ends a segment
        bounds = sorted(cuts)
        segments: dict[int, Segment] = {}  # by last node
        for start, end in pairwise(bounds):
            before = segments.get(int(self.parents[start]))
            segments[end - 1] = Segment(start, end, before.keys if before else ())
        return tuple(segments.values())


def build_tree(rows: Sequence[Row]) -> Tree:
    """Merge rows into a prefix tree.

    In lexicographic order a row shares most with the one before it, so one pass over sorted rows gives depth-first
    order. Beside the rows it takes memory for each distinct token, not for each of the rows'. Raises TutelageError for
    a row that is empty or puts weight on its first token.
    """
    for row in rows:
        if len(row) != len(row.weights) or len(row) == 0 or row.weights[0] != 0:
            raise TutelageError(
                f'Step {row.step} of trace "{row.trace_id}" is no training row: it needs tokens, one weight for each, '
                "and none on the first. Build the dataset again."
            )
    order = sorted_order(rows)
    shared = _shared_lengths(rows, order)
    size = sum(len(rows[i]) - common for i, common in zip(order, shared, strict=True))
    tokens, positions, parents = (np.empty(size, np.int64) for _ in range(3))
    ends = np.full(size, size, np.int64)
    weights = np.zeros(size, np.float32)
    leaves = np.empty(len(rows), np.int64)
    path, start = np.empty(0, np.int64), 0
    for i, common in zip(order, shared, strict=True):
        row = rows[i]
        end = start + len(row) - common
        ends[path[common:]] = start
        tokens[start:end] = row.input_ids[common:]
        positions[start:end] = np.arange(common, len(row))
        if end > start:
            parents[start:end] = np.arange(start - 1, end - 1)
            parents[start] = path[common - 1] if common else -1
        path = np.concatenate([path[:common], np.arange(start, end)])
        weights[path] += row.weights
        leaves[i] = path[-1]
        start = end
    return Tree(tokens, positions, parents, ends, weights, leaves)


def common_length(a: Ints, b: Ints) -> int:
    """How many tokens both begin with."""
    length = min(len(a), len(b))
    differ = np.flatnonzero(a[:length] != b[:length])
    return int(differ[0]) if len(differ) else length


def tree_size(rows: Sequence[Row]) -> int:
    """The number of distinct prefixes of the rows: the nodes of their tree."""
    order = sorted_order(rows)
    return sum(len(rows[i]) - common for i, common in zip(order, _shared_lengths(rows, order), strict=True))


def traces_of(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows of each trace, in the order in which traces first come."""
    traces: dict[str, list[Row]] = {}
    for row in rows:
        traces.setdefault(row.trace_id, []).append(row)
    return list(traces.values())


def token_budget(rows: Sequence[Row], tree_tokens: int | None = None) -> int:
    """How many tokens a tree of one step's rows may have: `tree_tokens`, or LEAST, or what its largest trace needs.

    So traces stay whole however long they are, and memory grows no further. Twice the longest row, which has to be held
    anyway, is the most: a trace of one user turn is as large as its last row, one whose earlier reasoning is dropped at
    each turn a little larger; one that shares less than that gains little by staying whole.
    """
    if tree_tokens:
        return tree_tokens
    largest = max(map(tree_size, traces_of(rows)), default=0)
    return max(LEAST, min(largest, 2 * max(map(len, rows), default=0)))


def plan_step(rows: Sequence[Row], tree_tokens: int | None = None, share: bool = True) -> list[Tree]:
    """Cut the rows of one optimizer step into trees of at most `token_budget` tokens, so that least is computed twice.

    In lexicographic order, rows that share most stand side by side, and what a cut computes once more is what the rows
    at either side of it share. A row that alone is over the budget makes a tree with those that it begins with. `share`
    false: each row makes one, for students that cannot run over trees.
    """
    if not share:
        return [build_tree([row]) for row in rows]
    order = sorted_order(rows)
    lengths = [len(rows[i]) for i in order]
    cuts = _cheapest_cuts(lengths, _shared_lengths(rows, order), token_budget(rows, tree_tokens))
    return [build_tree([rows[i] for i in order[first:last]]) for first, last in pairwise(cuts)]


def _cheapest_cuts(lengths: Sequence[int], shared: Sequence[int], budget: int) -> list[int]:
    """Where groups of neighbours begin, and the end: of all ways within the budget, one with the fewest tokens in all.

    `shared[i]` is what row i has in common with the one before it. Among equals, the fewest groups.
    """
    best = [(0, 0)]  # for the first so many rows: tokens of their trees, number of trees
    begins = [0]  # of the last group there
    for end in range(1, len(lengths) + 1):
        size, longest, found = 0, 0, []
        for first in range(end - 1, -1, -1):
            size += lengths[first] - (shared[first + 1] if first + 1 < end else 0)
            longest = max(longest, lengths[first])
            if size > max(budget, longest):
                break
            found.append((best[first][0] + size, best[first][1] + 1, first))
        tokens, count, first = min(found)
        best.append((tokens, count))
        begins.append(first)
    cuts = [len(lengths)]
    while cuts[-1]:
        cuts.append(begins[cuts[-1]])
    return cuts[::-1]


def sorted_order(rows: Sequence[Row]) -> list[int]:
    """Indices of the rows in lexicographic order of their tokens."""

    def compare(a: int, b: int) -> int:
        first, second = rows[a].input_ids, rows[b].input_ids
        common = common_length(first, second)
        if common == min(len(first), len(second)):
            return len(first) - len(second)
        return int(first[common] - second[common])

    return sorted(range(len(rows)), key=cmp_to_key(compare))


def _shared_lengths(rows: Sequence[Row], order: Sequence[int]) -> list[int]:
    """For each row in that order, how many tokens it shares with the one before it."""
    shared = [0] if order else []
    shared += [common_length(rows[before].input_ids, rows[after].input_ids) for before, after in pairwise(order)]
    return shared
