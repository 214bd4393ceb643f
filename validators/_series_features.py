"""How do windows of series become rows of numbers that the gate's checks can judge?

In one table a window has its looks (principal components of MiniRocket's features beside what a person can read of it) and
its attributes: by this spread, labels, repeats and coverage are judged. Modes are judged by what a person can read, channel
by channel, with the first few looks besides. In a third a window has its traces alone, the shape of its course whatever its
height and strength: by this copies are judged."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.schema import Column, Schema
from data.windows import CLASS, ENTITY, Windows
from validators._pictures_features import Directions
from validators._rocket import Rocket
from validators._series_measures import Readable, gapless

Array = np.ndarray[Any, Any]

#: Looks at most, and training windows for each: in more directions than that all windows are equally far apart.
LOOKS, WINDOWS_A_LOOK = 16, 8
#: Looks in which modes are searched for, besides what a person can read.
MODE_LOOKS = 5
#: Traces at most, and training windows for each: a copy is near in all of them, so many do no harm.
TRACES, WINDOWS_A_TRACE = 32, 2
#: Readings to which a window is brought for its traces.
POINTS = 48
#: A channel's shape counts as far as it deviates by this share of the channel's own deviation over all windows.
FLAT = 0.05
#: Deviations from the middle beyond which what can be read of a window is as far as that.
FARTHEST = 5.0


@dataclass(frozen=True)
class Measured:
    """What is known of the windows of one side. looks: (n, d), MiniRocket's features; traces: (n, e); read: column -> (n,),
    what a person can read; labels: (n,) positions in `classes`; keys: a digest of each one's readings; groups: a number for
    each, the same for windows of one entity; attributes: column -> values, as they stand in the data."""

    looks: Array
    traces: Array
    read: Mapping[str, Array]
    labels: Array
    classes: tuple[str, ...]
    keys: Array
    groups: Array
    entities: Array
    attributes: pa.Table

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: Array) -> Measured:
        """The windows at these positions, in this order."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        parts |= {name: parts[name][places] for name in ("looks", "traces", "labels", "keys", "groups", "entities")}
        parts["read"] = {name: values[places] for name, values in self.read.items()}
        parts["attributes"] = self.attributes.take(pa.array(places))
        return Measured(**parts)


@dataclass(frozen=True)
class Planes:
    """Readings as planes of numbers: those of a channel in deviations of train, a plane of zeros and ones for each level, and
    one that says where readings are missing, for channels of which some are.

    middle, width: (channels,); missing: channels with such a plane."""

    middle: Array
    width: Array
    levels: tuple[tuple[str, ...], ...]
    missing: tuple[int, ...]

    @classmethod
    def of(cls, train: Windows) -> Planes:
        """Of the training windows."""
        known = np.isfinite(train.values)
        count = np.maximum(known.sum(axis=(0, 2)), 1)
        middle = np.where(known, train.values, 0).sum(axis=(0, 2), dtype=np.float64) / count
        apart = np.where(known, train.values - middle[None, :, None], 0)
        width = np.sqrt((apart**2).sum(axis=(0, 2), dtype=np.float64) / count)
        gone = np.isnan(train.values) & train.inside[:, None, :]
        missing = tuple(int(c) for c in np.flatnonzero(gone.any(axis=(0, 2))))
        return cls(middle, np.where(width > 0, width, 1.0), train.levels, missing)

    def __call__(self, held: Windows) -> Array:
        """(n, planes, t) float32, 0 behind the end of a window."""
        filled = gapless(held.values, held.lengths)
        parts = []
        for c, levels in enumerate(self.levels):
            if levels:
                read = np.rint(filled[:, c])
                parts += [(read == k).astype(np.float32) for k in range(len(levels))]
            else:
                parts.append(((filled[:, c] - self.middle[c]) / self.width[c]).astype(np.float32))
            if c in self.missing:
                parts.append(np.isnan(held.values[:, c]).astype(np.float32))
        return np.asarray(np.stack(parts, axis=1) * held.inside[:, None, :], dtype=np.float32)


def measure(sides: Mapping[str, Windows], *, seed: int) -> dict[str, Measured]:
    """What is known of each side's windows. What is fitted is fitted on train alone; sides that are one are measured once."""
    train = sides["train"]
    readable, planes = Readable.of(train), Planes.of(train)
    rocket = Rocket.fit(planes(train), train.lengths, seed=seed)
    out: dict[str, Measured] = {}
    for name, held in sides.items():
        if name != "train" and held is train:
            out[name] = out["train"]
            continue
        laid = planes(held)
        out[name] = Measured(
            looks=rocket(laid, held.lengths), traces=traces(laid, held.lengths, planes), read=readable(held),
            labels=held.labels, classes=held.classes, keys=keys(held), groups=_groups(held.entities),
            entities=np.array([name or "" for name in held.entities], dtype=object), attributes=held.attributes,
        )  # fmt: skip
    return out


