"""Training speed against TRL's SFTTrainer, side by side in one run: prints one `figure: value` line each.

    python benchmarks/train.py            # the long form, real lengths: an hour or two on two cores
    python benchmarks/train.py --short    # under five minutes: fewer steps, real shapes at a quarter of their length
    python benchmarks/train.py --only speedup_short memory_ratio
    python benchmarks/train.py --processor-time    # where other programs run beside it
    python benchmarks/train.py --gpu      # on a GPU: a student of 4 billion parameters, ours, TRL's and Unsloth's

Seconds by the clock, ours and TRL's in turns, medians; the compute type is what this machine's measurement chooses,
the same for both. TRL runs rows one by one, so for the long shapes some of its rows are timed, shortest to longest,
and the others read off a parabola through them. Lines that begin with # say what was timed. Needs SmolLM2 and TRL
(`make test` sets both up); speaks to no network.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # else threads that wait count as working
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from transformers import AutoConfig

import train_gpu
import train_sides
from train_shapes import quickstart_rows, real_rows, steps_of
from train_sides import CACHE, CONFIG, Course, in_own_process, interpolated, ours, plain, sampled, trl
from tutelage.render.student import embedded_gguf
from tutelage.train.compute import Compute, keep_freed_memory, measure, peak_rss
from tutelage.train.tree import Row, Tree, build_tree, plan_step, traces_of
from tutelage.train.weights import student_weights

LONGEST = 8_000  # tokens of a row that TRL can train in some 20 GB without checkpointing
LARGEST = 14_000  # tokens of a tree that we can

Figures = Iterator[tuple[str, float]]


@dataclass(frozen=True)
class Setting:
    short: bool
    weights: Path
    compute: Compute

    @property
    def scale(self) -> float:
        return 0.25 if self.short else 1.0

    @cached_property
    def quickstart(self) -> list[list[Row]]:
        """Optimizer steps of the quickstart's rows."""
        count = 2 if self.short else 3
        return list(steps_of(quickstart_rows(self.rows * count // 2), self.rows))[:count]

    @property
    def rows(self) -> int:
        """Of an optimizer step of the quickstart's."""
        return 8 if self.short else 32

    def real(self, steps: int) -> list[Row]:
        """Rows of one trace with one user turn and one with several."""
        single, several = (real_rows(1, steps, turns, self.scale, seed=turns) for turns in (1, max(3, steps // 5)))
        return [*single, *(Row(row.input_ids, row.weights, "several", row.step) for row in several)]


def quickstart(setting: Setting) -> Figures:
    """speedup_short, of_bound_short, packing_short, loss_difference; in a first step, not counted, both take memory"""
    steps = setting.quickstart
    first = ours(setting.weights, setting.compute, steps)
    theirs = trl(setting.weights, setting.compute, steps)
    again = ours(setting.weights, setting.compute, steps)
    mine = first.seconds[1:] + again.seconds[1:]
    _tell("quickstart", [row for step in steps for row in step], mine, theirs.seconds[1:])
    print(f"# losses by step: ours {first.losses}, TRL's {theirs.losses}", flush=True)
    speedup = statistics.median(theirs.seconds[1:]) / statistics.median(mine)
    yield "speedup_short", speedup
    yield "of_bound_short", speedup / bound(setting, steps)
    yield "packing_short", _packing(steps) / statistics.median(mine)
    yield "loss_difference", abs(first.losses[-1] - theirs.losses[-1])


def steps_8(setting: Setting) -> Figures:
    """speedup_8, of_bound_8, packing_8"""
    yield from _long(setting, 8)


def steps_20(setting: Setting) -> Figures:
    """speedup_20, of_bound_20, packing_20"""
    yield from _long(setting, 20)


def _long(setting: Setting, count: int) -> Figures:
    rows = setting.real(count)
    again = max(map(len, plan_step(rows))) > LARGEST
    mine = ours(setting.weights, setting.compute, [rows], checkpointing=again).seconds
    some = sampled(rows, 3 if setting.short else 5)
    fitting = sum(len(row) <= LONGEST for row in some)  # those after it, longer ones, with checkpointed layers
    pieces = [
        seconds
        for part, checkpointing in ((some[:fitting], False), (some[fitting:], True))
        for seconds in (trl(setting.weights, setting.compute, [part], checkpointing).pieces if part else ())
    ]
    theirs = interpolated(some, pieces, rows)
    if not setting.short and not again:
        mine += ours(setting.weights, setting.compute, [rows]).seconds
    timed = ", ".join(f"{len(row)}: {seconds:.1f}" for row, seconds in zip(some, pieces, strict=True))
    how = f", {len(some) - fitting} of them with checkpointed layers" if fitting < len(some) else ""
    how += ", ours with checkpointed layers" if again else ""
    _tell(f"{count} steps, TRL's rows timed at {timed} s{how}", rows, mine, [theirs])
    speedup = theirs / statistics.median(mine)
    yield f"speedup_{count}", speedup
    yield f"of_bound_{count}", speedup / bound(setting, [rows])
    yield f"packing_{count}", _packing([rows]) / statistics.median(mine)


def _packing(steps: Sequence[Sequence[Row]]) -> float:
    """Seconds that the trees of an optimizer step take to build, the median of some tries."""

    def once(rows: Sequence[Row]) -> float:
        started = time.perf_counter()
        plan_step(rows)
        return time.perf_counter() - started

    return statistics.median(once(rows) for rows in steps for _ in range(5))


def conversation_short(setting: Setting) -> Figures:
    """speedup_conversation_short: against TRL on one conversation a trace, for the traces where that is token-equal."""
    rows = [row for trace in traces_of(chain(*setting.quickstart)) if _nest(trace) for row in trace][: setting.rows]
    joined = _conversations(rows)
    mine = ours(setting.weights, setting.compute, [rows]).seconds
    theirs = trl(setting.weights, setting.compute, [joined]).seconds
    mine += ours(setting.weights, setting.compute, [rows]).seconds
    _tell("quickstart, TRL on conversations", joined, mine, theirs)
    yield "speedup_conversation_short", statistics.median(theirs) / statistics.median(mine)


def conversation_8(setting: Setting) -> Figures:
    """speedup_conversation_8: the same for two traces of 8 steps with one user turn each."""
    rows = real_rows(2, 8, 1, setting.scale)
    joined = _conversations(rows)
    assert all(map(_nest, traces_of(rows)))
    mine = ours(setting.weights, setting.compute, [rows]).seconds
    theirs = trl(setting.weights, setting.compute, [joined]).seconds
    _tell("8 steps, TRL on conversations", joined, mine, theirs)
    yield "speedup_conversation_8", statistics.median(theirs) / statistics.median(mine)


def _conversations(rows: Sequence[Row]) -> list[Row]:
    """One row a trace, whose rows nest, with loss on all its assistant messages."""
    trees = {trace[0].trace_id: build_tree(trace) for trace in traces_of(rows)}
    return [Row(tree.tokens, tree.weights, trace) for trace, tree in trees.items()]


def _nest(rows: Sequence[Row]) -> bool:
    """Whether they are those of one conversation, each assistant message taught once."""
    tree = build_tree(rows)
    return len(tree.segments) == 1 and tree.weights.max() <= 1


def tree_cost(setting: Setting) -> Figures:
    """tree_cost: time a distinct token, against causal training on as many tokens in sequences of the tree's depth."""
    rows = setting.quickstart[0]
    tree = build_tree(rows)
    depth = int(tree.positions.max()) + 1
    count = max(1, round(len(tree) / depth))
    targets = np.zeros(depth, np.float32)
    targets[-max(1, round(len(tree.targets) / count)) :] = 1
    draw = np.random.default_rng(0)
    sequences = [Row(draw.integers(3, 40_000, depth), targets, str(i)) for i in range(count)]
    seconds: dict[str, list[float]] = {"tree": [], "sequences": []}
    for _ in range(2 if setting.short else 5):
        seconds["tree"] += ours(setting.weights, setting.compute, [rows]).seconds
        seconds["sequences"] += plain(setting.weights, setting.compute, [sequences]).seconds
    with_tree = statistics.median(seconds["tree"]) / sum(map(len, plan_step(rows)))
    without = statistics.median(seconds["sequences"]) / (count * depth)
    print(f"# tree {1e3 * with_tree:.2f} ms a token, {count} sequences of {depth} tokens {1e3 * without:.2f} ms")
    yield "tree_cost", with_tree / without


def memory_ratio(setting: Setting) -> Figures:
    """memory_ratio: peak of a whole process at equal tokens in flight, ours over TRL's"""
    tokens = 1_500 if setting.short else 4_000
    peaks = {side: _in_own_process(setting, side, tokens)[0] for side in ("ours", "trl")}
    print(f"# {tokens} tokens in flight: ours {peaks['ours']:,} MB, TRL {peaks['trl']:,} MB", flush=True)
    yield "memory_ratio", peaks["ours"] / peaks["trl"]


def memory_curve(setting: Setting) -> Figures:
    """peak_mb_500 to peak_mb_8000, and rows a second, as the budget of a microbatch grows (long form alone)"""
    for tokens in () if setting.short else (500, 1_000, 2_000, 4_000, 8_000):
        peak, seconds, rows = _in_own_process(setting, "curve", tokens)
        print(f"# microbatches of {tokens} tokens: {rows / seconds:.2f} rows/s, peak {peak:,} MB", flush=True)
        yield f"peak_mb_{tokens}", peak


def checkpointing(setting: Setting) -> Figures:
    """checkpointing_memory, checkpointing_time: of one long row, with checkpointed layers over without"""
    tokens = 1_500 if setting.short else 6_000
    (peak, seconds, _), (less, longer, _) = (_in_own_process(setting, side, tokens) for side in ("ours", "layers"))
    print(f"# one row of {tokens} tokens: {peak:,} MB and {seconds:.1f} s; checkpointed {less:,} MB and {longer:.1f} s")
    yield "checkpointing_memory", less / peak
    yield "checkpointing_time", longer / seconds


def growth(setting: Setting) -> Figures:
    """growth_2 to growth_64: operations of row by row over ours, counted, as a trace of so many steps gets longer"""
    for steps in (2, 4, 8, 16, 32) if setting.short else (2, 4, 8, 16, 32, 64):
        rows = real_rows(1, steps, max(1, steps // 5), setting.scale, seed=steps)
        trees = plan_step(rows)
        tokens = f"{sum(map(len, rows)):,} tokens unrolled, {sum(map(len, trees)):,} in {len(trees)} trees"
        print(f"# {steps} steps: {tokens}", flush=True)
        yield f"growth_{steps}", bound(setting, [rows])


def _in_own_process(setting: Setting, side: str, tokens: int) -> tuple[int, float, int]:
    arguments = ("--side", side, "--tokens", tokens, "--weights", setting.weights)
    peak, seconds, rows = in_own_process(__file__, *arguments)
    return round(peak), seconds, round(rows)


def one_side(setting: Setting, side: str, tokens: int) -> None:
    """Print this process's peak in MB, a step's seconds and its rows."""
    if side == "curve":
        (rows,) = steps_of(quickstart_rows(16), 32)
        course = ours(setting.weights, setting.compute, [rows] * 2, tokens)
    else:
        targets = np.zeros(tokens, np.float32)
        targets[-tokens // 10 :] = 1
        rows = [Row(np.random.default_rng(0).integers(3, 40_000, tokens), targets, "a")]
        run: Callable[..., Course] = {"ours": ours, "trl": trl, "layers": partial(ours, checkpointing=True)}[side]
        course = run(setting.weights, setting.compute, [rows] * 2)
    print(round(peak_rss() / 2**20), min(course.seconds), len(rows))


def bound(setting: Setting, steps: Sequence[Sequence[Row]]) -> float:
    """The speedup that counting floating-point operations gives: TRL's rows over our trees."""
    config = AutoConfig.from_pretrained(setting.weights)
    rows = [row for step in steps for row in step]
    trees = [tree for step in steps for tree in plan_step(step)]
    alone = [build_tree([row]) for row in rows]
    # on a CPU, TRL computes the logits of every position; we those of targets
    theirs = sum(_operations(config, tree, len(tree)) for tree in alone)
    return theirs / sum(_operations(config, tree, len(tree.targets)) for tree in trees)


def _operations(config: AutoConfig, tree: Tree, logits: int) -> float:
    """Of forward and backward: two an entry of a matrix and token, twice, as frozen weights get no gradient."""
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    heads = config.num_attention_heads * config.head_dim
    shared = config.num_key_value_heads * config.head_dim
    shapes = [(hidden, heads), (hidden, shared), (hidden, shared), (heads, hidden), *[(hidden, inner)] * 3]
    a_token = sum(4 * a * b + 6 * CONFIG.lora_rank * (a + b) for a, b in shapes)
    pairs = float((tree.positions + 1).sum())
    return layers * (a_token * len(tree) + 12 * heads * pairs) + 4 * config.vocab_size * hidden * logits


def _tell(name: str, rows: Sequence[Row], mine: Sequence[float], theirs: Sequence[float]) -> None:
    times = [" ".join(f"{seconds:.1f}" for seconds in side) for side in (mine, theirs)]
    tokens = f"{sum(map(len, rows)):,} tokens, {len(build_tree(rows)):,} in one tree"
    print(f"# {name}: {len(rows)} rows, {tokens}; seconds ours {times[0]}; TRL {times[1]}", flush=True)


PARTS = (
    quickstart,
    steps_8,
    steps_20,
    conversation_short,
    conversation_8,
    tree_cost,
    memory_ratio,
    memory_curve,
    checkpointing,
    growth,
)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--short", action="store_true", help="under five minutes")
    options.add_argument("--only", nargs="+", help="figures; by default all")
    options.add_argument("--gpu", action="store_true", help="the figures for a GPU, and no others")
    options.add_argument("--processor-time", action="store_true", help="measure it instead of time by the clock")
    options.add_argument("--weights", type=Path, help="another model's folder; by default SmolLM2-135M-Instruct")
    options.add_argument("--side", help=argparse.SUPPRESS)  # a process whose memory is measured
    options.add_argument("--tokens", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.gpu:
        if not torch.cuda.is_available():
            raise SystemExit("--gpu measures a GPU, and PyTorch finds none here.")
        for name, value in train_gpu.figures():
            print(f"{name}: {value:.4g}", flush=True)
        return
    weights = given.weights or student_weights(embedded_gguf(), CACHE)
    if given.processor_time:
        train_sides.clock = time.process_time
    compute = measure()
    keep_freed_memory()  # for both sides
    setting = Setting(given.short, weights, compute)
    if given.side:
        one_side(setting, given.side, given.tokens)
        return
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    measured = "processor time" if given.processor_time else "time by the clock"
    print(f"# {platform.machine()}, {compute.threads} threads, {compute.gflops} GFLOP/s in {compute.dtype}")
    print(f"# {measured}, load {load:.1f} at the start", flush=True)
    started = time.monotonic()
    for part in PARTS:
        if given.only and not any(name in (part.__doc__ or "") for name in given.only):
            continue
        for name, value in part(setting):
            print(f"{name}: {value:.4g}", flush=True)
    print(f"# {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
