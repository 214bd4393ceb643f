"""How alike are two tables, column by column and pair by pair? The definitions of SDMetrics, vectorised."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from data.dataset import Dataset
from data.encode_values import Levels, floats
from data.schema import Column
from validators.stats import Array

BINS = 10


@dataclass(frozen=True)
class Columns:
    """Two tables as arrays: numbers as float64 with NaN, levels as codes (-1 for null) shared by both tables."""

    real: dict[str, Array]
    made: dict[str, Array]
    discrete: frozenset[str]


def read(real: Dataset, made: Dataset) -> Columns:
    """The learned columns of both tables."""
    out: tuple[dict[str, Array], dict[str, Array]] = {}, {}
    discrete = set()
    for column in real.schema.learned:
        pair = (
            _codes(column, real, made)
            if column.discrete
            else [floats(d.column(column.name), column.name) for d in (real, made)]
        )
        out[0][column.name], out[1][column.name] = pair
        if column.discrete:
            discrete.add(column.name)
    return Columns(*out, frozenset(discrete))


def _codes(column: Column, real: Dataset, made: Dataset) -> list[Array]:
    known, other = (Levels.fit(d.column(column.name), column) for d in (real, made))
    new = [v for v in other.values if v not in known.values]
    both = Levels(column.dtype, known.values + tuple(new), known.counts + (0,) * len(new))
    codes = [both.read(d.column(column.name)) for d in (real, made)]
    return [np.where(c == -2, -1, c) for c in codes]


def column_shape(real: Array, made: Array, *, discrete: bool) -> float | None:
    """1 - Kolmogorov-Smirnov distance of numbers, 1 - total variation of levels; nulls left out; None if one side is empty.

    Source: SDMetrics, KSComplement and TVComplement."""
    if discrete:
        real, made = real[real >= 0], made[made >= 0]
        if not len(real) or not len(made):
            return None
        size = int(max(real.max(), made.max())) + 1
        return 1 - 0.5 * float(np.abs(_shares(real, size) - _shares(made, size)).sum())
    real, made = np.sort(real[~np.isnan(real)]), np.sort(made[~np.isnan(made)])
    if not len(real) or not len(made):
        return None
    at = np.concatenate([real, made])
    steps = np.searchsorted(real, at, side="right") / len(real) - np.searchsorted(made, at, side="right") / len(made)
    return 1 - float(np.abs(steps).max())


def pair_trend(columns: Columns, a: str, b: str) -> float | None:
    """1 - half the difference of correlations of two numbers; 1 - total variation of the joint counts otherwise, numbers in
    ten bins of equal width. None where a correlation does not exist.

    Source: SDMetrics, CorrelationSimilarity and ContingencySimilarity."""
    if a not in columns.discrete and b not in columns.discrete:
        real, made = (_correlation(side[a], side[b]) for side in (columns.real, columns.made))
        return None if real is None or made is None else 1 - abs(real - made) / 2
    (x, u), (y, v) = _binned(columns, a), _binned(columns, b)
    wide = int(max(y.max(initial=0), v.max(initial=0))) + 1
    joint_real, joint_made = x * wide + y, u * wide + v
    size = int(max(joint_real.max(initial=0), joint_made.max(initial=0))) + 1
    return 1 - 0.5 * float(np.abs(_shares(joint_real, size) - _shares(joint_made, size)).sum())


def all_shapes(columns: Columns) -> dict[str, float]:
    """Column -> shape score, for those that have one."""
    scores = {n: column_shape(columns.real[n], columns.made[n], discrete=n in columns.discrete) for n in columns.real}
    return {name: score for name, score in scores.items() if score is not None}


def all_trends(columns: Columns) -> dict[tuple[str, str], float]:
    """Pair of columns -> trend score, for those that have one."""
    scores = {(a, b): pair_trend(columns, a, b) for a, b in combinations(columns.real, 2)}
    return {pair: score for pair, score in scores.items() if score is not None}


def _shares(codes: Array, size: int) -> Array:
    return np.bincount(codes, minlength=size) / max(len(codes), 1)


def _binned(columns: Columns, name: str) -> tuple[Array, Array]:
    """Codes from 0 of both sides; null is a code of its own (0)."""
    real, made = columns.real[name], columns.made[name]
    if name in columns.discrete:
        return real + 1, made + 1
    known = real[~np.isnan(real)]
    edges = np.histogram_bin_edges(known, bins=BINS) if len(known) else np.array([0.0, 1.0])
    inner = edges[1:-1]
    return tuple(np.where(np.isnan(v), 0, 1 + np.searchsorted(inner, v, side="right")) for v in (real, made))  # type: ignore[return-value]


def _correlation(x: Array, y: Array) -> float | None:
    both = ~np.isnan(x) & ~np.isnan(y)
    x, y = x[both], y[both]
    if len(x) < 2 or x.min() == x.max() or y.min() == y.max():
        return None
    return float(np.corrcoef(x, y)[0, 1])
