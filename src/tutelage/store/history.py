"""A trace's messages as rows, each linked to the one before it; its steps and its first revision."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from tutelage.errors import TutelageError
from tutelage.store import schema
from tutelage.trace import Message, Step


def append(connection: Connection, trace_id: str, parent: int | None, message: Message) -> int:
    """Store a message after `parent`; its id."""
    body = message.model_dump_json(exclude_defaults=True)
    result = connection.execute(insert(schema.messages).values(trace_id=trace_id, parent_id=parent, body=body))
    assert result.inserted_primary_key is not None
    return int(result.inserted_primary_key[0])


def step_values(trace_id: str, step: Step, seen: int | None, given: int) -> dict[str, Any]:
    """A row of the table of steps: the call saw the message `seen` as its last one and gave the message `given`."""
    return {
        "message_id": given,
        "trace_id": trace_id,
        "seen_id": seen,
        "started": step.started.isoformat(),
        "seconds": step.seconds,
        "prompt_tokens": step.prompt_tokens,
        "completion_tokens": step.completion_tokens,
        "finish_reason": step.finish_reason,
    }


def first_revision(trace_id: str, head: int | None, created: str, note: str) -> dict[str, Any]:
    """A row of the table of revisions: the original, whose last message is `head`."""
    return {"trace_id": trace_id, "number": 0, "head_id": head, "author": "", "note": note, "created": created}


def chain(connection: Connection, trace_id: str, revision: int | None) -> tuple[list[Row[Any]], int]:
    """A revision's messages, first to last, and its number; of an unfinished trace, what is there so far.

    `revision` None takes the latest. Raises TutelageError where it does not exist.
    """
    table = schema.revisions
    query = select(table).where(table.c.trace_id == trace_id).order_by(table.c.number.desc())
    if revision is not None:
        query = query.where(table.c.number == revision)
    found = connection.execute(query.limit(1)).one_or_none()
    if found is None and revision:
        raise TutelageError(f'Trace "{trace_id}" has no revision {revision}.')
    stored = connection.execute(
        select(schema.messages).where(schema.messages.c.trace_id == trace_id).order_by(schema.messages.c.id)
    ).all()
    by_id: Mapping[int, Row[Any]] = {message.id: message for message in stored}
    head = found.head_id if found else (stored[-1].id if stored else None)
    rows = []
    while head is not None:
        rows.append(by_id[head])
        head = by_id[head].parent_id
    rows.reverse()
    assert all(later.parent_id == earlier.id for earlier, later in pairwise(rows))
    return rows, found.number if found else 0
