"""FlexAttention over a tree gives what per-branch attention gives; on a CPU its forward pass alone can be run."""

import pytest
import torch
from test_tree_equality import assert_equal, by_tree, row_by_row
from train_samples import tiny, unrolled, with_random_lora

from tutelage.train.attention import QUERIES, Plan, _pieces, tree_attention
from tutelage.train.fast import speed_up
from tutelage.train.flex import FlexPlan, flex_tree_attention
from tutelage.train.tree import build_tree


@pytest.mark.parametrize("window", [None, 9])
@pytest.mark.parametrize("seed", range(3))
def test_the_block_mask_shows_what_the_branches_do(window: int | None, seed: int) -> None:
    tree = build_tree(unrolled(traces=3, seed=seed, part=12))
    torch.manual_seed(seed)
    query, key, value = (torch.randn(1, heads, len(tree), 8) for heads in (6, 2, 2))
    plan = Plan(tree, _pieces(tree, QUERIES), False)
    expected, _ = tree_attention(torch.nn.Module(), query, key, value, None, 0.3, tree_plan=plan, sliding_window=window)
    found = flex_tree_attention(query, key, value, FlexPlan(tree, torch.device("cpu")), window, 0.3)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_blocks_of_other_branches_are_not_computed() -> None:
    tree = build_tree(unrolled(traces=8, shared=130, steps=1, part=130))
    mask = FlexPlan(tree, torch.device("cpu")).mask(None)
    causal = torch.nn.attention.flex_attention.create_block_mask(
        lambda batch, head, query, key: key <= query, None, None, len(tree), len(tree), device="cpu"
    )
    assert mask.sparsity() > causal.sparsity() + 20


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3"])
def test_on_a_gpu_loss_and_gradients_are_those_of_the_rows(family: str) -> None:
    rows = unrolled(traces=3, part=40)
    plain, trees = (with_random_lora(tiny(family, *attn).cuda()) for attn in (("sdpa",), ()))
    speed_up(trees)
    assert_equal(by_tree(trees, [build_tree(rows)]), row_by_row(plain, rows))
