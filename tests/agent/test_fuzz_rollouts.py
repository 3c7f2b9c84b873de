"""Whatever a server lists and answers and a model writes, a rollout ends with a reason, and its trace is what was said.

The server is a process that speaks MCP over its pipes, the endpoint an HTTP double, the store SQLite: all but the
model is what `tutelage collect` runs with.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from endpoint_double import Answer, EndpointDouble, endpoint_double
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from tutelage.agent.offer import NAME_CHARACTERS
from tutelage.agent.rollout import RolloutEnd, run_rollout
from tutelage.agent.servers import connect_servers
from tutelage.endpoint import client
from tutelage.endpoint.client import ChatEndpoint
from tutelage.render.truncate import Cutter
from tutelage.settings import McpServer, RolloutLimits, Student, ToolResults
from tutelage.store import TraceStore
from tutelage.trace import Task, Trace
from tutelage.world import World

SERVER = str(Path(__file__).with_name("fuzz_server.py"))
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))

ODD = ["", "\0", "<think>a</think>b", "</think>", "<tool_call>", "{}", "a\r\nb", "😀", "\u2028", "x" * 3000]
WHOLE = st.text(max_size=12) | st.sampled_from(ODD)
# A model may write half a character. Of an MCP server the SDK drops such a message: a call of it times out.
TEXT = st.text(st.characters(), max_size=12) | st.sampled_from([*ODD, "\ud83d"])
NUMBERS = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)


def values(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Of JSON."""
    return st.recursive(
        st.none() | st.booleans() | NUMBERS | text,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=6,
    )


SAID, JSON = values(WHOLE), values(TEXT)
KNOWN = st.sampled_from(["echo", "draw.line/now", "a b", "a_b", "a.b", "y" * 64, "y" * 65, "Ünï"])
NAMES, CALLED = WHOLE | KNOWN, TEXT | KNOWN
SCHEMAS = st.one_of(
    st.fixed_dictionaries({"type": st.just("object")}, optional={"properties": st.dictionaries(NAMES, SAID)}),
    st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.just({"a": {"$ref": "#/$defs/a"}}), "$defs": SAID}
    ),
    SAID,
)
TOOLS = st.lists(
    st.fixed_dictionaries(
        {"name": NAMES, "inputSchema": SCHEMAS},
        optional={"description": WHOLE | st.none(), "annotations": SAID, "outputSchema": SAID, "title": WHOLE},
    ),
    max_size=4,
)
PARTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": WHOLE}),
    st.fixed_dictionaries({"type": st.just("image"), "data": WHOLE, "mimeType": WHOLE}),
    st.fixed_dictionaries({"type": st.just("resource_link"), "uri": WHOLE, "name": WHOLE}),
    SAID,
)
RESULTS = st.fixed_dictionaries(
    {"content": st.lists(PARTS, max_size=3) | SAID}, optional={"isError": st.booleans(), "structuredContent": SAID}
)
ARGUMENTS = TEXT | JSON.map(json.dumps) | JSON
CALLS = st.fixed_dictionaries(
    {"function": st.fixed_dictionaries({"name": CALLED, "arguments": ARGUMENTS}) | JSON},
    optional={"id": TEXT | JSON},
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.just("assistant")},
    optional={
        "content": TEXT | st.none() | JSON,
        "reasoning_content": TEXT | st.none(),
        "reasoning": TEXT | JSON,
        "tool_calls": st.lists(CALLS, max_size=2) | st.none(),
    },
)
USAGE = st.none() | JSON | st.just({"prompt_tokens": 3, "completion_tokens": 4})
BODIES = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"message": MESSAGES, "finish_reason": TEXT | st.none()}), min_size=1)},
    optional={"usage": USAGE},
)


def run(url: str, folder: Path, said: dict[str, Any], turns: tuple[str, ...]) -> tuple[RolloutEnd, Trace]:
    (folder / "said.json").write_text(json.dumps(said))
    server = McpServer(command=sys.executable, args=("-I", "-S", SERVER, str(folder / "said.json")))
    task = Task(id="t", turns=turns)

    async def roll() -> tuple[RolloutEnd, Trace]:
        async with (
            ChatEndpoint(url, "m", request_seconds=10) as endpoint,
            connect_servers({"s": server}, World("w", folder), tool_seconds=5) as servers,
        ):
            recording = store.begin(run="r", task=task, attempt=0, model="m", tools=servers.tools)
            end = await run_rollout(
                task,
                endpoint=endpoint,
                servers=servers,
                recording=recording,
                limits=RolloutLimits(max_steps=4),
                cut=Cutter(ToolResults(), Student(), folder),
            )
            recording.finish(end.stop_reason, None, end.notes)
            return end, next(store.traces(run="r"))

    (folder / "traces.db").unlink(missing_ok=True)
    with TraceStore(f"sqlite:///{folder / 'traces.db'}") as store:
        return asyncio.run(roll())


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.001)


@settings(
    deadline=None,
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each example starts a server: shrinking takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    tools=TOOLS,
    results=st.lists(RESULTS, min_size=1, max_size=3),
    answers=st.lists(BODIES, min_size=1, max_size=4),
    turns=st.lists(st.text(max_size=12), min_size=1, max_size=2),
)
def test_no_crash_and_no_trace_that_is_not_what_was_said(
    tools: list[Any], results: list[Any], answers: list[Any], turns: list[str], tmp_path: Path, no_waiting: None
) -> None:
    with endpoint_double(*(Answer(body=body) for body in answers)) as double:
        end, trace = run(double.url, tmp_path, {"tools": tools, "results": results}, tuple(turns))
    event(end.stop_reason.value)
    assert trace.stop_reason == end.stop_reason
    assert list(trace.messages) == end.messages
    assert Trace.model_validate_json(trace.model_dump_json()) == trace
    assert_tools_are_fit_to_send(trace)
    assert_the_endpoint_saw_it(trace, double)


def assert_tools_are_fit_to_send(trace: Trace) -> None:
    names = [tool.name for tool in trace.tools]
    assert len(set(names)) == len(names)
    for tool in trace.tools:
        assert 1 <= len(tool.name) <= NAME_CHARACTERS
        assert tool.to_openai()["function"]["name"] == tool.name


def assert_the_endpoint_saw_it(trace: Trace, double: EndpointDouble) -> None:
    """Each step's request held what the trace has before it; a request that was made again held the same."""
    seen = [request["messages"] for request in double.requests]
    distinct = [messages for place, messages in enumerate(seen) if messages not in seen[:place]]
    expected = [[message.to_openai() for message in trace.messages[: step.seen]] for step in trace.steps]
    assert distinct[: len(expected)] == expected
