import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from train_samples import unrolled

from tutelage.errors import TutelageError
from tutelage.train.steps import Mixed, at_most, plan_steps
from tutelage.train.tree import Row, build_tree, plan_step, token_budget, tree_size


def row(ids: list[int], trained: int = 1, trace: str = "t", step: int = 0) -> Row:
    weights = np.zeros(len(ids), np.float32)
    weights[max(1, len(ids) - trained) :] = 1
    return Row(np.array(ids, np.int64), weights, trace, step)


# few letters and short rows, so that prefixes are often shared; every kind of tree comes up
some_rows = st.lists(
    st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=9), st.integers(0, 4), st.integers(0, 3)),
    min_size=1,
    max_size=8,
).map(lambda many: [row(ids, trained, f"t{trace}", i) for i, (ids, trained, trace) in enumerate(many)])


def test_a_tree_that_can_be_checked_by_eye() -> None:
    tree = build_tree([row([5, 6, 7, 8], 2), row([5, 6, 9], 1), row([5, 6, 7], 1)])
    assert tree.tokens.tolist() == [5, 6, 7, 8, 9]
    assert tree.positions.tolist() == [0, 1, 2, 3, 2]
    assert tree.parents.tolist() == [-1, 0, 1, 2, 1]
    assert tree.ends.tolist() == [5, 5, 4, 4, 5]
    assert tree.weights.tolist() == [0, 0, 2, 1, 1]
    assert [path.tolist() for path in tree.paths] == [[0, 1, 2, 3], [0, 1, 4], [0, 1, 2]]
    assert [(s.start, s.end, s.ancestors) for s in tree.segments] == [(0, 2, ()), (2, 4, ((0, 2),)), (4, 5, ((0, 2),))]


@given(some_rows)
def test_each_distinct_prefix_is_one_node_and_each_row_a_path(rows: list[Row]) -> None:
    tree = build_tree(rows)
    prefixes = {tuple(r.input_ids[: n + 1].tolist()) for r in rows for n in range(len(r))}
    assert len(tree) == len(prefixes) == tree_size(rows)
    for r, path in zip(rows, tree.paths, strict=True):
        assert tree.tokens[path].tolist() == r.input_ids.tolist()
        assert tree.positions[path].tolist() == list(range(len(r)))
        assert tree.parents[path].tolist() == [-1, *path[:-1].tolist()]
    assert tree.total_weight == pytest.approx(sum(float(r.weights.sum()) for r in rows))


def test_building_takes_memory_for_distinct_tokens_not_for_all_of_the_rows() -> None:
    """A trace of sixteen times the steps has 16 times the distinct tokens, and its rows have 256 times as many."""

    def bytes_a_token(steps: int) -> float:
        rows = [row([*range(100 * n), 9_000_000], 1) for n in range(1, steps + 1)]
        tracemalloc.start()
        (tree,) = plan_step(rows, 10**9)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert tree.tokens_unrolled == sum(map(len, rows))
        return peak / len(tree)

    bytes_a_token(8)  # what is imported or kept by the first
    assert bytes_a_token(128) < 1.3 * bytes_a_token(8) < 200


@given(some_rows)
def test_ends_and_segments_let_a_token_see_exactly_what_leads_to_it(rows: list[Row]) -> None:
    tree = build_tree(rows)
    above = []
    for node in range(len(tree)):
        parent = int(tree.parents[node])
        above.append({node} | (above[parent] if parent >= 0 else set()))
    for q in range(len(tree)):
        assert above[q] == {k for k in range(q + 1) if q < tree.ends[k]}
    covered = []
    for segment in tree.segments:
        for q in range(segment.start, segment.end):
            seen = {k for start, end in segment.keys for k in range(start, end)}
            assert above[q] == {k for k in seen if k <= q}
            covered.append(q)
    assert covered == list(range(len(tree)))


@given(some_rows, st.integers(1, 30))
def test_packing_stays_within_the_budget_unless_one_row_alone_is_over_it(rows: list[Row], budget: int) -> None:
    trees = plan_step(rows, budget)
    assert all(len(tree) <= budget or len(tree) == max(map(len, tree.paths)) for tree in trees)
    packed = sorted(tuple(tree.tokens[path].tolist()) for tree in trees for path in tree.paths)
    assert packed == sorted(tuple(r.input_ids.tolist()) for r in rows)
    assert sum(tree.total_weight for tree in trees) == pytest.approx(sum(float(r.weights.sum()) for r in rows))


