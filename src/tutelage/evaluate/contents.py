"""What a report holds, and how its figures are written: of the page and the terminal alike."""

from dataclasses import dataclass, field

from tutelage.evaluate.evaluation import Comparison, Evaluation, Variant
from tutelage.evaluate.plots import Plot
from tutelage.evaluate.side_by_side import Example


@dataclass(frozen=True)
class KindRow:
    kind: str
    tasks: int
    solved: tuple[int, ...]  # one a variant


@dataclass(frozen=True)
class FailureRow:
    category: str
    counts: tuple[int, ...]  # one a variant


@dataclass(frozen=True)
class Source:
    """Where a number came from."""

    what: str
    where: str


@dataclass(frozen=True)
class Report:
    """All that the page and the terminal show."""

    project: str
    evaluation: Evaluation
    headline: str
    comparison: Comparison | None  # before against after
    kinds: tuple[KindRow, ...]
    failures: tuple[FailureRow, ...]
    other_adapter: bool = False  # trained anew since: nothing of that training is shown
    plots: dict[str, Plot] = field(default_factory=dict)
    training: tuple[Source, ...] = ()
    examples: tuple[Example, ...] = ()
    stages: tuple[tuple[str, float], ...] = ()  # name, seconds
    sources: tuple[Source, ...] = ()

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds in self.stages)

    @property
    def variants(self) -> tuple[Variant, ...]:
        return tuple(self.evaluation.variants.values())


def percent(rate: float) -> str:
    return f"{100 * rate:.0f} %"


def points(difference: float) -> str:
    """A difference of rates in percentage points, with its sign."""
    return f"{100 * difference:+.0f}".replace("-", "−")


def p_value(p: float) -> str:
    return (
        "p\N{NO-BREAK SPACE}<\N{NO-BREAK SPACE}0.0001"
        if p < 0.0001
        else f"p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{p:.2g}"
    )


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s"
