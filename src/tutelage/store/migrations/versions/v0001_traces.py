"""Traces, what reviewers say of them, and what lists are made of.

Stores that were made before there were migrations hold some of these tables or all: what is there is left.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column, Float, ForeignKey, Integer, String, Text

revision = "0001"
down_revision = None


def upgrade() -> None:
    _table("toolsets", Column("id", String(64), primary_key=True), Column("body", Text, nullable=False))
    _table(
        "traces",
        Column("id", String(32), primary_key=True),
        Column("run", String, nullable=False),
        Column("task_id", String, nullable=False),
        Column("kind", String, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("task", Text, nullable=False),
        Column("model", String, nullable=False),
        Column("toolset_id", String(64), ForeignKey("toolsets.id"), nullable=False),
        Column("started", String, nullable=False),
        Column("finished", String),
        Column("stop_reason", String),
        Column("reward", Float),
        Column("reward_reason", Text, nullable=False),
        Column("reward_category", String, nullable=False),
        Column("metadata", Text, nullable=False),
    )
    finished = sa.text("finished IS NOT NULL")
    where = {"sqlite_where": finished, "postgresql_where": finished}
    _index("one_finished_trace_an_attempt", "traces", "run", "task_id", "attempt", unique=True, **where)
    _table(
        "messages",
        Column("id", Integer, primary_key=True),
        Column("trace_id", String(32), ForeignKey("traces.id"), nullable=False),
        Column("parent_id", Integer, ForeignKey("messages.id")),
        Column("body", Text, nullable=False),
    )
    _index("ix_messages_trace_id", "messages", "trace_id")
    _table(
        "steps",
        Column("message_id", Integer, ForeignKey("messages.id"), primary_key=True),
        Column("trace_id", String(32), ForeignKey("traces.id"), nullable=False),
        Column("seen_id", Integer, ForeignKey("messages.id")),
        Column("started", String, nullable=False),
        Column("seconds", Float, nullable=False),
        Column("prompt_tokens", Integer),
        Column("completion_tokens", Integer),
        Column("finish_reason", String),
    )
    _index("ix_steps_trace_id", "steps", "trace_id")
    _table(
        "revisions",
        Column("trace_id", String(32), ForeignKey("traces.id"), primary_key=True),
        Column("number", Integer, primary_key=True),
        Column("base", Integer),
        Column("head_id", Integer, ForeignKey("messages.id"), nullable=False),
        Column("author", String, nullable=False),
        Column("note", Text, nullable=False),
        Column("created", String, nullable=False),
    )
    _table(
        "verdicts",
        Column("id", Integer, primary_key=True),
        Column("trace_id", String(32), ForeignKey("traces.id"), nullable=False),
        Column("revision", Integer, nullable=False),
        Column("verdict", String, nullable=False),
        Column("reviewer", String, nullable=False),
        Column("comment", Text, nullable=False),
        Column("created", String, nullable=False),
    )
    _index("ix_verdicts_trace_id", "verdicts", "trace_id")
    _table(
        "summaries",
        Column("number", Integer, primary_key=True),
        Column("trace_id", String(32), ForeignKey("traces.id"), nullable=False, unique=True),
        Column("run", String, nullable=False),
        Column("task_id", String, nullable=False),
        Column("kind", String, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("model", String, nullable=False),
        Column("started", String, nullable=False),
        Column("stop_reason", String),
        Column("reward", Float),
        Column("revision", Integer, nullable=False),
        Column("verdict", String, nullable=False),
        Column("steps", Integer, nullable=False),
        Column("errors", Integer, nullable=False),
        Column("tools", Text, nullable=False),
        Column("tags", Text, nullable=False),
        Column("changed", Integer, nullable=False),
    )
    _index("summaries_started", "summaries", "started")
    _index("summaries_task", "summaries", "task_id", "run", "reward")
    _index("summaries_changed", "summaries", "changed")
    _table(
        "tags",
        Column("trace_id", String(32), ForeignKey("traces.id"), primary_key=True),
        Column("tag", String, primary_key=True),
        Column("reviewer", String, nullable=False),
        Column("created", String, nullable=False),
    )
    _table(
        "preferences",
        Column("id", Integer, primary_key=True),
        Column("task_id", String, nullable=False),
        Column("chosen_id", String(32), ForeignKey("traces.id"), nullable=False),
        Column("chosen_revision", Integer, nullable=False),
        Column("rejected_id", String(32), ForeignKey("traces.id"), nullable=False),
        Column("rejected_revision", Integer, nullable=False),
        Column("reviewer", String, nullable=False),
        Column("comment", Text, nullable=False),
        Column("created", String, nullable=False),
    )
    _index("ix_preferences_task_id", "preferences", "task_id")
    if op.get_bind().dialect.name == "sqlite":
        op.execute("CREATE VIRTUAL TABLE IF NOT EXISTS trace_text USING fts5(text, content='')")
    else:
        number = Column("rowid", sa.BigInteger, primary_key=True, autoincrement=False)
        _table("trace_text", number, Column("text", Text, nullable=False))


def _table(name: str, *columns: Column[Any]) -> None:
    op.create_table(name, *columns, if_not_exists=True)


def _index(name: str, table: str, *columns: str, unique: bool = False, **where: Any) -> None:
    op.create_index(name, table, columns, unique=unique, if_not_exists=True, **where)
