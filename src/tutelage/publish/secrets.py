"""Where secrets stand in what is to be published."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from tutelage.secrets import Secret, SecretFinder

SHOWN = 4  # characters of a secret that a message may repeat
NAMES = ("model", "task_id", "kind")  # columns


class PlacedSecret(NamedTuple):
    what: str  # its kind, and how it begins
    trace: str  # "": it stands in a file
    where: str  # the file, or what of the row holds it

    @property
    def place(self) -> str:
        return f"trace {self.trace}, {self.where}" if self.trace else self.where


def find_secrets(
    rows: Iterable[Mapping[str, Any]], known: Mapping[str, str], files: Mapping[str, str] | None = None
) -> list[PlacedSecret]:
    """Each secret in the texts of rows and of `files`, by name, once.

    `known`: values that are secret, by what they are called.
    """
    finder = SecretFinder(known)
    clean: set[int] = set()
    found: dict[PlacedSecret, None] = {}
    for row in rows:
        for where, text in _texts(row):
            if hash(text) in clean:  # rows repeat each other
                continue
            secrets = finder.find(text)
            trace = str(row.get("trace_id") or row.get("id"))
            found.update({PlacedSecret(_shown(secret, known), trace, where): None for secret in secrets})
            if not secrets:
                clean.add(hash(text))
    for name, text in (files or {}).items():
        found.update({PlacedSecret(_shown(secret, known), "", name): None for secret in finder.find(text)})
    return list(found)


def _shown(secret: Secret, known: Mapping[str, str]) -> str:
    return secret.kind if secret.kind in known else f'{secret.kind} "{secret.value[:SHOWN]}…"'


def _texts(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every text of a row, and where it stands."""
    for key in NAMES:
        if row.get(key):
            yield f"the {key}", row[key]
    for index, message in enumerate(row.get("messages") or ()):
        here = f"message {index} ({message['role']})"
        for key in ("content", "reasoning_content"):
            if message.get(key):
                yield f"{here}, {key}", message[key]
        for call in message.get("tool_calls") or ():
            yield f"{here}, the name of a call", call["function"]["name"] or ""
            yield f"{here}, call of {call['function']['name']}", call["function"]["arguments"] or ""
    if row.get("tools"):
        yield "the tools", row["tools"]
