"""A short way to curate the store."""

import sys
from pathlib import Path

import pytest

# store_examples.py, secret_corpus.py
sys.path.extend(str(Path(__file__).parents[1] / folder) for folder in ("store", "secrets"))

from curate_examples import Curate

from tutelage.curate import curate
from tutelage.curate.report import CurationReport
from tutelage.project import Project
from tutelage.store import TraceStore


@pytest.fixture
def curated(tmp_path: Path, store: TraceStore) -> Curate:
    """Curates the run "r" of the store by the given steps of tutelage.toml."""

    def run(steps: str, *, dry_run: bool = False) -> CurationReport:
        (tmp_path / "tutelage.toml").write_text(f'name = "lamps"\n{steps}')
        return curate(Project.open(tmp_path), store, runs=["r"], dry_run=dry_run)

    return run
