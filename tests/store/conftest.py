"""Stores of each kind that there is: what is said of one holds for the other."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgresql_server import new_database, postgresql_server

from tutelage.store import TraceStore


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    with postgresql_server() as socket:
        yield socket


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TraceStore]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'traces.db'}"
    else:
        url = new_database(request.getfixturevalue("postgresql"))
    with TraceStore(url) as store:
        yield store
