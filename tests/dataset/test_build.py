"""What a build keeps, what it leaves out, and what it writes."""

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from dataset_examples import SETTINGS, Record, conversation, make_project

from tutelage.dataset import build, read_rows, read_summary
from tutelage.dataset import write as writing
from tutelage.dataset.published import take_published
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.render.student import embedded_gguf, load_template, load_tokenizer
from tutelage.store import TraceStore
from tutelage.trace import Message, StopReason, Task, ToolCall, Verdict

COLUMNS = [
    *("id", "timestamp", "model", "messages", "tools"),
    *("task_id", "kind", "trace_id", "revision", "step", "reward", "reasoning_written", "input_ids", "weights"),
]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [*read_rows(folder, "train"), *read_rows(folder, "validation")]


def test_a_row_ends_with_the_one_message_that_carries_loss(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    record("P-1")
    summary = build(project, store, tmp_path / "out")
    found = rows(tmp_path / "out")
    tokenizer = load_tokenizer(embedded_gguf())
    taught = [
        tokenizer.decode([id for id, weight in zip(row["input_ids"], row["weights"], strict=True) if weight])
        for row in found
    ]
    assert taught == [
        "<think>\nI look it up.\n</think>\n\n<tool_call>\n"
        '{"name": "price", "arguments": {"product": "P-1"}}\n</tool_call><|im_end|>',
        "<think>\nFound.\n</think>\n\nP-1 costs 12.50.<|im_end|>",
    ]
    assert [row["messages"][-1]["role"] for row in found] == ["assistant", "assistant"]
    assert list(found[0]) == COLUMNS
    assert json.loads(found[0]["tools"])[0]["function"]["name"] == "price"
    assert found[0]["messages"][-1]["tool_calls"][0]["function"]["arguments"] == '{"product": "P-1"}'
    assert summary.tools == {"price": 1}
    assert summary.train.rows == 2
    assert summary.tokens_unrolled == sum(len(row["input_ids"]) for row in found)


def test_the_tree_counts_each_distinct_prefix_once(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    for number in range(5):
        record(f"P-{number}")
    summary = build(project, store, tmp_path / "out")
    prefixes = {
        tuple(row["input_ids"][: end + 1])
        for row in read_rows(tmp_path / "out", "train")
        for end in range(len(row["input_ids"]))
    }
    assert summary.tokens_tree == len(prefixes) < summary.tokens_unrolled


def test_each_trace_left_out_is_counted_by_its_reason(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    record("good")
    record("bad", reward=0.5)
    store.judge(record("approved", reward=0.0), 0, Verdict.APPROVED, reviewer="me")
    store.judge(record("rejected"), 0, Verdict.REJECTED, reviewer="me")
    record("unjudged", reward=None)
    record("unfinished", stop_reason=None)
    record("good", task=Task(id="z-other", turns=("What does good cost?",)))  # the same messages
    summary = build(project, store, tmp_path / "out")
    assert summary.traces == 7
    assert summary.traces_kept == 2
    assert summary.traces_left_out == {
        "neither reward nor approval": 1,
        "not finished": 1,
        "rejected": 1,
        "reward below 1": 1,
        "same messages as another trace": 1,
    }
    assert {row["task_id"] for row in rows(tmp_path / "out")} == {"task-good", "task-approved"}


def test_evaluation_tasks_are_refused_by_id_and_by_content(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "evaluate.jsonl").write_text(
        json.dumps({"id": "held-out-1", "prompt": "Another question"})
        + "\n"
        + json.dumps({"id": "held-out-2", "prompt": "what does  P-2 cost? "})
    )
    record("P-1", task=Task(id="held-out-1", turns=("What does P-1 cost?",)))
    record("P-2")
    record("P-3")
    summary = build(project, store, tmp_path / "out")
    assert summary.traces_left_out == {"evaluation task": 2}
    assert {row["task_id"] for row in rows(tmp_path / "out")} == {"task-P-3"}


def test_a_build_says_how_many_held_out_tasks_it_was_checked_against(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    record("P-1")
    unchecked = build(project, store, tmp_path / "out")
    assert "No held-out tasks were there to check against" in unchecked.sentence()
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "evaluate.jsonl").write_text('{"id": "held-out", "prompt": "Another question"}')
    checked = build(project, store, tmp_path / "out")
    assert (unchecked.evaluation_tasks, checked.evaluation_tasks) == (None, 1)
    assert "Checked against 1 held-out tasks." in checked.sentence()
    assert "- Checked against 1 held-out tasks." in (tmp_path / "out" / "README.md").read_text()


def test_of_a_conversation_that_was_imported_a_beginning_in_common_with_a_held_out_task_is_enough(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    """Nobody knows its setup, nor whether it is the whole of a task; what our own agent collected is compared whole."""
    (tmp_path / "tasks").mkdir()
    held_out = [
        {"id": "one", "prompt": "A lamp?", "setup": {"lamps": 1}},
        {"id": "two", "turns": ["A cup?", "Blue?"], "setup": {"cups": 1}},
    ]
    (tmp_path / "tasks" / "evaluate.jsonl").write_text("\n".join(map(json.dumps, held_out)))
    asked = {"longer": ("a lamp?", "And two?"), "shorter": ("A  cup?",), "other": ("A cup?", "Red?"), "end": ("Blue?",)}
    for name, turns in asked.items():
        record(name, task=Task(id=name, turns=turns), run="import", metadata={"imported": {"file": "x"}})
    record("collected", task=Task(id="collected", turns=("A lamp?",), setup={"lamps": 2}))
    summary = build(project, store, tmp_path / "out")
    assert summary.evaluation_refused == 2
    assert {row["task_id"] for row in rows(tmp_path / "out")} == {"other", "end", "collected"}


def test_a_message_that_was_cut_off_is_not_taught(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    record("by the step", finish_reasons=["stop", "length"])
    record("by the trace", stop_reason=StopReason.TOKEN_LIMIT)
    summary = build(project, store, tmp_path / "out")
    assert [row["step"] for row in rows(tmp_path / "out")] == [0, 0]
    assert summary.rows_left_out == {
        "a message that was cut off": 1,
        "the last message before a limit of tokens": 1,
    }


def test_what_a_reviewer_wrote_is_taught_once_approved(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    """Also in the place of a message that was cut off; until then the original's reward keeps nothing."""
    id = record("P-1", stop_reason=StopReason.TOKEN_LIMIT, finish_reasons=["stop", "length"])
    messages = [*conversation("P-1")[:-1], Message(role="assistant", content="It is 12.50.")]
    revision = store.revise(id, messages, base=0, author="me", note="")
    with pytest.raises(TutelageError, match="1 edited and not approved yet"):
        build(project, store, tmp_path / "out")
    store.judge(id, revision, Verdict.APPROVED, reviewer="me")
    summary = build(project, store, tmp_path / "out")
    assert [row["messages"][-1]["content"] for row in rows(tmp_path / "out")] == ["", "It is 12.50."]
    assert summary.task_ids == ["task-P-1"] and len(summary.task_contents) == 1


def test_a_build_killed_between_its_renames_is_not_lost(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    id = record("P-1")
    build(project, store, tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / ".out.old")
    store.judge(id, 0, Verdict.REJECTED, reviewer="me")
    with pytest.raises(TutelageError, match="1 rejected"):
        build(project, store, tmp_path / "out")
    assert read_summary(tmp_path / "out").train.rows == 2
    assert not (tmp_path / ".out.old").exists()


def test_a_message_for_context_only_stays_in_the_history(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    messages = conversation("P-1")
    messages[1] = messages[1].model_copy(update={"weight": 0.0})
    record("P-1", messages=messages)
    build(project, store, tmp_path / "out")
    (row,) = rows(tmp_path / "out")
    assert row["step"] == 1
    assert len(row["messages"]) == 4


def test_rows_that_make_no_training_example_are_counted(store: TraceStore, record: Record, tmp_path: Path) -> None:
    project = make_project(tmp_path, SETTINGS + "max_length = 300\n")
    messages = conversation("P-1")
    messages[2] = messages[2].model_copy(update={"content": "long " * 200})
    first = record("P-1", messages=messages)
    wrong = ToolCall(id="c", name="price", arguments="{")
    second = record(
        "P-2",
        messages=[
            Message(role="user", content="hello"),
            Message(role="assistant", content="Hello!"),
            Message(role="user", content="What does it cost?"),
            Message(role="assistant", tool_calls=(wrong,)),
        ],
    )
    summary = build(project, store, tmp_path / "out")
    assert summary.train.rows == 2
    assert summary.rows_left_out == {
        "arguments or a tool that are not valid JSON": 1,
        "longer than 300 tokens": 1,
    }
    assert summary.left_out_first == {
        "arguments or a tool that are not valid JSON": [f"{second} step 1"],
        "longer than 300 tokens": [f"{first} step 1"],
    }


def test_each_row_and_trace_left_out_is_named_with_its_reason(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    wrong = ToolCall(id="c", name="price", arguments='{"product": ')
    messages = [*conversation("P-1"), Message(role="user", content="Again."), Message(role="assistant", content="")]
    messages[1] = messages[1].model_copy(update={"tool_calls": (wrong,)})
    named = {name: record(name) for name in ("P-2", "P-3")}
    named["P-1"] = record("P-1", messages=messages)
    named["bad"] = record("bad", reward=0.0)
    named["same"] = record("P-2", task=Task(id="z", turns=("What does P-2 cost?",)))
    build(project, store, tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "left_out.jsonl").read_text().splitlines()]
    invalid = "arguments or a tool that are not valid JSON"
    assert [(line["trace_id"], line["step"], line["reason"]) for line in lines] == [
        (named["bad"], None, "reward below 1"),
        (named["P-1"], 0, invalid),
        (named["P-1"], 1, invalid),  # which stands in its history
        (named["P-1"], 2, invalid),
        (named["P-1"], None, "no row could be made"),
        (named["same"], None, "same messages as another trace"),
    ]
    assert lines[1]["detail"] == 'arguments of "price": \'{"product": \'' and lines[1]["revision"] == 0


def test_a_task_is_in_one_split_only(project: Project, store: TraceStore, record: Record, tmp_path: Path) -> None:
    for number in range(25):
        for attempt in range(2):
            record(f"P-{number}-{attempt}", attempt=attempt, task=Task(id=f"t{number}", turns=(str(number),)))
    summary = build(project, store, tmp_path / "out")
    train, validation = (
        {row["task_id"] for row in read_rows(tmp_path / "out", split)} for split in ("train", "validation")
    )
    assert not train & validation
    assert (len(train), len(validation)) == (summary.train.tasks, summary.validation.tasks) == (23, 2)


def test_tasks_with_one_content_are_in_one_split(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    """Also where only a chain of shared ids and contents links them."""
    for number in range(30):
        for id in (f"a{number}", f"b{number}"):
            record(f"{id}", task=Task(id=id, turns=(f"  QUESTION {number}" if id[0] == "a" else f"question {number}",)))
        record(f"c{number}", attempt=1, task=Task(id=f"b{number}", turns=(f"Reworded {number}",)))
    build(project, store, tmp_path / "out")
    splits = [
        {int(row["task_id"][1:]) for row in read_rows(tmp_path / "out", split)} for split in ("train", "validation")
    ]
    assert [len(numbers) for numbers in splits] == [27, 3] and not splits[0] & splits[1]


def test_an_imported_trace_is_in_one_split_with_what_was_collected_of_the_same_prompt(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    """Whatever was set up for the one that was collected: nobody knows what was for the other."""
    for number in range(30):
        task = Task(id=f"a{number}", turns=(f"Question {number}",), setup={"number": number})
        record(f"a{number}", task=task)
        imported = Task(id=f"b{number}", turns=(f"question {number} ",))
        record(f"b{number}", task=imported, run="import", metadata={"imported": {"file": "x"}})
    build(project, store, tmp_path / "out")
    splits = [
        {int(row["task_id"][1:]) for row in read_rows(tmp_path / "out", split)} for split in ("train", "validation")
    ]
    assert [len(numbers) for numbers in splits] == [27, 3] and not splits[0] & splits[1]


def test_the_same_store_gives_the_same_bytes(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    """Also in processes whose sets have another order."""
    for number in range(25):
        record(f"P-{number}")
    builds = []
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-m", "tutelage", "dataset", "build", "-p", str(tmp_path)]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": hash_seed})
        builds.append({path.name: path.read_bytes() for path in (tmp_path / "dataset").iterdir()})
        shutil.rmtree(tmp_path / "dataset")
    tables = [f"{split}{kind}.parquet" for split in ("train", "validation") for kind in ("-pairs", "")]
    names = ["README.md", "build.json", "left_out.jsonl", "serving.json", "template.jinja", *tables]
    assert sorted(builds[0]) == names and builds[0] == builds[1]


def test_a_template_that_names_the_date_is_told_the_same_whenever_the_dataset_is_built(
    store: TraceStore, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = load_template("qwen3", tmp_path)
    (tmp_path / "dated.jinja").write_text("{{ date_string }}, {{ strftime_now('%Y-%m-%d %H:%M') }}\n" + template)
    project = make_project(tmp_path, SETTINGS + '[student]\ntemplate = "dated.jinja"\n')
    newest = max(store.load(record(product)).timestamp for product in ("P-1", "P-2"))
    first = build(project, store, tmp_path / "first")

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Later":
            return cls(2100, 1, 2, 3, 4)

    monkeypatch.setattr("tutelage.render.template.datetime", Later)
    build(project, store, tmp_path / "later")
    files = ("train.parquet", "build.json")
    assert all((tmp_path / "first" / name).read_bytes() == (tmp_path / "later" / name).read_bytes() for name in files)
    assert first.day == newest.date()
    text = load_tokenizer(embedded_gguf()).decode(rows(tmp_path / "first")[0]["input_ids"])
    assert text.startswith(f"{newest:%d %b %Y}, {newest:%Y-%m-%d} 00:00")
    take_published(project, str(tmp_path / "first"), tmp_path / "back")
    assert read_summary(tmp_path / "back").day == first.day


def test_only_the_named_runs_are_read(project: Project, store: TraceStore, record: Record, tmp_path: Path) -> None:
    record("P-1")
    record("P-2", run="evaluate-before")
    summary = build(project, store, tmp_path / "out", runs=["collect"])
    assert (summary.traces, summary.runs) == (1, ["collect"])


def test_with_nothing_to_train_on_the_reasons_are_named(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    with pytest.raises(TutelageError, match="holds no trace"):
        build(project, store, tmp_path / "out")
    record("P-1", reward=0.0)
    record("P-2", reward=None)
    with pytest.raises(TutelageError, match=r"None of the 2 traces .*1 neither reward nor approval, 1 reward below 1"):
        build(project, store, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failed_build_leaves_the_older_one_as_it_was(
    project: Project, store: TraceStore, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record("P-1")
    build(project, store, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    record("P-2")
    with monkeypatch.context() as patch:
        patch.setattr(writing.RowWriter, "add", no_room)
        with pytest.raises(TutelageError, match=r"could not be written: No space left on device"):
            build(project, store, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert build(project, store, tmp_path / "out").train.rows == 4
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_folder_that_is_no_build_is_not_overwritten(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    record("P-1")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(TutelageError, match="holds no build of a dataset"):
        build(project, store, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_datasets_loads_the_folder_by_its_card(
    project: Project, store: TraceStore, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    for number in range(25):
        record(f"P-{number}")
    summary = build(project, store, tmp_path / "out")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in loaded.items()} == {
        "train": summary.train.rows,
        "validation": summary.validation.rows,
    }
    assert {"id", "timestamp", "model", "messages", "tools"} <= set(loaded["train"].column_names)


def test_a_build_that_cannot_be_read_is_one_sentence(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    with pytest.raises(TutelageError, match=r"holds no dataset\. Run `tutelage dataset build` first"):
        read_summary(tmp_path)
    record("P-1")
    build(project, store, tmp_path / "out")
    assert read_summary(tmp_path / "out").train.rows == 2
    table = pq.read_table(tmp_path / "out" / "train.parquet").drop_columns(["weights"])
    pq.write_table(table, tmp_path / "out" / "train.parquet")
    with pytest.raises(TutelageError, match="lacks the columns weights"):
        list(read_rows(tmp_path / "out", "train"))
    (tmp_path / "out" / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(TutelageError, match="cannot be read"):
        list(read_rows(tmp_path / "out", "train"))
    shutil.rmtree(tmp_path / "out")
