"""`tutelage import`: traces that another program recorded, in any of the formats."""

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from tutelage.collect.formats import NOT_AS_WRITTEN, Entry, Format, choose, files_of, local
from tutelage.collect.known import Known
from tutelage.collect.record import BadRecord, Record, parsed
from tutelage.dialect import Unreadable
from tutelage.errors import TutelageError
from tutelage.store import AlreadyRecorded, Judgement, TraceStore
from tutelage.trace import IMPORTED, Step, StopReason, Task, Trace, Verdict, imported_from, now, prompt_content

RUN = "import"
BATCH = 100  # traces a transaction


@dataclass(frozen=True)
class Fault:
    """Why a record was not imported."""

    file: str
    key: str  # "" where the record as a whole is at fault
    why: str
    where: str = ""  # the record or its line; "" where the file is one

    def sentence(self) -> str:
        place = f"{self.file}, {self.where}" if self.where else self.file
        return f'{place}: "{self.key}": {self.why}.' if self.key else f"{place}: {self.why}."


@dataclass
class ImportSummary:
    run: str
    files: int
    records: int = 0
    imported: int = 0
    known: int = 0  # imported before, or twice in the files, or nothing in them is new
    faults: list[Fault] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)  # keys of messages that Tutelage does not keep -> messages

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        parts = [f"Imported {self.imported} of {self.records} traces into the run “{self.run}”"]
        if self.known:
            parts.append(f"{self.known} were there already")
        if self.faults:
            parts.append(f"{len(self.faults)} could not be read")
        if self.ignored:
            keys = ", ".join(f'"{key}" ({count})' for key, count in sorted(self.ignored.items()))
            parts.append(f"not kept of their messages: {keys}")
        return "; ".join(parts) + "."


def import_traces(
    store: TraceStore,
    source: Path | str,
    *,
    run: str = RUN,
    format: str | None = None,
    approve_as: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ImportSummary:
    """Store the traces of a file, of a folder of files, or of a dataset on the Hugging Face Hub (hf:OWNER/NAME).

    Those that are there already are left as they are. Of conversations that repeat each other, or what was imported
    before, each step is taught once.

    Each file's format is told by its content, unless `format` names it. A trace becomes a task of its own, named by its
    prompt and tools; with `approve_as` that reviewer approves it. A record with a fault is named in the summary, the
    others are imported. Raises TutelageError where there is no file, or no such format.
    """
    with local(source) as place:
        files = files_of(place)
        choices = {file: choose(file, format) for file in files}
        summary = ImportSummary(run, len(files))
        ignored: Counter[str] = Counter()
        known = Known(note for note in map(imported_from, store.metadata(run)) if note)
        attempts = Counter(task_id for task_id, _ in store.finished(run))
        waiting: list[Trace] = []
        for done, file in enumerate(files, 1):
            for record in _read(file, choices[file], summary):
                found = known.new(record)
                if found is None:
                    summary.known += 1
                    continue
                ignored += record.ignored
                name = file.name if place == Path(source) else f"{source}/{file.relative_to(place)}"
                waiting.append(_trace(*found, run, name, attempts))
                if len(waiting) == BATCH:
                    summary.imported += _store(store, waiting, approve_as)
            if on_progress:
                on_progress(done, len(files))
        summary.imported += _store(store, waiting, approve_as)
        summary.ignored = dict(ignored)
        return summary


def _read(file: Path, format: Format | None, summary: ImportSummary) -> Iterator[Record]:
    """The records of a file; the faults of the others, or of the file, are noted."""

    def fault(where: str, error: BadRecord | Unreadable) -> None:
        key, why = (error.key, error.why) if isinstance(error, BadRecord) else ("", str(error))
        summary.faults.append(Fault(file.name, key, why, where))

    try:
        for entry in format.read(file) if format else _of_no_format(file):
            summary.records += 1
            try:
                yield entry.read()
            except (BadRecord, Unreadable) as error:
                fault(entry.where, error)
            except NOT_AS_WRITTEN as error:
                fault(entry.where, BadRecord("", f"it is not written as its format is ({error!r})"))
    except (BadRecord, Unreadable) as error:
        fault("", error)
    except OSError as error:
        fault("", BadRecord("", f"it could not be read ({error.strerror})"))
    except NOT_AS_WRITTEN as error:
        fault("", BadRecord("", f"it is not written as its format is ({error!r})"))


def _of_no_format(file: Path) -> Iterator[Entry]:
    """What is wrong with a file that no format knows."""

    def fail() -> Record:
        parsed(file.read_bytes())
        raise BadRecord("", "it is of no known format; name one with --format")

    yield Entry("", fail)


def _store(store: TraceStore, traces: list[Trace], approve_as: str | None) -> int:
    """Store what waits, and empty it; how many."""
    try:
        store.add(traces)
    except AlreadyRecorded:
        raise TutelageError("Another import works on this run. Wait for its end, then run this one again.") from None
    if approve_as is not None:
        approved = [Judgement(trace.id, 0, Verdict.APPROVED) for trace in traces]
        store.reviews.judge(approved, reviewer=approve_as, comment="approved as it was imported")
    count = len(traces)
    traces.clear()
    return count


def _trace(record: Record, note: dict[str, JsonValue], run: str, file: str, attempts: Counter[str]) -> Trace:
    turns = tuple(message.content or "" for message in record.messages if message.role == "user")
    task = Task(id="imported", turns=turns, kind=record.kind)
    timestamp = record.timestamp or now()
    asked = [prompt_content(task), [tool.definition for tool in record.tools]]
    id = f"imported-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]}"
    attempt = attempts[id]
    attempts[id] += 1
    last = record.messages[-1]
    answered = last.role == "assistant" and not last.tool_calls
    return Trace(
        id=uuid.uuid4().hex,
        task=task.model_copy(update={"id": id}),
        run=run,
        attempt=attempt,
        model=record.model,
        timestamp=timestamp,
        messages=record.messages,
        tools=record.tools,
        steps=tuple(
            Step(seen=index, started=timestamp, seconds=0.0)  # how long it took is not known
            for index, message in enumerate(record.messages)
            if message.role == "assistant"
        ),
        stop_reason=StopReason.ANSWER if answered else StopReason.UNKNOWN,
        reward=record.reward,
        reward_reason="as imported" if record.reward is not None else "",
        metadata={IMPORTED: {"file": file, **note}, **({"record": record.more} if record.more else {})},
    )
