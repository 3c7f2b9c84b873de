"""The application in a real browser: keys, forms that help while one types, and hostile text."""

import base64
import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser_helpers import NEEDS_CHROMIUM, SCREENSHOTS, press
from playwright.sync_api import Browser, Page, expect
from store_examples import record_trace

from tutelage.agent.results import attach
from tutelage.review import read_edited, to_editable
from tutelage.store import TraceStore
from tutelage.trace import Message, StopReason, Tool, ToolCall, Verdict
from tutelage.world import Reward

pytestmark = NEEDS_CHROMIUM
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
DEFINITION = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
TOOL = Tool(name="look", definition=json.dumps(DEFINITION))


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


# Known ways to break out of text, attributes, scripts, comments, styles, templates and URLs.
HOSTILE = (
    "<script>alert(1)</script>",
    "</textarea></title></style></script><script>alert(2)</script>",
    "<img src=x onerror=alert(3)>",
    "\"'><svg/onload=alert(4)>",
    "<iframe srcdoc='<script>parent.alert(5)</script>'></iframe>",
    "<details open ontoggle=alert(6)>",
    "<a href=javascript:alert(7)>javascript:alert(7)</a>",
    '" autofocus onfocus=alert(8) x="',
    "--><script>alert(9)</script><!--",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(10)&gt;'>",
    "{{ 7 * 7 }} {% raw %} ${alert(11)}",
    "<meta http-equiv=refresh content='0;url=javascript:alert(12)'><base href=//evil.example/>",
    "<form action=//evil.example><button autofocus>x</button></form><link rel=stylesheet href=//evil.example/x.css>",
)


def test_hostile_text_in_every_field_runs_nowhere(page: Page, url: str, store: TraceStore) -> None:
    foreign: list[str] = []
    page.on("request", lambda request: foreign.append(request.url) if not request.url.startswith(url) else None)
    for attempt, hostile in enumerate((*HOSTILE, "".join(HOSTILE))):
        id = record_everywhere(store, hostile, attempt)
        paths = ("", "?edit=2", "?edit=3", "?insert=2", "?revision=0", "/json", "/diff", "/rerun?from=1")
        if attempt < len(HOSTILE):  # each by itself on the page that shows most
            paths = ("?edit=2",)
        for path in (*(f"/trace/{id}{one}" for one in paths), f"/?{urlencode({'q': hostile, 'kind': hostile})}"):
            page.goto(url + path)
            expect(page.locator("main img, iframe, svg[onload], main script, main style, math, base")).to_have_count(0)
            expect(page.locator(".facets, .conversation, form, ol").first).to_be_attached()
    for path in ("/", "/overview", "/runs", f"/compare?left={id}&right={record_trace(store, hostile, attempt=99).id}"):
        page.goto(url + path)
        expect(page.locator("main img, iframe, main script, main style, math, base")).to_have_count(0)
    assert [one for one in foreign if not one.startswith("data:,")] == []


