"""Secrets that a project's files name are not repeated: not on the screen, not in the store."""

import os
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

SHORTEST = 6  # characters; shorter values are words that stand everywhere
HIDDEN = "[key]"  # stands for a key in what others' programs wrote
SECRET_NAME = re.compile(
    r"key(?!board|word)|token(?!i[sz])|secret|passw|pwd|credential|auth(?!or(?!i[sz]))|cookie|session", re.IGNORECASE
)
SCHEMES = re.compile(r"^(bearer|basic|token)\s+", re.IGNORECASE)
_secrets: set[str] = set()


def redact(text: str) -> str:
    """`text` without the secrets noted so far: a server may repeat the token that it was given."""
    for secret in sorted(_secrets, key=len, reverse=True):
        if secret in text:
            text = text.replace(secret, "…")
    return text


def note_secret(value: str) -> None:
    """What came from the environment."""
    if may_be_secret(value):
        _secrets.add(value)


def may_be_secret(value: str) -> bool:
    """No short word, and no path of this machine."""
    # Path.exists() raises, and its error repeats the value, where that is longer than a path may be.
    return len(value) >= SHORTEST and not os.path.exists(value)  # noqa: PTH110


def note_named_secrets(values: Mapping[str, str], url: str | None = None) -> None:
    """Those of an MCP server's variables, headers and URL parameters whose names say that they are secret."""
    parameters = dict(parse_qsl(urlsplit(url).query)) if url else {}
    for name, value in [*values.items(), *parameters.items()]:
        if SECRET_NAME.search(name):
            note_secret(SCHEMES.sub("", value))
    password = urlsplit(url).password if url else None
    if password:
        note_secret(password)
