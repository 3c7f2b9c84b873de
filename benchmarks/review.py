"""How long the pages of `tutelage review` take with 100,000 traces (--short: 5,000) on SQLite.

    python benchmarks/review.py [--short] [--store FOLDER]

Makes a store of synthetic traces (median 8 steps and 20 kB), serves it as `tutelage review` does, asks for each kind
of page many times with differing filters, words and traces, and prints the median of each kind and the 95th
percentile of all, in milliseconds, as lines `figure: value`; the same of the process's CPU time (`…_cpu_ms`), which
other programs on the machine do not lengthen; then what it takes there to record a step and to finish a trace. A store
that is kept with --store is made once; its making can be stopped and goes on where it was.
"""

import argparse
import http.client
import json
import random
import sqlite3
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from urllib.parse import urlencode

import uvicorn

from tutelage.endpoint.addresses import listen
from tutelage.project import Project
from tutelage.review.app import create_app
from tutelage.store import Selection, TraceStore
from tutelage.trace import Message, Step, StopReason, Task, now
from tutelage.world import Reward

TRACES, SHORT = 100_000, 5_000
BATCH = 1_000  # traces a transaction
REQUESTS = 40  # of each kind of page
KINDS = [f"kind {number}" for number in range(12)]
TOOLS = [f"tool_{number}" for number in range(20)]
STOPS = ["answer"] * 8 + ["step_limit", "token_limit"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="5,000 traces")
    parser.add_argument("--store", type=Path, help="a folder to keep the store in")
    parser.add_argument("--only-make", action="store_true", help="make the store and stop")
    arguments = parser.parse_args()
    count = SHORT if arguments.short else TRACES
    with tempfile.TemporaryDirectory() as folder:
        project = _project(arguments.store or Path(folder))
        size = make_store(project, count)
        if not arguments.only_make:
            print(f"traces: {count}\nstore_mb: {size / 1e6:.0f}")
            with TraceStore(project.store_url) as store:
                measure(project, store)
                measure_recording(store)


def make_store(project: Project, count: int) -> int:
    """Fill the project's store up to `count` traces; its size in bytes."""
    path = project.path("traces.db")
    words = _words()
    while True:
        with TraceStore(project.store_url):  # makes the tables, and the summaries of the traces that lack one
            pass
        with sqlite3.connect(path) as connection:
            there = connection.execute("SELECT count(*) FROM traces").fetchone()[0]
            if there >= count:
                connection.execute("PRAGMA optimize")
                return path.stat().st_size
            _add(connection, there, min(BATCH, count - there), words)


def measure(project: Project, store: TraceStore) -> None:
    numbers = random.Random(1)
    ids = [id for id, _ in numbers.sample(store.listing.ids(Selection()), REQUESTS)]
    vocabulary = _words().vocabulary
    pages: dict[str, Callable[[int], str]] = {
        "list": lambda number: f"/?{urlencode({'page': number + 1})}",
        "filter": lambda number: (
            "/?"
            + urlencode(
                {
                    "kind": KINDS[number % len(KINDS)],
                    "tool": TOOLS[number % len(TOOLS)],
                    "reward": ("full", "zero")[number % 2],
                    "sort": ("newest", "lowest", "longest", "task")[number % 4],
                }
            )
        ),
        # From words that nearly every trace holds to rare ones, some of them two together.
        "search": lambda number: (
            "/?" + urlencode({"q": " ".join(vocabulary[place] for place in (number**2, number * 3)[: 1 + number % 2])})
        ),
        "worth": lambda number: f"/?{urlencode({'verdict': 'undecided', 'sort': 'worth', 'page': number + 1})}",
        "open": lambda number: f"/trace/{ids[number]}",
        "open_from_list": lambda number: f"/trace/{ids[number]}?{urlencode({'verdict': 'undecided', 'at': number})}",
        "overview": lambda number: "/overview",
    }
    times: dict[str, list[float]] = {}
    busy: dict[str, list[float]] = {}
    with _served(project, store) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for name, url in pages.items():
            for number in range(REQUESTS):
                started, spent = time.perf_counter(), time.process_time()
                connection.request("GET", url(number))
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise SystemExit(f"{url(number)}: {answer.status}")
                times.setdefault(name, []).append(1000 * (time.perf_counter() - started))
                busy.setdefault(name, []).append(1000 * (time.process_time() - spent))
    for measured, unit in ((times, "ms"), (busy, "cpu_ms")):
        for name, found in measured.items():
            print(f"{name}_{unit}: {statistics.median(found):.1f}")
        everything = sorted(value for found in measured.values() for value in found)
        print(f"p95_{unit}: {everything[int(0.95 * len(everything))]:.1f}")


