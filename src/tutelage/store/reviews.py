"""What reviewers say: verdicts, tags, preferences, and which revisions there are."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Row, and_, bindparam, delete, func, insert, select, update

from tutelage.store import schema
from tutelage.store.history import chain
from tutelage.store.names import join_names
from tutelage.store.summaries import next_change
from tutelage.trace import Verdict, now

UNDONE = "taken back"


class Judgement(NamedTuple):
    trace_id: str
    revision: int
    verdict: Verdict


class VerdictRecord(NamedTuple):
    """One verdict that was given, whether it still counts or not."""

    revision: int
    verdict: Verdict
    reviewer: str
    comment: str
    created: datetime


class Revision(NamedTuple):
    number: int
    base: int | None  # None: the original
    author: str
    note: str
    created: datetime


class Preference(NamedTuple):
    """Of two traces of a task, the better one."""

    task_id: str
    chosen_id: str
    chosen_revision: int
    rejected_id: str
    rejected_revision: int
    reviewer: str
    comment: str
    created: datetime


class Reviews:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def judge(self, judgements: Sequence[Judgement], *, reviewer: str, comment: str = "") -> str:
        """Record verdicts in one transaction. What `take_back` takes: the moment that they share."""
        moment = now().isoformat()
        with self._engine.begin() as connection:
            _record(connection, judgements, reviewer, comment, moment)
        return moment

    def judge_each(self, judged: Sequence[tuple[Judgement, str, str]]) -> None:
        """Record verdicts, each with its own reviewer and comment, in one transaction."""
        moment = now().isoformat()
        with self._engine.begin() as connection:
            for judgement, reviewer, comment in judged:
                _record(connection, [judgement], reviewer, comment, moment)

    def take_back(self, moment: str, *, reviewer: str) -> int:
        """Give the traces that were judged together at `moment` the verdicts they had before; how many.

        Those that were judged again meanwhile keep their newer verdict.
        """
        table, other = schema.verdicts, schema.verdicts.alias()
        same = and_(other.c.trace_id == table.c.trace_id, other.c.revision == table.c.revision)
        newest = select(func.max(other.c.id)).where(same).correlate(table).scalar_subquery()
        earlier = select(other.c.verdict).where(same, other.c.id < table.c.id).order_by(other.c.id.desc()).limit(1)
        before = earlier.correlate(table).scalar_subquery().label("before")
        query = select(table.c.trace_id, table.c.revision, before)
        query = query.where(table.c.created == moment, table.c.comment != UNDONE, table.c.id == newest)
        with self._engine.begin() as connection:
            previous = [
                Judgement(row.trace_id, row.revision, Verdict(row.before or Verdict.UNDECIDED))
                for row in connection.execute(query)
            ]
            _record(connection, previous, reviewer, UNDONE, now().isoformat())
        return len(previous)

    def verdicts(self, trace_id: str) -> list[VerdictRecord]:
        """All that were given, newest first."""
        table = schema.verdicts
        query = select(table).where(table.c.trace_id == trace_id).order_by(table.c.id.desc())
        with self._engine.connect() as connection:
            return [_verdict_record(row) for row in connection.execute(query)]

    def all_verdicts(self) -> Iterator[tuple[str, VerdictRecord]]:
        """Every verdict that was given on any trace, with the trace's id, oldest first."""
        table = schema.verdicts
        with self._engine.connect() as connection:
            for row in connection.execute(select(table).order_by(table.c.id)):
                yield row.trace_id, _verdict_record(row)

    def all_edits(self) -> Iterator[tuple[str, Revision]]:
        """Every revision but the originals, with the trace's id, oldest first."""
        table = schema.revisions
        query = select(table).where(table.c.number > 0).order_by(table.c.trace_id, table.c.number)
        with self._engine.connect() as connection:
            for row in connection.execute(query):
                yield row.trace_id, _revision(row)

    def verdicts_by_day(self) -> list[tuple[str, Verdict, int]]:
        """How many verdicts were given on each day (ISO, UTC)."""
        table = schema.verdicts
        day = func.substr(table.c.created, 1, 10)
        query = select(day, table.c.verdict, func.count()).group_by(day, table.c.verdict).order_by(day)
        with self._engine.connect() as connection:
            return [(str(row[0]), Verdict(row[1]), int(row[2])) for row in connection.execute(query)]

    def revisions(self, trace_id: str) -> list[Revision]:
        """Oldest first; none of an unfinished trace."""
        table = schema.revisions
        query = select(table).where(table.c.trace_id == trace_id).order_by(table.c.number)
        with self._engine.connect() as connection:
            return [_revision(row) for row in connection.execute(query)]

    def confirm(self, trace_id: str, revision: int, places: Collection[int], *, reviewer: str) -> int:
        """Say that stale steps, the messages at `places` of a revision, still hold; how many were stale."""
        table = schema.stale_steps
        with self._engine.begin() as connection:
            rows, _ = chain(connection, trace_id, revision)
            chosen = [row.id for place, row in enumerate(rows) if place in places]
            stale = and_(table.c.message_id.in_(chosen), table.c.confirmed.is_(None))
            values = {"confirmed_by": reviewer, "confirmed": now().isoformat()}
            return connection.execute(update(table).where(stale).values(**values)).rowcount

    def tags(self, trace_id: str) -> list[str]:
        with self._engine.connect() as connection:
            return _tags(connection, trace_id)

    def tag(
        self, trace_id: str, tags: Iterable[str], *, reviewer: str, instead_of: Iterable[str] | None = None
    ) -> None:
        """Make `tags` the trace's tags in place of `instead_of`, those that the reviewer saw (None: whatever is there).

        A tag that somebody else set meanwhile stays.
        """
        wanted = _plain(tags)
        table, summaries = schema.tags, schema.summaries
        with self._engine.begin() as connection:
            connection.execute(  # first, so that of two who tag it at once the second waits for the first
                update(summaries).where(summaries.c.trace_id == trace_id).values(changed=next_change())
            )
            there = set(_tags(connection, trace_id))
            gone = (there if instead_of is None else _plain(instead_of)) - wanted
            connection.execute(delete(table).where(table.c.trace_id == trace_id, table.c.tag.in_(gone)))
            for tag in sorted(wanted - there):
                values = {"trace_id": trace_id, "tag": tag, "reviewer": reviewer, "created": now().isoformat()}
                connection.execute(insert(table).values(**values))
            now_there = join_names(_tags(connection, trace_id))
            connection.execute(update(summaries).where(summaries.c.trace_id == trace_id).values(tags=now_there))

    def prefer(
        self, task_id: str, chosen: tuple[str, int], rejected: tuple[str, int], *, reviewer: str, comment: str = ""
    ) -> None:
        """Record that of two traces of a task, each an id and a revision, `chosen` is the better one."""
        with self._engine.begin() as connection:
            connection.execute(
                insert(schema.preferences).values(
                    task_id=task_id,
                    chosen_id=chosen[0],
                    chosen_revision=chosen[1],
                    rejected_id=rejected[0],
                    rejected_revision=rejected[1],
                    reviewer=reviewer,
                    comment=comment,
                    created=now().isoformat(),
                )
            )

    def preferences(self, task_id: str | None = None) -> list[Preference]:
        """The newest one of each pair of traces, oldest first."""
        table = schema.preferences
        query = select(table).order_by(table.c.id)
        if task_id is not None:
            query = query.where(table.c.task_id == task_id)
        newest: dict[frozenset[str], Preference] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(query):
                pair = frozenset((row.chosen_id, row.rejected_id))
                newest.pop(pair, None)
                newest[pair] = Preference(
                    *(row.task_id, row.chosen_id, row.chosen_revision, row.rejected_id, row.rejected_revision),
                    *(row.reviewer, row.comment, datetime.fromisoformat(row.created)),
                )
        return list(newest.values())


