"""How do the windows of a dataset leave for a player, a notebook or another tool: as sounds, as `datasets` plays them, or long?

Windows stream through, so memory does not grow with them. All is written beside and moved into place at the end: a stopped
export leaves nothing behind."""

from __future__ import annotations

import csv
import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from data.dataset import Dataset
from data.errors import DataError
from data.export import MADE_BY, SPLIT, SYNTHETIC, _check_target, _move
from data.export_formats import HOLDOUT, MARKER, TRAIN, VAL, part_for
from data.schema import Schema
from data.signals_out import audio_batch, height_of, long_batches, rate_of, to_wav, wav_names
from data.windows import CLASS, is_series, windows

To = Literal["wav", "audio", "long", "csv"]
#: What `datasets` calls the parts of an export.
CALLED = {TRAIN: "train", VAL: "validation", HOLDOUT: "test"}
INDEX = "index.csv"
HEAD = ("file", "class", "entity", "source", "is_synthetic", "split")


@dataclass
class ExportedSeries:
    """What lies in `folder`: windows; parts: train, val, holdout -> class -> windows."""

    folder: Path
    to: str
    windows: int = 0
    parts: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, part: str, level: str) -> None:
        self.windows += 1
        of = self.parts.setdefault(part, {})
        of[level] = of.get(level, 0) + 1


def export_series(
    tables: Callable[[], Iterable[pa.RecordBatch]], to: To, out: Path | str, *, schema: Schema, force: bool = False
) -> ExportedSeries:
    """Write windows into the folder `out`, which must be empty or not there.

    tables: called for the batches, of the columns of `schema`, and if they have them `is_synthetic` and `split` (train, val or
    reference, test or holdout): twice for sounds, whose loudness is looked at first. force: replace an earlier export in `out`.

    wav: <part>/<class>/<window>.wav and index.csv.  audio: data/<part>.parquet with a column `audio`, as `datasets` plays it.
    long, csv: <part>.parquet or <part>.csv with a row a reading. Sounds that stay within -1 to 1 are written as they are,
    others in proportion to the loudest of all.

    Raises DataError, and leaves `out` as it was, when the rows are no series, are no sounds for wav and audio, there is no
    window, a split is none of the words above, or `out` cannot be used."""
    writers: dict[str, Callable[..., None]] = {"wav": _wav, "audio": _audio, "long": _long, "csv": _long}
    if to not in writers:
        raise DataError(f"series are exported to {', '.join(writers)}, not to {to!r}")
    if not is_series(schema):
        raise DataError("these rows are no series; a table's Parquet files are its export")
    target = Path(out).expanduser().resolve()
    _check_target(target, force)
    height = _loudest(tables(), schema) if to in ("wav", "audio") else 1.0
    beside = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}"
    done = ExportedSeries(target, to)
    try:
        beside.mkdir(parents=True)
        writers[to](_by_part(tables(), schema, done), schema, beside, height, to)
        if not done.windows:
            raise DataError("there is no window to export; the dataset is empty")
        facts = {"made_by": MADE_BY, "to": to, "windows": done.windows, "parts": done.parts}
        (beside / MARKER).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        _move(beside, target)
    except OSError as error:
        raise DataError(f"{target} cannot be written ({error.strerror or error}); free some space or choose another") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return done


Parts = Iterator[tuple[str, pa.RecordBatch]]


def _loudest(tables: Iterable[pa.RecordBatch], schema: Schema) -> float:
    """What readings are divided by. Raises DataError where they are no sounds."""
    rate_of(schema)
    return max((height_of(windows(_rows(part, schema)).values) for part in tables if part.num_rows), default=1.0)


def _rows(part: pa.RecordBatch, schema: Schema) -> Dataset:
    return Dataset(pa.Table.from_batches([part]), schema)


def _by_part(tables: Iterable[pa.RecordBatch], schema: Schema, done: ExportedSeries) -> Parts:
    """(part, its rows of a batch), counted."""
    for batch in tables:
        stated = batch.column(SPLIT).to_pylist() if SPLIT in batch.schema.names else [None] * batch.num_rows
        parts = [part_for(word) for word in stated]
        if None in parts:
            word = stated[parts.index(None)]
            raise DataError(f"the column {SPLIT!r} holds {word!r}; it must be train, val, reference, test or holdout")
        levels = batch.column(CLASS).to_pylist() if CLASS in schema else [None] * batch.num_rows
        for part in dict.fromkeys(str(p) for p in parts):
            mine = [i for i, own in enumerate(parts) if own == part]
            for i in mine:
                done.add(part, str(levels[i] or ""))
            yield part, batch.take(pa.array(mine))


def _wav(parts: Parts, schema: Schema, folder: Path, height: float, to: str) -> None:
    rate, number = rate_of(schema), 0
    with (folder / INDEX).open("w", encoding="utf-8", newline="") as file:
        index = csv.writer(file)
        index.writerow(HEAD)
        for part, batch in parts:
            held = windows(_rows(batch, schema))
            drawn = batch.column(SYNTHETIC).to_pylist() if SYNTHETIC in batch.schema.names else [None] * len(held)
            for i, name in enumerate(wav_names(held, number)):
                place = folder / part / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(to_wav(held.values[i, :, : held.lengths[i]], rate, height=height))
                level = held.classes[held.labels[i]] if held.classes and held.labels[i] >= 0 else None
                row = (f"{part}/{name}", level, held.entities[i], held.sources[i], drawn[i], part)
                index.writerow(["" if value is None else value for value in row])
            number += len(held)


def _audio(parts: Parts, schema: Schema, folder: Path, height: float, to: str) -> None:
    (folder / "data").mkdir()
    number = 0

    def sounds() -> Parts:
        nonlocal number
        for part, batch in parts:
            yield part, audio_batch(batch, schema, height=height, first=number)
            number += batch.num_rows

    with ExitStack() as open_:
        files: dict[str, Any] = {}
        for part, batch in sounds():
            if part not in files:
                place = folder / "data" / f"{CALLED[part]}-00000-of-00001.parquet"
                files[part] = open_.enter_context(pq.ParquetWriter(place, batch.schema, compression="zstd"))
            files[part].write_batch(batch)


def _long(parts: Parts, schema: Schema, folder: Path, height: float, to: str) -> None:
    """A file a part, whose windows are counted from 0 in each."""
    counts: dict[str, int] = {}
    with ExitStack() as open_:
        files: dict[str, Any] = {}
        for part, batch in parts:
            for rows in long_batches([batch], schema, first=counts.get(part, 0)):
                if part not in files:
                    place = folder / f"{part}.{'csv' if to == 'csv' else 'parquet'}"
                    opened = pacsv.CSVWriter(place, rows.schema) if to == "csv" else pq.ParquetWriter(place, rows.schema)
                    files[part] = open_.enter_context(opened)
                files[part].write_batch(rows)
            counts[part] = counts.get(part, 0) + batch.num_rows
