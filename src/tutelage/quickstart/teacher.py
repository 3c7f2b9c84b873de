"""A scripted teacher behind a real OpenAI-style endpoint: `python -m tutelage.quickstart.teacher --port PORT`.

It is no model, and says so in its name; it takes the path that a real teacher takes. It sees messages and tools, keeps
nothing between requests, and reports no token usage, since it has no tokenizer.
"""

import argparse
import json
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tutelage.quickstart.expert import Reply, next_reply

MODEL = "scripted-shop-expert"
ROLES = {"system", "developer", "user", "assistant", "tool"}


class BadRequest(Exception):
    """What is wrong with a request, as the API's error says it."""


def app() -> Starlette:
    return Starlette(
        routes=[
            Route("/health", _health),
            Route("/v1/models", _models),
            Route("/v1/chat/completions", _complete, methods=["POST"]),
        ]
    )


async def _health(_: Request) -> Response:
    return PlainTextResponse("ok")


async def _models(_: Request) -> Response:
    model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "tutelage"}
    return JSONResponse({"object": "list", "data": [model]})


async def _complete(request: Request) -> Response:
    try:
        body = await request.json()
    except ValueError:
        return _error("The body is not valid JSON.", 400)
    try:
        check(body)
    except BadRequest as error:
        return _error(str(error), 400)
    if body["model"] != MODEL:
        return _error(f"The model `{body['model']}` does not exist.", 404)
    reply = next_reply(body["messages"])
    if reply.tool and reply.tool not in {tool["function"]["name"] for tool in body.get("tools") or ()}:
        reply = Reply(f"I would need {reply.tool}.", f"I cannot do this without the tool {reply.tool}.")
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": MODEL}
    message = _message(reply, calls_before=_count_calls(body["messages"]))
    if body.get("stream"):
        return StreamingResponse(_stream(head, message), media_type="text/event-stream")
    choice = {"index": 0, "message": message, "finish_reason": _finish_reason(message), "logprobs": None}
    return JSONResponse({**head, "object": "chat.completion", "choices": [choice]})


def check(body: Any) -> None:
    """Raise BadRequest for a body that the chat-completions API would refuse."""
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise BadRequest("You must provide a model parameter.")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("'messages' must be a list of at least one message.")
    called: set[Any] = set()
    for index, message in enumerate(messages):
        _check_message(message, f"messages[{index}]", called)
    if messages[-1]["role"] == "assistant":
        raise BadRequest("The last message must not be the assistant's.")
    tools = body.get("tools") or []
    if not isinstance(tools, list) or not all(_is_tool(tool) for tool in tools):
        raise BadRequest('Each of \'tools\' must be {"type": "function", "function": {"name": …}}.')


def _check_message(message: Any, where: str, called: set[Any]) -> None:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise BadRequest(f"'{where}.role' must be one of {', '.join(sorted(ROLES))}.")
    if not isinstance(message.get("content"), str | list | None):
        raise BadRequest(f"'{where}.content' must be a string or a list of parts.")
    if message["role"] == "tool" and message.get("tool_call_id") not in called:
        raise BadRequest(f"'{where}.tool_call_id' answers no tool call before it.")
    for call in message.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
            raise BadRequest(f"'{where}.tool_calls' must hold functions whose arguments are a JSON string.")
        called.add(call.get("id"))


def _is_tool(tool: Any) -> bool:
    function = tool.get("function") if isinstance(tool, dict) else None
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _message(reply: Reply, calls_before: int) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": reply.content or None,
        "reasoning_content": reply.reasoning,
    }
    if reply.tool:
        function = {"name": reply.tool, "arguments": json.dumps(reply.arguments, ensure_ascii=False)}
        message["tool_calls"] = [{"id": f"call_{calls_before + 1}", "type": "function", "function": function}]
    return message


def _count_calls(messages: list[dict[str, Any]]) -> int:
    return sum(len(message.get("tool_calls") or ()) for message in messages)


def _finish_reason(message: dict[str, Any]) -> str:
    return "tool_calls" if message.get("tool_calls") else "stop"


def _stream(head: dict[str, Any], message: dict[str, Any]) -> Iterator[str]:
    """Server-sent events: role, reasoning, content or call in pieces, the finish reason, [DONE]."""

    def event(delta: dict[str, Any], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"

    yield event({"role": "assistant"})
    for key in ("reasoning_content", "content"):
        for piece in re.findall(r"\s*\S+", message[key] or ""):
            yield event({key: piece})
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        yield event({"tool_calls": [{**call, "index": index, "function": {"name": function["name"], "arguments": ""}}]})
        text = function["arguments"]
        for start in range(0, len(text), 16):
            yield event({"tool_calls": [{"index": index, "function": {"arguments": text[start : start + 16]}}]})
    yield event({}, _finish_reason(message))
    yield "data: [DONE]\n\n"


def _error(message: str, status: int) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": error}, status_code=status)


def main() -> None:
    import uvicorn

    parser = argparse.ArgumentParser(prog="python -m tutelage.quickstart.teacher", description="The scripted teacher.")
    parser.add_argument("--port", type=int, default=8766)
    uvicorn.run(app(), host="127.0.0.1", port=parser.parse_args().port, log_level="warning")


if __name__ == "__main__":
    main()
