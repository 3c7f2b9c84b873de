"""Agents of other makers with the real model behind the proxy: what their clients saw is what is recorded."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from agent_clients import (
    KEY,
    Begun,
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

from tutelage.endpoint.embedded import EmbeddedEndpoint
from tutelage.record.spool import Spool
from tutelage.render.student import embedded_gguf, load_template
from tutelage.settings import Student
from tutelage.store import TraceStore

pytestmark = pytest.mark.slow

CLIENTS: dict[str, Callable[..., Any]] = {
    "openai": openai_chat,
    "openai, responses": openai_responses,
    "anthropic": anthropic_sdk,
    "openai-agents": openai_agents,
    "pydantic-ai": pydantic_ai,
    "langgraph": langgraph,
}
# The untrained model asks for no tool by itself, and llama.cpp's "tool_choice" does not make it: one was called before.
TALK = Talk(questions=("And the table?",), tokens=12, begun=Begun("What does the lamp cost?", "lamp"))


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEndpoint]:
    template = load_template(Student().template, tmp_path_factory.mktemp("student"))
    with EmbeddedEndpoint(embedded_gguf(), template, context=1024, parallel=1) as endpoint:
        yield endpoint


# llama.cpp's streamed Responses lack indices without which the SDK does not read them.
@pytest.mark.parametrize(
    ("client", "stream"),
    [
        (client, stream)
        for client in CLIENTS
        for stream in (False, True)
        if (client, stream) != ("openai, responses", True)
    ],
)
def test_two_turns_with_tools(
    endpoint: EmbeddedEndpoint, spool: Spool, store: TraceStore, client: str, stream: bool
) -> None:
    with recording(endpoint.url, spool) as url:
        run = CLIENTS[client](url, TALK, stream=stream)
        saw: Seen = asyncio.run(run) if asyncio.iscoroutine(run) else run
    (trace,) = drained(spool, store)
    assert told_by(trace) == saw
    assert [message.role[0] for message in trace.messages[:5]] == list("suata")
    given = {step.seen for step in trace.steps}
    assert len(given) >= 2
    taught = {index for index, m in enumerate(trace.messages) if m.role == "assistant" and m.weight}
    assert taught == given  # all but the call that was made before
    assert [tool.name for tool in trace.tools] == ["look"]
    assert all(step.completion_tokens is None or step.completion_tokens > 0 for step in trace.steps)


def test_the_embedded_server_keeps_no_responses(endpoint: EmbeddedEndpoint, spool: Spool) -> None:
    with (
        recording(endpoint.url, spool) as url,
        openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client,
        pytest.raises(openai.BadRequestError, match="does not support 'previous_response_id'"),
    ):
        client.responses.create(model="m", input="And?", previous_response_id="resp_1")
    assert spool.waiting() == []
