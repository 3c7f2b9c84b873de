"""One request and its answer, whatever the dialect."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tutelage.trace import Message, Tool, ToolCall


class Unreadable(Exception):
    """What the request or the answer holds is not of its dialect: where, and what is wrong."""


class Progress(Enum):
    """How far a streamed answer has come with an event."""

    GOES_ON = 0
    SAID = 1  # all is said, though more events may come; a client may act on it
    ENDED = 2


@dataclass(frozen=True)
class Answer:
    message: Message
    finish_reason: str | None = None


@dataclass(frozen=True)
class Exchange:
    """A model call as its request and response tell it."""

    model: str
    messages: tuple[Message, ...]  # what the request showed the model, in so far as it is in the request
    tools: tuple[Tool, ...]
    answers: tuple[Answer, ...]  # more than one where the request asked for several
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    instructed: bool = False  # the first message is an instruction for this request alone, which no server keeps
    id: str | None = None  # the response's, where the server keeps it
    previous: str | None = None  # the response that it goes on from, which the server kept
    conversation: str | None = None  # the one that it is part of, which the server keeps
    items: Mapping[str, Any] = field(default_factory=dict)  # of the answer, by the names that requests may use
    not_kept: Mapping[str, int] = field(default_factory=dict)  # parts that are no text: pictures, … -> how many


class Transcript:
    """Messages as they are read, and what of them cannot be kept as text."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.not_kept: Counter[str] = Counter()

    def add(self, message: Message) -> None:
        self.messages.append(message)

    def text(self, content: Any) -> str | None:
        """Content as text: a string, or a list of parts; a part that is no text leaves a mark where it stood."""
        if content is None or isinstance(content, str):
            return content
        if not isinstance(content, list):
            raise Unreadable(f"content is neither text nor a list of parts: {str(content)[:80]!r}")
        return "".join(self.part(part) for part in content)

    def part(self, part: Any) -> str:
        if isinstance(part, str):
            return part
        if not isinstance(part, dict):
            raise Unreadable(f"a part of content is no object: {str(part)[:80]!r}")
        text = part.get("text", part.get("refusal"))
        if isinstance(text, str):
            return text
        return self.leave_out(str(part.get("type") or "part"))

    def leave_out(self, kind: str) -> str:
        """Note what is not kept; the mark that stands in its place."""
        self.not_kept[kind] += 1
        return f"[{kind} not kept]"


def call(id: Any, name: Any, arguments: Any) -> ToolCall:
    """A tool call; arguments that are an object become their JSON text. Raises Unreadable without a name."""
    if not isinstance(name, str) or not name:
        raise Unreadable("a tool call has no name")
    if not isinstance(arguments, str):
        arguments = json.dumps({} if arguments is None else arguments, ensure_ascii=False)
    return ToolCall(id=str(id or ""), name=name, arguments=arguments)


def tool(name: Any, definition: Any) -> Tool:
    if not isinstance(name, str) or not name:
        raise Unreadable("a tool has no name")
    return Tool(name=name, definition=json.dumps(definition, ensure_ascii=False))


def function_tool(name: Any, description: Any, parameters: Any) -> Tool:
    """A tool of another dialect in the form of chat completions, which templates render."""
    function = {"name": name, "description": description, "parameters": parameters}
    return tool(name, {"type": "function", "function": {k: v for k, v in function.items() if v is not None}})


def entries(value: Any, key: str) -> list[dict[str, Any]]:
    """A list of objects, or none at all. Raises Unreadable."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise Unreadable(f'"{key}" is no list of objects')
    return value


def number(value: Any) -> int | None:
    """A count of tokens; None for what cannot be one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None


def unseen(answer: Message, tools: Sequence[Tool], offered: Any) -> Counter[str]:
    """The tools that an answer calls and that `offered` has no schema of: a student would not be shown them."""
    if len(entries(offered, "tools")) == len(tools):
        return Counter()
    shown = {tool.name for tool in tools}
    return Counter(f"tool {call.name}" for call in answer.tool_calls if call.name not in shown)
