"""Ends the processes of worlds whose run is over: `python reaper.py FOLDER` waits until its standard input closes.

MCP servers that started a browser, put themselves into the background or do not notice that their client is gone would
outlive a run that was killed. They and what they started are known by the world's folder in their environment
(WORLD_VARIABLE). Run as a file: it needs nothing of the package. Linux only; elsewhere it finds nothing.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

VARIABLE = b"TUTELAGE_WORLD="  # world.py's WORLD_VARIABLE
POLL_SECONDS = 0.05
LEAVE_SECONDS = 2.0  # for processes to go by themselves
TERMINATE_SECONDS = 1.0  # from asking to killing
KILL_SECONDS = 1.0


def end_processes(folder: Path, leave_seconds: float = LEAVE_SECONDS) -> None:
    """End every process that has `folder`, or a folder in it, as its world."""
    for number, seconds in ((None, leave_seconds), (signal.SIGTERM, TERMINATE_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        left = processes(folder)
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if number is not None:
                    os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while left and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            left = [pid for pid in left if _belongs(pid, folder)]


def processes(folder: Path) -> list[int]:
    """Ids of the processes, other than this one, that have `folder`, or a folder in it, as their world."""
    ids = (int(entry) for entry in (os.listdir("/proc") if os.path.isdir("/proc") else ()) if entry.isdigit())  # noqa: PTH112, PTH208
    return [pid for pid in ids if pid != os.getpid() and _belongs(pid, folder)]


def _belongs(pid: int, folder: Path) -> bool:
    """A process that has ended, or is nobody's to wait for yet, has no environment any more."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 (all of them are read)
            environment = file.read()
    except OSError:
        return False
    for line in environment.split(b"\0"):
        if line.startswith(VARIABLE):
            world = os.fsdecode(line[len(VARIABLE) :])
            return world == str(folder) or world.startswith(f"{folder}/")
    return False


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends when the run has
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    end_processes(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
