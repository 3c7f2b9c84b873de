"""The shop and the scripted teacher as real processes, and a minimal agent loop over the real clients."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from openai import AsyncOpenAI

from tutelage.quickstart.expert import next_reply
from tutelage.quickstart.shop.server import ShopTools
from tutelage.quickstart.shop.tasks import SYSTEM_PROMPT
from tutelage.quickstart.shop.verify import prepare, verify
from tutelage.trace import Message, StopReason, Task, Tool, ToolCall, Trace, now
from tutelage.world import Reward, World, open_world


@dataclass(frozen=True)
class Services:
    shop: str  # the MCP server's URL
    teacher: str  # the endpoint's URL
    worlds: Path


@contextmanager
def running(module: str, *arguments: str, environment: dict[str, str]) -> Iterator[str]:
    """A module's server on a free port, once its /health answers; its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", module, *arguments, "--port", str(port)]
    process = subprocess.Popen(command, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, f"{module} ended"
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def world_of(task: Task, services: Services) -> Iterator[World]:
    with open_world(task, services.worlds, prepare) as world:
        yield world


def shop_client(services: Services, world: World) -> Client:
    http = httpx2.AsyncClient(headers=world.headers, timeout=30)
    return Client(streamable_http_client(services.shop, http_client=http))


async def rollout(task: Task, services: Services, world: World) -> tuple[Trace, Reward]:
    """The scripted teacher on one task: a plain loop, independent of tutelage.agent."""
    async with shop_client(services, world) as shop, AsyncOpenAI(base_url=services.teacher, api_key="none") as teacher:
        tools = await openai_tools(shop)
        messages: list[dict[str, Any]] = [{"role": "system", "content": SYSTEM_PROMPT}]
        for turn in task.turns:
            messages.append({"role": "user", "content": turn})
            for _ in range(10):
                completion = await teacher.chat.completions.create(
                    model="scripted-shop-expert", messages=messages, tools=tools
                )
                message = completion.choices[0].message.model_dump(exclude_none=True)
                messages.append(message)
                if not message.get("tool_calls"):
                    break
                for call in message["tool_calls"]:
                    function = call["function"]
                    result = await shop.call_tool(function["name"], json.loads(function["arguments"]))
                    text = "".join(part.text for part in result.content)
                    messages.append({"role": "tool", "tool_call_id": call["id"], "content": text})
    trace = trace_of(task, [Message.from_openai(message) for message in messages], tools)
    return trace, verify(trace, world)


async def openai_tools(shop: Client) -> list[dict[str, Any]]:
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.input_schema},
        }
        for tool in (await shop.list_tools()).tools
    ]


def trace_of(
    task: Task,
    messages: list[Message],
    tools: list[dict[str, Any]] | None = None,
    stop_reason: StopReason | None = StopReason.ANSWER,
) -> Trace:
    return Trace(
        id="trace",
        task=task,
        run="run",
        attempt=0,
        model="scripted-shop-expert",
        timestamp=now(),
        messages=tuple(messages),
        tools=tuple(Tool(name=tool["function"]["name"], definition=json.dumps(tool)) for tool in tools or ()),
        stop_reason=stop_reason,
    )


class Desk:
    """A conversation at the shop's desk: calls act on the world."""

    def __init__(self, task: Task, world: World) -> None:
        self.task, self.world, self.messages = task, world, [Message(role="user", content=task.turns[0])]
        self.tools = ShopTools(lambda _: world.folder)

    def call(self, tool: str, reasoning: str = "", **arguments: object) -> str:
        id = f"call_{len(self.messages)}"
        call = ToolCall(id=id, name=tool, arguments=json.dumps(arguments))
        result = getattr(self.tools, tool)(**arguments, context=None)
        self.messages += [
            Message(role="assistant", reasoning_content=reasoning, tool_calls=(call,)),
            Message(role="tool", tool_call_id=id, content=result),
        ]
        return result

    def say(self, content: str) -> None:
        self.messages.append(Message(role="assistant", content=content))

    def expert(self) -> None:
        """Let the expert finish all turns."""
        for turn in range(len(self.task.turns)):
            if turn:
                self.messages.append(Message(role="user", content=self.task.turns[turn]))
            while self.messages[-1].role != "assistant" or self.messages[-1].tool_calls:
                reply = next_reply([message.to_openai() for message in self.messages])
                if reply.tool:
                    self.call(reply.tool, reply.reasoning, **reply.arguments)
                else:
                    self.messages.append(
                        Message(role="assistant", content=reply.content, reasoning_content=reply.reasoning)
                    )

    def judge(self, stop_reason: StopReason | None = StopReason.ANSWER) -> Reward:
        return verify(trace_of(self.task, self.messages, stop_reason=stop_reason), self.world)


@contextmanager
def desk(task: Task, folder: Path) -> Iterator[Desk]:
    with open_world(task, folder, prepare) as world:
        yield Desk(task, world)
