"""Is what lies at a path best read as series; and with which options, for a first plan to state?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.dataset import Dataset
from data.encode_values import floats
from data.errors import DataError
from data.sources import csv as csv_source
from data.sources import series as series_source
from data.sources._found import pictures_below
from data.sources._series_events import from_file
from data.sources._series_files import one, tables_below
from data.sources._series_lines import Line, rate
from data.sources._series_roles import TIMES, entity_of, moments
from data.sources._series_wide import _is_bare
from data.sources.wav import sounds_below
from data.windows import description, windows

Array = np.ndarray
#: Rows below which steps say nothing; the share of moments of one thing that may come twice.
LEAST_ROWS, TWICE = 50, 0.05
#: Readings of a wide table without a header from which on it may be one, and how alike neighbours must be.
LEAST_READINGS, ALIKE = 32, 0.7
#: Windows that a plan should find, if there are readings for them.
WINDOWS = 100
#: Names of columns that label readings; most labels.
LABELS = re.compile(
    r"^(is_?)?(anomal(y|ies|ous)|outliers?|labels?|class(es)?|target|faults?|failures?|events?|attack|activity)$", re.I
)
MOST_LABELS = 20
#: Files of label windows, beside the readings.
EVENTS = re.compile(r"(window|label|event|anomal)", re.I)


def recognise_series(path: str | Path) -> dict[str, Any] | None:
    """How to read these as series, as `data` of a plan: {"use": "series" or "wav", "path": ..., and options}; None where rows
    are better read as a table.

    Series are: a folder of sounds and of no pictures; a csv or Parquet file, or a folder of alike ones, with a column of
    moments that follow one another in equal steps, of each entity if moments repeat, and with numbers beside it; a file without
    header that has a row for each series. A column of labels, or a file of label windows beside it, is stated too, and a length
    by which there are some WINDOWS windows."""
    place = Path(path)
    try:
        found = _folder(place) if place.is_dir() else _file(place) if place.is_file() else None
        return None if found is None else _measured(found)
    except DataError:
        return None


def _folder(place: Path) -> dict[str, Any] | None:
    if sounds_below(place):
        return None if pictures_below(place) else {"use": "wav", "path": str(place)}
    files = tables_below(place)
    events = [file for file in files if _tells_events(file)]
    files = [file for file in files if file not in events]
    if len(files) < 2:
        return None
    if events:  # they would be read as an entity
        return None
    tables = [one(file) for file in files[:3]]
    if any(set(table.column_names) != set(tables[0].column_names) for table in tables):
        return None
    if any(_timed(table) is None for table in tables):
        return None
    found = _timed(tables[0]) or {}
    return {"use": "series", "path": str(place), **found, **_labels(tables[0])}


def _file(place: Path) -> dict[str, Any] | None:
    if place.suffix.lower() in (".wav", ".flac"):
        return {"use": "wav", "path": str(place)}
    if _is_wide_series(place):
        return {"use": "series", "path": str(place), "layout": "wide"}
    table = one(place)
    timed = _timed(table)
    if timed is None:
        return None
    labels = _labels(table)
    return {"use": "series", "path": str(place), **timed, **(labels or _events_beside(place))}


def _tells_events(file: Path) -> bool:
    if file.suffix.lower() != ".csv" or not EVENTS.search(file.stem):
        return False
    return {"start", "end"} <= {name.strip().lower() for name in one(file).column_names}


def _is_wide_series(place: Path) -> bool:
    """Whether a text without a header has rows whose readings change little from one to the next."""
    if place.suffix.lower() not in (".csv", ".tsv", ".txt", ".tab") or not _is_bare(place):
        return False
    table = csv_source.read(place, header=False)
    numbers = [f.name for f in table.schema if pa.types.is_floating(f.type) or pa.types.is_integer(f.type)]
    if len(numbers) < LEAST_READINGS or table.num_rows < 4:
        return False
    values = np.stack([floats(table.column(name), name) for name in numbers[1:]], axis=1)
    middle = values - np.nanmean(values, axis=1, keepdims=True)
    spread = np.nanmean(middle**2, axis=1)
    like = np.nanmean(middle[:, 1:] * middle[:, :-1], axis=1)
    return bool(np.nanmean(like[spread > 0] / spread[spread > 0]) >= ALIKE) if (spread > 0).any() else False


def _timed(table: pa.Table) -> dict[str, Any] | None:
    """The columns of time and, where moments repeat, entity, if readings come in equal steps; None if not."""
    names = [f.name for f in table.schema if pa.types.is_temporal(f.type)]
    if len(names) > 1:
        return None
    numbers = [f.name for f in table.schema if pa.types.is_floating(f.type) or pa.types.is_integer(f.type)]
    if not names:
        names = [name for name in numbers if name.strip().lower() in TIMES][:1]
    if not names or table.num_rows < LEAST_ROWS or not [name for name in numbers if name != names[0]]:
        return None
    column = table.column(names[0])
    if column.null_count:
        return None
    times, _ = moments(column, names[0], "")
    whose = entity_of(table, names[0])
    lines = [Line(str(i), np.sort(times[rows]), np.zeros((0, len(rows)))) for i, rows in enumerate(_groups(table, whose))]
    twice = sum(int((np.diff(line.times) <= 0).sum()) for line in lines)
    if twice > TWICE * len(times):
        return None
    lines = [Line(line.entity, np.unique(line.times), line.values) for line in lines]
    if rate([line for line in lines if len(line.times) > 2]) is None:
        return None
    return {"time": names[0]} | ({"entity": whose} if whose else {})


def _groups(table: pa.Table, whose: str | None) -> list[Array]:
    if whose is None:
        return [np.arange(table.num_rows)]
    coded = pc.dictionary_encode(table.column(whose)).combine_chunks()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return [np.flatnonzero(codes == code) for code in range(len(coded.dictionary))]


def _labels(table: pa.Table) -> dict[str, Any]:
    """The column that labels readings, by its name, if it has few labels."""
    for field in table.schema:
        if LABELS.match(field.name.strip()) and not pa.types.is_floating(field.type) and not pa.types.is_temporal(field.type):
            if 2 <= pc.count_distinct(table.column(field.name), mode="all").as_py() <= MOST_LABELS:
                return {"class_column": field.name}
    return {}


def _events_beside(place: Path) -> dict[str, Any]:
    """A file of label windows in the same folder that tells of this series."""
    for file in sorted(place.parent.iterdir()):
        if file == place or file.suffix.lower() not in (".json", ".csv") or not EVENTS.search(file.stem):
            continue
        try:
            if from_file(file, {place.name.split(".")[0]: place.name}, []).all:
                return {"events": str(file)}
        except DataError:
            continue
    return {}


def _measured(found: dict[str, Any]) -> dict[str, Any]:
    """With the length and, where windows are few, the stride that a plan should state. Raises DataError where they cannot be
    read."""
    options = {key: value for key, value in found.items() if key != "use"}
    if found["use"] == "wav" or found.get("layout") == "wide":
        return found
    table = series_source.read(**options)
    length = windows(Dataset(table, description(table))).longest
    few = table.num_rows < WINDOWS and length >= 4
    return found | {"length": length} | ({"stride": length // 4} if few else {})
