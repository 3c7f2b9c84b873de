"""One trace as another program wrote it: JSON with `timestamp`, `model`, `messages` and `tools`.

Messages are in OpenAI's chat format. Reasoning may stand under `reasoning_content` or `reasoning`, content may be a
list of text parts, arguments may be objects, `tools` may be JSON text, a call may be a `function_call`. `weight` or
`loss_mask` 0 on an assistant message marks it as context only. `reward`, from 0 to 1, may stand beside `messages`.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn, get_args

from pydantic import JsonValue

from tutelage.collect.scrub import scrubbed
from tutelage.trace import Message, Role, Tool, ToolCall

KNOWN = {"timestamp", "model", "messages", "tools", "reward"}
MESSAGE_KEYS = {
    *("role", "content", "reasoning_content", "reasoning", "tool_calls", "tool_call_id", "name", "weight"),
    *("loss_mask", "is_error", "function_call"),
}
ROLES = {"developer": "system", "function": "tool"}  # names that mean the same
MILLISECONDS = 1e11  # a number above it counts them: in seconds it would be the year 5138
TIMESTAMP = "%Y%m%d_%H%M%S"  # beside ISO 8601 and seconds since 1970


class BadRecord(Exception):
    """No trace can be made of it: what is wrong, under which key."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f'"{key}": {why}' if key else why)
        self.key, self.why = key, why


@dataclass(frozen=True)
class Record:
    timestamp: datetime | None  # taken as UTC where no time zone is named; None: the file does not say
    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    reward: float | None = None
    more: dict[str, JsonValue] = field(default_factory=dict)  # what else stood beside the messages
    kind: str = "imported"  # of its task
    repeats: bool = False  # its steps may stand in other records too, as those of logs and sessions do
    after: tuple[Message, ...] = ()  # what follows its last step, where `messages` are a recorded call
    ignored: Counter[str] = field(default_factory=Counter)  # keys of messages that nobody reads -> how often


def read_record(data: Any) -> Record:
    """The trace in a JSON value. Raises BadRecord."""
    if not isinstance(data, dict):
        raise BadRecord("", "it is no JSON object")
    for key in ("timestamp", "model", "messages", "tools"):
        if key not in data:
            raise BadRecord(key, "missing")
    entries = data["messages"]
    if not isinstance(entries, list) or not entries:
        raise BadRecord("messages", "not a list of messages")
    ignored: Counter[str] = Counter()
    messages = read_messages(entries, "messages", ignored)
    check_order(messages)
    return Record(
        timestamp=read_time(data["timestamp"]),
        model=_text(data["model"], "model") or _missing("model"),
        messages=messages,
        tools=read_tools(data["tools"]),
        reward=_number(data.get("reward"), "reward", 1.0),
        more=scrubbed({key: value for key, value in data.items() if key not in KNOWN}),
        ignored=ignored,
    )


