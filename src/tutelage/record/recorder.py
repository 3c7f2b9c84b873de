"""Exchanges into traces: each goes on with the trace that it belongs to, or begins one."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue, ValidationError

from tutelage.dialect import Answer, Exchange, Unreadable, anthropic, chat, responses
from tutelage.record.kept import Kept, told
from tutelage.record.lineages import Kind, Lineage, Lineages, Place, root
from tutelage.store import AlreadyRecorded, Recording, TraceStore
from tutelage.trace import RECORDED, Message, Step, StopReason, Task, Trace

READERS = {"chat": chat.read, "responses": responses.read, "anthropic": anthropic.read}
LENGTH = "length"
TRIES = 20  # of an attempt's number, which another recorder may take first


class Recorder:
    """Records exchanges in `store` as the run `run`, under a name of its own, `owner`.

    A recorder goes on with what another one of its name left when it stopped or was killed; traces of other names are
    not its own, though they are of the same run. No two of one name may work at once.
    """

    def __init__(self, store: TraceStore, run: str, owner: str) -> None:
        self._store, self._run, self._owner = store, run, owner
        self._lineages = Lineages()
        self._recordings: dict[str, Recording] = {}
        self._notes: dict[str, dict[str, Any]] = {}  # trace id -> what its metadata says under RECORDED
        self._touched: dict[str, float] = {}  # trace id -> when it was gone on with, by the monotonic clock
        self._kept = Kept()
        self._applied: set[str] = set()  # exchanges that are in the store, and may still be in the spool
        for id in store.unfinished(run):
            self._take_up(store.load(id))

    def record(self, id: str, spooled: Mapping[str, Any]) -> None:
        """Record what the proxy put into the spool under `id`; once, however often it is called.

        Raises Unreadable where no trace can be made of it.
        """
        try:
            exchange = READERS[spooled["dialect"]](self._kept.whole(spooled["request"]), spooled["response"])
            started = datetime.fromisoformat(spooled["started"])
            seconds = float(spooled["seconds"])
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, ValidationError) as error:
            raise Unreadable(f"it is no exchange: {error!r}") from None
        if not exchange.answers:
            raise Unreadable("it has no answer")
        for number, answer in enumerate(exchange.answers):
            name = f"{id}.{number}" if number else id
            if name not in self._applied:
                self._answer(name, exchange, answer, started, seconds, str(spooled["dialect"]))

    def finish(self, rested: float = 0.0) -> int:
        """Finish the traces that nobody went on with for `rested` seconds; how many."""
        due = [id for id, when in self._touched.items() if time.monotonic() - when >= rested]
        for id in due:
            lineage = self._lineages.open[id]
            notes = self._notes[id]
            task = Task(id=notes["task"], turns=_turns(lineage.messages), kind=lineage.kind.value)
            self._finish(self._recordings[id], _stop_reason(lineage, notes), task)
            self._forget(lineage)
        return len(due)

    def _finish(self, recording: Recording, reason: StopReason, task: Task) -> None:
        """Finish a trace, under another attempt's number where its own is taken; one that was erased stays erased."""
        for _ in range(TRIES):
            try:
                recording.finish(reason, task=task)
                return
            except AlreadyRecorded:  # another recorder of the run had its agent asked the same, and was first
                recording.renumber(self._store.next_attempt(self._run, task.id))

    def _answer(
        self, id: str, exchange: Exchange, answer: Answer, started: datetime, seconds: float, dialect: str
    ) -> None:
        messages, known = self._kept.seen(exchange)
        of = root(exchange.model, exchange.tools)
        place = self._lineages.place(of, messages, started)
        if place is not None and place.kind is None:
            lineage, since = place.lineage, place.shared
            new = tuple(_as_context(message) for message in messages[since:])
        else:
            new, since = self._history(messages, place), 0
            lineage = self._begin(exchange, of, new, place, dialect)
        self._note(lineage, exchange, answer, id)
        notes = self._notes[lineage.id]
        if not known and not notes.get("not_kept"):
            notes["history_unknown"] = True
        known = _is_known(notes)
        # What a model is shown of a beginning that the agent wrote for it hangs on its server.
        begun = bool(messages) and messages[-1].role == "assistant"
        given = answer.message if known and not begun else _as_context(answer.message)
        step = Step(
            seen=since + len(new),
            started=started,
            seconds=seconds,
            prompt_tokens=exchange.prompt_tokens,
            completion_tokens=exchange.completion_tokens,
            finish_reason=answer.finish_reason,
        )
        self._recordings[lineage.id].exchange(new, step, given, {RECORDED: notes})
        lineage.extend([*new, given])
        lineage.steps[step.seen] = started + timedelta(seconds=seconds)
        self._lineages.add(lineage, since)
        self._touched[lineage.id] = time.monotonic()
        self._kept.note(exchange, lineage, known=known)

    def _history(self, messages: Sequence[Message], place: Place | None) -> tuple[Message, ...]:
        """What a new lineage's model was shown. What it gave in another lineage is taught there, and context here."""
        shared = place.lineage.messages[: place.shared] if place else []
        rest = [self._lineages.said(message) or message for message in messages[len(shared) :]]
        return tuple(_as_context(message) for message in (*shared, *rest))

    def _begin(
        self, exchange: Exchange, of: str, history: Sequence[Message], place: Place | None, dialect: str
    ) -> Lineage:
        kind = place.kind if place and place.kind else Kind.RECORDED
        task = Task(id="recorded", turns=_turns(history), kind=kind.value)
        beside = self._notes[place.lineage.id] if place else None
        if beside:
            id = beside["task"]
        else:
            asked = [task.turns, [tool.definition for tool in exchange.tools]]
            id = f"recorded-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]}"
        task = task.model_copy(update={"id": id})
        attempt = self._store.next_attempt(self._run, id)
        recording = self._store.begin(
            run=self._run, task=task, attempt=attempt, model=exchange.model, tools=exchange.tools
        )
        session = beside["session"] if beside else recording.id
        lineage = Lineage(recording.id, session, of, kind)
        self._recordings[lineage.id] = recording
        self._notes[lineage.id] = {
            "session": session,
            "recorder": self._owner,
            "lineage": kind.value,
            "task": id,
            "dialect": dialect,
            **({"of": place.lineage.id, "shared": place.shared} if place else {}),
        }
        return lineage

    def _note(self, lineage: Lineage, exchange: Exchange, answer: Answer, id: str) -> None:
        notes = self._notes[lineage.id]
        notes |= {"exchange": id, "finish_reason": answer.finish_reason}
        if kept := told(exchange):
            notes["server_keeps"] = kept
        if exchange.not_kept:
            notes["not_kept"] = dict(exchange.not_kept)

    def _take_up(self, trace: Trace) -> None:
        notes: JsonValue = trace.metadata.get(RECORDED)
        if not trace.steps or not isinstance(notes, dict):
            return  # begun, and killed before its first exchange was in it: that one is still in the spool
        if notes.get("recorder") != self._owner:
            return
        kind = Kind(str(notes["lineage"]))
        lineage = Lineage(trace.id, str(notes["session"]), root(trace.model, trace.tools), kind)
        lineage.extend(trace.messages)
        lineage.steps = {step.seen: step.started + timedelta(seconds=step.seconds) for step in trace.steps}
        self._lineages.add(lineage)
        self._recordings[trace.id] = self._store.resume(trace.id)
        self._notes[trace.id] = dict(notes)
        self._touched[trace.id] = time.monotonic()
        self._applied.add(str(notes["exchange"]))
        keeps = notes.get("server_keeps")
        self._kept.restore(keeps if isinstance(keeps, dict) else {}, lineage, known=_is_known(notes))

    def _forget(self, lineage: Lineage) -> None:
        self._lineages.close(lineage)
        for names in (self._recordings, self._notes, self._touched):
            names.pop(lineage.id, None)
        self._kept.forget(lineage)


def _is_known(notes: Mapping[str, Any]) -> bool:
    """Whether a trace's messages are all that its model was shown."""
    return not notes.get("not_kept") and not notes.get("history_unknown")


def _as_context(message: Message) -> Message:
    """Only what the model was seen to give is taught."""
    return message.model_copy(update={"weight": 0.0}) if message.role == "assistant" else message


def _turns(messages: Sequence[Message]) -> tuple[str, ...]:
    turns = tuple(message.content or "" for message in messages if message.role == "user")
    return turns or tuple(message.content or "" for message in messages[:1]) or ("",)


def _stop_reason(lineage: Lineage, notes: Mapping[str, Any]) -> StopReason:
    if notes.get("finish_reason") == LENGTH:
        return StopReason.TOKEN_LIMIT
    return StopReason.UNKNOWN if lineage.waits_for else StopReason.ANSWER
