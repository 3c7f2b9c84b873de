"""What changed between two revisions, word by word."""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from tutelage.review.changes import pretty
from tutelage.trace import Message

Change = Literal["same", "new", "gone"]
WORDS = 20_000  # beyond it lines are compared: words would take seconds


class Piece(NamedTuple):
    change: Change
    text: str


class Difference(NamedTuple):
    """One message of the two revisions together."""

    change: Literal["same", "new", "gone", "changed"]
    role: str
    fields: list[tuple[str, list[Piece]]]  # name of a part, its text


def differences(old: Sequence[Message], new: Sequence[Message]) -> Iterator[Difference]:
    """All messages of both, in order; those that stand in the same place and have the same role are compared."""
    for kind, a, b, c, d in _opcodes(old, new):
        if kind == "equal":
            for message in old[a:b]:
                yield _whole(message, "same")
            continue
        before, after = list(old[a:b]), list(new[c:d])
        while before and after and before[0].role == after[0].role:
            yield _compared(before.pop(0), after.pop(0))
        for message in before:
            yield _whole(message, "gone")
        for message in after:
            yield _whole(message, "new")


def origins(original: Sequence[Message], now: Sequence[Message]) -> list[int | None]:
    """Of each message of `now`, where it stands in the original; None where that has it not."""
    places: list[int | None] = [None] * len(now)
    for kind, a, b, c, d in _opcodes(original, now):
        if kind == "equal":
            places[c:d] = range(a, b)
    return places


def moved(old: Sequence[Message], new: Sequence[Message], index: int) -> int | None:
    """Where in `new` the message at `index` of `old` stands, or what was made of it; None where it is gone."""
    for kind, a, b, c, d in _opcodes(old, new):
        if a <= index < b and kind != "delete":
            place = c + index - a
            return place if place < d and new[place].role == old[index].role else None
    return None


def word_difference(old: str, new: str) -> list[Piece]:
    """Both texts as one: what both have, what only `new` has, what only `old` has."""
    words, others = _words(old), _words(new)
    if len(words) + len(others) > WORDS:
        words, others = old.splitlines(keepends=True), new.splitlines(keepends=True)
    pieces: list[Piece] = []
    for kind, a, b, c, d in SequenceMatcher(None, words, others, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(Piece("same", "".join(words[a:b])))
            continue
        for change, part in (("gone", words[a:b]), ("new", others[c:d])):
            if part:
                pieces.append(Piece(change, "".join(part)))  # type: ignore[arg-type]
    return pieces


def parts(message: Message) -> dict[str, str]:
    """A message's texts by what they are."""
    found = {"reasoning": message.reasoning_content or "", "content": message.content or ""}
    for number, call in enumerate(message.tool_calls, 1):
        found[f"call {number}"] = f"{call.name} {pretty(call.arguments)}"
    if message.role == "assistant":
        found["taught"] = "yes" if message.weight > 0 else "no, context only"
    return found


def _opcodes(old: Sequence[Message], new: Sequence[Message]) -> list[tuple[str, int, int, int, int]]:
    before, after = ([message.model_dump_json() for message in messages] for messages in (old, new))
    return list(SequenceMatcher(None, before, after, autojunk=False).get_opcodes())


def _compared(old: Message, new: Message) -> Difference:
    before, after = parts(old), parts(new)
    names = list(dict.fromkeys([*before, *after]))
    fields = [(name, word_difference(before.get(name, ""), after.get(name, ""))) for name in names]
    return Difference("changed", new.role, [(name, pieces) for name, pieces in fields if pieces])


def _whole(message: Message, change: Change) -> Difference:
    return Difference(
        change, message.role, [(name, [Piece(change, text)]) for name, text in parts(message).items() if text]
    )


def _words(text: str) -> list[str]:
    return re.findall(r"\s+|\w+|[^\w\s]", text)
