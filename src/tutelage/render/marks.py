"""Marks: words put in the place of a conversation's texts, to see what a template shows, and where.

A mark is made of letters and digits only, so that no template escapes, trims or splits it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tutelage.render.engine import Written

MARK = re.compile(r"qzmark([0-9]+)zq")


class Kind(StrEnum):
    """What a text is."""

    TOOL = "tool"  # the name of a tool that is offered
    TEXT = "text"  # what user, system or a tool said
    REASONING = "reasoning"
    CONTENT = "content"
    NAME = "name"  # of the tool that is called
    ARGUMENT = "argument"  # a string in a call's arguments, at any depth


@dataclass(frozen=True)
class Leaf:
    """A text for which a mark stands."""

    kind: Kind
    text: str
    message: int = -1  # its place in the conversation; -1 for a tool
    call: int = 0  # its place among the message's calls
    nested: bool = False  # of an argument: inside a list or an object


@dataclass
class Marked:
    """A conversation whose texts are marks; mark number i stands for leaves[i]. White space stays as it is."""

    messages: list[dict[str, Any]]
    tools: list[Written]
    leaves: list[Leaf] = field(default_factory=list)

    @classmethod
    def of(cls, messages: Sequence[Mapping[str, Any]], tools: Sequence[Written]) -> "Marked":
        """`messages` and `tools` as engine_message and engine_tool give them."""
        marked = cls([], [])
        for tool in tools:
            marked.tools.append(tool.named(marked._mark(Leaf(Kind.TOOL, tool["function"]["name"]))))
        for index, message in enumerate(messages):
            marked.messages.append(marked._message(message, index))
        return marked

    def _message(self, message: Mapping[str, Any], index: int) -> dict[str, Any]:
        if message["role"] != "assistant":
            return {**message, "content": self._mark(Leaf(Kind.TEXT, message["content"], index))}
        marked = dict(message)
        for key, kind in (("reasoning_content", Kind.REASONING), ("content", Kind.CONTENT)):
            if message.get(key, "").strip():
                marked[key] = self._mark(Leaf(kind, message[key], index))
        if "tool_calls" in message:
            marked["tool_calls"] = [self._call(call, index, at) for at, call in enumerate(message["tool_calls"])]
        return marked

    def _call(self, call: Mapping[str, Any], index: int, at: int) -> dict[str, Any]:
        function = call["function"]
        name = self._mark(Leaf(Kind.NAME, function["name"], index, at))
        arguments = self._value(function["arguments"], index, at, 0)  # one leaf, where they are given as JSON text
        return {**call, "function": {"name": name, "arguments": arguments}}

    def _value(self, value: Any, index: int, at: int, depth: int) -> Any:
        if isinstance(value, dict):
            return {key: self._value(item, index, at, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item, index, at, depth + 1) for item in value]
        if isinstance(value, str) and value.strip():
            return self._mark(Leaf(Kind.ARGUMENT, value, index, at, nested=depth > 1))
        return value

    def _mark(self, leaf: Leaf) -> str:
        self.leaves.append(leaf)
        return f"qzmark{len(self.leaves) - 1}zq"


def shown(text: str) -> set[int]:
    """Numbers of the marks in a rendering."""
    return {int(number) for number in MARK.findall(text)}
