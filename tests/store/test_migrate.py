"""Migrations."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from store_examples import record_trace

from tutelage.errors import TutelageError
from tutelage.store import Selection, Sort, TraceStore, schema
from tutelage.store.migrate import FOLDER, VERSIONS

LATER = ("blob_uses", "blobs", "reruns", "stale_steps", "summaries", "trace_text", "tags", "alembic_version")


def test_each_migration_follows_the_one_numbered_before_it() -> None:
    scripts = ScriptDirectory(str(FOLDER))
    followed = [(script.revision, script.down_revision) for script in scripts.walk_revisions()]
    assert followed[::-1] == list(zip(VERSIONS, [None, *VERSIONS[:-1]], strict=True))


def test_migrations_make_the_tables_of_the_schema(url: str) -> None:
    TraceStore(url).close()
    engine = create_engine(url)
    with engine.connect() as connection:
        options = {"include_name": lambda name, kind, _: kind != "table" or name in schema.metadata.tables}
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), schema.metadata)
    engine.dispose()
    assert differences == []


def test_a_store_from_before_migrations_is_brought_up_to_date(url: str) -> None:
    with TraceStore(url) as store:
        for task in ("good", "bad"):
            record_trace(store, task)
        record_trace(store, "cut", finish=False)
        before = store.summaries()
    execute(url, *(f"DROP TABLE {table}" for table in LATER))
    with TraceStore(url) as store:
        assert store.summaries() == before
        found = store.listing.page(Selection(text="12 EUR"), Sort.OLDEST, limit=9)
        assert [listed.summary.task_id for listed in found] == ["good", "bad"]


def test_a_newer_store_is_refused_and_left_as_it_is(url: str) -> None:
    TraceStore(url).close()
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(TutelageError, match=r'newer Tutelage: its tables are at version "9999"'):
        TraceStore(url)


def test_several_that_open_a_new_store_at_once_all_get_it(url: str) -> None:
    start = threading.Barrier(8)

    def opened() -> list[str]:
        start.wait()
        with TraceStore(url) as store:
            return store.runs()

    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(opened) for _ in range(8)]
    assert [runs.result() for runs in found] == [[]] * 8


def execute(url: str, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()
