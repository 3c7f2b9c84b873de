"""Reasoning that is missing or mixed."""

import json
from pathlib import Path
from typing import Any

import pytest
from dataset_examples import SETTINGS, Record, conversation, make_project
from endpoint_double import endpoint_double, fails, says

from tutelage.dataset import build, read_rows
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.render.student import embedded_gguf, load_tokenizer
from tutelage.store import TraceStore
from tutelage.trace import Message, Step, StopReason, Verdict, now
from tutelage.world import Reward

EMPTY = "<think>\n\n</think>\n\n"


def without_reasoning(product: str) -> list[Message]:
    return [message.model_copy(update={"reasoning_content": None}) for message in conversation(product)]


def taught(folder: Path) -> list[str]:
    """The text that carries loss, row by row."""
    tokenizer = load_tokenizer(embedded_gguf())
    return [
        tokenizer.decode([id for id, weight in zip(row["input_ids"], row["weights"], strict=True) if weight])
        for row in read_rows(folder, "train")
    ]


def whole(row: dict[str, Any]) -> str:
    return load_tokenizer(embedded_gguf()).decode(row["input_ids"])


def test_a_mixture_is_never_silent(project: Project, store: TraceStore, record: Record, tmp_path: Path) -> None:
    record("P-1")
    record("P-2", messages=without_reasoning("P-2"))
    summary = build(project, store, tmp_path / "out")
    assert summary.reasoning_rows == {"recorded": 2, "none": 2}
    assert "2 (50%) as recorded, 2 (50%) none. Choose with --reasoning" in summary.sentence()
    assert "keep: 2 as recorded, 0 written afterwards, 2 none" in (tmp_path / "out" / "README.md").read_text()
    assert EMPTY + "P-2 costs 12.50.<|im_end|>" in taught(tmp_path / "out")


