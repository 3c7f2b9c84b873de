"""What is secret by what a project's files call it. It is not repeated: not on the screen, not in the store."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import zip_longest
from urllib.parse import parse_qsl, quote, unquote

SHORTEST = 6  # characters; shorter values are words that stand everywhere
HIDDEN = "[key]"  # stands for a key in what others' programs wrote
SECRET_NAME = re.compile(
    r"key(?!board|word)|token(?!i[sz])|secret|passw|pwd|credential|auth(?!or(?!i[sz]))|cookie|session", re.IGNORECASE
)
# Narrower, for what is named more loosely: counts of tokens, ids of sessions and ways of signing in are no credentials.
CREDENTIAL_NAME = re.compile(
    r"authorization|passw|pwd|secret|cookie|credential|bearer|api[-_]?key|(key|token|^headers)$", re.IGNORECASE
)
SCHEMES = re.compile(r"^(bearer|basic|token)\s+", re.IGNORECASE)
URL_PASSWORD = re.compile(r"://[^\s/:@]*:([^\s/@]+)@")
_secrets: set[str] = set()


def redact(text: str) -> str:
    """`text` without the secrets noted so far: a server may repeat the token that it was given."""
    for form in _noted_forms():
        if form in text:
            text = text.replace(form, "…")
    return text


def redact_bytes(data: bytes) -> bytes:
    """The same for a file."""
    for form in _noted_forms():
        data = data.replace(form.encode(errors="replace"), "…".encode())
    return data


def note_secret(value: str) -> None:
    """What came from the environment."""
    if may_be_secret(value) and value not in _secrets:
        _secrets.add(value)
        _noted_forms.cache_clear()


def may_be_secret(value: str) -> bool:
    """No short word, and no path of this machine."""
    # Path.exists() raises, and its error repeats the value, where that is longer than a path may be.
    return len(value) >= SHORTEST and not os.path.exists(value)  # noqa: PTH110


def forms(secret: str) -> set[str]:
    """A secret as it stands in a text, in JSON inside a text or inside such JSON, and in a URL."""
    escaped = {_escaped(secret, pure) for pure in (True, False)}
    twice = {_escaped(text, pure) for text in escaped for pure in (True, False)}
    return {secret, *escaped, *twice, secret.replace("/", "\\/"), quote(secret, safe="", errors="replace")}


def named_secrets(values: Mapping[str, str], arguments: Sequence[str] = (), url: str = "") -> dict[str, str]:
    """What is secret of an MCP server's variables and headers, command line and URL, by what it is called there.

    Their names say it; and the passwords of URLs in them are secret too.
    """
    found = {name: SCHEMES.sub("", value) for name, value in values.items() if SECRET_NAME.search(name)}
    found |= {name: value for name, value in parse_qsl(url.partition("?")[2]) if SECRET_NAME.search(name)}
    for argument, after in zip_longest(arguments, arguments[1:], fillvalue=""):
        name, equals, value = argument.partition("=")
        if name.startswith("-") and CREDENTIAL_NAME.search(name):
            found[name] = value if equals else after if not after.startswith("-") else ""
    texts = {**values, **{f"argument {n}": text for n, text in enumerate(arguments, 1)}, "the URL": url}
    for name, text in texts.items():
        for password in URL_PASSWORD.findall(text):
            found[f"the password of {name}"] = unquote(password)
    return {name: value for name, value in found.items() if may_be_secret(value)}


def _escaped(text: str, pure: bool) -> str:
    return json.dumps(text, ensure_ascii=pure)[1:-1]


@cache
def _noted_forms() -> list[str]:
    """The longest first."""
    return sorted({form for secret in _secrets for form in forms(secret)}, key=len, reverse=True)
