"""The data model: tasks, messages, steps, traces. Plain data, no I/O.

JSON that arrived from outside (tool schemas, call arguments) is kept as its text: the order of keys is tokens.
"""

import hashlib
import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

Role = Literal["system", "user", "assistant", "tool"]
RUNS_TO_LEARN = ("collect", "import", "record")  # whose traces are curated and built into a dataset by default
# In a trace's metadata:
IMPORTED = "imported"  # where it was imported from
RECORDED = "recorded"  # how the proxy came by it, of an agent that is not ours
RERUN = "rerun"  # of the re-run that its revision is, or is an edit of


class Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Task(Plain):
    """What the agent is asked; one line of a task file."""

    id: str = Field(min_length=1)
    turns: tuple[str, ...] = Field(min_length=1)  # user messages; the next is sent once the agent has answered
    kind: str = "task"
    setup: dict[str, JsonValue] = {}  # what prepares the world, and what only the verifier may know

    @model_validator(mode="before")
    @classmethod
    def _prompt_is_one_turn(cls, data: Any) -> Any:
        if isinstance(data, dict) and "prompt" in data and "turns" not in data:
            data = {**data, "turns": [data["prompt"]]}
            del data["prompt"]
        return data


def task_content(task: Task) -> str:
    """A digest of what is asked and of what is set up for it; case and white space do not tell two tasks apart."""
    return _digest([_normal(task.turns), task.setup])


def prompt_content(task: Task) -> str:
    """The same of what is asked alone, for a task whose setup nobody knows."""
    return _digest(_normal(task.turns))


def prompt_beginnings(task: Task) -> list[str]:
    """The same of what is asked up to each of its turns; the last is prompt_content."""
    turns = _normal(task.turns)
    return [_digest(turns[:count]) for count in range(1, len(turns) + 1)]


def _normal(turns: tuple[str, ...]) -> list[str]:
    return [" ".join(turn.casefold().split()) for turn in turns]


