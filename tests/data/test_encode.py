"""Do both views of a table keep what it says: types, nulls, digits, spelling, distances?"""

from __future__ import annotations

import json
import string

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings

from data.dataset import Dataset
from data.encode import Geometry, Modes, Ranks
from data.encode_values import Levels, Scale, split_tail
from data.errors import DataError
from data.mixture import Mixture
from data.schema import Column, Schema
from tests.conftest import mixed_table


def single(values: pa.Array, kind: str, **facts: object) -> Dataset:
    levels = tuple(pc.unique(values.drop_null()).to_pylist()) if kind in ("categorical", "boolean") else ()
    facts = {"nullable": values.null_count > 0, "categories": levels, **facts}
    return Dataset(pa.table({"x": values}), Schema((Column(name="x", kind=kind, dtype=str(values.type), **facts),)))  # type: ignore[arg-type]


def there_and_back(data: Dataset) -> pa.Array:
    modes = Modes.fit(data, seed=0)
    return modes.inverse(modes.transform(data)).column("x").combine_chunks()


@given(st.lists(st.none() | st.integers(-(2**62), 2**62), min_size=1, max_size=60))
@settings(max_examples=40, deadline=None)
def test_a_scale_keeps_whole_numbers_and_nulls(values: list[int | None]) -> None:
    # float64 holds 53 bits above the least value: wider ranges are no measurement, and are tested apart.
    low = min((v for v in values if v is not None), default=0)
    kept = pa.array([None if v is None else low + (v - low) % 2**52 for v in values], pa.int64())
    column = Column(name="x", kind="integer", dtype="int64")
    scale = Scale.fit(kept, column)
    assert scale.write(scale.read(kept, "x")).equals(kept)


@given(st.lists(st.none() | st.integers(-(10**7), 10**7), min_size=1, max_size=60), st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_a_scale_keeps_decimals(values: list[int | None], digits: int) -> None:
    column = Column(name="x", kind="numeric", dtype="double", decimals=digits)
    array = pa.array([None if v is None else round(v / 10**digits, digits) for v in values], pa.float64())
    scale = Scale.fit(array, column)
    assert scale.write(scale.read(array, "x")).equals(array)


@pytest.mark.parametrize(
    "dtype",
    [pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us", tz="UTC"), pa.timestamp("ns", tz="Europe/Berlin"), pa.date32()],
    ids=str,
)
def test_times_keep_their_type_and_the_days_before_1970(dtype: pa.DataType) -> None:
    days = pa.array([-40_000, -1, 0, 5, 19_000, None], pa.int32()).cast(pa.date32())
    times = days.cast(pa.timestamp("s")).cast(dtype) if not pa.types.is_date32(dtype) else days
    assert there_and_back(single(times, "datetime")).equals(times)


def test_times_stay_on_their_grid() -> None:
    noon = pa.array(np.arange(-50, 50) * 3600 * 10**9, pa.int64()).cast(pa.timestamp("ns"))
    data = single(noon, "datetime")
    modes = Modes.fit(data, seed=0)
    moved = modes.transform(data)
    moved[:, -1] += 0.01
    hours = modes.inverse(moved).column("x").cast(pa.int64()).to_numpy()
    assert not (hours % (3600 * 10**9)).any()


@pytest.mark.parametrize(
    "dtype", [pa.int8(), pa.uint16(), pa.int64(), pa.float32(), pa.float64(), pa.decimal128(12, 2)], ids=str
)
def test_numbers_keep_their_type(dtype: pa.DataType) -> None:
    values = pa.array([1, 2, 3, None, 100, 7, 7], pa.float64()).cast(dtype)
    kind = "integer" if pa.types.is_integer(dtype) else "numeric"
    assert there_and_back(single(values, kind, decimals=2 if kind == "numeric" else 0)).equals(values)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([" State-gov", "a,b", "🚲", "", None, "a,b"]),
        pa.array(["x", "y", None, "x"]).dictionary_encode(),
        pa.array([True, None, False, True]),
        pa.array([3, 1, 3, None], pa.int32()),
        pa.array(["a", "b"], pa.large_string()),
    ],
    ids=lambda v: str(v.type),
)
def test_levels_keep_spelling_and_type(values: pa.Array) -> None:
    assert there_and_back(single(values, "categorical")).cast(values.type).to_pylist() == values.to_pylist()


