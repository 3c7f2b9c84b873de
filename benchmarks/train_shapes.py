"""Rows for benchmarks/train.py: the quickstart's, as its own commands make them, and rows shaped like real traces.

Real shape: 2,000 tokens of system prompt and tools, tool results of 200 to 1,000 tokens; written in Qwen3's template,
which drops the reasoning of earlier turns, so that the rows of a trace with several user turns do not nest.
"""

import json
import random
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from rows_speed import WORDS, synthetic_traces
from tutelage.dataset.rows import RowMaker
from tutelage.project import Project
from tutelage.render.serving import planned_serving
from tutelage.trace import Message, ToolCall, Trace
from tutelage.train.rows import load_rows
from tutelage.train.tree import Row

PROMPT, RESULTS = 2_000, (200, 1_000)  # tokens
SETTINGS = 'name = "benchmark"\n[student]\ntemplate = "qwen3"\n[dataset]\nmax_length = 1000000\n'
TOKENS_A_WORD, TOKENS_A_TOOL = 2.6, 155  # of WORDS and of synthetic_traces' tools, as SmolLM2 counts them


def quickstart_rows(tasks: int) -> list[Row]:
    """The training rows of a quickstart with so many tasks: init, collect and dataset build, for real."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "shop"
        for command in (
            f"init {shlex.quote(str(folder))} --example shop --train-tasks {tasks} --evaluate-tasks 1",
            f"collect --project {shlex.quote(str(folder))}",
            f"dataset build --project {shlex.quote(str(folder))}",
        ):
            subprocess.run([sys.executable, "-m", "tutelage", *shlex.split(command)], check=True, capture_output=True)
        return load_rows(folder / "dataset" / "train.parquet")


def real_rows(traces: int, steps: int, user_turns: int, scale: float, seed: int = 0) -> list[Row]:
    """Rows of traces with so many steps, spread over so many user turns; all lengths times `scale`."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "tutelage.toml").write_text(SETTINGS)
        project = Project.open(folder)
        maker = RowMaker.of(project, planned_serving(project.settings), "keep")
        rows = []
        for number in range(traces):
            trace = _trace(draw, number, steps, user_turns, scale)
            for made in maker.rows(trace):
                tokens = made.tokens
                ids, weights = np.asarray(tokens.input_ids, np.int64), np.asarray(tokens.weights, np.float32)
                rows.append(Row(ids, weights, trace.id, made.unrolled.step))
    return rows


def _trace(draw: random.Random, number: int, steps: int, user_turns: int, scale: float) -> Trace:
    tools = max(1, round(PROMPT * scale / 2 / TOKENS_A_TOOL))
    base = next(synthetic_traces(steps=1, words=1, tools=tools))
    shared = random.Random(0)  # of all traces
    prompt = Message(role="system", content=_text(shared, PROMPT * scale - tools * TOKENS_A_TOOL))
    messages = [prompt]
    answers = {round(steps * (turn + 1) / user_turns) - 1 for turn in range(user_turns)}  # the last step of each turn
    for step in range(steps):
        if step == 0 or step - 1 in answers:
            messages.append(Message(role="user", content=f"Question {number}: {_text(draw, 60 * scale)}?"))
        thought = _text(draw, 80 * scale)
        if step in answers:
            messages.append(Message(role="assistant", content=_text(draw, 60 * scale), reasoning_content=thought))
            continue
        arguments = json.dumps({"query": _text(draw, 8), "page": step})
        call = ToolCall(id=f"c{step}", name=draw.choice(base.tools).name, arguments=arguments)
        messages.append(Message(role="assistant", content="", reasoning_content=thought, tool_calls=(call,)))
        result = _text(draw, draw.uniform(*RESULTS) * scale)
        messages.append(Message(role="tool", content=result, tool_call_id=call.id))
    return base.model_copy(update={"id": f"trace-{number}", "messages": tuple(messages)})


def _text(draw: random.Random, tokens: float) -> str:
    return " ".join(draw.choices(WORDS, k=max(1, round(tokens / TOKENS_A_WORD))))


def steps_of(rows: Sequence[Row], size: int) -> Iterator[list[Row]]:
    """Optimizer steps of exactly `size` rows, as TRL's are, in whole traces; traces that fill none are left over."""
    waiting: list[list[Row]] = []
    for _, trace in groupby(rows, key=lambda row: row.trace_id):
        waiting.append(list(trace))
        chosen = _filling([len(rows) for rows in waiting], size)
        if chosen:
            yield [row for i in chosen for row in waiting[i]]
            waiting = [rows for i, rows in enumerate(waiting) if i not in chosen]


def _filling(lengths: Sequence[int], size: int) -> tuple[int, ...]:
    """Indices of some of the lengths that sum to `size`; empty where none do."""
    found: dict[int, tuple[int, ...]] = {0: ()}
    for i, length in enumerate(lengths):
        for total, chosen in list(found.items()):
            found.setdefault(total + length, (*chosen, i))
    return found.get(size, ())
