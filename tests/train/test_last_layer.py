"""An MLP that skips the nodes nobody asks changes no loss and no gradient."""

import numpy as np
import pytest
import torch
from test_tree_equality import assert_equal, by_tree, row_by_row
from train_samples import operations, tiny, unrolled, with_random_lora

from tutelage.train.last_layer import spare_last_mlp
from tutelage.train.tree import build_tree


@pytest.mark.parametrize("family", ["llama", "qwen3", "qwen3_moe", "gemma3", "qwen3_5"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_gradients_stay_those_of_the_rows(family: str, checkpointing: bool) -> None:
    plain, trees = (with_random_lora(tiny(family, attn)) for attn in ("sdpa", "tutelage_tree"))
    student = trees.get_base_model()
    spare_last_mlp(student)
    if checkpointing:
        student.train()
        student.activation_checkpointing_enable({"use_reentrant": False})
    for seed in (1, 2):
        rows = unrolled(traces=2, seed=seed)
        assert_equal(by_tree(trees, [build_tree(rows)]), row_by_row(plain, rows))


def test_only_nodes_that_are_asked_are_computed() -> None:
    tree = build_tree(unrolled(traces=2))
    assert set(tree.asked) == set(tree.parents[tree.targets]) and 0 < len(tree.asked) < len(tree)
    spared, whole = (with_random_lora(tiny("llama")).get_base_model() for _ in range(2))
    spare_last_mlp(spared)

    mlp = sum(
        part.numel() for name, part in whole.get_decoder().layers[-1].mlp.named_parameters() if "_dropout" not in name
    )
    assert operations(whole, tree) - operations(spared, tree) == 2 * mlp * (len(tree) - len(tree.asked))


def test_what_is_no_tree_runs_as_before() -> None:
    model = tiny("llama", "sdpa")
    ids = torch.from_numpy(np.arange(3, 30))[None]
    before = model(input_ids=ids).logits
    spare_last_mlp(model)
    assert torch.equal(model(input_ids=ids).logits, before)