@given(st.lists(st.none() | st.text(string.printable, max_size=6), min_size=1, max_size=50))
@settings(max_examples=40, deadline=None)
def test_any_text_goes_round(texts: list[str | None]) -> None:
    values = pa.array(texts, pa.string())
    assert there_and_back(single(values, "categorical")).equals(values)


def test_a_tail_is_redrawn_by_its_frequencies() -> None:
    # 5,000 rows of "big" and 300 rare levels, one of them three times as frequent as the others.
    names = ["big"] * 5000 + [f"r{i}" for i in range(300)] + ["r0", "r0"]
    data = single(pa.array(names), "categorical")
    modes = Modes.fit(data, seed=0)
    assert modes.width == 2
    drawn = modes.inverse(np.tile(np.array([[0, 1]], dtype=np.float32), (60_000, 1)), seed=1).column("x")
    counts = dict(zip(*(c.to_pylist() for c in pc.value_counts(drawn).flatten()), strict=True))
    assert len(counts) == 300
    assert counts["r0"] / counts["r1"] == pytest.approx(3, rel=0.4)


def test_ten_thousand_levels_do_not_explode() -> None:
    data = single(pa.array([f"level {i}" for i in range(10_000)]), "categorical")
    assert Geometry.fit(data).width <= 65
    assert Modes.fit(data, seed=0).width <= 201


def test_spikes_and_nulls_survive_exactly() -> None:
    rng = np.random.default_rng(0)
    gain = np.where(rng.random(4000) < 0.9, 0, rng.integers(100, 99_999, 4000))
    values = pa.array(gain, mask=rng.random(4000) < 0.2)
    back = there_and_back(single(values, "integer"))
    assert back.null_count == values.null_count
    assert pc.sum(pc.equal(back, 0)).as_py() == pc.sum(pc.equal(values, 0)).as_py()


def test_constant_and_all_null_columns_take_no_features() -> None:
    schema = Schema(
        (Column(name="c", kind="integer", dtype="int64"), Column(name="n", kind="numeric", dtype="double", nullable=True))
    )
    data = Dataset(pa.table({"c": pa.array([7] * 9), "n": pa.array([None] * 9, pa.float64())}), schema)
    modes = Modes.fit(data, seed=0)
    assert modes.width == 0
    assert modes.inverse(modes.transform(data)).equals(data.table)


def test_spans_tile_the_matrix_and_one_hots_sum_to_one() -> None:
    data = Dataset.from_arrow(mixed_table(), target="label")
    modes = Modes.fit(data, seed=0)
    matrix = modes.transform(data)
    edges = [edge for span in modes.spans for edge in (span.start, span.stop)]
    assert edges[0] == 0 and edges[-1] == modes.width and edges[1:-1:2] == edges[2::2]
    for span in modes.spans:
        block = matrix[:, span.start : span.stop]
        if span.kind == "scalar":
            assert np.abs(block).max() <= 1
        else:
            np.testing.assert_array_equal(block.sum(axis=1), 1)


def test_a_state_restores_both_views() -> None:
    data = Dataset.from_arrow(mixed_table(), target="label")
    modes, space = Modes.fit(data, seed=0), Geometry.fit(data)
    again = Modes.from_state(json.loads(json.dumps(modes.to_state())))
    assert again.inverse(modes.transform(data)).equals(modes.inverse(modes.transform(data)))
    np.testing.assert_array_equal(again.transform(data), modes.transform(data))
    np.testing.assert_array_equal(
        Geometry.from_state(json.loads(json.dumps(space.to_state()))).transform(data), space.transform(data)
    )


def test_infinite_values_are_one_sentence() -> None:
    with pytest.raises(DataError, match="'x' holds 1 infinite value"):
        Modes.fit(single(pa.array([1.0, float("inf"), 2.0]), "numeric"), seed=0)


