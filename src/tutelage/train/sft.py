"""Supervised fine-tuning on prefix trees: the weighted sum of negative log-probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tutelage.train.loss import tree_logprobs
from tutelage.train.tree import Row, Tree, plan_step


@dataclass(frozen=True)
class Sft:
    """An objective; `tree_tokens` and `share` are plan_step's."""

    tree_tokens: int | None = None
    share: bool = True

    def begin(self, model: PreTrainedModel, rows: Sequence[Row]) -> None:
        """Nothing is to be known of the model as it starts."""

    def pieces(self, rows: Sequence[Row]) -> list[Tree]:
        return plan_step(rows, self.tree_tokens, self.share)

    def weight(self, piece: Tree) -> float:
        return piece.total_weight

    def loss(self, model: PreTrainedModel, piece: Tree) -> Tensor:
        logprobs = tree_logprobs(model, piece)
        weights = torch.from_numpy(piece.weights[piece.targets]).to(logprobs.device)
        return -(logprobs * weights).sum()
