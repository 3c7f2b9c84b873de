"""Near-duplicates, the best of a task, and balance."""

import pytest
from curate_examples import Curate
from store_examples import record_trace

from tutelage.curate.duplicates import content
from tutelage.curate.report import CurationReport
from tutelage.store import TraceStore
from tutelage.trace import Verdict

LONG = " ".join(f"word{number}" for number in range(200))


def left(store: TraceStore, report: CurationReport) -> list[str]:
    taken = {each.trace for step in report.steps for each in step.removed}
    return [summary.id for summary in store.summaries() if summary.id not in taken]


def test_of_near_duplicates_the_best_stays_and_is_named(store: TraceStore, curated: Curate) -> None:
    low = record_trace(store, "t1", attempt=0, said=LONG, reward=0.5).id
    best = record_trace(store, "t1", attempt=1, said=f"{LONG} end", reward=1.0).id
    other = record_trace(store, "t2", said=LONG[:700]).id
    report = curated('[[curate]]\nstep = "duplicates"\n')
    assert left(store, report) == [best, other]
    (removed,) = report.steps[0].removed
    assert removed.trace == low and best[:10] in removed.detail
    assert best[:10] in store.reviews.verdicts(low)[0].comment


def test_an_approved_trace_stands_for_its_duplicates(store: TraceStore, curated: Curate) -> None:
    approved = record_trace(store, "t1", attempt=0, said=LONG, reward=0.1).id
    record_trace(store, "t1", attempt=1, said=LONG)
    store.judge(approved, 0, Verdict.APPROVED, reviewer="ada")
    assert left(store, curated('[[curate]]\nstep = "duplicates"\n')) == [approved]


def test_reasoning_and_system_prompt_do_not_tell_two_traces_apart(store: TraceStore) -> None:
    one, two = (store.load(record_trace(store, "t", attempt=n, reasoning=f"thought {n}").id) for n in range(2))
    assert content(one) == content(two) and "thought" not in content(one) and "run a shop" not in content(one)


def test_the_estimate_of_similarity_is_near_the_true_one(store: TraceStore, curated: Curate) -> None:
    """Of pairs that share 95 % and 60 % of their groups of words, 0.8 takes the first apart from the second."""
    words = LONG.split()
    record_trace(store, "t", attempt=0, said=" ".join(words), reward=1.0)
    record_trace(store, "t", attempt=1, said=" ".join([*words[:195], *["a", "b", "c", "d", "e"]]), reward=0.9)
    record_trace(store, "t", attempt=2, said=" ".join([*words[:150], *(f"x{n}" for n in range(50))]), reward=0.8)
    report = curated('[[curate]]\nstep = "duplicates"\nthreshold = 0.8\n')
    assert [store.load(each.trace).attempt for each in report.steps[0].removed] == [1]


def test_the_best_of_each_task_stays(store: TraceStore, curated: Curate) -> None:
    for attempt, (reward, steps) in enumerate([(0.5, 2), (1.0, 4), (1.0, 2), (0.0, 2)]):
        record_trace(store, "t1", attempt=attempt, reward=reward, steps=steps)
    record_trace(store, "t2", reward=0.0)
    kept = left(store, curated('[[curate]]\nstep = "best"\n'))
    assert [(trace.task.id, trace.attempt) for trace in map(store.load, kept)] == [("t1", 2), ("t2", 0)]
    kept = left(store, curated('[[curate]]\nstep = "best"\ncount = 2\n'))
    assert [(trace.task.id, trace.attempt) for trace in map(store.load, kept)] == [("t1", 1), ("t1", 2), ("t2", 0)]


def test_a_better_attempt_that_comes_later_takes_the_place(store: TraceStore, curated: Curate) -> None:
    first = record_trace(store, "t", attempt=0, reward=0.5).id
    curated('[[curate]]\nstep = "best"\n')
    second = record_trace(store, "t", attempt=1, reward=1.0).id
    curated('[[curate]]\nstep = "best"\n')
    assert store.load(first).verdict is Verdict.REJECTED
    assert store.load(second).verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("limit", ["most = 4", "ratio = 2"])
def test_kinds_are_balanced(store: TraceStore, curated: Curate, limit: str) -> None:
    for number in range(10):
        record_trace(store, f"many{number}", kind="price")
    for number in range(2):
        record_trace(store, f"few{number}", kind="stock")
    report = curated(f'[[curate]]\nstep = "balance"\n{limit}\n')
    kinds = [store.load(id).task.kind for id in left(store, report)]
    assert (kinds.count("price"), kinds.count("stock")) == (4, 2)
    assert left(store, curated(f'[[curate]]\nstep = "balance"\n{limit}\n')) == left(store, report)


def test_balance_by_tool_takes_no_rare_one_out(store: TraceStore, curated: Curate) -> None:
    for number in range(6):
        record_trace(store, f"many{number}", tool="look")
    record_trace(store, "rare", tool="buy")
    kept = left(store, curated('[[curate]]\nstep = "balance"\nby = "tool"\nmost = 3\n'))
    tools = [store.load(id).messages[2].tool_calls[0].name for id in kept]
    assert (tools.count("look"), tools.count("buy")) == (3, 1)
