"""A trace's messages as text that a person can edit, and back."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from tutelage.agent.arguments import BadArguments, read_arguments
from tutelage.errors import TutelageError
from tutelage.trace import Message, Part

MESSAGE_KEYS = {
    *("role", "content", "reasoning_content", "reasoning", "tool_calls", "tool_call_id", "weight", "is_error", "parts")
}
CALL_KEYS = {"id", "type", "function"}
FUNCTION_KEYS = {"name", "arguments"}


def to_editable(messages: Sequence[Message]) -> str:
    """A JSON list of the messages in OpenAI's format, with `weight` and `is_error` where they say something."""
    return json.dumps([_for_editing(message) for message in messages], ensure_ascii=False, indent=2)


def read_edited(text: str) -> list[Message]:
    """Messages from edited JSON. Raises TutelageError that names the message and the fault."""
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise TutelageError(f"Line {error.lineno}: not valid JSON: {error.msg}.") from None
    if not isinstance(entries, list) or not entries:
        raise TutelageError("A trace is a JSON list of at least one message.")
    messages = []
    for number, entry in enumerate(entries, 1):
        try:
            _check_keys(entry, number)
            message = Message.from_openai(entry)
            parts = tuple(Part.model_validate(part) for part in entry.get("parts", ()))
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"]))
            raise TutelageError(f'Message {number}: "{where}": {fault["msg"]}.') from None
        except (AttributeError, KeyError, TypeError) as error:
            raise TutelageError(f"Message {number} is no chat message: {error!r}.") from None
        messages.append(message.model_copy(update={"is_error": bool(entry.get("is_error", False)), "parts": parts}))
    check_messages(messages)
    return messages


def _check_keys(entry: dict[str, Any], number: int) -> None:
    """A key that nobody reads would lose what stands under it."""
    calls = entry.get("tool_calls") or []
    parts = [(entry, MESSAGE_KEYS), *((call, CALL_KEYS) for call in calls)]
    for part, known in [*parts, *((call["function"], FUNCTION_KEYS) for call in calls)]:
        for key in part.keys() - known:
            raise TutelageError(f'Message {number}: unknown key "{key}". Known there: {", ".join(sorted(known))}.')


def check_messages(messages: Sequence[Message]) -> None:
    """Raises TutelageError unless every call's arguments are a JSON object and every result answers a call before."""
    open_calls: set[str] = set()
    for number, message in enumerate(messages, 1):
        for call in message.tool_calls:
            try:
                read_arguments(call.arguments)
            except BadArguments as error:
                raise TutelageError(f'Message {number}: the arguments of "{call.name}" are {error}.') from None
            open_calls.add(call.id)
        if message.role == "tool" and message.tool_call_id not in open_calls:
            raise TutelageError(f'Message {number}: no call before it has the id "{message.tool_call_id}".')


def _for_editing(message: Message) -> dict[str, Any]:
    entry = {**message.to_openai(), "content": message.content}  # null stays null: an edit must not change its tokens
    if message.weight != 1.0:
        entry["weight"] = message.weight
    if message.is_error:
        entry["is_error"] = True
    if message.parts:
        entry["parts"] = [part.model_dump() for part in message.parts]
    return entry
