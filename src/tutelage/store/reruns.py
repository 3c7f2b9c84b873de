"""A trace run again from one of its steps, as it is recorded; each call is on disk when it returns."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import JsonValue
from sqlalchemy import Connection, Engine, Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from tutelage.errors import TutelageError
from tutelage.store import schema
from tutelage.store.blobs import keep_blobs
from tutelage.store.history import branch, chain
from tutelage.store.recording import Recording
from tutelage.store.summaries import summarise
from tutelage.trace import Message, StopReason, now
from tutelage.world import Reward

TRIES = 20  # of a revision's number, which another's edit may take first


class UnfinishedRerun(NamedTuple):
    """A re-run that still runs or was broken off."""

    id: int
    trace_id: str
    base: int
    model: str
    author: str
    started: datetime


class RerunRecording(Recording):
    """Appends to a branch of a trace, which becomes a revision when it is finished."""

    def __init__(self, engine: Engine, rerun: Row[Any], count: int) -> None:
        super().__init__(engine, rerun.trace_id, rerun.head_id, count)
        self._rerun = rerun

    def finish_rerun(self, stop_reason: StopReason, reward: Reward | None, notes: dict[str, JsonValue]) -> int:
        """Make it the newest revision, which it is whatever was edited meanwhile; the revision's number.

        Raises TutelageError where it is a revision already: a person kept it as it was while it still ran.
        """
        values = {"stop_reason": stop_reason.value, "notes": json.dumps(notes, ensure_ascii=False)}
        if reward:
            values |= {"reward_reason": reward.reason, "reward_category": reward.category}
        for _ in range(TRIES):
            try:
                with self._engine.begin() as connection:
                    number = _become_revision(connection, self._rerun, self._last)
                    table = schema.reruns
                    made = connection.execute(
                        update(table)
                        .where(table.c.id == self._rerun.id, table.c.revision.is_(None))
                        .values(**values, revision=number, reward=reward.value if reward else None)
                    )
                    if not made.rowcount:
                        raise TutelageError(f'The re-run was made a revision of trace "{self.id}" before it ended.')
                    summarise(connection, self.id)
                return number
            except IntegrityError:
                continue
        raise TutelageError(f'Trace "{self.id}" is edited all the time: the re-run could not become a revision of it.')

    def _moved(self, connection: Connection, last: int | None) -> None:
        table = schema.reruns
        connection.execute(update(table).where(table.c.id == self._rerun.id).values(head_id=last))


def begin_rerun(
    engine: Engine,
    trace_id: str,
    messages: Sequence[Message],
    *,
    base: int,
    about: Mapping[str, str],
    blobs: Sequence[bytes],
) -> RerunRecording:
    """Start recording what follows `messages`, the beginning that is kept of the revision `base`."""
    table = schema.reruns
    with engine.begin() as connection:
        rows, _ = chain(connection, trace_id, base)
        keep_blobs(connection, trace_id, blobs)
        head = branch(connection, trace_id, rows, messages)
        values = {"base": base, "kept": len(messages), "head_id": head, **about}
        made = connection.execute(insert(table).values(trace_id=trace_id, started=now().isoformat(), **values))
        assert made.inserted_primary_key is not None
        row = connection.execute(select(table).where(table.c.id == made.inserted_primary_key[0])).one()
    return RerunRecording(engine, row, len(messages))


def unfinished_reruns(connection: Connection, trace_id: str) -> list[UnfinishedRerun]:
    """Those that still run or were broken off, oldest first."""
    table = schema.reruns
    query = select(table).where(table.c.trace_id == trace_id, table.c.revision.is_(None)).order_by(table.c.id)
    return [
        UnfinishedRerun(row.id, row.trace_id, row.base, row.model, row.author, datetime.fromisoformat(row.started))
        for row in connection.execute(query)
    ]


def keep_rerun(engine: Engine, id: int) -> int:
    """Make a revision of what a re-run that was broken off has; its number."""
    table = schema.reruns
    with engine.connect() as connection:
        row = connection.execute(select(table).where(table.c.id == id, table.c.revision.is_(None))).one_or_none()
        if row is None:
            raise TutelageError(f"There is no unfinished re-run {id}. Reload the page.")
        last = connection.scalar(select(schema.messages.c.body).where(schema.messages.c.id == row.head_id))
    message = Message.model_validate_json(last) if last else None
    answered = message is not None and message.role == "assistant" and not message.tool_calls
    recording = RerunRecording(engine, row, 0)
    return recording.finish_rerun(StopReason.ANSWER if answered else StopReason.UNKNOWN, None, {"broken_off": True})


def rerun_notes(rerun: Row[Any]) -> dict[str, JsonValue]:
    """What the trace's metadata say of the re-run that its revision is or was made of."""
    notes = {
        "revision": rerun.revision,
        "base": rerun.base,
        "kept": rerun.kept,
        "model": rerun.model,
        "hint": rerun.hint,
        **json.loads(rerun.notes),
    }
    return {key: value for key, value in notes.items() if value != ""}


def _become_revision(connection: Connection, rerun: Row[Any], head: int | None) -> int:
    table = schema.revisions
    latest = connection.scalar(select(func.max(table.c.number)).where(table.c.trace_id == rerun.trace_id))
    number = (latest or 0) + 1
    note = f"run again by {rerun.model} after message {rerun.kept}" + (", with a hint" if rerun.hint else "")
    connection.execute(
        insert(table).values(
            trace_id=rerun.trace_id,
            number=number,
            base=rerun.base,
            head_id=head,
            author=rerun.author,
            note=note,
            created=now().isoformat(),
        )
    )
    return number
