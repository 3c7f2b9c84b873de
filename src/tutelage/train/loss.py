"""Log-probabilities of chosen tokens, without a tensor of all logits."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from tutelage.errors import TutelageError
from tutelage.train.attention import NAME, attention_plan
from tutelage.train.head import Head, head_of
from tutelage.train.tree import Row, Tree

LOGITS = 100 << 20  # bytes of logits at a time: 533 rows of SmolLM2's vocabulary in float32, 172 of Qwen3's


def tree_logprobs(model: PreTrainedModel, tree: Tree) -> Tensor:
    """The log-probability of each of `tree.targets`, given what leads to it; differentiable.

    `model` is a causal decoder (no PEFT wrapper: `get_base_model()`) with attention "tutelage_tree"; with any other,
    the tree must be one row's. SFT weighs and sums these; whatever needs them by row follows `tree.paths`.
    """
    device = model.device
    targets = torch.from_numpy(tree.targets).to(device)
    along: dict[str, Any] = {}
    if model.config.get_text_config()._attn_implementation == NAME:
        along["position_ids"] = torch.from_numpy(tree.positions).to(device)[None]
        along["tree_plan"] = attention_plan(tree, model)
    elif len(tree.segments) > 1:
        raise TutelageError("A student without attention over trees runs one row at a time.")
    ids = torch.from_numpy(tree.tokens).to(device)[None]
    hidden = model.get_decoder()(input_ids=ids, use_cache=False, **along).last_hidden_state[0]
    parents = torch.from_numpy(tree.parents).to(device)[targets]
    tokens = torch.from_numpy(tree.tokens).to(device)[targets]
    head = head_of(model)
    if head.is_plain:
        return target_logprobs(hidden[parents], head.module.weight, tokens)
    return _logprobs_of(head, hidden[parents], tokens, model.config.get_text_config().vocab_size)


def row_logprobs(model: PreTrainedModel, rows: Sequence[Row], trees: Sequence[Tree]) -> Tensor:
    """The log-probability of what each row teaches, a token times its weight, along its path; differentiable.

    (rows): `rows` in the order in which `trees` were built of them.
    """
    sums, place = [], 0
    for tree in trees:
        logprobs = tree_logprobs(model, tree)
        where = np.zeros(len(tree), np.int64)
        where[tree.targets] = np.arange(len(tree.targets))
        own = rows[place : place + len(tree.leaves)]
        taught = [np.flatnonzero(row.weights) for row in own]
        nodes = np.concatenate([where[path[at]] for path, at in zip(tree.paths, taught, strict=True)])
        weights = np.concatenate([row.weights[at] for row, at in zip(own, taught, strict=True)])
        owner = np.repeat(np.arange(len(own)), [len(at) for at in taught])
        index, by, times = (torch.from_numpy(x).to(logprobs.device) for x in (nodes, owner, weights))
        sums.append(logprobs.new_zeros(len(own)).index_add(0, by, logprobs[index] * times))
        place += len(own)
    return torch.cat(sums)


def chunk_rows(targets: int, vocabulary: int) -> int:
    """How many rows of logits are computed at a time: all chunks of one size, since small products are slow."""
    most = max(1, LOGITS // (4 * vocabulary))
    chunks = max(1, -(-targets // most))
    return -(-targets // chunks)


def _room(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Memory for a chunk of logits. On CPU it is kept: what large tensors hand back, the kernel must clear again.

    Of the most that it can be no more is taken than is written to, so on "meta" that alone is counted.
    """
    if device.type == "cuda":
        return torch.empty(size, dtype=dtype, device=device)
    return _kept_room(max(size, LOGITS // 4) if device.type == "cpu" else size, dtype, device)


@lru_cache(maxsize=1)
def _kept_room(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.empty(size, dtype=dtype, device=device)


def target_logprobs(hidden: Tensor, weight: Tensor, tokens: Tensor) -> Tensor:
    """log softmax(hidden @ weight.T)[i, tokens[i]] for each i."""
    result: Tensor = _TargetLogprobs.apply(hidden, weight, tokens)
    return result


def _logprobs_of(head: Head, hidden: Tensor, tokens: Tensor, vocabulary: int) -> Tensor:
    """The same through a head that does more than one product: its chunks are computed again for the gradient."""

    def of_chunk(part: Tensor, targets: Tensor) -> Tensor:
        return head.logits(part).log_softmax(-1).gather(1, targets[:, None])[:, 0]

    size = chunk_rows(len(tokens), vocabulary)
    chunks = zip(hidden.split(size), tokens.split(size), strict=True)
    return torch.cat([checkpoint(of_chunk, *chunk, use_reentrant=False) for chunk in chunks])


class _TargetLogprobs(torch.autograd.Function):  # type: ignore[misc]  # seen as Any
    """hidden (n, h), weight (v, h), tokens (n) -> (n).

    The gradient of a log-probability to its hidden state, weight[token] - softmax @ weight, is computed along with it
    while the chunk's logits are there, so that they are neither kept nor computed twice. Where the weight learns too,
    its gradient wants the probabilities and what comes from above at once: they are computed again.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, tokens: Tensor) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        logprobs = torch.empty(len(tokens), dtype=torch.float32, device=hidden.device)
        slopes = torch.empty_like(hidden) if wanted else None
        chunk = chunk_rows(len(tokens), len(weight))
        room = _room(chunk * len(weight), weight.dtype, weight.device)
        for start in range(0, len(tokens), chunk):
            rows = slice(start, start + chunk)
            logits = _logits(hidden[rows].to(weight.dtype), weight, room)
            logprobs[rows] = logits.gather(1, tokens[rows, None])[:, 0]
            sums = logits.exp_().sum(1)  # in place, and read by everything below: a pass over logits is what costs
            logprobs[rows] -= sums.log()
            if slopes is not None:
                mean = torch.mm(logits.to(weight.dtype), weight).float() / sums[:, None]
                slopes[rows] = (weight[tokens[rows]] - mean).to(slopes.dtype)
        ctx.save_for_backward(slopes, *((hidden, weight, tokens) if ctx.needs_input_grad[1] else ()))
        return logprobs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        slopes, *rest = ctx.saved_tensors
        d_hidden = None if slopes is None else slopes * grads[0][:, None].to(slopes.dtype)
        return d_hidden, _weight_gradient(grads[0], *rest) if rest else None, None


def _weight_gradient(grad: Tensor, hidden: Tensor, weight: Tensor, tokens: Tensor) -> Tensor:
    """Of the log-probabilities, each weighed by `grad` (n), to `weight` (v, h)."""
    result = torch.zeros_like(weight)
    result.index_add_(0, tokens, (hidden * grad[:, None]).to(weight.dtype))
    chunk = chunk_rows(len(tokens), len(weight))
    room = _room(chunk * len(weight), weight.dtype, weight.device)
    for start in range(0, len(tokens), chunk):
        rows = slice(start, start + chunk)
        part = hidden[rows].to(weight.dtype)
        probabilities = _logits(part, weight, room).exp_()
        probabilities *= (grad[rows] / probabilities.sum(1))[:, None]
        result.addmm_(probabilities.to(weight.dtype).t(), part, alpha=-1)
    return result


def _logits(hidden: Tensor, weight: Tensor, room: Tensor) -> Tensor:
    """hidden (n, h), weight (v, h) -> (n, v) in float32, in `room` if it can be; each row less its largest."""
    logits = torch.mm(hidden, weight.t(), out=room[: len(hidden) * len(weight)].view(len(hidden), -1)).float()
    logits -= logits.amax(1, keepdim=True)
    return logits
