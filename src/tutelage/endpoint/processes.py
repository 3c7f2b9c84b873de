"""Child processes that never outlive their parent, and the last lines of what they complained about."""

import os
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

QUOTED_LINES = 12
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # what we start listens on this machine
GUARD = Path(__file__).with_name("guard.py")  # run as a file: it needs nothing of the package, and starts faster
STOP_SECONDS = 5.0  # for a child to leave by itself once its stdin is closed; the guard takes up to 3 s of it


class ChildProcess:
    """A process that ends with its parent in every case, `kill -9` of the parent included.

    It watches its standard input, a pipe whose other end only the parent holds: the kernel closes it when the parent
    dies. Programs that do not watch it themselves run under guard.py, which does it for them.
    The process is in a session of its own, so Ctrl-C in a terminal reaches the parent alone.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        guarded: bool,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        log: Path | None = None,
    ) -> None:
        """Raises FileNotFoundError or PermissionError where the command cannot be run (not for a guarded one)."""
        self._log: IO[bytes] = log.open("w+b") if log else tempfile.TemporaryFile()  # noqa: SIM115
        prefix = [sys.executable, "-I", str(GUARD), "--"] if guarded else []
        self.process = subprocess.Popen(
            [*prefix, *command],
            stdin=subprocess.PIPE,
            stdout=self._log if guarded else subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )

    def last_lines(self, count: int = QUOTED_LINES) -> str:
        """The end of what the process wrote to its standard error."""
        return last_lines(self._log, count)

    def exited(self) -> bool:
        return self.process.poll() is not None

    def close(self) -> None:
        """End the process and reap it."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        self._log.close()


def end_with_parent() -> None:
    """End this process at once when its standard input, a pipe that only the parent holds, is closed."""

    def watch() -> None:
        while os.read(0, 4096):  # not sys.stdin: its lock would be held when the interpreter ends
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def last_lines(file: IO[bytes], count: int = QUOTED_LINES) -> str:
    """The last `count` lines of a file that another process may still write to."""
    size = os.fstat(file.fileno()).st_size
    start = max(0, size - 16_000)
    text = os.pread(file.fileno(), size - start, start).decode(errors="replace")
    return "\n".join([line.rstrip() for line in text.splitlines() if line.strip()][-count:])
