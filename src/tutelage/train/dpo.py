"""Direct preference optimisation (arXiv 2305.18290) on prefix trees.

A pair is two rows with one prompt, the step at which two traces of a task part: what was better there, then what was
worse. Both stand in one tree, so the prompt is computed once, as is what the two answers begin with. A step's rows are
its pairs', chosen and rejected in turn, and a pair is never cut apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from tutelage.train.loss import row_logprobs
from tutelage.train.tree import Row, Tree, build_tree, sorted_order, token_budget, tree_size


@dataclass(frozen=True)
class Pairs:
    """A microbatch."""

    rows: tuple[Row, ...]  # chosen and rejected in turn
    trees: tuple[Tree, ...]  # one; of students that cannot run over trees, one a row

    def __len__(self) -> int:
        return sum(map(len, self.trees))

    @property
    def tokens_unrolled(self) -> int:
        return sum(map(len, self.rows))


@dataclass(frozen=True)
class Dpo:
    """An objective; `tree_tokens` and `share` are plan_step's."""

    tree_tokens: int | None = None
    share: bool = True
    beta: float = 0.1
    reference: dict[str, tuple[float, float]] = field(default_factory=dict)  # by pair: log-probabilities at the start

    def begin(self, model: PreTrainedModel, rows: Sequence[Row]) -> None:
        """The reference is the model as it starts: with fresh adapters, which change nothing, the student itself."""
        model.eval()
        once = list({(row.trace_id, i % 2): row for i, row in enumerate(rows)}.values())
        with torch.no_grad():
            for piece in self.pieces(once):
                logprobs = row_logprobs(model, piece.rows, piece.trees).tolist()
                for row, chosen, rejected in zip(piece.rows[::2], logprobs[::2], logprobs[1::2], strict=True):
                    self.reference[row.trace_id] = (chosen, rejected)

    def pieces(self, rows: Sequence[Row]) -> list[Pairs]:
        pairs = [[rows[i], rows[i + 1]] for i in range(0, len(rows), 2)]
        if not self.share:
            return [Pairs(tuple(pair), tuple(build_tree([row]) for row in pair)) for pair in pairs]
        alike = [pairs[i] for i in sorted_order([chosen for chosen, _ in pairs])]
        groups = _filled(alike, token_budget(rows, self.tree_tokens))
        return [Pairs(tuple(group), (build_tree(group),)) for group in groups]

    def weight(self, piece: Pairs) -> float:
        return len(piece.rows) / 2

    def loss(self, model: PreTrainedModel, piece: Pairs) -> Tensor:
        logprobs = row_logprobs(model, piece.rows, piece.trees)
        before = [logprob for row in piece.rows[::2] for logprob in self.reference[row.trace_id]]
        gained = logprobs - torch.tensor(before, device=logprobs.device)
        return dpo_losses(gained[::2], gained[1::2], self.beta).sum()


def _filled(pairs: Sequence[list[Row]], budget: int) -> list[list[Row]]:
    """Neighbours joined while their tree stays within the budget."""
    filled: list[list[Row]] = []
    for pair in pairs:
        if filled and tree_size(filled[-1] + pair) <= budget:
            filled[-1] = filled[-1] + pair
        else:
            filled.append(pair)
    return filled


def dpo_losses(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """For each pair, from how much the log-probabilities of the two have grown since the start."""
    return -functional.logsigmoid(beta * (chosen - rejected))
