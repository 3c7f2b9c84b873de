"""The table `summaries`: what a list shows of a trace, kept with every write."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Row, Select, case, func, insert, select, update

from tutelage.store import schema
from tutelage.store.history import chain, last_rerun
from tutelage.store.names import join_names
from tutelage.store.search import add_document
from tutelage.trace import Message, StopReason, Verdict


class TraceSummary(NamedTuple):
    """What a list shows of a trace."""

    id: str
    run: str
    task_id: str
    kind: str
    attempt: int
    model: str
    timestamp: datetime
    finished: bool
    stop_reason: StopReason | None
    reward: float | None
    revision: int
    verdict: Verdict
    steps: int


def current_verdict(connection: Connection, trace_id: str, revision: int) -> Verdict:
    """The newest verdict on a revision."""
    table = schema.verdicts
    query = select(table.c.verdict).where(table.c.trace_id == trace_id, table.c.revision == revision)
    return Verdict(connection.scalar(query.order_by(table.c.id.desc()).limit(1)) or Verdict.UNDECIDED)


def next_change() -> Any:
    """The value of `changed` for what is written now."""
    return select(func.coalesce(func.max(schema.summaries.c.changed), 0) + 1).scalar_subquery()


def add_summary(connection: Connection, trace_id: str) -> None:
    """The row of a trace that was just begun."""
    trace = schema.traces
    copied = [trace.c[name] for name in ("run", "task_id", "kind", "attempt", "model", "started")]
    row = connection.execute(select(*copied).where(trace.c.id == trace_id)).one()
    nothing = {"revision": 0, "verdict": Verdict.UNDECIDED.value, "steps": 0, "errors": 0, "tools": "", "tags": ""}
    connection.execute(
        insert(schema.summaries).values(trace_id=trace_id, **row._mapping, **nothing, changed=next_change())
    )


def summarise(connection: Connection, trace_id: str) -> None:
    """Bring the row of a finished trace up to date after it was finished or edited, and make its text findable."""
    trace = schema.traces
    rows, revision = chain(connection, trace_id, None)
    original = connection.execute(select(trace.c.stop_reason, trace.c.reward).where(trace.c.id == trace_id)).one()
    end: Any = (last_rerun(connection, trace_id, revision) if revision else None) or original
    messages = [Message.model_validate_json(message.body) for message in rows]
    table = schema.summaries
    connection.execute(
        update(table)
        .where(table.c.trace_id == trace_id)
        .values(
            stop_reason=end.stop_reason,
            reward=end.reward,
            revision=revision,
            verdict=current_verdict(connection, trace_id, revision).value,
            steps=sum(message.role == "assistant" for message in messages),
            errors=sum(message.is_error for message in messages),
            tools=join_names(call.name for message in messages for call in message.tool_calls),
            changed=next_change(),
        )
    )
    number = connection.scalar(select(table.c.number).where(table.c.trace_id == trace_id))
    assert number is not None
    add_document(connection, number, revision, messages)


def add_missing_summaries(engine: Engine) -> None:
    """Summarise the traces of a store that was written before it had this table, or the words of other databases."""
    trace, table, words = schema.traces, schema.summaries, schema.trace_words
    missing = select(trace.c.id, trace.c.finished).where(trace.c.id.not_in(select(table.c.trace_id)))
    wordless = select(table.c.trace_id).where(
        table.c.stop_reason.is_not(None), table.c.number.not_in(select(words.c.number))
    )
    with engine.connect() as connection:
        counts = [connection.scalar(select(func.count()).select_from(t)) for t in (trace, table)]
        found = engine.dialect.name != "sqlite" and connection.execute(wordless.limit(1)).first()
        if counts[0] == counts[1] and not found:
            return
    with engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # of two that open it, one finds the work done
        for id, finished in connection.execute(missing).all():
            add_summary(connection, id)
            if finished:
                summarise(connection, id)
        for id in connection.scalars(wordless).all() if found else ():
            summarise(connection, id)


def selected(*more: Any) -> Select[Any]:
    """A query of what `summary` reads, with `more` columns."""
    table, steps = schema.summaries, schema.steps
    so_far = select(func.count()).where(steps.c.trace_id == table.c.trace_id).scalar_subquery()
    count = case((table.c.stop_reason.is_(None), so_far), else_=table.c.steps).label("counted_steps")
    return select(table, count, *more)


def summary(row: Row[Any]) -> TraceSummary:
    return TraceSummary(
        id=row.trace_id,
        run=row.run,
        task_id=row.task_id,
        kind=row.kind,
        attempt=row.attempt,
        model=row.model,
        timestamp=datetime.fromisoformat(row.started),
        finished=row.stop_reason is not None,
        stop_reason=StopReason(row.stop_reason) if row.stop_reason else None,
        reward=row.reward,
        revision=row.revision,
        verdict=Verdict(row.verdict),
        steps=row.counted_steps,
    )
