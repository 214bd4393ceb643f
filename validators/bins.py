"""Into which cells does a single column fall? Levels, quantile bins, tails, the calendar, and groups of rare levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.dataset import Dataset
from data.encode_values import Levels, floats, plain
from data.schema import Column
from validators.stats import Array

MISSING = "missing"
#: Tails are looked at beyond these shares of a column's values, on either side.
TAIL_SHARES = (0.001, 0.01)
#: Rare levels are told apart in at most so many groups.
GROUPS = 16


class Values:
    """The columns of one batch; each is decoded once, however many encoders read it."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch
        self.rows: int = batch.num_rows
        self._numbers: dict[str, Array] = {}
        self._levels: dict[str, Array] = {}

    def raw(self, name: str) -> pa.Array:
        return self.batch.column(self.batch.schema.get_field_index(name))

    def numbers(self, name: str) -> Array:
        """(n,) float64, NaN where missing."""
        if name not in self._numbers:
            self._numbers[name] = floats(self.raw(name), name)
        return self._numbers[name]

    def levels(self, name: str, known: Levels) -> Array:
        """(n,) int64 positions among the reference's levels; -1 for a level never seen, -2 for null."""
        if name not in self._levels:
            self._levels[name] = known.read(self.raw(name))
        return self._levels[name]


class Encoder(Protocol):
    """Places rows in named cells. key: names the encoder within a grid; labels: one a code."""

    @property
    def key(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    def read(self, values: Values) -> Array:
        """(n,) int16 codes into `labels`, -1 for rows in no cell."""


@dataclass(frozen=True)
class Bins:
    """Levels, or quantile bins with heavy values apart, of one column.

    grain: "fine" or "coarse". alone[i]: the code of level i. missing, rest: codes of nulls and of what has no cell of
    its own, -1 where they have none."""

    name: str
    labels: tuple[str, ...]
    grain: str = "fine"
    known: Levels | None = None
    alone: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int16))
    spikes: Array = field(default_factory=lambda: np.zeros(0))
    edges: Array = field(default_factory=lambda: np.zeros(0))
    missing: int = -1
    rest: int = -1

    @property
    def key(self) -> str:
        return f"{self.grain}:{self.name}"

    def read(self, values: Values) -> Array:
        return self._words(values) if self.known is not None else self._numbers(values.numbers(self.name))

    def _words(self, values: Values) -> Array:
        codes = values.levels(self.name, self.known)  # type: ignore[arg-type]
        # The entry before the last answers for a level never seen, which joins the rest; the last for nulls.
        table = np.append(self.alone, np.array([self.missing, self.rest], dtype=np.int16))
        return np.asarray(table[codes])

    def _numbers(self, values: Array) -> Array:
        out = np.full(len(values), -1, dtype=np.int16)
        if self.rest >= 0:
            out[:] = self.rest + np.searchsorted(self.edges, values, side="left")
        if len(self.spikes):
            near = np.clip(np.searchsorted(self.spikes, values), 0, len(self.spikes) - 1)
            for place in (near, np.maximum(near - 1, 0)):
                # A float32 column and a float64 column hold the same spike.
                hit = np.abs(values - self.spikes[place]) <= 1e-12 + 1e-6 * np.abs(self.spikes[place])
                out[hit] = place[hit]
        out[np.isnan(values)] = self.missing
        return out


def fit_bins(rows: Dataset, column: Column, *, grain: str, bins: int, floor: float) -> Bins:
    """Cells of one column: levels, or quantile bins with heavy values apart. `floor` is the least share of a cell."""
    values = rows.column(column.name)
    return _level_bins(values, column, grain, floor) if column.discrete else _number_bins(values, column, grain, bins, floor)


def _level_bins(values: pa.ChunkedArray, column: Column, grain: str, floor: float) -> Bins:
    levels = Levels.fit(values, column)
    total = max(len(values), 1)
    counts = np.array(levels.counts, dtype=float)
    kept = np.flatnonzero(counts >= floor * total)
    alone = np.full(len(counts), -1, dtype=np.int16)
    alone[kept] = np.arange(len(kept))
    labels = [f"{column.name}={str(levels.values[i]).strip()}" for i in kept]
    rest = -1
    if counts.sum() - counts[kept].sum() >= floor * total:
        rest = len(labels)
        alone[alone < 0] = rest
        labels.append(f"{column.name}=any other level")
    missing = -1
    if (total - counts.sum()) >= floor * total:
        missing = len(labels)
        labels.append(f"{column.name}={MISSING}")
    return Bins(column.name, tuple(labels), grain, known=levels, alone=alone, missing=missing, rest=rest)


