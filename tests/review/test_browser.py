"""The application in a real browser: keys, forms that help while one types, and hostile text."""

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from store_examples import record_trace

from tutelage.project import Project
from tutelage.review.app import create_app
from tutelage.review.server import listen
from tutelage.store import TraceStore
from tutelage.trace import Tool, Verdict

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("CI") != "true",
    reason="no Chromium is installed (Debian: apt-get install chromium)",
)
SCHEMA = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
DEFINITION = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
TOOL = Tool(name="look", definition=json.dumps(DEFINITION))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "CI=true, but no Chromium is installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def url(project: Project, store: TraceStore) -> Iterator[str]:
    """The application behind a real server."""
    listening = listen(0)
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


def press(page: Page, *keys: str) -> None:
    """Once the page's script has run."""
    page.wait_for_load_state()
    for key in keys:
        page.keyboard.press(key)


def test_a_list_is_judged_by_keys_alone(page: Page, url: str, store: TraceStore) -> None:
    ids = [record_trace(store, f"t{number}").id for number in range(4)]
    page.goto(f"{url}/?sort=oldest")
    press(page, "j", "x", "j", "x", "a")  # two of the list together
    expect(page.get_by_text("2 traces approved.")).to_be_visible()
    press(page, "z")
    expect(page.get_by_text("2 verdicts taken back.")).to_be_visible()
    press(page, "j")
    press(page, "Enter")  # one by one
    expect(page).to_have_url(re.compile(ids[0]))
    for key, next in (("a", 1), ("r", 2), ("s", 3)):
        press(page, key)
        expect(page).to_have_url(re.compile(ids[next]))
    press(page, "l")
    expect(page.get_by_role("heading", name="4 traces")).to_be_visible()
    verdicts = [store.load(id).verdict for id in ids]
    assert verdicts == [Verdict.APPROVED, Verdict.REJECTED, Verdict.UNDECIDED, Verdict.UNDECIDED]


def test_help_and_search_open_by_key(page: Page, url: str, store: TraceStore) -> None:
    id = record_trace(store, said="A red lamp.").id
    record_trace(store, "other", said="A desk.")
    page.goto(f"{url}/trace/{id}?at=1")
    press(page, "?")
    expect(page.get_by_role("dialog")).to_be_visible()
    press(page, "a")
    press(page, "Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert store.load(id).verdict == Verdict.UNDECIDED  # keys are the dialog's while it is open
    press(page, "/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("desk")
    press(page, "Enter")
    expect(page.get_by_role("heading", name="1 trace")).to_be_visible()


def test_a_message_is_edited_in_place_and_its_arguments_are_checked_while_one_types(
    page: Page, url: str, store: TraceStore
) -> None:
    id = record_trace(store, tools=[TOOL]).id
    page.goto(f"{url}/trace/{id}")
    press(page, "j", "j", "j", "e")
    arguments = page.get_by_label("Arguments, a JSON object").first
    arguments.fill('{"id": 7}')
    expect(page.get_by_text('"id": 7 is not of type')).to_be_visible()
    arguments.fill('{"id": "P7"}')
    expect(page.get_by_text("is not of type")).to_have_count(0)
    press(page, "Control+Enter")
    expect(page.get_by_text("stale", exact=True)).to_be_visible()
    assert store.load(id).messages[2].tool_calls[0].arguments == '{"id": "P7"}'
    page.get_by_role("link", name="what changed").click()
    expect(page.locator("ins").first).to_be_visible()
    page.get_by_role("button", name="Restore revision 0").click()
    expect(page.get_by_text("revision 0 restored")).to_be_visible()
    assert store.load(id).messages == store.load(id, 0).messages


def test_a_step_is_inserted_taught_or_not_and_cut_by_mouse(page: Page, url: str, store: TraceStore) -> None:
    id = record_trace(store, tools=[TOOL], steps=3).id

    def choose(step: int, what: str) -> None:
        message = page.locator(f"#m{step}")
        message.locator(".menu > summary").click()
        message.get_by_text(what, exact=True).click()

    page.goto(f"{url}/trace/{id}")
    choose(2, "Context only")
    expect(page.locator("#m2").get_by_text("context only", exact=True)).to_be_visible()
    choose(4, "Cut after this step")
    expect(page.locator("[data-message]")).to_have_count(6)
    choose(4, "Insert a step after")
    page.get_by_label("Content").fill("It costs 12 EUR.")
    page.get_by_role("button", name="Save as revision 3").click()
    expect(page.get_by_role("heading", name="Revisions")).to_be_visible()
    assert store.load(id).answer() == "It costs 12 EUR."
    assert [message.weight for message in store.load(id).messages if message.role == "assistant"] == [0, 1, 1]


def test_hostile_text_runs_nowhere(page: Page, url: str, store: TraceStore) -> None:
    hostile = "</script></textarea><script>alert(1)</script><img src=x onerror=alert(2)><svg onload=alert(3)>"
    id = record_trace(store, hostile, said=hostile * 30, reasoning=hostile, kind=hostile, tool=hostile).id
    store.judge(id, 0, Verdict.UNDECIDED, reviewer=hostile, comment=hostile)
    for path in ("/", f"/trace/{id}", f"/trace/{id}?edit=4", f"/trace/{id}/json", "/overview", f"/?q={hostile}"):
        page.goto(url + path)
        page.wait_for_load_state("networkidle")
        expect(page.locator("img")).to_have_count(0)


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_the_window(page: Page, url: str, store: TraceStore, width: int) -> None:
    ids = [record_trace(store, "lamp", attempt=n, kind="k" * 80, said="w" * 300, reward=n).id for n in range(2)]
    store.judge(ids[0], 0, Verdict.REJECTED, reviewer="ada")
    page.set_viewport_size({"width": width, "height": 800})
    compare = f"/compare?left={ids[0]}&right={ids[1]}"
    for path in ("/", f"/trace/{ids[0]}", f"/trace/{ids[0]}?edit=2", "/overview", compare):
        page.goto(url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_keeps_to_wcag_2_2_aa(browser: Browser, url: str, store: TraceStore, scheme: Any) -> None:
    ids = [record_trace(store, "lamp", attempt=n, kind=f"kind {n}", error=n > 5, reward=n / 9).id for n in range(10)]
    store.revise(ids[0], store.load(ids[0]).messages[:-1], base=0, author="ada", note="cut")
    store.judge(ids[0], 1, Verdict.APPROVED, reviewer="ada", comment="good")
    context = browser.new_context(color_scheme=scheme, reduced_motion="reduce", bypass_csp=True)
    page = context.new_page()
    paths = ("", "?edit=2", "?insert=2", "?revision=0", "/json", "/diff", "/tokens/2")
    compare = f"/compare?left={ids[0]}&right={ids[1]}"
    for path in ("/?sort=worth&kind=kind+1", "/overview", "/runs", compare, *(f"/trace/{ids[0]}{p}" for p in paths)):
        page.goto(url + path)
        rules = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
        page.evaluate("scrollTo(0, 0)")  # what the head covers is no target
        violations = Axe().run(page, options=rules).response["violations"]
        assert [(fault["help"], fault["nodes"][0]["target"]) for fault in violations] == [], path
