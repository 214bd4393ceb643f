"""How do pictures become rows of numbers that the gate's checks can judge?

In one table a picture has its looks (principal components of what the extractor sees), its brightness and contrast, and the
size and shape of its marks: by this spread, labels, repeats and coverage are judged. Modes are judged by a narrower one,
with the first few looks, as cells in many directions hold too few pictures each, and with the place of the marks besides.
In another a picture has its traces alone, which stay when it is mirrored, shifted a little or lit otherwise: by this copies
are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.images import CLASS, Pictures, key
from data.schema import Column, Schema
from validators._pictures_crops import GEOMETRY, Seen, geometry, marks, squares
from validators.base import Evidence
from validators.mix import intended

if TYPE_CHECKING:
    from validators.extractor import Extractor

Array = np.ndarray[Any, Any]

#: Where `prepare_pictures` leaves the evidence of what a person can read.
SHOWN = "shown"
#: Looks at most, and training pictures for each: in more directions than that all pictures are equally far apart.
LOOKS, PICTURES_A_LOOK = 16, 8
#: Looks in which modes are searched for: measured, five find what sixteen dilute.
MODE_LOOKS = 5
#: Traces at most, and training pictures for each: a copy is near in all of them, so many do no harm.
TRACES, PICTURES_A_TRACE = 32, 2
#: Grays, and share of neighbouring pixels that differ, from which a picture is too detailed to come twice by chance.
GRAYS, CHANGES = 16, 0.2
#: What is measured of every picture, of all of it or of the square around its marks.
LIGHT = ("brightness", "contrast")
#: Marks that lie in another third of the picture are elsewhere; within a third, where they lie is how the picture was cut.
PLACES, THIRDS = tuple(name for name in GEOMETRY if name.startswith("place")), 3


@dataclass(frozen=True)
class Measured:
    """What is known of the pictures of one side. looks: (n, d); traces: (n, e); light: (n, 2), in levels of 0..255; grain:
    (n,), the mean step from a pixel to the next, likewise; geometry: (n, 5), see `GEOMETRY`; labels: (n,) positions in
    `classes`; keys: a digest of each one's pixels; detailed: (n,) bool, whether two pictures of equal pixels would be no
    chance; groups: a number for each, the same for pictures of one group; mirrored: (n, 3, d), the looks of each training
    picture mirrored, upside down, and both; of no other."""

    looks: Array
    traces: Array
    light: Array
    grain: Array
    geometry: Array
    labels: Array
    classes: tuple[str, ...]
    keys: Array
    detailed: Array
    groups: Array
    mirrored: Array

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def widths(self) -> Array:
        """The deviation of each feature, (d,), of which none counts as less than a tenth of the middle one."""
        width = self.looks.astype(np.float64).std(axis=0)
        return np.asarray(np.maximum(width, 0.1 * float(np.median(width)) + 1e-9))

    def take(self, places: Array) -> Measured:
        """The pictures at these positions, in this order."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return Measured(**{name: part if name == "classes" else part[places] for name, part in parts.items()})


def measure(sides: Mapping[str, Pictures], seen: Seen, extractor: Extractor) -> dict[str, Measured]:
    """What is known of each side's pictures; a picture that is there several times is looked at once.

    So pictures of equal pixels have equal features, to the last digit, whatever their masks: those of the first side that
    has them. All sides have one size and number of channels."""
    # Whoever only looks at what was measured, as the report does, need not load torch.
    from validators.extractor import features, traces

    distinct = {name: held for name, held in sides.items() if name == "train" or held is not sides["train"]}
    masks = {name: marks(held, seen) for name, held in distinct.items()}
    keys = {name: np.array([key(one) for one in held.pixels], dtype=str) for name, held in distinct.items()}
    _, first, back = np.unique(np.concatenate(list(keys.values())), return_index=True, return_inverse=True)
    pixels = np.concatenate([held.pixels for held in distinct.values()])[first]
    marked = np.concatenate(list(masks.values()))[first]
    looks, kept, light = features(extractor, pixels, marked), traces(pixels, marked), _light(pixels, marked)
    grain = _grain(pixels, marked)
    lie, detail = geometry(marked), _detailed(pixels)
    out: dict[str, Measured] = {}
    done = 0
    for name, held in distinct.items():
        rows = back[done : done + len(held)]
        mirrored = _mirrored(extractor, held, masks[name]) if name == "train" else np.zeros((len(held), 0, looks.shape[1]))
        out[name] = Measured(
            looks=looks[rows], traces=kept[rows], light=light[rows], grain=grain[rows], geometry=lie[rows], labels=held.labels,
            classes=held.classes, keys=keys[name], detailed=detail[rows], groups=_groups(held), mirrored=mirrored,
        )  # fmt: skip
        done += len(held)
    return {name: out[name if name in distinct else "train"] for name in sides}


