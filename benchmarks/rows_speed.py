"""How fast rows are made, and in how much memory.

    python benchmarks/rows_speed.py --trl-python PATH    # render_speedup and peak_rss_mb, one "figure: value" line each
    python benchmarks/rows_speed.py --short              # 5,000 traces instead of 100,000

`--trl-python` is the interpreter of an environment that has TRL and datasets; Tutelage never imports them.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from tutelage.dataset.rows import RowMaker
from tutelage.dataset.unroll import unroll
from tutelage.dataset.write import RowWriter
from tutelage.project import Project
from tutelage.render.serving import planned_serving
from tutelage.render.student import embedded_gguf, load_template, save_tokenizer
from tutelage.store import TraceStore
from tutelage.trace import Message, StopReason, Task, Tool, ToolCall, Trace

SPEED_TRACES, SPEED_STEPS = 40, 8
LARGE, SHORT = 100_000, 5_000
WORDS = [f"{start}{end}" for start in ("al", "be", "cor", "dis", "en") for end in ("am", "ic", "or", "une", "ast")]
ONE_THREAD = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
SETTINGS = 'name = "benchmark"\n[dataset]\nmax_length = 100000\n'


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trl-python", help="the interpreter of an environment with TRL")
    options.add_argument("--short", action="store_true", help="fewer traces for peak_rss_mb")
    options.add_argument("--ours", help=argparse.SUPPRESS)  # the process that is timed
    given = options.parse_args()
    if given.ours:
        print(json.dumps(_make_rows(Path(given.ours))))
        return
    print(f"peak_rss_mb: {peak_rss_mb(SHORT if given.short else LARGE)}", flush=True)  # first: see its last lines
    if given.trl_python:
        print(f"render_speedup: {render_speedup(given.trl_python):.1f}", flush=True)


def render_speedup(trl_python: str) -> float:
    """How many times our processor time TRL's SFTTrainer takes to prepare the same rows: one process, one thread each.

    Processor time, as another process at work would slow the one more than the other.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "tutelage.toml").write_text(SETTINGS)
        traces = list(islice(synthetic_traces(SPEED_STEPS, words=250, tools=12), SPEED_TRACES))
        (folder / "traces.jsonl").write_text("\n".join(trace.model_dump_json() for trace in traces))
        (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for trace in traces for row in _trl_rows(trace)))
        save_tokenizer(embedded_gguf(), folder / "tokenizer", load_template("qwen3", folder))
        ours = _timed([sys.executable, __file__, "--ours", str(folder)])
        theirs = _timed([trl_python, str(Path(__file__).with_name("trl_rows.py")), str(folder)])
    if ours["rows"] != theirs["rows"]:
        raise SystemExit(f"We made {ours['rows']} rows, TRL {theirs['rows']}.")
    for name, found in (("ours", ours), ("TRL", theirs)):
        print(f"# {name}: {found['rows']} rows, {found['tokens']} tokens in {found['seconds']:.2f} s", flush=True)
    return float(theirs["seconds"] / ours["seconds"])


def peak_rss_mb(count: int) -> int:
    """The most memory that `tutelage dataset build` holds for a store of so many traces."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "tutelage.toml").write_text(SETTINGS)
        traces = synthetic_traces(steps=3, words=40, tools=5)
        with TraceStore(Project.open(folder).store_url) as store:
            for first in range(0, count, 500):
                store.add(list(islice(traces, min(500, count - first))))
        started = time.monotonic()
        command = [sys.executable, "-m", "tutelage", "dataset", "build", "-p", str(folder), "--json"]
        built = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        seconds = time.monotonic() - started
    kept, rows = built["traces_kept"], built["train"]["rows"] + built["validation"]["rows"]
    print(f"# {kept} traces, {rows} rows, {built['tokens_tree']} tokens in the tree in {seconds:.0f} s", flush=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # the build is the only child so far
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))


def synthetic_traces(steps: int, words: int, tools: int, seed: int = 0) -> Iterator[Trace]:
    """Endless traces of one toolset: each asks, calls a tool `steps` times, and answers."""
    draw = random.Random(seed)
    offered = tuple(_tool(number) for number in range(tools))
    system = Message(role="system", content="You look things up. " + _text(draw, 60))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(sys.maxsize):
        question = f"Question {number}: {_text(draw, 12)}?"
        messages = [system, Message(role="user", content=question)]
        for step in range(steps):
            tool = draw.choice(offered)
            call = ToolCall(
                id=f"c{step}", name=tool.name, arguments=json.dumps({"query": _text(draw, 3), "page": step})
            )
            thought = "I look further. " + _text(draw, 20)
            messages.append(Message(role="assistant", content="", reasoning_content=thought, tool_calls=(call,)))
            messages.append(Message(role="tool", content=_text(draw, words), tool_call_id=call.id))
        messages.append(Message(role="assistant", content=_text(draw, 20), reasoning_content="That is enough."))
        yield Trace(
            id=uuid.UUID(int=draw.getrandbits(128)).hex,
            task=Task(id=f"task-{number}", turns=(question,)),
            run="collect",
            attempt=0,
            model="synthetic",
            timestamp=start + timedelta(seconds=number),
            messages=tuple(messages),
            tools=offered,
            stop_reason=StopReason.ANSWER,
            reward=1.0,
        )


def _tool(number: int) -> Tool:
    properties = {
        "query": {"type": "string", "description": f"what to look for in part {number} of the archive"},
        "page": {"type": "integer", "description": "which page of the results to show, from 0", "default": 0},
        "order": {"type": "string", "enum": ["newest", "oldest", "best"], "description": "what comes first"},
    }
    function = {
        "name": f"search_{number}",
        "description": f"Searches part {number} of the archive and gives back a page of what was found there.",
        "parameters": {"type": "object", "properties": properties, "required": ["query"]},
    }
    return Tool(name=f"search_{number}", definition=json.dumps({"type": "function", "function": function}))


def _text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(WORDS, k=words))


def _trl_rows(trace: Trace) -> Iterator[dict[str, Any]]:
    """A row a step as TRL takes it: prompt, completion, tools; arguments as objects, as its templates want them."""
    tools = [tool.to_openai() for tool in trace.tools]
    for row in unroll(trace):
        messages = [message.to_openai() for message in row.messages]
        for call in (call for message in messages for call in message.get("tool_calls", ())):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        yield {"prompt": messages[:-1], "completion": messages[-1:], "tools": tools}


def _make_rows(folder: Path) -> dict[str, Any]:
    """Render, tokenise and write the rows of the folder's traces."""
    project = Project.open(folder)
    traces = [Trace.model_validate_json(line) for line in (folder / "traces.jsonl").read_text().splitlines()]
    maker = RowMaker.of(project, planned_serving(project.settings), "keep")
    rows = tokens = 0
    started = time.process_time()
    with RowWriter(folder / "ours.parquet") as writer:
        for trace in traces:
            for row in maker.rows(trace):
                writer.add(trace, row.unrolled, row.tokens)
                rows += 1
                tokens += len(row.tokens.input_ids)
    return {"rows": rows, "tokens": tokens, "seconds": time.process_time() - started}


def _timed(command: list[str]) -> dict[str, Any]:
    """What a process says of its own work in its last line."""
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **ONE_THREAD})
    return dict(json.loads(ended.stdout.strip().splitlines()[-1]))


if __name__ == "__main__":
    main()
