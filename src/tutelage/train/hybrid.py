"""Gated delta layers over a prefix tree: each branch starts from its parent's recurrent and convolution state.

For the Qwen3.5 family, three of whose four layers hold no keys but a state that each token changes. Their recurrence is
Transformers' own, called once a branch with the state that its parent ended in; their convolution reads each token's
ancestors instead of its neighbours.
"""

import sys
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from tutelage.train.attention import Plan
from tutelage.train.flex import FlexPlan
from tutelage.train.tree import Ints, Tree

LAYERS = ("Qwen3_5GatedDeltaNet", "Qwen3_5MoeGatedDeltaNet")


def follow_branches(model: PreTrainedModel) -> None:
    """Have the model's gated delta layers run over trees, where they are given one."""
    for module in model.modules():
        if type(module).__name__ in LAYERS:
            module.forward = MethodType(_forward, module)


def _forward(self: Any, hidden_states: Tensor, tree_plan: Plan | FlexPlan | None = None, **kwargs: Any) -> Tensor:
    """hidden_states (1, tokens, hidden); as the layer's own forward, with the tree for a cache."""
    if tree_plan is None:
        own: Tensor = type(self).forward(self, hidden_states, **kwargs)
        return own
    tokens = hidden_states.shape[1]
    mixed = _convolved(self, self.in_proj_qkv(hidden_states)[0], tree_plan.tree)[None]
    sizes = (self.key_dim, self.key_dim, self.value_dim)
    widths = (self.head_k_dim, self.head_k_dim, self.head_v_dim)
    query, key, value = (
        part.reshape(1, tokens, -1, width) for part, width in zip(mixed.split(sizes, -1), widths, strict=True)
    )
    beta = self.in_proj_b(hidden_states).sigmoid()
    decay = -self.A_log.float().exp() * functional.softplus(self.in_proj_a(hidden_states).float() + self.dt_bias)
    rule = sys.modules[type(self).__module__].torch_chunk_gated_delta_rule
    states: dict[int, Tensor] = {}  # by the last node of a branch
    outputs = []
    for branch in tree_plan.tree.segments:
        part = slice(branch.start, branch.end)
        output, states[branch.end - 1] = rule(
            query[:, part],
            key[:, part],
            value[:, part],
            g=decay[:, part],
            beta=beta[:, part],
            initial_state=states.get(int(tree_plan.tree.parents[branch.start])),
            output_final_state=True,
            use_qk_l2norm_in_kernel=True,
        )
        outputs.append(output)
    gate = self.in_proj_z(hidden_states).reshape(-1, self.head_v_dim)
    normed = self.norm(torch.cat(outputs, 1).reshape(-1, self.head_v_dim), gate)
    result: Tensor = self.out_proj(normed.reshape(1, tokens, -1))
    return result


def _convolved(layer: Any, x: Tensor, tree: Tree) -> Tensor:
    """The layer's causal convolution of x (tokens, channels) along each node's path."""
    conv: nn.Conv1d = layer.conv1d
    weight = conv.weight[:, 0]  # (channels, kernel)
    padded = torch.cat([x.to(weight.dtype), x.new_zeros(1, x.shape[1], dtype=weight.dtype)])
    out = padded[:-1] * weight[:, -1]
    above = torch.arange(len(x), device=x.device)
    parents = torch.from_numpy(_with_nothing(tree)).to(x.device)
    for tap in range(2, weight.shape[1] + 1):
        above = parents[above]
        out = out + padded.index_select(0, above) * weight[:, -tap]
    if conv.bias is not None:
        out = out + conv.bias
    activated: Tensor = ACT2FN[layer.activation](out)
    return activated.to(x.dtype)


def _with_nothing(tree: Tree) -> Ints:
    """Parents, a root's being one past the last node, which is its own."""
    return np.append(np.where(tree.parents < 0, len(tree), tree.parents), len(tree))