def _mirrored(extractor: Extractor, held: Pictures, masks: Array) -> Array:
    from validators.extractor import features

    return np.stack(
        [features(extractor, np.flip(held.pixels, axes), np.flip(masks, axes)) for axes in ((2,), (1,), (1, 2))], axis=1
    )


def _groups(held: Pictures) -> Array:
    """A number for each picture, the same for those of one group; a picture without a group has one of its own."""
    first: dict[str, int] = {}
    names = held.groups or (None,) * len(held)
    return np.array([i if name is None else first.setdefault(name, i) for i, name in enumerate(names)], dtype=np.int64)


def _detailed(pixels: Array) -> Array:
    """Whether a picture has many grays and changes from pixel to pixel, as what a camera takes does: (n,) bool."""
    out = np.zeros(len(pixels), dtype=bool)
    for i, one in enumerate(pixels):
        changes = (np.diff(one.astype(np.int16), axis=1) != 0).any(axis=2).mean()
        out[i] = changes >= CHANGES and len(np.unique(one)) >= GRAYS
    return out


def _light(pixels: Array, masks: Array) -> Array:
    """Mean and deviation of the gray values, of what is looked at: (n, 2)."""
    out = np.zeros((len(pixels), 2))
    for i, (top, left, side) in enumerate(squares(masks)):
        crop = pixels[i, top : top + side, left : left + side].astype(np.float32)
        out[i] = crop.mean(), crop.std()
    return out


def _grain(pixels: Array, masks: Array) -> Array:
    """How much a gray value differs from the next one, of what is looked at: (n,)."""
    out = np.zeros(len(pixels))
    for i, (top, left, side) in enumerate(squares(masks)):
        crop = pixels[i, top : top + side, left : left + side].mean(axis=2, dtype=np.float32)
        out[i] = (np.abs(np.diff(crop, axis=0)).mean() + np.abs(np.diff(crop, axis=1)).mean()) / 2
    return out


@dataclass(frozen=True)
class Directions:
    """The directions in which the pictures that it was fitted on differ most, each in units of their spread in it.

    middle, width: (d,) of the features; axes: (d, k); scale: (k,)."""

    middle: Array
    width: Array
    axes: Array
    scale: Array

    @classmethod
    def fit(cls, rows: Array, weights: Array, most: int) -> Directions:
        """Principal components of features brought to one spread: (n, d), (n,) weights that sum to 1. Pearson 1901."""
        middle = weights @ rows
        width = np.sqrt(weights @ (rows - middle) ** 2)
        width = np.maximum(width, 1e-4 * max(float(width.max(initial=0.0)), 1e-12))
        spread = (rows - middle) / width * np.sqrt(weights)[:, None]
        _, sizes, axes = np.linalg.svd(spread, full_matrices=False)
        kept = max(1, min(most, int((sizes > 1e-4 * max(float(sizes[0]), 1e-12)).sum())))
        return cls(middle, width, axes[:kept].T, np.maximum(sizes[:kept], 1e-12))

    def __call__(self, rows: Array) -> Array:
        """(n, d) -> (n, k)."""
        return np.asarray((rows - self.middle) / self.width @ self.axes / self.scale)


