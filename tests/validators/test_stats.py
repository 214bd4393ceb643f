"""Do the shared statistics agree with golden numbers and their laws?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from validators.stats import (
    clopper_pearson,
    holm,
    hypergeometric_excess,
    least_holdout_count,
    log_binomial_tail,
    rate_ratio,
    rows_for_mode,
    smallest_mode,
    tarone,
)


@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.01, 0.99))
def test_tail_is_the_binomial_distribution(seen: int, trials: int, chance: float) -> None:
    expected = reference.binom.cdf(min(seen, trials), trials, chance)
    assert math.exp(float(log_binomial_tail(np.array(min(seen, trials)), np.array(trials), chance))) == pytest.approx(
        expected, rel=1e-9
    )


def test_tail_keeps_its_order_where_the_probability_underflows() -> None:
    tails = log_binomial_tail(np.array([0, 1, 50]), np.array([9000, 9000, 9000]), 0.5)
    assert np.isfinite(tails).all() and (np.diff(tails) > 0).all()


def test_tarone_leaves_out_what_cannot_reject() -> None:
    least = np.log(np.array([1e-6, 1e-5, 0.2, 0.5]))
    tested, factor = tarone(least, 0.01)
    assert tested.tolist() == [True, True, False, False] and factor == 2


def test_holm_equals_the_textbook() -> None:
    adjusted = np.exp(holm(np.log(np.array([0.01, 0.04, 0.03]))))
    assert adjusted == pytest.approx([0.03, 0.06, 0.06])


def test_least_count_and_smallest_mode_follow_the_formula() -> None:
    least = least_holdout_count(0.005, 500, 5 / 6)
    assert least == math.ceil(math.log(0.005 / 500) / math.log(1 / 6)) == 7
    mass = smallest_mode(2000, least)
    assert mass is not None and reference.binom.sf(least - 1, 2000, mass) == pytest.approx(0.95)
    assert smallest_mode(6, least) is None


@given(st.floats(0.005, 0.9), st.integers(1, 40))
def test_rows_for_a_mode_are_the_fewest_that_do(mass: float, least: int) -> None:
    rows = rows_for_mode(mass, least)
    assert reference.binom.sf(least - 1, rows, mass) >= 0.95
    assert rows == least or reference.binom.sf(least - 1, rows - 1, mass) < 0.95


def test_intervals_hold_their_golden_numbers() -> None:
    assert clopper_pearson(0, 100, 0.05) == pytest.approx((0.0, 0.036217), abs=1e-6)
    ratio, (low, high) = rate_ratio(50, 1000, 10, 100, 0.05)
    assert ratio == pytest.approx(0.5) and low < 0.5 < high


def test_excess_is_fishers_exact_test() -> None:
    expected = reference.fisher_exact([[8, 92], [1, 99]], alternative="greater").pvalue
    assert hypergeometric_excess(8, 100, 1, 100) == pytest.approx(expected)
