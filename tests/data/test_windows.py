"""Do series come back from a table as they went into it, whatever their lengths and gaps?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from data.errors import DataError
from data.samples import pump
from data.schema import Column, Schema
from data.sources.pump import read
from data.windows import OWN, READINGS, SERIES, batch, description, is_series, padded, readings, schema, windows


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 3), st.floats(0, 0.9), st.integers(0, 2**31)
)  # fmt: skip
def test_readings_come_back(lengths: list[int], channels: int, gaps: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((len(lengths), channels, max(lengths))).astype(np.float32)
    values[rng.random(values.shape) < gaps] = np.nan
    for i, length in enumerate(lengths):
        values[i, :, length:] = np.nan
    column = readings(values, np.array(lengths))
    assert column.type == READINGS
    back, told = padded(pa.chunked_array([column]), channels)
    assert told.tolist() == lengths and np.array_equal(back, values, equal_nan=True)
    back, told = padded(pa.chunked_array([column[1:]]), channels)
    assert told.tolist() == lengths[1:] and np.array_equal(back, values[1:, :, : max(lengths[1:], default=1)], equal_nan=True)


def test_a_schema_of_series_survives_json_and_disk(tmp_path: Path) -> None:
    rows = pump.pump_schema()
    assert (
        Schema.from_json(rows.to_json()) == rows == description(read(length=32))
        and is_series(rows)
        and rows.target == "class"
        and rows.group == "entity"
    )
    table = pump.draw({"steady": 5, "leak": 3}, length=40)
    pq.write_table(table, tmp_path / "w.parquet")
    held = windows(Dataset.from_parquet(tmp_path / "w.parquet", rows))
    assert held.values.shape == (8, 5, 40) and held.inside.all() and held.period == 1.0
    assert held.classes == ("steady", "start", "leak", "cavitation") and np.bincount(held.labels).tolist() == [5, 0, 3]
    assert held.levels[4] == ("open", "throttled", "closed") and held.attributes.column_names == ["model", "power"]
    few = held.of("leak")
    assert len(few) == 3 and few.sources[0] == "pump/leak/seal/0" and few.attributes.num_rows == 3
    assert Dataset(table, rows).digest() == Dataset(pump.draw({"leak": 3, "steady": 5}, length=40), rows).digest()


def test_what_is_no_series_is_refused() -> None:
    with pytest.raises(DataError, match="channels of different names"):
        schema(["a", "a"])
    with pytest.raises(DataError, match="'seed' has a name that"):
        schema(["a"], attributes=[Column(name="seed", kind="numeric", dtype="double")])
    with pytest.raises(DataError, match="2 channels where 1 are named"):
        padded(pa.chunked_array([pa.array([[[1.0], [2.0]]], READINGS)]), 1)
    with pytest.raises(DataError, match="several lengths"):
        padded(pa.chunked_array([pa.array([[[1.0], [2.0, 3.0]]], READINGS)]), 2)
    with pytest.raises(DataError, match="no readings at all"):
        padded(pa.chunked_array([pa.array([None], READINGS)]), 2)
    plain = schema(["a"])
    assert plain.target is None and SERIES in plain
    made = batch(plain, np.zeros((2, 1, 3)), np.array([3, 2]))
    assert made.schema.names == [name for name in OWN if name != "class"] and made.column("series")[1].as_py() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("counts", "length", "said"),
    [
        ({"boom": 3}, 96, "no class 'boom'"),
        ({"leak": -1}, 96, "0 or more"),
        ({}, 96, "no window"),
        ({"leak": 2}, 8, "32 to 512"),
    ],
)
def test_a_pump_that_cannot_be_is_refused(counts: dict[str, int], length: int, said: str) -> None:
    with pytest.raises(DataError, match=said):
        pump.draw(counts, length=length)


def test_a_pump_keeps_the_laws_it_is_made_of() -> None:
    held = windows(Dataset(pump.draw({"steady": 60, "start": 40, "cavitation": 30, "leak": 30}), pump.pump_schema()))
    named = [pump.mode(str(source)) for source in held.sources]
    for name, modes in pump.MODES.items():
        count = [named[i] for i in np.flatnonzero(held.labels == held.classes.index(name))]
        assert all(abs(count.count(mode) / len(count) - share) < 0.08 for mode, share in modes.items())
    pressure, flow, vibration = held.values[:, 0], held.values[:, 1], held.values[:, 3]
    steady, start = held.labels == held.classes.index("steady"), held.labels == held.classes.index("start")
    leak, shaken = held.labels == held.classes.index("leak"), held.labels == held.classes.index("cavitation")
    assert (flow[start][:, :4] < 0.2).all() and (flow[start][:, -1] > 1).all(), "a start begins at rest"
    assert (pressure[leak][:, -5:].mean(axis=1) < 0.93 * pressure[leak][:, :5].mean(axis=1)).mean() > 0.9
    assert vibration[shaken].max(axis=1).min() > vibration[steady].max()
    with pytest.raises(DataError, match="does not name a simulated window"):
        pump.mode("pump/leak/17")
