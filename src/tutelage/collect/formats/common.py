"""What the formats share: values of a file, records made of messages, calls joined to conversations."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from tutelage.collect.record import BadRecord, Record, check_order, check_results, parsed, read_time
from tutelage.dialect import Unreadable
from tutelage.dialect.exchange import Transcript
from tutelage.dialect.identity import chain
from tutelage.trace import Message, Tool

UNKNOWN = "unknown"  # the model, where a file does not say
NANOSECONDS = 1e9
# What reading a record raises that is not written as its format is, beside BadRecord and Unreadable.
NOT_AS_WRITTEN = (LookupError, TypeError, ValueError, AttributeError, RecursionError)


class Entry(NamedTuple):
    """A record in a file, still to be read."""

    where: str  # "line 3"; "" where the file is the record
    read: Callable[[], Record]  # raises BadRecord or Unreadable


class Format(NamedTuple):
    name: str  # as --format names it
    what: str
    matches: Callable[[Any], bool]  # by the first JSON value of a file
    read: Callable[[Path], Iterator[Entry]]


class SessionTranscript(Transcript):
    """What a session file tells. From the first thing on that the model saw and the file does not hold, nothing is
    taught."""

    def __init__(self) -> None:
        super().__init__()
        self._whole: int | None = None  # messages before that thing

    def leave_out(self, kind: str) -> str:
        if self._whole is None:
            self._whole = len(self.messages)  # those that are read already
        return super().leave_out(kind)

    def record(self, *, model: Any, timestamp: Any, kind: str, session: Any) -> Record:
        """What was answered. Raises BadRecord."""
        while self.messages and self.messages[-1].role != "assistant":
            self.messages.pop()
        told = self.messages if self._whole is None else self.messages[: self._whole]
        if self.not_kept and not any(message.role == "assistant" for message in told):
            raise BadRecord("messages", _no_text(self.not_kept))
        messages = [*told, *(_as_context(message) for message in self.messages[len(told) :])]
        more: dict[str, JsonValue] = {"session": str(session)}
        if self.not_kept:
            more["not_kept"] = dict(self.not_kept)
        record = make_record(messages, model=model, timestamp=timestamp, kind=kind, more=more)
        return replace(record, repeats=True)


def values(path: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Where each JSON value of a file stands, and a function that parses it: a line each, or the items of a list."""
    data = path.read_bytes()
    if path.suffix != ".jsonl" and (whole := _whole(data)) is not None:
        items = whole if isinstance(whole, list) else [whole]
        for index, item in enumerate(items):
            yield (f"record {index + 1}" if isinstance(whole, list) else ""), partial(_same, item)
        return
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            yield f"line {number}", partial(parsed, line)


def _same(value: Any) -> Any:
    return value


def _whole(data: bytes) -> Any:
    """The file as one JSON value; None where it is a value a line. Raises BadRecord where it is broken."""
    try:
        return parsed(data)
    except BadRecord:
        first, more, _ = data.strip().partition(b"\n")
        if not more or first.startswith(b"[") or first.strip() == b"{":
            raise
        return None


def between(first: str, last: str) -> str:
    """Where a record stands that goes over several lines."""
    return first if first == last else f"{first} to {last}"


def failing(error: BadRecord) -> Callable[[], Record]:
    """How a record is read that is known to be bad."""

    def fail() -> Record:
        raise error

    return fail


def make_record(
    transcript: Transcript | Sequence[Message],
    *,
    tools: tuple[Tool, ...] = (),
    model: Any = None,
    timestamp: Any = None,
    reward: float | None = None,
    kind: str = "imported",
    more: dict[str, JsonValue] | None = None,
    whole: bool = True,
) -> Record:
    """A record whose messages are in order; where it is not `whole`, nobody needs to ask. Raises BadRecord."""
    if isinstance(transcript, Transcript):
        if transcript.not_kept:
            raise BadRecord("messages", _no_text(transcript.not_kept))
        transcript = transcript.messages
    (check_order if whole else check_results)(transcript)
    return Record(
        timestamp=None if timestamp is None else read_time(timestamp),
        model=str(model or UNKNOWN),
        messages=tuple(transcript),
        tools=tools,
        reward=reward,
        kind=kind,
        more=more or {},
    )


def _no_text(kinds: Iterable[str]) -> str:
    return f"they hold what is no text and cannot be taught: {', '.join(sorted(kinds))}"


def nanoseconds(value: Any) -> datetime | None:
    """A time as OpenTelemetry writes it; None where it is none."""
    try:
        return datetime.fromtimestamp(int(value) / NANOSECONDS, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def objects(value: Any, key: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadRecord(key, "not a list of objects")
    return value


def joined(calls: Sequence[tuple[str, Record]]) -> Iterator[Entry]:
    """The conversations of recorded model calls, each of which repeats the calls before it.

    Of a call whose messages begin another one's, only the longer is given. An earlier answer in it that the file holds
    as a call is taught with the reasoning that it had there; one that nobody recorded is context only.
    """
    chains = [chain(record.messages) for _, record in calls]
    answers = {links[-1]: record for links, (_, record) in zip(chains, calls, strict=True)}
    repeated = {link for links in chains for link in links[:-1]}
    for links, (where, record) in zip(chains, calls, strict=True):
        if links[-1] in repeated or answers[links[-1]] is not record:
            continue
        messages = []
        for link, message in zip(links, record.messages, strict=True):
            if message.role == "assistant":
                call = answers.get(link)
                message = call.messages[-1] if call else _as_context(message)
            messages.append(message)
        first = next((answers[link] for link in links if link in answers), record)
        whole = replace(record, messages=(*messages, *record.after), timestamp=first.timestamp, repeats=True, after=())
        yield Entry(where, partial(_in_order, whole))


def _in_order(record: Record) -> Record:
    check_order(record.messages)
    return record


def read_or_fail(entries: Iterator[Entry]) -> tuple[list[tuple[str, Record]], list[Entry]]:
    """The records that can be read, and the entries that cannot."""
    good, bad = [], []
    for entry in entries:
        try:
            good.append((entry.where, entry.read()))
        except (BadRecord, Unreadable, *NOT_AS_WRITTEN):
            bad.append(entry)
    return good, bad


def _as_context(message: Message) -> Message:
    return message.model_copy(update={"weight": 0.0}) if message.role == "assistant" else message


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
