"""Keys that stay out of what is written: the client's own, and those that a request gives the endpoint to use."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.redact import HIDDEN, SECRET_NAME, forms

SHORTEST_KEY = 8  # characters; shorter ones are words that stand everywhere, such as "none"
# What clients send where no key is asked for, "anything" or "not-needed", may stand in any text.
WORD = r"(?:[A-Z]?[a-z]{1,15}|[A-Z]{1,15})"
WORDS, LONGEST_WORDS = re.compile(rf"{WORD}(?:[ _-]{WORD})*"), 24
KEY_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization")
# Fields of a request or response with what the model reads and says, which is kept as it is.
SPOKEN = {"messages", "input", "system", "instructions", "choices", "output", "content"}
SCHEMAS = {"function", "custom", "parameters", "input_schema"}  # of a tool: its names are the model's


def keys_of(headers: Mapping[str, str]) -> list[str]:
    """The keys that a request's headers carry, the longest first."""
    found = set()
    for name in KEY_HEADERS:
        value = headers.get(name, "").strip()
        for text in {value, value.split(" ", 1)[-1].strip()}:
            words = len(text) <= LONGEST_WORDS and WORDS.fullmatch(text)
            if len(text) >= SHORTEST_KEY and not words:
                found.add(text)
    return sorted(found, key=len, reverse=True)


def without_keys(body: bytes, keys: Sequence[str]) -> bytes:
    """A request or response with `[key]` for each of `keys` in its texts, and for what it names as a credential.

    Where there is nothing to hide, its bytes are as they were. What is no JSON is searched as bytes.
    """
    try:
        found = json.loads(body)
        hidden = _without_named(found)
        # However a key is escaped, its longest part without punctuation stands there as it is.
        if any(max(re.findall("[A-Za-z0-9]*", key), key=len).encode() in body for key in keys):
            hidden = _without(hidden, [form for key in keys for form in forms(key)])
        return body if hidden == found else json.dumps(hidden, ensure_ascii=False).encode(errors="replace")
    except (ValueError, RecursionError):
        for key in keys:
            body = body.replace(key.encode(errors="replace"), HIDDEN.encode())
        return body


def _without_named(body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    return {name: value if name in SPOKEN else _field(name, value) for name, value in body.items()}


def _field(name: str, value: Any, secret: bool = False) -> Any:
    """A field's value; `secret`: whatever text stands in it."""
    secret = secret or bool(SECRET_NAME.search(name)) or name.lower() == "headers"
    if isinstance(value, str):
        return HIDDEN if secret and value else value
    if isinstance(value, dict):
        return {key: item if key in SCHEMAS else _field(key, item, secret) for key, item in value.items()}
    return [_field(name, item, secret) for item in value] if isinstance(value, list) else value


def _without(value: Any, keys: Sequence[str]) -> Any:
    if isinstance(value, str):
        for key in keys:
            value = value.replace(key, HIDDEN)
        return value
    if isinstance(value, dict):
        return {_without(key, keys): _without(item, keys) for key, item in value.items()}
    return [_without(item, keys) for item in value] if isinstance(value, list) else value
