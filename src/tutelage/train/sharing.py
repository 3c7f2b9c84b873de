"""Whether a student can be run over trees at all: tried on a small one, never assumed."""

import numpy as np
import torch
from transformers import PreTrainedModel

from tutelage.train import attention
from tutelage.train.loss import tree_logprobs
from tutelage.train.tree import Row, build_tree

LAYERS = {"full_attention", "sliding_attention", "linear_attention", "dense", "sparse"}  # that trees are made for
LENGTHS = ((9, 7), (9, 4), (5, 6), (0, 8))  # of the rows tried: tokens shared with the first, and their own


@torch.no_grad()  # type: ignore[untyped-decorator]
def why_not_shared(model: PreTrainedModel) -> str | None:
    """None where log-probabilities over a tree are those of the separate rows; else why its rows must stay separate.

    `model` is frozen and attends by "tutelage_tree". Where the answer is a reason, it is left with PyTorch's own
    attention.
    """
    others = set(getattr(model.config.get_text_config(), "layer_types", None) or ()) - LAYERS
    reason = f"it has layers of another kind ({', '.join(sorted(others))})" if others else None
    rows = _rows(model.config.get_text_config().vocab_size)
    tree = build_tree(rows)
    model.eval()
    shared = None
    if not reason:
        try:
            shared = tree_logprobs(model, tree)
        except Exception as error:  # whatever an unknown architecture trips over
            reason = f"tried on a small one: {str(error).splitlines()[0]}"
    model.set_attn_implementation("sdpa")
    if shared is not None:
        by_node = dict(zip(tree.targets.tolist(), shared.tolist(), strict=True))
        for row, path in zip(rows, tree.paths, strict=True):
            alone = tree_logprobs(model, build_tree([row])).tolist()
            together = [by_node[node] for node in path[np.flatnonzero(row.weights)].tolist()]
            if not np.allclose(together, alone, rtol=0, atol=0.3 if model.dtype == torch.bfloat16 else 1e-3):
                reason = "its layers carry more from token to token than attention does"
    if not reason:
        model.set_attn_implementation(attention.NAME)
    return reason


def _rows(vocabulary: int) -> list[Row]:
    draw = np.random.default_rng(0)
    trunk = draw.integers(0, vocabulary, max(shared for shared, _ in LENGTHS))
    rows = []
    for shared, own in LENGTHS:
        ids = np.concatenate([trunk[:shared], draw.integers(0, vocabulary, own)])
        rows.append(Row(ids, (np.arange(len(ids)) >= max(1, shared)).astype(np.float32), "tried"))
    return rows
