"""The store's database: SQLite or PostgreSQL, opened and brought up to date."""

import re
import sqlite3
import time
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from tutelage.errors import MissingExtra, TutelageError
from tutelage.store.migrate import migrate

DATABASES = ("sqlite", "postgresql")


def open_database(url: str) -> Engine:
    """Raises TutelageError for a URL that names none, a driver that is missing, or a database that cannot be opened."""
    try:
        if make_url(url).get_backend_name() not in DATABASES:
            raise TutelageError(
                f'The store "{_shown(url)}" is in a database that Tutelage does not know. Write sqlite:///FILE or '
                "postgresql://…."
            )
        engine = create_engine(url)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _configure_sqlite)
        migrate(engine)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        if isinstance(error, ImportError) and error.name == "psycopg":
            raise MissingExtra("psycopg", "postgresql") from None
        raise TutelageError(f'The store "{_shown(url)}" cannot be used: {_shown(str(error))}.') from None
    except DBAPIError as error:
        raise TutelageError(f'The store "{_shown(url)}" could not be opened: {error.orig}.') from error
    return engine


def _shown(url: str) -> str:
    """The URL, or a text that may hold it, without its password."""
    return re.sub(r"://([^/@:\s]*):\S*@", r"://\1:***@", url)


def _configure_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("busy_timeout=30000", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    # Of several that switch a new file to WAL at once, SQLite refuses some at once, whatever their patience.
    deadline = time.monotonic() + 30
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    cursor.close()
