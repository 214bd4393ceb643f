"""How do windows go back to people: as sounds to listen to, as a long table to plot, as a column that `datasets` plays?"""

from __future__ import annotations

import io
import json
import re
import wave
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.errors import DataError
from data.schema import Schema
from data.shards import feature
from data.windows import CLASS, ELAPSED, ENTITY, SERIES, Windows, attributes_of, windows

Array = np.ndarray
#: Columns of the long table: the window a reading is of, counted from 0; seconds since that began; the moment, where known.
WINDOW, SECONDS, TIME = "window", "seconds", "time"
#: Columns that a published dataset adds, which go along.
BESIDE = ("is_synthetic", "split")
AUDIO = "audio"
#: Readings a second that players and `datasets` take.
RATES = (1, 768_000)
#: Moments that are dates of our time, in seconds since 1970.
DATES = (1e8, 2e10)


def to_wav(readings: Array, rate: int, *, height: float = 1.0) -> bytes:
    """A WAV file of 16 bits: (n,) or (channels, n) readings from -height to height, `rate` a second.

    What is missing is silent; what lies beyond is cut off there. The same readings give the same bytes. Raises DataError for a
    rate that is none, no reading, or a height that is not above 0."""
    held = np.atleast_2d(np.asarray(readings, dtype=np.float64))
    if held.ndim != 2 or not held.shape[1]:
        raise DataError(f"a sound has readings, one channel or several of one length, not {held.shape}")
    if not (RATES[0] <= rate <= RATES[1] and height > 0 and np.isfinite(height)):
        raise DataError(
            f"{rate} readings a second of height {height:g} are no sound; give {RATES[0]} to {RATES[1]} and a height"
        )
    steps = np.round(np.clip(np.nan_to_num(held / height, posinf=1.0, neginf=-1.0), -1, 1) * 32767).astype("<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(held.shape[0])
        file.setsampwidth(2)
        file.setframerate(int(rate))
        file.writeframes(steps.T.tobytes())
    return out.getvalue()


def rate_of(schema: Schema) -> int:
    """Readings a second of windows that are sounds. Raises DataError where they are none: uneven, slow, or with levels."""
    column = schema[SERIES]
    if column.period is None:
        raise DataError("readings that come at uneven moments are no sound; state data.resample")
    rate = round(1 / column.period)
    if rate < RATES[0] or abs(rate * column.period - 1) > 0.01 or rate > RATES[1]:
        raise DataError(f"one reading every {column.period:g} seconds is no sound; write the windows as a long table instead")
    if named := [name for name, levels in zip(column.channels, column.levels, strict=True) if levels]:
        raise DataError(f"the channel {named[0]!r} has levels, which are no sound; write the windows as a long table instead")
    return rate


def height_of(values: Array) -> float:
    """What the loudest reading is scaled by: 1 for sounds that stay within -1 to 1, else their greatest."""
    loudest = float(np.nanmax(np.abs(values), initial=0.0))
    return loudest if loudest > 1 + 1e-6 else 1.0


def audio_table(rows: Dataset, *, height: float | None = None) -> pa.Table:
    """All windows as of `audio_batch`. height: as of `to_wav`; `height_of` all if None."""
    table = rows.table.combine_chunks()
    loudest = height_of(windows(rows).values) if height is None else height
    return pa.Table.from_batches([audio_batch(part, rows.schema, height=loudest) for part in table.to_batches()])


def audio_batch(part: pa.RecordBatch, schema: Schema, *, height: float = 1.0, first: int = 0) -> pa.RecordBatch:
    """Windows with a column `audio` of WAV files (struct of bytes and path) in place of the readings, and the `huggingface`
    metadata by which `datasets` plays them. Other columns stay.

    height: as of `to_wav`; first: the number of the first window, for the paths. Raises DataError where windows are no
    sounds."""
    rate, held = rate_of(schema), windows(Dataset(pa.Table.from_batches([part]), schema))
    files = [to_wav(_read(held, i), rate, height=height) for i in range(len(held))]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    named = zip(files, wav_names(held, first), strict=True)
    column = pa.array([{"bytes": data, "path": path} for data, path in named], kind)
    rest = [field for field in part.schema if field.name != SERIES]
    features: dict[str, Any] = {AUDIO: {"sampling_rate": rate, "_type": "Audio"}}
    features |= {field.name: feature(field.type) for field in rest}
    goal = pa.schema([pa.field(AUDIO, kind), *rest], metadata={"huggingface": json.dumps({"info": {"features": features}})})
    return pa.RecordBatch.from_arrays([column, *(part.column(field.name) for field in rest)], schema=goal)


def long_batches(batches: Iterable[pa.RecordBatch], schema: Schema, *, first: int = 0) -> Iterator[pa.RecordBatch]:
    """Windows as rows of single readings, batch by batch, so that memory does not grow with them.

    Columns: window, entity, class (where there are classes), seconds, time (UTC, null where unknown), the channels by their
    names, with levels as text, attributes, and is_synthetic and split where they are there. first: number of the first."""
    for part in batches:
        if part.num_rows:
            yield _long(part, schema, first)
            first += part.num_rows


def long_table(rows: Dataset) -> pa.Table:
    """As `long_batches`, of all windows at once."""
    return pa.Table.from_batches(list(long_batches(rows.table.to_batches(), rows.schema)), schema=long_schema(rows.schema))


def long_schema(schema: Schema, beside: Iterable[str] = ()) -> pa.Schema:
    """The columns that `long_batches` writes. beside: those of BESIDE that are there, as booleans and text."""
    column = schema[SERIES]
    fields = [(WINDOW, pa.int64()), (ENTITY, pa.string())]
    fields += [(CLASS, pa.string())] if CLASS in schema else []
    fields += [(SECONDS, pa.float64()), (TIME, pa.timestamp("us", tz="UTC"))]
    kinds = {c.name: field.type for c, field in zip(schema, schema.arrow(), strict=True)}
    others = [(c.name, kinds[c.name]) for c in attributes_of(schema)]
    others += [(name, pa.bool_() if name == BESIDE[0] else pa.string()) for name in beside]
    taken = {name for name, _ in (*fields, *others)}
    readings = [
        (_free(name, taken), pa.string() if levels else pa.float32())
        for name, levels in zip(column.channels, column.levels, strict=True)
    ]
    return pa.schema([*fields, *readings, *others])


def _free(name: str, taken: set[str]) -> str:
    """The channel's name, told apart from a column of the long table."""
    return name if name not in taken else f"{name}_read"


def _long(part: pa.RecordBatch, schema: Schema, first: int) -> pa.RecordBatch:
    held = windows(Dataset(pa.Table.from_batches([part]), schema))
    beside = [name for name in BESIDE if name in part.schema.names and name not in schema]
    of = np.repeat(np.arange(len(held)), held.lengths)
    inside = held.inside
    seconds = _moments(held)[inside]
    columns: list[Any] = [pa.array(of + first), part.column(ENTITY).take(pa.array(of)).cast(pa.string())]
    columns += [part.column(CLASS).take(pa.array(of)).cast(pa.string())] if CLASS in schema else []
    columns += [pa.array(seconds), _stamped(held.starts[of], seconds)]
    for c, levels in enumerate(held.levels):
        read = held.values[:, c][inside]
        gone = ~np.isfinite(read)
        if levels:
            codes = pa.array(np.where(gone, 0, read).astype(np.int64), mask=gone)
            columns.append(pa.array(levels, pa.string()).take(codes))
        else:
            columns.append(pa.array(read, pa.float32(), mask=gone))
    columns += [part.column(c.name).take(pa.array(of)) for c in attributes_of(schema)]
    columns += [part.column(name).take(pa.array(of)) for name in beside]
    goal = long_schema(schema, beside)
    return pa.RecordBatch.from_arrays([_whole(c).cast(f.type) for c, f in zip(columns, goal, strict=True)], schema=goal)


def _whole(column: Any) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _moments(held: Windows) -> Array:
    """Seconds of each reading since its window began: (n, longest); by the channel of steps where they are uneven."""
    places = np.broadcast_to(np.arange(held.longest, dtype=np.float64), (len(held), held.longest))
    if held.period is not None:
        return np.asarray(places * held.period)
    if ELAPSED not in held.channels:
        return np.asarray(places)
    steps = np.nan_to_num(held.values[:, held.channels.index(ELAPSED)].astype(np.float64))
    steps[:, 0] = 0.0
    return np.asarray(np.cumsum(steps, axis=1))


def _stamped(starts: Array, seconds: Array) -> pa.Array:
    """Moments as time stamps where they are dates of our time, else null."""
    known = np.isfinite(starts) & (starts > DATES[0]) & (starts < DATES[1])
    counted = np.round((np.where(known, starts, 0.0) + seconds) * 1e6).astype(np.int64)
    return pa.array(counted, mask=~known).cast(pa.timestamp("us", tz="UTC"))


def _read(held: Windows, i: int) -> Array:
    return held.values[i, :, : held.lengths[i]]


def wav_names(held: Windows, first: int = 0) -> list[str]:
    """A name for the WAV file of each window, below a folder of its class, no two alike. first: the number of the first."""
    out = []
    for i in range(len(held)):
        named = re.sub(r"\.(wav|flac)(?=@|$)", "", str(held.sources[i] or held.entities[i] or "drawn"), flags=re.IGNORECASE)
        plain = re.sub(r"[^\w.-]+", "_", named).strip("._")[:80] or "window"
        level = re.sub(r"[^\w-]+", "_", held.classes[held.labels[i]]) if held.classes and held.labels[i] >= 0 else ""
        out.append(f"{level}/{first + i:06d}_{plain}.wav" if level else f"{first + i:06d}_{plain}.wav")
    return out
