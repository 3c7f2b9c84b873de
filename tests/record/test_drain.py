"""From the spool into the store, whatever waits there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tutelage.project import Project
from tutelage.record.drain import Drain, DrainSettings
from tutelage.record.recorder import Recorder
from tutelage.record.spool import Spool
from tutelage.store import TraceStore
from tutelage.trace import now


def drain(project: Project, spool: Spool, run: str) -> None:
    """Drain all that waits and finish, as at the end of `tutelage record --run RUN`."""
    drain = Drain(DrainSettings(store=project.store_url, run=run, spool=spool.folder, idle=1000))
    drain.finishing = True
    drain.ended.set()
    drain.run()


def write(spool: Spool, question: str, **more: Any) -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": question}], **more}
    response = {"choices": [{"message": {"role": "assistant", "content": "So."}, "finish_reason": "stop"}]}
    spool.write("chat", now(), 0.5, json.dumps(request).encode(), response, [])


def questions(store: TraceStore, run: str) -> list[str]:
    return [turn for trace in store.traces(run=run) for turn in trace.task.turns]


def test_what_waited_comes_into_the_run_that_it_was_recorded_for(
    project: Project, spool: Spool, store: TraceStore
) -> None:
    write(Spool(spool.folder, "a"), "For a.")
    write(Spool(spool.folder, "b"), "For b.")
    drain(project, spool, "b")
    assert (questions(store, "a"), questions(store, "b")) == (["For a."], ["For b."])
    assert spool.waiting() == []


def test_an_exchange_that_nobody_foresaw_is_set_aside_and_what_is_behind_it_is_recorded(
    project: Project,
    spool: Spool,
    store: TraceStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = Recorder.record

    def failing(self: Recorder, id: str, spooled: Mapping[str, Any]) -> None:
        if spooled["request"].get("poison"):
            raise KeyError("poison")
        record(self, id, spooled)

    monkeypatch.setattr(Recorder, "record", failing)
    for number in range(3):
        write(spool, f"Question {number}.", poison=number == 1)
    drain(project, spool, "record")
    assert sorted(questions(store, "record")) == ["Question 0.", "Question 2."]
    (aside,) = (spool.folder / "unreadable").iterdir()
    assert f"No trace can be made of {aside}: KeyError('poison')." in capsys.readouterr().out


def test_a_request_with_odd_names_is_set_aside(
    project: Project, spool: Spool, store: TraceStore, tmp_path: Path
) -> None:
    said = {"type": "message", "role": "assistant", "content": "So."}
    for name in ("previous_response_id", "conversation"):
        request = {"model": "m", "input": "And?", name: ["x"]}
        spool.write("responses", now(), 0.5, json.dumps(request).encode(), {"output": [said]}, [])
    write(spool, "Behind them.")
    drain(project, spool, "record")
    assert questions(store, "record") == ["Behind them."]
    assert len(list((spool.folder / "unreadable").iterdir())) == 2
