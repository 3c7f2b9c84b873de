from pathlib import Path

import pytest

from tutelage.record.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "recordings")
