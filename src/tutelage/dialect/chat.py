"""OpenAI's chat completions, as its many servers speak them."""

from typing import Any

from tutelage.dialect.exchange import (
    Answer,
    Exchange,
    Progress,
    Transcript,
    Unreadable,
    call,
    entries,
    number,
    tool,
)
from tutelage.dialect.reasoning import apart
from tutelage.trace import Message, Tool, ToolCall

ROLES = {"developer": "system", "function": "tool"}  # names that mean the same
END = "[DONE]"


def read(request: dict[str, Any], response: dict[str, Any]) -> Exchange:
    """Raises Unreadable."""
    transcript = Transcript()
    for entry in entries(request.get("messages"), "messages"):
        transcript.add(read_message(entry, transcript))
    answers = [
        Answer(read_message({"role": "assistant", **choice["message"]}, transcript), choice.get("finish_reason"))
        for choice in entries(response.get("choices"), "choices")
        if isinstance(choice.get("message"), dict)
    ]
    usage = response.get("usage") or {}
    return Exchange(
        model=str(request.get("model") or response.get("model") or ""),
        messages=tuple(transcript.messages),
        tools=read_tools(request.get("tools")),
        answers=tuple(answers),
        prompt_tokens=number(usage.get("prompt_tokens")),
        completion_tokens=number(usage.get("completion_tokens")),
        not_kept=transcript.not_kept,
    )


def read_message(entry: dict[str, Any], transcript: Transcript) -> Message:
    """A message with its reasoning apart, wherever the server put it."""
    role = ROLES.get(str(entry.get("role")), entry.get("role"))
    if role not in ("system", "user", "assistant", "tool"):
        raise Unreadable(f"{role!r} is no role")
    content = transcript.text(entry.get("content"))
    if role != "assistant":
        return Message(role=role, content=content, tool_call_id=_call_id(entry) if role == "tool" else None)
    if content is None and isinstance(entry.get("refusal"), str):
        content = entry["refusal"]
    content, reasoning = apart(content, entry.get("reasoning_content") or entry.get("reasoning"))
    calls: list[ToolCall] = []
    for found in entries(entry.get("tool_calls"), "tool_calls"):
        function = found.get("function") or found.get("custom")  # a custom tool's input is any text
        if not isinstance(function, dict):
            raise Unreadable("a tool call names no function")
        arguments = function.get("arguments", function.get("input"))
        calls.append(call(found.get("id") or f"call_{len(calls)}", function.get("name"), arguments))
    return Message(role="assistant", content=content, reasoning_content=reasoning, tool_calls=tuple(calls))


def read_tools(value: Any) -> tuple[Tool, ...]:
    found = []
    for entry in entries(value, "tools"):
        function = entry.get("function") or entry.get("custom")
        if not isinstance(function, dict):
            raise Unreadable("a tool is no function")
        found.append(tool(function.get("name"), entry))
    return tuple(found)


def _call_id(entry: dict[str, Any]) -> str:
    return str(entry.get("tool_call_id") or entry.get("name") or "")


class Stream:
    """A streamed answer, event by event."""

    def __init__(self) -> None:
        self._choices: dict[int, dict[str, Any]] = {}
        self._finished: dict[int, str] = {}
        self._more: dict[str, Any] = {}
        self._ended = False

    def add(self, event: dict[str, Any] | str) -> Progress:
        if event == END:
            self._ended = True
            return Progress.ENDED
        if not isinstance(event, dict) or "error" in event:
            return Progress.GOES_ON
        self._more |= {key: event[key] for key in ("id", "model", "usage") if event.get(key) is not None}
        for choice in event.get("choices") or ():
            index = choice.get("index") or 0
            _merge(self._choices.setdefault(index, {}), choice.get("delta") or {})
            if choice.get("finish_reason"):
                self._finished[index] = choice["finish_reason"]
        said = bool(self._choices) and len(self._finished) == len(self._choices)
        return Progress.SAID if said else Progress.GOES_ON

    def response(self) -> dict[str, Any] | None:
        """The response that would have come unstreamed; None where the answer was broken off."""
        if not self._choices or (len(self._finished) < len(self._choices) and not self._ended):
            return None
        choices = [
            {"index": index, "message": _whole(message), "finish_reason": self._finished.get(index)}
            for index, message in sorted(self._choices.items())
        ]
        return {**self._more, "choices": choices}


def _merge(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for key in ("content", "reasoning_content", "reasoning", "refusal"):
        if isinstance(delta.get(key), str):
            message[key] = message.get(key, "") + delta[key]
    for piece in delta.get("tool_calls") or ():
        calls: dict[Any, dict[str, Any]] = message.setdefault("tool_calls", {})
        # Some servers leave the index out and send each call whole.
        place = piece.get("index")
        if place is None:
            place = f"id {piece['id']}" if piece.get("id") else next(reversed(calls), 0)
        into = calls.setdefault(place, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        function = piece.get("function") or {}
        into["id"] = into["id"] or piece.get("id") or ""
        if function.get("name") and function["name"] != into["function"]["name"]:
            into["function"]["name"] += function["name"]
        if function.get("arguments"):
            into["function"]["arguments"] += function["arguments"]


def _whole(message: dict[str, Any]) -> dict[str, Any]:
    return {**message, "tool_calls": list(message["tool_calls"].values())} if "tool_calls" in message else message
