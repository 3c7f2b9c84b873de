"""Changes to a trace's messages: each takes the messages and gives new ones, and leaves the given ones alone."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from tutelage.errors import TutelageError
from tutelage.trace import Message, ToolCall

Messages = Sequence[Message]
WIDTH = 90  # characters of a line of JSON


class CallText(NamedTuple):
    """A tool call as a form holds it."""

    name: str
    arguments: str  # JSON text


def step_end(messages: Messages, index: int) -> int:
    """Index just past the step of the assistant message at `index`: past the tool results that answer it."""
    _assistant(messages, index)
    end = index + 1
    while end < len(messages) and messages[end].role == "tool":
        end += 1
    return end


def rewrite(
    messages: Messages, index: int, *, content: str, reasoning: str = "", calls: Sequence[CallText] = ()
) -> list[Message]:
    """The message at `index` with new text. What says the same as before stays to the letter.

    Calls without a name are left out, with the result that answered them.
    """
    old = _at(messages, index)
    changed = old.model_copy(update={"content": keep_text(old.content, content)})
    if old.role != "assistant":
        return [*messages[:index], changed, *messages[index + 1 :]]
    kept = [_call(messages, old, place, call) for place, call in enumerate(calls) if call.name]
    changed = changed.model_copy(
        update={"reasoning_content": keep_text(old.reasoning_content, reasoning), "tool_calls": tuple(kept)}
    )
    gone = {call.id for call in old.tool_calls} - {call.id for call in kept}
    end = step_end(messages, index)
    results = [message for message in messages[index + 1 : end] if message.tool_call_id not in gone]
    return [*messages[:index], changed, *results, *messages[end:]]


def insert_step(
    messages: Messages,
    after: int,
    *,
    content: str,
    reasoning: str = "",
    call: CallText | None = None,
    result: str = "",
) -> list[Message]:
    """A new step behind the message at `after`, and behind the results of its step: a call with its result, or text."""
    place = step_end(messages, after) if _at(messages, after).role == "assistant" else after + 1
    calls = () if call is None or not call.name else (ToolCall(id=_new_id(messages), **call._asdict()),)
    if not calls and not content.strip():
        raise TutelageError("A step needs a call or content.")
    step = [Message(role="assistant", content=content or None, reasoning_content=reasoning or None, tool_calls=calls)]
    step += [Message(role="tool", content=result, tool_call_id=call.id) for call in calls]
    return [*messages[:place], *step, *messages[place:]]


def delete_step(messages: Messages, index: int) -> list[Message]:
    """Without the assistant message at `index` and the results of its calls."""
    return [*messages[:index], *messages[step_end(messages, index) :]]


def cut_after(messages: Messages, index: int) -> list[Message]:
    """Only up to the step of the assistant message at `index`, its results included."""
    return list(messages[: step_end(messages, index)])


def context_only(messages: Messages, index: int, on: bool) -> list[Message]:
    """The assistant message at `index` kept in the history but not taught, or taught again."""
    _assistant(messages, index)
    changed = messages[index].model_copy(update={"weight": 0.0 if on else 1.0})
    return [*messages[:index], changed, *messages[index + 1 :]]


def system_prompt(messages: Messages, text: str) -> list[Message]:
    """With `text` as the system prompt; none if it is empty."""
    rest = list(messages[1:]) if messages and messages[0].role == "system" else list(messages)
    if not text.strip():
        return rest
    old = messages[0].content if len(rest) < len(messages) else None
    return [Message(role="system", content=keep_text(old, text)), *rest]


def keep_text(old: str | None, new: str) -> str | None:
    """`new`, or `old` where a form, which sends line ends its own way, changed nothing else."""
    new = unix(new)
    return old if unix(old or "") == new else new


def keep_arguments(old: str, new: str) -> str:
    """Arguments as JSON in one line; `old` to the letter where `new` says the same."""
    try:
        value = json.loads(new or "{}")
        if old and json.loads(old) == value and pretty(old) == unix(new).strip():
            return old
        return json.dumps(value, ensure_ascii=False, allow_nan=False) if new.strip() else ""
    except ValueError:
        return new  # for the check to name the fault


def pretty(text: str) -> str:
    """JSON text laid out for reading and editing: what fits in a line stands in one. Other text as it is."""
    try:
        return _laid_out(json.loads(text), "")
    except (ValueError, RecursionError):
        return text


def _laid_out(value: Any, indent: str) -> str:
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if len(indent) + len(line) <= WIDTH or not isinstance(value, (dict, list)):
        return line
    inner = indent + "  "
    if isinstance(value, list):
        parts = [_laid_out(item, inner) for item in value]
        return "[\n" + ",\n".join(inner + part for part in parts) + f"\n{indent}]"
    parts = [f"{json.dumps(key, ensure_ascii=False)}: {_laid_out(item, inner)}" for key, item in value.items()]
    return "{\n" + ",\n".join(inner + part for part in parts) + f"\n{indent}}}"


def unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _call(messages: Messages, old: Message, place: int, call: CallText) -> ToolCall:
    if place >= len(old.tool_calls):
        return ToolCall(id=_new_id(messages), name=call.name, arguments=keep_arguments("", call.arguments))
    before = old.tool_calls[place]
    return before.model_copy(update={"name": call.name, "arguments": keep_arguments(before.arguments, call.arguments)})


def _new_id(messages: Messages) -> str:
    taken = {call.id for message in messages for call in message.tool_calls}
    return next(id for id in (f"edited-{number}" for number in range(len(taken) + 1)) if id not in taken)


def _at(messages: Messages, index: int) -> Message:
    if not 0 <= index < len(messages):
        raise TutelageError(f"There is no message {index + 1}: the trace has {len(messages)}.")
    return messages[index]


def _assistant(messages: Messages, index: int) -> None:
    if _at(messages, index).role != "assistant":
        raise TutelageError(f"Message {index + 1} is no step: it is not the assistant's.")
