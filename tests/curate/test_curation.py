"""What curation says follows from the settings, the traces and what persons said; nothing is erased."""

import pytest
from curate_examples import Curate
from store_examples import record_trace

from tutelage.dataset.select import reason_to_leave_out
from tutelage.errors import TutelageError
from tutelage.store import TraceStore
from tutelage.trace import Message, Verdict

REWARD = '[[curate]]\nstep = "reward"\nmin_reward = 0.5\n'
KEY = "ghp_" + "a1B2" * 9


def newest(store: TraceStore, id: str) -> tuple[str, str, str]:
    record = store.reviews.verdicts(id)[0]
    return record.verdict.value, record.reviewer, record.comment


def tables(store: TraceStore) -> list[object]:
    return [[*store.reviews.all_verdicts()], [*store.reviews.all_edits()], store.summaries()]


def test_what_is_taken_out_is_rejected_with_the_step_and_the_reason(store: TraceStore, curated: Curate) -> None:
    good, bad = record_trace(store, "t1", reward=0.9).id, record_trace(store, "t2", reward=0.2).id
    report = curated(REWARD)
    assert newest(store, bad) == ("rejected", "curate:reward", "Taken out: its reward is 0.2, below 0.5.")
    assert store.reviews.verdicts(good) == []
    (step,) = report.steps
    assert (step.looked_at, step.left, step.why()) == (2, 1, {"reward below 0.5": 1})
    reasons = {summary.id: reason_to_leave_out(summary, 0.1) for summary in store.summaries()}
    assert reasons == {good: None, bad: "rejected"}  # what a dataset does with them


def test_a_dry_run_says_the_same_and_changes_nothing(store: TraceStore, curated: Curate) -> None:
    record_trace(store, "t1", reward=0.2)
    record_trace(store, "t2", said=f"Use {KEY}.")
    before = tables(store)
    dry = curated(REWARD + '[[curate]]\nstep = "mask"\n', dry_run=True)
    assert tables(store) == before
    real = curated(REWARD + '[[curate]]\nstep = "mask"\n')
    assert dry.model_dump(exclude={"dry_run"}) == real.model_dump(exclude={"dry_run"})
    assert (real.verdicts, real.revisions) == (2, 1)


def test_a_second_run_changes_nothing_more(store: TraceStore, curated: Curate) -> None:
    for number in range(4):
        record_trace(store, f"t{number}", reward=number / 3, said=f"Use {KEY}.")
    steps = REWARD + '[[curate]]\nstep = "mask"\n[[curate]]\nstep = "duplicates"\nthreshold = 0.6\n'
    first = curated(steps)
    before = tables(store)
    second = curated(steps)
    assert tables(store) == before
    assert (second.verdicts, second.revisions) == (0, 0)
    assert [step.removed for step in second.steps] == [step.removed for step in first.steps]


def test_a_trace_comes_back_when_its_step_is_taken_away(store: TraceStore, curated: Curate) -> None:
    id = record_trace(store, reward=0.2).id
    curated(REWARD)
    curated(REWARD.replace("0.5", "0.1"))
    assert newest(store, id) == ("undecided", "curate", "No step takes it out.")


@pytest.mark.parametrize("verdict", [Verdict.APPROVED, Verdict.UNDECIDED])
def test_a_person_overrules_curation(store: TraceStore, curated: Curate, verdict: Verdict) -> None:
    id = record_trace(store, reward=0.2).id
    curated(REWARD)
    store.judge(id, 0, verdict, reviewer="ada")
    report = curated(REWARD)
    assert newest(store, id)[:2] == (verdict.value, "ada")
    assert (report.left, report.verdicts) == (1, 0)


def test_what_a_person_rejected_stays_rejected_and_stands_for_nothing(store: TraceStore, curated: Curate) -> None:
    first, second = record_trace(store, "t1", attempt=0).id, record_trace(store, "t1", attempt=1).id
    store.judge(first, 0, Verdict.REJECTED, reviewer="ada")
    report = curated('[[curate]]\nstep = "best"\n')
    assert (report.left, report.rejected_by_persons) == (1, 1)
    assert store.reviews.verdicts(second) == []


