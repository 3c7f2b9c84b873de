"""A trace's messages as rows, each linked to the one before it; its steps and its first revision."""

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from tutelage.errors import TutelageError
from tutelage.store import schema
from tutelage.trace import Message, Step

# Made once: to build a statement costs as much as to run it.
_INSERT_MESSAGE = insert(schema.messages)
_INSERT_STEP = insert(schema.steps)


def append(connection: Connection, trace_id: str, parent: int | None, message: Message) -> int:
    """Store a message after `parent`; its id."""
    body = message.model_dump_json(exclude_defaults=True)
    result = connection.execute(_INSERT_MESSAGE, {"trace_id": trace_id, "parent_id": parent, "body": body})
    assert result.inserted_primary_key is not None
    return int(result.inserted_primary_key[0])


def append_step(connection: Connection, trace_id: str, step: Step, seen: int | None, given: int) -> None:
    """Store what is known of the call that saw the message `seen` as its last one and gave the message `given`."""
    values = {
        "message_id": given,
        "trace_id": trace_id,
        "seen_id": seen,
        "started": step.started.isoformat(),
        "seconds": step.seconds,
        "prompt_tokens": step.prompt_tokens,
        "completion_tokens": step.completion_tokens,
        "finish_reason": step.finish_reason,
    }
    connection.execute(_INSERT_STEP, values)


def branch(connection: Connection, trace_id: str, rows: Sequence[Row[Any]], messages: Sequence[Message]) -> int | None:
    """Store `messages` as what an edit made of the history `rows`, whose unchanged beginning is shared; the last's id.

    A step whose own text is as before is a copy: it keeps what was recorded of it, and is stale if what stands before
    it changed by more than what is taught.
    """
    old = [Message.model_validate_json(row.body) for row in rows]
    shared = next((n for n, pair in enumerate(zip(old, messages, strict=False)) if pair[0] != pair[1]), None)
    shared = min(len(old), len(messages)) if shared is None else shared
    copied = _copied([_as_said(message) for message in old], [_as_said(message) for message in messages])
    head = rows[shared - 1].id if shared else None
    same_before = True
    for place in range(shared, len(messages)):
        parent, head = head, append(connection, trace_id, head, messages[place])
        if place in copied and messages[place].role == "assistant":
            _copy_step(connection, rows[copied[place]], parent, head, stale=not same_before)
        same_before = same_before and copied.get(place) == place
    return head


def _as_said(message: Message) -> str:
    """Without the mark that it is context only, which changes nothing for what comes after it."""
    return message.model_copy(update={"weight": 1.0}).model_dump_json()


def _copied(old: Sequence[str], new: Sequence[str]) -> dict[int, int]:
    """Places in `new` of what stands in `old` too, and where there."""
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    return {block.b + n: block.a + n for block in blocks for n in range(block.size)}


def _copy_step(connection: Connection, row: Row[Any], parent: int | None, copy: int, *, stale: bool) -> None:
    """What is known of the step `row`, for its copy after `parent`."""
    steps, stales = schema.steps, schema.stale_steps
    step = connection.execute(select(steps).where(steps.c.message_id == row.id)).one_or_none()
    if step is not None:
        seen = step.seen_id if stale or step.seen_id != row.parent_id else parent
        connection.execute(insert(steps).values({**step._mapping, "message_id": copy, "seen_id": seen}))
    before = connection.execute(select(stales).where(stales.c.message_id == row.id)).one_or_none()
    if stale:
        connection.execute(insert(stales).values(message_id=copy, trace_id=row.trace_id))
    elif before is not None:
        connection.execute(insert(stales).values({**before._mapping, "message_id": copy}))


def last_rerun(connection: Connection, trace_id: str, revision: int) -> Row[Any] | None:
    """How `revision` came to its end: the re-run that made it or the one that it is an edit of; None: the original."""
    reruns, revisions = schema.reruns, schema.revisions
    query = select(reruns).where(reruns.c.trace_id == trace_id, reruns.c.revision.is_not(None))
    made = {row.revision: row for row in connection.execute(query)}
    bases = {}
    if made:
        query = select(revisions.c.number, revisions.c.base).where(revisions.c.trace_id == trace_id)
        bases = {row.number: row.base for row in connection.execute(query)}
    number: int | None = revision
    while number is not None and number not in made:
        number = bases.get(number)
    return None if number is None else made[number]


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
