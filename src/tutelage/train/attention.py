"""Attention over a prefix tree, branch by branch, behind Transformers' AttentionInterface.

No mask of the whole is built: each unbranched segment's queries meet the keys of the segments above it and their own
causal square, nothing else; long segments are cut. Where the probabilities of all layers take less than KEPT bytes,
they are kept for the backward pass, which is fastest for short rows. Otherwise (they cost heads x tokens x depth
numbers a layer: 1 GB for 1,500 tokens of SmolLM2-135M in one row) PyTorch's flash kernel keeps one number a query and
computes them again, block by block: at 4,000 and 12,000 tokens 1.5 times as fast as whole products that do so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from tutelage.errors import TutelageError
from tutelage.train.compute import as_typed
from tutelage.train.flex import FlexPlan, flex_tree_attention
from tutelage.train.tree import Segment, Tree
from tutelage.train.trunk import Trunk, Trunks

NAME = "tutelage_tree"
QUERIES, FLASH_QUERIES = 128, 512  # at most so many queries a piece: where probabilities are kept, and where not
KEPT = 1 << 29  # bytes of probabilities, all layers together

SEVERAL = 4096  # keys: a mask is made for so many, or a multiple
FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

Slices = tuple[tuple[int, int], ...]
Pieces = tuple[tuple[int, int, Slices], ...]  # queries from, to, and the slices of their keys, themselves last


@dataclass(frozen=True)
class Plan:
    """How a model's layers run over one tree."""

    tree: Tree
    pieces: Pieces
    keep: bool  # the probabilities, for the backward pass
    trunk: Trunk | None = None  # what frozen layers may know already

    @cached_property
    def _windowed(self) -> dict[int, Pieces]:
        return {}

    @cached_property
    def after_trunk(self) -> "Plan":
        """Its pieces without the queries of the trunk."""
        assert self.trunk
        first = len(self.trunk)
        pieces = tuple((max(start, first), end, slices) for start, end, slices in self.pieces if end > first)
        return Plan(self.tree, pieces, keep=False)

    def within(self, window: int | None) -> Pieces:
        """The pieces, with keys further above than every query's window left out."""
        if window is None:
            return self.pieces
        if window not in self._windowed:
            self._windowed[window] = tuple(
                (start, end, tuple(_last(slices, end - start + window - 1))) for start, end, slices in self.pieces
            )
        return self._windowed[window]


def attention_plan(tree: Tree, model: PreTrainedModel) -> Plan | FlexPlan:
    """What `forward(..., tree_plan=...)` takes: the tree's segments, long ones cut; on a GPU, its block masks."""
    if model.device.type == "cuda":
        return FlexPlan(tree, model.device)
    keep = keeps_probabilities(tree, model)
    pieces = _pieces(tree, QUERIES if keep else FLASH_QUERIES)
    trunks: Trunks | None = getattr(model, "trunks", None)
    return Plan(tree, pieces, keep, trunks.of(tree) if trunks else None)


def keeps_probabilities(tree: Tree, model: PreTrainedModel) -> bool:
    """Whether those of all layers are few enough to be kept for the backward pass."""
    config = model.config.get_text_config()
    pairs = sum((end - start) * sum(b - a for a, b in slices) for start, end, slices in _pieces(tree, QUERIES))
    return bool(pairs * config.num_attention_heads * config.num_hidden_layers * model.dtype.itemsize <= KEPT)


def _pieces(tree: Tree, queries: int) -> Pieces:
    return tuple(piece for segment in tree.segments for piece in _cut(segment, queries))


