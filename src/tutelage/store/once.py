"""Rows whose key is a digest of what they hold: stored once, whoever comes first."""

from typing import Any

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import postgresql, sqlite


def insert_once(connection: Connection, table: Table, **values: Any) -> None:
    """Insert a row unless there is one with its `id`; of two that do it at once, both go on."""
    if connection.scalar(select(table.c.id).where(table.c.id == values["id"])) is None:
        insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
        connection.execute(insert(table).values(**values).on_conflict_do_nothing())
