"""How fast rows are made, and in how much memory: two figures of benchmarks/rows.py."""

import json
import os
import random
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

from tutelage.dataset.unroll import unroll
from tutelage.project import Project
from tutelage.render.student import embedded_gguf, load_template, save_tokenizer
from tutelage.store import TraceStore
from tutelage.trace import Message, StopReason, Task, Tool, ToolCall, Trace

SPEED_STEPS, ROUNDS = 8, 2
SPEED_TRACES, FEW_TRACES = 40, 10
LARGE, SHORT = 100_000, 5_000
WORDS = [f"{start}{end}" for start in ("al", "be", "cor", "dis", "en") for end in ("am", "ic", "or", "une", "ast")]
ONE_THREAD = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
SETTINGS = 'name = "benchmark"\n[dataset]\nmax_length = 100000\n'


def render_speedup(trl_python: str, count: int) -> float:
    """How many times our processor time TRL's SFTTrainer takes to prepare the same rows: one process, one thread each.

    Processor time, as another process at work would slow the one more than the other; the least of two rounds, ours
    and TRL's in turns. `count` traces of nine rows; `trl_python` is the interpreter of an environment with TRL.
    """
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "tutelage.toml").write_text(SETTINGS)
        traces = list(islice(synthetic_traces(SPEED_STEPS, words=250, tools=12), count))
        (folder / "traces.jsonl").write_text("\n".join(trace.model_dump_json() for trace in traces))
        (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for trace in traces for row in _trl_rows(trace)))
        save_tokenizer(embedded_gguf(), folder / "tokenizer", load_template("qwen3", folder))
        sides = {"ours": [sys.executable, str(here / "our_rows.py")], "TRL": [trl_python, str(here / "trl_rows.py")]}
        found = [{name: _timed([*side, str(folder)]) for name, side in sides.items()} for _ in range(ROUNDS)]
    least = {name: min((each[name] for each in found), key=lambda timed: timed["seconds"]) for name in sides}
    for name, timed in least.items():
        _note(f"{name}: {timed['rows']} rows, {timed['tokens']} tokens in {timed['seconds']:.2f} s of processor time")
    if least["ours"]["rows"] != least["TRL"]["rows"]:
        raise SystemExit("TRL did not make as many rows.")
    return float(least["TRL"]["seconds"] / least["ours"]["seconds"])


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
        with (folder / "summary.json").open("w") as summary:
            command = [sys.executable, "-m", "tutelage", "dataset", "build", "-p", str(folder), "--json"]
            building = subprocess.Popen(command, stdout=summary)
            _, status, used = os.wait4(building.pid, 0)
        seconds = time.monotonic() - started
        if status:
            raise SystemExit("The dataset was not built.")
        built = json.loads((folder / "summary.json").read_text())
    kept, rows = built["traces_kept"], built["train"]["rows"] + built["validation"]["rows"]
    _note(f"{kept} traces, {rows} rows, {built['tokens_tree']} tokens in the tree in {seconds:.0f} s")
    return round(used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))


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
            call = ToolCall(id=f"c{step}", name=tool.name, arguments=_arguments(draw))
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


def _arguments(draw: random.Random) -> str:
    """The same keys in every call: TRL's rows, whose arguments are structs, would be filled up with nulls."""
    order = draw.choice(("newest", "oldest", "best"))
    return json.dumps({"query": _text(draw, 3), "page": draw.randrange(20), "order": order})


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


def _timed(command: list[str]) -> dict[str, Any]:
    """What a process says of its own work in its last line."""
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **ONE_THREAD})
    return dict(json.loads(ended.stdout.strip().splitlines()[-1]))


def _note(text: str) -> None:
    print(f"# {text}", file=sys.stderr, flush=True)