def record_everywhere(store: TraceStore, hostile: str, attempt: int) -> str:
    """A trace that holds `hostile` wherever somebody else's text may stand."""
    schema = {"type": "object", "properties": {hostile: {"type": "string", "description": hostile}}}
    definition = {"type": "function", "function": {"name": hostile, "description": hostile, "parameters": schema}}
    tool = Tool(name=hostile, definition=json.dumps(definition), server=hostile)
    id = record_trace(
        *(store, hostile),
        attempt=attempt,
        run=hostile,
        kind=hostile,
        tool=hostile,
        said=hostile,
        reasoning=hostile,
        tools=[tool],
    ).id
    call = ToolCall(id="c0", name=hostile, arguments=json.dumps({hostile: hostile}))
    messages = [
        Message(role="system", content=hostile),
        Message(role="user", content=hostile),
        Message(role="assistant", content=hostile, reasoning_content=hostile, tool_calls=(call,)),
        Message(role="tool", content=hostile, tool_call_id="c0", is_error=True),
        Message(role="assistant", content=hostile * 3),
    ]
    store.revise(id, messages, base=0, author=hostile, note=hostile)
    again = store.begin_rerun(id, messages[:2], base=1, model=hostile, author=hostile, hint=hostile)
    again.messages(messages[2:])
    again.finish_rerun(StopReason.ANSWER, Reward(0.5, hostile, hostile), {"detail": hostile})
    store.begin_rerun(id, messages[:2], base=1, model=hostile, author=hostile, hint=hostile)
    store.reviews.tag(id, [hostile], reviewer=hostile)
    store.judge(id, 2, Verdict.REJECTED, reviewer=hostile, comment=hostile)
    return id


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_the_window(page: Page, url: str, store: TraceStore, width: int) -> None:
    ids = [record_trace(store, "lamp", attempt=n, kind="k" * 80, said="w" * 300, reward=n).id for n in range(2)]
    store.judge(ids[0], 0, Verdict.REJECTED, reviewer="ada")
    page.set_viewport_size({"width": width, "height": 800})
    compare = f"/compare?left={ids[0]}&right={ids[1]}"
    rerun = f"/trace/{ids[0]}/rerun?from=1"
    for path in ("/", f"/trace/{ids[0]}", f"/trace/{ids[0]}?edit=2", rerun, "/overview", compare):
        page.goto(url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


WCAG = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
SCHEMES: Any = {"light": WCAG, "dark": {"type": "rule", "values": ["color-contrast"]}}  # all that colours change


def test_every_page_keeps_to_wcag_2_2_aa(browser: Browser, url: str, store: TraceStore) -> None:
    ids = [record_trace(store, "lamp", attempt=n, kind=f"kind {n}", error=n > 5, reward=n / 9).id for n in range(10)]
    prompted = [Message(role="system", content="Be brief."), *store.load(ids[0]).messages[1:]]
    store.revise(ids[0], prompted, base=0, author="ada", note="another prompt")
    store.judge(ids[0], 1, Verdict.REJECTED, reviewer="ada", comment="no")
    page = browser.new_context(reduced_motion="reduce", bypass_csp=True).new_page()
    paths = ("", "?edit=2", "?insert=2", "?revision=0", "/json", "/diff", "/tokens/2", "/rerun?from=1")
    compare = f"/compare?left={ids[0]}&right={ids[1]}"
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for path in ("/?sort=worth&kind=kind+1", "/overview", "/runs", compare, *(f"/trace/{ids[0]}{p}" for p in paths)):
        page.goto(url + path)
        name = re.sub(r"\W+", "-", path.replace(ids[0], "").replace(ids[1], "")).strip("-")
        page.evaluate("scrollTo(0, 0)")  # what the head covers is no target
        for scheme, rules in SCHEMES.items():
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=SCREENSHOTS / f"{name}-{scheme}.png", full_page=True)
            violations = Axe().run(page, options={"runOnly": rules}).response["violations"]
            assert [(fault["help"], fault["nodes"][0]["target"]) for fault in violations] == [], (path, scheme)
    page.context.close()


def test_a_stale_step_is_confirmed_by_key(page: Page, url: str, store: TraceStore) -> None:
    id = record_trace(store, steps=3).id
    edited = store.load(id).messages[2].model_copy(update={"reasoning_content": "I look it up."})
    store.revise(id, [*store.load(id).messages[:2], edited, *store.load(id).messages[3:]], base=0, author="a", note="")
    page.goto(f"{url}/trace/{id}#m4")
    expect(page.get_by_text("stale", exact=True)).to_have_count(2)
    press(page, "y")
    expect(page.get_by_text("stale", exact=True)).to_have_count(1)
    page.get_by_role("button", name="Confirm it").click()
    expect(page.get_by_text("stale", exact=True)).to_have_count(0)
    assert store.load(id).stale == ()


def test_a_list_is_filtered_sorted_and_shared_by_its_url(page: Page, url: str, store: TraceStore) -> None:
    record_trace(store, "a", kind="price", reward=1.0)
    record_trace(store, "b", kind="order", reward=0.0, steps=4)
    record_trace(store, "c", kind="order", reward=0.5)
    page.goto(url)
    filters = page.get_by_role("complementary", name="Filters")
    filters.get_by_role("link", name=re.compile("order 2")).click()
    expect(page.get_by_role("heading", name="2 traces")).to_be_visible()
    page.get_by_label("Sort").select_option(label="most steps first")
    expect(page).to_have_url(re.compile("kind=order.*sort=longest"))
    titles = page.locator(".traces .title")
    expect(titles).to_have_text(["What does lamp b cost?", "What does lamp c cost?"])
    shared = page.context.new_page()  # somebody else's browser
    shared.goto(page.url)
    expect(shared.locator(".traces .title")).to_have_text(["What does lamp b cost?", "What does lamp c cost?"])
    page.get_by_title("Remove this filter").click()
    expect(page.get_by_role("heading", name="3 traces")).to_be_visible()


