"""Anthropic's Messages API (`/v1/messages`)."""

import json
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
from tutelage.trace import Message, Tool

# Claude Code puts a line for its own provider's billing first, other in each request; no model is shown it.
BILLING = "x-anthropic-billing-header"
FINISH = {"end_turn": "stop", "stop_sequence": "stop", "tool_use": "tool_calls", "max_tokens": "length"}


def read(request: dict[str, Any], response: dict[str, Any]) -> Exchange:
    """Raises Unreadable."""
    transcript = Transcript()
    system = _system(request.get("system"), transcript)
    if system:
        transcript.add(Message(role="system", content=system))
    for entry in entries(request.get("messages"), "messages"):
        read_message(entry.get("role"), entry.get("content"), transcript)
    told = len(transcript.messages)
    if "content" not in response:
        raise Unreadable("the response has no content")
    read_message("assistant", response["content"], transcript)
    answer = transcript.messages.pop() if len(transcript.messages) > told else Message(role="assistant", content="")
    tools = read_tools(request.get("tools"))
    usage = response.get("usage") or {}
    counts = (usage.get(key) for key in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"))
    stop = response.get("stop_reason")
    return Exchange(
        model=str(request.get("model") or response.get("model") or ""),
        messages=tuple(transcript.messages),
        tools=tools,
        answers=(Answer(answer, FINISH.get(str(stop), stop)),),
        prompt_tokens=sum(number(count) or 0 for count in counts) or None,
        completion_tokens=number(usage.get("output_tokens")),
        not_kept=transcript.not_kept + unseen(answer, tools, request.get("tools")),
    )


def read_message(role: Any, content: Any, transcript: Transcript) -> None:
    """Add what one message says: a user's tool results become messages of their own, before what the user says."""
    if role not in ("user", "assistant", "system"):
        raise Unreadable(f"{role!r} is no role")
    if isinstance(content, str):
        transcript.add(Message(role=role, content=content))
        return
    texts, thoughts, calls = [], [], []
    for block in entries(content, "content"):
        kind = block.get("type")
        if kind == "tool_result":
            transcript.add(
                Message(
                    role="tool",
                    content=transcript.text(block.get("content")) or "",
                    tool_call_id=str(block.get("tool_use_id") or ""),
                    is_error=bool(block.get("is_error")),
                )
            )
        elif kind == "tool_use":
            calls.append(call(block.get("id"), block.get("name"), block.get("input")))
        elif kind == "thinking":
            thoughts.append(str(block.get("thinking") or ""))
        elif kind != "redacted_thinking":  # of which there is nothing to read
            texts.append(transcript.part(block))
    if role == "assistant":
        if content:
            transcript.add(
                Message(
                    role=role,
                    content="".join(texts) or None,
                    reasoning_content="\n".join(thoughts) or None,
                    tool_calls=tuple(calls),
                )
            )
    elif texts:
        transcript.add(Message(role=role, content="\n".join(texts)))


def read_tools(value: Any) -> tuple[Tool, ...]:
    """The client's tools that have a schema: not those that the server runs itself (web search, …), and not those whose
    schema only the provider's models know (bash, text editor, …).
    """
    return tuple(
        function_tool(entry.get("name"), entry.get("description"), entry["input_schema"])
        for entry in entries(value, "tools")
        if isinstance(entry.get("input_schema"), dict)
    )


def _system(value: Any, transcript: Transcript) -> str:
    if isinstance(value, list):
        parts = [transcript.part(part) for part in value]
        return "\n".join(part for part in parts if not part.startswith(BILLING))
    return transcript.text(value) or ""


class Stream:
    """A streamed answer, event by event."""

    def __init__(self) -> None:
        self._message: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._inputs: dict[int, str] = {}
        self._said = False

    def add(self, event: dict[str, Any] | str) -> Progress:
        if not isinstance(event, dict):
            return Progress.GOES_ON
        kind, index = event.get("type"), event.get("index", 0)
        if kind == "message_start":
            self._message = dict(event["message"])
        elif kind == "content_block_start":
            self._blocks[index] = dict(event["content_block"])
        elif kind == "content_block_delta":
            self._delta(index, event["delta"])
        elif kind == "message_delta":
            self._message |= {k: v for k, v in event["delta"].items() if v is not None}
            self._message["usage"] = {**self._message.get("usage", {}), **(event.get("usage") or {})}
            self._said = self._said or bool(self._message.get("stop_reason"))
        elif kind == "message_stop":
            self._said = True
            return Progress.ENDED
        return Progress.SAID if self._said else Progress.GOES_ON

    def response(self) -> dict[str, Any] | None:
        if not self._said:
            return None
        content = []
        for index, block in sorted(self._blocks.items()):
            text = self._inputs.get(index)
            content.append({**block, "input": _input(text)} if text else block)
        return {**self._message, "content": content}

    def _delta(self, index: int, delta: dict[str, Any]) -> None:
        block = self._blocks.setdefault(index, {})
        for key in ("text", "thinking"):
            if isinstance(delta.get(key), str):
                block[key] = block.get(key, "") + delta[key]
        if isinstance(delta.get("partial_json"), str):
            self._inputs[index] = self._inputs.get(index, "") + delta["partial_json"]


def _input(text: str) -> Any:
    """The arguments as an object; as their text where they are none."""
    try:
        return json.loads(text)
    except ValueError:
        return text
