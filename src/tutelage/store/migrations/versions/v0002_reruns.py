"""Traces run again from one of their steps, and steps that an edit of what precedes them made stale."""

from alembic import op
from sqlalchemy import Column, Float, ForeignKey, Integer, String, Text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "reruns",
        Column("id", Integer, primary_key=True),
        Column("trace_id", String(32), ForeignKey("traces.id"), nullable=False),
        Column("base", Integer, nullable=False),
        Column("kept", Integer, nullable=False),
        Column("head_id", Integer, ForeignKey("messages.id")),
        Column("model", String, nullable=False),
        Column("hint", Text, nullable=False),
        Column("author", String, nullable=False),
        Column("started", String, nullable=False),
        Column("revision", Integer),
        Column("stop_reason", String),
        Column("reward", Float),
        Column("reward_reason", Text, nullable=False),
        Column("reward_category", String, nullable=False),
        Column("notes", Text, nullable=False),
        if_not_exists=True,
    )
    op.create_index("ix_reruns_trace_id", "reruns", ["trace_id"], if_not_exists=True)
    op.create_table(
        "stale_steps",
        Column("message_id", Integer, ForeignKey("messages.id"), primary_key=True),
        Column("trace_id", String(32), ForeignKey("traces.id"), nullable=False),
        Column("confirmed_by", String),
        Column("confirmed", String),
        if_not_exists=True,
    )
    op.create_index("ix_stale_steps_trace_id", "stale_steps", ["trace_id"], if_not_exists=True)
