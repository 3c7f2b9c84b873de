"""What to change about a training that does not fit: what costs least first, each counted before it is named."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedConfig

from tutelage.train.compute import Compute, installed
from tutelage.train.config import TrainConfig
from tutelage.train.planner import MIB, Needs, plan_needs
from tutelage.train.tree import Row

HALVINGS = 4  # of the range in which a number is looked for
SHORTEST = 256  # tokens: rows cut to less hold no conversation

Change = dict[str, Any]  # of [train]'s keys


@dataclass(frozen=True)
class Training:
    """What is to be made to fit."""

    student: PreTrainedConfig
    config: TrainConfig
    compute: Compute
    steps: Sequence[Sequence[Row]]

    @property
    def longest(self) -> int:
        return max(len(row) for step in self.steps for row in step)

    def needs(self, change: Change) -> Needs:
        return plan_needs(self.student, self.config.model_copy(update=change), self.compute, self.steps)

    def cut(self, length: int) -> "Training":
        """With rows of at most so many tokens, their last ones."""
        steps = [[_last(row, length) for row in step] for step in self.steps]
        return Training(self.student, self.config, self.compute, steps)


@dataclass(frozen=True)
class Way:
    """A change, and what the training takes with it."""

    change: Change
    needs: Needs
    max_length: int | None = None  # of [dataset]

    def __str__(self) -> str:
        values = ", ".join(f"{key} = {json.dumps(value)}" for key, value in self.change.items())
        cut = f"[dataset] max_length = {self.max_length} (and build again), " if self.max_length else ""
        costs = f"{self.needs.peak_bytes / MIB:,.0f} MB, {max(1, round(self.needs.seconds / 60))} min"
        return f"{cut}[train] {values} (about {costs})"


def ways_to_fit(training: Training, largest_tree: int) -> list[Way]:
    """Changes that cost nothing but time, quickest first; where none is enough, the next that is. Empty if none is."""
    leaner: list[Change] = [{"checkpointing": how} for how in _checkpointing(training)]
    most = leaner[-1] if leaner else {}
    tiers: tuple[Callable[[], list[Way]], ...] = (
        lambda: [*_enough(training, leaner), *_smaller_trees(training, largest_tree, {})],
        lambda: _smaller_trees(training, largest_tree, most) if most else [],
        lambda: _enough(training, [{**method, **more} for method in _methods(training) for more in ({}, *leaner)])[:1],
        lambda: _shorter_rows(training, most),
    )
    return next((sorted(ways, key=lambda way: way.needs.seconds) for tier in tiers if (ways := tier())), [])


def _checkpointing(training: Training) -> list[str]:
    """What keeps less than the training does, the least last."""
    hows = ["none", "layers", *(["offload"] if training.compute.device.type == "cuda" else [])]
    return hows[hows.index(training.config.checkpointing) + 1 :]


def _methods(training: Training) -> list[Change]:
    """Methods that hold less, the nearest first."""
    smaller: list[Change] = []
    if training.config.method == "full":
        smaller.append({"method": "lora"})
    if training.config.method != "qlora" and training.compute.device.type == "cuda" and installed("bitsandbytes"):
        smaller.append({"method": "qlora"})
    return smaller


def _enough(training: Training, changes: Sequence[Change]) -> list[Way]:
    tried = [Way(change, training.needs(change)) for change in changes]
    return [way for way in tried if way.needs.fits]


def _smaller_trees(training: Training, largest_tree: int, more: Change) -> list[Way]:
    """The largest that fit, down to one row each: a row is not cut."""

    def way(tokens: int) -> Way:
        change = {**more, "tree_tokens": tokens}
        return Way(change, training.needs(change))

    return _largest(way, training.longest, largest_tree)


def _shorter_rows(training: Training, more: Change) -> list[Way]:
    def way(tokens: int) -> Way:
        change = {**more, "tree_tokens": tokens}
        return Way(change, training.cut(tokens).needs(change), max_length=tokens)

    return _largest(way, SHORTEST, training.longest)


def _largest(way: Callable[[int], Way], low: int, high: int) -> list[Way]:
    """The way of the largest number that fits, at least `low` and less than `high`, to a 16th of the range."""
    if low >= high or not (best := way(low)).needs.fits:
        return []
    for _ in range(HALVINGS):
        middle = (low + high) // 2
        if (tried := way(middle)).needs.fits:
            low, best = middle, tried
        else:
            high = middle
    return [best]


def _last(row: Row, length: int) -> Row:
    weights = row.weights[-length:].copy()
    weights[0] = 0  # nothing predicts the first
    return Row(np.asarray(row.input_ids[-length:]), weights, row.trace_id, row.step)
