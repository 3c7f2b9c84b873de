from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tutelage import machine

Group = Callable[[str, dict[str, str]], None]


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Group:
    """Writes a control group's files; this process is in "/slice/box"."""
    own = tmp_path / "own"
    own.write_text("1:cpu:/elsewhere\n0::/slice/box\n")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(machine, "OWN_CGROUP", own)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)))

    def write(path: str, files: dict[str, str]) -> None:
        folder = tmp_path / "groups" / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)

    return write


def test_a_containers_quota_of_time_limits_the_processors(group: Group) -> None:
    assert machine.processors() == 16
    group("slice/box", {"cpu.max": "max 100000"})
    assert machine.processors() == 16
    group("slice", {"cpu.max": "250000 100000"})
    assert machine.processors() == 3
    group("slice/box", {"cpu.max": "20000 100000"})
    assert machine.processors() == 1


def test_a_containers_limit_of_memory_counts_but_not_the_files_it_has_cached(group: Group) -> None:
    there = psutil.virtual_memory().available
    group("slice/box", {"memory.max": "max\n", "memory.current": "5000\n", "memory.stat": "inactive_file 10\n"})
    assert machine.free_memory() > there / 2
    group("slice", {"memory.max": "9000\n", "memory.current": "6000\n", "memory.stat": "anon 1\ninactive_file 2000\n"})
    assert machine.free_memory() == 5000


def test_where_there_are_no_control_groups_the_machine_is_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "OWN_CGROUP", tmp_path / "none")
    assert machine.processors() >= 1
    assert machine.free_memory() > 1 << 20
