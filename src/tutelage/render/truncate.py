"""Tool results longer than a model is shown are cut, visibly and always in the same way.

The agent cuts by it, the dataset cuts by it again, and so does whatever serves the student: serving.json says how.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from tutelage.render.nodes import keep_nodes
from tutelage.settings import Student, ToolResults

Cut = Callable[[str], str]

HEAD = 2 / 3  # of what is shown, where beginning and end are
TOOL_RESULTS = "tool_results"  # in a trace's metadata
NOTICES = re.compile(r"\[cut: [0-9]+ ")
NOTICE = {"characters": 100, "tokens": 60}  # a notice is no longer than that


def note_of(policy: ToolResults) -> dict[str, JsonValue]:
    """What the metadata of a trace say of how its results were cut."""
    return {TOOL_RESULTS: policy.model_dump()}


def noted(metadata: Mapping[str, JsonValue]) -> ToolResults | None:
    """How a trace's results were cut; None where it does not say."""
    found = metadata.get(TOOL_RESULTS)
    return None if found is None else ToolResults.model_validate(found)


def was_cut(text: str) -> bool:
    """Whether `text` holds a notice that something was cut, whatever the policy."""
    return NOTICES.search(text) is not None


class Unit(Protocol):
    """What lengths are counted in."""

    name: str

    def size(self, text: str) -> int: ...

    def head(self, text: str, size: int) -> str: ...

    def tail(self, text: str, size: int) -> str: ...


class Characters:
    name = "characters"

    def size(self, text: str) -> int:
        return len(text)

    def head(self, text: str, size: int) -> str:
        return text[:size]

    def tail(self, text: str, size: int) -> str:
        return text[len(text) - size :]


class Tokens:
    """The student's; its tokenizer is loaded where something is counted."""

    name = "tokens"

    def __init__(self, student: Student, folder: Path) -> None:
        self._student, self._folder = student, folder

    def size(self, text: str) -> int:
        return len(self._places(text))

    def head(self, text: str, size: int) -> str:
        places = self._places(text)
        return text[: places[size - 1][1]] if size < len(places) else text

    def tail(self, text: str, size: int) -> str:
        places = self._places(text)
        return text[places[-size][0] :] if size < len(places) else text

    def _places(self, text: str) -> list[tuple[int, int]]:
        """Where each token begins and ends in the text."""
        from tutelage.render.student import student_tokenizer

        inner = student_tokenizer(self._student, self._folder).inner
        places: list[tuple[int, int]] = inner.encode(text, add_special_tokens=False).offsets
        return places


class Cutter:
    """Cuts as a policy says."""

    def __init__(self, policy: ToolResults, student: Student, folder: Path) -> None:
        self.policy = policy
        self._unit: Unit = Tokens(student, folder) if policy.unit == "tokens" else Characters()

    def __call__(self, text: str) -> str:
        return truncate(text, self.policy, self._unit)

    def again(self, text: str) -> str:
        """The same for a text that may have been cut already."""
        return text if self._unit.size(text) <= self.policy.limit + NOTICE[self._unit.name] else self(text)


def truncate(text: str, policy: ToolResults, unit: Unit | None = None) -> str:
    """What of `text` is shown, with a notice where that is not all of it.

    Whole nodes fit the limit with their notices; a notice in plain text comes on top of it.
    """
    unit = unit or Characters()
    assert unit.name == policy.unit, "tokens are counted by a tokenizer"
    limit = policy.limit
    if policy.unit == "tokens" and len(text.encode()) <= limit:  # no token has less than a byte
        return text
    whole = unit.size(text)
    if whole <= limit:
        return text
    if policy.cut == "nodes":
        kept = keep_nodes(text, limit, unit.size)
        if kept is not None:
            return kept
    if policy.cut == "head":
        return f"{unit.head(text, limit)}\n… [cut: {limit} of {whole} {unit.name} shown]"
    first = max(1, round(limit * HEAD))
    last = unit.tail(text, limit - first) if limit > first else ""
    return f"{unit.head(text, first)}\n… [cut: {limit} of {whole} {unit.name} shown; the end follows]\n{last}"