@given(some_rows, st.integers(1, 30))
def test_no_other_way_to_cut_sorted_rows_computes_less(rows: list[Row], budget: int) -> None:
    order = sorted(rows, key=lambda r: r.input_ids.tolist())
    least = None
    for cuts in range(2 ** (len(rows) - 1)):
        bounds = [0, *(i + 1 for i in range(len(rows) - 1) if cuts >> i & 1), len(rows)]
        groups = [order[a:b] for a, b in pairwise(bounds)]
        sizes = [tree_size(group) for group in groups]
        if all(size <= max(budget, *map(len, group)) for size, group in zip(sizes, groups, strict=True)):
            least = min(least or (sum(sizes), len(groups)), (sum(sizes), len(groups)))
    trees = plan_step(rows, budget)
    assert (sum(map(len, trees)), len(trees)) == least


def test_a_long_trace_is_one_tree_unless_told_otherwise() -> None:
    rows = [row([*range(n), *[9_000] * 100], 10) for n in range(900, 4_900, 1_000)]
    assert (token_budget(rows), token_budget(rows[:1])) == (3_900 + 4 * 100, 4_000)
    apart = [row([n, *range(n)], 10) for n in range(900, 4_900, 1_000)]
    assert token_budget(apart) == 2 * 3_901
    assert [len(tree) for tree in plan_step(rows)] == [3_900 + 4 * 100]
    assert sorted(len(tree) for tree in plan_step(rows, 2_500)) == [1_900 + 2 * 100, 3_000, 4_000]


def test_rows_of_one_trace_stay_together() -> None:
    rows = unrolled(traces=6)
    trees = plan_step(rows, tree_tokens=150)
    traces = [{r.trace_id for r in rows if any(_is(r, tree, path) for path in tree.paths)} for tree in trees]
    assert len(trees) > 1
    assert sum(map(len, traces)) == 6


def _is(r: Row, tree: object, path: object) -> bool:
    return tree.tokens[path].tolist() == r.input_ids.tolist()  # type: ignore[attr-defined]


def test_an_epoch_holds_each_trace_once_in_an_order_that_the_seed_fixes() -> None:
    rows = unrolled(traces=10)
    steps = plan_steps(rows, rows_per_step=8, epochs=2, seed=3)
    assert [len(step) for step in steps] == [8] * 10
    order = [row.trace_id for step in steps for row in step]
    assert sorted(order[:40]) == sorted(order[40:]) == sorted(row.trace_id for row in rows)
    assert order[:40] != order[40:]
    assert order == [row.trace_id for step in plan_steps(rows, 8, 2, 3) for row in step]
    assert order != [row.trace_id for step in plan_steps(rows, 8, 2, 4) for row in step]


@pytest.mark.parametrize("ids, weights", [([], []), ([4, 5], [1.0, 0.0]), ([4, 5], [0.0])])
def test_what_is_no_row_is_refused_by_name(ids: list[int], weights: list[float]) -> None:
    with pytest.raises(TutelageError, match='Step 3 of trace "abc"'):
        build_tree([Row(np.array(ids, np.int64), np.array(weights, np.float32), "abc", 3)])


def test_of_a_mixed_dataset_an_epoch_takes_its_weights_share_and_the_next_goes_on() -> None:
    own, other = unrolled(traces=4), unrolled(traces=6, seed=1)
    halves = plan_steps(own, 8, epochs=2, seed=3, mixed=[Mixed(other, 0.5)])
    taken = [
        [row.trace_id for step in steps for row in step if row.trace_id.startswith("0/") and row.step == 0]
        for steps in (halves[: len(halves) // 2], halves[len(halves) // 2 :])
    ]
    assert [len(half) for half in taken] == [3, 3]
    assert sorted(taken[0] + taken[1]) == sorted(f"0/trace-{i}" for i in range(6))
    assert sum(row.trace_id == "trace-1" for step in halves for row in step) == 2 * 4
    twice = plan_steps(own, 8, epochs=1, seed=3, mixed=[Mixed(other, 2.0)])
    assert sum(row.trace_id == "0/trace-1" for step in twice for row in step) == 2 * 4
    again = plan_steps(own, 8, epochs=2, seed=3, mixed=[Mixed(other, 0.5)])
    assert [[row.trace_id for row in step] for step in again] == [[row.trace_id for row in step] for step in halves]


def test_at_most_so_many_rows_are_whole_traces_and_one_at_least() -> None:
    rows = unrolled(traces=6)
    some = at_most(rows, 10, seed=0)
    assert len(some) == 8 and len({row.trace_id for row in some}) == 2
    assert len(at_most(rows, 1, seed=0)) == 4
    assert at_most(rows, None, seed=0) == rows
