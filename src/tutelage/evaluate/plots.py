"""Plots as inline SVG: text stays text, colours are the page's own (so they follow light and dark).

Each plot is drawn twice, wide and narrow, so that its words stay readable on a telephone; the page shows one.
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from tutelage.evaluate.evaluation import Variant
from tutelage.evaluate.statistics import wilson

WIDE, NARROW = 7.4, 3.5  # inches; the page is at most 7.4 * 96 px wide there
# Drawn in these, replaced by the page's custom properties afterwards.
COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--faint)",
    "#030303": "var(--line)",
    "#040404": "var(--before)",
    "#050505": "var(--after)",
    "#060606": "var(--teacher)",
    "#070707": "var(--paper)",
}
INK, FAINT, LINE, BEFORE, AFTER, TEACHER, PAPER = COLOURS
OF_VARIANT = {"before": (BEFORE, "s"), "after": (AFTER, "o"), "teacher": (TEACHER, "D")}


@dataclass(frozen=True)
class Plot:
    title: str
    description: str  # what the plot shows, for those who cannot see it
    wide: str  # <svg>…</svg>
    narrow: str


@dataclass(frozen=True)
class Losses:
    """Points (step, loss) in order of step."""

    training: Sequence[tuple[int, float]]
    evaluation: Sequence[tuple[int, float]]


def loss_plot(losses: Losses) -> Plot | None:
    """Training and evaluation loss by step; None where neither was recorded."""
    values = [value for points in (losses.training, losses.evaluation) for _, value in points]
    if not values:
        return None
    logarithmic = min(values) > 0 and max(values) / min(values) > 20

    def draw(axes: Any, wide: bool) -> None:
        if losses.training:
            axes.plot(*zip(*losses.training, strict=True), color=BEFORE, linewidth=1.5, label="training")
        if losses.evaluation:
            axes.plot(*zip(*losses.evaluation, strict=True), "o--", color=AFTER, markersize=5, label="evaluation")
        if logarithmic:
            axes.set_yscale("log")
        axes.set_xlabel("step")
        axes.set_ylabel("loss" + (" (log scale)" if logarithmic else ""))
        axes.grid(axis="y", color=LINE, linewidth=0.8)
        _legend(axes, columns=3 if wide else 2)

    said = []
    for name, points in (("Training loss", losses.training), ("Evaluation loss", losses.evaluation)):
        if points:
            said.append(f"{name} from {points[0][1]:.3g} at step {points[0][0]} to {points[-1][1]:.3g}.")
    return _plot("Loss during training", " ".join(said), draw, 3.1)


def kinds_plot(kinds: Sequence[str], variants: Sequence[Variant]) -> Plot:
    """Success by kind of task with its intervals, one mark a variant."""

    def draw(axes: Any, wide: bool) -> None:
        for place, variant in enumerate(variants):
            colour, marker = OF_VARIANT.get(variant.name, (INK, "^"))
            rows = [_success(variant, kind) for kind in kinds]
            axes.errorbar(
                [100 * rate for rate, _, _ in rows],
                [row + (place - (len(variants) - 1) / 2) * 0.24 for row in range(len(kinds))],
                xerr=[[100 * max(0.0, r - a) for r, a, _ in rows], [100 * max(0.0, b - r) for r, _, b in rows]],
                fmt=marker,
                color=colour,
                markersize=6,
                elinewidth=1.6,
                label=variant.label,
                clip_on=False,
                zorder=3,
            )
        axes.set_yticks(range(len(kinds)), kinds)
        axes.set_ylim(len(kinds) - 0.5, -0.5)
        axes.set_xlim(0, 100)
        axes.set_xlabel("tasks solved, %")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=LINE, linewidth=0.8)
        _legend(axes, columns=3 if wide else 2)

    said = "; ".join(
        f"{kind}: " + ", ".join(f"{v.name} {100 * _success(v, kind)[0]:.0f} %" for v in variants) for kind in kinds
    )
    return _plot("Success by kind of task", said + ".", draw, 1.1 + 0.42 * len(kinds))


def _success(variant: Variant, kind: str) -> tuple[float, float, float]:
    """Rate and interval."""
    solved = [outcome.solved for outcome in variant.outcomes if outcome.kind == kind]
    return (sum(solved) / len(solved) if solved else 0.0, *wilson(sum(solved), len(solved)))


def _legend(axes: Any, columns: int) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=columns,
        frameon=False,
        handletextpad=0.4,
        columnspacing=1.2,
    )


def _plot(title: str, description: str, draw: Callable[[Any, bool], None], height: float) -> Plot:
    svgs = [_svg(title, description, draw, width, height) for width in (WIDE, NARROW)]
    return Plot(title, description, *svgs)


def _svg(title: str, description: str, draw: Callable[[Any, bool], None], width: float, height: float) -> str:
    """One drawing, `width` by `height` inches."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": f"{title} {width}",  # ids differ between the drawings of a page, and not between runs
        "font.size": 9,
        "legend.fontsize": 9,
        "text.color": INK,
        "axes.labelcolor": FAINT,
        "axes.edgecolor": LINE,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "ytick.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
    }
    with rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot(), width >= WIDE)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_the_page(file.getvalue(), title, description)


def _for_the_page(svg: str, title: str, description: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(font: [^\'";]*)\'[^;"]*', r"\1system-ui, sans-serif", svg)
    for colour, name in COLOURS.items():
        svg = svg.replace(colour, name)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert size
    opening = f'<svg role="img" aria-label="{escape(f"{title}. {description}")}" viewBox="{size[0][9:-1]}"'
    body = svg[svg.index(">") + 1 :]
    return f'{opening} xmlns:xlink="http://www.w3.org/1999/xlink"><title>{escape(title)}</title>{body}'
