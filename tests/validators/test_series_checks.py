"""Is a set of synthetic windows that lacks something, or copies, told from real ones?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from data.dataset import Dataset
from data.errors import DataError
from data.samples.pump import mode
from data.windows import READINGS
from tests.validators.series_sets import blocked, changed, findings, joined, kept, prepared, pumps
from validators._series_witnesses import effects, entities

Array = np.ndarray


@pytest.fixture(scope="module")
def train() -> Dataset:
    return pumps(1)


@pytest.fixture(scope="module")
def holdout() -> Dataset:
    return pumps(2)


@pytest.fixture(scope="module")
def drawn() -> Dataset:
    return pumps(3, times=12)


@pytest.mark.parametrize("seed", range(10, 34, 8))
def test_real_windows_of_other_pumps_are_not_blocked(seed: int) -> None:
    """Train, holdout and the rest are of other pumps each: windows of one pump are alike, those of two are not."""
    assert blocked(prepared(pumps(seed), pumps(seed + 1), pumps(seed + 2, times=3))) == {}


def test_more_windows_of_the_training_pumps_are_not_blocked() -> None:
    """The best that a generator can do: it knows the training pumps, and no others."""
    some = pumps(40, times=4)
    order = np.random.default_rng(0).permutation(some.num_rows)
    assert blocked(prepared(some.take(order[:340]), pumps(41), some.take(order[340:]))) == {}


def test_a_class_that_is_missing_is_named(train: Dataset, holdout: Dataset, drawn: Dataset) -> None:
    found = findings(prepared(train, holdout, kept(drawn, lambda source: "/leak/" not in source)), "modes")["modes"]
    assert found.verdict == "BLOCK" and "class leak" in found.summary and "windows" in found.summary


@pytest.mark.parametrize(("name", "lost"), [("leak", "burst"), ("cavitation", "bursts"), ("steady", "cycling")])
def test_a_mode_that_is_missing_is_told_in_words(
    train: Dataset, holdout: Dataset, drawn: Dataset, name: str, lost: str
) -> None:
    without = kept(drawn, lambda source: f"pump/{name}/" not in source or mode(source) != lost)
    found = findings(prepared(train, holdout, without), "modes")["modes"]
    assert found.verdict == "BLOCK", found.summary
    words = ("mean", "deviation", "trend", "level shift", "roughness", "period", "correlation", "share of", "changes of")
    assert any(word in culprit.cell for culprit in found.culprits for word in words), [c.cell for c in found.culprits]


def noisy(values: Array, share: float) -> Array:
    """Numbers with noise of this share of their channel's deviation; levels as they are."""
    rng = np.random.default_rng(5)
    width = values[:, :4].std(axis=(0, 2))[None, :, None]
    values[:, :4] = np.maximum(values[:, :4] + share * width * rng.standard_normal(values[:, :4].shape), 0)
    return values


def test_training_windows_with_a_little_noise_are_copies(train: Dataset, holdout: Dataset, drawn: Dataset) -> None:
    copied = changed(joined(train, train), lambda values: noisy(values, 0.01))
    assert "copies" in blocked(prepared(train, holdout, copied), "copies")
    fresh = drawn.take(np.random.default_rng(0).permutation(drawn.num_rows)[:900])
    some = joined(fresh, copied.take(np.arange(0, 680, 5)))
    assert "copies" in blocked(prepared(train, holdout, some), "copies"), "one in eight is enough"


def test_training_windows_lifted_and_stretched_are_copies(train: Dataset, holdout: Dataset) -> None:
    def lifted(values: Array) -> Array:
        rng = np.random.default_rng(6)
        values[:, :4] = values[:, :4] * rng.uniform(0.8, 1.2, (len(values), 4, 1)) + rng.uniform(0, 0.2, (len(values), 4, 1))
        return values

    assert "copies" in blocked(prepared(train, holdout, changed(joined(train, train), lifted)), "copies")


@pytest.mark.parametrize(
    ("channel", "value", "said"),
    [
        (0, np.inf, "infinite readings (pressure)"),
        (1, -1.0, "below zero (or above it) where no real one is (flow)"),
        (4, 7.0, "a level that is none (valve)"),
        (2, np.nan, "miss readings in a channel that never misses one (current)"),
    ],
)
def test_readings_that_cannot_be_are_named(train: Dataset, holdout: Dataset, channel: int, value: float, said: str) -> None:
    def broken(values: Array) -> Array:
        values[17, channel, 20] = value
        return values

    found = findings(prepared(train, holdout, changed(pumps(3), broken)), "schema")["schema"]
    assert found.verdict == "BLOCK" and said in found.summary and "numbers 17" in found.summary, found.summary


def test_windows_with_another_number_of_channels_are_named(train: Dataset, holdout: Dataset) -> None:
    fresh = pumps(3)
    column = fresh.table.column("series").to_pylist()
    column[9] = column[9][:4]
    place = fresh.table.schema.get_field_index("series")
    odd = Dataset(fresh.table.set_column(place, "series", pa.array(column, READINGS)), fresh.schema)
    found = findings(prepared(train, holdout, odd), "schema")["schema"]
    assert found.verdict == "BLOCK" and "another number of channels" in found.summary and "numbers 9" in found.summary


def test_readings_in_random_order_are_blocked(train: Dataset, holdout: Dataset, drawn: Dataset) -> None:
    def shuffled(values: Array) -> Array:
        return values[:, :, np.random.default_rng(7).permutation(values.shape[2])]

    assert blocked(prepared(train, holdout, changed(drawn, shuffled)))


def test_windows_that_cannot_be_compared_are_refused(train: Dataset, holdout: Dataset) -> None:
    with pytest.raises(DataError, match="there are no holdout windows"):
        prepared(train, holdout.take([]), train)
    with pytest.raises(DataError, match="limits.modes: there are no limits to set"):
        prepared(train, holdout, train, limits={"modes": {"ratio": 0.5}})


def test_windows_of_one_entity_witness_as_one_where_they_are_alike() -> None:
    sizes = np.full(12, 20)
    all_of_three = np.repeat([20.0, 0.0], [3, 9])
    evenly = np.full(12, 5.0)
    found = effects(np.stack([all_of_three, evenly], axis=1), sizes)
    assert found[0] == pytest.approx(20 * 12 / 11) and found[1] == 1.0


def test_entities_count_only_where_they_stand_in_one_part() -> None:
    left, right = np.array(["a", "a", "b"], dtype=object), np.array(["c", "c", ""], dtype=object)
    found = entities(left, right)
    assert found is not None and found.holdout[0] == found.holdout[1] != found.holdout[2]
    assert entities(left, left) is None and entities(np.array(["", ""]), np.array(["", ""])) is None
