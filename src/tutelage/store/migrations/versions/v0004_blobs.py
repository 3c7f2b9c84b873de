"""What tools gave back beside text."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "blob_uses",
        sa.Column("trace_id", sa.String(32), sa.ForeignKey("traces.id"), primary_key=True),
        sa.Column("blob_id", sa.String(64), sa.ForeignKey("blobs.id"), primary_key=True),
    )
    op.create_index("ix_blob_uses_blob_id", "blob_uses", ["blob_id"])
