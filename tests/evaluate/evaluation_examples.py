"""Traces made by hand for tests of the report: test data, no model was run."""

import json
import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tutelage.evaluate.evaluation import Evaluation, Provenance, TaskName, compare, variant
from tutelage.store import TraceStore
from tutelage.trace import Message, Step, StopReason, Task, Tool, ToolCall, Trace
from tutelage.world import Reward

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
TOOLS = tuple(
    Tool(
        name=name,
        definition=f'{{"type":"function","function":{{"name":"{name}","description":"{text}","parameters":{{"type":"object"}}}}}}',
        server="shop",
    )
    for name, text in (
        ("search_products", "Find products."),
        ("get_product", "One product."),
        ("place_order", "Order."),
    )
)
PRODUCTS = ("Umbra Lamp", "Copper Kettle", "Tallow Candle", "Birch Stool", "Quill Pen", "Linen Apron")
KINDS = ("price", "stock", "order", "compare", "refuse")


def call(id: str, name: str, arguments: str) -> Message:
    return Message(
        role="assistant",
        reasoning_content=f"I should use {name} for this.\n",
        tool_calls=(ToolCall(id=id, name=name, arguments=arguments),),
    )


def result(id: str, text: str, error: bool = False) -> Message:
    return Message(role="tool", tool_call_id=id, content=text, is_error=error)


def good(product: str, kind: str) -> list[Message]:
    return [
        call("c1", "search_products", f'{{"query": "{product}"}}'),
        result("c1", f'[{{"id": "P-104", "name": "{product}"}}]'),
        call("c2", "get_product", '{"id": "P-104"}'),
        result("c2", f'{{"id": "P-104", "name": "{product}", "price": "12.40", "stock": 3}}'),
        Message(role="assistant", reasoning_content="Now I know.\n", content=f"{product}: {kind} is 12.40."),
    ]


def wrong(product: str, kind: str) -> list[Message]:
    messages = good(product, kind)
    return [
        *messages[:2],
        call("c2", "get_product", '{"id": "P-401"}'),
        result("c2", "There is no product P-401.", error=True),
        Message(role="assistant", content="It is <b>not</b> there & gone."),
    ]


def silent(product: str, kind: str) -> list[Message]:
    return [Message(role="assistant", content=f"Sure! The {product} is a wonderful product. " * 12)]


def looping(product: str, kind: str) -> list[Message]:
    messages = []
    for number in range(3):
        messages += [
            call(f"c{number}", "look_up", '{"name"'),
            result(f"c{number}", "Unknown tool look_up.", error=True),
        ]
    return messages


def tasks(count: int) -> list[Task]:
    return [
        Task(
            id=f"held-out-{number:03}",
            kind=KINDS[number % len(KINDS)],
            turns=(f"What is the {KINDS[number % len(KINDS)]} of the {PRODUCTS[number % len(PRODUCTS)]}?",),
            setup={"product": PRODUCTS[number % len(PRODUCTS)]},
        )
        for number in range(count)
    ]


def record(store: TraceStore, run: str, model: str, task: Task, messages: list[Message], solved: bool) -> Trace:
    stop = StopReason.ANSWER if messages[-1].role == "assistant" else StopReason.REPEATED_CALL
    recording = store.begin(run=run, task=task, attempt=0, model=model, tools=TOOLS)
    history = [Message(role="system", content="You run a shop."), Message(role="user", content=task.turns[0])]
    for message in history:
        recording.message(message)
    for message in messages:
        seen = len(history)
        history.append(message)
        if message.role != "assistant":
            recording.message(message)
            continue
        step = Step(
            seen=seen,
            started=START + timedelta(seconds=seen),
            seconds=0.5,
            prompt_tokens=400 + 20 * seen,
            completion_tokens=30,
            finish_reason="stop",
        )
        recording.step(step, message)
    category = "" if solved or stop is not StopReason.ANSWER else "wrong answer"
    if not any(message.tool_calls for message in messages):
        category = "no tool call"
    recording.finish(
        stop, Reward(float(solved), "as wanted" if solved else "The price is not in the answer.", category)
    )
    return store.load(recording.id)


def evaluation(store: TraceStore, count: int = 60) -> Evaluation:
    """Three runs of `count` tasks in `store`, and the evaluation of them."""
    draw = random.Random(4)
    found = {}
    models = {"before": "test data, untrained", "after": "test data, trained", "teacher": "scripted test data"}
    for name, model in models.items():
        traces = []
        for number, task in enumerate(tasks(count)):
            product = str(task.setup["product"])
            if name == "before":
                solved = number == 7
                make = good if solved else draw.choice([silent, silent, looping, wrong])
            else:
                solved = name == "teacher" or number % 17 != 5
                make = good if solved else wrong
            traces.append(record(store, f"evaluate-testdata-{name}", model, task, make(product, task.kind), solved))
        found[name] = variant(name, model, f"evaluate-testdata-{name}", traces)
    provenance = Provenance(
        created=START,
        version="0.1.0",
        commit="0123456789abcdef0123456789abcdef01234567",
        seed=0,
        student="test data",
        student_sha256="ab" * 32,
        adapter="runs/train/adapter",
        adapter_sha256="cd" * 32,
        tasks_file="tasks/evaluate.jsonl",
        tasks_sha256="ef" * 32,
        shared_tasks=0,
        fingerprint="testdata",
        template="qwen3",
        sampling={"temperature": 0.0, "max_tokens": 160},
        limits={"max_steps": 12},
        block=10,
        store="traces.db",
    )
    return Evaluation(
        project="test data",
        tasks=tuple(TaskName(id=task.id, kind=task.kind) for task in tasks(count)),
        variants=found,
        comparisons=(compare(found["before"], found["after"]), compare(found["after"], found["teacher"])),
        provenance=provenance,
        seconds=151.0,
    )


def write_stage_records(training: Path, dataset: Path) -> None:
    """Records such as the stages before leave."""
    draw = random.Random(1)
    record = {
        "losses": [1.4 * math.exp(-step / 7) + 0.004 * draw.random() + 0.002 for step in range(60)],
        "eval_losses": {step: 1.5 * math.exp(-step / 8) + 0.004 for step in (20, 40, 60)},
        "rows": 912,
        "tokens_unrolled": 590_000,
        "tokens_tree": 120_000,
        "gflops": 131.4,
        "dtype": "bfloat16",
        "seconds": 302.5,
        "peak_rss_mb": 2890,
        "seed": 0,
        "config": {"epochs": 1, "lora_rank": 16, "lora_alpha": 32, "learning_rate": 0.0015},
        "weights": "smollm2",
        "data_hash": "12" * 32,
    }
    for folder, name, value in ((training, "train.json", record), (dataset, "build.json", {"rows": 912})):
        folder.mkdir(parents=True)
        (folder / name).write_text(json.dumps(value))
