import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.world import worlds_folder

HOLD = """from tutelage.world import worlds_folder
with worlds_folder() as folder:
    print(folder, flush=True)
    input()
"""


def held() -> tuple["subprocess.Popen[str]", Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_what_a_killed_run_left_is_removed_by_the_next_and_what_a_living_one_holds_is_not() -> None:
    killed, left = held()
    (left / "world").mkdir()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    living, kept = held()
    assert left.exists() is False
    with worlds_folder() as own:
        assert own.is_dir()
        assert kept.is_dir()
    assert not own.exists()
    living.communicate("")
    assert not kept.exists()
