import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluate.statistics import Paired, mcnemar_exact, paired_difference, wilson


def test_wilson_gives_newcombes_published_intervals() -> None:
    # Newcombe, "Two-sided confidence intervals for the single proportion", Stat. Med. 17, 1998, table I, method 3
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_nothing_tried_tells_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert paired_difference(Paired(0, 0, 0, 0)) == (-1.0, 1.0)


def test_newcombes_paired_interval_is_the_published_one() -> None:
    # Fagerland, Lydersen, Laake, "Statistical Analysis of Contingency Tables", 2017, chapter 8 (data: Cavo 2012):
    # 6 only before, 16 only after; difference of before minus after -0.0621 (-0.1186 to -0.0046)
    assert paired_difference(Paired(both=59, gained=16, lost=6, neither=80)) == pytest.approx(
        (0.0046, 0.1186), abs=5e-5
    )


def test_the_exact_test_is_the_binomial_sum() -> None:
    assert mcnemar_exact(5, 0) == pytest.approx(2 / 32)
    assert mcnemar_exact(1, 7) == pytest.approx(2 * (1 + 8) / 256)  # Bentur 2009 in the same chapter: 0.070
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(60, 0) < 1e-17


counts = st.integers(0, 80)


@given(counts, counts, counts, counts)
def test_the_interval_holds_the_difference_and_mirrors(both: int, gained: int, lost: int, neither: int) -> None:
    table = Paired(both, gained, lost, neither)
    if table.total == 0:
        return
    low, high = paired_difference(table)
    assert low >= -1
    assert low - 1e-12 <= (gained - lost) / table.total <= high + 1e-12
    assert high <= 1
    assert paired_difference(Paired(both, lost, gained, neither)) == pytest.approx((-high, -low), abs=1e-9)
