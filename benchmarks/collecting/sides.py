"""One side of benchmarks/collect.py, in a process of its own.

`python sides.py SIDE ENDPOINT SERVER TASKS AT_ONCE STEPS` runs the tasks, so many at once, and prints the CPU seconds
of this process alone, its peak memory in MB, and how many tasks ended with an answer, as JSON.
"""

import asyncio
import json
import resource
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

MODEL = "no-latency"
KEY = "none"
One = Callable[[str], Awaitable[str]]  # a task's prompt to its answer


async def run(one: One, tasks: int, at_once: int) -> int:
    left = iter(range(tasks))
    done = 0

    async def work() -> None:
        nonlocal done
        for number in left:
            answer = await one(f"task {number}")
            done += "done after" in answer

    await asyncio.gather(*(work() for _ in range(at_once)))
    return done


async def bare(endpoint: str, server: str, tasks: int, at_once: int, steps: int) -> int:
    """A loop over the two SDKs that records nothing."""
    import openai
    from mcp.client import Client

    async with openai.AsyncOpenAI(base_url=endpoint, api_key=KEY) as client, Client(server) as notes:
        listed = (await notes.list_tools()).tools
        tools: Any = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.input_schema},
            }
            for tool in listed
        ]

        async def one(prompt: str) -> str:
            messages: list[Any] = [{"role": "user", "content": prompt}]
            while True:
                answer = await client.chat.completions.create(model=MODEL, messages=messages, tools=tools)
                message = answer.choices[0].message
                if not message.tool_calls:
                    return message.content or ""
                messages.append(message.model_dump(exclude_none=True))
                for call in message.tool_calls:
                    assert call.type == "function"
                    result = await notes.call_tool(call.function.name, json.loads(call.function.arguments))
                    text = "\n".join(part.text for part in result.content if part.type == "text")
                    messages.append({"role": "tool", "tool_call_id": call.id, "content": text})

        return await run(one, tasks, at_once)


async def agents(endpoint: str, server: str, tasks: int, at_once: int, steps: int) -> int:
    import openai
    from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
    from agents.mcp import MCPServerStreamableHttp

    set_tracing_disabled(True)
    client = openai.AsyncOpenAI(base_url=endpoint, api_key=KEY)
    async with MCPServerStreamableHttp(params={"url": server}, cache_tools_list=True) as notes:
        model = OpenAIChatCompletionsModel(model=MODEL, openai_client=client)
        agent = Agent(name="a", model=model, mcp_servers=[notes])

        async def one(prompt: str) -> str:
            return str((await Runner.run(agent, prompt, max_turns=steps + 1)).final_output)

        return await run(one, tasks, at_once)


async def pydantic_ai(endpoint: str, server: str, tasks: int, at_once: int, steps: int) -> int:
    from pydantic_ai import Agent
    from pydantic_ai.mcp import MCPToolset
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider
    from pydantic_ai.usage import UsageLimits

    model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=endpoint, api_key=KEY))
    agent = Agent(model, toolsets=[MCPToolset(server)])
    limits = UsageLimits(request_limit=steps + 1)
    async with agent:

        async def one(prompt: str) -> str:
            return str((await agent.run(prompt, usage_limits=limits)).output)

        return await run(one, tasks, at_once)


def tutelage(endpoint: str, server: str, tasks: int, at_once: int, steps: int, share: bool = True) -> int:
    """`tutelage collect`, every step in an SQLite store."""
    from tutelage.collect import collect
    from tutelage.project import Project
    from tutelage.store import TraceStore

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = (json.dumps({"id": str(number), "prompt": f"task {number}"}) + "\n" for number in range(tasks))
        (folder / "tasks.jsonl").write_text("".join(lines))
        (folder / "mcp.json").write_text(json.dumps({"mcpServers": {"notes": {"url": server}}}))
        (folder / "tutelage.toml").write_text(
            f"""tasks = {{train = "tasks.jsonl"}}
teacher = {{url = "{endpoint}", model = "{MODEL}"}}
collect = {{concurrency = {at_once}}}
rollout = {{max_steps = {steps + 1}, max_total_tokens = 1000000, max_seconds = 3600}}
servers = {{notes = {{share = {str(share).lower()}}}}}
"""
        )
        project = Project.open(folder)
        with TraceStore(project.store_url) as store:
            summary = collect(project, store)
            steps_stored = sum(one.steps for one in store.summaries() if one.finished)
            assert steps_stored == tasks * steps, f"{steps_stored} of {tasks * steps} steps are stored"
        return summary.stop_reasons.get("answer", 0)


def main() -> None:
    side, endpoint, server = sys.argv[1:4]
    tasks, at_once, steps = map(int, sys.argv[4:7])
    before = cpu()
    if side.startswith("tutelage"):
        done = tutelage(endpoint, server, tasks, at_once, steps, share=side == "tutelage")
    else:
        sides = {"bare": bare, "agents": agents, "pydantic_ai": pydantic_ai}
        done = asyncio.run(sides[side](endpoint, server, tasks, at_once, steps))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu": cpu() - before, "memory_mb": memory, "done": done}))


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
