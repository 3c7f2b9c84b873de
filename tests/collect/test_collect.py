import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tutelage.collect import collect
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.scaffold import make_project
from tutelage.store import TraceStore

COLLECT = """
import sys
from pathlib import Path
from tutelage.collect import collect
from tutelage.project import Project
from tutelage.store import TraceStore
project = Project.open(Path(sys.argv[1]))
with TraceStore(project.store_url) as store:
    collect(project, store, on_progress=lambda now: print(now.done, flush=True))
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    make_project(tmp_path / "shop", "shop", seed=0, train_tasks=60, evaluate_tasks=4)
    return Project.open(tmp_path / "shop")


def test_a_killed_collector_repeats_no_finished_task_and_leaves_no_service(project: Project) -> None:
    process = subprocess.Popen([sys.executable, "-c", COLLECT, str(project.folder)], stdout=subprocess.PIPE)
    assert process.stdout
    while int(process.stdout.readline()) < 5:
        pass
    services = children(process.pid)
    assert services
    process.send_signal(signal.SIGKILL)
    process.wait()
    with TraceStore(project.store_url) as store:
        before = {summary.id for summary in store.summaries() if summary.finished}
        assert 5 <= len(before) < 60
        summary = collect(project, store)
        assert (summary.done_before, summary.solved) == (len(before), 60 - len(before))
        finished = [one for one in store.summaries() if one.finished]
        assert before <= {one.id for one in finished}
        assert len(finished) == len({(one.task_id, one.attempt) for one in finished}) == 60
        assert collect(project, store).done_before == 60
    deadline = time.monotonic() + 10
    while any(map(running, services)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(running, services))


def test_a_collector_needs_a_teacher(project: Project) -> None:
    with TraceStore(project.store_url) as store:
        with pytest.raises(TutelageError, match="--teacher-model"):
            collect(project, store, teacher_url="http://127.0.0.1:9/v1")
        with pytest.raises(TutelageError, match=r"http://127\.0\.0\.1:9/v1 cannot be reached"):
            collect(project, store, teacher_url="http://127.0.0.1:9/v1", teacher_model="m", limit=2)
        assert store.finished("collect") == set()


def children(pid: int) -> list[int]:
    """All processes below `pid`."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except FileNotFoundError:
                continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