def look_tables(sides: Mapping[str, Measured], judged: Array) -> dict[str, Dataset]:
    """The table of looks of each side, with the class as target; directions come from the training pictures alone.

    judged: positions of the classes under judgement, whose training pictures set the directions, each class alike."""
    fit, weights = _fitted_on(sides["train"], judged)
    most = int(np.clip(len(fit) // PICTURES_A_LOOK, 2, LOOKS))
    # Fitted on the training pictures themselves, the directions would show these apart from each other more than any others,
    # and a reference that is the training set would look more varied than a set of unseen pictures of the same kind.
    ways = fit.mirrored.shape[1]
    rows = fit.mirrored.reshape(len(fit) * ways, -1) if ways else fit.looks
    weights = np.repeat(weights / ways, ways) if ways else weights
    directions = Directions.fit(rows.astype(np.float64), weights, most)
    out = {}
    for name, side in sides.items():
        columns = {f"look {i + 1}": values for i, values in enumerate(directions(side.looks).T)}
        measures = _readable(side, _marked(fit))
        out[name] = _table(columns | {k: v for k, v in measures.items() if k not in PLACES}, side)
    return out


def shown_tables(sides: Mapping[str, Measured], judged: Array) -> dict[str, Dataset]:
    """What of each side a person can read: light, and how the marks lie."""
    marked = _marked(_fitted_on(sides["train"], judged)[0])
    return {name: _table(_readable(side, marked), side) for name, side in sides.items()}


def mode_tables(looks: Mapping[str, Dataset], shown: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """The first MODE_LOOKS of the looks beside what a person can read, places in thirds of a picture."""
    first = [f"look {i + 1}" for i in range(MODE_LOOKS)]
    out = {}
    for side, rows in looks.items():
        names = [name for name in first if name in rows.schema]
        table = shown[side].table
        for name in (name for name in PLACES if name in table.column_names):
            place = table.column(name).to_numpy(zero_copy_only=False)
            thirds = (np.floor(np.clip(place, 0, 1 - 1e-9) * THIRDS) + 0.5) / THIRDS
            column = pa.array(np.round(thirds, 4), pa.float64(), from_pandas=True)
            table = table.set_column(table.column_names.index(name), name, column)
        schema = Schema((*(rows.schema[name] for name in names), *shown[side].schema.columns), target=CLASS)
        columns = {name: rows.table.column(name) for name in names} | dict(zip(table.column_names, table.columns, strict=True))
        out[side] = Dataset(pa.table(columns), schema)
    return out


def _marked(fit: Measured) -> bool:
    return bool(np.isfinite(fit.geometry[:, 0]).any())


def _readable(side: Measured, marked: bool) -> dict[str, Array]:
    """Column -> values, of what a person can read."""
    columns = dict(zip(LIGHT, side.light.T, strict=True))
    return columns | (dict(zip(GEOMETRY, side.geometry.T, strict=True)) if marked else {})


def trace_tables(sides: Mapping[str, Measured], judged: Array) -> dict[str, Dataset]:
    """The table of traces of each side; see `look_tables`."""
    fit, weights = _fitted_on(sides["train"], judged)
    most = int(np.clip(len(fit) // PICTURES_A_TRACE, 2, TRACES))
    directions = Directions.fit(fit.traces.astype(np.float64), weights, most)
    return {
        name: _table({f"trace {i + 1}": values for i, values in enumerate(directions(side.traces).T)}, side)
        for name, side in sides.items()
    }


def judged_rows(evidence: Evidence, rows: Dataset) -> Array:
    """Positions of the real rows whose classes the intended mix does not leave out, as `validators.mix.restrict` keeps."""
    mix = intended(evidence.intent, rows.schema)
    if mix is None:
        return np.arange(rows.num_rows)
    wanted = np.array([level in mix for level in rows.schema.classes()] + [False])
    return np.flatnonzero(wanted[rows.labels()])


def _fitted_on(train: Measured, judged: Array) -> tuple[Measured, Array]:
    some = train.take(np.flatnonzero(np.isin(train.labels, judged)))
    some = some if len(some) else train
    counts = np.bincount(some.labels)
    weights = 1.0 / counts[some.labels]
    return some, weights / weights.sum()


def _table(columns: Mapping[str, Array], side: Measured) -> Dataset:
    # float32 keeps seven digits: what differs only by the order of a sum is one value.
    arrays = {name: pa.array(np.round(values, 4), pa.float64(), from_pandas=True) for name, values in columns.items()}
    labels = pa.array([side.classes[k] for k in side.labels], pa.string())
    schema = Schema(
        (
            *(Column(name=name, kind="numeric", dtype="double", nullable=name in GEOMETRY) for name in columns),
            Column(name=CLASS, kind="categorical", dtype="string", categories=side.classes),
        ),
        target=CLASS,
    )
    return Dataset(pa.table({**arrays, CLASS: labels}), schema)
