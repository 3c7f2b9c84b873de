"""`tutelage forget`."""

import json
import sys
from pathlib import Path

import pytest
from test_command_line import refuses, tutelage

sys.path.append(str(Path(__file__).parents[1] / "store"))  # store_examples.py

from store_examples import record_trace

from tutelage.dataset import build
from tutelage.project import Project
from tutelage.scaffold import make_project
from tutelage.store import TraceStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    make_project(folder, "shop", seed=0, train_tasks=4, evaluate_tasks=2)
    project = Project.open(folder)
    with TraceStore(project.store_url) as store:
        for number in range(4):
            record_trace(store, f"t{number}", run="collect", said=f"{number} EUR.")
        build(project, store, folder / "dataset")
    return folder


def traces(folder: Path) -> list[str]:
    with TraceStore(Project.open(folder).store_url) as store:
        return [summary.id for summary in store.summaries()]


def test_a_trace_is_forgotten_once_it_is_confirmed(folder: Path) -> None:
    first, *others = traces(folder)
    refuses(tutelage("forget", first[:12], "-p", folder), "Erase 1 traces with 1 revisions", "--yes")
    tried = tutelage("forget", first[:12], "-p", folder, "--dry-run")
    assert tried.returncode == 0 and "Would erase 1 traces" in tried.stdout
    assert traces(folder) == [first, *others]
    (folder / "recordings").mkdir()
    (folder / "recordings" / "crm.jsonl").write_text("")
    (folder / "recordings" / "unreadable").mkdir()
    for name in ("1.json", "2.json", "unreadable/0.json"):
        (folder / "recordings" / name).write_text("{}")
    done = tutelage("forget", first[:12], "-p", folder, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["traces"], said["builds"], said["adapters"]) == (1, ["dataset"], []) and said["rows"] > 0
    assert said["recordings"] == ["recordings/crm.jsonl"]
    assert said["exchanges"] == {"recordings": 2, "recordings/unreadable": 1}
    assert traces(folder) == others
    told = tutelage("forget", others[0], "-p", folder, "--dry-run").stdout
    assert "were not looked through, and stay: recordings (2), recordings/unreadable (1)." in told
    refuses(tutelage("forget", "-p", folder), "Nothing is named")
    refuses(tutelage("forget", others[0], "--run", "collect", "-p", folder), "not both")
    refuses(tutelage("forget", "--before", "soon", "-p", folder), '"soon" is no date')
    refuses(tutelage("forget", "--before", "2020-01-01", "-p", folder), "No trace is like that")
    assert tutelage("forget", "--run", "collect", "-p", folder, "--yes").returncode == 0
    assert traces(folder) == []
