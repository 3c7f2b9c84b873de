"""What is erased is gone, and nothing else is."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from store_examples import TOOL, record_trace

from tutelage.errors import TutelageError
from tutelage.store import Selection, Sort, TraceStore, schema
from tutelage.trace import Message, Part, Task, Tool, Verdict

SECRET = "zyxwvu-4711"  # stands wherever a trace holds text


def a_trace_with_everything(store: TraceStore) -> str:
    """Revisions, verdicts, a tag, a score, a preference, a re-run, blobs, a tool of its own; all say SECRET."""
    tool = Tool(name=SECRET, definition=TOOL.definition, server=SECRET)
    recording = record_trace(store, "gone", said=f"It is {SECRET}.", reasoning=f"{SECRET}?", tool=SECRET, tools=[tool])
    id = recording.id
    messages = list(store.load(id).messages)
    messages[-1] = messages[-1].model_copy(update={"content": f"Edited {SECRET} twice."})
    store.revise(id, messages, base=0, author="ada", note=SECRET)
    store.judge(id, 1, Verdict.APPROVED, reviewer="ada", comment=SECRET)
    store.reviews.tag(id, [SECRET], reviewer="ada")
    store.scores.add(id, 1, model="judge", prompt_sha256="p", score=0.5, reason=SECRET)
    other = record_trace(store, "gone", attempt=1, said="Another answer.")
    store.reviews.prefer("gone", (other.id, 0), (id, 1), reviewer="ada", comment=SECRET)
    rerun = store.begin_rerun(id, messages[:2], base=1, model="m", author="ada", hint=SECRET)
    rerun.message(Message(role="user", content=SECRET), [f"only {SECRET}".encode(), b"shared"])
    return id


def blobs(url: str) -> list[bytes]:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = [
            bytes(body) for body in connection.scalars(schema.blobs.select().with_only_columns(schema.blobs.c.body))
        ]
    engine.dispose()
    return found


def test_a_trace_is_erased_with_all_that_was_said_of_it_and_others_stay(store: TraceStore, url: str) -> None:
    stays = store.begin(run="r", task=Task(id="stays", turns=("?",)), attempt=0, model="m", tools=[TOOL])
    part = Part(sha256="x", mime_type="text/plain", bytes=6)
    stays.message(Message(role="user", content="It stays.", parts=(part,)), [b"shared"])
    kept = record_trace(store, "kept", said="Kept words.").id
    id = a_trace_with_everything(store)
    before = [store.load(one) for one in (kept, stays.id)]
    assert store.erasing.count([id]) == (1, 2, 1)
    assert store.erasing.erase([id]) == (1, 2, 1)
    with pytest.raises(TutelageError, match="no trace"):
        store.load(id)
    assert [store.load(one) for one in (kept, stays.id)] == before
    assert blobs(url) == [b"shared"]
    assert store.reviews.preferences() == []
    everything = Selection()
    assert store.listing.counts(everything).total == len(store.listing.page(everything, Sort.OLDEST, limit=9)) == 3
    for words in (SECRET, "Edited"):
        assert store.listing.page(Selection(text=words), Sort.OLDEST, limit=9) == []
    assert len(store.listing.page(Selection(text="Kept words"), Sort.OLDEST, limit=9)) == 1
    assert len(store.listing.page(Selection(text="Another answer"), Sort.OLDEST, limit=9)) == 1
    assert no_table_speaks_of(url, id)
    again = record_trace(store, "gone", said="A new try.").id  # its attempt is free again
    assert len(store.listing.page(Selection(text="new try"), Sort.OLDEST, limit=9)) == 1
    assert store.listing.counts(everything).total == 4 and store.load(again).revision == 0


def test_many_are_erased_together_and_each_is_counted_once(store: TraceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tutelage.store.erasing.AT_ONCE", 2)
    ids = [record_trace(store, f"t{number}", said="Words.").id for number in range(5)]
    assert store.erasing.count(ids) == store.erasing.erase(ids) == (5, 5, 0)
    assert store.summaries() == []


def no_table_speaks_of(url: str, id: str) -> bool:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = [
            table.name
            for table in schema.metadata.sorted_tables
            for row in connection.execute(table.select())
            if id in str(row) or SECRET in str(row)
        ]
    engine.dispose()
    return not found


def test_the_file_does_not_hold_the_text_any_more(tmp_path: Path) -> None:
    path = tmp_path / "traces.db"
    with TraceStore(f"sqlite:///{path}") as store:
        for number in range(20):
            record_trace(store, f"t{number}", said="Long words stay. " * 50)
        id = a_trace_with_everything(store)
        assert in_files(path, SECRET)
        store.erasing.erase([id])
        assert not in_files(path, SECRET)  # while it is open, its log included
        assert not in_files(path, "zyxwvu")  # the index of words
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.execute("INSERT INTO trace_text (trace_text) VALUES ('integrity-check')")
    connection.close()


def in_files(path: Path, words: str) -> bool:
    return any(words.encode() in file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def test_what_is_selected_fits_all_that_is_said(store: TraceStore, url: str) -> None:
    old, new, other = (record_trace(store, task, run=run).id for task, run in (("a", "r"), ("b", "r"), ("a", "s")))
    broken = record_trace(store, "c", finish=False).id
    engine = create_engine(url)
    with engine.begin() as connection:
        long_ago = {"id": old, "started": (datetime.now(UTC) - timedelta(days=9)).isoformat()}
        connection.execute(text("UPDATE traces SET started = :started WHERE id = :id"), long_ago)
        said = {"id": new, "said": '{"user": "ada", "from": {"team": 7}}'}
        connection.execute(text("UPDATE traces SET metadata = :said WHERE id = :id"), said)
    engine.dispose()
    select = store.erasing.select
    assert set(select(run="r")) == {old, new, broken}
    assert select(run="r", task="a") == [old]
    assert select(before=datetime.now(UTC) - timedelta(days=1)) == [old]
    assert select(where={"user": "ada"}) == select(where={"from.team": "7"}) == [new]
    assert select(where={"user": "ada", "from.team": "8"}) == select(run="nobody") == []
    assert len(select()) == 4 and select(run="s") == [other]
