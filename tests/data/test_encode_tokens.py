"""Do tokens give the table back: spikes, tails, grids, gaps, missing values, and levels without number?"""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data.dataset import Dataset
from data.encode_tokens import ALONE, BINS, LEVELS, LevelTokens, NumberTokens, Tokens
from data.errors import DataError
from data.schema import Column, Kind, Schema

RNG = np.random.default_rng(0)


def numbers(
    values: np.ndarray | pa.Array, kind: Kind = "numeric", decimals: int | None = None
) -> tuple[NumberTokens, pa.Array]:
    array = values if isinstance(values, pa.Array) else pa.array(values)
    column = Column(name="x", kind=kind, dtype=str(array.type), nullable=array.null_count > 0, decimals=decimals)
    return NumberTokens.fit(pa.chunked_array([array]), column), array


def levels(values: list[str | None]) -> tuple[LevelTokens, pa.ChunkedArray]:
    array = pa.chunked_array([pa.array(values)])
    return LevelTokens.fit(array, Column(name="c", kind="categorical", dtype="string")), array


def back(column: NumberTokens, values: pa.Array) -> np.ndarray:
    """The values through tokens, once."""
    tokens = column.encode(values)
    assert tokens.shape == (len(values), len(column.sizes)) and tokens.min() >= 0 and (tokens < np.array(column.sizes)).all()
    return np.asarray(column.decode(tokens, np.random.default_rng(1)).to_numpy(zero_copy_only=False))


def test_few_numbers_are_tokens_of_their_own_and_come_back_as_they_were() -> None:
    column, values = numbers(RNG.integers(17, 90, 5000), "integer")
    assert column.bins == 0 and column.sizes == (73,)
    np.testing.assert_array_equal(back(column, values), values.to_numpy())


def test_the_spike_of_a_zero_inflated_column_keeps_its_share_and_its_tail_its_quantiles() -> None:
    amounts = np.where(RNG.random(20_000) < 0.9, 0.0, RNG.lognormal(6, 3, 20_000).round(2))
    column, values = numbers(amounts, decimals=2)
    made = back(column, values)
    assert (made == 0).sum() == (amounts == 0).sum() and 0.0 in column.spikes
    for q, near in ((0.02, 0.3), (0.5, 0.15), (0.9, 0.15), (0.99, 0.5)):  # in logarithms, whose deviation is 3
        assert np.log(np.quantile(made[made > 0], q) / np.quantile(amounts[amounts > 0], q)) == pytest.approx(0, abs=near)
    assert made.max() <= amounts.max() and made[made > 0].min() >= amounts[amounts > 0].min()


def test_within_a_bin_continuous_numbers_are_new_and_evenly_drawn() -> None:
    real = RNG.normal(size=6400)
    column, values = numbers(real)
    assert column.bins == BINS and not column.grid
    made = back(column, values)
    assert np.isin(made, real).mean() < 0.01
    from scipy.stats import ks_2samp

    assert ks_2samp(made, real).pvalue > 0.5
    assert np.abs(made - real).max() < 0.1 * np.ptp(real) and np.median(np.abs(made - real)) < 0.005
    tokens = column.encode(values)[:, 0]
    counts = np.bincount(tokens)
    assert counts.min() >= 80 and counts.max() <= 120


def test_amounts_on_a_grid_with_gaps_stay_on_it() -> None:
    price = RNG.choice(np.concatenate([np.arange(1, 400), np.arange(1000, 1100)]) * 2.5, 30_000)
    column, values = numbers(price)
    assert column.grid and len(np.unique(price)) > ALONE
    assert set(back(column, values)) <= set(price)


def test_integers_with_a_common_step_keep_it_and_missing_numbers_are_a_token() -> None:
    salary = pa.array(
        [None if u < 0.3 else int(v) * 100 for u, v in zip(RNG.random(4000), RNG.integers(150, 9000, 4000), strict=True)]
    )
    column, _ = numbers(salary, "integer")
    drawn = column.decode(column.encode(salary), np.random.default_rng(2))
    assert drawn.null_count == salary.null_count and drawn.is_null().equals(salary.is_null())
    assert not (drawn.drop_null().to_numpy() % 100).any()


