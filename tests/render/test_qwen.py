"""Qwen3 with its own vocabulary: rows have the tokens that llama.cpp gives them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from judge import Judge
from qwen_vocabulary import write_toy_qwen3
from random_chats import PIECES, Chat, conversations, texts
from test_templates import few

from tutelage.endpoint.embedded import EmbeddedEndpoint
from tutelage.render.renderer import Renderer
from tutelage.render.student import load_template, load_tokenizer


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("qwen") / "toy-qwen3.gguf"
    write_toy_qwen3(path)
    return path


@pytest.fixture(scope="module")
def renderer(toy: Path) -> Renderer:
    return Renderer(load_tokenizer(toy), load_template("qwen3", Path()))


@pytest.fixture(scope="module")
def judge(toy: Path) -> Iterator[Judge]:
    with EmbeddedEndpoint(toy, load_template("qwen3", Path()), context=4096, parallel=1) as endpoint:
        yield Judge(endpoint.url)


def test_the_vocabulary_is_qwens(renderer: Renderer) -> None:
    assert renderer.tokenizer.encode("Hello, world!") == [9707, 11, 1879, 0]
    assert renderer.tokenizer.encode("<|im_start|><think></think><|im_end|>") == [151644, 151667, 151668, 151645]


@settings(few, max_examples=200)
@seed(0)
@given(
    text=texts | st.text() | st.lists(st.sampled_from([*"0123456789 \n\t", "  ", *PIECES]), max_size=40).map("".join)
)
def test_any_text_has_the_engines_tokens(judge: Judge, renderer: Renderer, text: str) -> None:
    assert renderer.tokenizer.encode(text) == judge.tokens(text)


@settings(few, max_examples=15)
@seed(0)
@given(chat=conversations(), thinking=st.booleans())
def test_a_rows_tokens_are_the_engines(judge: Judge, renderer: Renderer, chat: Chat, thinking: bool) -> None:
    ours = Renderer(renderer.tokenizer, renderer.template.source, thinking)
    for step in chat.steps():
        messages = chat.messages[: step + 1]
        row = ours.row(messages, chat.tools)
        sent = [message.to_openai(reasoning=thinking) for message in messages[:-1]]
        definitions = [json.loads(tool.definition) for tool in chat.tools]
        prompt = judge.prompt(sent, definitions, chat_template_kwargs={"enable_thinking": thinking})
        assert row.input_ids[: row.prompt_length] == judge.tokens(prompt)
        assert row.input_ids[row.prompt_length :] == judge.tokens(ours.completion_text(messages, chat.tools))
