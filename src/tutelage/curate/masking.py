"""Secrets and personal data of a trace, each value replaced by the same mask wherever it stands."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from urllib.parse import quote, quote_plus

from tutelage.curate.config import MaskStep
from tutelage.curate.personal import personal_data, require_region
from tutelage.redact import SHORTEST
from tutelage.secrets import SecretFinder, plain_texts
from tutelage.trace import Message, Trace

LONG = 16  # characters of a value that cannot be a part of a longer word by chance
MASK = re.compile(r"<([A-Z][A-Z0-9_]*)_(\d+)>")
# A mask where JSON had a number: it becomes a string there.
BARE_MASK = re.compile(r"([:\[,]\s*)(<[A-Z][A-Z0-9_]*_\d+>)(?=\s*[,\]}])")


class Masked:
    """What masking makes of a trace."""

    def __init__(self, messages: list[Message], kinds: Counter[str]) -> None:
        self.messages = messages
        self.kinds = kinds  # how many values of each kind

    def note(self) -> str:
        return "masked: " + ", ".join(f"{count} × {kind}" for kind, count in sorted(self.kinds.items()))


class Masker:
    """Masks traces as a step says. `known`: values that are secret, by what they are called."""

    def __init__(self, step: MaskStep, known: Mapping[str, str]) -> None:
        require_region(step.region)
        self._step = step
        self._finder = SecretFinder(known)

    def mask(self, trace: Trace) -> Masked | None:
        """None where there is nothing to mask."""
        kinds: dict[str, str] = {}  # values -> their kinds, in the order in which they first stand there
        for message in trace.messages:
            for text in _texts(message):
                for kind, value in self._find(text):
                    kinds.setdefault(value, kind)
        if not kinds:
            return None
        masks = _name(kinds, [text for message in trace.messages for text in _texts(message)])
        replace = _Replacement(masks)
        return Masked([replace.in_message(message) for message in trace.messages], Counter(kinds.values()))

    def in_tools(self, trace: Trace) -> str | None:
        """The kind of a secret in a tool's definition, and the tool; None where there is none."""
        if self._step.secrets:
            for tool in trace.tools:
                for secret in self._finder.find(tool.definition):
                    return f'{secret.kind} in the definition of "{tool.name}"'
        return None

    def _find(self, text: str) -> Iterator[tuple[str, str]]:
        if self._step.secrets:
            yield from self._finder.find(text)
        if self._step.personal_data:
            for _, plain in plain_texts(text):
                for kind, value in personal_data(plain, self._step.region):
                    if len(value) >= SHORTEST:
                        yield kind, value


class _Replacement:
    def __init__(self, masks: Mapping[str, str]) -> None:
        self._masks = {form: mask for value, mask in masks.items() for form in _forms(value)}
        longest_first = sorted(self._masks, key=len, reverse=True)
        self._pattern = re.compile("|".join(_pattern(form) for form in longest_first))

    def in_message(self, message: Message) -> Message:
        changed: dict[str, object] = {
            "content": self._in_text(message.content),
            "reasoning_content": self._in_text(message.reasoning_content),
            "tool_calls": tuple(
                call.model_copy(update={"arguments": self._in_text(call.arguments)}) for call in message.tool_calls
            ),
        }
        return message.model_copy(update=changed)

    def _in_text(self, text: str | None) -> str | None:
        if text is None:
            return None
        masked = self._pattern.sub(lambda match: self._masks[match[0]], text)
        if masked != text and _is_json(text) and not _is_json(masked):
            return BARE_MASK.sub(r'\1"\2"', masked)
        return masked


def _texts(message: Message) -> list[str]:
    texts = (message.content, message.reasoning_content, *(call.arguments for call in message.tool_calls))
    return [text for text in texts if text]


def _name(kinds: Mapping[str, str], texts: list[str]) -> dict[str, str]:
    """The mask of each value, numbered by kind, beyond the numbers that an earlier masking used."""
    used: Counter[str] = Counter()
    for text in texts:
        for match in MASK.finditer(text):
            used[match[1]] = max(used[match[1]], int(match[2]))
    masks = {}
    for value, kind in kinds.items():
        name = re.sub(r"[^A-Z0-9]+", "_", kind.upper()).strip("_")
        used[name] += 1
        masks[value] = f"<{name}_{used[name]}>"
    return masks


def _forms(value: str) -> set[str]:
    """How a value may stand in a text: as it is, in JSON, in JSON in JSON, in a URL."""
    found = {value, quote(value, safe=""), quote_plus(value)}
    inside = {value}
    for _ in range(2):
        inside = {json.dumps(text, ensure_ascii=ascii)[1:-1] for text in inside for ascii in (True, False)}
        found |= inside
    return found


def _pattern(form: str) -> str:
    """A short value is one only where it is no part of a longer word; after \\n in JSON a word begins."""
    escaped = re.escape(form)
    if len(form) >= LONG:
        return escaped
    before = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))" if form[0].isalnum() else ""
    return before + escaped + (r"(?![A-Za-z0-9])" if form[-1].isalnum() else "")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
