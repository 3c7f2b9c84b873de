from pathlib import Path

import evaluation_examples as examples
import pytest

from tutelage.errors import TutelageError
from tutelage.evaluate.evaluation import Evaluation
from tutelage.store import TraceStore


def test_an_evaluation_is_read_as_it_was_written(store: TraceStore, tmp_path: Path) -> None:
    made = examples.evaluation(store, 20)
    made.write(tmp_path / "out")
    assert Evaluation.read(tmp_path / "out") == made
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["evaluation.json"]


def test_the_comparison_pairs_by_task(store: TraceStore) -> None:
    made = examples.evaluation(store, 60)
    before, after = made.variants["before"], made.variants["after"]
    table = made.comparisons[0].table
    assert (before.solved, after.solved) == (1, 56)
    assert table.total == 60 and table.both + table.lost == 1 and table.both + table.gained == 56
    low, high = made.comparisons[0].interval
    assert 0.75 < low < made.comparisons[0].difference < high <= 1


def test_a_missing_evaluation_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(TutelageError, match="Run `tutelage evaluate` first"):
        Evaluation.read(tmp_path)


def test_a_foreign_file_is_named_with_its_fault(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text('{"project": 3}')
    with pytest.raises(TutelageError, match='"project"'):
        Evaluation.read(tmp_path)
