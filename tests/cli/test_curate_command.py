"""`tutelage curate` on a project folder."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "store"))  # store_examples.py

from store_examples import record_trace
from typer.testing import CliRunner

from tutelage.cli.main import app
from tutelage.project import Project
from tutelage.store import TraceStore

KEY = "ghp_" + "a1B2" * 9


@pytest.fixture
def project(tmp_path: Path) -> Path:
    steps = '[[curate]]\nstep = "reward"\n[[curate]]\nstep = "mask"\n'
    (tmp_path / "tutelage.toml").write_text(f'name = "lamps"\n{steps}')
    with TraceStore(Project.open(tmp_path).store_url) as store:
        record_trace(store, "t1", run="collect", said=f"Use {KEY}.")
        record_trace(store, "t2", run="record", reward=0.0)
        record_trace(store, "t3", run="evaluate", reward=0.0)
    return tmp_path


def test_it_prints_what_each_step_took_out_and_why(project: Path) -> None:
    result = CliRunner().invoke(app, ["curate", "-p", str(project)])
    assert result.exit_code == 0, result.output
    assert "reward below 1" in result.output and "1 masked" in result.output
    assert "1 of 2 traces are left." in result.output  # evaluation runs are not looked at
    assert KEY not in result.output


def test_json_names_every_trace_and_a_dry_run_leaves_the_store_as_it_is(project: Path) -> None:
    result = CliRunner().invoke(app, ["curate", "-p", str(project), "--dry-run", "--json"])
    report = json.loads(result.stdout)
    assert [step["step"] for step in report["steps"]] == ["reward", "mask"]
    assert report["steps"][0]["removed"][0]["detail"] == "its reward is 0, below 1"
    with TraceStore(Project.open(project).store_url) as store:
        assert {summary.revision for summary in store.summaries()} == {0}
        assert list(store.reviews.all_verdicts()) == []
