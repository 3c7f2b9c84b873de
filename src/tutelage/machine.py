"""What of this machine a process may use: in a container, less than there is."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")  # Linux's control groups, version 2: docs.kernel.org/admin-guide/cgroup-v2.html
OWN_CGROUP = Path("/proc/self/cgroup")


def processors() -> int:
    """How many this process may use at once: those it may run on, or the quota of time that its container has."""
    those = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [file.read_text().split() for file in _limits("cpu.max")]  # microseconds of each so many microseconds
    allowed = [math.ceil(int(quota) / int(period)) for quota, period in quotas if quota != "max"]
    return max(1, min([those, *allowed]))


def free_memory() -> int:
    """Bytes that can be had without swapping, or what is left of a container's limit."""
    import psutil

    return max(0, min([int(psutil.virtual_memory().available), *map(_left, _limits("memory.max"))]))


def _left(limit: Path) -> int:
    most = limit.read_text().strip()
    if most == "max":
        return 1 << 62
    used = int(limit.with_name("memory.current").read_text())
    counts = dict(line.split() for line in limit.with_name("memory.stat").read_text().splitlines())
    return int(most) - used + int(counts.get("inactive_file", 0))  # the kernel gives cached files up first


def _limits(name: str) -> Iterator[Path]:
    """The files of that name of the control groups that this process is in, its own first."""
    try:
        lines = OWN_CGROUP.read_text().splitlines()
    except OSError:  # elsewhere than on Linux
        return
    path = next((line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::")), "")
    for folder in ((CGROUPS / path), *(CGROUPS / path).parents):
        if not folder.is_relative_to(CGROUPS):
            return
        if (folder / name).is_file():
            yield folder / name
