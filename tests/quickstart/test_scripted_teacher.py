import asyncio
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI
from shop_helpers import Services, rollout, world_of

from tutelage.quickstart.shop.tasks import make_tasks
from tutelage.trace import Task

TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("search", "draft")]
ASK = {"role": "user", "content": "Order 3 of the amber chair for Anna."}


async def solve(tasks: list[Task], services: Services) -> list[tuple[str, float, str]]:
    async def one(task: Task) -> tuple[str, float, str]:
        async with limit:
            with world_of(task, services) as world:
                _, reward = await rollout(task, services, world)
        return task.kind, reward.value, reward.reason

    limit = asyncio.Semaphore(8)
    return await asyncio.gather(*(one(task) for task in tasks))


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "evaluate"])
def test_the_scripted_teacher_solves_every_task(services: Services, split: str) -> None:
    solved = asyncio.run(solve(make_tasks(split, 48, 5), services))
    assert [item for item in solved if item[1] != 1.0] == []


def post(services: Services, body: Any, **kwargs: Any) -> httpx2.Response:
    return httpx2.post(f"{services.teacher}/chat/completions", json=body, **kwargs)


def test_it_answers_as_an_endpoint_does(services: Services) -> None:
    body = {"model": "scripted-shop-expert", "messages": [ASK], "tools": TOOLS}
    choice = post(services, body).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    message = choice["message"]
    assert message["content"] is None
    assert message["reasoning_content"] == "I search the amber chair to order it."
    assert message["tool_calls"][0]["function"] == {"name": "search", "arguments": '{"query": "amber chair"}'}


def test_streaming_gives_the_same_message(services: Services) -> None:
    async def collect() -> tuple[str, str, str, str]:
        reasoning = name = arguments = finish = ""
        async with AsyncOpenAI(base_url=services.teacher, api_key="none") as client:
            stream = await client.chat.completions.create(
                model="scripted-shop-expert", messages=[ASK], tools=TOOLS, stream=True
            )
            async for chunk in stream:
                choice = chunk.choices[0]
                reasoning += getattr(choice.delta, "reasoning_content", None) or ""
                for call in choice.delta.tool_calls or ():
                    name += call.function.name or ""
                    arguments += call.function.arguments or ""
                finish = choice.finish_reason or finish
        return reasoning, name, arguments, finish

    streamed = asyncio.run(collect())
    assert streamed == ("I search the amber chair to order it.", "search", '{"query": "amber chair"}', "tool_calls")


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"model": "scripted-shop-expert"},
        {"model": "scripted-shop-expert", "messages": []},
        {"model": "scripted-shop-expert", "messages": [{"role": "user", "content": 3}]},
        {"model": "scripted-shop-expert", "messages": [{"role": "someone", "content": "x"}]},
        {"model": "scripted-shop-expert", "messages": [ASK, {"role": "tool", "tool_call_id": "x", "content": "y"}]},
        {"model": "scripted-shop-expert", "messages": [ASK, {"role": "assistant", "content": "done"}]},
        {"model": "scripted-shop-expert", "messages": [ASK, {"role": "assistant", "tool_calls": [{"id": "c"}]}]},
        {"model": "scripted-shop-expert", "messages": [ASK], "tools": [{"name": "search"}]},
    ],
)
def test_a_malformed_request_is_refused_with_400(services: Services, body: Any) -> None:
    response = post(services, body)
    assert response.status_code == 400
    assert response.json()["error"]["message"]


def test_another_model_is_not_found(services: Services) -> None:
    assert post(services, {"model": "gpt", "messages": [ASK]}).status_code == 404


def test_what_it_does_not_understand_it_says_so(services: Services) -> None:
    body = {"model": "scripted-shop-expert", "messages": [{"role": "user", "content": "Tell me a joke"}]}
    assert "scripted expert" in post(services, body).json()["choices"][0]["message"]["content"]


def test_without_the_tool_it_needs_it_says_so(services: Services) -> None:
    message = post(services, {"model": "scripted-shop-expert", "messages": [ASK]}).json()["choices"][0]["message"]
    assert "without the tool search" in message["content"]


def test_the_models_list_names_it_as_scripted(services: Services) -> None:
    assert [model["id"] for model in httpx2.get(f"{services.teacher}/models").json()["data"]] == [
        "scripted-shop-expert"
    ]