def test_masked_the_empty_think_block_carries_no_loss(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    record("P-1")
    record("P-2", messages=without_reasoning("P-2"))
    kept = build(project, store, tmp_path / "kept")
    summary = build(project, store, tmp_path / "out", reasoning="mask")
    assert taught(tmp_path / "out") == [
        "<think>\nI look it up.\n</think>\n\n<tool_call>\n"
        '{"name": "price", "arguments": {"product": "P-1"}}\n</tool_call><|im_end|>',
        "<think>\nFound.\n</think>\n\nP-1 costs 12.50.<|im_end|>",
        '<tool_call>\n{"name": "price", "arguments": {"product": "P-2"}}\n</tool_call><|im_end|>',
        "P-2 costs 12.50.<|im_end|>",
    ]
    tokens = [[row["input_ids"] for row in read_rows(tmp_path / name, "train")] for name in ("kept", "out")]
    assert tokens[0] == tokens[1]
    assert summary.train.tokens_trained < kept.train.tokens_trained
    assert "An empty think block carries no loss" in summary.sentence()


def test_off_renders_with_thinking_off_and_the_student_is_served_so(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    record("P-1")
    summary = build(project, store, tmp_path / "out", reasoning="off")
    first, last = read_rows(tmp_path / "out", "train")
    assert whole(first).endswith(
        f"<|im_start|>assistant\n{EMPTY}<tool_call>\n"
        '{"name": "price", "arguments": {"product": "P-1"}}\n</tool_call><|im_end|>'
    )
    assert taught(tmp_path / "out")[1] == "P-1 costs 12.50.<|im_end|>"
    assert "look it up" not in whole(last)
    assert not summary.serving.thinking
    assert "the reasoning of 2 rows was left out" in summary.sentence()


def test_a_student_that_does_not_think_is_said_to_lose_the_reasoning(
    store: TraceStore, record: Record, tmp_path: Path
) -> None:
    project = make_project(tmp_path, SETTINGS + "[student]\nthinking = false\n")
    record("P-1")
    summary = build(project, store, tmp_path / "out")
    assert taught(tmp_path / "out")[1] == "P-1 costs 12.50.<|im_end|>"
    assert "Thinking is off: the reasoning of 2 rows was left out." in summary.sentence()
    assert "2 as recorded, 0 written afterwards, 0 none; left out" in (tmp_path / "out" / "README.md").read_text()


def test_backfilled_reasoning_is_a_revision_that_waits_for_a_reviewer(
    store: TraceStore, record: Record, tmp_path: Path
) -> None:
    with endpoint_double(says("I must look it up.", reasoning="Hm."), says("I can answer now.")) as double:
        teacher = f'[teacher]\nurl = "{double.url}"\nmodel = "open-teacher"\n[collect]\nconcurrency = 1\n'
        project = make_project(tmp_path, SETTINGS + teacher)
        whole_trace = record("P-1")
        id = record("P-2", messages=without_reasoning("P-2"))
        assert build(project, store, None, reasoning="backfill").reasoning_written == 0  # only planned: nobody asked
        assert (double.requests, store.load(id).revision) == ([], 0)
        summary = build(project, store, tmp_path / "out", reasoning="backfill")
    trace = store.load(id)
    assert (trace.revision, trace.verdict) == (1, Verdict.UNDECIDED)
    assert [m.reasoning_content for m in trace.messages if m.role == "assistant"] == [
        "I must look it up.",
        "I can answer now.",
    ]
    assert [m.reasoning_content for m in store.load(id, 0).messages] == [None] * 4
    assert store.load(whole_trace).revision == 0
    assert summary.traces_left_out == {"edited and not approved yet": 1}
    assert (summary.traces, summary.reasoning_written, summary.train.rows) == (2, 1, 2)
    assert "Missing reasoning was written for 1 traces" in summary.sentence()
    told = json.loads(double.requests[0]["messages"][1]["content"])
    assert told["next_message"]["tool_calls"][0]["function"]["name"] == "price"
    assert len(told["conversation"]) == 1  # nothing of what came later
    store.judge(id, 1, Verdict.APPROVED, reviewer="me")
    again = build(project, store, tmp_path / "out")
    assert again.reasoning_rows == {"recorded": 2, "written": 2}
    assert "2 (50%) as recorded, 2 (50%) written afterwards." in again.sentence()


def test_reasoning_that_a_model_gave_in_a_rerun_was_recorded(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    id = record("P-1")
    asked, called, result, answer = conversation("P-1")
    rerun = store.begin_rerun(id, [asked], base=0, model="another", author="ada")
    again = called.model_copy(update={"reasoning_content": "I had better ask."})
    rerun.step(Step(seen=1, started=now(), seconds=0.1), again)
    rerun.message(result)
    rerun.step(Step(seen=3, started=now(), seconds=0.1), answer)
    revision = rerun.finish_rerun(StopReason.ANSWER, Reward(1.0, ""), {})
    store.judge(id, revision, Verdict.APPROVED, reviewer="ada")
    assert build(project, store, tmp_path / "rerun").reasoning_rows == {"recorded": 2}
    edited = [asked, again.model_copy(update={"reasoning_content": "I ask."}), result, answer]
    revision = store.revise(id, edited, base=revision, author="ada", note="")
    store.judge(id, revision, Verdict.APPROVED, reviewer="ada")
    assert build(project, store, tmp_path / "edited").reasoning_rows == {"recorded": 1, "written": 1}


def test_a_teacher_that_explains_nothing_changes_nothing(store: TraceStore, record: Record, tmp_path: Path) -> None:
    id = record("P-1", messages=without_reasoning("P-1"))
    for answer in (says(""), says("<think>a</think>so </think> there"), fails(400, "no")):
        with endpoint_double(answer) as double:
            project = make_project(tmp_path, SETTINGS + f'[teacher]\nurl = "{double.url}"\nmodel = "m"\n')
            with pytest.raises(TutelageError, match="m wrote no reasoning for any of 1 traces"):
                build(project, store, tmp_path / "out", reasoning="backfill")
    assert store.load(id).revision == 0


def test_a_teacher_that_nobody_serves_is_one_sentence(store: TraceStore, record: Record, tmp_path: Path) -> None:
    record("P-1", messages=without_reasoning("P-1"))
    project = make_project(tmp_path, SETTINGS + '[teacher]\nurl = "http://127.0.0.1:9/v1"\nmodel = "m"\n')
    with pytest.raises(TutelageError, match="cannot be reached"):
        build(project, store, tmp_path / "out", reasoning="backfill")


def test_a_way_that_there_is_not_is_named(project: Project, store: TraceStore, tmp_path: Path) -> None:
    with pytest.raises(TutelageError, match="keep, off, mask, backfill"):
        build(project, store, tmp_path / "out", reasoning="drop")
