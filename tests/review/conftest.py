"""The web application on a small project."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "store"))  # store_examples.py

from starlette.testclient import TestClient

from tutelage.project import Project
from tutelage.review.app import create_app
from tutelage.store import TraceStore


@pytest.fixture
def toml() -> str:
    return 'name = "lamps"\n'


@pytest.fixture
def client(project: Project, store: TraceStore) -> TestClient:
    return TestClient(create_app(project, store, "ada"), base_url="http://127.0.0.1", follow_redirects=False)
