"""How strongly do the columns hang together, pair by pair, in the real rows and in the synthetic ones?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from data.dataset import Dataset
from data.encode_values import floats
from data.errors import DataError
from data.schema import Column
from validators.report import svg
from validators.report.rows import Array, Drawn
from validators.report.text import clean, crop

#: More columns than this would be specks on a phone.
SHOWN = 24
LEVELS = 20


@dataclass(frozen=True)
class Trends:
    """names: of the columns; real, synthetic: (columns, columns) strengths, NaN where a column does not vary."""

    names: tuple[str, ...]
    real: Array
    synthetic: Array

    @property
    def gap(self) -> Array:
        """Synthetic minus real."""
        return self.synthetic - self.real

    @property
    def reach(self) -> float:
        """Where the scale of the difference ends: the largest gap, but never less than 0.1."""
        return max(0.1, float(np.nan_to_num(np.abs(self.gap)).max(initial=0)))

    def worst(self, count: int) -> list[tuple[str, str, float, float]]:
        """The pairs that differ most: (column, column, real, synthetic)."""
        above = np.triu(np.nan_to_num(np.abs(self.gap)), 1)
        places = np.argsort(-above, axis=None, kind="stable")[:count]
        pairs = [np.unravel_index(int(p), above.shape) for p in places if above.flat[p] > 0]
        return [(self.names[i], self.names[j], float(self.real[i, j]), float(self.synthetic[i, j])) for i, j in pairs]


def trends(columns: Sequence[Column], real: Drawn, synthetic: Drawn) -> Trends:
    """Strength of every pair: Spearman's rho between numbers, the correlation ratio between a number and a category,
    Cramer's V between categories.
    """
    views = [_view(column, real.rows) for column in columns]
    names = tuple(clean(column.name) for column in columns)
    return Trends(names, _strengths(views, columns, real), _strengths(views, columns, synthetic))


def _view(column: Column, rows: Dataset) -> dict[object, int] | None:
    """Which levels of a discrete column stand alone, by their count among the real rows; None for numbers."""
    if not column.discrete:
        return None
    values = [v for v in rows.column(column.name).to_pylist() if v is not None]
    counts: dict[object, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    top = sorted(counts, key=lambda v: -counts[v])[:LEVELS]
    return {value: place for place, value in enumerate(top)}


def _strengths(views: Sequence[dict[object, int] | None], columns: Sequence[Column], drawn: Drawn) -> Array:
    read = [_read(view, column, drawn.rows) for view, column in zip(views, columns, strict=True)]
    out = np.full((len(columns), len(columns)), np.nan)
    for i, left in enumerate(read):
        for j in range(i + 1):
            out[i, j] = out[j, i] = _strength(left, views[i] is None, read[j], views[j] is None, drawn.weights)
    return out


def _read(view: dict[object, int] | None, column: Column, rows: Dataset) -> Array:
    """Mid-ranks of numbers, codes of categories; NaN where missing. (n,) float64."""
    if view is not None:
        codes = [np.nan if v is None else view.get(v, LEVELS) for v in rows.column(column.name).to_pylist()]
        return np.array(codes, dtype=np.float64)
    try:
        values = floats(rows.column(column.name), column.name).copy()
    except DataError:
        return np.full(rows.num_rows, np.nan)
    known = ~np.isnan(values)
    _, place, counts = np.unique(values[known], return_inverse=True, return_counts=True)
    values[known] = (np.cumsum(counts) - counts / 2)[place]
    return values


def _strength(left: Array, left_number: bool, right: Array, right_number: bool, weights: Array) -> float:
    known = ~(np.isnan(left) | np.isnan(right)) & (weights > 0)
    if known.sum() < 3:
        return float("nan")
    left, right, weights = left[known], right[known], weights[known] / weights[known].sum()
    if left_number and right_number:
        return _correlation(left, right, weights)
    if left_number:
        return _ratio(left, right.astype(np.int64), weights)
    if right_number:
        return _ratio(right, left.astype(np.int64), weights)
    return _cramer(left.astype(np.int64), right.astype(np.int64), weights)


def _correlation(x: Array, y: Array, weights: Array) -> float:
    x, y = x - weights @ x, y - weights @ y
    spread = np.sqrt((weights @ x**2) * (weights @ y**2))
    return float(weights @ (x * y) / spread) if spread > 0 else float("nan")


def _ratio(numbers: Array, codes: Array, weights: Array) -> float:
    """Correlation ratio: share of the ranks' spread that the category explains, as a root. 0..1."""
    mass = np.bincount(codes, weights)
    means = np.divide(np.bincount(codes, weights * numbers), mass, out=np.zeros_like(mass), where=mass > 0)
    centre = weights @ numbers
    whole = weights @ (numbers - centre) ** 2
    return float(np.sqrt(mass @ (means - centre) ** 2 / whole)) if whole > 0 and (mass > 0).sum() > 1 else float("nan")


def _cramer(a: Array, b: Array, weights: Array) -> float:
    """Cramer's V with the bias correction of Bergsma 2013, so that many levels do not look like a trend. 0..1."""
    wide = LEVELS + 1
    joint = np.bincount(a * wide + b, weights, minlength=wide * wide).reshape(wide, wide)
    joint = joint[joint.sum(1) > 0][:, joint.sum(0) > 0]
    rows, columns = joint.shape
    if min(rows, columns) < 2:
        return float("nan")
    expected = np.outer(joint.sum(1), joint.sum(0))
    size = 1 / np.sum(weights**2)
    phi = max(0.0, float(((joint - expected) ** 2 / expected).sum()) - (rows - 1) * (columns - 1) / (size - 1))
    smaller = min(rows - (rows - 1) ** 2 / (size - 1), columns - (columns - 1) ** 2 / (size - 1)) - 1
    return float(min(1.0, np.sqrt(phi / smaller))) if smaller > 0 else float("nan")


# --- the picture

SIDE, ROOM = 240.0, 84.0


def pictures(trend: Trends) -> tuple[Markup, Markup, Markup]:
    """Heat maps of real, synthetic and their difference."""
    worst = trend.worst(1)
    most = f"; {worst[0][0]} with {worst[0][1]} differs most" if worst else ""
    return (
        _map(trend, trend.real, "Real: strength of every pair of columns", named=True),
        _map(trend, trend.synthetic, "Synthetic: strength of every pair of columns"),
        _map(trend, trend.gap, f"Difference, synthetic minus real{most}", top=trend.reach),
    )


def _map(trend: Trends, values: Array, label: str, *, named: bool = False, top: float = 1.0) -> Markup:
    count = len(trend.names)
    step = SIDE / count
    left = ROOM if named else 0.0
    parts: list[Markup | str] = []
    for i, name in enumerate(trend.names):
        if named:
            parts.append(svg.words(left - 5, (i + 0.5) * step + 3, crop(name, 15), "tick small", anchor="end", full=name))
        for j, other in enumerate(trend.names):
            value = float(values[i, j])
            if np.isnan(value) or i == j:
                css = "heat same" if i == j else "heat none"
                parts.append(svg.rect(left + j * step, i * step, step - 0.5, step - 0.5, css))
                continue
            shade = min(9, round(abs(value) / top * 9))
            tip = f"{name} with {other}: {value:+.2f}" if i < j else ""
            side = "n" if value < 0 else "p"
            parts.append(svg.rect(left + j * step, i * step, step - 0.5, step - 0.5, f"heat {side}{shade}", tip=tip))
    return svg.chart(left + SIDE, SIDE, label, parts, css="chart map named" if named else "chart map")
