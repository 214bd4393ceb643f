"""Into which named cells does the real data fall? Everything here is fixed on the reference rows alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.encode import Geometry
from data.encode_values import Levels, floats
from data.schema import Column, Schema
from validators.clusters import Clusters, fit_clusters
from validators.stats import Array

FINE_BINS = 20
COARSE_BINS = 5
CLUSTERS = (16, 64, 256)
CLASS_CLUSTERS = (4, 16, 64)
MISSING = "missing"

#: How plainly a family of cells reads; when several cells hold the same hole, the plainest names it.
CLASS, SINGLE, WITHIN, PAIR, CLUSTER = range(5)

Codes = Mapping[str, Array]


@dataclass(frozen=True)
class Bins:
    """One column's cells: codes into `labels`, -1 for rows that no cell is kept for."""

    name: str
    labels: tuple[str, ...]
    levels: Levels | None = None
    alone: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int16))
    spikes: Array = field(default_factory=lambda: np.zeros(0))
    edges: Array = field(default_factory=lambda: np.zeros(0))
    missing: int = -1
    rest: int = -1

    def read(self, values: object) -> Array:
        """Values of the column -> (n,) int16 codes."""
        if self.levels is not None:
            return self._levels(values)
        return self._numbers(floats(values, self.name))

    def _levels(self, values: object) -> Array:
        codes = self.levels.read(values)  # type: ignore[union-attr]
        # alone[-1] answers for a level never seen, which joins the rest.
        out = np.append(self.alone, np.int16(self.rest))[np.where(codes < 0, len(self.alone), codes)]
        return np.where(codes == -2, np.int16(self.missing), out).astype(np.int16)

    def _numbers(self, values: Array) -> Array:
        missing = np.isnan(values)
        out = np.full(len(values), -1, dtype=np.int16)
        if self.rest >= 0:
            out[:] = self.rest + np.searchsorted(self.edges, values, side="left")
        if len(self.spikes):
            near = np.clip(np.searchsorted(self.spikes, values), 0, len(self.spikes) - 1)
            for place in (near, np.maximum(near - 1, 0)):
                # A float32 column and a float64 column hold the same spike.
                hit = np.isclose(values, self.spikes[place], rtol=1e-6, atol=1e-12)
                out[hit] = place[hit]
        out[missing] = self.missing
        return out


def fit_bins(rows: Dataset, column: Column, *, bins: int, floor: float) -> Bins:
    """Cells of one column: levels, or quantile bins with heavy values apart. `floor` is the least share of a cell."""
    values = rows.column(column.name)
    return _level_bins(values, column, floor) if column.discrete else _number_bins(values, column, bins, floor)


def _level_bins(values: pa.ChunkedArray, column: Column, floor: float) -> Bins:
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
    return Bins(column.name, tuple(labels), levels=levels, alone=alone, missing=missing, rest=rest)


def _number_bins(raw: pa.ChunkedArray, column: Column, bins: int, floor: float) -> Bins:
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
    return Bins(column.name, tuple(labels), spikes=spikes, edges=edges, missing=missing, rest=rest)


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
class Family:
    """Cells that part the rows of one scope: all rows, or those of one class.

    size: number of codes; codes: the rows' codes, -1 where a row is in no cell; keep: (size,) cells worth a test."""

    plain: int
    size: int
    label: Callable[[int], str]
    codes: Callable[[Codes], Array]
    scope: int | None
    keep: Array


@dataclass(frozen=True)
class Grid:
    """All families of cells over one reference set, and the encoders that place any rows in them."""

    fine: tuple[Bins, ...]
    coarse: tuple[Bins, ...]
    clusters: tuple[Clusters, ...]
    geometry: Geometry | None
    families: tuple[Family, ...]

    def place(self, rows: Dataset) -> dict[str, Array]:
        """Codes of every encoder, batch by batch: name -> (n,) int16. Memory: about 4 bytes a row and column."""
        parts: dict[str, list[Array]] = {}
        for batch in rows.batches():
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            for prefix, group in (("fine", self.fine), ("coarse", self.coarse)):
                for bins in group:
                    parts.setdefault(f"{prefix}:{bins.name}", []).append(bins.read(columns[bins.name]))
            if self.clusters and self.geometry is not None:
                points = self.geometry.transform(batch)
                for each in self.clusters:
                    parts.setdefault(each.key, []).append(each.assign(points))
        return {key: np.concatenate(codes) for key, codes in parts.items()}


def fit_grid(
    rows: Dataset, labels: Array | None, names: tuple[str, ...], *, floors: Mapping[int | None, float], seed: int
) -> Grid:
    """The cells of reference rows.

    labels: (n,) class of each row or None; names: the classes; floors: least share of a cell that could be tested,
    for all rows (None) and within each class; above 1 a scope has no cells."""
    schema = rows.schema
    columns = [c for c in schema.learned if labels is None or c.name != schema.target]
    floor = floors[None]
    fine = tuple(fit_bins(rows, c, bins=_bins(FINE_BINS, floor), floor=floor) for c in columns)
    coarse = tuple(fit_bins(rows, c, bins=_bins(COARSE_BINS, floor**0.5), floor=floor) for c in columns)
    geometry = Geometry.fit(rows) if columns else None
    clusters = _all_clusters(rows, labels, names, geometry, floors, seed)
    blank = Grid(fine, coarse, clusters, geometry, ())
    codes = blank.place(rows)
    families = [_single(bins, codes, floor) for bins in fine]
    families += _within(fine, codes, labels, names, floors)
    families += _pairs(coarse, codes, schema, floor, budget=max(60, int(6 / floor)))
    families += [_cluster_family(each, codes, labels, floors) for each in clusters]
    return Grid(fine, coarse, clusters, geometry, tuple(families))


