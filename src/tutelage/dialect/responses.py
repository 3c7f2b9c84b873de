"""OpenAI's Responses API."""

from collections import Counter
from typing import Any

from tutelage.dialect.exchange import (
    Answer,
    Exchange,
    Progress,
    Transcript,
    Unreadable,
    call,
    entries,
    function_tool,
    number,
    unseen,
)
from tutelage.trace import Message, Tool, ToolCall

ENDS = ("response.completed", "response.incomplete")
# Kind of a call -> where its arguments stand.
CALLS = {"function_call": "arguments", "custom_tool_call": "input", "local_shell_call": "action"}
RESULTS = ("function_call_output", "custom_tool_call_output", "local_shell_call_output")
SILENT = ("item_reference", "compaction")  # nothing that could be read, though the model is shown what they stand for
STATES = (None, "completed", "incomplete")  # of a response that holds an answer


def read(request: dict[str, Any], response: dict[str, Any]) -> Exchange:
    """Raises Unreadable."""
    transcript = Transcript()
    state = response.get("status")
    if state not in STATES:
        raise Unreadable(f"the response is {state}")
    instructed = bool(request.get("instructions"))
    if instructed:
        transcript.add(Message(role="system", content=transcript.text(request["instructions"])))
    given = request.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else entries(given, "input")
    read_items(items, transcript)
    answered = Transcript()
    output = entries(response.get("output"), "output")
    read_items(output, answered)
    if len(answered.messages) > 1:
        raise Unreadable("the output is more than one message")
    message = answered.messages[0] if answered.messages else Message(role="assistant", content="")
    tools = read_tools(request.get("tools"))
    usage = response.get("usage") or {}
    conversation = request.get("conversation")
    return Exchange(
        model=str(request.get("model") or response.get("model") or ""),
        messages=tuple(transcript.messages),
        tools=tools,
        answers=(Answer(message, _finish(response, message)),),
        prompt_tokens=number(usage.get("input_tokens")),
        completion_tokens=number(usage.get("output_tokens")),
        instructed=instructed,
        id=_name(response.get("id"), "id"),
        previous=_name(request.get("previous_response_id"), "previous_response_id"),
        conversation=_name(conversation.get("id") if isinstance(conversation, dict) else conversation, "conversation"),
        items={item["id"]: item for item in output if isinstance(item.get("id"), str)},
        not_kept=transcript.not_kept
        + answered.not_kept
        + Counter(item["type"] for item in (*items, *output) if item.get("type") in SILENT)
        + unseen(message, tools, request.get("tools")),
    )


def read_items(items: list[dict[str, Any]], transcript: Transcript) -> None:
    """Add what items say; an assistant's items that follow each other are one message."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []

    def close() -> None:
        if texts or thoughts or calls:
            message = Message(
                role="assistant",
                content="".join(texts) if texts else None,
                reasoning_content="\n".join(thoughts) or None,
                tool_calls=tuple(calls),
            )
            transcript.add(message)
            for each in (texts, thoughts, calls):
                each.clear()

    for item in items:
        kind = item.get("type") or "message"
        if kind == "message" and item.get("role") == "assistant":
            texts.append(transcript.text(item.get("content")) or "")
        elif kind == "reasoning":
            thoughts += _thoughts(item)
        elif kind in CALLS:
            calls.append(_call(item, kind))
        elif kind in RESULTS:
            close()
            content = transcript.text(item.get("output"))
            transcript.add(Message(role="tool", content=content, tool_call_id=str(item.get("call_id") or "")))
        elif kind == "message":
            close()
            role = "system" if item.get("role") == "developer" else item.get("role")
            if role not in ("system", "user"):
                raise Unreadable(f"{role!r} is no role")
            transcript.add(Message(role=role, content=transcript.text(item.get("content"))))
        elif kind not in SILENT:
            texts.append(transcript.leave_out(str(kind)))  # a tool that the server runs itself
    close()


def read_tools(value: Any) -> tuple[Tool, ...]:
    """The client's tools; those that the server runs itself are not the agent's."""
    found = []
    for entry in entries(value, "tools"):
        if entry.get("type") == "function":
            inner = entry.get("function") or entry
            found.append(function_tool(inner.get("name"), inner.get("description"), inner.get("parameters")))
        elif entry.get("type") == "custom":
            found.append(function_tool(entry.get("name"), entry.get("description"), None))
    return tuple(found)


def _name(value: Any, key: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise Unreadable(f'"{key}" is no text')
    return value or None


def _call(item: dict[str, Any], kind: str) -> ToolCall:
    asked = item.get(CALLS[kind])
    if kind == "custom_tool_call":
        asked = {"input": asked}
    return call(item.get("call_id"), item.get("name") or kind.removesuffix("_call"), asked)


def _thoughts(item: dict[str, Any]) -> list[str]:
    """The reasoning itself where the server shows it, else its summary; encrypted reasoning is silent."""
    for key in ("content", "summary"):
        found = [part["text"] for part in item.get(key) or () if isinstance(part.get("text"), str)]
        if found:
            return found
    return []


def _finish(response: dict[str, Any], message: Message) -> str:
    if response.get("status") == "incomplete":
        return "length"
    return "tool_calls" if message.tool_calls else "stop"


class Stream:
    """A streamed answer: its last event holds the whole response."""

    def __init__(self) -> None:
        self._response: dict[str, Any] | None = None
        self._items: dict[int, dict[str, Any]] = {}

    def add(self, event: dict[str, Any] | str) -> Progress:
        if not isinstance(event, dict):
            return Progress.GOES_ON
        if event.get("type") == "response.output_item.done":
            self._items[event.get("output_index", len(self._items))] = event["item"]
        if event.get("type") in ENDS:
            self._response = dict(event["response"])
            if not self._response.get("output"):  # some servers leave it out there
                self._response["output"] = [item for _, item in sorted(self._items.items())]
            return Progress.ENDED
        return Progress.GOES_ON

    def response(self) -> dict[str, Any] | None:
        return self._response
