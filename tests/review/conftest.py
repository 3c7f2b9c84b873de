"""The web application on a small project."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

sys.path.append(str(Path(__file__).parents[1] / "store"))  # store_examples.py

from browser_helpers import CHROMIUM
from playwright.sync_api import Browser, Page, sync_playwright
from starlette.testclient import TestClient

from tutelage.endpoint.addresses import listen
from tutelage.project import Project
from tutelage.review.app import create_app
from tutelage.store import TraceStore


@pytest.fixture
def toml() -> str:
    return 'name = "lamps"\n'


@pytest.fixture
def client(project: Project, store: TraceStore) -> TestClient:
    return TestClient(create_app(project, store, "ada"), base_url="http://127.0.0.1", follow_redirects=False)


@pytest.fixture(scope="module")  # Playwright has an event loop running as long as it lives
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "CI=true, but no Chromium is installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def url(project: Project, store: TraceStore) -> Iterator[str]:
    """The application behind a real server."""
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(project, store, "ada"), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that no script fails on, whose dialogs only hostile text would open."""
    context = browser.new_context()
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.set_default_timeout(10_000)
    yield page
    context.close()
    assert faults == []
