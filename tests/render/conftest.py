"""A real llama.cpp server with the embedded student, and our renderer for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from judge import Judge

from tutelage.endpoint.embedded import EmbeddedEndpoint
from tutelage.render.renderer import Renderer
from tutelage.render.student import embedded_gguf, load_template, load_tokenizer


@pytest.fixture(scope="session")
def template() -> str:
    return load_template("qwen3", Path())


@pytest.fixture(scope="session")
def judge(template: str) -> Iterator[Judge]:
    with EmbeddedEndpoint(embedded_gguf(), template, context=4096, parallel=1) as endpoint:
        yield Judge(endpoint.url)


@pytest.fixture(scope="session")
def renderer(template: str) -> Renderer:
    return Renderer(load_tokenizer(embedded_gguf()), template)