def _digest(data: Any) -> str:
    text = json.dumps(data, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class ToolCall(Plain):
    id: str
    name: str
    arguments: str  # JSON text as it arrived; may be malformed

    def to_openai(self) -> dict[str, Any]:
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


def canonical(arguments: str) -> Any:
    """A call's arguments, however they are spaced; their text where they are no JSON."""
    try:
        return json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return arguments


class Part(Plain):
    """A part of a tool result that the message's text only names, or shows cut; its bytes are a blob of the store's."""

    sha256: str
    mime_type: str
    bytes: int
    name: str = ""  # a resource's URI, or what the part is


WHOLE_TEXT = "whole text"  # the name of the part that holds a result's text before it was cut


class Message(Plain):
    """One chat message in OpenAI's format, with `reasoning_content` beside `content`."""

    role: Role
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    weight: float = 1.0  # 0 marks context only: kept in the history, not taught
    is_error: bool = False  # of a tool result: the tool, the call or the server failed
    parts: tuple[Part, ...] = ()  # of a tool result: what its text does not hold; no endpoint is sent it

    def to_openai(self, *, reasoning: bool = True) -> dict[str, Any]:
        """The message as an endpoint takes it. An assistant's missing content is "", which every template renders.

        So is white space alone beside calls: it stood between reasoning and calls, and templates set their own there.
        """
        content = self.content or ""
        if self.tool_calls and not content.strip():
            content = ""
        message: dict[str, Any] = {"role": self.role, "content": content}
        if reasoning and self.reasoning_content:
            message["reasoning_content"] = self.reasoning_content
        if self.tool_calls:
            message["tool_calls"] = [call.to_openai() for call in self.tool_calls]
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        return message

    @classmethod
    def from_openai(cls, message: dict[str, Any]) -> Self:
        """Read a message; reasoning may stand under `reasoning_content` or `reasoning`, arguments may be objects.

        Raises pydantic.ValidationError for what is no chat message.
        """
        calls = []
        for call in message.get("tool_calls") or ():
            function = call["function"]
            arguments = function.get("arguments") or ""
            if not isinstance(arguments, str):
                arguments = json.dumps(arguments, ensure_ascii=False)
            calls.append(ToolCall(id=call.get("id") or "", name=function["name"], arguments=arguments))
        return cls(
            role=message["role"],
            content=message.get("content"),
            reasoning_content=message.get("reasoning_content") or message.get("reasoning"),
            tool_calls=tuple(calls),
            tool_call_id=message.get("tool_call_id"),
            weight=message.get("weight", 1.0),
        )


def has_reasoning(message: Message) -> bool:
    return bool((message.reasoning_content or "").strip())


class Tool(Plain):
    """A tool as the model sees it."""

    name: str
    definition: str  # JSON text of {"type": "function", "function": {"name", "description", "parameters"}}
    server: str = ""  # the MCP server that offers it
    original: str = ""  # its name there, where that is one that APIs refuse or that two servers use

    def to_openai(self) -> dict[str, Any]:
        return dict(json.loads(self.definition))


class StopReason(StrEnum):
    """Why a rollout ended."""

    ANSWER = "answer"
    STEP_LIMIT = "step_limit"
    TOKEN_LIMIT = "token_limit"
    TIME_LIMIT = "time_limit"
    REPEATED_CALL = "repeated_call"  # the same failing call again and again
    INVALID_OUTPUT = "invalid_output"  # the engine could not parse what the model wrote
    ENDPOINT_ERROR = "endpoint_error"
    SERVER_ERROR = "server_error"  # an MCP server died
    UNKNOWN = "unknown"  # it was imported or recorded of somebody else's agent, and does not end with an answer


class Step(Plain):
    """One model call: it saw `messages[:seen]`, gave `messages[seen]`; tool results follow up to the next step.

    A stale step saw what stood there before an edit.
    """

    seen: int
    started: datetime
    seconds: float
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None


class Verdict(StrEnum):
    UNDECIDED = "undecided"
    APPROVED = "approved"
    REJECTED = "rejected"


class Trace(Plain):
    """The record of a rollout, at one revision."""

    id: str
    task: Task
    run: str
    attempt: int
    model: str
    timestamp: datetime
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    steps: tuple[Step, ...] = ()
    stale: tuple[int, ...] = ()  # places of steps whose history was edited since, and which nobody has confirmed
    stop_reason: StopReason | None = None  # None: not finished
    reward: float | None = None
    reward_reason: str = ""
    reward_category: str = ""  # what went wrong, in a word or two
    revision: int = 0
    verdict: Verdict = Verdict.UNDECIDED
    metadata: dict[str, JsonValue] = {}

    def answer(self) -> str:
        """The last assistant message's content; "" where the rollout ended without an answer."""
        last = self.messages[-1] if self.messages else None
        return (last.content or "").strip() if last and last.role == "assistant" and not last.tool_calls else ""


def imported_from(metadata: dict[str, JsonValue]) -> dict[str, JsonValue] | None:
    """The file that a trace was imported from, and the digest of what was in it; None where it was recorded here."""
    found = metadata.get(IMPORTED)
    return found if isinstance(found, dict) else None


def setup_is_known(metadata: dict[str, JsonValue]) -> bool:
    """Whether a trace's task says how its world was set up: only our own agent's does."""
    return IMPORTED not in metadata and RECORDED not in metadata


def first_difference(left: Trace, right: Trace) -> int | None:
    """Index of the first step whose calls or answer differ; reasoning may. None where none does."""
    ours, theirs = _actions(left), _actions(right)
    for number in range(max(len(ours), len(theirs))):
        if ours[number : number + 1] != theirs[number : number + 1]:
            return number
    return None


def _actions(trace: Trace) -> list[object]:
    return [_action(message) for message in trace.messages if message.role == "assistant"]


def _action(message: Message) -> object:
    """What a step does: its calls, arguments read as JSON, or its answer."""
    if message.tool_calls:
        return [(call.name, canonical(call.arguments)) for call in message.tool_calls]
    return (message.content or "").strip()


def now() -> datetime:
    return datetime.now(UTC)
