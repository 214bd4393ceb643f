"""Do exported series hold what the dataset held, part by part, and is nothing left of an export that failed?"""

from __future__ import annotations

import csv
import io
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from data.dataset import Dataset
from data.errors import DataError
from data.export_series import export_series
from data.samples import pump
from data.schema import Schema
from data.windows import batch, description, schema, windows


def sounds(height: float = 0.5) -> tuple[Schema, list[pa.RecordBatch], np.ndarray]:
    rows = schema(["sound"], ["hum", "hiss"], period=1 / 8000)
    t = np.arange(400) / 8000
    values = np.stack([height / (1 + i) * np.sin(2 * np.pi * (200 + 50 * i) * t) for i in range(6)])[:, None].astype(np.float32)
    named = [f"a/b {i}.wav@0" for i in range(6)]
    part = batch(rows, values, np.full(6, 400), classes=["hum", "hiss"] * 3, sources=named, entities=["a"] * 6)
    part = part.append_column("is_synthetic", pa.array([False, False, False, True, True, True]))
    part = part.append_column("split", pa.array(["train", "reference", "holdout", "train", "train", "train"]))
    return rows, [part.slice(0, 4), part.slice(4)], values


def read(data: bytes) -> np.ndarray:
    with wave.open(io.BytesIO(data)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2") / 32767


def test_sounds_are_files_in_folders_and_can_be_read_again(tmp_path: Path) -> None:
    rows, parts, values = sounds(height=3.0)
    done = export_series(lambda: parts, "wav", tmp_path / "out", schema=rows)
    assert done.windows == 6 and done.parts == {"train": {"hum": 2, "hiss": 2}, "val": {"hiss": 1}, "holdout": {"hum": 1}}
    with (tmp_path / "out/index.csv").open(encoding="utf-8") as file:
        index = list(csv.DictReader(file))
    assert sorted(row["file"] for row in index) == sorted(
        p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.wav")
    )
    for row in index:
        i = int(row["source"].split()[1][0])
        assert np.abs(read((tmp_path / "out" / row["file"]).read_bytes()) - values[i, 0] / np.abs(values).max()).max() < 1e-4
        assert row["is_synthetic"] == str(i > 2) and row["class"] == ["hum", "hiss"][i % 2]
    pytest.importorskip("soundfile", reason="the extra `audio` is not installed")
    from data.sources import wav

    again = wav.read(tmp_path / "out", length=400)
    held = windows(Dataset(again, description(again)))
    assert len(held) == 6 and set(held.classes) == {"hum", "hiss"} and held.period == 1 / 8000


def test_datasets_finds_each_part_of_sounds(tmp_path: Path) -> None:
    rows, parts, values = sounds()
    export_series(lambda: parts, "audio", tmp_path / "out", schema=rows)
    datasets = pytest.importorskip("datasets")
    held = datasets.load_dataset("parquet", data_dir=str(tmp_path / "out/data"), cache_dir=str(tmp_path / "c"))
    assert {name: len(part) for name, part in held.items()} == {"train": 4, "validation": 1, "test": 1}
    assert held["train"].features["audio"].sampling_rate == 8000
    rows_ = held["train"].cast_column("audio", datasets.Audio(decode=False))
    for row in rows_:
        assert np.abs(read(row["audio"]["bytes"]) - values[int(row["source"].split()[1][0]), 0]).max() < 1e-4
        assert row["audio"]["path"].startswith(row["class"] + "/")


@pytest.mark.parametrize("to", ["long", "csv"])
def test_long_tables_hold_every_reading(tmp_path: Path, to: str) -> None:
    table = pump.draw({"steady": 7, "leak": 3}, length=32)
    export_series(lambda: table.to_batches(max_chunksize=4), to, tmp_path / "out", schema=pump.pump_schema())  # type: ignore[arg-type]
    back = pq.read_table(tmp_path / "out/train.parquet") if to == "long" else pacsv.read_csv(tmp_path / "out/train.csv")
    flow = windows(Dataset(table, pump.pump_schema())).values[:, 1].ravel()
    assert (
        back.num_rows == 320
        and np.allclose(back.column("flow").to_numpy(), flow)
        and max(back.column("window").to_pylist()) == 9
    )


def test_a_failed_export_leaves_nothing_and_ours_can_be_replaced(tmp_path: Path) -> None:
    rows, parts, _ = sounds()

    def broken() -> Iterator[pa.RecordBatch]:
        yield parts[0]
        raise DataError("broken off")

    with pytest.raises(DataError, match="broken off"):
        export_series(broken, "long", tmp_path / "out", schema=rows)
    assert not list(tmp_path.iterdir())
    export_series(lambda: parts, "wav", tmp_path / "out", schema=rows)
    with pytest.raises(DataError, match="not empty"):
        export_series(lambda: parts, "long", tmp_path / "out", schema=rows)
    export_series(lambda: parts, "long", tmp_path / "out", schema=rows, force=True)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "export.json",
        "holdout.parquet",
        "train.parquet",
        "val.parquet",
    ]


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    rows, parts, _ = sounds()
    with pytest.raises(DataError, match="there is no window"):
        export_series(lambda: [], "wav", tmp_path / "out", schema=rows)
    with pytest.raises(DataError, match="levels, which are no sound"):
        export_series(lambda: [], "wav", tmp_path / "out", schema=pump.pump_schema())
    with pytest.raises(DataError, match="not to 'mp3'"):
        export_series(lambda: parts, "mp3", tmp_path / "out", schema=rows)  # type: ignore[arg-type]
    odd = [part.set_column(part.num_columns - 1, "split", pa.array(["later"] * part.num_rows)) for part in parts]
    with pytest.raises(DataError, match="holds 'later'; it must be train"):
        export_series(lambda: odd, "long", tmp_path / "out", schema=rows)
    assert not list(tmp_path.iterdir())