def traces(laid: Array, lengths: Array, planes: Planes) -> Array:
    """The shape of each window's course, in POINTS points a plane, each about its own middle and of its own strength:
    (n, planes, t) -> (n, planes * POINTS) float32."""
    out = np.empty((len(laid), laid.shape[1], POINTS), dtype=np.float32)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        out[rows] = resampled(laid[rows, :, :length], POINTS)
    out -= out.mean(axis=2, keepdims=True)
    size = np.sqrt((out**2).mean(axis=2, keepdims=True))
    return np.asarray((out / np.maximum(size, FLAT)).reshape(len(out), -1))


def resampled(laid: Array, points: int) -> Array:
    """Means over equal parts of a window, or readings between its own where these are fewer: (..., t) -> (..., points)."""
    t = laid.shape[-1]
    edges = np.linspace(0, t, points + 1)
    total = np.concatenate([np.zeros((*laid.shape[:-1], 1)), np.cumsum(laid, axis=-1, dtype=np.float64)], axis=-1)
    low = np.minimum(edges.astype(np.int64), t - 1)
    # The integral of a step function, read at any place within a step.
    at = total[..., low] + (edges - low) * laid[..., low]
    return np.asarray(np.diff(at, axis=-1) / (t / points))


def keys(held: Windows) -> Array:
    """A digest of the readings of each window: (n,) text."""
    out = []
    for i, length in enumerate(held.lengths):
        read = np.ascontiguousarray(held.values[i, :, :length]) + np.float32(0)  # -0.0 is 0.0
        out.append(hashlib.blake2b(read.tobytes() + str(read.shape).encode(), digest_size=16).hexdigest())
    return np.array(out, dtype=str)


def _groups(entities: tuple[str | None, ...]) -> Array:
    """A number for each window, the same for those of one entity; a window without one has one of its own."""
    first: dict[str, int] = {}
    return np.array([i if name is None else first.setdefault(name, i) for i, name in enumerate(entities)], dtype=np.int64)


