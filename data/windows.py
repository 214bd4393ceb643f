"""How do series travel in a table, and how are they read? A row is a window: what each channel read, moment by moment.

A dataset of series is an Arrow table with the columns of `schema()`: the readings, channel by channel; when the window begins,
what happens in it (its class), whose it is (its entity: a machine, a speaker), where it came from, and for a drawn window the
seed it was drawn with. Attributes of the entity that do not change stand in columns of their own behind these. Windows may be
of several lengths; a reading that is missing is null. Of a channel of levels the readings are positions among its levels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.errors import DataError
from data.schema import Column, Schema

Array = np.ndarray

#: Readings of a window: a list for each channel, all of one length.
READINGS = pa.list_(pa.list_(pa.float32()))

SERIES, START, CLASS, ENTITY, SOURCE, SEED = "series", "start", "class", "entity", "source", "seed"
#: Columns of every dataset of series; others are attributes.
OWN = (SERIES, START, CLASS, ENTITY, SOURCE, SEED)
#: Where a table says what its columns mean.
DESCRIBED = b"counterpoise.series"
#: The class of windows in which nothing happens, where events are what has names.
NORMAL = "normal"
#: The channel of seconds since the reading before, where readings come as they come.
ELAPSED = "elapsed"


def schema(
    channels: Sequence[str],
    classes: Sequence[str] = (),
    *,
    levels: Sequence[Sequence[str]] | None = None,
    period: float | None = None,
    attributes: Sequence[Column] = (),
) -> Schema:
    """The schema of a dataset of series.

    channels: in the order of the readings; classes: as they are spelled, most frequent first, none where windows have no class;
    levels: for each channel its levels, () for one of numbers; period: seconds between readings; attributes: further columns,
    of kinds that tables have. Raises DataError for no channel, two of one name, or an attribute with a name of `OWN`."""
    kinds = tuple(tuple(each) for each in levels) if levels is not None else ((),) * len(channels)
    if not channels or len(set(channels)) != len(channels) or len(kinds) != len(channels):
        raise DataError(f"a series has channels of different names, each with its levels or none, not {list(channels)}")
    if taken := [c.name for c in attributes if c.name in OWN]:
        raise DataError(f"the attribute {taken[0]!r} has a name that datasets of series use themselves; rename the column")
    named: tuple[Column, ...] = ()
    if classes:
        named = (Column(name=CLASS, kind="categorical", dtype="string", categories=tuple(classes)),)
    return Schema(
        (
            Column(name=SERIES, kind="series", dtype=str(READINGS), channels=tuple(channels), levels=kinds, period=period),
            Column(name=START, kind="text", dtype="double", nullable=True),
            *named,
            Column(name=ENTITY, kind="text", dtype="string", nullable=True),
            Column(name=SOURCE, kind="text", dtype="string", nullable=True),
            Column(name=SEED, kind="text", dtype="int64", nullable=True),
            *attributes,
        ),
        target=CLASS if classes else None,
        group=ENTITY,
    )


def described(table: pa.Table, rows: Schema) -> pa.Table:
    """The table with its schema in its metadata, by which a reader of a source hands it on."""
    held = {**(table.schema.metadata or {}), DESCRIBED: json.dumps(rows.to_json(), default=str).encode()}
    return table.replace_schema_metadata(held)


def description(table: pa.Table) -> Schema:
    """The schema that `described` put there."""
    return Schema.from_json(json.loads((table.schema.metadata or {})[DESCRIBED]))


def is_series(rows: Schema) -> bool:
    """Whether these are windows of series rather than rows of a table."""
    return SERIES in rows and rows[SERIES].kind == "series"


def attributes_of(rows: Schema) -> list[Column]:
    """The columns that say what does not change of an entity."""
    return [column for column in rows if column.name not in OWN]


@dataclass(frozen=True)
class Windows:
    """Windows in memory.

    values: (n, channels, longest) float32, NaN where a reading is missing and behind the end of a window; lengths: (n,) int64;
    labels: (n,) int64 positions in `classes`, 0 where there are none; classes, channels: names; levels: of each channel, () for
    numbers; period: seconds between readings, None where they come as they come; starts: (n,) float64 seconds since 1970 in
    UTC, NaN where unknown; entities, sources: names or None; attributes: a table of n rows, perhaps without a column."""

    values: Array
    lengths: Array
    labels: Array
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    period: float | None
    starts: Array
    entities: tuple[str | None, ...]
    sources: tuple[str | None, ...]
    attributes: pa.Table

    def __len__(self) -> int:
        return len(self.values)

    @property
    def longest(self) -> int:
        """Readings of the longest window."""
        return int(self.values.shape[2])

    @property
    def inside(self) -> Array:
        """Which places lie within their window: (n, longest) bool."""
        return np.asarray(np.arange(self.longest)[None, :] < self.lengths[:, None])

    def take(self, places: Any) -> Windows:
        """The windows at these positions, in this order."""
        where = np.asarray(places, dtype=np.int64)
        return replace(
            self,
            values=self.values[where],
            lengths=self.lengths[where],
            labels=self.labels[where],
            starts=self.starts[where],
            entities=tuple(self.entities[i] for i in where),
            sources=tuple(self.sources[i] for i in where),
            attributes=self.attributes.take(pa.array(where)),
        )

    def of(self, name: str) -> Windows:
        """The windows of one class."""
        return self.take(np.flatnonzero(self.labels == self.classes.index(name)))


def windows(rows: Dataset) -> Windows:
    """A dataset of series in memory. Raises DataError for a window without readings or with channels of several lengths."""
    column, table = rows.schema[SERIES], rows.table
    values, lengths = padded(table.column(SERIES), len(column.channels))
    classes = tuple(str(level) for level in rows.schema.classes())
    labels = rows.labels().astype(np.int64) if classes else np.zeros(len(values), dtype=np.int64)
    starts = table.column(START).cast(pa.float64()).to_numpy(zero_copy_only=False)
    return Windows(
        values=values,
        lengths=lengths,
        labels=labels,
        classes=classes,
        channels=column.channels,
        levels=column.levels,
        period=column.period,
        starts=np.asarray(starts, dtype=np.float64),
        entities=tuple(table.column(ENTITY).to_pylist()),
        sources=tuple(table.column(SOURCE).to_pylist()),
        attributes=table.select([c.name for c in attributes_of(rows.schema)]),
    )


def padded(column: pa.ChunkedArray, channels: int) -> tuple[Array, Array]:
    """The readings as (n, channels, longest) float32 with NaN for what is missing and behind the end, and (n,) lengths.

    Raises DataError for a window with another number of channels, channels of several lengths, or no reading."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    n = len(whole)
    if whole.null_count:
        raise DataError("a window has no readings at all; drop its row")
    outer = np.diff(whole.offsets.to_numpy()) if n else np.zeros(0, dtype=np.int64)
    if n and (outer != channels).any():
        raise DataError(f"a window has {int(outer[outer != channels][0])} channels where {channels} are named; mend the rows")
    inner = whole.flatten()
    steps = np.diff(inner.offsets.to_numpy()).reshape(n, channels) if n else np.zeros((0, channels), dtype=np.int64)
    if n and ((steps != steps[:, :1]).any() or inner.null_count or (steps[:, 0] < 1).any()):
        raise DataError("a window has channels of several lengths, or none that holds a reading; mend the rows")
    lengths = steps[:, 0].astype(np.int64) if n else np.zeros(0, dtype=np.int64)
    flat = inner.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    out = np.full((n, channels, int(lengths.max(initial=1))), np.nan, dtype=np.float32)
    inside = np.arange(out.shape[2])[None, None, :] < lengths[:, None, None]
    out[np.broadcast_to(inside, out.shape)] = flat
    return out, lengths


