"""What of an answer would be read otherwise than it was meant, in a template's format.

The format is learnt from answers made of marks, in a conversation of two messages.
"""

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from tutelage.render.engine import CannotExpress, Engine, Written
from tutelage.render.marks import Kind, Leaf
from tutelage.render.outline import Outline

TAG = re.compile(r"<[^<>\s\0]+[>\0]|\[/?[A-Z_]+\]")
Write = Callable[[Sequence[Mapping[str, Any]], Sequence[Written]], tuple[Outline, str]]

KEY = "qzkeyzq"
PROBE = {"name": "probe", "description": "probe", "parameters": {"type": "object"}}
TOOL = Written({"type": "function", "function": PROBE})
QUESTION = {"role": "user", "content": "probe"}


class Strings(Enum):
    """How a text stands among a call's arguments."""

    JSON = '"'
    PYTHON = "'"
    TAGGED = "|>"  # between tokens of their own
    RAW = ""  # as it is: only the tool's schema tells "1" from 1


@dataclass(frozen=True)
class _Arguments:
    """How a call's arguments stand: `before` a value, `after` it, without what stands around a text."""

    strings: Strings
    before: str
    after: str


class AnswerFormat:
    """Knows what a template's answers look like.

    `write` gives a conversation's last message as the template writes it, in outline and in full.
    """

    def __init__(self, write: Write, engine: Engine) -> None:
        self._write = write
        self._engine = engine

    def check(self, answer: Mapping[str, Any], leaves: Sequence[Leaf], tools: Sequence[Mapping[str, Any]]) -> None:
        """Raise CannotExpress where the engine's parser would read the answer otherwise than it was meant.

        `answer` as engine_message gives it; `leaves` are its texts.
        """
        for leaf in leaves:
            tags: Iterable[str] = self._closes_reasoning if leaf.kind is Kind.REASONING else self._tags
            held = next((tag for tag in sorted(tags) if tag in leaf.text), None)
            if held:
                raise CannotExpress("the answer's text holds the format's own markup", f"{held} in its {leaf.kind}")
        content, calls = answer.get("content") or "", answer.get("tool_calls") or ()
        if content.strip() and calls and self._content_is_reasoning:
            raise CannotExpress("the template writes content beside a call as if it were reasoning")
        if tools and self._call_opening and self._call_opening in "".join(content.split()):
            raise CannotExpress("the answer's content would be read as a call")
        declared = {tool["function"]["name"]: tool["function"].get("parameters") for tool in tools}
        for call in calls:
            self._check_arguments(call["function"]["arguments"], declared.get(call["function"]["name"]))

    def empty_thinking(self, completion: str) -> str:
        """What a completion without reasoning begins with that says only so; "" where the template writes nothing.

        `completion` was checked: its texts hold no markup.
        """
        for tag, space in self._closes_reasoning.items():
            head, found, rest = completion.partition(tag)
            if found:
                return head + tag + (space if rest.startswith(space) else "")
        return ""

    def _check_arguments(self, arguments: Mapping[str, Any], schema: object) -> None:
        form = self._arguments
        if form is None or form.strings is Strings.JSON:
            return
        properties = schema.get("properties") if isinstance(schema, dict) else None
        for key, value in arguments.items():
            if not (key.isidentifier() if form.strings is Strings.PYTHON else re.fullmatch(r"[\w.-]+", key)):
                raise CannotExpress("an argument's name that the template's format has no way to write", repr(key))
            unreadable = next((kind for kind in _literals(value) if kind in self._unreadable), None)
            if unreadable:
                raise CannotExpress(
                    "the template writes a value so that it cannot be read back", f"{key}: {unreadable}"
                )
            if isinstance(value, str) and re.search(r"['\\\n\r]", value) and not self._escapes:
                raise CannotExpress("a text argument with a quote or a line break, which the template does not escape")
            if form.strings is Strings.RAW:
                declared = properties.get(key) if isinstance(properties, dict) else None
                _check_declared(key, value, set(_types(declared)))

    @cached_property
    def _probes(self) -> dict[str, Outline]:
        """Outlines of answers of all kinds that the template can write."""
        call = {"id": "p", "type": "function", "function": {"name": "probe", "arguments": {KEY: "text"}}}
        parts: dict[str, dict[str, Any]] = {
            "reasoning": {"reasoning_content": "thought"},
            "content": {"content": "text"},
            "call": {"tool_calls": [call]},
            "calls": {"tool_calls": [call, {**call, "id": "q"}]},
        }
        kinds = ["content", "call", "reasoning content", "reasoning call", "content call", "reasoning content calls"]
        probes = {}
        for kind in kinds:
            answer: dict[str, Any] = {"role": "assistant", "content": ""}
            for part in kind.split():
                answer |= parts[part]
            try:
                probes[kind], _ = self._write([QUESTION, answer], [TOOL] if "call" in kind else [])
            except CannotExpress:
                continue
        return probes

    @cached_property
    def _tags(self) -> set[str]:
        """The markup in and around answers, but for the end-of-turn tokens, which are special tokens."""
        probes = self._probes.values()
        text = "".join("\0".join([probe.opening, *probe.pieces]).replace(KEY, "\0") for probe in probes)
        return {tag.rstrip("\0") for tag in TAG.findall(text)}

    @cached_property
    def _closes_reasoning(self) -> dict[str, str]:
        """The markup after reasoning, and the white space that the template sets behind it."""
        closing = {}
        for probe in self._probes.values():
            tag = TAG.search(probe.pieces[1]) if probe.leaves[0].kind is Kind.REASONING else None
            if tag:
                after = probe.pieces[1][tag.end() :]
                closing[tag[0].rstrip("\0")] = after[: len(after) - len(after.lstrip())]
        return closing

    @cached_property
    def _content_is_reasoning(self) -> bool:
        probes = self._probes.get("content call"), self._probes.get("reasoning call")
        return bool(probes[0] and probes[1] and probes[0].pieces == probes[1].pieces)

    @cached_property
    def _call_opening(self) -> str:
        """What a call begins with, without white space, where no markup tells it from content."""
        probe = self._probes.get("call")
        return "" if not probe or TAG.search(probe.pieces[0]) else "".join(probe.pieces[0].split())

    @cached_property
    def _arguments(self) -> _Arguments | None:
        probe = self._probes.get("call")
        if not probe or KEY not in probe.pieces[1]:  # no calls, or their arguments are JSON text
            return None
        before, after = probe.pieces[1].partition(KEY)[2], probe.pieces[2]
        strings = next(kind for kind in Strings if before.endswith(kind.value))
        if strings is Strings.TAGGED:
            tag = TAG.findall(before)[-1]
            return _Arguments(strings, before.removesuffix(tag), after.removeprefix(tag))
        return _Arguments(strings, before.removesuffix(strings.value), after.removeprefix(strings.value))

    @cached_property
    def _unreadable(self) -> set[str]:
        """Kinds of values, as _literals names them, that do not come back from what the template writes."""
        values: list[Any] = [None, True, False, 3, 1.5, [None], [True], [False], [3], [1.5]]
        return {next(_literals(value)) for value in values if not self._comes_back(value)}

    @cached_property
    def _escapes(self) -> bool:
        """Whether any text comes back; only texts in Python's quotes may not."""
        form = self._arguments
        return form is None or form.strings is not Strings.PYTHON or self._comes_back("it's \\ a\nb")

    def _comes_back(self, value: Any) -> bool:
        form = self._arguments
        assert form
        call = {"id": "p", "type": "function", "function": {"name": "probe", "arguments": {KEY: value}}}
        answer = {"role": "assistant", "content": "", "tool_calls": [call]}
        try:
            text = self._write([QUESTION, answer], [TOOL])[1].partition(KEY)[2]
        except CannotExpress:
            return False
        if not (text.startswith(form.before) and text.endswith(form.after)):
            return False
        text = text[len(form.before) : len(text) - len(form.after)]
        if form.strings is Strings.RAW and self._engine is Engine.VLLM and isinstance(value, bool):
            text = text.lower()  # its parsers do so
        for read in (json.loads, ast.literal_eval) if form.strings is Strings.PYTHON else (json.loads,):
            try:
                if read(text) == value:
                    return True
            except (ValueError, SyntaxError):
                continue
        return False


def _literals(value: Any, depth: int = 0) -> Iterator[str]:
    """The kinds of values other than text in `value`."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _literals(item, depth + 1)
    elif not isinstance(value, str):
        name = {None: "null", True: "true", False: "false"}.get(value) if not _is_number(value) else "a number"
        yield f"{name} in a list or an object" if depth else str(name)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_declared(key: str, value: Any, types: set[str]) -> None:
    """A value that stands there as it is comes back only with the help of the tool's schema."""
    kind = _kind(value)
    if types and kind not in types and not (kind == "integer" and "number" in types):
        raise CannotExpress("an argument that is not of its declared type", key)
    if kind == "string" and types != {"string"} and _is_json(value):
        raise CannotExpress("a text argument that reads as JSON, and no schema tells it apart", f"{key}: {value[:40]}")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "number")


def _types(schema: object) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    declared = schema.get("type")
    yield from [declared] if isinstance(declared, str) else declared if isinstance(declared, list) else ()
    for options in (schema.get("anyOf"), schema.get("oneOf")):
        for option in options if isinstance(options, list) else ():
            yield from _types(option)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
