"""The texts inside a text: where that is JSON, its strings, also those of JSON in its strings."""

import json
from collections.abc import Iterator
from typing import Any

DEPTH = 4  # of JSON in strings of JSON


def plain_texts(text: str, name: str = "", depth: int = DEPTH) -> Iterator[tuple[str, str]]:
    """Each text without the escapes of JSON, and the name of the field that it stands in ("" outside JSON).

    Names of fields and whole numbers are texts too.
    """
    document = _document(text) if depth else None
    if document is None:
        yield name, text
        return
    nested: list[tuple[str, Any]] = [("", document)]
    while nested:
        field, value = nested.pop()
        if isinstance(value, dict):
            nested += reversed(value.items())
            yield from (("", key) for key in value)
        elif isinstance(value, list):
            nested += ((field, item) for item in reversed(value))
        elif isinstance(value, str):
            yield from plain_texts(value, field, depth - 1)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield field, str(value)


def _document(text: str) -> dict[str, Any] | list[Any] | None:
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, (dict, list)) else None