def test_a_masked_trace_counts_as_its_original_did(store: TraceStore, curated: Curate) -> None:
    good = record_trace(store, "t1", said=f"Use {KEY}.").id
    low = record_trace(store, "t2", said=f"Use {KEY}.", reward=0.7).id  # below [dataset] min_reward
    approved = record_trace(store, "t3", said=f"Use {KEY}.", reward=0.1).id
    store.judge(approved, 0, Verdict.APPROVED, reviewer="ada")
    curated('[[curate]]\nstep = "mask"\n')
    assert newest(store, good)[:2] == ("approved", "curate:mask")
    assert newest(store, approved)[2] == "Only masked: ada gave revision 0 this verdict."
    assert store.reviews.verdicts(low) == []
    assert {summary.revision for summary in store.summaries()} == {1}
    assert store.load(good, 0).messages[-1].content == f"Use {KEY}."  # the original stays
    assert store.load(good).messages[-1].content == "Use <GITHUB_TOKEN_1>."


def test_with_approve_false_a_person_sees_each_masked_revision_first(store: TraceStore, curated: Curate) -> None:
    record_trace(store, said=f"Use {KEY}.")
    curated('[[curate]]\nstep = "mask"\napprove = false\n')
    (summary,) = store.summaries()
    assert summary.verdict is Verdict.UNDECIDED
    assert reason_to_leave_out(summary, 0.5) == "edited and not approved yet"


def test_a_person_who_takes_a_mask_off_again_is_not_overruled(store: TraceStore, curated: Curate) -> None:
    id = record_trace(store, said=f"The sample {KEY}.").id
    curated('[[curate]]\nstep = "mask"\n')
    original = store.load(id, 0).messages
    store.judge(id, store.revise(id, original, base=1, author="ada", note="restored"), Verdict.APPROVED, reviewer="ada")
    assert curated('[[curate]]\nstep = "mask"\n').revisions == 0
    assert store.load(id).revision == 2


def test_a_secret_in_a_tools_definition_takes_the_trace_out(store: TraceStore, curated: Curate) -> None:
    from store_examples import TOOL

    tool = TOOL.model_copy(update={"definition": TOOL.definition.replace('"look"', f'"look", "d": "{KEY}"', 1)})
    id = record_trace(store, tools=[tool]).id
    curated('[[curate]]\nstep = "mask"\n')
    assert newest(store, id)[:2] == ("rejected", "curate:mask")


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ("", "declares no step of curation"),
        ('[[curate]]\nstep = "rewards"\n', '"step" has to be one of reward,'),
        ('[[curate]]\nstep = "reward"\nmin = 1\n', 'step 1: unknown key "min"'),
        ('[[curate]]\nstep = "balance"\n', "balance needs either most or ratio"),
        ('[[curate]]\nstep = "mask"\nregion = "Germany"\n', 'no region "Germany"'),
        ('[[curate]]\nstep = "judge"\nrubric = "none.md"\n', "needs url and model, or a [teacher]"),
        ('[[curate]]\nstep = "judge"\nrubric = "none.md"\nurl = "http://127.0.0.1:9/v1"\nmodel = "m"\n', "none.md"),
    ],
)
def test_a_mistake_in_a_step_is_one_sentence(curated: Curate, steps: str, says: str) -> None:
    with pytest.raises(TutelageError, match=says.replace("[", r"\[")):
        curated(steps)


def test_masked_messages_keep_what_else_they_are(store: TraceStore, curated: Curate) -> None:
    recording = record_trace(store, finish=False)
    recording.message(Message(role="user", content=f"And {KEY}?"))
    from tutelage.trace import Step, StopReason, now

    recording.step(Step(seen=6, started=now(), seconds=1), Message(role="assistant", content=f"{KEY}", weight=0.0))
    recording.finish(StopReason.ANSWER)
    curated('[[curate]]\nstep = "mask"\n')
    masked = store.load(recording.id).messages
    assert masked[-1] == Message(role="assistant", content="<GITHUB_TOKEN_1>", weight=0.0)
    assert masked[:5] == store.load(recording.id, 0).messages[:5]
