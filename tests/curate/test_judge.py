"""A judge's scores are stored once a revision, model and prompt, over HTTP."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from curate_examples import Curate
from endpoint_double import Answer, endpoint_double, fails, says
from store_examples import record_trace

from tutelage.curate.agreement import agreement
from tutelage.curate.judge import read_answer
from tutelage.errors import TutelageError
from tutelage.store import TraceStore
from tutelage.trace import Verdict

Steps = Callable[..., str]


def gives(score: object, reason: str = "as it should be") -> Answer:
    return says(json.dumps({"reason": reason, "score": score}))


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    (tmp_path / "rubric.md").write_text("A good trace looks before it answers.")

    def steps(url: str, more: str = "concurrency = 1") -> str:
        return f'[[curate]]\nstep = "judge"\nrubric = "rubric.md"\nurl = "{url}"\nmodel = "judge-1"\n{more}\n'

    return steps


def test_a_low_score_takes_a_trace_out_with_its_reason(store: TraceStore, curated: Curate, steps: Steps) -> None:
    good, bad = record_trace(store, "t1").id, record_trace(store, "t2").id
    with endpoint_double(gives(9), gives(2, "it guesses")) as judge:
        report = curated(steps(judge.url))
    assert store.load(good).verdict is Verdict.UNDECIDED
    record = store.reviews.verdicts(bad)[0]
    assert record.reviewer == "curate:judge"
    assert record.comment == "Taken out: judge-1 gives it 0.2 of 1 (at least 0.5): it guesses."
    assert (report.steps[0].asked, report.steps[0].left) == (2, 1)
    system, question = (message["content"] for message in judge.requests[0]["messages"])
    assert "looks before it answers" in system and "12 EUR" in question
    assert "reward" not in question and "because" not in question  # nor what the verifier said


def test_nothing_is_judged_twice_by_the_same_judge_and_prompt(
    store: TraceStore, curated: Curate, steps: Steps, tmp_path: Path
) -> None:
    record_trace(store, "t1")
    with endpoint_double(gives(9)) as judge:
        curated(steps(judge.url))
        curated(steps(judge.url, "min_score = 0.95"))  # another threshold is no other prompt
        assert len(judge.requests) == 1
        record_trace(store, "t2")
        curated(steps(judge.url))
        assert len(judge.requests) == 2
        (tmp_path / "rubric.md").write_text("Another rubric.")
        curated(steps(judge.url))
        assert len(judge.requests) == 4


def test_an_edited_trace_is_judged_again(store: TraceStore, curated: Curate, steps: Steps) -> None:
    id = record_trace(store).id
    with endpoint_double(gives(9)) as judge:
        curated(steps(judge.url))
        store.revise(id, store.load(id).messages[:-2], base=0, author="ada", note="cut")
        curated(steps(judge.url))
        assert len(judge.requests) == 2


def test_a_broken_off_run_keeps_the_scores_that_it_has(store: TraceStore, curated: Curate, steps: Steps) -> None:
    for number in range(3):
        record_trace(store, f"t{number}")
    with endpoint_double(gives(9), gives(8), fails(401, "no such key")) as judge:
        with pytest.raises(TutelageError, match="refuses the key"):
            curated(steps(judge.url))
        judge.answers[:] = [gives(7)]
        report = curated(steps(judge.url))
    assert (report.steps[0].asked, len(judge.requests)) == (1, 4)


def test_a_dry_run_says_how_many_scores_it_would_ask_for(store: TraceStore, curated: Curate, steps: Steps) -> None:
    record_trace(store)
    with endpoint_double(gives(0)) as judge:
        report = curated(steps(judge.url), dry_run=True)
        assert judge.requests == []
    assert (report.steps[0].asked, report.left) == (1, 1)


def test_a_trace_without_a_score_stays_and_is_counted(store: TraceStore, curated: Curate, steps: Steps) -> None:
    record_trace(store)
    with endpoint_double(says("I like it.")) as judge:
        report = curated(steps(judge.url))
    assert (report.steps[0].unscored, report.left) == (1, 1)


def test_an_endpoint_without_answer_formats_is_asked_plainly(store: TraceStore, curated: Curate, steps: Steps) -> None:
    record_trace(store, "t1")
    record_trace(store, "t2")
    refusal = fails(400, "response_format is not supported")
    with endpoint_double(refusal, gives(9)) as judge:
        report = curated(steps(judge.url))
    assert ["response_format" in request for request in judge.requests] == [True, False, False]
    assert report.steps[0].unscored == 0


def test_agreement_with_persons_is_of_what_both_judged(store: TraceStore, curated: Curate, steps: Steps) -> None:
    verdicts = [Verdict.APPROVED, Verdict.APPROVED, Verdict.REJECTED, Verdict.REJECTED]
    for number, verdict in enumerate(verdicts):
        store.judge(record_trace(store, f"t{number}").id, 0, verdict, reviewer="ada")
    record_trace(store, "t4")
    with endpoint_double(gives(9), gives(1), gives(9), gives(1), gives(1)) as judge:
        report = curated(steps(judge.url))
    found = report.steps[0].agreement
    assert found is not None
    # Asked first: the two approved and the undecided one, then the two rejected ones.
    assert (found.traces, found.same) == (4, 3)
    assert found.kappa == pytest.approx(0.5)
    assert [summary.verdict for summary in store.summaries()][:4] == verdicts  # a person's word stands


def test_cohens_kappa_is_that_of_the_textbook() -> None:
    """Cohen's example as it is usually told: 20 and 15 alike, 5 and 10 apart, kappa 0.4."""
    pairs = [(True, True)] * 20 + [(False, False)] * 15 + [(True, False)] * 5 + [(False, True)] * 10
    assert agreement(pairs).kappa == pytest.approx(0.4)
    assert agreement([(True, True)] * 5).kappa is None
    assert agreement([(True, True), (False, False)]).kappa == pytest.approx(1.0)
    assert agreement([]).sentence() == "No trace that it scored was judged by a person."


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('{"reason": "fine", "score": 7}', (0.7, "fine")),
        ('Here it is:\n```json\n{"score": 10}\n```', (1.0, "")),
        ('{"score": 11}', None),
        ('{"score": "7"}', None),
        ('{"score": true}', None),
        ("[7]", None),
        ("7", None),
    ],
)
def test_only_a_score_that_is_one_is_read(text: str, read: object) -> None:
    assert read_answer(text) == read


@pytest.mark.slow
def test_the_embedded_model_can_be_a_judge(store: TraceStore, curated: Curate, steps: Steps, tmp_path: Path) -> None:
    from tutelage.endpoint.embedded import EmbeddedEndpoint
    from tutelage.render.student import embedded_gguf, load_template

    id = record_trace(store).id
    with EmbeddedEndpoint(embedded_gguf(), load_template("qwen3", Path()), context=2048, parallel=1) as endpoint:
        more = "max_tokens = 300\nmin_score = 0"
        report = curated(steps(endpoint.url, more))
    assert (report.steps[0].asked, report.steps[0].unscored) == (1, 0)
    (score,) = store.scores.of(id)
    assert 0 <= score.score <= 1 and store.load(id).verdict is Verdict.UNDECIDED