def decoded(data: bytes) -> str:
    """Raises BadRecord."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRecord("", f"it is not UTF-8 text (byte {error.start + 1})") from None


def parsed(text: str | bytes) -> Any:
    """A JSON value that every store takes. Raises BadRecord."""

    def refuse(name: str) -> NoReturn:
        raise BadRecord("", f"not valid JSON: {name} is no number there")

    try:
        data = json.loads(decoded(text) if isinstance(text, bytes) else text, parse_constant=refuse)
        json.dumps(data, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise BadRecord("", f"not valid JSON: line {error.lineno}: {error.msg}") from None
    except UnicodeEncodeError:
        raise BadRecord("", "it holds half a surrogate pair, which is no text") from None
    except RecursionError:
        raise BadRecord("", "it is nested too deeply") from None
    return data


def read_time(value: Any) -> datetime:
    """ISO 8601, 20250529_195610, or seconds (or milliseconds) since 1970. Raises BadRecord."""
    try:
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if value > MILLISECONDS else value, UTC)
        found = _iso(str(value))
    except (ValueError, OverflowError, OSError):
        raise BadRecord("timestamp", f"{value!r} is no time: write it as ISO 8601 or as 20250529_195610") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _iso(text: str) -> datetime:
    try:
        return datetime.strptime(text, TIMESTAMP)
    except ValueError:
        return datetime.fromisoformat(text)


def read_messages(entries: list[Any], key: str, ignored: Counter[str] | None = None) -> tuple[Message, ...]:
    """Chat messages, also of the API before `tool_calls`, whose calls and results have no ids. Raises BadRecord."""
    found = []
    last = ""  # the id given to the last call without one
    for index, entry in enumerate(entries):
        if isinstance(entry, dict) and entry.get("function_call") and not entry.get("tool_calls"):
            last = f"call_{index}"
            entry = {**entry, "tool_calls": [{"id": last, "function": entry["function_call"]}]}
        elif isinstance(entry, dict) and entry.get("role") == "function":
            entry = {**entry, "tool_call_id": entry.get("tool_call_id") or last}
        found.append(read_message(entry, f"{key}[{index}]", ignored))
    return tuple(found)


def read_message(entry: Any, key: str, ignored: Counter[str] | None = None) -> Message:
    """A chat message; `ignored` counts the keys of it that nobody reads. Raises BadRecord with the key."""
    if not isinstance(entry, dict):
        raise BadRecord(key, "not a JSON object")
    role = ROLES.get(str(entry.get("role")), entry.get("role"))
    if role not in get_args(Role):
        raise BadRecord(f"{key}.role", f"{role!r} is none of {', '.join(get_args(Role))}")
    if ignored is not None:
        ignored.update(
            name for name, value in entry.items() if name not in MESSAGE_KEYS and value not in (None, "", [], {})
        )
    calls = entry.get("tool_calls") or []
    if not isinstance(calls, list):
        raise BadRecord(f"{key}.tool_calls", "not a list")
    if calls and role != "assistant":
        raise BadRecord(f"{key}.tool_calls", f"a {role} message calls no tools")
    reasoning = _text(entry.get("reasoning_content"), f"{key}.reasoning_content") or _text(
        entry.get("reasoning"), f"{key}.reasoning"
    )
    return Message(
        role=role,
        content=_content(entry.get("content"), f"{key}.content"),
        reasoning_content=(reasoning or None) if role == "assistant" else None,
        tool_calls=tuple(_call(call, f"{key}.tool_calls[{number}]") for number, call in enumerate(calls)),
        tool_call_id=_text(entry.get("tool_call_id"), f"{key}.tool_call_id") if role == "tool" else None,
        weight=read_weight(entry, key) if role == "assistant" else 1.0,
        is_error=role == "tool" and bool(entry.get("is_error")),
    )


def _content(value: Any, key: str) -> str | None:
    """Text, or a list of text parts; a picture cannot be shown to the student."""
    if not isinstance(value, list):
        return _text(value, key)
    parts = []
    for index, part in enumerate(value):
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise BadRecord(f"{key}[{index}]", "not a part of text; no other parts can be taught")
        parts.append(part["text"])
    return "".join(parts)


def _call(call: Any, key: str) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise BadRecord(f"{key}.function", "missing")
    name = _text(function.get("name"), f"{key}.function.name") or _missing(f"{key}.function.name")
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments or {}, ensure_ascii=False)
    id = _text(call.get("id"), f"{key}.id")
    return ToolCall(id=_missing(f"{key}.id") if id is None else id, name=name, arguments=arguments)


def read_weight(entry: dict[str, Any], key: str) -> float:
    """1 unless `weight` or `loss_mask` says less."""
    marks = [_number(entry.get(name), f"{key}.{name}", None) for name in ("weight", "loss_mask")]
    return min((mark for mark in marks if mark is not None), default=1.0)


def check_order(messages: Sequence[Message]) -> None:
    """Raises BadRecord unless somebody asks, the assistant answers, and every result a call before it."""
    if not any(message.role == "user" for message in messages):
        raise BadRecord("messages", "no user message: nothing says what was asked")
    if not any(message.role == "assistant" for message in messages):
        raise BadRecord("messages", "no assistant message: there is nothing to learn")
    check_results(messages)


def check_results(messages: Sequence[Message]) -> None:
    """Raises BadRecord unless every result has a call before it."""
    waiting: set[str | None] = set()
    for index, message in enumerate(messages):
        waiting.update(call.id for call in message.tool_calls)
        if message.role == "tool":
            if message.tool_call_id not in waiting:
                key = f"messages[{index}].tool_call_id"
                raise BadRecord(key, f"{message.tool_call_id!r} is the id of no call before it that waits for a result")
            waiting.remove(message.tool_call_id)


def read_tools(value: Any) -> tuple[Tool, ...]:
    if isinstance(value, str):
        value = parsed(value)
    if not isinstance(value, list):
        raise BadRecord("tools", "not a list of tools")
    tools = []
    for index, tool in enumerate(value):
        function = tool.get("function", tool.get("custom")) if isinstance(tool, dict) else None
        if not isinstance(function, dict):
            raise BadRecord(f"tools[{index}].function", 'missing: write {"type": "function", "function": {"name": …}}')
        name = _text(function.get("name"), f"tools[{index}].function.name") or _missing(f"tools[{index}].function.name")
        tools.append(Tool(name=name, definition=json.dumps(tool, ensure_ascii=False)))
    return tuple(tools)


def _text(value: Any, key: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise BadRecord(key, "not a text")
    return value


def _number(value: Any, key: str, most: float | None) -> float | None:
    if value is None:
        return None
    if not isinstance(value, (int, float)) or value < 0 or (most is not None and value > most):
        raise BadRecord(key, f"{value!r} is no number from 0" + (f" to {most:g}" if most is not None else " up"))
    return float(value)


def _missing(key: str) -> NoReturn:
    raise BadRecord(key, "missing")
