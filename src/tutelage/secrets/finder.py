"""Every secret in a text, whole, also inside JSON inside JSON."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tutelage.redact import SHORTEST
from tutelage.secrets.forms import form_matches
from tutelage.secrets.labels import field, labelled

DEPTH = 4  # of JSON in strings of JSON


class Secret(NamedTuple):
    kind: str
    value: str  # without the escapes of the JSON that it stood in


class SecretFinder:
    """Finds secrets. `known`: values that are secret, by what they are called."""

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        self._known = {name: value for name, value in (known or {}).items() if len(value) >= SHORTEST}

    def find(self, text: str) -> list[Secret]:
        """Each secret once, in the order of its kind. Where one stands in another, the longer one."""
        found: dict[str, str] = {}
        for kind, value in self._everything(text, DEPTH):
            if len(value) >= SHORTEST:
                found.setdefault(value, kind)
        return [
            Secret(kind, value)
            for value, kind in found.items()
            if not any(value != other and value in other for other in found)
        ]

    def _everything(self, text: str, depth: int) -> Iterator[tuple[str, str]]:
        yield from ((name, value) for name, value in self._known.items() if value in text)
        document = _document(text) if depth else None
        if document is None:
            yield from form_matches(text)
            yield from labelled(text)
            return
        for name, value in _strings(document):
            yield from field(name, value)
            yield from self._everything(value, depth - 1)


def _document(text: str) -> dict[str, Any] | list[Any] | None:
    """The JSON object or array that `text` is."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, (dict, list)) else None


def _strings(document: dict[str, Any] | list[Any]) -> Iterator[tuple[str, str]]:
    """Each string of a document with the name of its field, and each name of a field, which may hold a secret too."""
    nested: list[tuple[str, Any]] = [("", document)]
    while nested:
        name, value = nested.pop()
        if isinstance(value, dict):
            nested += value.items()
            yield from (("", key) for key in value)
        elif isinstance(value, list):
            nested += ((name, item) for item in value)
        elif isinstance(value, str):
            yield name, value
