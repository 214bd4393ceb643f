"""Are series told from tables, and is a first plan of them one that can be read?"""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter
from sklearn.datasets import load_breast_cancer

from configs.sources import DataSource
from data.sources._series_found import recognise_series
from data.sources.series import read

ORIGIN = datetime(2024, 3, 1)


def write(path: Path, columns: dict[str, Any]) -> Path:
    table = pa.table(columns)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        pacsv.write_csv(table, path)
    return path


def when(seconds: Any) -> pa.Array:
    return pa.array([ORIGIN + timedelta(seconds=float(s)) for s in seconds], pa.timestamp("us"))


def found(path: Path) -> dict[str, Any]:
    """What is recognised, which must be a source that a plan can state."""
    told = recognise_series(path)
    assert told is not None
    TypeAdapter(DataSource).validate_python(told)
    return told


def waves(n: int, lag: int = 24) -> np.ndarray:
    return np.sin(2 * np.pi * np.arange(n) / lag) + 0.1 * np.random.default_rng(0).standard_normal(n)


def test_one_series_is_recognised_with_the_length_of_its_period(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", {"when": when(np.arange(3000) * 60), "x": waves(3000, 48)})
    told = found(path)
    assert told == {"use": "series", "path": str(path), "time": "when", "length": 48}
    assert read(**{k: v for k, v in told.items() if k != "use"}).num_rows >= 100
    short = found(write(tmp_path / "s.parquet", {"when": when(np.arange(400) * 60), "x": waves(400, 48)}))
    assert short["length"] == 16 and short["stride"] == 4


def test_entities_and_labels_are_recognised(tmp_path: Path) -> None:
    t, of = np.tile(np.arange(300), 4), np.repeat(["a", "b", "c", "d"], 300)
    label = (np.arange(1200) % 300 > 250).astype(int)
    path = write(tmp_path / "m.csv", {"when": when(t * 10), "unit": of, "x": waves(1200), "is_anomaly": label})
    told = found(path)
    assert told["entity"] == "unit" and told["class_column"] == "is_anomaly" and told["time"] == "when"


def test_folders_of_tables_and_of_sounds_are_recognised(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.csv", {"when": when(np.arange(500)), "x": waves(500)})
    told = found(tmp_path)
    assert told["use"] == "series" and told["time"] == "when" and "entity" not in told
    (tmp_path / "sounds" / "hum").mkdir(parents=True)
    (tmp_path / "sounds" / "hum" / "a.wav").write_bytes(b"RIFF")
    assert found(tmp_path / "sounds") == {"use": "wav", "path": str(tmp_path / "sounds")}


def test_label_windows_beside_a_series_are_recognised(tmp_path: Path) -> None:
    path = write(tmp_path / "machine.csv", {"when": when(np.arange(2000)), "x": waves(2000)})
    span = [str(ORIGIN + timedelta(seconds=s)) for s in (500, 700)]
    (tmp_path / "windows.json").write_text(json.dumps({"real/machine.csv": [span]}), encoding="utf-8")
    assert found(path)["events"] == str(tmp_path / "windows.json")
    (tmp_path / "windows.json").write_text(json.dumps({"real/other.csv": [span]}), encoding="utf-8")
    assert "events" not in found(path)


def test_wide_series_without_a_header_are_recognised(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = np.cumsum(rng.standard_normal((20, 60)), axis=1).round(3)
    text = "\n".join("\t".join([str(i % 2), *map(str, row)]) for i, row in enumerate(rows.tolist()))
    (tmp_path / "a.tsv").write_text(text, encoding="utf-8")
    assert found(tmp_path / "a.tsv") == {"use": "series", "path": str(tmp_path / "a.tsv"), "layout": "wide"}
    noise = rng.standard_normal((20, 60)).round(3)
    text = "\n".join("\t".join([str(i % 2), *map(str, row)]) for i, row in enumerate(noise.tolist()))
    (tmp_path / "b.tsv").write_text(text, encoding="utf-8")
    assert recognise_series(tmp_path / "b.tsv") is None


@pytest.mark.parametrize("kind", ["cancer", "orders", "bought", "few", "dates", "numbered", "missing"])
def test_tables_are_none(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(3)
    n = 400
    uneven = np.cumsum(rng.exponential(1000, n)).round()
    x = rng.standard_normal(n)
    if kind == "missing":
        assert recognise_series(tmp_path / "none.csv") is None and recognise_series(tmp_path) is None
        return
    if kind == "cancer":
        frame = load_breast_cancer(as_frame=True).frame
        columns = {name: frame[name].to_numpy() for name in frame}
    else:
        columns = {
            "orders": {"when": when(uneven), "amount": x, "paid": ["yes", "no"] * (n // 2)},
            "bought": {"day": when(rng.integers(0, 30, n) * 86400), "amount": x},
            "few": {"when": when(range(20)), "x": x[:20]},
            "dates": {"born": when(uneven), "seen": when(uneven + 5), "x": x},
            "numbered": {f"V{i}": rng.standard_normal(n) for i in range(28)},
        }[kind]
    assert recognise_series(write(tmp_path / "t.csv", columns)) is None


def test_a_machine_that_failed_is_recognised() -> None:
    folder = Path(os.environ.get("COUNTERPOISE_DATA", "")) / "nab_machine_temp"
    if not (folder / "combined_windows.json").is_file():
        pytest.skip("set COUNTERPOISE_DATA to the folder that holds nab_machine_temp")
    told = found(folder / "machine_temperature_system_failure.csv")
    assert told["time"] == "timestamp" and told["events"].endswith("combined_windows.json") and 16 <= told["length"] <= 512
