"""Into which named cells does the real data fall? Everything here is fixed on the reference rows alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.encode import Geometry
from data.schema import Column, Schema
from validators.bins import Bins, Encoder, Present, Values, fit_bins, fit_calendar, fit_groups, fit_patterns, fit_tails
from validators.clusters import Clusters, fit_clusters
from validators.points import Scaled
from validators.stats import Array

FINE_BINS = 20
COARSE_BINS = 5
#: k-means cells of all rows and of each class, at most; larger cells come of joining them.
CLUSTERS, CLASS_CLUSTERS = 256, 64
#: Cells of pairs, for each other cell: ten times the tests cost a cell a fifth more rows, at equal sizes.
PAIR_CELLS, LEAST_PAIR_CELLS, MOST_PAIRS = 5, 500, 400

#: How plainly a family of cells reads; when several cells hold the same hole, the plainest names it.
CLASS, SINGLE, WITHIN, PAIR, CLUSTER, SEARCHED = range(6)

Codes = Mapping[str, Array]


@dataclass(frozen=True)
class Family:
    """Cells over the rows of one scope: all rows (None), or those of one class.

    size: number of codes; codes: the rows' codes, -1 where a row is in no cell; groups: (c, size) bool, the codes that
    make up each cell, None where each code is a cell; keep: (c,) cells worth a test."""

    plain: int
    size: int
    label: Callable[[int], str]
    codes: Callable[[Codes], Array]
    scope: int | None
    keep: Array
    groups: Array | None = None

    def inside(self, codes: Codes, cell: int) -> Array:
        """Whether each row lies in a cell: (n,) bool."""
        placed = self.codes(codes)
        if self.groups is None:
            return np.asarray(placed == cell)
        return np.append(self.groups[cell], False)[placed]

    def cells(self, counts: Array) -> Array:
        """Rows of each cell, from the rows of each code."""
        return counts if self.groups is None else self.groups @ counts


@dataclass(frozen=True)
class Grid:
    """All families of cells over one reference set, and the encoders that place any rows in them."""

    encoders: tuple[Encoder, ...]
    clusters: tuple[Clusters, ...]
    space: Scaled | None
    families: tuple[Family, ...]

    def encode(self, batch: pa.RecordBatch, labels: Array | None = None) -> dict[str, Array]:
        """Codes of every encoder: name -> (n,) int16. labels: (n,) classes; clusters of a class place its rows alone."""
        values = Values(batch)
        out = {each.key: each.read(values) for each in self.encoders}
        if self.clusters and self.space is not None:
            points = self.space.both(batch)
            for each in self.clusters:
                out[each.key] = each.assign(points, labels)
        return out

    def place(self, rows: Dataset, labels: Array | None = None) -> dict[str, Array]:
        """Codes of all rows. Memory: 2 bytes a row and encoder."""
        parts = list(rows.scan(lambda batch, start: self.encode(batch, _cut(labels, start, batch))))
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} if parts else {}

    def count(self, codes: Codes, labels: Array | None, mask: Array | None) -> list[Array]:
        """Rows of each code of each family. labels: (n,) classes; mask: (n,) rows of the whole set, None for all."""
        inside: dict[int | None, Array | None] = {None: None if mask is None else np.flatnonzero(mask)}
        for scope in {f.scope for f in self.families if f.scope is not None}:
            inside[scope] = np.flatnonzero(labels == scope)
        return [_bincount(family, codes, inside[family.scope]) for family in self.families]

    def cells(self, codes: Codes, labels: Array | None, mask: Array | None) -> list[Array]:
        """Rows of each cell of each family."""
        return [f.cells(counts) for f, counts in zip(self.families, self.count(codes, labels, mask), strict=True)]

    def count_all(self, rows: Dataset, labels: Array | None, mask: Array | None) -> list[Array]:
        """Rows of each cell of each family, over any number of rows: batch by batch on all cores, in flat memory."""

        def work(batch: pa.RecordBatch, start: int) -> list[Array]:
            some = _cut(labels, start, batch)
            return self.count(self.encode(batch, some), some, _cut(mask, start, batch))

        total = [np.zeros(family.size, dtype=np.int64) for family in self.families]
        for counts in rows.scan(work):
            for sum_, count in zip(total, counts, strict=True):
                sum_ += count
        return [family.cells(counts) for family, counts in zip(self.families, total, strict=True)]


def _cut(values: Array | None, start: int, batch: pa.RecordBatch) -> Array | None:
    return None if values is None else values[start : start + batch.num_rows]


def _bincount(family: Family, codes: Codes, inside: Array | None) -> Array:
    placed = family.codes(codes)
    placed = placed if inside is None else placed[inside]
    # A shift by one counts rows in no cell as cell 0, which is cheaper than leaving them out.
    return np.bincount(placed.astype(np.int32) + 1, minlength=family.size + 1)[1:]


def fit_grid(
    rows: Dataset, labels: Array | None, names: tuple[str, ...], *, floors: Mapping[int | None, float], seed: int
) -> Grid:
    """The cells of reference rows.

    labels: (n,) class of each row or None; names: the classes; floors: least share of a cell that could be tested,
    for all rows (None) and within each class; above 1 a scope has no cells."""
    schema = rows.schema
    columns = [c for c in schema.learned if labels is None or c.name != schema.target]
    floor = floors[None]
    fine = [fit_bins(rows, c, grain="fine", bins=_bins(FINE_BINS, floor), floor=floor) for c in columns]
    coarse = [fit_bins(rows, c, grain="coarse", bins=_bins(COARSE_BINS, floor**0.5), floor=floor) for c in columns]
    others = _others(rows, columns, floor)
    space = Scaled.fit(rows, with_target=False) if columns else None
    clusters = _all_clusters(rows, labels, names, space, floors, seed)
    blank = Grid((*fine, *coarse, *others), clusters, space, ())
    codes = blank.place(rows, labels)
    families = [_single(each, codes, floor) for each in (*fine, *others)]
    families += _within(fine, codes, labels, names, floors)
    families += [_cluster_family(each, codes, labels, floors) for each in clusters]
    tested = sum(int(family.keep.sum()) for family in families)
    families += _pairs(coarse, codes, schema, floor, budget=max(LEAST_PAIR_CELLS, PAIR_CELLS * tested))
    return Grid(blank.encoders, clusters, space, tuple(families))


def _bins(most: int, floor: float) -> int:
    """As many bins as the floor allows, half of them kept in reserve."""
    return int(np.clip(0.5 / floor, 1, most))


def _others(rows: Dataset, columns: list[Column], floor: float) -> list[Encoder]:
    """Tails of numbers, calendars of times, groups of rare levels, patterns of missing values."""
    out: list[Encoder | None] = [fit_patterns(rows, columns, floor=floor)]
    for column in columns:
        if rows.column(column.name).null_count:
            out.append(Present(column.name))
        if column.discrete:
            out.append(fit_groups(rows, column, floor=floor))
        else:
            out.append(fit_tails(rows, column, floor=floor))
            out += fit_calendar(column) if column.kind == "datetime" else []
    return [each for each in out if each is not None]


def _single(each: Encoder, codes: Codes, floor: float) -> Family:
    size = len(each.labels)
    keep = _heavy(codes[each.key], size, floor)
    return Family(SINGLE, size, each.labels.__getitem__, _reader(each.key), None, keep)


def _heavy(codes: Array, size: int, floor: float) -> Array:
    counts = np.bincount(codes[codes >= 0], minlength=size)[:size]
    # A cell that holds every row says nothing.
    return np.asarray((counts >= floor * len(codes)) & (counts < len(codes)))


def _within(
    fine: list[Bins], codes: Codes, labels: Array | None, names: tuple[str, ...], floors: Mapping[int | None, float]
) -> list[Family]:
    out: list[Family] = []
    for y, name in enumerate(names if labels is not None else ()):
        inside = np.flatnonzero(labels == y)
        for bins in fine:
            size = len(bins.labels)
            keep = _heavy(codes[bins.key][inside], size, floors[y]) if len(inside) else np.zeros(size, dtype=bool)
            if keep.any():
                out.append(Family(WITHIN, size, _in_class(bins.labels, name), _reader(bins.key), y, keep))
    return out


def _reader(key: str) -> Callable[[Codes], Array]:
    return lambda codes: codes[key]


def _in_class(labels: tuple[str, ...], name: str) -> Callable[[int], str]:
    return lambda i: f"{labels[i]} within class {name}"


def _pairs(coarse: list[Bins], codes: Codes, schema: Schema, floor: float, *, budget: int) -> list[Family]:
    """Pairs of columns, those of two discrete columns first, then of one, then the more dependent, until the budget of
    cells is spent."""
    ranked: list[tuple[int, float, int, Family]] = []
    for a, b in combinations([bins for bins in coarse if len(bins.labels) > 1], 2):
        family = _pair(a, b, codes, floor)
        if family.keep.any():
            numbers = (not schema[a.name].discrete) + (not schema[b.name].discrete)
            ranked.append((numbers, -_dependence(codes[a.key], codes[b.key]), len(ranked), family))
    out: list[Family] = []
    spent = 0
    for *_, family in sorted(ranked, key=lambda item: item[:3]):
        if spent + int(family.keep.sum()) > budget or len(out) == MOST_PAIRS:
            continue
        spent += int(family.keep.sum())
        out.append(family)
    return out


def _pair(a: Bins, b: Bins, codes: Codes, floor: float) -> Family:
    left, right, wide = a.key, b.key, len(b.labels)

    def read(codes: Codes) -> Array:
        x, y = codes[left], codes[right]
        return np.where((x < 0) | (y < 0), np.int32(-1), x.astype(np.int32) * wide + y)

    def label(i: int) -> str:
        return f"{a.labels[i // wide]} & {b.labels[i % wide]}"

    size = len(a.labels) * wide
    return Family(PAIR, size, label, read, None, _heavy(read(codes), size, floor))


def _dependence(x: Array, y: Array) -> float:
    """Mutual information of two code columns in nats."""
    wide = int(y.max()) + 2
    joint = np.bincount((x.astype(np.int64) + 1) * wide + y + 1, minlength=(int(x.max()) + 2) * wide).reshape(-1, wide)
    joint = joint / joint.sum()
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    full = joint > 0
    return float((joint[full] * np.log(joint[full] / apart[full])).sum())


def _all_clusters(
    rows: Dataset,
    labels: Array | None,
    names: tuple[str, ...],
    space: Scaled | None,
    floors: Mapping[int | None, float],
    seed: int,
) -> tuple[Clusters, ...]:
    if space is None:
        return ()
    points, geometry = space.both(rows), space.geometry
    out = [_clusters(points, CLUSTERS, geometry, rows.schema, floors[None], seed=seed)]
    for y, name in enumerate(names if labels is not None else ()):
        inside = points[labels == y]
        out.append(_clusters(inside, CLASS_CLUSTERS, geometry, rows.schema, floors[y], seed=seed, scope=y, within=name))
    return tuple(each for each in out if each is not None)


def _clusters(points: Array, most: int, geometry: Geometry, schema: Schema, floor: float, **told: Any) -> Clusters | None:
    """As many k-means cells as hold three reference rows on average; None where no part of the rows could be tested."""
    k = min(most, len(points) // 3)
    return fit_clusters(points, k, geometry, schema, **told) if k >= 2 and floor < 1 else None


def _cluster_family(each: Clusters, codes: Codes, labels: Array | None, floors: Mapping[int | None, float]) -> Family:
    placed = codes[each.key]
    inside = placed if each.scope is None or labels is None else placed[labels == each.scope]
    counts = each.groups @ np.bincount(inside[inside >= 0], minlength=each.size)
    keep = (counts >= floors[each.scope] * len(inside)) & (counts < len(inside))
    return Family(CLUSTER, each.size, each.label, _reader(each.key), each.scope, keep, each.groups)
