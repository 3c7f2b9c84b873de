"""What judging models said of traces."""

from alembic import op
from sqlalchemy import Column, Float, ForeignKey, Integer, String, Text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "scores",
        Column("trace_id", String(32), ForeignKey("traces.id"), primary_key=True),
        Column("revision", Integer, primary_key=True),
        Column("model", String, primary_key=True),
        Column("prompt_sha256", String(64), primary_key=True),
        Column("score", Float, nullable=False),
        Column("reason", Text, nullable=False),
        Column("created", String, nullable=False),
        if_not_exists=True,
    )