def test_before_and_after_are_read_side_by_side_and_the_better_is_chosen_by_key(
    page: Page, url: str, store: TraceStore
) -> None:
    before = record_trace(store, "lamp", run="evaluate-x-before", said="I do not know.", reward=0.0).id
    after = record_trace(store, "lamp", run="evaluate-x-after", said="12 EUR.", reward=1.0).id
    page.goto(url)
    page.get_by_role("link", name="Runs").click()
    gained = page.locator(".outcome", has_text="Gained")
    gained.get_by_role("link").first.click()
    expect(page.get_by_text("They part at step 2.")).to_be_visible()
    expect(page.locator(".parting").get_by_text("here they part")).to_have_count(2)
    expect(page.locator(".parting")).to_contain_text("I do not know.")
    press(page, "2")
    expect(page.get_by_text("The right one is the better one, says ada")).to_be_visible()
    (kept,) = store.reviews.preferences("lamp")
    assert (kept.chosen_id, kept.rejected_id) == (after, before)


def test_a_trace_is_commented_on_tagged_and_its_tokens_are_read(page: Page, url: str, store: TraceStore) -> None:
    id = record_trace(store, said="12 EUR.").id
    page.goto(f"{url}/trace/{id}")
    press(page, "c")
    page.keyboard.type("Says nothing of the tax.")
    page.get_by_role("button", name="Comment only").click()
    expect(page.get_by_text("Says nothing of the tax.")).to_be_visible()
    page.get_by_label("Tags, separated by commas").fill("tax, short")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Tags, separated by commas")).to_have_value("short, tax")
    page.goto(f"{url}/trace/{id}#m4")
    press(page, "t")
    expect(page.locator(".trained").first).to_be_visible()
    taught = "".join(page.locator(".trained").all_text_contents())
    assert taught.strip().endswith("12 EUR.<|im_end|>")
    expect(page.locator(".trained").first).not_to_have_css("background-color", "rgba(0, 0, 0, 0)")


def test_the_overview_leads_to_the_traces_that_a_bar_stands_for(page: Page, url: str, store: TraceStore) -> None:
    record_trace(store, "a", kind="price")
    id = record_trace(store, "b", kind="order", reward=0.0).id
    store.judge(id, 0, Verdict.REJECTED, reviewer="ada")
    page.goto(f"{url}/overview")
    expect(page.locator("figure", has_text="Verdicts over time")).to_be_visible()
    page.locator("figure", has_text="Success by kind").get_by_role("link", name=re.compile("order")).click()
    expect(page.get_by_role("heading", name="1 trace")).to_be_visible()
    expect(page).to_have_url(re.compile("kind=order"))


def test_long_results_are_folded_with_their_size_and_opened_where_a_searched_word_stands(
    page: Page, url: str, store: TraceStore
) -> None:
    recording = record_trace(store, finish=False)
    recording.message(Message(role="tool", tool_call_id="c0", content='- button "Buy" [ref=e1]\n' * 200 + "needle"))
    recording.message(Message(role="tool", tool_call_id="c0", content='{"lamp": {"price": 12, "colours": ["red"]}}'))
    recording.finish(StopReason.ANSWER)
    page.goto(f"{url}/trace/{recording.id}")
    expect(page.get_by_text("needle")).to_be_hidden()
    expect(page.get_by_text("4,806 characters")).to_be_visible()
    page.goto(f"{url}/trace/{recording.id}?q=needle")
    expect(page.get_by_text("needle")).to_be_visible()


def test_a_picture_that_a_tool_gave_is_shown_and_anything_else_is_a_download(
    page: Page, url: str, store: TraceStore
) -> None:
    picture = base64.b64decode(PIXEL)
    attached = [attach(picture, "image/png", "screenshot"), attach(b"<script>alert(1)</script>", "text/html", "page")]
    recording = record_trace(store, finish=False)
    parts = tuple(one.part for one in attached)
    message = Message(role="tool", tool_call_id="c0", content="[image]", parts=parts)
    recording.message(message, [one.data for one in attached])
    recording.finish(StopReason.ANSWER)
    page.goto(f"{url}/trace/{recording.id}")
    shown = page.get_by_role("img", name="screenshot")
    expect(shown).to_be_visible()
    assert shown.evaluate("picture => picture.naturalWidth") == 1
    with page.expect_download() as download:
        page.get_by_role("link", name="page", exact=True).click()
    assert download.value.path().read_bytes() == b"<script>alert(1)</script>"
    answer = page.request.get(f"{url}/trace/{recording.id}/part/{parts[1].sha256}")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert page.request.get(f"{url}/trace/{record_trace(store, 'o').id}/part/{parts[0].sha256}").status == 404
    assert read_edited(to_editable(store.load(recording.id).messages))[-1] == message
