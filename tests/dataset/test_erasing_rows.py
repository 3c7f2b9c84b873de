"""Rows of builds, and adapters, that come from traces which are to be forgotten."""

import shutil
from pathlib import Path

from dataset_examples import SETTINGS, Record, conversation, make_project

from tutelage.dataset import build, read_rows, read_summary
from tutelage.dataset.erasing import adapters_with, builds_with, erase_rows
from tutelage.dataset.summary import SPLITS
from tutelage.store import TraceStore


def test_the_rows_of_a_trace_are_erased_and_the_build_is_as_if_it_had_not_been_there(
    store: TraceStore, record: Record, tmp_path: Path
) -> None:
    project = make_project(tmp_path, SETTINGS)
    ids = [record(f"P-{number}", messages=conversation(f"P-{number}")) for number in range(24)]
    with_all = build(project, store, tmp_path / "dataset")
    assert with_all.trace_ids == sorted(ids)
    gone = ids[3:5]
    assert builds_with(tmp_path, gone) == [tmp_path / "dataset"] and builds_with(tmp_path, ["f" * 32]) == []
    rows = {split: list(read_rows(tmp_path / "dataset", split)) for split in SPLITS}
    erased = erase_rows(tmp_path / "dataset", gone)
    for split in SPLITS:
        left = [row for row in rows[split] if row["trace_id"] not in gone]
        assert list(read_rows(tmp_path / "dataset", split)) == left
    assert erased == sum(row["trace_id"] in gone for split in SPLITS for row in rows[split]) == 4
    summary = read_summary(tmp_path / "dataset")
    assert (summary.traces_kept, summary.erased) == (22, 2)
    assert summary.trace_ids == sorted(set(ids) - set(gone))
    assert summary.tokens_tree < with_all.tokens_tree
    assert {file.name for file in (tmp_path / "dataset").iterdir()} >= {"serving.json", "template.jinja", "README.md"}
    assert builds_with(tmp_path, gone) == []


def test_adapters_that_were_trained_on_a_trace_are_named(store: TraceStore, record: Record, tmp_path: Path) -> None:
    project = make_project(tmp_path, SETTINGS)
    id, other = record("P-1"), record("P-2", reward=0.0)
    build(project, store, tmp_path / "dataset")
    adapter = tmp_path / "training" / "adapter"
    adapter.mkdir(parents=True)
    shutil.copyfile(tmp_path / "dataset" / "build.json", adapter / "build.json")  # as training does
    assert adapters_with(tmp_path, [id]) == []  # no adapter is there yet
    (adapter / "adapter_config.json").write_text("{}")
    assert adapters_with(tmp_path, [id]) == [adapter]
    erase_rows(tmp_path / "dataset", [id])
    assert adapters_with(tmp_path, [id]) == [adapter]
    assert adapters_with(tmp_path, [other]) == []


def test_what_a_build_says_of_a_trace_that_it_left_out_is_erased_too(
    store: TraceStore, record: Record, tmp_path: Path
) -> None:
    record("P-1")
    bad, worse = record("bad", reward=0.0), record("worse", reward=0.0)
    build(make_project(tmp_path, SETTINGS), store, tmp_path / "dataset")
    assert builds_with(tmp_path, [bad]) == [tmp_path / "dataset"]
    assert erase_rows(tmp_path / "dataset", [bad]) == 0
    assert builds_with(tmp_path, [bad]) == [] and builds_with(tmp_path, [worse]) == [tmp_path / "dataset"]
    summary = read_summary(tmp_path / "dataset")
    assert (summary.left_out_first, summary.erased) == ({"reward below 1": [worse]}, 0)
    assert bad not in "".join(file.read_text() for file in (tmp_path / "dataset").glob("*.json*"))
