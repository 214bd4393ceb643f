"""Are readings of one series told from rows that only have dates?"""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from data.dataset import Dataset
from data.series import series_of


def rows(moments: list[dt.datetime], **more: list[object]) -> Dataset:
    rng = np.random.default_rng(0)
    return Dataset.from_arrow(pa.table({"at": pa.array(moments), "value": rng.normal(size=len(moments)), **more}))


START = dt.datetime(2024, 1, 1)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (dt.timedelta(minutes=5), "one reading every 5 minutes"),
        (dt.timedelta(days=1), "one reading every day"),
        (dt.timedelta(hours=1.5), "one reading every 1.5 hours"),
        (dt.timedelta(seconds=10), "one reading every 10 seconds"),
    ],
)
def test_even_steps_are_a_series_in_any_order_and_with_gaps(step: dt.timedelta, said: str) -> None:
    moments = [START + i * step for i in range(400) if i % 37]
    assert series_of(rows(moments)) == said
    np.random.default_rng(1).shuffle(moments)
    assert series_of(rows(moments)) == said


def test_what_only_has_dates_is_none() -> None:
    rng = np.random.default_rng(2)
    chance = [START + dt.timedelta(seconds=int(s)) for s in np.sort(rng.integers(0, 10**7, 400))]
    assert series_of(rows(chance)) is None
    twice = [START + dt.timedelta(days=i // 2) for i in range(400)]
    assert series_of(rows(twice)) is None
    even = [START + dt.timedelta(days=i) for i in range(400)]
    assert series_of(rows(even[:40])) is None
    with_gap: list[dt.datetime | None] = [*even[:-1], None]
    assert series_of(rows(with_gap)) is None  # type: ignore[arg-type]
    both = rows(even, other=[START + dt.timedelta(days=2 * i) for i in range(400)])
    assert series_of(both) is None
    kinds = Dataset.from_arrow(rows(even, kind=["a", "b"] * 200).table, target="kind")
    assert series_of(kinds) is None
