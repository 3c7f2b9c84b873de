"""Which rows make up each optimizer step: planned before the training, so that a resumed one has the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tutelage.train.tree import Row, traces_of

Trace = Sequence[Row]  # the rows of one trace


@dataclass(frozen=True)
class Mixed:
    """The rows of a further dataset, and how many passes over them an epoch takes."""

    rows: Sequence[Row]
    weight: float = 1.0


def plan_steps(
    rows: Sequence[Row], rows_per_step: int, epochs: int, seed: int, mixed: Sequence[Mixed] = ()
) -> list[list[Row]]:
    """The rows of every optimizer step: whole traces, shuffled anew each epoch, until there are `rows_per_step`.

    Of a mixed dataset an epoch takes `weight` times its traces, and goes on where the epoch before stopped.
    """
    own = traces_of(rows)
    others = [(traces_of(_named_apart(part.rows, i)), part.weight) for i, part in enumerate(mixed)]
    steps: list[list[Row]] = []
    for epoch in range(epochs):
        taken = [trace for i, part in enumerate(others) for trace in _taken(*part, epoch, (seed, i))]
        groups = [*own, *taken]
        step: list[Row] = []
        for i in np.random.default_rng((seed, epoch)).permutation(len(groups)):
            step.extend(groups[i])
            if len(step) >= rows_per_step:
                steps.append(step)
                step = []
        if step:
            steps.append(step)
    return steps


def at_most(rows: Sequence[Row], count: int | None, seed: int) -> list[Row]:
    """Whole traces, drawn by `seed`, of at most `count` rows together (but one trace at least)."""
    if count is None:
        return list(rows)
    traces, chosen = traces_of(rows), list[Row]()
    for i in np.random.default_rng(seed).permutation(len(traces)):
        if chosen and len(chosen) + len(traces[i]) > count:
            break
        chosen += traces[i]
    return chosen


def _named_apart(rows: Sequence[Row], dataset: int) -> list[Row]:
    """Two datasets may hold traces of one name."""
    return [replace(row, trace_id=f"{dataset}/{row.trace_id}") for row in rows]


def _taken(traces: Sequence[Trace], weight: float, epoch: int, seed: tuple[int, int]) -> Iterator[Trace]:
    """An epoch's part of endless passes over the traces, each in an order of its own."""
    first, last = (round(weight * len(traces) * number) for number in (epoch, epoch + 1))
    for lap in range(first // len(traces), -(-last // len(traces))):
        begin = lap * len(traces)
        order = np.random.default_rng((*seed, lap)).permutation(len(traces))
        yield from (traces[i] for i in order[max(first - begin, 0) : last - begin])
