"""Secrets in what is to be published: keys whose form their issuers fixed, and those of this machine's environment.

The forms are those that the issuers document for secret scanning. Words such as "password" beside a value are no sign:
tool schemas and traces are full of them.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tutelage.project import SECRET_CHARACTERS, SETTINGS_FILE, Project

FORMS = {
    "private key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",
    "AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,})",
    "GitLab token": r"\bglpat-[\w-]{20,}",
    "Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}\b",
    "OpenAI or Anthropic key": r"\bsk-(?=[\w-]*\d)[\w-]{20,}",
    "Google API key": r"\bAIza[\w-]{35}\b",
    "Stripe key": r"\b[sr]k_live_[0-9a-zA-Z]{20,}",
    "npm token": r"\bnpm_[A-Za-z0-9]{36}\b",
    "PyPI token": r"\bpypi-AgE[\w-]{50,}",
    "JSON web token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    "bearer token": r"(?i:\bbearer)\s+(?=[\w.~+/-]*\d)[\w.~+/-]{20,}",
    "password in a URL": r"\b[a-z][a-z0-9+.-]*://[^\s/:@\"'<>]+:[^\s/:@\"'<>]+@[\w\[]",
}
PATTERN = re.compile("|".join(f"(?P<form{number}>{form})" for number, form in enumerate(FORMS.values())))
PLACEHOLDERS = re.compile(r"(?i)example|placeholder|redacted|your[-_]|x{6,}|\*{3}|\$\{|:password@|:pass@")
SHOWN = 4  # characters of a secret that a message may repeat


class Secret(NamedTuple):
    what: str  # its kind, and how it begins
    trace: str
    where: str  # the message or the tool that holds it


def find_secrets(rows: Iterable[Mapping[str, Any]], known: Mapping[str, str]) -> list[Secret]:
    """Each secret in the messages and tools of rows, once. `known`: values that are secret, by what they are called."""
    clean: set[int] = set()
    found: dict[Secret, None] = {}
    for row in rows:
        for where, text in _texts(row):
            if hash(text) in clean:  # rows repeat each other
                continue
            kinds = list(_secrets(text, known))
            found.update({Secret(what, str(row.get("trace_id") or row.get("id")), where): None for what in kinds})
            if not kinds:
                clean.add(hash(text))
    return list(found)


def known_secrets(project: Project, token: str | None) -> dict[str, str]:
    """What the project takes from the environment: its teacher's key and every ${NAME} of its files; and `token`."""
    teacher = project.settings.teacher
    names = {teacher.api_key_env} if teacher else set()
    for file in (project.path(SETTINGS_FILE), project.path(project.settings.mcp)):
        if file.is_file():
            names |= set(re.findall(r"\$\{([A-Za-z_]\w*)", file.read_text(encoding="utf-8", errors="replace")))
    values = {f"the value of {name}": os.environ.get(name, "") for name in sorted(names)}
    values["the Hub's token"] = token or ""
    return {
        name: value for name, value in values.items() if len(value) >= SECRET_CHARACTERS and not Path(value).exists()
    }


def _secrets(text: str, known: Mapping[str, str]) -> Iterator[str]:
    for name, value in known.items():
        if value in text:
            yield name
    for match in PATTERN.finditer(text):
        if not PLACEHOLDERS.search(match[0]):
            kind = list(FORMS)[int((match.lastgroup or "form0").removeprefix("form"))]
            yield f'{kind} "{match[0][:SHOWN]}…"'


def _texts(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every text of a row, and where it stands."""
    for index, message in enumerate(row.get("messages") or ()):
        here = f"message {index} ({message['role']})"
        for key in ("content", "reasoning_content"):
            if message.get(key):
                yield f"{here}, {key}", message[key]
        for call in message.get("tool_calls") or ():
            yield f"{here}, call of {call['function']['name']}", call["function"]["arguments"] or ""
    if row.get("tools"):
        yield "the tools", row["tools"]
