"""What frozen layers compute of the beginning that all rows share, kept from step to step.

Where the lowest layers have no adapters (`lora_first_layer`), nothing in them ever changes, and system prompt and tools
stand before every row: their keys, values and outputs of those layers are the same in each step of a training.
"""

from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tutelage.train.tree import Ints, Tree, common_length

SHORTEST = 64  # tokens: what is shorter costs more to put together than to compute


@dataclass
class Trunk:
    """The beginning of one tree (its root segment, or as much of it as is known) in the frozen layers."""

    tokens: Ints
    layers: int  # the lowest so many layers are frozen
    keys: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)  # by layer: each (1, heads, length, size)
    hidden: Tensor | None = None  # (1, length, hidden), what the last frozen layer gives
    known: bool = False

    def __len__(self) -> int:
        return len(self.tokens)

    def keep(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Take the trunk's part of what `layer` computed of a whole tree, (1, heads, tokens, size)."""
        if layer < self.layers and not self.known:
            key, value = (part[:, :, : len(self)].detach().clone() for part in (key, value))
            self.keys[layer] = key, value

    def before(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What comes after the trunk, with its keys and values put before, and nothing in the place of its queries."""
        nowhere = query.new_zeros(*query.shape[:2], len(self), query.shape[3])
        keys, values = self.keys[layer]
        return torch.cat([nowhere, query], 2), torch.cat([keys, key], 2), torch.cat([values, value], 2)

    def first(self, length: int) -> "Trunk":
        """The part of it that a tree begins with: causal, so none of it depends on what follows."""
        assert self.hidden is not None
        keys = {layer: (k[:, :, :length], v[:, :, :length]) for layer, (k, v) in self.keys.items()}
        return Trunk(self.tokens[:length], self.layers, keys, self.hidden[:, :length], known=True)


class Trunks:
    """Hands out the trunk of each tree: a known one where it begins as an earlier tree did."""

    def __init__(self, layers: int) -> None:
        self.layers = layers
        self._last: Trunk | None = None

    def of(self, tree: Tree) -> Trunk | None:
        """None where the rows share too little, or beside each other stand several trees."""
        root = tree.segments[0]
        if (tree.parents == -1).sum() != 1 or root.end < SHORTEST or root.end == len(tree):
            return None
        tokens = tree.tokens[: root.end]
        if self._last and self._last.hidden is not None:
            length = common_length(self._last.tokens, tokens)
            if length >= SHORTEST and 2 * length >= len(tokens):
                return self._last.first(length)
        self._last = Trunk(tokens, self.layers)
        return self._last


def keep_trunks(model: PreTrainedModel) -> None:
    """Have the model's frozen lowest layers, if there are any, run once over what trees have in common."""
    layers = getattr(model.get_decoder(), "layers", ())
    frozen = next((i for i, layer in enumerate(layers) if _learns(layer)), len(layers))
    if not frozen or _learns(model.get_input_embeddings()) or not all(map(_attends, layers[:frozen])):
        return
    model.trunks = Trunks(frozen)
    for i, layer in enumerate(layers[:frozen]):
        layer.last_frozen = i == frozen - 1
        layer.forward = MethodType(_forward, layer)


def _forward(self: Any, hidden_states: Tensor, **given: Any) -> Tensor:
    """The layer over the whole tree, or, where its trunk is known, over what comes after it.

    Up to the last frozen layer the trunk's part of what is handed on means nothing.
    """
    plan, rotation = given.get("tree_plan"), given.get("position_embeddings")
    trunk: Trunk | None = plan.trunk if plan is not None else None
    if trunk is None or not isinstance(rotation, tuple):
        whole: Tensor = type(self).forward(self, hidden_states, **given)
        return whole
    if not trunk.known:
        whole = type(self).forward(self, hidden_states, **given)
        if self.last_frozen:
            trunk.hidden = whole[:, : len(trunk)].detach().clone()
        return whole
    after = slice(len(trunk), None)
    given["position_embeddings"] = tuple(part[:, after] for part in rotation)
    if given.get("position_ids") is not None:
        given["position_ids"] = given["position_ids"][:, after]
    rest = type(self).forward(self, hidden_states[:, after], **given)
    if self.last_frozen:
        assert trunk.hidden is not None
        return torch.cat([trunk.hidden, rest], 1)
    return torch.cat([hidden_states[:, : len(trunk)], rest], 1)


def _learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _attends(layer: nn.Module) -> bool:
    return hasattr(layer, "self_attn") and getattr(layer.self_attn, "layer_idx", None) is not None
