from collections.abc import Iterator
from pathlib import Path

import pytest

from tutelage.record.spool import Spool
from tutelage.store import TraceStore


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "recordings")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    with TraceStore(f"sqlite:///{tmp_path / 'traces.db'}") as opened:
        yield opened
