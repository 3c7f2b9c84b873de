import asyncio
import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from shop_helpers import Services, shop_client, world_of

from tutelage.quickstart.shop.database import Shop
from tutelage.quickstart.shop.server import DESCRIPTIONS
from tutelage.quickstart.shop.tasks import make_tasks
from tutelage.world import World

FIRST, SECOND = make_tasks("train", 2, 0)


def stdio_client(world: World) -> Client:
    arguments = ["-m", "tutelage.quickstart.shop", "--stdio"]
    return Client(StdioServerParameters(command=sys.executable, args=arguments, env=world.environment))


async def text(shop: Client, tool: str, **arguments: str | int) -> str:
    result = await shop.call_tool(tool, arguments)
    return "".join(part.text for part in result.content)


async def buy(shop: Client, world: World) -> str:
    """Search, show, draft, place and cancel; what the tools said."""
    product, other = (FIRST.setup["products"][index] for index in (0, 1))
    customer = FIRST.setup["customers"][0]["name"]
    said = [await text(shop, "search", query=product["name"])]
    said.append(await text(shop, "show", id=other["id"]))
    draft = await text(shop, "draft", product=product["id"], quantity=1, customer=customer)
    order = draft.split()[0]
    said += [draft, await text(shop, "place", order=order), await text(shop, "show", id=order)]
    assert Shop(world.folder).order(order).status == "new"
    return "\n".join([*said, await text(shop, "cancel", order=order), await text(shop, "show", id=order)])


def test_both_transports_offer_the_same_tools_and_say_the_same(services: Services) -> None:
    async def use() -> list[tuple[object, str]]:
        said = []
        for client in (stdio_client, lambda world: shop_client(services, world)):
            with world_of(FIRST, services) as world:
                async with client(world) as shop:
                    said.append(((await shop.list_tools()).tools, await buy(shop, world)))
        return said

    (stdio_tools, stdio_said), (http_tools, http_said) = asyncio.run(use())
    assert stdio_tools == http_tools
    assert stdio_said == http_said
    assert "verdict=" in http_said and "cancelled" in http_said


def test_schemas_carry_only_what_a_model_needs(services: Services) -> None:
    async def tools() -> list[dict[str, object]]:
        with world_of(FIRST, services) as world:
            async with shop_client(services, world) as shop:
                listed = (await shop.list_tools()).tools
                assert [tool.name for tool in listed] == list(DESCRIPTIONS)
                assert all(tool.output_schema is None for tool in listed)
                return [tool.input_schema for tool in listed]

    assert asyncio.run(tools())[-1] == {
        "type": "object",
        "properties": {"order": {"type": "string"}},
        "required": ["order"],
    }


def test_one_process_keeps_two_worlds_apart(services: Services) -> None:
    async def use() -> None:
        with world_of(FIRST, services) as first, world_of(SECOND, services) as second:
            async with shop_client(services, first) as one, shop_client(services, second) as two:
                order = FIRST.setup["expected"]
                assert order  # the first world's order is unknown in the second
                mine = FIRST.setup["orders"][0]["id"]
                assert "status=" in await text(one, "show", id=mine)
                await text(one, "cancel", order=mine)
                assert "no order" in await text(two, "show", id=mine)
            assert Shop(first.folder).order(mine).status == "cancelled"
            assert [order.status for order in Shop(second.folder).orders()] == [
                order["status"] for order in SECOND.setup["orders"]
            ]

    asyncio.run(use())


@pytest.mark.parametrize("id", ["", "../x", "..", "/etc", "ABC", "%2e%2e", "0123", "a/b"])
def test_an_id_that_names_no_world_is_an_error_the_model_reads(services: Services, id: str) -> None:
    async def ask() -> None:
        world = World(id, services.worlds)
        async with shop_client(services, world) as shop:
            result = await shop.call_tool("search", {"query": "chair"})
            assert result.is_error
            assert "world" in result.content[0].text.lower()

    asyncio.run(ask())


def test_mistakes_come_back_as_short_errors(services: Services) -> None:
    async def ask() -> None:
        with world_of(FIRST, services) as world:
            async with shop_client(services, world) as shop:
                for tool, arguments, said in (
                    ("show", {"id": "P999"}, "no product P999"),
                    ("cancel", {"order": "R999"}, "no order R999"),
                    ("draft", {"product": FIRST.setup["products"][0]["id"], "quantity": 0, "customer": "Zoe"}, "no "),
                    ("place", {"order": FIRST.setup["orders"][0]["id"]}, "is no draft"),
                ):
                    result = await shop.call_tool(tool, arguments)
                    assert result.is_error and said in result.content[0].text
                assert await text(shop, "search", query="zzz") == "nothing found"

    asyncio.run(ask())


def test_a_hundred_sessions_at_once_are_served(services: Services) -> None:
    async def visit() -> str:
        with world_of(FIRST, services) as world:
            async with shop_client(services, world) as shop:
                return await text(shop, "show", id=FIRST.setup["orders"][0]["id"])

    async def crowd() -> list[str]:
        return await asyncio.gather(*(visit() for _ in range(100)))

    assert len(set(asyncio.run(crowd()))) == 1


def test_health_answers_without_a_world(services: Services) -> None:
    assert httpx2.get(services.shop.removesuffix("/mcp") + "/health").text == "ok"


def test_a_missing_variable_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TUTELAGE")}
    for transport in ("--http", "--stdio"):
        command = [sys.executable, "-m", "tutelage.quickstart.shop", transport]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("tutelage: TUTELAGE_WORLD") and "Traceback" not in done.stderr


def test_a_request_without_the_header_is_told_so(services: Services) -> None:
    async def ask() -> str:
        async with Client(streamable_http_client(services.shop, http_client=httpx2.AsyncClient())) as shop:
            return await text(shop, "search", query="chair")

    assert "X-Tutelage-World is missing" in asyncio.run(ask())
