"""What the store holds, in a few plots."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from tutelage.review.pages.common import page, value_name
from tutelage.review.query import ListQuery
from tutelage.store import Selection
from tutelage.trace import Verdict

if TYPE_CHECKING:
    from tutelage.review.app import Review

MOST = 14  # bars of a plot; of the rest only the number is said
DAYS = 60  # of verdicts over time


@dataclass(frozen=True)
class Bar:
    name: str
    share: float  # of the plot's width, 0 to 1
    label: str
    url: str  # the traces that it stands for
    inner: float = 0.0  # the part of the share that is marked


@dataclass(frozen=True)
class Plot:
    title: str
    explanation: str
    bars: list[Bar]
    left_out: int  # values beyond MOST


@dataclass(frozen=True)
class Day:
    date: str
    approved: float  # height, of the highest day
    rejected: float
    counts: str


def overview(review: "Review", request: Request) -> Response:
    listing = review.store.listing
    everything = listing.counts(Selection())
    judged = listing.counts(Selection({"reward": ("full", "partial", "zero")}))
    solved = listing.counts(Selection({"reward": ("full",)}))
    plots = [
        _rates(f"Success by {title}", facet, judged.facets[facet], solved.facets[facet])
        for facet, title in (("kind", "kind of task"), ("tool", "tool used"), ("run", "run"), ("model", "model"))
    ]
    plots += [
        _amounts("Why rollouts ended", "stop", everything.facets["stop"]),
        _amounts("Steps", "steps", everything.facets["steps"]),
        _amounts("Reward", "reward", everything.facets["reward"]),
        _amounts("Verdicts", "verdict", everything.facets["verdict"]),
    ]
    return page(
        review,
        "overview.html",
        total=everything.total,
        judged=judged.total,
        solved=solved.total,
        verdicts=everything.facets["verdict"],
        plots=[plot for plot in plots if plot.bars],
        days=_days(review),
        preferences=len(review.store.reviews.preferences()),
    )


def _rates(title: str, facet: str, judged: dict[str, int], solved: dict[str, int]) -> Plot:
    """Of each value's judged traces, how many have full reward."""
    bars = []
    ordered = sorted(judged.items(), key=lambda item: (-item[1], item[0]))
    for value, count in ordered[:MOST]:
        rate = solved.get(value, 0) / count if count else 0.0
        label = f"{100 * rate:.0f} % of {count:,}"
        bars.append(Bar(value_name(facet, value), 1.0, label, _url(facet, value), rate))
    return Plot(title, "share of the judged traces with full reward", bars, max(0, len(ordered) - MOST))


def _amounts(title: str, facet: str, counts: dict[str, int]) -> Plot:
    items = list(counts.items())
    items.sort(key=(lambda item: (int(item[0]), "")) if facet == "steps" else (lambda item: (-item[1], item[0])))
    most = max(counts.values(), default=0)
    bars = [
        Bar(value_name(facet, value), count / most, f"{count:,}", _url(facet, value), count / most)
        for value, count in items[:MOST]
        if count
    ]
    return Plot(title, "traces", bars, max(0, len(items) - MOST))


def _days(review: "Review") -> list[Day]:
    by_day: dict[str, dict[Verdict, int]] = {}
    for date, verdict, count in review.store.reviews.verdicts_by_day():
        by_day.setdefault(date, {})[verdict] = count
    recent = sorted(by_day.items())[-DAYS:]
    most = max((sum(counts.values()) for _, counts in recent), default=0)
    return [
        Day(
            date,
            counts.get(Verdict.APPROVED, 0) / most,
            counts.get(Verdict.REJECTED, 0) / most,
            ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())),
        )
        for date, counts in recent
    ]


def _url(facet: str, value: str) -> str:
    return "/" + ListQuery(Selection({facet: (value,)})).url()