def test_a_mixture_finds_two_heaps_and_no_more() -> None:
    rng = np.random.default_rng(0)
    mixture = Mixture.fit(np.r_[rng.normal(-5, 1, 3000), rng.normal(5, 0.5, 1000)], rng)
    assert mixture.weights[mixture.means < 0].sum() == pytest.approx(0.75, abs=0.02)
    assert len(mixture.means) == 2
    np.testing.assert_allclose(mixture.means, [-5, 5], atol=0.1)
    np.testing.assert_allclose(mixture.sds, [1, 0.5], atol=0.05)


def test_ranks_are_golden_at_ties() -> None:
    ranks = Ranks.fit(np.array([1.0, 2.0, 2.0, 4.0]))
    np.testing.assert_allclose(
        ranks(np.array([1.0, 2.0, 3.0, 4.0, -9.0, 9.0, np.nan])), [0.125, 0.5, 0.6875, 0.875, 0.125, 0.875, 0.5]
    )


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=80))
@settings(max_examples=40, deadline=None)
def test_ranks_rise_and_stay_in_the_unit_interval(values: list[float]) -> None:
    got = Ranks.fit(np.array(values))(np.sort(values))
    assert (np.diff(got) >= 0).all() and got.min() >= 0 and got.max() <= 1


def test_ranks_of_many_values_are_thinned_without_losing_a_spike() -> None:
    values = np.r_[np.zeros(50_000), np.random.default_rng(0).normal(size=50_000) ** 2]
    exact = (np.searchsorted(np.sort(values), 1.0, "left") + 0.0) / len(values)
    ranks = Ranks.fit(values)
    assert len(ranks.at) < 6_100
    assert ranks(np.array([0.0]))[0] == pytest.approx(0.25)
    assert ranks(np.array([1.0]))[0] == pytest.approx(exact, abs=1e-3)


def test_two_levels_lie_at_distance_one_and_unseen_ones_at_zero() -> None:
    data = single(pa.array(["a", "b", "a", None] * 5), "categorical")
    space = Geometry.fit(data)
    a, b, null, new = space.transform(pa.table({"x": pa.array(["a", "b", None, "new"])}))
    assert np.linalg.norm(a - b) == pytest.approx(1)
    assert np.linalg.norm(a - null) == pytest.approx(1)
    assert not new.any()


def test_geometry_leaves_the_target_out_unless_asked() -> None:
    data = Dataset.from_arrow(mixed_table(), target="label")
    assert "label" not in Geometry.fit(data).spans
    assert "label" in Geometry.fit(data, with_target=True).spans
    assert "key" not in Geometry.fit(data).spans


def test_a_missing_column_is_named() -> None:
    space = Geometry.fit(single(pa.array([1.0, 2.0]), "numeric"))
    with pytest.raises(DataError, match="column 'x' is missing"):
        space.transform(pa.table({"y": [1.0]}))


def test_levels_read_other_types_by_their_text() -> None:
    levels = Levels("int64", (1, 0), (5, 3))
    np.testing.assert_array_equal(levels.read(pa.array(["0", "1", "no", None])), [1, 0, -1, -2])


def test_a_tail_of_one_stands_alone() -> None:
    assert split_tail([90, 9, 1], floor=0.05, limit=10) == 3
    assert split_tail([90, 4, 3, 3], floor=0.05, limit=10) == 1


def test_numbers_in_fixed_steps_stay_on_their_steps() -> None:
    rng = np.random.default_rng(0)
    steps = np.round(0.00884744 * rng.poisson(20, 3000) - 0.47019533, 8)
    smooth = rng.normal(size=3000)
    data = Dataset.from_arrow(pa.table({"steps": steps, "smooth": smooth}))
    modes = Modes.fit(data, seed=0)
    matrix = modes.transform(data)
    moved = matrix + rng.normal(0, 0.02, matrix.shape).astype(np.float32)
    back = modes.inverse(moved)
    assert set(back.column("steps").to_pylist()) <= set(steps.tolist())
    assert len(set(back.column("smooth").to_pylist()) & set(smooth.tolist())) < 30
    again = Modes.from_state(modes.to_state()).inverse(moved)
    assert again.equals(back)
