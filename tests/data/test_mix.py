"""Does every class get the rows it was promised?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.mix import apportion, quotas

COUNTS = st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 500), min_size=1, max_size=6)


@given(COUNTS)
def test_balancing_fills_every_class_to_the_largest(counts: dict[str, int]) -> None:
    if len(set(counts.values())) == 1:
        with pytest.raises(DataError, match="balanced already"):
            quotas(counts, "balanced", rows=None, include_real=True)
        return
    drawn = quotas(counts, "balanced", rows=None, include_real=True)
    assert {counts[k] + n for k, n in drawn.items()} == {max(counts.values())}


@given(COUNTS, st.integers(1, 2000))
def test_a_limited_number_of_rows_goes_to_the_emptiest(counts: dict[str, int], rows: int) -> None:
    drawn = quotas(counts, "balanced", rows=rows, include_real=True)
    assert sum(drawn.values()) == rows
    after = {k: counts[k] + n for k, n in drawn.items()}
    filled = [after[k] for k, n in drawn.items() if n]
    # No class that got rows stands more than one row above any class.
    assert max(filled) - min(after.values()) <= 1


@given(st.dictionaries(st.integers(), st.floats(0, 10), min_size=1, max_size=6), st.integers(1, 10_000))
def test_shares_become_whole_rows_that_add_up(weights: dict[int, float], total: int) -> None:
    if sum(weights.values()) <= 0:
        with pytest.raises(DataError, match="weight of 0"):
            apportion(weights, total)
        return
    out = apportion(weights, total)
    assert sum(out.values()) == total
    assert all(abs(out[k] - total * w / sum(weights.values())) < 1 for k, w in weights.items())


def test_mixes_as_stated() -> None:
    counts = {"a": 90, "b": 10}
    assert quotas(counts, "natural", rows=None, include_real=True) == {"a": 90, "b": 10}
    assert quotas(counts, "balanced", rows=None, include_real=False) == {"a": 50, "b": 50}
    assert quotas(counts, {"b": 3.0, "a": 1.0}, rows=8, include_real=True) == {"a": 2, "b": 6}
