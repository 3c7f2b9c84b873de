"""`python -m tutelage.record.drain`: the recorder's process, from the spool into the store.

Its first line of input is DrainSettings as JSON. While its input is open it drains; after the line `finish` it finishes
all traces and ends; where the input just closes, since the proxy was killed, it drains what is there and ends, and the
traces stay open for the next one. What it prints is for the user.
"""

import os
import sys
import threading
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import DataError, DBAPIError

from tutelage.dialect import Unreadable
from tutelage.errors import TutelageError
from tutelage.record.recorder import Recorder
from tutelage.record.spool import Spool, Waiting, read
from tutelage.store import TraceStore

POLL_SECONDS = 0.2
RETRY_SECONDS = 2.0  # between two tries to reach a store that fails
FINISH = "finish"
NICE = 5  # the agents' traffic comes first


class DrainSettings(BaseModel):
    model_config = ConfigDict(frozen=True)

    store: str
    run: str  # whose open traces are finished, beside those of the runs for which exchanges wait
    spool: Path
    idle: float  # seconds after which a conversation that nobody goes on with is finished


class Recorders:
    """A recorder for each run: exchanges may have waited since the proxy ran with another one."""

    def __init__(self, store: TraceStore, owner: str) -> None:
        self._store, self._owner = store, owner
        self._recorders: dict[str, Recorder] = {}

    def of(self, run: str) -> Recorder:
        if run not in self._recorders:
            self._recorders[run] = Recorder(self._store, run, self._owner)
        return self._recorders[run]

    def finish(self, rested: float = 0.0) -> int:
        """As of Recorder, in all of them."""
        return sum(recorder.finish(rested) for recorder in self._recorders.values())


class Drain:
    """The recorder's loop, until `ended` is set."""

    def __init__(self, settings: DrainSettings) -> None:
        self.settings = settings
        self.ended = threading.Event()
        self.finishing = False
        self.exchanges = self.traces = 0
        self._spool = Spool(settings.spool)
        self._failed = ""  # what was said last of a store that fails

    def run(self) -> None:
        """Drain until the end. A store that fails is tried again, from what it holds: nothing is kept in memory."""
        with self._spool.locked("drain", wait=True):
            while True:
                last = self.ended.is_set()
                try:
                    with TraceStore(self.settings.store) as store:
                        self._with(store)
                    return
                except (DBAPIError, TutelageError) as error:
                    self._say_failure(error)
                if last:
                    return
                self.ended.wait(RETRY_SECONDS)

    def _with(self, store: TraceStore) -> None:
        recorders = Recorders(store, self._spool.owner())
        recorders.of(self.settings.run)
        if self._failed:
            self._failed = ""
            say("The store answers again.")
        while True:
            ended = self.ended.is_set()  # before the spool is read: what was written up to then is in it
            self._drain(recorders)
            if ended:
                break
            self.traces += recorders.finish(self.settings.idle)
            self.ended.wait(POLL_SECONDS)
        if self.finishing:
            self.traces += recorders.finish()

    def _drain(self, recorders: Recorders) -> None:
        for waiting in self._spool.waiting():
            try:
                spooled = read(waiting)
                recorders.of(str(spooled.get("run") or self.settings.run)).record(waiting.id, spooled)
            except Unreadable as error:
                self._set_aside(waiting, str(error))
            except DataError as error:  # it holds what this database takes nowhere
                self._set_aside(waiting, str(error.orig))
            except (DBAPIError, TutelageError, OSError):
                raise
            except Exception as error:  # whatever it holds, those behind it are recorded
                self._set_aside(waiting, repr(error))
            else:
                self.exchanges += 1
                self._spool.remove(waiting)

    def _set_aside(self, waiting: Waiting, why: str) -> None:
        say(f"No trace can be made of {self._spool.set_aside(waiting)}: {why}.")

    def _say_failure(self, error: DBAPIError | TutelageError) -> None:
        reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        if reason != self._failed:
            count = len(self._spool.waiting())
            waiting = f"{count} exchanges wait in {self._spool.folder}"
            say(f"The store failed: {reason}. The agents' traffic goes on; {waiting}.")
        self._failed = reason


def say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    os.nice(NICE)
    drain = Drain(DrainSettings.model_validate_json(sys.stdin.readline()))

    def watch() -> None:
        drain.finishing = sys.stdin.readline().strip() == FINISH
        drain.ended.set()

    threading.Thread(target=watch, daemon=True).start()
    drain.run()
    left = len(Spool(drain.settings.spool).waiting())
    if drain.finishing:
        say(f"Recorded {drain.exchanges} exchanges; {drain.traces} traces were finished.")
    if left:
        say(f"{left} exchanges wait in {drain.settings.spool}. The next `tutelage record` puts them into the store.")


if __name__ == "__main__":
    main()
