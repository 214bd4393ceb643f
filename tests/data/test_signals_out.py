"""Do windows that leave as sounds and long tables still hold what they held?"""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from data.dataset import Dataset
from data.errors import DataError
from data.samples import pump
from data.signals_out import audio_table, long_batches, long_schema, long_table, rate_of, to_wav
from data.sources.series import read as read_series
from data.windows import ELAPSED, batch, description, schema, windows


def sounds(n: int = 4, rate: int = 8000, length: int = 400, height: float = 0.5) -> Dataset:
    rows = schema(["sound"], ["hum", "hiss"], period=1 / rate)
    t = np.arange(length) / rate
    values = np.stack([height * np.sin(2 * np.pi * (200 + 50 * i) * t) for i in range(n)])[:, None].astype(np.float32)
    made = batch(
        rows, values, np.full(n, length), classes=["hum", "hiss"] * (n // 2), sources=[f"a/b {i}.wav@0" for i in range(n)]
    )
    return Dataset(pa.Table.from_batches([made]), rows)


def back(data: bytes) -> tuple[np.ndarray, int]:
    with wave.open(io.BytesIO(data)) as file:
        steps = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").reshape(-1, file.getnchannels())
        return steps.T / 32767, file.getframerate()


def test_a_sound_comes_back_from_its_file() -> None:
    readings = np.stack([np.linspace(-1, 1, 100), np.cos(np.arange(100))])
    got, rate = back(to_wav(readings, 16000))
    assert rate == 16000 and np.abs(got - readings).max() < 1 / 32767 and to_wav(readings, 16000) == to_wav(readings, 16000)
    got, _ = back(to_wav(np.array([np.nan, 5.0, -5.0, 1.0]), 8000, height=2.0))
    assert got[0].round(3).tolist() == [0, 1, -1, 0.5]
    for readings, rate, height in ((np.zeros(0), 8000, 1.0), (np.zeros(5), 0, 1.0), (np.zeros(5), 8000, 0.0)):
        with pytest.raises(DataError):
            to_wav(readings, rate, height=height)


def test_datasets_takes_the_column_for_sounds(tmp_path: Path) -> None:
    table = audio_table(sounds(height=3.0))
    assert np.abs(back(table.column("audio")[0].as_py()["bytes"])[0]).max() > 0.99, "what is louder than 1 is scaled down"
    assert table.column("class").to_pylist() == ["hum", "hiss"] * 2
    datasets = pytest.importorskip("datasets")
    pq.write_table(table, tmp_path / "a.parquet")
    held = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "a.parquet"), split="train", cache_dir=str(tmp_path / "c")
    )
    assert isinstance(held.features["audio"], datasets.Audio) and held.features["audio"].sampling_rate == 8000
    first = held.cast_column("audio", datasets.Audio(decode=False))[0]["audio"]
    assert first["path"].startswith("hum/") and back(first["bytes"])[1] == 8000


def test_what_is_no_sound_is_refused() -> None:
    with pytest.raises(DataError, match="levels, which are no sound"):
        rate_of(pump.pump_schema())
    with pytest.raises(DataError, match="one reading every 300 seconds is no sound"):
        rate_of(schema(["x"], period=300.0))
    with pytest.raises(DataError, match="uneven moments are no sound"):
        rate_of(schema(["x"]))


def test_a_long_table_holds_every_reading() -> None:
    rows = Dataset(pump.draw({"steady": 4, "leak": 3}, length=40), pump.pump_schema())
    table = long_table(rows)
    held = windows(rows)
    assert table.num_rows == 7 * 40 and table.schema == long_schema(rows.schema)
    assert table.column_names == ["window", "entity", "class", "seconds", "time", *pump.CHANNELS, "model", "power"]
    assert np.array_equal(table.column("flow").to_numpy(), held.values[:, 1].ravel())
    codes = [pump.VALVE.index(level) for level in table.column("valve").to_pylist()]
    assert np.array_equal(codes, held.values[:, 4].ravel()) and table.column("seconds").to_pylist()[:42] == [*range(40), 0, 1]
    assert table.column("window").to_pylist() == np.repeat(np.arange(7), 40).tolist()
    assert table.column("class")[0].as_py() == rows.table.column("class")[0].as_py()
    parts = list(long_batches(rows.table.to_batches(max_chunksize=3), rows.schema))
    assert len(parts) == 3 and pa.Table.from_batches(parts).equals(table)


def test_a_long_table_is_read_again_as_it_was(tmp_path: Path) -> None:
    t = 1.7e9 + np.arange(120) * 60.0
    path = tmp_path / "m.csv"
    pacsv.write_csv(
        pa.table({"when": pa.array((t * 1e6).astype(np.int64)).cast(pa.timestamp("us")), "seconds": np.sin(t / 500)}), path
    )
    table = read_series(path, length=20, stride=20)
    out = long_table(Dataset(table, description(table)))
    assert out.column_names[-1] == "seconds_read" and np.allclose(
        out.column("seconds_read").to_numpy(), np.sin(t / 500), atol=1e-6
    )
    assert [v.timestamp() for v in out.column("time").to_pylist()] == t.tolist()


def test_uneven_readings_and_columns_beside_go_along() -> None:
    rows = schema(["x", ELAPSED])
    values = np.array([[[1, np.nan, 3], [9, 2, 0.5]], [[4, 5, np.nan], [7, 1, np.nan]]], dtype=np.float32)
    part = batch(rows, values, np.array([3, 2]), starts=[None, 10.0], entities=["a", None])
    part = part.append_column("is_synthetic", pa.array([True, False]))
    table = pa.Table.from_batches(list(long_batches([part], rows)))
    assert table.column("seconds").to_pylist() == [0, 2, 2.5, 0, 1] and table.column("x").to_pylist() == [1, None, 3, 4, 5]
    assert table.column("is_synthetic").to_pylist() == [True] * 3 + [False] * 2 and table.column("time").null_count == 5
    assert table.column("entity").to_pylist() == ["a"] * 3 + [None] * 2