def look_tables(sides: Mapping[str, Measured], judged: Array, attributes: tuple[Column, ...]) -> dict[str, Dataset]:
    """The table of looks of each side, with the class as target; directions come from the training windows alone.

    judged: positions of the classes under judgement, whose training windows set the directions, each class alike."""
    fit, weights = _fitted_on(sides["train"], judged)
    most = int(np.clip(len(fit) // WINDOWS_A_LOOK, 2, LOOKS))
    joint = Joint.fit(fit, weights, most)
    return {
        name: table({f"look {i + 1}": values for i, values in enumerate(joint(side).T)}, side, attributes)
        for name, side in sides.items()
    }


@dataclass(frozen=True)
class Joint:
    """Principal components of MiniRocket's features, which do not see how high a channel lies, beside what can be read of a
    window, each of the two weighing the same. Pearson 1901; weighed as in multiple factor analysis, Escofier and Pages 1994.

    middle, width: of what can be read, by column; looks: middle and width of each feature of MiniRocket."""

    names: tuple[str, ...]
    middle: Array
    width: Array
    looks: Directions
    axes: Array
    scale: Array

    @classmethod
    def fit(cls, fit: Measured, weights: Array, most: int) -> Joint:
        """Of training windows with weights that sum to 1; at most `most` components."""
        read = _read(fit)
        known = np.isfinite(read)
        whole = np.maximum(weights @ known, 1e-12)
        middle = weights @ np.where(known, read, 0) / whole
        width = np.sqrt(weights @ np.where(known, (read - middle) ** 2, 0) / whole)
        looks = Directions.fit(fit.looks.astype(np.float64), weights, 1)
        blank = cls(tuple(fit.read), middle, np.where(width > 0, width, 1.0), looks, np.zeros((0, 0)), np.zeros(0))
        spread = blank._laid(fit) * np.sqrt(weights)[:, None]
        _, sizes, axes = np.linalg.svd(spread, full_matrices=False)
        kept = max(1, min(most, int((sizes > 1e-4 * max(float(sizes[0]), 1e-12)).sum())))
        return replace(blank, axes=axes[:kept].T, scale=np.maximum(sizes[:kept], 1e-12))

    def __call__(self, side: Measured) -> Array:
        """(n, k), each component in units of its spread in train."""
        return np.asarray(self._laid(side) @ self.axes / self.scale)

    def _laid(self, side: Measured) -> Array:
        """(n, d) of both, each feature in its deviations and each kind of them by its number."""
        read = np.nan_to_num(np.clip((_read(side) - self.middle) / self.width, -FARTHEST, FARTHEST))
        looks = (side.looks - self.looks.middle) / self.looks.width
        return np.concatenate([looks / np.sqrt(looks.shape[1]), read / np.sqrt(read.shape[1])], axis=1)


def _read(side: Measured) -> Array:
    return np.stack(list(side.read.values()), axis=1)


def shown_tables(sides: Mapping[str, Measured], attributes: tuple[Column, ...]) -> dict[str, Dataset]:
    """What of each side a person can read."""
    return {name: table(dict(side.read), side, attributes) for name, side in sides.items()}


def mode_tables(looks: Mapping[str, Dataset], shown: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """What a person can read beside the first MODE_LOOKS of the looks."""
    out = {}
    for side, rows in shown.items():
        names = [name for name in (f"look {i + 1}" for i in range(MODE_LOOKS)) if name in looks[side].schema]
        merged = rows.table
        for name in names:
            merged = merged.append_column(name, looks[side].table.column(name))
        columns = (*rows.schema.columns, *(looks[side].schema[name] for name in names))
        out[side] = Dataset(merged, Schema(columns, target=rows.schema.target))
    return out


def use_tables(
    sides: Mapping[str, Measured], looks: Mapping[str, Dataset], attributes: tuple[Column, ...]
) -> dict[str, Dataset]:
    """What models learn from: all looks beside what a person can read, with the entity, of which each stays in one fold."""
    out = {}
    for name, side in sides.items():
        seen = {c: looks[name].table.column(c).to_numpy() for c in looks[name].schema.names if c.startswith("look ")}
        out[name] = table({**seen, **side.read}, side, attributes, entity=True)
    return out


def trace_tables(sides: Mapping[str, Measured], judged: Array) -> dict[str, Dataset]:
    """The table of traces of each side; see `look_tables`."""
    fit, weights = _fitted_on(sides["train"], judged)
    most = int(np.clip(len(fit) // WINDOWS_A_TRACE, 2, TRACES))
    directions = Directions.fit(fit.traces.astype(np.float64), weights, most)
    return {
        name: table({f"trace {i + 1}": values for i, values in enumerate(directions(side.traces).T)}, side, ())
        for name, side in sides.items()
    }


def _fitted_on(train: Measured, judged: Array) -> tuple[Measured, Array]:
    some = train.take(np.flatnonzero(np.isin(train.labels, judged)))
    some = some if len(some) else train
    counts = np.bincount(some.labels)
    weights = 1.0 / counts[some.labels]
    return some, weights / weights.sum()


def table(columns: Mapping[str, Array], side: Measured, attributes: tuple[Column, ...], *, entity: bool = False) -> Dataset:
    """Columns of numbers, the attributes and the class, which is the target, as a table; entity: with the column of entities
    too, as its group."""
    arrays: dict[str, pa.Array] = {
        name: pa.array(_short(values), pa.float64(), from_pandas=True) for name, values in columns.items()
    }
    described = [Column(name=name, kind="numeric", dtype="double", nullable=True) for name in columns]
    for column in attributes:
        name = column.name if column.name not in arrays else f"{column.name} (attribute)"
        arrays[name] = side.attributes.column(column.name)
        described.append(replace(column, name=name))
    if entity:
        names = [name or None for name in side.entities]
        arrays[ENTITY] = pa.array(names, pa.string())
        described.append(Column(name=ENTITY, kind="text", dtype="string", nullable=True))
    if side.classes:
        arrays[CLASS] = pa.array([side.classes[k] for k in side.labels], pa.string())
        described.append(Column(name=CLASS, kind="categorical", dtype="string", categories=side.classes))
    schema = Schema(tuple(described), target=CLASS if side.classes else None, group=ENTITY if entity else None)
    return Dataset(pa.table(arrays), schema)


def _short(values: Array) -> Array:
    """Six digits: what differs only by the order of a sum is one value."""
    out = np.asarray(values, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (5 - np.floor(np.log10(np.abs(out))))
    fine = np.isfinite(scale) & np.isfinite(out)
    return np.where(fine, np.round(out * np.where(fine, scale, 1.0)) / np.where(fine, scale, 1.0), out)
