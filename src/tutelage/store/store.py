"""The trace store."""

import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from pydantic import JsonValue
from sqlalchemy import Connection, Row, func, insert, select
from sqlalchemy.exc import IntegrityError

from tutelage.errors import TutelageError
from tutelage.store import schema
from tutelage.store.blobs import read_blob
from tutelage.store.database import open_database
from tutelage.store.erasing import Erasing
from tutelage.store.history import append, append_step, branch, chain, first_revision, last_rerun
from tutelage.store.listing import Listing
from tutelage.store.once import insert_once
from tutelage.store.recording import AlreadyRecorded, Recording
from tutelage.store.reruns import (
    RerunRecording,
    UnfinishedRerun,
    begin_rerun,
    keep_rerun,
    rerun_notes,
    unfinished_reruns,
)
from tutelage.store.reviews import Judgement, Reviews
from tutelage.store.scores import Scores
from tutelage.store.summaries import (
    TraceSummary,
    add_summary,
    current_verdict,
    selected,
    summarise,
    summary,
)
from tutelage.store.usage import Used
from tutelage.trace import RERUN, Message, Step, StopReason, Task, Tool, Trace, Verdict, now


class EditConflict(TutelageError):
    """Somebody else's revision came first."""

    def __init__(self, trace_id: str, base: int, latest: int) -> None:
        super().__init__(
            f'Trace "{trace_id}" was edited meanwhile: revision {latest} came after {base}, which you changed. '
            "Look at it, then make your change there."
        )
        self.latest = latest


