"""OpenAI's chat completions, as its many servers speak them."""

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
    number,
    tool,
    unseen,
)
from tutelage.dialect.reasoning import apart
from tutelage.trace import Message, Tool, ToolCall

ROLES = {"developer": "system", "function": "tool"}  # names that mean the same
CALLABLE = ("function", "custom")  # kinds of tools that the client runs; a custom one's input is any text
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
    # Before tools there were functions, and servers still take them.
    functions = [{"type": "function", "function": each} for each in entries(request.get("functions"), "functions")]
    offered = [*entries(request.get("tools"), "tools"), *functions]
    tools = read_tools(offered)
    usage = response.get("usage") or {}
    return Exchange(
        model=str(request.get("model") or response.get("model") or ""),
        messages=tuple(transcript.messages),
        tools=tools,
        answers=tuple(answers),
        prompt_tokens=number(usage.get("prompt_tokens")),
        completion_tokens=number(usage.get("completion_tokens")),
        not_kept=sum((unseen(answer.message, tools, offered) for answer in answers), Counter(transcript.not_kept)),
    )


def read_message(entry: dict[str, Any], transcript: Transcript) -> Message:
    """A message with its reasoning apart, wherever the server put it."""
    role = ROLES.get(str(entry.get("role")), entry.get("role"))
    if role not in ("system", "user", "assistant", "tool"):
        raise Unreadable(f"{role!r} is no role")
    if role != "assistant":
        content = transcript.text(entry.get("content"))
        return Message(role=role, content=content, tool_call_id=_call_id(entry) if role == "tool" else None)
    said, thoughts = _thoughts(entry.get("content"))
    content = transcript.text(said)
    if not content and isinstance(entry.get("refusal"), str):
        content = entry["refusal"]
    content, reasoning = apart(content, entry.get("reasoning_content") or entry.get("reasoning") or thoughts)
    return Message(role="assistant", content=content, reasoning_content=reasoning, tool_calls=_calls(entry))


def read_tools(value: Any) -> tuple[Tool, ...]:
    """The client's tools; those that the server runs itself are not the agent's."""
    found = []
    for entry in entries(value, "tools"):
        if entry.get("type", "function") not in CALLABLE:
            continue
        function = entry.get("function") or entry.get("custom")
        if not isinstance(function, dict):
            raise Unreadable("a tool is no function")
        found.append(tool(function.get("name"), entry))
    return tuple(found)


def _calls(entry: dict[str, Any]) -> tuple[ToolCall, ...]:
    calls: list[ToolCall] = []
    for found in entries(entry.get("tool_calls"), "tool_calls"):
        function = found.get("function") or found.get("custom")
        if not isinstance(function, dict):
            raise Unreadable("a tool call names no function")
        arguments = function.get("arguments", function.get("input"))
        calls.append(call(found.get("id") or f"call_{len(calls)}", function.get("name"), arguments))
    alone = entry.get("function_call")  # of a function: it has no id, and its result names the function
    if isinstance(alone, dict) and not calls:
        calls.append(call(alone.get("name"), alone.get("name"), alone.get("arguments")))
    return tuple(calls)


def _call_id(entry: dict[str, Any]) -> str:
    return str(entry.get("tool_call_id") or entry.get("name") or "")


def _thoughts(content: Any) -> tuple[Any, str | None]:
    """Content without its parts of reasoning, as Mistral's models give it, and these."""
    if not isinstance(content, list):
        return content, None
    said: list[Any] = []
    thoughts: list[str] = []
    for part in content:
        if isinstance(part, dict) and part.get("type") == "thinking":
            thoughts.append(Transcript().text(part.get("thinking")) or "")
        else:
            said.append(part)
    return said, "".join(thoughts) or None


class Stream:
    """A streamed answer, event by event."""

    def __init__(self) -> None:
        self._choices: dict[int, dict[str, Any]] = {}
        self._finished: dict[int, str] = {}
        self._more: dict[str, Any] = {}
        self._ended = self._failed = False

    def add(self, event: dict[str, Any] | str) -> Progress:
        if event == END:
            self._ended = True
            return Progress.ENDED
        if isinstance(event, dict):
            self._failed = self._failed or bool(event.get("error"))  # some servers say that there is none
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
        if self._failed or not self._choices:
            return None
        if len(self._finished) < len(self._choices) and not self._ended:
            return None
        choices = [
            {"index": index, "message": _whole(message), "finish_reason": self._finished.get(index)}
            for index, message in sorted(self._choices.items())
        ]
        return {**self._more, "choices": choices}


def _merge(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for key in ("content", "reasoning_content", "reasoning", "refusal"):
        if isinstance(delta.get(key), str | list):
            message[key] = _joined(message.get(key, ""), delta[key])
    for piece in delta.get("tool_calls") or ():
        calls: dict[Any, dict[str, Any]] = message.setdefault("tool_calls", {})
        # Some servers leave the index out and send each call whole.
        place = piece.get("index")
        if place is None:
            place = f"id {piece['id']}" if piece.get("id") else next(reversed(calls), 0)
        into = calls.setdefault(place, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        into["id"] = into["id"] or piece.get("id") or ""
        _merge_call(into["function"], piece.get("function") or piece.get("custom") or {})
    if isinstance(delta.get("function_call"), dict):
        _merge_call(message.setdefault("function_call", {"name": "", "arguments": ""}), delta["function_call"])


def _merge_call(function: dict[str, str], piece: dict[str, Any]) -> None:
    if piece.get("name") and piece["name"] != function["name"]:
        function["name"] += piece["name"]
    function["arguments"] += piece.get("arguments") or piece.get("input") or ""


def _joined(before: Any, more: Any) -> Any:
    """Content and what follows it: texts, or lists of parts."""
    if isinstance(before, str) and isinstance(more, str):
        return before + more
    return [*_parts(before), *_parts(more)]


def _parts(content: Any) -> list[Any]:
    return ([content] if content else []) if isinstance(content, str) else content


def _whole(message: dict[str, Any]) -> dict[str, Any]:
    return {**message, "tool_calls": list(message["tool_calls"].values())} if "tool_calls" in message else message