def _bins(most: int, floor: float) -> int:
    """As many bins as the floor allows, half of them kept in reserve."""
    return int(np.clip(0.5 / floor, 1, most))


def _single(bins: Bins, codes: Codes, floor: float) -> Family:
    key, size = f"fine:{bins.name}", len(bins.labels)
    return Family(SINGLE, size, bins.labels.__getitem__, lambda c: c[key], None, _heavy(codes[key], size, floor))


def _heavy(codes: Array, size: int, floor: float) -> Array:
    counts = np.bincount(codes[codes >= 0], minlength=size)[:size]
    # A cell that holds every row says nothing.
    return np.asarray((counts >= floor * len(codes)) & (counts < len(codes)))


def _within(
    fine: tuple[Bins, ...], codes: Codes, labels: Array | None, names: tuple[str, ...], floors: Mapping[int | None, float]
) -> list[Family]:
    out: list[Family] = []
    for y, name in enumerate(names if labels is not None else ()):
        inside = np.asarray(labels == y)
        for bins in fine:
            key, size = f"fine:{bins.name}", len(bins.labels)
            keep = _heavy(codes[key][inside], size, floors[y]) if inside.any() else np.zeros(size, dtype=bool)
            out.append(Family(WITHIN, size, _in_class(bins.labels, name), _reader(key), y, keep))
    return out


def _reader(key: str) -> Callable[[Codes], Array]:
    return lambda codes: codes[key]


def _in_class(labels: tuple[str, ...], name: str) -> Callable[[int], str]:
    return lambda i: f"{labels[i]} within class {name}"


def _pairs(coarse: tuple[Bins, ...], codes: Codes, schema: Schema, floor: float, *, budget: int) -> list[Family]:
    """Pairs of columns, the ones with discrete columns first, then the more dependent, until the budget of cells is spent."""
    ranked: list[tuple[int, float, int, Family]] = []
    for a, b in combinations([bins for bins in coarse if len(bins.labels) > 1], 2):
        family = _pair(a, b, codes, floor)
        if family.keep.any():
            numbers = (not schema[a.name].discrete) + (not schema[b.name].discrete)
            ranked.append((numbers, -_dependence(codes[f"coarse:{a.name}"], codes[f"coarse:{b.name}"]), len(ranked), family))
    out, spent = [], 0
    for *_, family in sorted(ranked, key=lambda item: item[:3]):
        if spent + int(family.keep.sum()) > budget:
            continue
        spent += int(family.keep.sum())
        out.append(family)
    return out


def _pair(a: Bins, b: Bins, codes: Codes, floor: float) -> Family:
    left, right, wide = f"coarse:{a.name}", f"coarse:{b.name}", len(b.labels)

    def read(codes: Codes) -> Array:
        x, y = codes[left].astype(np.int32), codes[right].astype(np.int32)
        return np.where((x < 0) | (y < 0), -1, x * wide + y)

    def label(i: int) -> str:
        return f"{a.labels[i // wide]} & {b.labels[i % wide]}"

    size = len(a.labels) * wide
    return Family(PAIR, size, label, read, None, _heavy(read(codes), size, floor))


def _dependence(x: Array, y: Array) -> float:
    """Mutual information of two code columns in nats."""
    joint = np.zeros((int(x.max()) + 2, int(y.max()) + 2))
    np.add.at(joint, (x + 1, y + 1), 1)
    joint /= joint.sum()
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    full = joint > 0
    return float((joint[full] * np.log(joint[full] / apart[full])).sum())


def _all_clusters(
    rows: Dataset,
    labels: Array | None,
    names: tuple[str, ...],
    geometry: Geometry | None,
    floors: Mapping[int | None, float],
    seed: int,
) -> tuple[Clusters, ...]:
    if geometry is None:
        return ()
    points = geometry.transform(rows)
    out = [fit_clusters(points, k, geometry, rows.schema, seed=seed) for k in _counts(CLUSTERS, floors[None], len(points))]
    for y, name in enumerate(names if labels is not None else ()):
        inside = points[labels == y]
        out += [
            fit_clusters(inside, k, geometry, rows.schema, seed=seed, scope=y, within=name)
            for k in _counts(CLASS_CLUSTERS, floors[y], len(inside))
        ]
    # Few distinct points give the same few clusters for every number asked for.
    return tuple({each.key: each for each in out}.values())


def _counts(wanted: tuple[int, ...], floor: float, rows: int) -> list[int]:
    """The numbers of clusters whose average cell can be tested and holds three reference rows; else the largest that can."""
    most = min(int(1 / floor), rows // 3)
    fit = [k for k in wanted if k <= most]
    return fit or ([most] if most >= 2 else [])


def _cluster_family(each: Clusters, codes: Codes, labels: Array | None, floors: Mapping[int | None, float]) -> Family:
    placed = codes[each.key]
    inside = placed if each.scope is None or labels is None else placed[labels == each.scope]
    return Family(CLUSTER, each.size, each.label, _reader(each.key), each.scope, _heavy(inside, each.size, floors[each.scope]))
