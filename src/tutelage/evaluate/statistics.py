"""Intervals and tests for success rates on the same tasks.

Every function takes counts. Proportions lie in [0, 1]; differences in [-1, 1].
"""

import math
from typing import NamedTuple

CONFIDENCE = 0.95


class Interval(NamedTuple):
    low: float
    high: float


class Paired(NamedTuple):
    """How two variants did on the same tasks: the cells of the paired 2x2 table."""

    both: int
    gained: int  # only the second solved it
    lost: int  # only the first solved it
    neither: int

    @property
    def total(self) -> int:
        return sum(self)


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of a proportion (Wilson, JASA 22, 1927); (0, 1) where nothing was tried."""
    from scipy.stats import binomtest

    if trials == 0:
        return Interval(0.0, 1.0)
    found = binomtest(successes, trials).proportion_ci(confidence_level=confidence, method="wilson")
    return Interval(float(found.low), float(found.high))


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided p of McNemar's exact test: were gains and losses equally likely? 1 where there are neither."""
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def paired_difference(table: Paired, confidence: float = CONFIDENCE) -> Interval:
    """Interval of the second variant's success rate minus the first's.

    Newcombe's method 10: Wilson's intervals of both rates, squared and added with the pairs' correlation
    (R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired
    data", Statistics in Medicine 17, 1998, 2635-2650). It holds where every task was gained or none was.
    """
    n = table.total
    if n == 0:
        return Interval(-1.0, 1.0)
    first, second = table.both + table.lost, table.both + table.gained
    phi = _correlation(table)
    rate_first, rate_second = first / n, second / n
    around_first, around_second = wilson(first, n, confidence), wilson(second, n, confidence)
    down = _add_squares(rate_second - around_second.low, around_first.high - rate_first, phi)
    up = _add_squares(around_second.high - rate_second, rate_first - around_first.low, phi)
    difference = rate_second - rate_first
    return Interval(max(-1.0, difference - down), min(1.0, difference + up))


def _correlation(table: Paired) -> float:
    """The pairs' phi, corrected for continuity where it is positive; 0 where a margin is empty."""
    both, gained, lost, neither = table
    margins = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    if margins == 0:
        return 0.0
    determinant = float(both * neither - gained * lost)
    if determinant > 0:
        determinant = max(determinant - table.total / 2, 0.0)
    return determinant / math.sqrt(margins)


def _add_squares(a: float, b: float, phi: float) -> float:
    return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))