def _number_bins(raw: pa.ChunkedArray, column: Column, grain: str, bins: int, floor: float) -> Bins:
    values = floats(raw, column.name)
    total = max(len(values), 1)
    seen = values[np.isfinite(values)]
    distinct, counts = np.unique(seen, return_counts=True)
    heavy = counts >= max(floor, 1 / bins) * total
    spikes, others = distinct[heavy], seen[~np.isin(seen, distinct[heavy])]
    labels = [f"{column.name}={_number(v, column)}" for v in spikes]
    edges, rest = np.zeros(0), -1
    count = min(int(len(others) / total / floor), round(bins * len(others) / total) or 1)
    if count >= 1 and len(others):
        rest = len(labels)
        inner = np.quantile(others, np.arange(1, count) / count, method="lower")
        edges = np.unique(inner[inner < others.max()])
        labels += _ranges(column, edges, whole=not len(spikes))
    missing = -1
    if np.isnan(values).sum() >= floor * total:
        missing = len(labels)
        labels.append(f"{column.name}={MISSING}")
    return Bins(column.name, tuple(labels), grain, spikes=spikes, edges=edges, missing=missing, rest=rest)


def _ranges(column: Column, edges: Array, *, whole: bool) -> list[str]:
    if not len(edges):
        return [f"{column.name}=any value" if whole else f"{column.name}=any other value"]
    shown = [_number(edge, column) for edge in edges]
    middle = [f"{column.name} over {low} to {high}" for low, high in zip(shown, shown[1:], strict=False)]
    # The outermost bins are open: a real minimum or maximum must not stand in a report.
    return [f"{column.name} up to {shown[0]}", *middle, f"{column.name} over {shown[-1]}"]


def _number(value: float, column: Column) -> str:
    if column.kind == "datetime":
        return _instant(value, column.dtype)
    return f"{value:.0f}" if column.kind == "integer" and abs(value) < 1e15 else f"{value:.4g}"


def _instant(value: float, dtype: str) -> str:
    if dtype.startswith("date32"):
        return str(np.datetime64(int(value), "D"))
    unit = dtype[len("timestamp[") :].split(",")[0].rstrip("]") if dtype.startswith("timestamp") else "ms"
    return str(np.array(int(value), f"datetime64[{unit}]").astype("datetime64[s]"))


@dataclass(frozen=True)
class Present:
    """Whether a column holds a value at all."""

    name: str

    @property
    def key(self) -> str:
        return f"present:{self.name}"

    @property
    def labels(self) -> tuple[str, ...]:
        return (f"{self.name}=any value",)

    def read(self, values: Values) -> Array:
        gone = np.asarray(values.raw(self.name).is_null().to_numpy(zero_copy_only=False), dtype=bool)
        return np.where(gone, -1, 0).astype(np.int16)


@dataclass(frozen=True)
class Tails:
    """The outermost values of a numeric column, in cells finer than its bins; the middle is in no cell."""

    name: str
    labels: tuple[str, ...]
    edges: Array

    @property
    def key(self) -> str:
        return f"tails:{self.name}"

    def read(self, values: Values) -> Array:
        seen = values.numbers(self.name)
        out = np.searchsorted(self.edges, seen, side="left").astype(np.int16)
        out[np.isnan(seen) | (out == len(TAIL_SHARES))] = -1
        return out


def fit_tails(rows: Dataset, column: Column, *, floor: float) -> Tails | None:
    """Cells beyond the 0.1 % and 1 % quantiles on either side, named by quantile; None where none could be tested.

    Only values beyond the edge fall in, so that a heavy value at the end of the range is no tail."""
    seen = floats(rows.column(column.name), column.name)
    seen = seen[np.isfinite(seen)]
    if TAIL_SHARES[-1] < floor or len(seen) < 2 / TAIL_SHARES[-1]:
        return None
    low = np.quantile(seen, TAIL_SHARES, method="lower")
    high = np.quantile(seen, 1 - np.array(TAIL_SHARES[::-1]), method="lower")
    # A value equal to an edge belongs to the inner side below and above alike.
    edges = np.concatenate([np.nextafter(low, -np.inf), high])
    below = [f"{column.name} below its {100 * share:g} % quantile" for share in TAIL_SHARES]
    above = [f"{column.name} above its {100 - 100 * share:g} % quantile" for share in TAIL_SHARES[::-1]]
    return Tails(column.name, (*below, f"{column.name} between", *above), np.maximum.accumulate(edges))


