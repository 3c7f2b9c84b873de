"""One rollout as it is being recorded: each call is on disk when it returns."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import JsonValue
from sqlalchemy import Connection, Engine, insert, update
from sqlalchemy.exc import IntegrityError

from tutelage.store import schema
from tutelage.store.blobs import keep_blobs
from tutelage.store.history import append, append_step, first_revision
from tutelage.store.summaries import summarise
from tutelage.trace import Message, Step, StopReason, Task, now
from tutelage.world import Reward


class AlreadyRecorded(Exception):
    """Another execution of the same attempt finished first; this one is kept, but does not count."""


class Recording:
    """Appends to one trace."""

    def __init__(self, engine: Engine, trace_id: str, last: int | None = None, count: int = 0) -> None:
        """`last` is the id of the message to go on after, the `count`-th."""
        self.id = trace_id
        self._engine = engine
        self._last = last
        self._count = count

    def message(self, message: Message, blobs: Sequence[bytes] = ()) -> None:
        """Append a system or user message or a tool result, with the bytes of what its parts name."""
        with self._engine.begin() as connection:
            keep_blobs(connection, self.id, blobs)
            last = append(connection, self.id, self._last, message)
            self._moved(connection, last)
        self._last, self._count = last, self._count + 1

    def messages(self, messages: Sequence[Message]) -> None:
        """Append several in one transaction."""
        last = self._last
        with self._engine.begin() as connection:
            for message in messages:
                last = append(connection, self.id, last, message)
            self._moved(connection, last)
        self._last, self._count = last, self._count + len(messages)

    def step(self, step: Step, message: Message) -> None:
        """Append what the model gave, with its step. To be called before the message's tools run."""
        if step.seen != self._count:
            raise ValueError(f"the step saw {step.seen} messages, but {self._count} are recorded")
        with self._engine.begin() as connection:
            seen, last = self._last, append(connection, self.id, self._last, message)
            append_step(connection, self.id, step, seen, last)
            self._moved(connection, last)
        self._last, self._count = last, self._count + 1

    def exchange(self, seen: Sequence[Message], step: Step, message: Message, metadata: dict[str, JsonValue]) -> None:
        """Append what a model was shown and what it gave, and note `metadata` of the trace: all of it or nothing."""
        if step.seen != self._count + len(seen):
            raise ValueError(f"the step saw {step.seen} messages, but {self._count + len(seen)} are recorded")
        last = self._last
        with self._engine.begin() as connection:
            for each in seen:
                last = append(connection, self.id, last, each)
            shown, last = last, append(connection, self.id, last, message)
            append_step(connection, self.id, step, shown, last)
            noted = {"metadata": json.dumps(metadata, ensure_ascii=False)}
            connection.execute(update(schema.traces).where(schema.traces.c.id == self.id).values(noted))
            self._moved(connection, last)
        self._last, self._count = last, step.seen + 1

    def finish(
        self,
        stop_reason: StopReason,
        reward: Reward | None = None,
        metadata: dict[str, JsonValue] | None = None,
        task: Task | None = None,
    ) -> None:
        """Close the trace; from here on it is immutable. `task`, under the same id, is what was asked in the end.

        Raises AlreadyRecorded.
        """
        values: dict[str, Any] = {"finished": now().isoformat(), "stop_reason": stop_reason.value}
        if task:
            values["task"] = task.model_dump_json()
        if reward:
            values |= {
                "reward": reward.value,
                "reward_reason": reward.reason,
                "reward_category": reward.category,
            }
        if metadata is not None:
            values["metadata"] = json.dumps(metadata, ensure_ascii=False)
        try:
            with self._engine.begin() as connection:
                first = first_revision(self.id, self._last, values["finished"], "as recorded")
                connection.execute(insert(schema.revisions).values(first))
                connection.execute(update(schema.traces).where(schema.traces.c.id == self.id).values(**values))
                summarise(connection, self.id)
        except IntegrityError as error:
            raise AlreadyRecorded(self.id) from error

    def renumber(self, attempt: int) -> None:
        """Make the unfinished trace another attempt at its task."""
        with self._engine.begin() as connection:
            for table, id in ((schema.traces, schema.traces.c.id), (schema.summaries, schema.summaries.c.trace_id)):
                connection.execute(update(table).where(id == self.id).values(attempt=attempt))

    def _moved(self, connection: Connection, last: int | None) -> None:
        """In each transaction that appends: `last` is the last message now."""