def _cut(segment: Segment, queries: int) -> Iterator[tuple[int, int, Slices]]:
    count = -(-(segment.end - segment.start) // queries)
    *above, (first, _) = segment.keys
    for i in range(count):
        start, end = (segment.start + (segment.end - segment.start) * j // count for j in (i, i + 1))
        yield start, end, (*above, (first, end))


def _last(slices: Slices, count: int) -> Iterator[tuple[int, int]]:
    """The last `count` nodes of the slices; as slices stand in order of depth, the nearest ones."""
    spare = sum(end - start for start, end in slices) - count
    for start, end in slices:
        cut = min(max(spare, 0), end - start)
        spare -= cut
        if cut < end - start:
            yield start + cut, end


def tree_attention(
    module: nn.Module,
    query: Tensor,  # (1, heads, tokens, size)
    key: Tensor,  # (1, key-value heads, tokens, size)
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    tree_plan: Plan | FlexPlan | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The interface's signature. Raises TutelageError for attention that is not plain and causal throughout."""
    if tree_plan is None or attention_mask is not None:
        raise TutelageError(f'The attention "{NAME}" runs on prefix trees only: pass tree_plan and no mask.')
    peculiar = [name for name in ("softcap", "s_aux", "position_bias") if kwargs.get(name) is not None]
    if peculiar or dropout:
        what = ", ".join(peculiar) or "attention dropout"
        raise TutelageError(f"Prefix trees do not support this model's attention ({what}). Choose another student.")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    dtype = value.dtype  # under autocast the rotated q and k are float32
    query, key = query.to(dtype), key.to(dtype)
    if isinstance(tree_plan, FlexPlan):
        return flex_tree_attention(query, key, value, tree_plan, sliding_window, scale), None
    trunk, tokens = tree_plan.trunk, query.shape[2]
    if trunk and module.layer_idx < trunk.layers:
        if trunk.known:
            tree_plan = tree_plan.after_trunk
            query, key, value = trunk.before(module.layer_idx, query, key, value)
        else:
            trunk.keep(module.layer_idx, key, value)
    learns = torch.is_grad_enabled() and any(part.requires_grad for part in (query, key, value))
    attend = (_TreeAttention if tree_plan.keep else _FlashAttention).apply if learns else _attention
    out = attend(query[0], key[0], value[0], tree_plan, sliding_window, scale)
    return out[None, query.shape[2] - tokens :], None


def _attention(q: Tensor, k: Tensor, v: Tensor, plan: Plan, window: int | None, scale: float) -> Tensor:
    """What `_TreeAttention` gives, where nothing is to be learnt of it: with PyTorch's kernel, 0.7 of the time."""
    out = q.new_empty(q.shape[1], len(q), q.shape[2])
    with as_typed(q.device):
        for start, end, slices in plan.within(window):
            inputs, mask = _flash_inputs(q, k, v, (start, end, slices), window)
            piece = scaled_dot_product_attention(*inputs, attn_mask=mask, scale=scale)
            out[start:end] = piece.flatten(0, 1).transpose(0, 1)
    return out


class _TreeAttention(torch.autograd.Function):  # type: ignore[misc]  # seen as Any
    """q (H, N, D), k and v (K, N, D) -> (N, H, D). Keeps the probabilities."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: Plan, window: int | None, scale: float) -> Tensor:
        ctx.pieces, ctx.scale = plan.within(window), scale
        kept = []
        heads, tokens, size = q.shape
        out = q.new_empty(tokens, heads, size)
        with as_typed(q.device):
            for start, end, slices in ctx.pieces:
                keys, values = _take(k, slices), _take(v, slices)
                probabilities = _probabilities(_grouped(q, start, end, len(k)), keys, end - start, window, scale)
                _write(out.transpose(0, 1), start, end, torch.bmm(probabilities, values))
                kept.append(probabilities)
        ctx.save_for_backward(q, k, v, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *kept = ctx.saved_tensors
        grad = grads[0].transpose(0, 1)  # (H, N, D)
        dq = torch.empty_like(q.transpose(0, 1), memory_format=torch.contiguous_format).transpose(0, 1)
        dk, dv = torch.zeros_like(k), torch.zeros_like(v)
        for (start, end, slices), probabilities in zip(ctx.pieces, kept, strict=True):
            keys, values = _take(k, slices), _take(v, slices)
            queries, upper = _grouped(q, start, end, len(k)), _grouped(grad, start, end, len(k))
            _add(dv, slices, torch.bmm(probabilities.transpose(1, 2), upper))
            dp = torch.bmm(upper, values.transpose(1, 2))
            ds = torch._softmax_backward_data(dp, probabilities, -1, dp.dtype).mul_(ctx.scale)
            _write(dq, start, end, torch.bmm(ds, keys))
            _add(dk, slices, torch.bmm(ds.transpose(1, 2), queries))
        return dq, dk, dv, None, None, None


class _FlashAttention(torch.autograd.Function):  # type: ignore[misc]  # seen as Any
    """The same for long trees: keeps what comes out and, of each query, the logarithm of its softmax's denominator."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: Plan, window: int | None, scale: float) -> Tensor:
        ctx.pieces, ctx.window, ctx.scale = plan.within(window), window, scale
        out = q.new_empty(q.shape[1], len(q), q.shape[2])
        logs = []
        with as_typed(q.device):
            for start, end, slices in ctx.pieces:
                inputs, mask = _flash_inputs(q, k, v, (start, end, slices), window)
                piece, log = FLASH(*inputs, 0.0, False, attn_mask=mask, scale=scale)
                out[start:end] = piece.flatten(0, 1).transpose(0, 1)
                logs.append(log)
        ctx.save_for_backward(q, k, v, out, *logs)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, *logs = ctx.saved_tensors
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for (start, end, slices), log in zip(ctx.pieces, logs, strict=True):
            inputs, mask = _flash_inputs(q, k, v, (start, end, slices), ctx.window)
            upper, given = (x[start:end].transpose(0, 1).unflatten(0, (len(k), -1)) for x in (grads[0], out))
            d_query, d_key, d_value = FLASH_BACKWARD(
                upper, *inputs, given, log, 0.0, False, attn_mask=mask, scale=ctx.scale
            )
            dq[:, start:end] = d_query.flatten(0, 1)
            _add(dk, slices, d_key.sum(1))
            _add(dv, slices, d_value.sum(1))
        return dq, dk, dv, None, None, None


def _flash_inputs(
    q: Tensor, k: Tensor, v: Tensor, piece: tuple[int, int, Slices], window: int | None
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """A piece's queries (K, H/K, L, D), keys and values (K, H/K, n, D), and their mask (L, n)."""
    start, end, slices = piece
    keys, values = (_take(part, slices)[:, None].expand(-1, len(q) // len(k), -1, -1) for part in (k, v))
    mask = _hidden(end - start, keys.shape[2], window, q.dtype, q.device)
    return (q[:, start:end].unflatten(0, (len(k), -1)), keys, values), mask


def _grouped(x: Tensor, start: int, end: int, groups: int) -> Tensor:
    """(H, N, D) -> (K, H/K * L, D): the query heads that share a key-value head, below each other."""
    return x[:, start:end].reshape(groups, -1, x.shape[-1])


def _write(x: Tensor, start: int, end: int, piece: Tensor) -> None:
    x[:, start:end] = piece.view(x.shape[0], end - start, x.shape[-1])


def _take(x: Tensor, slices: Slices) -> Tensor:
    """(K, N, D) -> (K, n, D)"""
    if len(slices) == 1:
        return x[:, slices[0][0] : slices[0][1]]
    return torch.cat([x[:, start:end] for start, end in slices], dim=1)


def _add(x: Tensor, slices: Slices, piece: Tensor) -> None:
    at = 0
    for start, end in slices:
        x[:, start:end] += piece[:, at : at + end - start]
        at += end - start


def _probabilities(queries: Tensor, keys: Tensor, length: int, window: int | None, scale: float) -> Tensor:
    """(K, G * L, D) and (K, n, D) -> (K, G * L, n), the last L keys being the queries' own tokens."""
    scores = torch.bmm(queries * scale, keys.transpose(1, 2))
    by_query = scores.view(len(scores), -1, length, scores.shape[-1])
    mask = _hidden(length, scores.shape[-1], window, scores.dtype, scores.device)
    by_query[..., -length:].add_(mask[:, -length:])
    if window is not None and scores.shape[-1] > window:
        by_query[..., :length].add_(mask[:, :length])
    return torch.softmax(scores, -1, dtype=torch.float32).to(scores.dtype)


def _hidden(length: int, keys: int, window: int | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(L, n), -inf where a query may not see a key, else 0; the last L keys are the queries' own tokens.

    What a query sees depends on how far before it a key stands, so one mask's lower right corners serve all pieces.
    """
    size = max(FLASH_QUERIES, length), -(-keys // SEVERAL) * SEVERAL
    return _widest(*size, window, dtype, device)[-length:, -keys:]


@lru_cache(maxsize=4)
def _widest(length: int, keys: int, window: int | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    mask = torch.full((length, keys), float("-inf"), dtype=dtype, device=device).triu_(keys - length + 1)
    if window is not None:
        mask += torch.full((length, keys), float("-inf"), dtype=dtype, device=device).tril_(keys - length - window)
    return mask


AttentionInterface.register(NAME, tree_attention)
