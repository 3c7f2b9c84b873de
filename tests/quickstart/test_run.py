"""The quickstart's stages as processes."""

import signal
import subprocess
import sys
import time

from tutelage.quickstart.run import run_and_watch

VERSION = [sys.executable, "-m", "tutelage", "--version"]


def test_a_stage_that_is_watched_ends_as_it_would_alone() -> None:
    code, peak_mb = run_and_watch(VERSION)
    assert code == 0
    assert peak_mb >= 0


def test_a_stage_ends_when_what_started_it_is_killed() -> None:
    sleeper = "from tutelage.endpoint.processes import end_with_parent as e; import time; e(); time.sleep(60)"
    parent = (
        "import subprocess, sys, time; "
        f"p = subprocess.Popen([sys.executable, '-c', {sleeper!r}], stdin=subprocess.PIPE); "
        "print(p.pid, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    for _ in range(100):
        if not _runs(child):
            return
        time.sleep(0.1)
    raise AssertionError("the child outlived its parent")


def _runs(pid: int) -> bool:
    ended = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(ended.stdout.strip()) and not ended.stdout.strip().startswith("Z")
