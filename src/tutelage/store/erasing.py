"""Erases traces for good: the only thing that ever does."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, delete, func, or_, select, text, update

from tutelage.store import schema
from tutelage.store.history import chain
from tutelage.store.search import REVISION, searchable_text
from tutelage.store.summaries import next_change
from tutelage.trace import Message

AT_ONCE = 500  # ids in one statement


class Erased(NamedTuple):
    """What was erased, or would be."""

    traces: int
    revisions: int
    blobs: int  # that no other trace uses


class Erasing:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def select(
        self,
        *,
        run: str | None = None,
        task: str | None = None,
        before: datetime | None = None,
        where: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Ids of the traces for which all that is given holds, unfinished ones too, oldest first.

        `before` is when they began; `where` what their metadata say, a dot leading into an inner object.
        """
        table = schema.traces
        query = select(table.c.id, table.c.metadata).order_by(table.c.started)
        if run is not None:
            query = query.where(table.c.run == run)
        if task is not None:
            query = query.where(table.c.task_id == task)
        if before is not None:
            query = query.where(table.c.started < before.astimezone(UTC).isoformat())
        with self._engine.connect() as connection:
            return [id for id, metadata in connection.execute(query) if _holds(json.loads(metadata), where or {})]

    def count(self, ids: Sequence[str]) -> Erased:
        """What erasing these traces erases."""
        with self._engine.connect() as connection:
            table = schema.revisions
            revisions = sum(
                connection.scalar(select(func.count()).select_from(table).where(table.c.trace_id.in_(some))) or 0
                for some in _batched(ids)
            )
            return Erased(len(ids), revisions, len(_their_blobs(connection, ids)))

    def erase(self, ids: Sequence[str]) -> Erased:
        """Erase the traces with all that was said of them; a file of SQLite's does not hold their text any more.

        All of them or none. PostgreSQL's own files and its log may hold it until they are written over.
        """
        sqlite = self._engine.dialect.name == "sqlite"
        with self._engine.connect() as connection:
            if sqlite:
                connection.exec_driver_sql("PRAGMA secure_delete=ON")
                connection.commit()
            with connection.begin():
                erased = _erase(connection, ids, sqlite=sqlite)
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if sqlite:
                connection.exec_driver_sql("VACUUM")
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            else:
                connection.exec_driver_sql("VACUUM")
        return erased


def _erase(connection: Connection, ids: Sequence[str], *, sqlite: bool) -> Erased:
    latest = connection.scalar(select(next_change()))
    blobs = _their_blobs(connection, ids)
    revisions = sum(_forget_text(connection, id, sqlite=sqlite) for id in ids)
    preferences, traces = schema.preferences.c, schema.traces.c
    for some in _batched(ids):
        either = or_(preferences.chosen_id.in_(some), preferences.rejected_id.in_(some))
        connection.execute(delete(schema.preferences).where(either))
        for table in reversed(schema.metadata.sorted_tables):
            if "trace_id" in table.c:
                connection.execute(delete(table).where(table.c.trace_id.in_(some)))
        connection.execute(delete(schema.traces).where(traces.id.in_(some)))
    for some in _batched(blobs):
        connection.execute(delete(schema.blobs).where(schema.blobs.c.id.in_(some)))
    connection.execute(delete(schema.toolsets).where(schema.toolsets.c.id.not_in(select(traces.toolset_id))))
    # So that what is written next is new to those who ask for what changed since they last looked.
    table = schema.summaries
    last = select(func.max(table.c.number)).scalar_subquery()
    connection.execute(update(table).where(table.c.number == last).values(changed=latest))
    if sqlite:
        connection.exec_driver_sql("INSERT INTO trace_text (trace_text) VALUES ('optimize')")
    return Erased(len(ids), revisions, len(blobs))


def _forget_text(connection: Connection, id: str, *, sqlite: bool) -> int:
    """Take a trace's revisions out of the index of words; how many there are."""
    number = connection.scalar(select(schema.summaries.c.number).where(schema.summaries.c.trace_id == id))
    revisions = connection.scalars(select(schema.revisions.c.number).where(schema.revisions.c.trace_id == id)).all()
    for revision in revisions:
        document: dict[str, Any] = {"id": (number or 0) + revision * REVISION}
        if not sqlite:
            connection.execute(text("DELETE FROM trace_text WHERE rowid = :id"), document)
        elif connection.scalar(text("SELECT rowid FROM trace_text WHERE rowid = :id"), document) is not None:
            # The index keeps no text: it has to be told the words that it is to forget.
            rows, _ = chain(connection, id, revision)
            document["text"] = searchable_text([Message.model_validate_json(row.body) for row in rows])
            command = "INSERT INTO trace_text (trace_text, rowid, text) VALUES ('delete', :id, :text)"
            connection.execute(text(command), document)
    return len(revisions)


def _batched(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]


def _their_blobs(connection: Connection, ids: Sequence[str]) -> list[str]:
    """The blobs that no other trace uses."""
    uses, theirs = schema.blob_uses.c, set(ids)
    used: set[str] = set()
    for some in _batched(ids):
        used |= set(connection.scalars(select(uses.blob_id).where(uses.trace_id.in_(some))))
    return sorted(used - set(_used_by_others(connection, used, theirs)))


def _used_by_others(connection: Connection, blobs: set[str], theirs: set[str]) -> Iterator[str]:
    uses = schema.blob_uses.c
    for some in _batched(sorted(blobs)):
        for blob, trace in connection.execute(select(uses.blob_id, uses.trace_id).where(uses.blob_id.in_(some))):
            if trace not in theirs:
                yield blob


def _holds(metadata: Mapping[str, Any], where: Mapping[str, str]) -> bool:
    for name, value in where.items():
        found: Any = metadata
        for key in name.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        if found is None or str(found) != value:
            return False
    return True
