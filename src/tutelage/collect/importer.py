"""`tutelage import`: traces that another program recorded, a JSON file each."""

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tutelage.collect.record import BadRecord, Record, read_record
from tutelage.errors import TutelageError
from tutelage.store import AlreadyRecorded, TraceStore
from tutelage.trace import IMPORTED, Step, StopReason, Task, Trace, Verdict, imported_from, prompt_content

RUN = "import"
BATCH = 100  # traces a transaction


@dataclass(frozen=True)
class Fault:
    """Why a file was not imported."""

    file: str
    key: str  # "" where the file as a whole is at fault
    why: str

    def sentence(self) -> str:
        return f'{self.file}: "{self.key}": {self.why}.' if self.key else f"{self.file}: {self.why}."


@dataclass
class ImportSummary:
    run: str
    files: int
    imported: int = 0
    known: int = 0  # imported before, or twice in the folder
    faults: list[Fault] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)  # keys of messages that Tutelage does not keep -> messages

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        parts = [f"Imported {self.imported} of {self.files} traces into the run “{self.run}”"]
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
    source: Path,
    *,
    run: str = RUN,
    approve_as: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ImportSummary:
    """Store the traces of a folder of JSON files, or of one file; those that are there already are left as they are.

    A trace becomes a task of its own, named by its prompt and tools; with `approve_as` that reviewer approves it. A
    file with a fault is named in the summary, the others are imported. Raises TutelageError where there is no file.
    """
    files = _files(source)
    summary = ImportSummary(run, len(files))
    ignored: Counter[str] = Counter()
    known = {str(note["sha256"]) for note in map(imported_from, store.metadata(run)) if note}
    attempts = Counter(task_id for task_id, _ in store.finished(run))
    waiting: list[Trace] = []
    for done, file in enumerate(files, 1):
        for record in _read(file, summary):
            digest = _digest(record)
            if digest in known:
                summary.known += 1
                continue
            known.add(digest)
            ignored += record.ignored
            waiting.append(_trace(record, run, file.name, digest, attempts))
        if waiting and (len(waiting) == BATCH or done == len(files)):
            _store(store, waiting, approve_as)
            summary.imported += len(waiting)
            waiting = []
        if on_progress:
            on_progress(done, len(files))
    summary.ignored = dict(ignored)
    return summary


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise TutelageError(f"{source} was not found. Name a folder with one JSON file a trace, or such a file.")
    files = sorted(source.glob("*.json"))
    if not files:
        raise TutelageError(f"{source} holds no .json file. Name a folder with one JSON file a trace.")
    return files


def _read(file: Path, summary: ImportSummary) -> Iterator[Record]:
    """The record of a file; none where it has a fault, which is noted."""
    try:
        yield read_record(file.read_text(encoding="utf-8-sig"))
    except BadRecord as error:
        summary.faults.append(Fault(file.name, error.key, error.why))
    except UnicodeDecodeError:
        summary.faults.append(Fault(file.name, "", "it is not UTF-8 text"))
    except OSError as error:
        summary.faults.append(Fault(file.name, "", f"it could not be read ({error.strerror})"))


def _store(store: TraceStore, traces: list[Trace], approve_as: str | None) -> None:
    try:
        store.add(traces)
    except AlreadyRecorded:
        raise TutelageError("Another import works on this run. Wait for its end, then run this one again.") from None
    for trace in traces if approve_as is not None else ():
        store.judge(trace.id, 0, Verdict.APPROVED, reviewer=approve_as or "", comment="approved as it was imported")


def _trace(record: Record, run: str, file: str, digest: str, attempts: Counter[str]) -> Trace:
    turns = tuple(message.content or "" for message in record.messages if message.role == "user")
    task = Task(id="imported", turns=turns, kind="imported")
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
        timestamp=record.timestamp,
        messages=record.messages,
        tools=record.tools,
        steps=tuple(
            Step(seen=index, started=record.timestamp, seconds=0.0)  # how long it took is not known
            for index, message in enumerate(record.messages)
            if message.role == "assistant"
        ),
        stop_reason=StopReason.ANSWER if answered else StopReason.UNKNOWN,
        reward=record.reward,
        reward_reason="as imported" if record.reward is not None else "",
        metadata={IMPORTED: {"file": file, "sha256": digest}, **({"record": record.more} if record.more else {})},
    )


def _digest(record: Record) -> str:
    """Tells whether a record was imported before; where its file lies does not count."""
    messages = [message.model_dump(mode="json", exclude_defaults=True) for message in record.messages]
    parts = [record.timestamp.isoformat(), record.model, messages, [tool.definition for tool in record.tools]]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()