class TraceStore:
    """Traces in a database. Calls are synchronous and short.

    With SQLite, what a call wrote survives the killing of the process (write-ahead log); a power cut may take the
    last moment's.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_database(url)
        self.listing = Listing(self._engine)
        self.reviews = Reviews(self._engine)
        self.scores = Scores(self._engine)
        self.used = Used(self._engine)
        self.erasing = Erasing(self._engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._engine.dispose()

    def begin(
        self,
        *,
        run: str,
        task: Task,
        attempt: int,
        model: str,
        tools: Sequence[Tool],
        metadata: dict[str, JsonValue] | None = None,
    ) -> Recording:
        """Start recording one execution of an attempt at a task."""
        id = uuid.uuid4().hex
        with self._engine.begin() as connection:
            connection.execute(
                insert(schema.traces).values(
                    id=id,
                    run=run,
                    task_id=task.id,
                    kind=task.kind,
                    attempt=attempt,
                    task=task.model_dump_json(),
                    model=model,
                    toolset_id=_store_tools(connection, tools),
                    started=now().isoformat(),
                    metadata=json.dumps(metadata or {}, ensure_ascii=False),
                )
            )
            add_summary(connection, id)
        return Recording(self._engine, id)

    def resume(self, trace_id: str) -> Recording:
        """Go on recording an unfinished trace after its last message."""
        with self._engine.connect() as connection:
            rows, _ = chain(connection, trace_id, None)
        return Recording(self._engine, trace_id, rows[-1].id if rows else None, len(rows))

    def unfinished(self, run: str) -> list[str]:
        """The ids of the traces of `run` that nobody has finished yet, oldest first."""
        table = schema.traces
        query = select(table.c.id).where(table.c.run == run, table.c.finished.is_(None)).order_by(table.c.started)
        with self._engine.connect() as connection:
            return list(connection.scalars(query))

    def next_attempt(self, run: str, task_id: str) -> int:
        """One more than the attempts at a task that are recorded, finished or not."""
        table = schema.traces
        query = select(func.max(table.c.attempt)).where(table.c.run == run, table.c.task_id == task_id)
        with self._engine.connect() as connection:
            last = connection.scalar(query)
        return 0 if last is None else last + 1

    def add(self, traces: Sequence[Trace]) -> None:
        """Store whole traces that were recorded elsewhere, at revision 0: all of them or none.

        Raises AlreadyRecorded where an attempt has a finished trace in its run.
        """
        try:
            with self._engine.begin() as connection:
                for trace in traces:
                    _add(connection, trace)
        except IntegrityError as error:
            raise AlreadyRecorded(str(error.orig)) from error

    def tasks(self) -> Iterator[tuple[str, Task, dict[str, JsonValue]]]:
        """The id of each finished trace, its task, and what is noted of it."""
        table = schema.traces
        query = select(table.c.id, table.c.task, table.c.metadata).where(table.c.finished.is_not(None))
        with self._engine.connect() as connection:
            for row in connection.execute(query):
                yield row.id, Task.model_validate_json(row.task), json.loads(row.metadata)

    def metadata(self, run: str) -> Iterator[dict[str, JsonValue]]:
        """What is noted of each finished trace of `run`."""
        table = schema.traces
        query = select(table.c.metadata).where(table.c.run == run, table.c.finished.is_not(None))
        with self._engine.connect() as connection:
            for text in connection.scalars(query):
                yield json.loads(text)

    def finished(self, run: str) -> set[tuple[str, int]]:
        """The (task id, attempt) pairs of `run` that have a finished trace."""
        table = schema.traces
        query = select(table.c.task_id, table.c.attempt).where(table.c.run == run, table.c.finished.is_not(None))
        with self._engine.connect() as connection:
            return {(row.task_id, row.attempt) for row in connection.execute(query)}

    def runs(self) -> list[str]:
        with self._engine.connect() as connection:
            return list(connection.scalars(select(schema.traces.c.run).distinct().order_by(schema.traces.c.run)))

    def summaries(
        self,
        *,
        run: str | None = None,
        verdict: Verdict | None = None,
        stop_reason: StopReason | None = None,
        task_id: str | None = None,
        limit: int | None = None,
    ) -> list[TraceSummary]:
        """Traces at their latest revision, unfinished ones too, in order of (run, task id, attempt)."""
        table = schema.summaries
        wanted = ((table.c.run, run), (table.c.task_id, task_id), (table.c.stop_reason, stop_reason))
        conditions = [column == value for column, value in (*wanted, (table.c.verdict, verdict)) if value is not None]
        query = selected().where(*conditions).order_by(table.c.run, table.c.task_id, table.c.attempt, table.c.number)
        with self._engine.connect() as connection:
            return [summary(row) for row in connection.execute(query.limit(limit))]

    def traces(self, *, run: str | None = None) -> Iterator[Trace]:
        """Finished traces at their latest revision, in order of (run, task id, attempt)."""
        for found in self.summaries(run=run):
            if found.finished:
                yield self.load(found.id)

    def find(self, prefix: str) -> str:
        """The one trace whose id starts with `prefix`. Raises TutelageError where there is none or more."""
        query = select(schema.traces.c.id).where(schema.traces.c.id.startswith(prefix, autoescape=True)).limit(2)
        with self._engine.connect() as connection:
            ids = list(connection.scalars(query))
        if len(ids) != 1:
            what = "No trace" if not ids else "More than one trace"
            raise TutelageError(f'{what} has an id that starts with "{prefix}". See `tutelage traces list`.')
        return str(ids[0])

    def load(self, trace_id: str, revision: int | None = None) -> Trace:
        """A trace at a revision (the latest unless given). Raises TutelageError where it does not exist."""
        with self._engine.connect() as connection:
            row = connection.execute(select(schema.traces).where(schema.traces.c.id == trace_id)).one_or_none()
            if row is None:
                raise TutelageError(f'There is no trace "{trace_id}". See `tutelage traces list`.')
            tools = connection.scalars(
                select(schema.toolsets.c.body).where(schema.toolsets.c.id == row.toolset_id)
            ).one()
            rows, number = chain(connection, trace_id, revision)
            recorded = {
                step.message_id: step
                for step in connection.execute(select(schema.steps).where(schema.steps.c.trace_id == trace_id))
            }
            stales = schema.stale_steps
            query = select(stales.c.message_id).where(stales.c.trace_id == trace_id, stales.c.confirmed.is_(None))
            stale = set(connection.scalars(query))
            verdict = current_verdict(connection, trace_id, number)
            rerun = last_rerun(connection, trace_id, number) if number else None
        end = rerun or row
        return Trace(
            id=row.id,
            task=Task.model_validate_json(row.task),
            run=row.run,
            attempt=row.attempt,
            model=row.model,
            timestamp=datetime.fromisoformat(row.started),
            messages=tuple(Message.model_validate_json(message.body) for message in rows),
            tools=tuple(Tool.model_validate(tool) for tool in json.loads(tools)),
            steps=tuple(
                _step(recorded[message.id], seen) for seen, message in enumerate(rows) if message.id in recorded
            ),
            stale=tuple(seen for seen, message in enumerate(rows) if message.id in stale),
            stop_reason=StopReason(end.stop_reason) if end.stop_reason else None,
            reward=end.reward,
            reward_reason=end.reward_reason,
            reward_category=end.reward_category,
            revision=number,
            verdict=verdict,
            metadata={**json.loads(row.metadata), **({RERUN: rerun_notes(rerun)} if rerun else {})},
        )

    def blob(self, sha256: str) -> bytes | None:
        """The bytes that a message's part names; None where there are none."""
        return read_blob(self._engine, sha256)

    def revise(self, trace_id: str, messages: Sequence[Message], *, base: int, author: str, note: str) -> int:
        """Store an edited history as a new revision; the unchanged beginning is shared. The revision's number.

        Steps after the first change are stale until they are confirmed. `base` is the latest revision, which was
        edited. Raises EditConflict where it is not the latest any more.
        """
        if not messages:
            raise TutelageError("A trace needs at least one message.")
        try:
            with self._engine.begin() as connection:
                rows, latest = chain(connection, trace_id, None)
                if base != latest:
                    raise EditConflict(trace_id, base, latest)
                head = branch(connection, trace_id, rows, messages)
                connection.execute(
                    insert(schema.revisions).values(
                        trace_id=trace_id,
                        number=base + 1,
                        base=base,
                        head_id=head,
                        author=author,
                        note=note,
                        created=now().isoformat(),
                    )
                )
                summarise(connection, trace_id)
        except IntegrityError:  # two saved in the same moment
            raise EditConflict(trace_id, base, base + 1) from None
        return base + 1

    def restore(self, trace_id: str, revision: int, *, base: int, author: str) -> int:
        """An earlier revision as the newest one, its steps and its end as they were; the new one's number.

        Raises EditConflict where `base` is not the latest any more.
        """
        table = schema.revisions
        try:
            with self._engine.begin() as connection:
                rows, _ = chain(connection, trace_id, revision)
                latest = connection.scalar(select(func.max(table.c.number)).where(table.c.trace_id == trace_id))
                if base != latest:
                    raise EditConflict(trace_id, base, latest or 0)
                values = {"trace_id": trace_id, "author": author, "created": now().isoformat()}
                note = f"revision {revision} restored"
                connection.execute(
                    insert(table).values(number=base + 1, base=revision, head_id=rows[-1].id, note=note, **values)
                )
                summarise(connection, trace_id)
        except IntegrityError:
            raise EditConflict(trace_id, base, base + 1) from None
        return base + 1

    def begin_rerun(
        self,
        trace_id: str,
        messages: Sequence[Message],
        *,
        base: int,
        model: str,
        author: str,
        hint: str = "",
        blobs: Sequence[bytes] = (),
    ) -> RerunRecording:
        """Start recording what follows `messages`, the beginning that is kept of the revision `base`.

        `blobs` are the bytes of parts that were not there before.
        """
        about = {"model": model, "author": author, "hint": hint}
        return begin_rerun(self._engine, trace_id, messages, base=base, about=about, blobs=blobs)

    def unfinished_reruns(self, trace_id: str) -> list[UnfinishedRerun]:
        """Those that still run or were broken off, oldest first."""
        with self._engine.connect() as connection:
            return unfinished_reruns(connection, trace_id)

    def keep_rerun(self, id: int) -> int:
        """Make a revision of what a re-run that was broken off has; its number."""
        return keep_rerun(self._engine, id)

    def judge(self, trace_id: str, revision: int, verdict: Verdict, *, reviewer: str, comment: str = "") -> None:
        """Record a verdict on one revision; earlier verdicts stay readable."""
        with self._engine.connect() as connection:
            chain(connection, trace_id, revision)
        self.reviews.judge([Judgement(trace_id, revision, verdict)], reviewer=reviewer, comment=comment)