def test_dates_come_back_as_dates_within_their_range() -> None:
    days = pa.array(RNG.integers(10_000, 20_000, 3000), pa.int32()).cast(pa.date32())
    column, _ = numbers(days, "datetime")
    drawn = column.decode(column.encode(days), np.random.default_rng(2))
    assert drawn.type == pa.date32()
    assert pc.min(drawn).as_py() >= pc.min(days).as_py() and pc.max(drawn).as_py() <= pc.max(days).as_py()


def test_many_levels_take_two_fields_of_bounded_size_and_come_back_exactly() -> None:
    names = [f"street {i % 10_000}" for i in range(25_000)] + [None] * 50
    column, values = levels(names)
    first, second = column.sizes
    assert first * second >= 10_000 and first + second < LEVELS
    tokens = column.encode(values)
    assert (tokens < np.array(column.sizes)).all() and (tokens >= 0).all()
    assert column.decode(tokens, RNG).to_pylist() == names
    assert column.given("street 7") == tuple(tokens[7]) and column.given(None) == (first - 1, 0)


def test_what_train_did_not_hold_has_no_token() -> None:
    column, _ = levels(["a", "b", "a"])
    assert column.encode(pa.chunked_array([pa.array(["a", "z", None])]))[:, 0].tolist() == [0, -1, -1]
    with pytest.raises(KeyError):
        column.given("z")
    number, _ = numbers(RNG.normal(size=500))
    with pytest.raises(KeyError):
        number.given(99.0)
    whole, _ = numbers([0, 1, 7] * 20, "integer")
    assert whole.given(6.0) == whole.given(7.0) and whole.given(2.0) == whole.given(1.0)
    assert whole.makes(7.0) and not whole.makes(6.0) and number.makes(0.0) and not number.makes(99.0)
    assert number.outside(pa.chunked_array([pa.array([0.0, 99.0, -99.0])])).tolist() == [False, True, True]


def test_ranks_follow_the_order_of_values_and_levels_have_none() -> None:
    column, values = numbers(np.where(RNG.random(5000) < 0.5, 0.0, RNG.normal(size=5000)))
    ranks = column.ranks()
    tokens = column.encode(values)[:, 0]
    order = np.argsort(values.to_numpy(), kind="stable")
    # One bin may hold a few values on either side of the spike.
    assert (np.diff(ranks[tokens[order]]) < 0).sum() <= 1 and len(ranks) == sum(column.sizes)
    assert np.isnan(levels(["a", "b"])[0].ranks()).all()


def test_a_table_goes_through_json_and_names_a_missing_column() -> None:
    table = pa.table(
        {"x": RNG.normal(size=300), "k": RNG.choice(["u", "v"], 300), "none": pa.array([None] * 300, pa.float64())}
    )
    schema = Schema(
        (
            Column(name="x", kind="numeric", dtype="double"),
            Column(name="k", kind="categorical", dtype="string"),
            Column(name="none", kind="numeric", dtype="double", nullable=True),
        )
    )
    rows = Dataset(table, schema)
    tokens = Tokens.fit(rows)
    again = Tokens.from_state(json.loads(json.dumps(tokens.to_state())))
    codes = tokens.encode(rows)
    np.testing.assert_array_equal(codes, again.encode(rows))
    for name, values in tokens.decode(codes, np.random.default_rng(3)).items():
        assert values.equals(again.decode(codes, np.random.default_rng(3))[name])
    assert tokens.missing(rows)[:, tokens.fields("none")[0]].all() and list(tokens.fields("k")) == [2]
    with pytest.raises(DataError, match="'k' is missing"):
        tokens.encode(table.drop_columns(["k"]))
