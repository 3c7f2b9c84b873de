"""Lists: filters, counts, order, search."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_examples import record_trace

from tutelage.store import Selection, Sort, TraceStore
from tutelage.store.facets import FACETS
from tutelage.trace import StopReason, Verdict


def tasks(store: TraceStore, sort: Sort = Sort.OLDEST, *, text: str = "", **facets: str) -> list[str]:
    selection = Selection({name: (value,) for name, value in facets.items()}, text=text)
    page = store.listing.page(selection, sort, limit=50)
    assert store.listing.counts(selection).total == len(page)
    return [listed.summary.task_id for listed in page]


def a_few(store: TraceStore) -> None:
    record_trace(store, "good")
    record_trace(store, "bad", reward=0.0, kind="order", tool="buy")
    record_trace(store, "half", reward=0.5, steps=5)
    record_trace(store, "lucky", error=True)
    record_trace(store, "early", stop_reason=StopReason.STEP_LIMIT, reward=None, run="other")
    record_trace(store, "cut", finish=False)


def test_each_facet_filters(store: TraceStore) -> None:
    a_few(store)
    assert tasks(store, reward="full") == ["good", "lucky"]
    assert tasks(store, reward="partial") == ["half"]
    assert tasks(store, reward="zero") == ["bad"]
    assert tasks(store, reward="none") == ["early", "cut"]
    assert tasks(store, kind="order") == tasks(store, tool="buy") == ["bad"]
    assert tasks(store, run="other") == tasks(store, stop="step_limit") == ["early"]
    assert tasks(store, errors="with") == ["lucky"]
    assert tasks(store, steps="4") == ["half"]
    assert tasks(store, stop="unfinished") == ["cut"]
    assert tasks(store, verdict="approved") == []


def test_each_count_is_what_choosing_the_value_instead_would_show(store: TraceStore) -> None:
    a_few(store)
    chosen = {"reward": ("full",), "kind": ("price",)}
    counts = store.listing.counts(Selection(chosen)).facets
    for name in FACETS:
        for value, count in counts[name].items():
            selection = Selection({**chosen, name: (value,)})
            assert len(store.listing.page(selection, Sort.NEWEST, limit=50)) == count, (name, value)
    assert counts["reward"] == {"full": 2, "partial": 1, "none": 2}


def test_counts_follow_verdicts_edits_and_tags(store: TraceStore) -> None:
    a_few(store)
    id = record_trace(store, "new").id
    assert store.listing.counts(Selection()).facets["verdict"] == {"undecided": 7}
    store.judge(id, 0, Verdict.APPROVED, reviewer="ada")
    store.reviews.tag(id, ["tidy", "short  one"], reviewer="ada")
    assert store.listing.counts(Selection()).facets["verdict"] == {"undecided": 6, "approved": 1}
    assert tasks(store, tag="short one") == ["new"]
    store.revise(id, store.load(id).messages[:2], base=0, author="ada", note="")
    counts = store.listing.counts(Selection()).facets
    assert (counts["verdict"], counts["steps"]["0"]) == ({"undecided": 7}, 2)
    store.reviews.tag(id, [], reviewer="ada")
    assert tasks(store, tag="tidy") == []


def test_search_finds_words_of_contents_reasoning_and_calls(store: TraceStore) -> None:
    record_trace(store, "lamp", said="The Ada lamp costs 12 EUR.", reasoning="Überlegung zum Preis")
    record_trace(store, "desk", said="The desk costs 30 EUR.", tool="find_desk")
    assert tasks(store, text="desk costs") == ["desk"]
    assert tasks(store, text="EUR costs") == ["lamp", "desk"]
    assert tasks(store, text="desk {}") == ["desk"]
    assert tasks(store, text='"costs 12"') == ["lamp"]
    assert tasks(store, text='"12 costs"') == []
    assert tasks(store, text="uberleg") == ["lamp"]
    assert tasks(store, text="find_desk") == ["desk"]
    assert tasks(store, text="shop") == []  # the system prompt is everybody's


def test_search_finds_what_an_edit_wrote_and_not_what_it_took_away(store: TraceStore) -> None:
    id = record_trace(store, said="It costs twelve.").id
    messages = store.load(id).messages
    store.revise(
        id, [*messages[:-1], messages[-1].model_copy(update={"content": "Thirteen."})], base=0, author="", note=""
    )
    assert (tasks(store, text="twelve"), tasks(store, text="thirteen")) == ([], ["t1"])


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.text(max_size=30))
def test_whatever_a_person_types_is_no_syntax_error(words: str, store: TraceStore) -> None:
    store.listing.page(Selection(text=words), Sort.NEWEST, limit=5)


def test_what_is_worth_a_look_comes_first_and_says_why(store: TraceStore) -> None:
    record_trace(store, "plain")
    a_few(store)
    record_trace(store, "argued", attempt=0)
    record_trace(store, "argued", attempt=1, reward=0.0)
    edited = record_trace(store, "edited").id
    store.revise(edited, store.load(edited).messages[:-1], base=0, author="ada", note="")
    store.judge(record_trace(store, "judged").id, 0, Verdict.REJECTED, reviewer="ada")
    contested = record_trace(store, "contested", reward=1.0).id
    store.scores.add(contested, 0, model="judge", prompt_sha256="p", score=0.2, reason="rude")
    store.scores.add(record_trace(store, "agreed").id, 0, model="judge", prompt_sha256="p", score=0.9, reason="")
    page = store.listing.page(Selection(), Sort.WORTH, limit=50)
    first = [listed.summary.task_id for listed in page]
    assert first[:6] == ["edited", "contested", "lucky", "half", "argued", "argued"]
    assert set(first[-2:]) == {"cut", "judged"}
    assert page[0].why == "edited: awaits a verdict"


def test_pages_follow_each_other_in_every_order(store: TraceStore) -> None:
    a_few(store)
    for sort in Sort:
        pages = [store.listing.page(Selection(), sort, limit=2, offset=offset) for offset in (0, 2, 4)]
        assert len({listed.summary.id for page in pages for listed in page}) == 6, sort
