"""Running a trace again from its page, in a real browser: the shop's real server, its scripted teacher."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from browser_helpers import NEEDS_CHROMIUM, SCREENSHOTS, press
from playwright.sync_api import Page, expect

from tutelage.collect import collect
from tutelage.project import Project
from tutelage.scaffold import make_project
from tutelage.store import TraceStore

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A shop with a few traces of its teacher's."""
    folder = tmp_path_factory.mktemp("rerun") / "shop"
    make_project(folder, "shop", seed=0, train_tasks=5, evaluate_tasks=1)
    project = Project.open(folder)
    # In a thread of its own: Playwright has an event loop running in this one.
    with TraceStore(project.store_url) as store, ThreadPoolExecutor(1) as thread:
        thread.submit(collect, project, store).result()
    return project


def test_a_trace_is_run_again_from_an_edited_step_by_keys(page: Page, url: str, store: TraceStore) -> None:
    trace = next(trace for trace in store.traces() if trace.task.kind == "order")
    place, draft = next(
        (index, call)
        for index, message in enumerate(trace.messages)
        for call in message.tool_calls
        if call.name == "draft"
    )
    page.set_default_timeout(120_000)
    page.goto(f"{url}/trace/{trace.id}#m{place}")
    press(page, "e")
    arguments = page.get_by_label("Arguments, a JSON object").first
    arguments.fill(json.dumps({**json.loads(draft.arguments), "quantity": 1}))
    press(page, "Control+Enter")
    expect(page.get_by_text("stale", exact=True).first).to_be_visible()
    press(page, "g")  # from the edited step, which is the marked one
    expect(page.get_by_role("heading", name=re.compile("Run again from step"))).to_be_visible()
    page.get_by_label("Hint").fill("One is enough.")
    page.get_by_role("button", name="Run", exact=True).press("Enter")
    question = page.get_by_role("heading", name=re.compile("may this call be made again"))
    expect(question).to_be_visible(timeout=120_000)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "rerun-question.png", full_page=True)
    expect(page.get_by_role("button", name="Make the call")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("It is revision 2")).to_be_visible(timeout=120_000)
    page.screenshot(path=SCREENSHOTS / "rerun-done.png", full_page=True)
    press(page, "Enter")  # on the link that has the focus: read it
    expect(page.get_by_text("re-run", exact=True).first).to_be_visible()
    expect(page.locator("dd", has_text="One is enough.")).to_be_attached()
    again = store.load(trace.id)
    assert (again.revision, again.stale) == (2, ())
    assert again.messages[place].tool_calls[0].arguments == json.dumps(
        {**json.loads(draft.arguments), "quantity": 1}, ensure_ascii=False
    )
    assert again.reward == 0.0  # the verifier saw that one is not what was asked for
    assert "One is enough." not in "".join(message.model_dump_json() for message in again.messages)


def test_a_re_run_is_stopped_and_says_why(page: Page, url: str, store: TraceStore) -> None:
    trace = next(trace for trace in store.traces() if trace.task.kind == "order two products")
    page.set_default_timeout(120_000)
    page.goto(f"{url}/trace/{trace.id}/rerun?from={len(trace.steps) - 1}")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("button", name="Stop").last.click()
    expect(page.get_by_role("alert")).to_contain_text("stopped", timeout=120_000)
    revision = store.load(trace.id).revision
    page.get_by_role("link", name="Try again").click()
    page.get_by_label("The last step that is kept").select_option("0")
    expect(page.get_by_role("heading", name="Run all again")).to_be_visible()
    page.get_by_label("Endpoint's URL").fill("http://127.0.0.1:9/v1")
    page.get_by_label("Model's name").fill("nobody")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached", timeout=120_000)
    assert store.load(trace.id).revision == revision == 0
