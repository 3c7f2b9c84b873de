"""Rows that are the same whoever writes them: stored once."""

from typing import Any

from sqlalchemy import Connection, Table, and_, select
from sqlalchemy.dialects import postgresql, sqlite


def insert_once(connection: Connection, table: Table, **values: Any) -> None:
    """Insert a row unless there is one with its primary key; of two that do it at once, both go on."""
    key = list(table.primary_key)
    there = select(key[0]).where(and_(*(column == values[column.name] for column in key)))
    if connection.scalar(there) is None:
        insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
        connection.execute(insert(table).values(**values).on_conflict_do_nothing())
