"""What frozen layers know of the trunk from an earlier step changes no loss and no gradient."""

import numpy as np
import pytest
from test_tree_equality import assert_equal, by_tree, row_by_row
from train_samples import VOCABULARY, operations, tiny, unrolled, with_random_lora

from tutelage.train.tree import Row, build_tree
from tutelage.train.trunk import SHORTEST, keep_trunks


def of_step(seed: int, extra: int = 0) -> list[Row]:
    """Rows of a prompt that all steps have, and `extra` more tokens that only this step's rows share."""
    prompt = np.random.default_rng(0).integers(3, VOCABULARY, SHORTEST + 20)
    more = np.random.default_rng(seed).integers(3, VOCABULARY, extra)
    rows = []
    for row in unrolled(traces=2, seed=seed, shared=1):
        ids = np.concatenate([prompt, more, row.input_ids])
        rows.append(Row(ids, np.concatenate([np.zeros(len(ids) - len(row), np.float32), row.weights]), row.trace_id))
    return rows


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "gemma3"])
def test_loss_and_gradients_stay_those_of_the_rows_from_step_to_step(family: str) -> None:
    plain, trees = (with_random_lora(tiny(family, attn), first_layer=1) for attn in ("sdpa", "tutelage_tree"))
    keep_trunks(trees.get_base_model())
    for seed, extra in ((1, 9), (2, 0), (3, 5), (4, 200), (5, 0)):
        rows = of_step(seed, extra)
        assert_equal(by_tree(trees, [build_tree(rows)]), row_by_row(plain, rows))


def test_a_known_trunk_is_not_computed_again() -> None:
    model = with_random_lora(tiny("llama"), first_layer=1).get_base_model()
    keep_trunks(model)
    tree = build_tree(of_step(1))

    first, second, third = (operations(model, tree) for _ in range(3))
    assert third == second < 0.85 * first


def test_students_that_learn_everywhere_are_left_alone() -> None:
    model = with_random_lora(tiny("llama")).get_base_model()
    keep_trunks(model)
    assert not hasattr(model, "trunks")
