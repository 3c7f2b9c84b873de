"""Verdicts, tags, preferences, revisions."""

from threading import Barrier, Thread

import pytest
from store_examples import record_trace

from tutelage.store import EditConflict, Judgement, TraceStore
from tutelage.trace import Message, Step, StopReason, Task, Verdict, now


def test_verdicts_given_together_are_taken_back_together(store: TraceStore) -> None:
    ids = [record_trace(store, f"t{number}").id for number in range(3)]
    store.judge(ids[0], 0, Verdict.REJECTED, reviewer="ada")
    moment = store.reviews.judge([Judgement(id, 0, Verdict.APPROVED) for id in ids], reviewer="ada")
    store.judge(ids[2], 0, Verdict.REJECTED, reviewer="ben")  # meanwhile
    assert store.reviews.take_back(moment, reviewer="ada") == 2
    assert [store.load(id).verdict for id in ids] == [Verdict.REJECTED, Verdict.UNDECIDED, Verdict.REJECTED]
    assert store.reviews.take_back(moment, reviewer="ada") == 0


def test_of_two_who_edit_the_same_revision_the_second_is_told(store: TraceStore) -> None:
    id = record_trace(store).id
    messages = store.load(id).messages
    assert store.revise(id, messages[:3], base=0, author="ada", note="") == 1
    with pytest.raises(EditConflict, match="revision 1 came after 0"):
        store.revise(id, messages[:4], base=0, author="ben", note="")
    assert [revision.author for revision in store.reviews.revisions(id)] == ["", "ada"]


def test_of_two_who_save_in_the_same_moment_one_is_told(store: TraceStore) -> None:
    id = record_trace(store).id
    messages = store.load(id).messages
    together, ends = Barrier(2), []

    def save(content: str) -> None:
        edited = [*messages[:-1], Message(role="assistant", content=content)]
        together.wait()
        try:
            ends.append(store.revise(id, edited, base=0, author=content, note=""))
        except EditConflict:
            ends.append("conflict")

    threads = [Thread(target=save, args=(name,)) for name in ("ada", "ben")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, ends)) == ["1", "conflict"]
    assert store.load(id).answer() == store.reviews.revisions(id)[-1].author


def test_the_newest_preference_of_a_pair_counts(store: TraceStore) -> None:
    a, b, c = (record_trace(store, attempt=attempt).id for attempt in range(3))
    store.reviews.prefer("t1", (a, 0), (b, 0), reviewer="ada")
    store.reviews.prefer("t1", (a, 0), (c, 0), reviewer="ada")
    store.reviews.prefer("t1", (b, 0), (a, 0), reviewer="ada", comment="shorter")
    assert [(kept.chosen_id, kept.rejected_id) for kept in store.reviews.preferences("t1")] == [(a, c), (b, a)]
    assert store.reviews.preferences("t2") == []


def test_an_edit_of_one_revision_is_judged_apart_from_the_next(store: TraceStore) -> None:
    id = record_trace(store).id
    store.judge(id, 0, Verdict.APPROVED, reviewer="ada", comment="fine")
    store.revise(id, store.load(id).messages[:-1], base=0, author="ada", note="")
    store.judge(id, 0, Verdict.REJECTED, reviewer="ben")
    (summary,) = store.summaries()
    assert (summary.revision, summary.verdict) == (1, Verdict.UNDECIDED)
    assert [record.reviewer for record in store.reviews.verdicts(id)] == ["ben", "ada"]


def test_tags_of_two_reviewers_are_both_kept(store: TraceStore) -> None:
    id = record_trace(store).id
    store.reviews.tag(id, ["ada's"], reviewer="ada", instead_of=[])
    store.reviews.tag(id, ["ben's"], reviewer="ben", instead_of=[])  # whose page was older
    assert store.reviews.tags(id) == ["ada's", "ben's"]
    store.reviews.tag(id, ["ben's"], reviewer="ben", instead_of=["ada's", "ben's"])
    assert store.reviews.tags(id) == ["ben's"]


def test_steps_after_an_edit_are_stale_until_they_are_confirmed(store: TraceStore) -> None:
    id = record_trace(store, steps=3).id  # system, user, call, result, call, result, answer
    messages = store.load(id).messages
    reworded = messages[2].model_copy(update={"reasoning_content": "I look it up."})
    store.revise(id, [*messages[:2], reworded, *messages[3:]], base=0, author="ada", note="")
    assert store.load(id).stale == (4, 6)
    assert store.load(id, 0).stale == ()
    assert store.reviews.confirm(id, 1, [4], reviewer="ada") == 1
    assert store.load(id).stale == (6,)
    untaught = store.load(id).messages[4].model_copy(update={"weight": 0.0})
    now = store.load(id).messages
    store.revise(id, [*now[:4], untaught, *now[5:]], base=1, author="ada", note="a mark changes no history")
    assert store.load(id).stale == (6,)
    store.revise(id, [*now[:2], messages[2], *now[3:]], base=2, author="ada", note="as it was")
    assert store.load(id).stale == (4, 6)  # read again: nobody can say that it is as it was
    store.restore(id, 0, base=3, author="ada")
    assert (store.load(id).stale, store.load(id).messages) == ((), messages)
    assert [step.seen for step in store.load(id).steps] == [2, 4, 6]
    assert [revision.base for revision in store.reviews.revisions(id)] == [None, 0, 1, 2, 0]


def test_a_step_that_was_cut_off_stays_so_through_edits_of_others(store: TraceStore) -> None:
    task = Task(id="t", turns=("?",))
    recording = store.begin(run="r", task=task, attempt=0, model="m", tools=[])
    recording.message(Message(role="user", content="?"))
    step = Step(seen=1, started=now(), seconds=1.0, finish_reason="length")
    recording.step(step, Message(role="assistant", content="It costs"))
    recording.finish(StopReason.TOKEN_LIMIT)
    answer = store.load(recording.id).messages[1]
    store.revise(recording.id, [Message(role="user", content="How much?"), answer], base=0, author="ada", note="")
    assert [step.finish_reason for step in store.load(recording.id).steps] == ["length"]
