"""Does a number find its place along its bin, and a place its number?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from data.dataset import Dataset
from data.encode_detail import Detail, stretch
from data.encode_tokens import NumberTokens, Tokens
from data.infer import infer


@pytest.fixture(scope="module")
def rows() -> Dataset:
    rng = np.random.default_rng(0)
    heavy = rng.standard_t(1.5, 3000)
    spiked = np.where(rng.random(3000) < 0.4, 0.0, rng.lognormal(0, 2, 3000))
    held = pa.table(
        {
            "heavy": heavy, "spiked": pa.array(spiked, mask=rng.random(3000) < 0.2),
            "grid": rng.poisson(4000, 3000), "few": rng.integers(0, 3, 3000), "level": rng.choice(["a", "b"], 3000),
        }
    )  # fmt: skip
    return Dataset(held, infer(held, target="level"))


def test_places_lead_back_to_the_numbers(rows: Dataset) -> None:
    tokens = Tokens.fit(rows, bins=6, fine=1)
    detail, encoded = Detail.of(tokens), tokens.encode(rows)
    assert [column.name for column in detail.columns] == ["heavy", "spiked", "grid"]
    low, high = detail.places(rows, encoded)
    assert (low <= high).all() and low.min() >= 0 and high.max() <= 1
    back = tokens.decode(encoded, np.random.default_rng(0), detail.within((low.astype(float) + high) / 2))
    for name in ("heavy", "spiked", "grid"):
        real, made = (np.asarray(each.to_pandas(), dtype=float) for each in (rows.column(name), back[name]))
        np.testing.assert_array_equal(np.isnan(real), np.isnan(made))
        np.testing.assert_allclose(made, real, rtol=1e-3, atol=1e-3)


def test_places_fill_each_bin_evenly(rows: Dataset) -> None:
    tokens = Tokens.fit(rows, bins=6, fine=1)
    detail, encoded = Detail.of(tokens), tokens.encode(rows)
    low, high = detail.places(rows, encoded)
    at = low + np.random.default_rng(1).random(low.shape) * (high - low)
    for k, field in enumerate(detail.fields):
        for token in np.flatnonzero(detail.wide[k]):
            inside = np.sort(at[encoded[:, field] == token, k])
            even = (np.arange(len(inside)) + 0.5) / len(inside)
            assert np.abs(inside - even).max() < 1.63 / np.sqrt(len(inside)) + 0.02, (k, token)


def test_what_a_token_says_in_full_has_no_place(rows: Dataset) -> None:
    tokens = Tokens.fit(rows, bins=6, fine=1)
    detail, encoded = Detail.of(tokens), tokens.encode(rows)
    spiked = tokens["spiked"]
    assert isinstance(spiked, NumberTokens)
    k, field = 1, detail.fields[1]
    exact = (encoded[:, field] < len(spiked.spikes)) | (encoded[:, field] == spiked.sizes[0] - 1)
    assert exact.mean() > 0.45
    low, high = detail.places(rows, encoded)
    assert not low[exact, k].any() and not high[exact, k].any()
    assert (detail.wide[k][np.unique(encoded[exact, field])] == 0).all()
    assert sum(detail.wide[k]) == pytest.approx(1.0)


def test_a_number_between_those_of_train_takes_the_nearer_ones_stretch(rows: Dataset) -> None:
    tokens = Tokens.fit(rows, bins=6, fine=1)
    column = tokens["heavy"]
    assert isinstance(column, NumberTokens)
    a, b = column.atoms[10:12]
    seen = np.array([a, a + 0.4 * (b - a), a + 0.6 * (b - a), b, np.nan])
    token = column.encode(pa.array(seen))[:, 0]
    low, high = stretch(column, seen, token)
    assert low[0] == low[1] and low[2] == low[3] and low[0] < high[0] <= low[3] < high[3]
    assert low[4] == high[4] == 0


def test_tables_with_parts_have_no_detail(rows: Dataset) -> None:
    assert not Detail.of(Tokens.fit(rows)).columns
