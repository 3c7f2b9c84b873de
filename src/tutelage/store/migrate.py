"""Brings a store's tables to the present version, by Alembic; its migrations stand in the folder beside this file.

To change a table: change schema.py, and add `migrations/versions/vNNNN_what.py` with the next number. A store is
migrated when it is opened, so a migration must be safe to run without anybody watching.
"""

import re
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from tutelage.errors import TutelageError
from tutelage.store.summaries import add_missing_summaries

FOLDER = Path(__file__).with_name("migrations")
VERSIONS = sorted(path.stem[1:5] for path in (FOLDER / "versions").glob("v[0-9]*.py"))


class NewerStore(TutelageError):
    """Another Tutelage made the store's tables what this one does not know."""

    def __init__(self, version: str) -> None:
        super().__init__(
            f'The store was written by a newer Tutelage: its tables are at version "{version}", and this one knows '
            f'them up to "{VERSIONS[-1]}". Update Tutelage, or name another store.'
        )


def migrate(engine: Engine) -> None:
    """Create or change what is not as it should be; all of it or, where it fails, nothing.

    Of several processes that open a store at once, one does it and the others wait. Raises NewerStore.
    """
    with engine.connect() as connection:
        if _version(connection) == VERSIONS[-1]:
            return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", re.sub("%", "%%", str(FOLDER)))
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        elif engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('tutelage.migrate'))")
        if _version(connection) == VERSIONS[-1]:  # another process was first
            return
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        add_missing_summaries(connection)


def _version(connection: Connection) -> str | None:
    """Which of VERSIONS the tables are at; None: the store is new, or older than its migrations."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if version is not None and version not in VERSIONS:
        raise NewerStore(version)
    return version
