"""Whether a student can be run over trees at all: tried on a small one, never assumed."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tutelage.errors import TutelageError
from tutelage.train import attention
from tutelage.train.head import head_of
from tutelage.train.loss import tree_logprobs
from tutelage.train.tree import Row, Tree, build_tree

LAYERS = {"full_attention", "sliding_attention", "linear_attention", "dense", "sparse"}  # that trees are made for
BY_LENGTH = {"longrope", "dynamic"}  # rotations
LENGTHS = ((9, 7), (9, 4), (5, 6), (0, 8))  # of the rows tried: tokens shared with the first, and their own


@torch.no_grad()  # type: ignore[untyped-decorator]
def why_not_shared(model: PreTrainedModel) -> str | None:
    """None where log-probabilities over a tree are those of the separate rows; else why its rows must stay separate.

    `model` is frozen and attends by "tutelage_tree". Where the answer is a reason, it is left with an attention of
    Transformers' own. Of one without weights (on "meta") it is only said whether it runs. Raises TutelageError for a
    student that cannot be trained either way.
    """
    head_of(model)
    rows = _rows(model.config.get_text_config().vocab_size)
    tree = build_tree(rows)
    model.eval()
    tried = _tried(model, tree)
    capped = getattr(model.config.get_text_config(), "attn_logit_softcapping", None)  # sdpa leaves that out
    model.set_attn_implementation("sdpa" if model._supports_sdpa and not capped else "eager")
    if model.device.type != "meta":
        _require_own_logits(model, rows[0])
    if isinstance(tried, str):
        return tried
    if model.device.type != "meta" and not _are_those_of_rows(model, tree, tried, rows):
        return "its layers carry more from token to token than attention does"
    model.set_attn_implementation(attention.NAME)
    return None


def _require_own_logits(model: PreTrainedModel, row: Row) -> None:
    """Raises TutelageError where the model makes its logits otherwise than by its head, scaled or capped."""
    ids = torch.from_numpy(row.input_ids).to(model.device)
    own = model(input_ids=ids[None], use_cache=False).logits[0].float().log_softmax(-1)
    at = torch.from_numpy(np.flatnonzero(row.weights)).to(model.device)
    found, wanted = tree_logprobs(model, build_tree([row])), own[at - 1, ids[at]]
    if not torch.allclose(found, wanted, rtol=0, atol=_tolerance(model)):
        raise TutelageError(
            "This student's logits are more than its head makes of hidden states. Choose another student."
        )


def _tolerance(model: PreTrainedModel) -> float:
    """Nats that a log-probability may differ by where it is computed in another order."""
    return 0.3 if model.dtype == torch.bfloat16 else 1e-3


def _tried(model: PreTrainedModel, tree: Tree) -> Tensor | str:
    """The log-probabilities over the tree, or why there are none."""
    others = set(getattr(model.config.get_text_config(), "layer_types", None) or ()) - LAYERS
    if others:
        return f"it has layers of another kind ({', '.join(sorted(others))})"
    rope = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    if {
        rope.get("rope_type"),
        *(each.get("rope_type") for each in rope.values() if isinstance(each, dict)),
    } & BY_LENGTH:
        return "its positions are rotated by the length of what is computed together"
    try:
        return tree_logprobs(model, tree)
    except Exception as error:  # whatever an unknown architecture trips over
        return f"tried on a small one: {(str(error).splitlines() or [type(error).__name__])[0]}"


def _are_those_of_rows(model: PreTrainedModel, tree: Tree, logprobs: Tensor, rows: Sequence[Row]) -> bool:
    by_node = dict(zip(tree.targets.tolist(), logprobs.tolist(), strict=True))
    tolerance = _tolerance(model)
    for row, path in zip(rows, tree.paths, strict=True):
        alone = tree_logprobs(model, build_tree([row])).tolist()
        together = [by_node[node] for node in path[np.flatnonzero(row.weights)].tolist()]
        if not np.allclose(together, alone, rtol=0, atol=tolerance):
            return False
    return True


def _rows(vocabulary: int) -> list[Row]:
    draw = np.random.default_rng(0)
    trunk = draw.integers(0, vocabulary, max(shared for shared, _ in LENGTHS))
    rows = []
    for shared, own in LENGTHS:
        ids = np.concatenate([trunk[:shared], draw.integers(0, vocabulary, own)])
        rows.append(Row(ids, (np.arange(len(ids)) >= max(1, shared)).astype(np.float32), "tried"))
    return rows
