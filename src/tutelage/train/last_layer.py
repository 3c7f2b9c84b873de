"""The last layer's MLP, computed only where its result is read: at the nodes that predict a target.

What the other nodes would get from it reaches no logit, and as no layer follows, nothing else either.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def spare_last_mlp(model: PreTrainedModel) -> None:
    """Have the last layer's MLP skip the nodes that predict nothing; it works token by token, as MLPs do."""
    layers = getattr(model.get_decoder(), "layers", None)
    mlp = getattr(layers[-1], "mlp", None) if isinstance(layers, nn.ModuleList) else None
    if layers is not None and isinstance(mlp, nn.Module):
        layer = layers[-1]
        chosen = _Chosen()
        layer.register_forward_pre_hook(chosen.choose, with_kwargs=True)
        mlp.register_forward_pre_hook(chosen.gather)
        mlp.register_forward_hook(chosen.scatter)


class _Chosen:
    """Between the layer, which is told of the tree, and its MLP, which is not."""

    def __init__(self) -> None:
        self.nodes: Tensor | None = None  # of the tree at hand; None: all
        self.tokens = 0

    def choose(self, layer: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        plan = given.get("tree_plan")
        device = next(layer.parameters()).device
        self.nodes = None if plan is None else torch.from_numpy(plan.tree.asked).to(device)

    def gather(self, mlp: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self.nodes is None:
            return None
        hidden, *rest = args  # (1, tokens, hidden)
        self.tokens = hidden.shape[1]
        return hidden[:, self.nodes], *rest

    def scatter(self, mlp: nn.Module, args: tuple[Tensor, ...], out: Any) -> Any:
        if self.nodes is None:
            return None
        return out.new_zeros(1, self.tokens, out.shape[2]).index_copy(1, self.nodes, out)
