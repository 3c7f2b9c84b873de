"""How the cost of a step grows with steps a trace and with traces, ours and TRL's: measured, with a table and a plot.

    python benchmarks/train_growth.py --plot docs/growth.png    # a quarter of an hour on two cores
    python benchmarks/train_growth.py --short                    # up to 8 steps and 2 traces

Rows are shaped like real ones, all lengths times SCALE, a user turn every fifth step. Each side runs in a process of
its own, so that its peak memory is its own. TRL runs rows one by one: four of them, shortest to longest, are timed and
the others read off a parabola through them. Prints `figure: value` lines and, on standard error, a Markdown table.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from train_shapes import real_rows
from train_sides import CACHE, in_own_process, interpolated, ours, sampled, trl
from tutelage.render.student import embedded_gguf
from tutelage.train.compute import keep_freed_memory, measure, peak_rss
from tutelage.train.tree import Row, plan_step
from tutelage.train.weights import student_weights

SCALE = 1 / 8
STEPS, TRACES = (2, 4, 8, 16, 32, 64), (1, 2, 4, 8, 16)
EACH = 8  # steps of a trace where there are several


@dataclass(frozen=True)
class Cost:
    seconds: float
    peak_mb: int


@dataclass(frozen=True)
class Point:
    """One shape: rows of so many traces, in one tree."""

    traces: int
    steps: int

    def rows(self) -> list[Row]:
        return real_rows(self.traces, self.steps, max(1, self.steps // 5), SCALE, seed=self.steps)

    def cost(self, side: str) -> Cost:
        """Measured in a process of its own."""
        seconds, peak = in_own_process(__file__, "--side", side, self.traces, self.steps)
        return Cost(seconds, round(peak))

    def measure(self, side: str) -> Cost:
        """Measured in this process."""
        rows, weights, compute = self.rows(), student_weights(embedded_gguf(), CACHE), measure()
        keep_freed_memory()
        if side == "ours":
            (tree,) = plan_step(rows, sum(map(len, rows)))
            seconds = min(ours(weights, compute, [rows] * 2, len(tree)).seconds)
        else:
            some = sampled(rows, 4)
            seconds = interpolated(some, trl(weights, compute, [some]).pieces, rows)
        return Cost(seconds, round(peak_rss() / 2**20))


def table(costs: Sequence[tuple[Point, Cost, Cost]]) -> str:
    lines = [
        "| traces | steps | rows | tokens unrolled | in the tree | ours | TRL | times as fast | ours, MB | TRL, MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for point, mine, theirs in costs:
        rows = point.rows()
        (tree,) = plan_step(rows, sum(map(len, rows)))
        lines.append(
            f"| {point.traces} | {point.steps} | {len(rows)} | {tree.tokens_unrolled:,} | {len(tree):,} "
            f"| {mine.seconds:.1f} s | {theirs.seconds:.1f} s | {theirs.seconds / mine.seconds:.1f} "
            f"| {mine.peak_mb:,} | {theirs.peak_mb:,} |"
        )
    return "\n".join(lines)


def plot(by_steps: Sequence[tuple[Point, Cost, Cost]], by_traces: Sequence[tuple[Point, Cost, Cost]], to: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.4), layout="constrained", dpi=110)
    for column, (name, costs) in enumerate({"steps": by_steps, "traces": by_traces}.items()):
        at = [getattr(point, name) for point, *_ in costs]
        for row, (unit, value) in enumerate({"seconds": "seconds", "peak, GB": "peak_mb"}.items()):
            axes = figure.add_subplot(2, 2, 2 * row + column + 1)
            for side, style in (("TRL, row by row", "s--"), ("Tutelage, one tree", "o-")):
                of_side = [mine if side.startswith("Tutelage") else theirs for _, mine, theirs in costs]
                scale = 1 / 1024 if value == "peak_mb" else 1
                axes.plot(at, [getattr(cost, value) * scale for cost in of_side], style, label=side)
            axes.set_xscale("log", base=2)
            axes.set_xticks(at, [str(x) for x in at])
            if value == "seconds":
                axes.set_yscale("log")
                axes.set_title("One trace" if name == "steps" else f"Traces of {EACH} steps")
            else:
                axes.set_ylim(bottom=0)
            axes.set_xlabel("steps of the trace" if name == "steps" else "traces in the step")
            axes.set_ylabel(unit)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
            if not row and not column:
                axes.legend(frameon=False)
    figure.savefig(to)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--short", action="store_true", help="up to 8 steps and 2 traces")
    options.add_argument("--plot", type=Path, help="a PNG or SVG file to write")
    options.add_argument("--side", nargs=3, help=argparse.SUPPRESS)  # a process whose memory is measured
    given = options.parse_args()
    if given.side:
        side, traces, steps = given.side
        cost = Point(int(traces), int(steps)).measure(side)
        print(cost.seconds, cost.peak_mb)
        return
    growing = [Point(1, steps) for steps in STEPS if not given.short or steps <= 8]
    growing += [Point(traces, EACH) for traces in TRACES if traces > 1 and (not given.short or traces <= 2)]
    costs = []
    for point in growing:
        mine, theirs = point.cost("ours"), point.cost("trl")
        costs.append((point, mine, theirs))
        print(f"seconds_{point.traces}x{point.steps}: {mine.seconds:.4g}", flush=True)
        print(f"speedup_{point.traces}x{point.steps}: {theirs.seconds / mine.seconds:.4g}", flush=True)
        print(f"peak_mb_{point.traces}x{point.steps}: {mine.peak_mb}", flush=True)
    print(table(costs), file=sys.stderr)
    if given.plot:
        by_steps = [cost for cost in costs if cost[0].traces == 1]
        by_traces = [cost for cost in costs if cost[0].steps == EACH]
        plot(by_steps, by_traces, given.plot)


if __name__ == "__main__":
    main()
