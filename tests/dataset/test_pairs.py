"""Pairs of a better and a worse trace, at the step where they part."""

from pathlib import Path

import pyarrow.parquet as pq
from dataset_examples import PRICE, Record, conversation

from tutelage.dataset import build, read_summary
from tutelage.dataset.erasing import builds_with, erase_rows
from tutelage.project import Project
from tutelage.store import Judgement, TraceStore
from tutelage.trace import Message, Task, ToolCall, Verdict
from tutelage.train.rows import load_pairs

TASK = Task(id="task-lamp", turns=("What does lamp cost?",), kind="price")


def wrong_answer(reasoning: str = "") -> list[Message]:
    """As the good conversation, but for its answer; with other reasoning at its first step."""
    first, called, result, answer = conversation("lamp")[-4:]
    before = conversation("lamp")[:-4]
    called = called.model_copy(update={"reasoning_content": reasoning or called.reasoning_content})
    return [*before, first, called, result, answer.model_copy(update={"content": "I do not know."})]


def test_a_rejected_trace_is_paired_with_an_approved_one_where_they_part(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    good = record("lamp", task=TASK)
    bad = record("lamp", task=TASK, attempt=1, reward=None, messages=wrong_answer("I guess."))
    store.reviews.judge([Judgement(good, 0, Verdict.APPROVED), Judgement(bad, 0, Verdict.REJECTED)], reviewer="me")
    summary = build(project, store, tmp_path / "build")
    assert summary.pairs == {"train": 1} and "Pairs for dpo: 1, 0 for validation." in summary.sentence()
    (pair,) = pq.read_table(tmp_path / "build" / "train-pairs.parquet").to_pylist()
    assert (pair["chosen_id"], pair["rejected_id"], pair["said"], pair["step"]) == (good, bad, "verdict", 1)
    assert pair["rejected"]["content"] == "I do not know."
    chosen, rejected = load_pairs(tmp_path / "build" / "train-pairs.parquet")
    first = next(i for i, weight in enumerate(chosen.weights) if weight)
    assert chosen.input_ids[:first].tolist() == rejected.input_ids[:first].tolist()
    assert not rejected.weights[:first].any() and rejected.weights[first:].all()


def test_a_forgotten_traces_pairs_go_with_its_rows(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    record("lamp", task=TASK)
    bad = record("lamp", task=TASK, attempt=1, reward=0.0, messages=wrong_answer())
    built = build(project, store, tmp_path / "build")
    assert built.pair_trace_ids and bad not in built.trace_ids
    assert builds_with(tmp_path, [bad]) == [tmp_path / "build"]
    assert erase_rows(tmp_path / "build", [bad]) == 0
    assert load_pairs(tmp_path / "build" / "train-pairs.parquet") == []
    summary = read_summary(tmp_path / "build")
    assert (summary.pairs, summary.pair_trace_ids, summary.train.rows) == ({}, [], built.train.rows)
    assert builds_with(tmp_path, [bad]) == []


def test_what_failed_by_its_reward_is_worse_and_a_preference_says_so_too(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    good = record("lamp", task=TASK)
    failed = record("lamp", task=TASK, attempt=1, reward=0.0, messages=wrong_answer())
    assert build(project, store, tmp_path / "first").pairs == {"train": 1}
    store.reviews.prefer(TASK.id, (failed, 0), (good, 0), reviewer="me")
    build(project, store, tmp_path / "second")
    (pair,) = pq.read_table(tmp_path / "second" / "train-pairs.parquet").to_pylist()
    assert (pair["said"], pair["chosen_id"]) == ("preference", failed)


def test_histories_that_tell_different_things_make_no_pair(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    record("lamp", task=TASK)
    messages = wrong_answer()
    messages[-2] = messages[-2].model_copy(update={"content": "another result"})
    record("lamp", task=TASK, attempt=1, reward=0.0, messages=messages)
    summary = build(project, store, tmp_path / "build")
    assert summary.pairs == {}
    assert summary.pairs_left_out == {"their histories differ in more than reasoning": 1}
    assert load_pairs(tmp_path / "build" / "train-pairs.parquet") == []


def test_a_worse_trace_is_paired_with_the_better_one_that_it_parts_from_last(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    first, called, result, answer = conversation("lamp")[-4:]
    call = ToolCall(id="other", name=PRICE.name, arguments='{"product": "lamps"}')
    other = [*conversation("lamp")[:-4], first, called.model_copy(update={"tool_calls": (call,)})]
    record("lamp", task=TASK, messages=[*other, result.model_copy(update={"tool_call_id": "other"}), answer])
    near = record("lamp", task=TASK, attempt=1)
    record("lamp", task=TASK, attempt=2, reward=0.0, messages=wrong_answer())
    build(project, store, tmp_path / "build")
    (pair,) = pq.read_table(tmp_path / "build" / "train-pairs.parquet").to_pylist()
    assert pair["chosen_id"] == near


def test_a_preference_on_a_held_out_task_makes_no_pair_and_is_counted(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    held_out = Task(id="held-out", turns=("What does cup cost?",))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "evaluate.jsonl").write_text(held_out.model_dump_json())
    record("lamp", task=TASK)
    better = record("cup", task=held_out)
    worse = record("cup", task=held_out, attempt=1, messages=wrong_answer())
    store.reviews.prefer(held_out.id, (better, 0), (worse, 0), reviewer="me")
    summary = build(project, store, tmp_path / "build")
    assert (summary.pairs, summary.pairs_left_out) == ({}, {"evaluation task": 1})
