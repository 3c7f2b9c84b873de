"""Agents of other makers through the proxy, streamed and not: only their base URL differs from their own examples."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import anthropic
import pytest
from record_helpers import drained, recording
from scripted_endpoint import LOOK, Said, scripted_endpoint

from tutelage.record.spool import Spool
from tutelage.store import TraceStore
from tutelage.trace import Trace

KEY = "sk-test-4f9a8b7c6d5e4f3a2b1c"
QUESTIONS = ["What does the lamp cost?", "Are you sure?"]
Seen = list[tuple[str, str, list[tuple[str, Any]]]]  # role, text, calls: each a name and its arguments
both = pytest.mark.parametrize("stream", [False, True])


def look(what: str) -> str:
    """Look at something."""
    return f"seen: {what}"


def of(trace: Trace) -> Seen:
    """A trace as its client would tell it; what the system prompt says, the client knows anyway."""
    return [
        (message.role, message.content or "", [(call.name, json.loads(call.arguments)) for call in message.tool_calls])
        for message in trace.messages
        if message.role != "system"
    ]


def check(trace: Trace, saw: Seen) -> None:
    assert of(trace) == saw
    assert [message.role[0] for message in trace.messages if message.role != "system"] == list("uatattauatatta")
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
def test_the_anthropic_sdk(spool: Spool, store: TraceStore, stream: bool) -> None:
    tool: Any = {"name": "look", "description": "Look at something.", "input_schema": LOOK}
    messages: list[Any] = []
    saw: Seen = []
    with scripted_endpoint() as double, recording(double.url, spool) as url:
        client = anthropic.Anthropic(base_url=url.removesuffix("/v1"), api_key=KEY, max_retries=0)
        for question in QUESTIONS:
            messages.append({"role": "user", "content": question})
            saw.append(("user", question, []))
            while True:
                given: dict[str, Any] = {"model": "scripted", "max_tokens": 100, "system": "You look.", "tools": [tool]}
                if stream:
                    with client.messages.stream(**given, messages=messages) as events:
                        answer = events.get_final_message()
                else:
                    answer = client.messages.create(**given, messages=messages)
                text = "".join(block.text for block in answer.content if block.type == "text")
                calls = [block for block in answer.content if block.type == "tool_use"]
                saw.append(("assistant", text, [(call.name, call.input) for call in calls]))
                messages.append({"role": "assistant", "content": answer.content})
                if not calls:
                    break
                results = [(call.id, look(call.input["what"])) for call in calls]
                saw += [("tool", result, []) for _, result in results]
                blocks = [{"type": "tool_result", "tool_use_id": id, "content": result} for id, result in results]
                messages.append({"role": "user", "content": blocks})
    (trace,) = drained(spool, store)
    check(trace, saw)
    assert all(KEY in found.get("x-api-key", found.get("authorization", "")) for found in double.headers)


@both
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_the_openai_agents_sdk(spool: Spool, store: TraceStore, stream: bool, api: str) -> None:
    import agents
    import openai

    agents.set_tracing_disabled(True)

    async def run(url: str) -> list[Any]:
        client = openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0)
        chosen: Any = agents.OpenAIChatCompletionsModel if api == "chat" else agents.OpenAIResponsesModel
        agent = agents.Agent(
            name="looker",
            instructions="You look.",
            model=chosen(model="scripted", openai_client=client),
            tools=[agents.function_tool(look)],
        )
        history: list[Any] = []
        for question in QUESTIONS:
            asked = [*history, {"role": "user", "content": question}]
            if stream:
                result: Any = agents.Runner.run_streamed(agent, asked)
                async for _ in result.stream_events():
                    pass
            else:
                result = await agents.Runner.run(agent, asked)
            history = result.to_input_list()
        await client.close()
        return history

    with scripted_endpoint() as double, recording(double.url, spool) as url:
        items = asyncio.run(run(url))
    saw: Seen = []
    for item in items:
        kind = item.get("type")
        if kind == "function_call":
            call = (item["name"], json.loads(item["arguments"]))
            if saw[-1][0] == "assistant":
                saw[-1][2].append(call)
            else:
                saw.append(("assistant", "", [call]))
        elif kind == "function_call_output":
            saw.append(("tool", item["output"], []))
        elif kind != "reasoning":
            content = item["content"]
            text = content if isinstance(content, str) else "".join(part["text"] for part in content)
            saw.append((item["role"], text, []))
    (trace,) = drained(spool, store)
    check(trace, saw)


@both
@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_pydantic_ai(spool: Spool, store: TraceStore, stream: bool, api: str) -> None:
    from pydantic_ai import Agent
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.anthropic import AnthropicProvider
    from pydantic_ai.providers.openai import OpenAIProvider

    async def read_events(_context: Any, events: Any) -> None:
        async for _ in events:
            pass

    async def run(url: str) -> list[Any]:
        model: Any
        if api == "openai":
            model = OpenAIChatModel("scripted", provider=OpenAIProvider(base_url=url, api_key=KEY))
        else:
            provider = AnthropicProvider(base_url=url.removesuffix("/v1"), api_key=KEY)
            model = AnthropicModel("scripted", provider=provider)
        agent = Agent(model, instructions="You look.", tools=[look])
        history: list[Any] = []
        for question in QUESTIONS:
            handler = read_events if stream else None  # with one, pydantic-ai streams
            result = await agent.run(question, message_history=history, event_stream_handler=handler)
            history = result.all_messages()
        return history

    with scripted_endpoint() as double, recording(double.url, spool) as url:
        messages = asyncio.run(run(url))
    saw: Seen = []
    for message in messages:
        answer: tuple[str, str, list[tuple[str, Any]]] = ("assistant", "", [])
        for part in message.parts:
            if part.part_kind == "user-prompt":
                saw.append(("user", part.content, []))
            elif part.part_kind == "tool-return":
                saw.append(("tool", part.content, []))
            elif part.part_kind == "text":
                answer = ("assistant", answer[1] + part.content, answer[2])
            elif part.part_kind == "tool-call":
                answer[2].append((part.tool_name, part.args_as_dict()))
        if message.kind == "response":
            saw.append(answer)
    (trace,) = drained(spool, store)
    check(trace, saw)


@both
def test_a_langgraph_agent(spool: Spool, store: TraceStore, stream: bool) -> None:
    from langchain_core.messages import HumanMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI
    from langgraph.graph import MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode, tools_condition

    with scripted_endpoint() as double, recording(double.url, spool) as url:
        model: Any = ChatOpenAI(model="scripted", base_url=url, api_key=KEY, streaming=stream)  # type: ignore[arg-type]
        graph = StateGraph(MessagesState)
        graph.add_node("model", lambda state: {"messages": [model.bind_tools([tool(look)]).invoke(state["messages"])]})
        graph.add_node("tools", ToolNode([tool(look)]))
        graph.set_entry_point("model")
        graph.add_conditional_edges("model", tools_condition)
        graph.add_edge("tools", "model")
        agent = graph.compile()
        messages: list[Any] = []
        for question in QUESTIONS:
            messages = agent.invoke({"messages": [*messages, HumanMessage(question)]})["messages"]
    roles = {"human": "user", "ai": "assistant", "tool": "tool"}
    saw = [
        (roles[message.type], message.text, [(c["name"], c["args"]) for c in getattr(message, "tool_calls", ())])
        for message in messages
    ]
    (trace,) = drained(spool, store)
    check(trace, saw)


def test_agents_at_once_are_a_trace_each(spool: Spool, store: TraceStore) -> None:
    """Eight conversations in step with each other over one proxy, half of them with the same prompt."""
    import openai

    def script(results: int, asked: str) -> Said:
        return Said("", [("look", {"what": asked})]) if results == 0 else Said(f"{asked} is seen.")

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
