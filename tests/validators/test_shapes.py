"""Are column shapes and pair trends the figures that SDMetrics gives?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.dataset import Dataset
from data.schema import Column, Schema
from validators.shapes import all_shapes, all_trends, column_shape, read

DISCRETE = {"city", "member"}


def mixed(rows: int, seed: int, *, nulls: bool) -> pd.DataFrame:
    """Numbers, whole numbers with ties, words and truth values, which depend on each other; some nulls."""
    rng = np.random.default_rng(seed)
    city = rng.choice(["Ulm", "Bern, west", "Köln"], rows, p=[0.6, 0.3, 0.1] if seed else [0.4, 0.4, 0.2])
    amount = rng.normal(3 + 0.3 * seed, 1.0, rows) + 2 * (city == "Ulm")
    frame = pd.DataFrame(
        {
            "amount": amount,
            "visits": rng.poisson(4 + seed, rows).astype(float),
            "depth": amount * 0.5 + rng.standard_t(3, rows),
            "city": city,
            "member": rng.random(rows) < 0.4 + 0.2 * (city == "Köln"),
        }
    )
    if nulls:
        frame.loc[rng.random(rows) < 0.1, "visits"] = np.nan
        frame.loc[rng.random(rows) < 0.1, "city"] = None
    return frame


def schema() -> Schema:
    kinds = {"amount": "numeric", "visits": "numeric", "depth": "numeric", "city": "categorical", "member": "boolean"}
    dtypes = {"city": "string", "member": "bool"}
    levels = {"city": ("Ulm", "Bern, west", "Köln"), "member": (False, True)}
    return Schema(
        tuple(
            Column(name=n, kind=k, dtype=dtypes.get(n, "double"), nullable=True, categories=levels.get(n, ()))  # type: ignore[arg-type]
            for n, k in kinds.items()
        )
    )


@pytest.mark.parametrize("nulls", [False, True])
def test_shapes_are_those_of_sdmetrics(nulls: bool) -> None:
    from sdmetrics.single_column import KSComplement, TVComplement

    real, made = mixed(700, 0, nulls=nulls), mixed(1100, 1, nulls=nulls)
    ours = all_shapes(read(*(Dataset.from_pandas(side, schema()) for side in (real, made))))
    assert list(ours) == list(real.columns)
    for name, score in ours.items():
        metric = TVComplement if name in DISCRETE else KSComplement
        assert score == pytest.approx(metric.compute(real[name].dropna(), made[name].dropna()), abs=1e-6), name


@pytest.mark.parametrize("nulls", [False, True])
def test_trends_are_those_of_sdmetrics(nulls: bool) -> None:
    from sdmetrics.column_pairs import ContingencySimilarity, CorrelationSimilarity

    real, made = mixed(700, 0, nulls=nulls), mixed(1100, 1, nulls=nulls)
    ours = all_trends(read(*(Dataset.from_pandas(side, schema()) for side in (real, made))))
    assert len(ours) == 10
    for (a, b), score in ours.items():
        sides = [frame[[a, b]].copy() for frame in (real, made)]
        if DISCRETE & {a, b}:
            numbers = [name for name in (a, b) if name not in DISCRETE]
            expected = ContingencySimilarity.compute(*sides, continuous_column_names=numbers or None, num_discrete_bins=10)
        else:
            expected = CorrelationSimilarity.compute(*(side.dropna() for side in sides))
        assert score == pytest.approx(expected, abs=1e-6), (a, b)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_a_shape_lies_between_none_and_all_and_is_symmetric(one: list[float], other: list[float]) -> None:
    a, b = np.array(one), np.array(other)
    score = column_shape(a, b, discrete=False)
    assert score is not None and 0 <= score <= 1
    assert score == column_shape(b, a, discrete=False) and column_shape(a, a, discrete=False) == 1


def test_an_empty_side_has_no_shape() -> None:
    assert column_shape(np.array([np.nan]), np.array([1.0]), discrete=False) is None
    assert column_shape(np.array([-1]), np.array([0]), discrete=True) is None
