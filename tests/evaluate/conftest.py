from collections.abc import Iterator
from pathlib import Path

import pytest

from tutelage.store import TraceStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    with TraceStore(f"sqlite:///{tmp_path / 'traces.db'}") as opened:
        yield opened
