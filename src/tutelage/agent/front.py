"""A server before the student's endpoint: it shows the student each request as its dataset would have.

For agents that are not ours. What it does to a request is what our agent does to its own (agent/student.py): tool
results that are too long are cut, old ones give way where the conversation is too long, thinking is as it was trained.
Everything else, streams too, goes through unchanged.
"""

import json
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp import web

from tutelage.agent.student import StudentView
from tutelage.endpoint.extra import with_extra
from tutelage.endpoint.proxy import Upstream, application, hand_back, serve
from tutelage.render.truncate import Cutter
from tutelage.trace import Message, Tool


def serve_front(
    upstream: str, view: StudentView, host: str, port: int, on_ready: Callable[[str], None] | None = None
) -> None:
    """Serve until Ctrl-C before the endpoint `upstream` (up to and including /v1); `on_ready` gets our own URL.

    Raises TutelageError where the port is taken.
    """
    serve(front(upstream, view), host, port, on_ready)


def front(url: str, view: StudentView) -> web.Application:
    """The server before the endpoint `url`."""
    upstream = Upstream(url)

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.method == "POST" and request.path.endswith("/chat/completions"):
            body = shown(body, view)
        try:
            async with upstream.ask(request, body) as answer:
                return await hand_back(request, answer)
        except aiohttp.ClientError as error:
            return upstream.unreachable(error)

    return application(upstream, handle)


def shown(body: bytes, view: StudentView) -> bytes:
    """The body of a chat-completions request as the student is to see it; what is no such body stays as it is."""
    try:
        asked: dict[str, Any] = json.loads(body)
        entries = [dict(entry) for entry in asked["messages"]]
        messages = [_message(entry) for entry in entries]
        tools = [
            Tool(name=tool["function"]["name"], definition=json.dumps(tool, ensure_ascii=False))
            for tool in asked.get("tools") or ()
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return body  # the engine says what is wrong with it
    cut = [_cut(message, view.cut) for message in messages]
    for entry, before, after in zip(entries, messages, view.show(cut, tools), strict=True):
        content = after.to_openai()["content"]
        if content != (before.content or ""):
            entry["content"] = content
        if not view.serving.send_reasoning:
            entry.pop("reasoning_content", None)
            entry.pop("reasoning", None)
    return json.dumps({**with_extra(asked, view.extra), "messages": entries}, ensure_ascii=False).encode()


def _cut(message: Message, cut: Cutter) -> Message:
    """The message itself, unless it is a tool result that is too long; our own agent may have cut it before."""
    if message.role != "tool" or not message.content:
        return message
    content = cut.again(message.content)
    return message if content == message.content else message.model_copy(update={"content": content})


def _message(entry: dict[str, Any]) -> Message:
    """An entry of a request; newer clients say "developer" for "system", which the engine gets as it is."""
    role = "system" if entry.get("role") == "developer" else entry["role"]
    return Message.from_openai({**entry, "role": role, "content": _text(entry.get("content"))})


def _text(content: Any) -> str | None:
    """Content as text; clients may send a list of text parts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content)
    return content if content is None else str(content)
