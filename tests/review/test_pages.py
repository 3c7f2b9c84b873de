"""The pages over HTTP, without a browser."""

import json
import re
import sqlite3
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from pages_helpers import post, token
from starlette.testclient import TestClient
from store_examples import record_trace

from tutelage.endpoint.addresses import is_loopback
from tutelage.project import Project
from tutelage.review.app import create_app
from tutelage.review.query import ListQuery
from tutelage.store import Selection, Sort, TraceStore
from tutelage.trace import Message, StopReason, Tool, Verdict

HOSTILE = (
    "</textarea></script></title></pre><script>alert(1)</script><img src=x onerror=alert(2)>"
    "<svg/onload=alert(3)><a href=javascript:alert(4)>\"' onmouseover=alert(5) {{ 6 * 7 }}"
)


class Page(HTMLParser):
    """The elements and attributes that a browser would make of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def titles(html: str) -> list[str]:
    return [unescape(title) for title in re.findall(r'class="title"[^>]*>([^<]*)<', html)]


def links(html: str) -> list[str]:
    return [unescape(url) for url in re.findall(r'href="([^"]*)"', html)]


def test_the_list_shows_what_its_url_says(client: TestClient, store: TraceStore) -> None:
    record_trace(store, "a")
    record_trace(store, "b", reward=0.0, kind="order", said="the desk")
    assert titles(client.get("/").text) == ["What does lamp b cost?", "What does lamp a cost?"]
    assert titles(client.get("/?sort=task").text) == ["What does lamp a cost?", "What does lamp b cost?"]
    assert titles(client.get("/?kind=order").text) == titles(client.get("/?q=desk").text) == ["What does lamp b cost?"]
    assert titles(client.get("/?task=a").text) == ["What does lamp a cost?"]
    assert "No trace is like this" in client.get("/?kind=order&reward=full").text
    assert titles(client.get("/?reward=zero&page=99&sort=nonsense").text) == ["What does lamp b cost?"]


def test_the_scores_of_judging_models_are_shown_with_their_reasons(client: TestClient, store: TraceStore) -> None:
    id = record_trace(store).id
    given = {"model": "judge-1", "prompt_sha256": "0" * 64, "score": 0.7, "reason": HOSTILE}
    store.scores.add(id, 0, **given)
    page = client.get(f"/trace/{id}").text
    assert "<b>0.7</b> of 1" in page and "judge-1" in page
    assert HOSTILE not in page and "&lt;svg/onload=alert(3)&gt;" in page


def test_every_link_of_a_page_works(client: TestClient, store: TraceStore) -> None:
    for number in range(3):
        id = record_trace(store, "lamp", attempt=number, reward=number / 2).id
    store.revise(id, store.load(id).messages[:-1], base=0, author="ada", note="shorter")
    store.judge(id, 1, Verdict.APPROVED, reviewer="ada", comment="good")
    todo, seen = ["/"], set()
    while todo:
        url = todo.pop()
        path = urlsplit(url)
        kind = re.sub(r"[0-9a-f]{32}", "ID", path.path) + " " + " ".join(sorted(parse_qs(path.query)))
        if kind in seen or not url.startswith("/"):
            continue
        seen.add(kind)
        answer = client.get(url)
        assert answer.status_code == (303 if path.path == "/queue" else 200), (url, answer.text)
        todo += links(answer.text)
    assert {kind.split()[0] for kind in seen} >= {"/", "/trace/ID", "/trace/ID/diff", "/trace/ID/json", "/compare"}


def test_verdicts_on_many_are_given_and_taken_back(client: TestClient, store: TraceStore) -> None:
    ids = [record_trace(store, name).id for name in "abc"]
    record_trace(store, "unfinished", finish=False)
    answer = post(client, "/verdicts", id=ids[:2], verdict="approved", back="/?sort=task")
    assert [store.load(id).verdict for id in ids] == [Verdict.APPROVED, Verdict.APPROVED, Verdict.UNDECIDED]
    page = client.get(answer.headers["location"]).text
    assert "2 traces approved." in page
    moment = re.search(r'name="moment" value="([^"]+)"', page)
    assert moment
    post(client, "/undo", moment=unescape(moment[1]), back="/")
    assert {store.load(id).verdict for id in ids} == {Verdict.UNDECIDED}
    post(client, "/verdicts?q=12", all="1", verdict="rejected", back="/")
    assert {store.load(id).verdict for id in ids} == {Verdict.REJECTED}


def test_after_a_verdict_comes_the_next_of_the_queue(client: TestClient, store: TraceStore) -> None:
    record_trace(store, "plain")
    record_trace(store, "odd", reward=0.5)
    first = client.get("/queue").headers["location"]
    assert "What does lamp odd cost?" in client.get(first).text
    path, query = first.split("?")
    answer = post(client, f"{path}/verdict?{query}", revision="0", verdict="approved", comment="fine")
    following = client.get(answer.headers["location"]).text
    assert "What does lamp plain cost?" in following
    assert "1 trace approved." in following
    path = urlsplit(answer.headers["location"]).path
    answer = post(client, f"{path}/verdict?{query}", revision="0", verdict="rejected")
    assert urlsplit(answer.headers["location"]).path == path  # there is no next
    assert "/?verdict=undecided" in client.get("/queue").headers["location"]


def test_a_verdict_is_on_the_revision_that_was_read(client: TestClient, store: TraceStore) -> None:
    id = record_trace(store).id
    store.revise(id, store.load(id).messages[:-1], base=0, author="ben", note="")
    answer = post(client, f"/trace/{id}/verdict", revision="0", verdict="approved")
    assert answer.status_code == 422
    assert "edited meanwhile" in answer.text
    assert store.load(id).verdict == Verdict.UNDECIDED


def test_an_edit_makes_a_revision_and_a_form_left_as_it_is_makes_none(client: TestClient, store: TraceStore) -> None:
    id = record_trace(store).id
    same = {"do": "rewrite", "index": "2", "base": "0", "reasoning": "I look.", "content": ""}
    answer = post(client, f"/trace/{id}/change", **same, call="look", arguments='{\r\n  "b": 1\r\n}')
    assert answer.headers["location"] == f"/trace/{id}#m2"
    assert store.load(id).revision == 0
    post(client, f"/trace/{id}/change", **{**same, "reasoning": "I look it up."}, call="look", arguments='{"b": 1}')
    trace = store.load(id)
    assert (trace.revision, trace.messages[2].reasoning_content) == (1, "I look it up.")
    page = client.get(f"/trace/{id}").text
    assert ">stale<" in page
    assert "message 3 rewritten" in page
    assert "<ins> it up</ins>" in client.get(f"/trace/{id}/diff").text


@pytest.mark.parametrize("do", ["delete", "cut", "context", "insert", "system"])
def test_each_change_can_be_restored(client: TestClient, store: TraceStore, do: str) -> None:
    id = record_trace(store, steps=3).id
    before = store.load(id).messages
    index = "0" if do == "system" else "2"
    post(client, f"/trace/{id}/change", do=do, index=index, base="0", content="Well.", call="", arguments="")
    assert store.load(id).messages != before
    post(client, f"/trace/{id}/restore", revision="0", base="1")
    trace = store.load(id)
    assert (trace.revision, trace.messages) == (2, before)


def test_the_second_saver_is_told_and_keeps_what_was_typed(client: TestClient, store: TraceStore) -> None:
    id = record_trace(store).id
    fields = {"do": "rewrite", "index": "4", "base": "0", "reasoning": ""}
    post(client, f"/trace/{id}/change", **fields, content="Ada's sentence.")
    answer = post(client, f"/trace/{id}/change", **fields, content="Ben's sentence.")
    assert answer.status_code == 409
    assert "edited meanwhile" in answer.text
    assert "Ben&#39;s sentence." in answer.text
    assert store.load(id).answer() == "Ada's sentence."
    base = re.search(r'name="do" value="rewrite">.*?name="base" value="(\d)"', answer.text)
    assert base
    post(client, f"/trace/{id}/change", **{**fields, "base": base[1]}, content="Ben's sentence.")
    assert store.load(id).answer() == "Ben's sentence."
    assert store.load(id, 1).answer() == "Ada's sentence."


def test_what_was_typed_follows_its_message_or_is_shown_where_that_is_gone(
    client: TestClient, store: TraceStore
) -> None:
    id = record_trace(store, steps=3).id
    post(client, f"/trace/{id}/change", do="delete", index="2", base="0")
    fields = {"do": "rewrite", "base": "0", "reasoning": "Typed by Ben.", "content": ""}
    moved = post(client, f"/trace/{id}/change", **fields, index="4").text
    assert 'name="index" value="2"' in moved[moved.index("Typed by Ben.") :]
    gone = post(client, f"/trace/{id}/change", **fields, index="2").text
    assert "edited meanwhile" in gone
    assert "What you typed as reasoning" in gone
    assert "Typed by Ben." in gone


def test_a_call_that_does_not_fit_its_tool_is_not_stored(client: TestClient, store: TraceStore) -> None:
    id = record_trace(store).id
    fields = {"do": "rewrite", "index": "2", "base": "0", "reasoning": "", "content": ""}
    answer = post(client, f"/trace/{id}/change", **fields, call="look", arguments='{"b": ')
    assert (answer.status_code, store.load(id).revision) == (409, 0)
    assert "the arguments of" in answer.text
    answer = post(client, f"/trace/{id}/change", **fields, call="lock", arguments="{}")
    assert "There is no tool &#34;lock&#34;" in answer.text
    said = post(client, "/validate", trace=id, call="look", arguments="[]").json()
    assert said == {"fault": "The arguments are not a JSON object."}


def test_all_messages_are_edited_as_json(client: TestClient, store: TraceStore) -> None:
    id = record_trace(store).id
    shown = re.search(r'name="messages"[^>]*>\n(.*?)</textarea>', client.get(f"/trace/{id}/json").text, re.DOTALL)
    assert shown
    text = unescape(shown[1])
    answer = post(client, f"/trace/{id}/json", messages=text.replace("12 EUR.", "13 EUR."), base="0")
    assert answer.status_code == 303
    assert store.load(id).answer() == "13 EUR."
    answer = post(client, f"/trace/{id}/json", messages="[{]", base="1")
    assert "Line 1: not valid JSON" in answer.text
    assert "[{]" in answer.text


def test_an_unfinished_trace_is_read_but_not_judged_or_edited(client: TestClient, store: TraceStore) -> None:
    id = record_trace(store, finish=False).id
    page = client.get(f"/trace/{id}").text
    assert "Unfinished" in page
    assert "data-edit-link" not in page
    assert "is unfinished" in post(client, f"/trace/{id}/verdict", revision="0", verdict="approved").text


def test_the_better_of_two_is_stored_as_a_preference(client: TestClient, store: TraceStore) -> None:
    a, b = (record_trace(store, attempt=attempt, said=f"{attempt} EUR.").id for attempt in range(2))
    page = client.get(f"/compare?left={a}&right={b}").text
    assert "They part at" in page
    assert "step 2" in page
    fields = {"chosen": b, "chosen_revision": "0", "rejected": a, "rejected_revision": "0"}
    post(client, "/prefer", **fields, back="/")
    (kept,) = store.reviews.preferences("t1")
    assert (kept.chosen_id, kept.rejected_id, kept.reviewer) == (b, a, "ada")
    assert "The right one is the better one" in client.get(f"/compare?left={a}&right={b}").text
    other = record_trace(store, "t2").id
    assert client.get(f"/compare?left={a}&right={other}").status_code == 404


def test_before_and_after_show_what_was_gained_and_lost(client: TestClient, store: TraceStore) -> None:
    for run, rewards in (("evaluate-x-before", (0.0, 1.0)), ("evaluate-x-after", (1.0, 0.0))):
        for task, reward in zip(("gained", "lost"), rewards, strict=True):
            record_trace(store, task, run=run, reward=reward)
    page = client.get("/runs").text
    assert page.index("Gained") < page.index(">gained<") < page.index("Lost") < page.index(">lost<")


def test_tags_are_set_and_filtered_by(client: TestClient, store: TraceStore) -> None:
    id = record_trace(store).id
    post(client, f"/trace/{id}/tags", tags="good example,  short ")
    assert store.reviews.tags(id) == ["good example", "short"]
    assert titles(client.get("/?tag=good+example").text) == ["What does lamp t1 cost?"]


def test_nothing_that_a_trace_holds_becomes_html(client: TestClient, store: TraceStore) -> None:
    definition = json.dumps({"type": "function", "function": {"name": HOSTILE, "description": HOSTILE}})
    tools = [Tool(name=HOSTILE, definition=definition, server=HOSTILE)]
    names = {"kind": HOSTILE, "tool": HOSTILE, "run": HOSTILE, "reasoning": HOSTILE}
    one = record_trace(store, HOSTILE, **names, said=HOSTILE, tools=tools).id
    two = record_trace(store, HOSTILE, **names, said=HOSTILE * 40, tools=tools, attempt=1).id
    store.reviews.tag(one, [HOSTILE], reviewer=HOSTILE)
    store.judge(one, 0, Verdict.APPROVED, reviewer=HOSTILE, comment=HOSTILE)
    messages = [Message(role="user", content=HOSTILE), *store.load(one).messages[2:]]
    store.revise(one, messages, base=0, author=HOSTILE, note=HOSTILE)
    pages = [
        "/",
        "/" + ListQuery(Selection({"kind": (HOSTILE,), "tag": (HOSTILE,)}, text=HOSTILE)).url(),
        f"/trace/{one}",
        *(f"/trace/{one}?{more}" for more in ("edit=0", "edit=1", "insert=1", "revision=0")),
        *(f"/trace/{one}/{more}" for more in ("json", "diff", "tokens/1")),
        f"/trace/{two}",
        "/overview",
        "/runs",
        f"/compare?left={one}&right={two}",
    ]
    for url in pages:
        html = client.get(url).text
        if url not in ("/runs", f"/trace/{one}/tokens/1"):
            assert "alert(" in html, url
            assert "{{ 6 * 7 }}" in html, url
        scripts = []
        for tag, attributes in Page(html).elements:
            assert tag != "img", url
            assert not any(name.startswith("on") for name in attributes), (url, tag, attributes)
            assert not (attributes.get("href") or "").startswith("javascript:"), url
            scripts += [attributes] if tag == "script" else []
        assert scripts == [{"src": "/static/review.js", "defer": None}], url


def test_every_answer_forbids_foreign_scripts(client: TestClient) -> None:
    for url in ("/", "/nowhere", "/static/review.js", "/trace/none"):
        policy = client.get(url).headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    html = client.get("/").text
    assert not re.search(r"<script(?! src=\"/static)|<style|style=|\son\w+=", html)


def test_another_web_page_can_neither_read_nor_write(client: TestClient, store: TraceStore) -> None:
    id = record_trace(store).id
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    for fields in ({}, {"token": ""}, {"token": "guessed"}, {"token": "gü"}):
        answer = client.post("/verdicts", data={"id": id, "verdict": "approved", **fields})
        assert answer.status_code == 403
    assert store.load(id).verdict == Verdict.UNDECIDED
    assert client.get("/verdicts").status_code == 405
    assert "access-control-allow-origin" not in client.get("/").headers
    answer = client.post("/undo", data={"token": token(client), "moment": "", "back": "//evil.example/"})
    assert answer.headers["location"].startswith("/?undone")


def test_on_another_host_only_the_link_lets_one_in(project: Project, store: TraceStore) -> None:
    app = create_app(project, store, "ada", access="let me in")
    others = TestClient(app, base_url="http://review.example", follow_redirects=False)
    for url in ("/", "/static/review.js", "/?access=guessed", "/?access="):
        answer = others.get(url)
        assert (answer.status_code, answer.headers.get("set-cookie")) == (401, None)
        assert "Open the link" in answer.text
    assert others.post("/undo?access=let+me+in", data={}).status_code == 401
    answer = others.get("/?kind=a&access=let+me+in")
    assert answer.headers["location"] == "/?kind=a"
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert others.get("/").status_code == 200
    assert others.post("/undo", data={"moment": "", "token": "guessed"}).status_code == 403


def test_what_a_loopback_address_is() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.7", "localhost.evil.example")] == [False] * 4


def test_the_token_is_another_one_each_time(project: Project, store: TraceStore) -> None:
    tokens = {token(TestClient(create_app(project, store, "a"), base_url="http://127.0.0.1")) for _ in range(2)}
    assert len(tokens) == 2


def test_what_is_not_there_is_one_sentence(client: TestClient, store: TraceStore) -> None:
    id = record_trace(store).id
    for url, sentence in (
        ("/trace/nope", "There is no trace"),
        (f"/trace/{id}?revision=7", "no revision 7"),
        (f"/trace/{id}/tokens/99", "There is no message 100"),
        ("/nowhere", "Not Found"),
    ):
        answer = client.get(url)
        assert answer.status_code == 404
        assert sentence in answer.text


def test_a_url_says_all_of_a_view() -> None:
    query = ListQuery(Selection({"kind": ("a&b", "c"), "tool": ("ü",)}, "t 1", 'the "desk"'), Sort.WORTH, 3)
    assert ListQuery.read([(k, v) for k, vs in parse_qs(query.url()[1:]).items() for v in vs]) == query


def test_the_tokens_of_a_step_are_those_that_the_dataset_teaches(client: TestClient, store: TraceStore) -> None:
    pytest.importorskip("tokenizers")
    id = record_trace(store, said="12 EUR, naïve 😀.").id
    html = client.get(f"/trace/{id}/tokens/4").text
    text = "".join(re.findall(r'<span class="(?:trained|shown)"[^>]*>([^<]*)', html))
    taught = unescape("".join(re.findall(r'<span class="trained"[^>]*>([^<]*)', html)))
    assert "12 EUR, naïve 😀.<|im_end|>" in taught
    assert unescape(text).startswith("<|im_start|>system")
    untaught = Message(role="assistant", content="No.", weight=0)
    store.revise(id, [*store.load(id).messages[:-1], untaught], base=0, author="", note="")
    assert "None of them is taught" in client.get(f"/trace/{id}/tokens/4").text


def test_the_tokens_of_a_step_follow_what_the_settings_say_of_reasoning_and_results(
    store: TraceStore, tmp_path: Path
) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "tutelage.toml").write_text('[dataset]\nreasoning = "mask"\n[rollout]\ntool_results = {limit = 4}\n')
    client = TestClient(create_app(Project.open(tmp_path), store, "ada"), base_url="http://127.0.0.1")
    id = record_trace(store).id
    found = store.load(id).messages
    longer = [m.model_copy(update={"content": "12 EUR " * 40}) if m.role == "tool" else m for m in found]
    store.revise(id, longer, base=0, author="ada", note="")
    html = client.get(f"/trace/{id}/tokens/4").text
    spans = re.findall(r'<span class="(trained|shown)"[^>]*>([^<]*)', html)
    shown, taught = (unescape("".join(text for kind, text in spans if kind == each)) for each in ("shown", "trained"))
    assert "[cut: 4 of " in shown and "</think>" in shown
    assert "think" not in taught and taught.endswith("<|im_end|>")


def test_a_step_that_makes_no_row_says_why(client: TestClient, store: TraceStore) -> None:
    id = record_trace(store, tool="unknown", stop_reason=StopReason.ANSWER).id
    assert "a call of a tool that is not offered: unknown" in client.get(f"/trace/{id}/tokens/2").text


def test_the_pages_files_are_shipped() -> None:
    folder = Path(create_app.__code__.co_filename).parent
    assert {path.name for path in (folder / "static").iterdir()} == {"review.css", "review.js"}


def test_a_store_that_fails_is_one_sentence(client: TestClient, store: TraceStore, project: Project) -> None:
    id = record_trace(store).id
    with sqlite3.connect(project.path("traces.db")) as connection:
        connection.execute("DROP TABLE tags")
    answer = client.get(f"/trace/{id}")
    assert answer.status_code == 503
    assert "The store failed: no such table: tags. Nothing was stored" in answer.text
