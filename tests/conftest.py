"""A small project and its store, for tests that need no more; a PostgreSQL for those that do."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgresql_server import postgresql, postgresql_databases

from tutelage.project import Project
from tutelage.store import TraceStore

__all__ = ["postgresql", "postgresql_databases"]


@pytest.fixture
def toml() -> str:
    """What stands in tutelage.toml; a module or folder that wants something else says so under the same name."""
    return ""


@pytest.fixture
def project(tmp_path: Path, toml: str) -> Project:
    (tmp_path / "tutelage.toml").write_text(toml)
    return Project.open(tmp_path)


@pytest.fixture
def store(project: Project) -> Iterator[TraceStore]:
    with TraceStore(project.store_url) as store:
        yield store