def _record(connection: Connection, judgements: Sequence[Judgement], reviewer: str, comment: str, moment: str) -> None:
    if not judgements:
        return
    said = {"reviewer": reviewer, "comment": comment, "created": moment}
    connection.execute(
        insert(schema.verdicts),
        [{"trace_id": j.trace_id, "revision": j.revision, "verdict": j.verdict.value, **said} for j in judgements],
    )
    table = schema.summaries
    change = connection.scalar(select(next_change()))
    latest = and_(table.c.trace_id == bindparam("of"), table.c.revision == bindparam("at"))
    connection.execute(
        update(table).where(latest).values(verdict=bindparam("given"), changed=change),
        [{"of": j.trace_id, "at": j.revision, "given": j.verdict.value} for j in judgements],
    )


def _plain(tags: Iterable[str]) -> set[str]:
    return {" ".join(tag.split()) for tag in tags} - {""}


def _verdict_record(row: Row[Any]) -> VerdictRecord:
    created = datetime.fromisoformat(row.created)
    return VerdictRecord(row.revision, Verdict(row.verdict), row.reviewer, row.comment, created)


def _revision(row: Row[Any]) -> Revision:
    return Revision(row.number, row.base, row.author, row.note, datetime.fromisoformat(row.created))


def _tags(connection: Connection, trace_id: str) -> list[str]:
    table = schema.tags
    return list(connection.scalars(select(table.c.tag).where(table.c.trace_id == trace_id).order_by(table.c.tag)))
