"""Do the windows of tables of readings hold what was read, and is every repair told?"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from data.errors import DataError
from data.sources._series_length import dominant
from data.sources._series_lines import Line, resampled, stretches
from data.sources.series import read
from data.windows import Windows, description, windows
from flows.stages.read import notices_of

ORIGIN = datetime(2024, 1, 1)


def held(table: pa.Table) -> Windows:
    return windows(Dataset(table, description(table)))


def write(path: Path, columns: Mapping[str, Any]) -> Path:
    table = pa.table(dict(columns))
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        pacsv.write_csv(table, path)
    return path


def when(seconds: Any) -> pa.Array:
    return pa.array([ORIGIN + timedelta(seconds=float(s)) for s in seconds], pa.timestamp("us"))


def start(seconds: float) -> float:
    return (ORIGIN.replace(tzinfo=UTC) + timedelta(seconds=seconds)).timestamp()


def said(table: pa.Table) -> str:
    return " ".join(notices_of(table))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_windows_hold_what_was_read(tmp_path: Path, ending: str) -> None:
    a, b = np.arange(20.0), np.array(["on", "off"] * 10)
    path = write(tmp_path / f"m.{ending}", {"when": when(np.arange(20) * 60), "a": a, "mode": b})
    out = read(path, length=8)
    got = held(out)
    assert got.channels == ("a", "mode") and got.levels == ((), ("off", "on")) and got.period == 60.0
    assert got.starts.tolist() == [start(0), start(240), start(480), start(720)]
    assert np.array_equal(got.values[1, 0], a[4:12]) and np.array_equal(got.values[1, 1], [1, 0] * 4)
    assert got.entities == ("m",) * 4 and not got.classes and not said(out)
    assert np.array_equal(held(read(path, length="8min", stride="2min")).values[1, 0], a[2:10])


def test_each_file_of_a_folder_is_an_entity_and_attributes_are_found(tmp_path: Path) -> None:
    for i, name in enumerate(("pump1", "pump2", "pump3")):
        n = 30 + i
        write(
            tmp_path / f"{name}.csv",
            {"t": np.arange(n) * 0.5, "x": np.sin(np.arange(n)), "model": [f"M{i % 2}"] * n, "kw": [i + 1.5] * n},
        )
    out = read(tmp_path, length=10, stride=10)
    got = held(out)
    assert got.entities == ("pump1",) * 3 + ("pump2",) * 3 + ("pump3",) * 3 and got.period == 0.5 and got.channels == ("x",)
    assert got.attributes.column("model").to_pylist()[::3] == ["M0", "M1", "M0"]
    assert got.attributes.column("kw").to_pylist()[::3] == [1.5, 2.5, 3.5]
    assert description(out)["kw"].kind == "numeric" and "'t' is taken for the time" in said(out)


def test_an_entity_is_found_where_moments_repeat(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(120)
    of, t = np.repeat(["a", "b", "c"], 40), np.tile(np.arange(40), 3)
    x = t + 100.0 * np.searchsorted(["a", "b", "c"], of)
    path = write(tmp_path / "m.csv", {"when": when(t[order]), "machine": of[order], "x": x[order]})
    out = read(path, length=20, stride=20)
    got = held(out)
    assert sorted(got.entities) == ["a", "a", "b", "b", "c", "c"] and "'machine' is taken for the entity" in said(out)
    for who, first, values in zip(got.entities, got.starts, got.values[:, 0], strict=True):
        assert values[0] == first - start(0) + 100 * "abc".index(str(who)) and (np.diff(values) == 1).all()
    assert "goes backward" in said(out)


def test_repairs_are_made_and_told(tmp_path: Path) -> None:
    t = np.concatenate([np.arange(30), np.arange(31, 60), np.arange(90, 130), [5]])
    x = t.astype(float)
    x[-1] = 7.0  # read twice at 5: the mean of 5 and 7
    flat, empty, words = np.full(len(t), 2.5), pa.nulls(len(t), pa.float64()), [f"note {i}" for i in t]
    path = write(tmp_path / "m.parquet", {"when": when(t), "x": x, "flat": flat, "empty": empty, "words": words})
    out = read(path, length=10, stride=10)
    got, told = held(out), said(out)
    assert got.channels == ("x",) and got.values[0, 0].tolist() == [0, 1, 2, 3, 4, 6, 6, 7, 8, 9]
    assert got.values[3, 0].tolist() == list(range(30, 40)), "the hole of one reading is filled in between its neighbours"
    assert got.starts.tolist() == [start(s) for s in (0, 10, 20, 30, 40, 50, 90, 100, 110, 120)]
    for part in (
        "Once time goes backward",
        "1 row is of a moment",
        "1 hole without",
        "1 missing reading",
        "'empty' holds no reading",
    ):
        assert part.lower() in told.lower(), (part, told)
    assert "never change: 1 (flat)" in told and "levels: 1 (words)" in told
    assert (
        len(held(read(path, length=10, stride=10, gaps=30))) == 13 and len(held(read(path, length=10, stride=10, gaps=0))) == 9
    )


def test_missing_cells_stay_missing_and_count(tmp_path: Path) -> None:
    x = np.sin(np.arange(80.0))
    y = np.cos(np.arange(80.0))
    y[20:36] = np.nan
    path = write(tmp_path / "m.parquet", {"when": when(np.arange(80)), "x": x, "y": pa.array(y, from_pandas=True)})
    out = read(path, length=20, stride=20)
    got = held(out)
    assert got.starts.tolist() == [start(0), start(40), start(60)] and "1 window is left out that has less than 80%" in said(
        out
    )
    kept = held(read(path, length=20, stride=20, least=0.5))
    assert len(kept) == 4 and np.isnan(kept.values[1, 1]).sum() == 16


def test_uneven_moments_become_a_channel_or_are_resampled(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    t = np.cumsum(rng.exponential(10.0, 300)).round(3)
    path = write(tmp_path / "m.parquet", {"when": when(t), "x": np.sin(t / 50), "mode": np.where(t % 100 < 50, "a", "b")})
    out = read(path, length=30, stride=30)
    got = held(out)
    assert got.channels == ("x", "mode", "elapsed") and got.period is None and "uneven" in said(out)
    assert np.allclose(got.values[1, 2], np.diff(t)[29:59], atol=1e-3) and got.values[0, 2, 0] == 0
    spans = held(read(path, length="200s", stride="100s"))
    assert len(set(spans.lengths)) > 1
    for row in range(len(spans)):
        assert spans.values[row, 2, 1 : spans.lengths[row]].sum() < 200
    even = held(read(path, length=10, resample="30s"))
    assert even.period == 30.0 and even.channels == ("x", "mode") and even.starts[0] % 30 == 0


def test_resampling_takes_means_and_majorities() -> None:
    line = Line("a", np.array([0.0, 1, 2, 10, 11, 30]), np.array([[1.0, 2, 6, 4, np.nan, 8], [0, 1, 1, 0, 1, 2]]))
    out = resampled(line, 10.0, [True, False], "auto")
    assert out.times.tolist() == [0, 10, 30] and out.values.tolist() == [[3, 4, 8], [1, 0, 2]]
    assert resampled(line, 10.0, [True, False], "last").values.tolist() == [[6, 4, 8], [1, 1, 2]]
    pieces = stretches([out], 10.0, [True, False], 0, [])
    assert [piece.times.tolist() for piece in pieces] == [[0, 10], [30]]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=3, max_size=40), st.integers(0, 4), st.integers(0, 2**31))
def test_bridged_stretches_keep_every_reading(steps: list[int], limit: int, seed: int) -> None:
    times = np.cumsum([0, *steps]).astype(float) * 7
    values = np.random.default_rng(seed).standard_normal((2, len(times)))
    pieces = stretches([Line("a", times, values)], 7.0, [True, False], limit, [])
    assert len(pieces) == 1 + sum(step - 1 > limit for step in steps)
    back = {float(t): piece.values[:, i] for piece in pieces for i, t in enumerate(piece.times)}
    assert all(np.array_equal(back[float(t)], values[:, i]) for i, t in enumerate(times))
    assert all(np.isfinite(piece.values).all() and np.allclose(np.diff(piece.times), 7) for piece in pieces)


def test_rates_are_brought_to_the_coarsest_or_refused(tmp_path: Path) -> None:
    for name, step, n in (("fast", 1, 400), ("slow", 5, 80)):
        write(tmp_path / f"{name}.csv", {"when": when(np.arange(n) * step), "x": np.sin(np.arange(n) * step / 9)})
    out = read(tmp_path, length=20)
    assert held(out).period == 5.0 and set(held(out).entities) == {"fast", "slow"} and "coarsest" in said(out)
    write(tmp_path / "odd.csv", {"when": when(np.arange(200) * 2), "x": np.sin(np.arange(200.0))})
    with pytest.raises(DataError, match="'slow' is read every 5 s and 'odd' every 2 s.*state data.resample"):
        read(tmp_path, length=20)
    assert held(read(tmp_path, length=4, resample="10s")).period == 10.0


def test_labels_of_readings_name_windows(tmp_path: Path) -> None:
    label = np.zeros(200, dtype=int)
    label[60:80] = 1
    label[143] = 1
    columns = {"when": when(np.arange(200)), "x": np.sin(np.arange(200.0)), "anomaly": label}
    out = read(write(tmp_path / "m.csv", columns), length=20, stride=10, class_column="anomaly")
    got = held(out)
    hit = sorted(got.starts[got.labels == 1] - start(0))
    assert got.classes == ("normal", "anomaly") and hit == [50, 60, 70, 130, 140], "half of a window, or all of a short event"
    assert description(out).target == "class"
    out = read(tmp_path / "m.csv", length=20, stride=10, class_column="anomaly", overlap=0.8)
    assert sorted(held(out).starts[held(out).labels == 1] - start(0)) == [
        60,
        130,
        140,
    ] and "2 windows are left out that" in said(out)


def test_where_every_reading_has_a_class_the_rarest_that_suffices_names_a_window(tmp_path: Path) -> None:
    what = ["walk"] * 100 + ["run"] * 50 + ["sit"] * 100
    path = write(tmp_path / "m.csv", {"when": when(np.arange(250)), "x": np.sin(np.arange(250.0)), "activity": what})
    got = held(read(path, length=20, stride=20, class_column="activity"))
    assert set(got.classes) == {"walk", "run", "sit"} and len(got) == 12
    assert [got.classes[k] for k in got.labels] == ["walk"] * 5 + ["run"] * 3 + ["sit"] * 4, "half of it runs at 140"


@pytest.mark.parametrize("form", ["nab", "points", "csv", "spans"])
def test_events_of_a_file_name_windows(tmp_path: Path, form: str) -> None:
    columns = {"when": when(np.arange(200) * 60), "x": np.sin(np.arange(200.0))}
    path = write(tmp_path / "machine.csv", columns)
    a, b = (str(ORIGIN + timedelta(minutes=m)) for m in (100, 119))
    file = tmp_path / ("events.csv" if form == "csv" else "events.json")
    forms = {
        "nab": json.dumps({"else/other.csv": [[a, b]], "real/machine.csv": [[a + ".000000", b + ".000000"]]}),
        "points": json.dumps({"machine.csv": [str(ORIGIN + timedelta(minutes=m)) for m in (105, 112)]}),
        "spans": json.dumps([{"start": a, "end": b, "class": "leak"}]),
        "csv": f"start,end,class,entity\n{a},{b},leak,machine\n",
    }
    file.write_text(forms[form], encoding="utf-8")
    got = held(read(path, length=20, stride=20, events=file))
    name = "leak" if form in ("csv", "spans") else "anomaly"
    assert got.classes == ("normal", name) and got.starts[got.labels == 1].tolist() == [start(6000)]


def test_wide_tables_are_read_with_and_without_a_header(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((12, 30)).round(4)
    text = "\n".join("\t".join([str(i % 3), *map(str, row)]) for i, row in enumerate(rows.tolist()))
    (tmp_path / "GunPoint_TRAIN.tsv").write_text(text, encoding="utf-8")
    got = held(read(tmp_path / "GunPoint_TRAIN.tsv"))
    assert got.values.shape == (12, 1, 30) and np.allclose(got.values[:, 0], rows, atol=1e-5)
    assert sorted(got.classes) == ["0", "1", "2"] and [got.classes[k] for k in got.labels] == [str(i % 3) for i in range(12)]
    named = {f"t{i}": pa.array([None if i >= 20 + r else float(rows[r, i]) for r in range(12)]) for i in range(30)}
    path = write(tmp_path / "w.csv", {"kind": ["a", "b"] * 6, **named})
    got = held(read(path, class_column="kind", period=0.5))
    assert got.lengths.tolist() == [min(20 + r, 30) for r in range(12)] and got.period == 0.5 and got.classes == ("a", "b")
    cut = held(read(path, class_column="kind", length=10, stride=10))
    assert len(cut) == 26 and cut.starts[:2].tolist() == [0, 10] and cut.entities[0] == "row 1"


BAD: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"when": when([0]), "x": [1.0]}, {}, "one reading"),
    ({"when": when(range(30)), "x": np.arange(30.0)}, {"length": 96}, "longer than every series.*has 30 readings"),
    ({"when": when(range(30)), "note": [f"n{i}" for i in range(30)]}, {}, "no column of numbers"),
    ({"when": when(range(30)), "x": np.ones(30)}, {}, "every channel is constant"),
    ({"when": when(range(30)), "x": pa.nulls(30), "y": np.arange(30.0)}, {"channels": ["x", "y"]}, "'x' holds no reading"),
    ({"when": when(range(30)), "x": np.arange(30.0)}, {"time": "wen"}, "'wen', which is not there; did you mean 'when'"),
    ({"when": ["early", "late"] * 15, "x": np.arange(30.0)}, {"time": "when"}, "'early', which is no moment"),
    ({"when": when(range(30)), "x": np.arange(30.0), "who": pa.nulls(30)}, {"entity": "who"}, "'who' names no entity"),
    ({"when": when([7] * 30), "x": np.arange(30.0)}, {"gaps": 5}, "of one moment, which makes one"),
    ({"when": when(range(30)), "x": np.arange(30.0)}, {"length": "5 fortnights"}, "no span of time"),
    ({"when": when(range(0, 1800, 60)), "x": np.arange(30.0)}, {"length": "10s"}, "shorter than from one reading to the next"),
    ({"when": when(range(30)), "x": np.arange(30.0)}, {"class_column": "x", "events": "e.json"}, "not both"),
    ({"when": when(range(30)), "x": np.arange(30.0)}, {"events": "none.json"}, "there is no file"),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "options", "sentence"), BAD, ids=[bad[2][:24] for bad in BAD])
def test_what_cannot_be_repaired_is_refused(
    tmp_path: Path, columns: dict[str, Any], options: dict[str, Any], sentence: str
) -> None:
    path = write(tmp_path / "m.parquet", columns)
    with pytest.raises(DataError, match=sentence) as caught:
        read(path, **{"length": 8, **options})
    assert "\n" not in str(caught.value)


def test_events_outside_the_series_and_of_nobody_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", {"when": when(range(100)), "x": np.sin(np.arange(100.0))})
    file = tmp_path / "e.json"
    file.write_text(json.dumps([["2030-01-01", "2030-01-02"]]), encoding="utf-8")
    with pytest.raises(DataError, match="no event lies within the series, which reach from 2024-01-01 00:00:00"):
        read(path, length=8, events=file)
    file.write_text(json.dumps({"other": [["2024-01-01 00:00:10", "2024-01-01 00:00:20"]]}), encoding="utf-8")
    with pytest.raises(DataError, match="other.*none of that is an entity here"):
        read(path, length=8, events=file)
    file.write_text(json.dumps([["2024-01-01 00:00:30", "2024-01-01 00:00:20"]]), encoding="utf-8")
    with pytest.raises(DataError, match="before it starts"):
        read(path, length=8, events=file)


def test_files_that_are_zipped_and_dialects_are_understood(tmp_path: Path) -> None:
    lines = ["Zeit;Druck"] + [f"{ORIGIN + timedelta(minutes=i):%d.%m.%Y %H:%M};{i},5" for i in range(40)]
    with gzip.open(tmp_path / "m.csv.gz", "wt", encoding="cp1252") as file:
        file.write("\n".join(lines))
    got = held(read(tmp_path / "m.csv.gz", length=10))
    assert got.channels == ("Druck",) and got.period == 60 and got.values[0, 0, 3] == 3.5 and got.entities[0] == "m"


@pytest.mark.parametrize(("lag", "noise"), [(24, 0.3), (60, 0.5), (7, 0.1)])
def test_the_dominant_period_is_found(lag: int, noise: float) -> None:
    n = np.arange(2000)
    wave = np.sin(2 * np.pi * n / lag) + noise * np.random.default_rng(0).standard_normal(len(n)) + n / 500
    assert abs((dominant(wave) or 0) - lag) <= 1
    assert dominant(np.random.default_rng(1).standard_normal(2000)) is None and dominant(np.ones(100)) is None


def test_a_machine_that_failed_is_read_with_its_events() -> None:
    folder = Path(os.environ.get("COUNTERPOISE_DATA", "")) / "nab_machine_temp"
    if not (folder / "combined_windows.json").is_file():
        pytest.skip("set COUNTERPOISE_DATA to the folder that holds nab_machine_temp")
    out = read(folder / "machine_temperature_system_failure.csv", length=96, events=folder / "combined_windows.json")
    got = held(out)
    assert got.period == 300 and got.classes == ("normal", "anomaly") and np.bincount(got.labels).tolist() == [416, 47]
    assert "12 rows are of a moment" in said(out) and got.inside.all()


def test_an_event_on_the_last_day_is_within_days(tmp_path: Path) -> None:
    hours = np.arange(0, 20 * 24)
    label = (hours > 20 * 24 - 12).astype(int)
    path = write(tmp_path / "m.csv", {"when": when(hours * 3600), "x": np.sin(hours / 9), "fault": label})
    got = held(read(path, length=2, resample="1d", class_column="fault"))
    assert got.starts[got.labels == 1].tolist() == [start(18 * 86400)]


def test_a_column_that_names_the_entity_once_more_is_no_attribute(tmp_path: Path) -> None:
    for i in range(3):
        serial = [f"SN-{i}"] * 40
        write(
            tmp_path / f"m{i}.csv",
            {"when": when(np.arange(40)), "x": np.sin(np.arange(40.0)), "serial": serial, "kw": [i] * 40},
        )
    out = read(tmp_path, length=10)
    assert held(out).channels == ("x",) and held(out).attributes.column_names == ["kw"]
    assert "only name the entity once more: 1 (serial)" in said(out)


def test_a_partitioned_folder_is_one_table(tmp_path: Path) -> None:
    for who in "ab":
        for day in range(2):
            (tmp_path / f"unit={who}" / f"day={day}").mkdir(parents=True)
            t = np.arange(30) + 30 * day
            write(tmp_path / f"unit={who}" / f"day={day}" / "part.parquet", {"when": when(t), "x": np.sin(t / 5)})
    out = read(tmp_path, length=20, stride=20, entity="unit", channels=["x"])
    got = held(out)
    assert got.entities == ("a",) * 3 + ("b",) * 3 and got.starts[:3].tolist() == [start(0), start(20), start(40)]
