"""Files that the formats' own tools write while the test runs, against the endpoint's double.

Each tool runs in a process of its own: instrumentations patch the client, and inspect_ai brings an event loop.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scripted_endpoint import LOOK, ScriptedEndpoint, scripted_endpoint

from tutelage.collect import import_traces
from tutelage.store import TraceStore
from tutelage.trace import Trace

INSPECT = """
import sys
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.log import write_eval_log
from inspect_ai.model import get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, system_message, use_tools
from inspect_ai.tool import tool

@tool
def look():
    async def execute(what: str) -> str:
        '''Look at something.

        Args:
            what: The thing.
        '''
        return f"seen: {what}"
    return execute

url, folder = sys.argv[1:]
task = Task(
    dataset=[Sample(id="lamp", input="Where is the lamp?", target="Done")],
    solver=[system_message("You look."), use_tools(look()), generate()],
    scorer=includes(),
)
model = get_model("openai-api/double/scripted", base_url=url, api_key="sk-double")
(log,) = eval(task, model=model, log_dir=folder, log_format="eval", display="none")
assert log.status == "success", log.error
write_eval_log(log, f"{folder}/log.json")
"""

OTEL = """
import json, sys
from openai import OpenAI
from opentelemetry.exporter.otlp.json.file.trace_exporter import FileSpanExporter
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

url, file, tool = sys.argv[1:]
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(FileSpanExporter(file)))
OpenAIInstrumentor().instrument(tracer_provider=provider)
client = OpenAI(base_url=url, api_key="sk-double", max_retries=0)
messages = [{"role": "system", "content": "You look."}, {"role": "user", "content": "Where is the lamp?"}]
with provider.get_tracer("agent").start_as_current_span("agent"):
    while messages[-1]["role"] != "assistant" or messages[-1].get("tool_calls"):
        answer = client.chat.completions.create(model="scripted", messages=messages, tools=[json.loads(tool)])
        said = answer.choices[0].message
        messages.append(said.model_dump(include={"role", "content", "tool_calls"}, exclude_none=True))
        for call in said.tool_calls or ():
            what = json.loads(call.function.arguments)["what"]
            messages.append({"role": "tool", "tool_call_id": call.id, "content": f"seen: {what}"})
provider.shutdown()
"""


def run(script: str, *arguments: str, **environment: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]


def check(trace: Trace, double: ScriptedEndpoint) -> None:
    """The trace is what the endpoint was shown in the last request, and answered to it."""
    told = double.requests[-1]["messages"]
    assert [message.role for message in trace.messages] == [*(message["role"] for message in told), "assistant"]
    assert [message.role[0] for message in trace.messages] == list("suatatta")
    for message, shown in zip(trace.messages, told, strict=False):
        assert (message.content or "").strip() == (shown.get("content") or "").strip()  # inspect adds a line's end
        calls = [
            (call["id"], call["function"]["name"], call["function"]["arguments"])
            for call in shown.get("tool_calls", ())
        ]
        assert [(call.id, call.name, json.loads(call.arguments)) for call in message.tool_calls] == [
            (id, name, json.loads(arguments)) for id, name, arguments in calls
        ]
        assert message.tool_call_id == shown.get("tool_call_id")
    assert trace.messages[-1].content == "Done: “Where is the lamp?” – 3 looks 💡."
    assert all(message.weight == 1 for message in trace.messages)
    assert trace.model.endswith("scripted")


def installed(name: str) -> pytest.MarkDecorator:
    parts = name.split(".")
    known = all(importlib.util.find_spec(".".join(parts[: n + 1])) for n in range(len(parts)))
    return pytest.mark.skipif(not known, reason=f"{name} is not installed")


@installed("inspect_ai")
def test_logs_that_inspect_ai_writes_now_are_the_trace_that_the_endpoint_saw(store: TraceStore, tmp_path: Path) -> None:
    with scripted_endpoint() as double:
        run(INSPECT, double.url, str(tmp_path), HOME=str(tmp_path))
    for form in ("eval", "json"):
        (path,) = tmp_path.glob(f"*.{form}")
        summary = import_traces(store, path, run=form)
        (trace,) = store.traces(run=form)
        assert (summary.faults, trace.reward) == ([], 1.0)
        check(trace, double)
        thoughts = [message.reasoning_content or "" for message in trace.messages if message.role == "assistant"]
        assert [thought.strip() for thought in thoughts] == ["Where is the lamp?", "Not here.", "That is all."]
        (tool,) = trace.tools
        assert tool.to_openai()["function"]["parameters"]["properties"]["what"]["type"] == "string"


@installed("opentelemetry.instrumentation.openai_v2")
def test_spans_that_opentelemetrys_instrumentation_writes_now_are_the_trace_that_the_endpoint_saw(
    store: TraceStore, tmp_path: Path
) -> None:
    tool: dict[str, Any] = {"type": "function", "function": {"name": "look", "parameters": LOOK}}
    with scripted_endpoint() as double:
        run(
            OTEL,
            double.url,
            str(tmp_path / "spans.jsonl"),
            json.dumps(tool),
            OTEL_SEMCONV_STABILITY_OPT_IN="gen_ai_latest_experimental",
            OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="span_only",
        )
    summary = import_traces(store, tmp_path / "spans.jsonl")
    (trace,) = store.traces()
    assert summary.faults == []
    check(trace, double)