def measure_recording(store: TraceStore) -> None:
    """What it takes to record one more step, and to finish a trace, in a store of this size."""
    numbers, words = random.Random(2), _words()
    steps, ends = [], []
    for number in range(REQUESTS):
        task = Task(id=f"recorded-{uuid.uuid4()}", turns=("?",))
        recording = store.begin(run="recorded", task=task, attempt=number, model="m", tools=[])
        for place, (message, is_step) in enumerate(_conversation(numbers, words, "?")):
            read = Message.model_validate(message)
            started = time.perf_counter()
            if is_step:
                recording.step(Step(seen=place, started=now(), seconds=0.5), read)
                steps.append(1000 * (time.perf_counter() - started))
            else:
                recording.message(read)
        started = time.perf_counter()
        recording.finish(StopReason.ANSWER, Reward(1.0, "because"))
        ends.append(1000 * (time.perf_counter() - started))
    print(f"record_step_ms: {statistics.median(steps):.2f}\nrecord_finish_ms: {statistics.median(ends):.2f}")


class _served:
    """The application behind a server of its own thread; its port."""

    def __init__(self, project: Project, store: TraceStore) -> None:
        config = uvicorn.Config(create_app(project, store, "benchmark"), log_level="warning", lifespan="off")
        self.server = uvicorn.Server(config)
        self.listening = listen("127.0.0.1", 0)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listening]})

    def __enter__(self) -> int:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return int(self.listening.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()


class _words:
    """Paragraphs of words that occur as unevenly as in a language."""

    def __init__(self) -> None:
        numbers = random.Random(0)
        letters = "etaoinshrdlcumwfgypbvk"
        self.vocabulary = ["".join(numbers.choices(letters, k=numbers.randint(3, 9))) for _ in range(20_000)]
        weights = list(accumulate(1 / (place + 3) for place in range(len(self.vocabulary))))
        self.paragraphs = [
            " ".join(numbers.choices(self.vocabulary, cum_weights=weights, k=numbers.randint(40, 120)))
            for _ in range(4_000)
        ]


def _add(connection: sqlite3.Connection, first: int, count: int, words: _words) -> None:
    """Traces number `first` to `first + count`, as the store would have recorded them."""
    numbers = random.Random(first)
    definitions = [{"name": name, "definition": "{}", "server": "synthetic"} for name in TOOLS]
    connection.execute("INSERT OR IGNORE INTO toolsets VALUES ('synthetic', ?)", [json.dumps(definitions)])
    next_id = connection.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()[0] + 1
    traces, messages, steps, revisions = [], [], [], []
    for number in range(first, first + count):
        id, task = uuid.UUID(int=numbers.getrandbits(128)).hex, f"task-{number // 4}"
        when = f"2026-{1 + number % 12:02d}-{1 + number % 28:02d}T{number % 24:02d}:00:00.{number:06d}+00:00"
        prompt = numbers.choice(words.paragraphs)[:200]
        reward = numbers.choice([1.0, 1.0, 1.0, 0.0, 0.0, 0.5])
        kind = KINDS[number // 4 % len(KINDS)]
        task_text = json.dumps({"id": task, "turns": [prompt], "kind": kind, "setup": {}})
        whose = (id, f"run {number % 4}", task, kind, number % 4, task_text, f"model {number % 3}", "synthetic")
        traces.append((*whose, when, when, numbers.choice(STOPS), reward, "because", "", "{}"))
        parent = None
        for message, is_step in _conversation(numbers, words, prompt):
            messages.append((next_id, id, parent, json.dumps(message)))
            if is_step:
                steps.append((next_id, id, parent, when, 0.5, 1000, 100, "stop"))
            parent, next_id = next_id, next_id + 1
        revisions.append((id, 0, None, parent, "", "as recorded", when))
    for table, rows in (("traces", traces), ("messages", messages), ("steps", steps), ("revisions", revisions)):
        connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
    connection.commit()


def _conversation(numbers: random.Random, words: _words, prompt: str) -> Iterator[tuple[dict[str, object], bool]]:
    yield {"role": "system", "content": "You are an agent with twenty tools."}, False
    yield {"role": "user", "content": prompt}, False
    tools = numbers.sample(TOOLS, numbers.choice([1, 2, 2, 3]))
    for step in range(max(1, round(numbers.gauss(7, 2)))):
        call = {"id": f"c{step}", "name": numbers.choice(tools), "arguments": json.dumps({"query": prompt[:40]})}
        reasoning = numbers.choice(words.paragraphs)
        yield {"role": "assistant", "reasoning_content": reasoning, "tool_calls": [call]}, True
        result = "\n".join(numbers.choices(words.paragraphs, k=4))
        result_message: dict[str, object] = {"role": "tool", "content": result, "tool_call_id": call["id"]}
        if numbers.random() < 0.05:
            result_message["is_error"] = True
        yield result_message, False
    yield {"role": "assistant", "content": numbers.choice(words.paragraphs)}, True


def _project(folder: Path) -> Project:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tutelage.toml").write_text('name = "synthetic"\n')
    return Project.open(folder)


if __name__ == "__main__":
    main()
