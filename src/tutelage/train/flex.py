"""Attention over a prefix tree on a GPU: PyTorch's FlexAttention with a block mask from the subtree ends.

Query q may see key k exactly if k <= q < ends[k] (and, in a window, if k lies less than its length above q). Blocks of
128 x 128 that hold no such pair are not computed, and the mask itself is never there as a whole.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from tutelage.train.tree import Tree


@dataclass(frozen=True)
class FlexPlan:
    """How a model's layers run over one tree on `device`."""

    tree: Tree
    device: torch.device
    trunk: None = None  # nothing of it is kept from tree to tree

    @cached_property
    def _masks(self) -> dict[int | None, BlockMask]:
        return {}

    def mask(self, window: int | None) -> BlockMask:
        if window not in self._masks:
            self._masks[window] = _block_mask(self.tree, window, self.device)
        return self._masks[window]


def flex_tree_attention(
    query: Tensor, key: Tensor, value: Tensor, plan: FlexPlan, window: int | None, scale: float
) -> Tensor:
    """query (1, H, N, D), key and value (1, K, N, D) -> (1, N, H, D)."""
    attend = _compiled() if query.is_cuda else flex_attention
    out: Tensor = attend(query, key, value, block_mask=plan.mask(window), scale=scale, enable_gqa=True)
    return out.transpose(1, 2)


def _block_mask(tree: Tree, window: int | None, device: torch.device) -> BlockMask:
    ends, depths = (torch.from_numpy(array).to(device) for array in (tree.ends, tree.positions))

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        below = (key <= query) & (query < ends[key])
        return below if window is None else below & (depths[query] - depths[key] < window)

    return create_block_mask(sees, None, None, len(tree), len(tree), device=device, _compile=device.type == "cuda")


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., Any]:
    """One kernel for all lengths: trees differ from step to step, and compiling takes a minute."""
    compiled: Callable[..., Any] = torch.compile(flex_attention, dynamic=True)
    return compiled
