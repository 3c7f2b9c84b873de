"""Every secret in a text, whole, also inside JSON inside JSON."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tutelage.redact import SHORTEST
from tutelage.secrets.forms import form_matches
from tutelage.secrets.labels import field, labelled
from tutelage.secrets.texts import plain_texts


class Secret(NamedTuple):
    kind: str
    value: str  # without the escapes of the JSON that it stood in


class SecretFinder:
    """Finds secrets. `known`: values that are secret, by what they are called."""

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        self._known = {name: value for name, value in (known or {}).items() if len(value) >= SHORTEST}

    def find(self, text: str) -> list[Secret]:
        """Each secret once. Where one stands in another, the longer one."""
        found: dict[str, str] = {}
        for kind, value in self._everything(text):
            if len(value) >= SHORTEST:
                found.setdefault(value, kind)
        return [
            Secret(kind, value)
            for value, kind in found.items()
            if not any(value != other and value in other for other in found)
        ]

    def _everything(self, text: str) -> Iterator[tuple[str, str]]:
        yield from ((name, value) for name, value in self._known.items() if value in text)
        for name, plain in plain_texts(text):
            if name:
                yield from field(name, plain)
            yield from ((called, value) for called, value in self._known.items() if value in plain)
            yield from form_matches(plain)
            yield from labelled(plain)