def _add(connection: Connection, trace: Trace) -> None:
    finished = now().isoformat()
    connection.execute(
        insert(schema.traces).values(
            id=trace.id,
            run=trace.run,
            task_id=trace.task.id,
            kind=trace.task.kind,
            attempt=trace.attempt,
            task=trace.task.model_dump_json(),
            model=trace.model,
            toolset_id=_store_tools(connection, trace.tools),
            started=trace.timestamp.isoformat(),
            finished=finished,
            stop_reason=trace.stop_reason.value if trace.stop_reason else StopReason.UNKNOWN.value,
            reward=trace.reward,
            reward_reason=trace.reward_reason,
            reward_category=trace.reward_category,
            metadata=json.dumps(trace.metadata, ensure_ascii=False),
        )
    )
    calls = {step.seen: step for step in trace.steps}
    head = None
    for index, message in enumerate(trace.messages):
        seen, head = head, append(connection, trace.id, head, message)
        if index in calls:
            append_step(connection, trace.id, calls[index], seen, head)
    connection.execute(insert(schema.revisions).values(first_revision(trace.id, head, finished, "as imported")))
    add_summary(connection, trace.id)
    summarise(connection, trace.id)


def _store_tools(connection: Connection, tools: Sequence[Tool]) -> str:
    body = json.dumps([tool.model_dump() for tool in tools], ensure_ascii=False)
    id = hashlib.sha256(body.encode()).hexdigest()
    insert_once(connection, schema.toolsets, id=id, body=body)
    return id


def _step(row: Row[Any], seen: int) -> Step:
    return Step(
        seen=seen,
        started=datetime.fromisoformat(row.started),
        seconds=row.seconds,
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        finish_reason=row.finish_reason,
    )