#: What a time of the year, the week or the day is called, and how it is read from a time.
_CALENDAR: Mapping[str, tuple[Callable[[pa.Array], pa.Array], tuple[str, ...]]] = {
    "month": (
        lambda times: pc.subtract(pc.month(times), 1),
        (
            "January",
            "February",
            "March",
            "April",
            "May",
            "June",
            "July",
            "August",
            "September",
            "October",
            "November",
            "December",
        ),
    ),
    "weekday": (pc.day_of_week, ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")),
    "hour": (pc.hour, tuple(f"{hour:02d}:00 to {hour:02d}:59" for hour in range(24))),
}


@dataclass(frozen=True)
class Calendar:
    """The month, the weekday or the hour of a time."""

    name: str
    part: str

    @property
    def key(self) -> str:
        return f"{self.part}:{self.name}"

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(f"{self.name} {self.part} {label}" for label in _CALENDAR[self.part][1])

    def read(self, values: Values) -> Array:
        times = plain(values.raw(self.name))
        if not pa.types.is_temporal(times.type):
            times = times.cast(pa.timestamp("us"))
        codes = pc.fill_null(_CALENDAR[self.part][0](times), -1)
        return np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int16)


def fit_calendar(column: Column) -> list[Calendar]:
    """What can be asked of a column's times."""
    parts = ["month", "weekday"] + (["hour"] if column.dtype.startswith("timestamp") else [])
    return [Calendar(column.name, part) for part in parts]


@dataclass(frozen=True)
class Groups:
    """The rare levels of a column, too rare for cells of their own, parted by a fixed hash of their text."""

    name: str
    known: Levels
    rare: Array
    size: int

    @property
    def key(self) -> str:
        return f"groups:{self.name}"

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(f"{self.name}: rare levels, group {i + 1} of {self.size}" for i in range(self.size))

    def read(self, values: Values) -> Array:
        codes = values.levels(self.name, self.known)
        out = np.append(self.rare, np.array([-1, -1], dtype=np.int16))[codes]
        new = np.flatnonzero(codes == -1)
        if len(new):
            out[new] = _group(plain(values.raw(self.name)).take(pa.array(new)), self.size)
        return np.asarray(out)


def fit_groups(rows: Dataset, column: Column, *, floor: float) -> Groups | None:
    """As many groups as twice the floor allows, at most GROUPS; None when there are not two."""
    levels = Levels.fit(rows.column(column.name), column)
    counts = np.array(levels.counts, dtype=float)
    rare = counts < floor * rows.num_rows
    size = min(GROUPS, int(counts[rare].sum() / (2 * floor * rows.num_rows)))
    if size < 2:
        return None
    groups = np.where(rare, _group(levels.known(), size), -1).astype(np.int16)
    return Groups(column.name, levels, groups, size)


def _group(levels: pa.Array, size: int) -> Array:
    """The group of each level, the same in every process: (n,) int16."""
    from pandas.util import hash_array

    texts = np.asarray(levels.cast(pa.string()).to_pylist(), dtype=object)
    return np.asarray((hash_array(texts, categorize=True) % np.uint64(size)).astype(np.int16))


@dataclass(frozen=True)
class Patterns:
    """Which columns are missing together. keys: the patterns of the reference, ascending; codes: their cells."""

    names: tuple[str, ...]
    labels: tuple[str, ...]
    keys: Array
    codes: Array

    @property
    def key(self) -> str:
        return "patterns"

    def read(self, values: Values) -> Array:
        seen = _pattern(values, self.names)
        place = np.clip(np.searchsorted(self.keys, seen), 0, len(self.keys) - 1)
        return np.where(self.keys[place] == seen, self.codes[place], -1).astype(np.int16)


def fit_patterns(rows: Dataset, columns: list[Column], *, floor: float) -> Patterns | None:
    """The patterns that hold at least `floor` of the rows; None with fewer than two columns that have nulls."""
    names = tuple(c.name for c in columns if rows.column(c.name).null_count)
    if len(names) < 2:
        return None
    seen = np.concatenate(list(rows.scan(lambda batch, _: _pattern(Values(batch), names), columns=list(names))))
    keys, first, counts = np.unique(seen, return_index=True, return_counts=True)
    kept = np.flatnonzero(counts >= floor * len(seen))
    masks = rows.take(first[kept]).table.select(list(names))
    missing = [[name for name in names if masks.column(name)[i].as_py() is None] for i in range(len(kept))]
    labels = tuple(f"missing together: {_named(found)}" if found else "no value missing" for found in missing)
    return Patterns(names, labels, keys[kept], np.arange(len(kept))) if len(kept) > 1 else None


def _pattern(values: Values, names: tuple[str, ...]) -> Array:
    """One 64-bit key a row for the set of its missing columns (Zobrist hashing: random keys, xor)."""
    keys = np.random.default_rng(len(names)).integers(1, 2**63, size=len(names), dtype=np.uint64)
    out = np.zeros(values.rows, dtype=np.uint64)
    for name, key in zip(names, keys, strict=True):
        gone = np.asarray(values.raw(name).is_null().to_numpy(zero_copy_only=False), dtype=bool)
        out ^= np.where(gone, key, np.uint64(0))
    return out


def _named(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown
