"""The shop and the scripted teacher as real processes, and a minimal agent loop over the real clients."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from openai import AsyncOpenAI

from tutelage.quickstart.shop.tasks import SYSTEM_PROMPT
from tutelage.quickstart.shop.verify import prepare, verify
from tutelage.trace import Message, StopReason, Task, Tool, Trace, now
from tutelage.world import ROOT_VARIABLE, Reward, World, open_world


@dataclass(frozen=True)
class Services:
    shop: str  # the MCP server's URL
    teacher: str  # the endpoint's URL
    worlds: Path


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    worlds = tmp_path_factory.mktemp("worlds")
    environment = {**os.environ, ROOT_VARIABLE: str(worlds)}
    with (
        running("tutelage.quickstart.shop", "--http", environment=environment) as shop,
        running("tutelage.quickstart.teacher", environment=environment) as teacher,
    ):
        yield Services(f"{shop}/mcp", f"{teacher}/v1", worlds)


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


Rollout = Callable[[Task], tuple[Trace, Reward]]
