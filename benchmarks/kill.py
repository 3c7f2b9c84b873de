"""What `kill -9` of the collector loses: nothing.

    python benchmarks/kill.py [--store sqlite|postgresql] [--kills 100] [--tasks 200] [--short]

Runs `tutelage collect` on tasks of four steps, each with a stdio server of its own that starts a process in the
background, as browser servers do, and kills the collector at random instants, again and again until the tasks are done
and as often as asked. The endpoint, which is not killed, knows what it was shown: a step that was sent back to it must
be in the store. PostgreSQL is started for the benchmark. Prints lines `figure: value`:

    steps_lost         messages that the endpoint was shown again, and that are not in the store
    tasks_repeated     requests for tasks that were finished before the collector started, and tasks finished twice
    traces_unreadable  traces, finished or not, that cannot be loaded or whose messages are not linked as recorded
    orphans            MCP servers and what they started, still there ten seconds after a kill
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "doubles"), str(Path(__file__).parent)]

from postgresql_server import running_postgresql  # noqa: E402

from collecting.endpoint import MODEL, Witness  # noqa: E402
from tutelage.store import TraceStore  # noqa: E402
from tutelage.world.reaper import processes  # noqa: E402

STEPS = 4  # model calls a task
CONCURRENCY = 4
MOST_REQUESTS = 24  # between two kills
PATIENCE_SECONDS = 10.0  # after a kill, before what is left counts as an orphan
SERVER = Path(__file__).parent / "collecting" / "server.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="10 kills, 30 tasks")
    arguments = parser.parse_args()
    kills, tasks = (10, 30) if arguments.short else (arguments.kills, arguments.tasks)
    with tempfile.TemporaryDirectory() as name, store_url(arguments.store, Path(name)) as url:
        killing = Killing(Path(name), url, tasks, random.Random(arguments.seed))
        killing.run(kills)
        killing.report(arguments.store)


@contextmanager
def store_url(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'traces.db'}"
        return
    with running_postgresql() as server:
        yield server.new_database()


class Killing:
    def __init__(self, folder: Path, url: str, tasks: int, chance: random.Random) -> None:
        self.folder, self.url, self.tasks, self.random = folder, url, tasks, chance
        self.worlds = folder / "tmp"  # the collector's TMPDIR: worlds below it tell whose processes are left
        self.worlds.mkdir()
        self.witness = Witness(0, STEPS)
        self.kills = self.runs = self.repeated = self.orphans = 0
        self.sorted_kills: Counter[str] = Counter()  # by what the collector had done since it started
        write_project(folder, url, self.witness.url, tasks)

    def run(self, kills: int) -> None:
        while self.kills < kills or self.left():
            if not self.left():
                self.runs += 1
            before = self.finished()
            asked = Counter(self.witness.asked)
            killed = self.once(kill=self.kills < kills)
            self.kills += killed
            more = self.witness.asked - asked
            self.repeated += sum(more[f"task {task}"] for task in before)
            if killed:
                self.orphans += self.left_running()
            print(f"\r{self.kills} kills, {len(self.finished())} of {self.tasks} done", end="", file=sys.stderr)
        print(file=sys.stderr)

    def once(self, *, kill: bool) -> bool:
        """Run the collector until it is done, or kill it after some requests; whether it was killed."""
        wanted = self.random.randint(0, MOST_REQUESTS)
        start = self.witness.asked.total()
        command = [sys.executable, "-m", "tutelage", "collect", "-p", str(self.folder), "--run", f"run{self.runs}"]
        environment = {**os.environ, "TMPDIR": str(self.worlds)}
        log = (self.folder / "collector.log").open("ab")
        with log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process:
            while process.poll() is None:
                if kill and self.witness.asked.total() - start >= wanted:
                    time.sleep(self.random.uniform(0, 0.2))
                    process.send_signal(signal.SIGKILL)
                    self.sorted_kills["starting" if self.witness.asked.total() == start else "running"] += 1
                    return True
                time.sleep(0.002)
        if process.returncode:
            sys.exit(f"the collector failed:\n{(self.folder / 'collector.log').read_text()[-2000:]}")
        return False

    def left(self) -> int:
        return self.tasks - len(self.finished())

    def finished(self) -> set[str]:
        with TraceStore(self.url) as store:
            return {task for task, _ in store.finished(f"run{self.runs}")}

    def left_running(self) -> int:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (left := processes(self.worlds)) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return len(left)

    def report(self, kind: str) -> None:
        recorded: set[str] = set()
        finished: Counter[tuple[str, str, int]] = Counter()
        unreadable = 0
        with TraceStore(self.url) as store:
            for summary in store.summaries():
                finished[summary.run, summary.task_id, summary.attempt] += summary.finished
                try:
                    trace = store.load(summary.id)
                except Exception as error:
                    print(f"{summary.id}: {error}", file=sys.stderr)
                    unreadable += 1
                    continue
                recorded |= {call.id for message in trace.messages for call in message.tool_calls}
            traces = len(store.summaries())
        twice = sum(count - 1 for count in finished.values() if count > 1)
        lost = self.witness.seen - recorded
        print(f"store: {kind}\nkills: {self.kills}\nkills_while_starting: {self.sorted_kills['starting']}")
        print(f"traces: {traces}\nsteps_witnessed: {len(self.witness.seen)}\nsteps_lost: {len(lost)}")
        print(f"tasks_repeated: {self.repeated + twice}\ntraces_unreadable: {unreadable}\norphans: {self.orphans}")
        if kind == "sqlite":
            with sqlite3.connect(self.folder / "traces.db") as connection:
                print(f"integrity_check: {connection.execute('PRAGMA integrity_check').fetchone()[0]}")
        self.witness.close()


def write_project(folder: Path, store: str, endpoint: str, tasks: int) -> None:
    (folder / "tasks.jsonl").write_text(
        "".join(json.dumps({"id": str(number), "prompt": f"task {number}"}) + "\n" for number in range(tasks))
    )
    server = {"command": sys.executable, "args": ["-I", "-S", str(SERVER), "--browser"]}
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": {"notes": server}}))
    (folder / "tutelage.toml").write_text(
        f"""store = {json.dumps(store)}
tasks = {{train = "tasks.jsonl"}}
teacher = {{url = "{endpoint}", model = "{MODEL}"}}
collect = {{concurrency = {CONCURRENCY}}}
"""
    )


if __name__ == "__main__":
    main()