def readings(values: Array, lengths: Array) -> pa.Array:
    """The column of `schema()` that holds these readings: (n, channels, longest), NaN becomes null; (n,) lengths."""
    n, channels, longest = values.shape
    inside = np.broadcast_to(np.arange(longest)[None, None, :] < np.asarray(lengths)[:, None, None], values.shape)
    flat = values[inside].astype(np.float32)
    inner = np.concatenate([[0], np.cumsum(np.repeat(lengths, channels))]).astype(np.int32)
    held = pa.array(flat, pa.float32(), mask=np.isnan(flat))
    lists = pa.ListArray.from_arrays(pa.array(inner), held)
    return pa.ListArray.from_arrays(pa.array(np.arange(n + 1, dtype=np.int32) * channels), lists).cast(READINGS)


def batch(
    rows: Schema,
    values: Array,
    lengths: Array,
    *,
    classes: Sequence[str] | None = None,
    starts: Sequence[float | None] | None = None,
    entities: Sequence[str | None] | None = None,
    sources: Sequence[str | None] | None = None,
    seeds: Sequence[int | None] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> pa.RecordBatch:
    """Windows as a batch of the columns of `rows`.

    values: (n, channels, longest), NaN for what is missing; lengths: (n,); classes: a name each, where `rows` has classes;
    attributes: column -> n values, for each attribute of `rows`; one that is not given is null."""
    n = len(values)

    def filled(given: Sequence[Any] | None, dtype: pa.DataType) -> pa.Array:
        return pa.array([None] * n if given is None else list(given), dtype)

    columns: dict[str, pa.Array] = {SERIES: readings(values, np.asarray(lengths)), START: filled(starts, pa.float64())}
    if CLASS in rows:
        columns[CLASS] = filled(classes, pa.string())
    columns |= {ENTITY: filled(entities, pa.string()), SOURCE: filled(sources, pa.string()), SEED: filled(seeds, pa.int64())}
    given = attributes or {}
    for column, field in zip(rows, rows.arrow(), strict=True):
        if column.name not in columns:
            held = given.get(column.name)
            columns[column.name] = held if isinstance(held, pa.Array) else filled(held, field.type)
    return pa.RecordBatch.from_arrays([columns[name] for name in rows.names], schema=rows.arrow())
