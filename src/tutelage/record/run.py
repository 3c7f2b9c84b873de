"""`tutelage record`: the proxy in this process, the recorder in another one."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from tutelage.endpoint.processes import ChildProcess
from tutelage.endpoint.proxy import serve
from tutelage.record.drain import FINISH, DrainSettings
from tutelage.record.spool import Spool

RUN = "record"
IDLE_SECONDS = 1800.0
SPOOL = "recordings"  # a folder of the project
FINISH_SECONDS = 120.0  # for the recorder to drain the spool at the end
RESTART_SECONDS = 2.0


def run_record(
    upstream: str,
    store: str,
    spool: Path,
    *,
    host: str,
    port: int,
    run: str = RUN,
    idle: float = IDLE_SECONDS,
    on_ready: Callable[[str], None],
    on_note: Callable[[str], None],
) -> None:
    """Proxy and record until Ctrl-C. `store` is its URL; `on_note` gets what the recorder has to say.

    Raises TutelageError where the port is taken, or another proxy uses the spool.
    """
    from tutelage.record.proxy import proxy

    place = Spool(spool, run)
    with place.locked("proxy", wait=False):
        place.clean()
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # it ends as with Ctrl-C
        recorder = RecorderProcess(DrainSettings(store=store, run=run, spool=spool.resolve(), idle=idle), on_note)
        try:
            serve(proxy(upstream, place), host, port, on_ready)
        finally:
            recorder.finish()


class RecorderProcess:
    """The recorder, started again where it ends by itself."""

    def __init__(self, settings: DrainSettings, on_note: Callable[[str], None]) -> None:
        self._settings, self._on_note = settings, on_note
        self._finishing = threading.Event()
        self._child = self._start()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Let it drain the spool and finish the traces."""
        self._finishing.set()
        try:
            stdin = self._child.process.stdin
            assert stdin
            stdin.write(f"{FINISH}\n".encode())
            stdin.flush()
            self._child.process.wait(FINISH_SECONDS)
        except (BrokenPipeError, ValueError, subprocess.TimeoutExpired):  # ValueError: it ended, and is being closed
            pass  # what it has not done yet stays in the spool
        self._thread.join(1.0)
        self._child.close()

    def _start(self) -> ChildProcess:
        child = ChildProcess([sys.executable, "-m", "tutelage.record.drain"], guarded=False)
        assert child.process.stdin
        child.process.stdin.write(self._settings.model_dump_json().encode() + b"\n")
        child.process.stdin.flush()
        return child

    def _follow(self) -> None:
        while True:
            assert self._child.process.stdout
            for line in self._child.process.stdout:
                self._on_note(line.decode(errors="replace").rstrip())
            if self._finishing.wait(RESTART_SECONDS):
                return
            self._on_note(f"The recorder ended and is started again. Its last lines:\n{self._child.last_lines()}")
            self._child.close()
            self._child = self._start()
