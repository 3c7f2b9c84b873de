"""Agents of other makers through the proxy, streamed and not: only their base URL differs from their own examples."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from agent_clients import (
    KEY,
    LOOK,
    Seen,
    Talk,
    anthropic_sdk,
    langgraph,
    openai_agents,
    openai_chat,
    openai_responses,
    pydantic_ai,
)
from record_helpers import drained, recording, told_by
from scripted_endpoint import Said, scripted_endpoint

from tutelage.record.spool import Spool
from tutelage.store import TraceStore
from tutelage.trace import Trace

both = pytest.mark.parametrize("stream", [False, True])


def check(trace: Trace, saw: Seen) -> None:
    assert told_by(trace) == saw
    assert [message.role[0] for message in trace.messages] == list("suatattauatatta")
    assert all(message.weight == 1 for message in trace.messages)
    thoughts = [message.reasoning_content for message in trace.messages if message.role == "assistant"]
    assert [thought and thought.strip() for thought in thoughts] == [
        "Where is the lamp?",
        "Not here.",
        "That is all.",
    ] * 2
    assert [tool.name for tool in trace.tools] == ["look"]
    definition = json.loads(trace.tools[0].definition)["function"]
    assert definition["parameters"]["properties"]["what"]["type"] == "string"


@both
def test_the_openai_sdk(spool: Spool, store: TraceStore, stream: bool) -> None:
    with scripted_endpoint() as double, recording(double.url, spool) as url:
        saw = openai_chat(url, Talk(), stream=stream)
    check(*drained(spool, store), saw)


@both
@pytest.mark.parametrize("kept", [False, True])
def test_the_openai_sdk_over_the_responses_api(spool: Spool, store: TraceStore, stream: bool, kept: bool) -> None:
    with scripted_endpoint() as double, recording(double.url, spool) as url:
        saw = openai_responses(url, Talk(), stream=stream, kept=kept)
    assert [body.get("previous_response_id") for body in double.requests].count(None) == (1 if kept else 6)
    (trace,) = drained(spool, store)
    check(trace, saw)
    assert [call.id for message in trace.messages for call in message.tool_calls] == [f"call_{n}" for n in range(6)]


@both
def test_the_anthropic_sdk(spool: Spool, store: TraceStore, stream: bool) -> None:
    with scripted_endpoint() as double, recording(double.url, spool) as url:
        saw = anthropic_sdk(url, Talk(), stream=stream)
    check(*drained(spool, store), saw)
    assert all(KEY in found.get("x-api-key", found.get("authorization", "")) for found in double.headers)


@both
@pytest.mark.parametrize(("api", "kept"), [("chat", False), ("responses", False), ("responses", True)])
def test_the_openai_agents_sdk(spool: Spool, store: TraceStore, stream: bool, api: str, kept: bool) -> None:
    with scripted_endpoint() as double, recording(double.url, spool) as url:
        saw = asyncio.run(openai_agents(url, Talk(), stream=stream, api=api, kept=kept))
    assert [body.get("previous_response_id") for body in double.requests].count(None) == (1 if kept else 6)
    check(*drained(spool, store), saw)


@both
@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_pydantic_ai(spool: Spool, store: TraceStore, stream: bool, api: str) -> None:
    with scripted_endpoint() as double, recording(double.url, spool) as url:
        saw = asyncio.run(pydantic_ai(url, Talk(), stream=stream, api=api))
    check(*drained(spool, store), saw)


@both
def test_a_langgraph_agent(spool: Spool, store: TraceStore, stream: bool) -> None:
    with scripted_endpoint() as double, recording(double.url, spool) as url:
        saw = langgraph(url, Talk(), stream=stream)
    check(*drained(spool, store), saw)


def test_agents_at_once_are_a_trace_each(spool: Spool, store: TraceStore) -> None:
    """Eight conversations in step with each other over one proxy, half of them with the same prompt."""
    import openai

    started = threading.Barrier(8)  # a prompt that came after another's first answer would be a retry of it

    def script(results: int, asked: str) -> Said:
        if results == 0:
            started.wait(60)
            return Said("", [("look", {"what": asked})])
        return Said(f"{asked} is seen.")

    async def converse(client: openai.AsyncOpenAI, question: str) -> list[Any]:
        tool: Any = {"type": "function", "function": {"name": "look", "parameters": LOOK}}
        messages: list[Any] = [{"role": "user", "content": question}]
        while messages[-1]["role"] != "assistant" or messages[-1].get("tool_calls"):
            stream = await client.chat.completions.create(model="m", messages=messages, tools=[tool], stream=True)
            text, call = "", {"id": "", "name": "", "arguments": ""}
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
                for piece in chunk.choices[0].delta.tool_calls or ():
                    call["id"] += piece.id or ""
                    call["name"] += piece.function.name or ""  # type: ignore[union-attr]
                    call["arguments"] += piece.function.arguments or ""  # type: ignore[union-attr]
            message: dict[str, Any] = {"role": "assistant", "content": text}
            messages.append(message)
            if call["id"]:
                function = {"name": call["name"], "arguments": call["arguments"]}
                message["tool_calls"] = [{"id": call["id"], "type": "function", "function": function}]
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": f"for {call['id']}"})
        return messages

    async def run(url: str) -> list[list[Any]]:
        async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
            return await asyncio.gather(*(converse(client, f"Thing {n // 2 if n < 4 else n}") for n in range(8)))

    with scripted_endpoint(script=script) as double, recording(double.url, spool) as url:
        saw = asyncio.run(run(url))
    traces = drained(spool, store)
    told: Callable[[Any], Any] = lambda messages: [(m["role"], m["content"]) for m in messages]  # noqa: E731
    assert sorted(told(messages) for messages in saw) == sorted(
        [(message.role, message.content or "") for message in trace.messages] for trace in traces
    )
    assert all(trace.task.kind == "recorded" for trace in traces)
