"""Where do real and synthetic rows lie, and how near do they come to the training rows?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from data.dataset import Dataset
from data.encode import Geometry
from data.errors import DataError
from data.schema import Schema
from validators.base import Culprit
from validators.report import svg
from validators.report.rows import Array, Drawn
from validators.report.text import figure, many

POINTS = 1_500
TRAIN = 10_000
GRID = 36
#: In a release, squares with fewer real rows than this stay empty (the k of the privacy rules).
FEWEST = 5
MARKS = 5
WIDTH, HEIGHT, PAD = 900.0, 400.0, 14.0


@dataclass(frozen=True)
class Cloud:
    """Places in the plane, both in 0..1 of it.

    real, synthetic: (n, 2); explained: share of the spread that the two axes hold; marks: a thin cell -> its real rows."""

    real: Array
    synthetic: Array
    explained: float
    marks: Mapping[str, Array]


def scatter(real: Drawn, synthetic: Drawn, culprits: Sequence[Culprit]) -> Cloud | None:
    """The first two principal components of the reference rows; None when these rows cannot be laid out."""
    from sklearn.decomposition import PCA

    real, synthetic = real.head(POINTS), synthetic.head(POINTS)
    if len(real) < 3 or not len(synthetic):
        return None
    try:
        space = Geometry.fit(real.rows, with_target=True)
        rows, others = space.transform(real.rows), space.transform(synthetic.rows)
    except DataError:
        return None
    if rows.shape[1] < 2 or not np.any(rows.std(axis=0) > 0):
        return None
    axes = PCA(2, svd_solver="full").fit(rows)
    flat, fake = axes.transform(rows), axes.transform(others)
    low, high = np.quantile(np.vstack([flat, fake]), [0.002, 0.998], axis=0)
    size = np.where(high > low, high - low, 1.0)
    flat, fake = (((v - low) / size).clip(0, 1) for v in (flat, fake))
    marks = {}
    for culprit in culprits:
        inside = members(culprit.cell, real.rows)
        if inside is not None and inside.any() and len(marks) < MARKS:
            marks[culprit.cell] = flat[inside]
    return Cloud(flat, fake, float(axes.explained_variance_ratio_.sum()), marks)


def members(cell: str, rows: Dataset) -> Array | None:
    """Which rows lie in the cell "column=level & column=level": (n,) bool; None for a cell of another form."""
    inside = np.ones(rows.num_rows, dtype=bool)
    for part in cell.split(" & "):
        condition = _condition(part, rows.schema)
        if condition is None:
            return None
        name, level = condition
        inside &= np.fromiter((v == level for v in rows.column(name).to_pylist()), dtype=bool, count=rows.num_rows)
    return inside


def _condition(part: str, schema: Schema) -> tuple[str, Any] | None:
    for column in schema.learned:
        start = f"{column.name.strip()}="
        if column.discrete and part.strip().startswith(start):
            try:
                return column.name, column.level(part.strip()[len(start) :])
            except DataError:
                return None
    return None


def picture(cloud: Cloud, *, bins_only: bool) -> Markup:
    """Dots, or for a release squares with enough rows in them; real rows of thin cells stand out."""
    draw = _squares if bins_only else _dots
    parts: list[Markup | str] = [*draw(cloud.real, "real"), *draw(cloud.synthetic, "fake")]
    if cloud.marks:
        parts += draw(np.unique(np.vstack(list(cloud.marks.values())), axis=0), "thin")
    label = (
        f"Map of {many(len(cloud.real), 'real row')} and {many(len(cloud.synthetic), 'synthetic row')} on the first two "
        f"principal components of the reference rows; {many(len(cloud.marks), 'thin cell')} marked"
    )
    return svg.chart(WIDTH, HEIGHT, label, parts, css="chart scatter")


def _spot(places: Array) -> list[tuple[float, float]]:
    x = PAD + places[:, 0] * (WIDTH - 2 * PAD)
    y = HEIGHT - PAD - places[:, 1] * (HEIGHT - 2 * PAD)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _dots(places: Array, css: str) -> list[Markup]:
    spots = _spot(places)
    # A ring is a wide dot in ink with a narrower one in the colour of the card on it.
    return [svg.dots(spots, f"dots {css}"), *([svg.dots(spots, "dots hole")] if css == "thin" else [])]


def _squares(places: Array, css: str) -> list[Markup]:
    cells = np.minimum((places * GRID).astype(int), GRID - 1)
    spots, counts = np.unique(cells, axis=0, return_counts=True)
    kept = counts >= FEWEST
    most = counts.max(initial=1)
    wide, high = (WIDTH - 2 * PAD) / GRID, (HEIGHT - 2 * PAD) / GRID
    parts = []
    for (i, j), count in zip(spots[kept].tolist(), counts[kept].tolist(), strict=True):
        side = 0.35 + 0.6 * (count / most) ** 0.5
        nudge = 0.18 if css == "fake" else 0.0
        x, y = PAD + (i + nudge) * wide, HEIGHT - PAD - (j + 1 - nudge) * high
        parts.append(svg.rect(x, y, side * wide, side * high, f"square {css}"))
    return parts


# --- distances to the nearest training row


@dataclass(frozen=True)
class Nearness:
    """Distance from each row to the nearest training row, in the gate's metric. Equal counts of both sets."""

    holdout: Array
    synthetic: Array
    train_rows: int


def nearness(train: Drawn, holdout: Drawn, synthetic: Drawn) -> Nearness | None:
    """None when there is nothing to measure: no rows, or no column that can be measured."""
    from sklearn.neighbors import NearestNeighbors

    count = min(len(holdout), len(synthetic), POINTS)
    if count < 5 or not len(train):
        return None
    train = train.head(TRAIN)
    try:
        space = Geometry.fit(train.rows, with_target=True)
        base, far, fake = (space.transform(d.rows) for d in (train, holdout.head(count), synthetic.head(count)))
    except DataError:
        return None
    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(base)
    # Cells on both sides of zero: rounding of the squared form must not turn an exact copy into a near one.
    away, near = (np.where((d := search.kneighbors(v)[0][:, 0]) < 1e-3, 0.0, d) for v in (far, fake))
    return Nearness(away, near, len(base))


def distance_picture(found: Nearness) -> Markup:
    """Both sets as the share of rows within a distance: the curve of copies rises early."""
    top = float(np.quantile(np.concatenate([found.holdout, found.synthetic]), 0.99)) or 1.0
    parts: list[Markup | str] = []
    width, height, left = 420.0, 180.0, 34.0
    for level in (0.0, 0.5, 1.0):
        y = height - level * (height - 12)
        parts.append(svg.line(left, y, width, y, "axis" if level == 0 else "grid"))
        parts.append(svg.words(left - 5, y + 4, f"{100 * level:.0f} %", anchor="end"))
    for values, css in ((found.holdout, "real line"), (found.synthetic, "fake line")):
        at = np.linspace(0, top, 121)
        within = np.searchsorted(np.sort(values), at, side="right") / len(values)
        xs = left + at / top * (width - left)
        parts.append(svg.path(list(zip(xs.tolist(), (height - within * (height - 12)).tolist(), strict=True)), css))
    parts.append(svg.words(left, height + 14, "0"))
    parts.append(svg.words(width, height + 14, f"distance {figure(top)}", anchor="end"))
    return svg.chart(width, height + 18, _distance_label(found), parts)


def _distance_label(found: Nearness) -> str:
    real, fake = (figure(float(np.median(v))) for v in (found.holdout, found.synthetic))
    return f"Share of rows within a distance of the nearest training row; median distance: holdout {real}, synthetic {fake}"
