"""A student's output head: what makes logits of hidden states."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tutelage.errors import TutelageError


@dataclass(frozen=True)
class Head:
    module: nn.Module
    scale: float = 1.0  # logits are multiplied by it
    cap: float | None = None  # and kept within it, softly: cap tanh(logits / cap)

    @property
    def is_plain(self) -> bool:
        """Whether logits are one matrix product and nothing else."""
        module = self.module
        return isinstance(module, nn.Linear) and module.bias is None and self.scale == 1 and self.cap is None

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden (n, h) -> (n, v) in float32"""
        logits: Tensor = self.module(hidden).float() * self.scale
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


def head_of(model: PreTrainedModel) -> Head:
    """By the names that Transformers' models give what they do to logits. Raises TutelageError where there is none."""
    module = model.get_output_embeddings()
    if not isinstance(module, nn.Module):
        raise TutelageError("This student has no output head that makes logits. Choose another student.")
    config = model.config.get_text_config()
    times, over = (getattr(config, name, None) or 1.0 for name in ("logit_scale", "logits_scaling"))
    return Head(module, times / over, getattr(config, "final_logit_softcapping", None))
