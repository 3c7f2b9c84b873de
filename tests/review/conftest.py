"""A project with a small store, and the web application on it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "store"))  # store_examples.py

from starlette.testclient import TestClient

from tutelage.project import Project
from tutelage.review.app import create_app
from tutelage.store import TraceStore


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "tutelage.toml").write_text('name = "lamps"\n')
    return Project.open(tmp_path)


@pytest.fixture
def store(project: Project) -> Iterator[TraceStore]:
    with TraceStore(project.store_url) as store:
        yield store


@pytest.fixture
def client(project: Project, store: TraceStore) -> TestClient:
    return TestClient(create_app(project, store, "ada"), base_url="http://127.0.0.1", follow_redirects=False)
