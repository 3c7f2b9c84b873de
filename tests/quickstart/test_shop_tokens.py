"""What a small student has to read: counted with its own tokenizer and template, as the engine does."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import pytest
from mcp import Client
from shop_helpers import desk, openai_tools

from tutelage.quickstart.shop.server import make_server
from tutelage.quickstart.shop.tasks import SYSTEM_PROMPT, make_tasks
from tutelage.quickstart.shop.vocabulary import VOCABULARIES
from tutelage.render.renderer import Renderer
from tutelage.render.student import Tokenizer, embedded_gguf, load_template, load_tokenizer
from tutelage.trace import Message, Tool

SYSTEM = Message(role="system", content=SYSTEM_PROMPT)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(embedded_gguf())


@pytest.fixture(scope="module")
def renderer(tokenizer: Tokenizer) -> Renderer:
    return Renderer(tokenizer, load_template("qwen3", Path()))


@pytest.fixture(scope="module")
def tools() -> list[Tool]:
    async def listed() -> list[dict]:
        async with Client(make_server(lambda _: Path())) as shop:
            return await openai_tools(shop)

    return [Tool(name=tool["function"]["name"], definition=json.dumps(tool)) for tool in asyncio.run(listed())]


def distinct(rows: Sequence[Sequence[int]]) -> int:
    """Nodes of the rows' prefix tree."""
    nodes: dict[tuple[int, int], int] = {}
    for row in rows:
        node = 0
        for token in row:
            node = nodes.setdefault((node, token), len(nodes) + 1)
    return len(nodes)


def shared_prefix(renderer: Renderer, tools: list[Tool]) -> int:
    text = renderer.prompt_text([SYSTEM, Message(role="user", content="Hello")], tools)
    return len(renderer.tokenizer.encode(text.split("<|im_start|>user")[0]))


def test_prompt_and_schemas_are_short(renderer: Renderer, tools: list[Tool]) -> None:
    assert shared_prefix(renderer, tools) <= 430


def test_a_trace_adds_few_tokens_of_its_own(renderer: Renderer, tools: list[Tool], tmp_path: Path) -> None:
    prefix, counts = shared_prefix(renderer, tools), []
    for task in make_tasks("train", 80, 0):
        with desk(task, tmp_path) as expert:
            expert.expert()
        messages = [SYSTEM, *expert.messages]
        ends = [index for index, message in enumerate(messages) if message.role == "assistant"]
        rows = [renderer.row(messages[: end + 1], tools).input_ids for end in ends]
        assert max(map(len, rows)) < 1024
        counts.append(distinct(rows) - prefix)
    assert mean(counts) <= 300  # 286 to 300 by seed; each token costs the quickstart on every training trace


def test_words_are_one_token_wherever_they_stand(tokenizer: Tokenizer) -> None:
    for words in VOCABULARIES.values():
        for word in (*words.adjectives, *words.nouns, *words.customers):
            assert len(tokenizer.encode(f" {word}")) == 1
            assert len(tokenizer.encode(f'"{word}')) == 2
