"""Where do real and synthetic rows lie, and how near do they come to the training rows?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from data.dataset import Dataset
from data.encode import Geometry
from data.encode_values import floats
from data.errors import DataError
from data.schema import Column
from validators.base import Culprit
from validators.report import svg
from validators.report.rows import Array, Drawn
from validators.report.text import figure, finite, many

POINTS = 1_500
TRAIN = 10_000
#: Rows that a release counts into squares, of which it has so many across and upward.
COUNTED = 6_000
GRID = (45, 20)
#: In a release, squares with fewer real rows than this stay empty (the k of the privacy rules).
FEWEST = 5
MARKS = 5
WIDTH, HEIGHT, PAD = 900.0, 400.0, 14.0


@dataclass(frozen=True)
class Cloud:
    """Places in the plane, both in 0..1 of it.

    real, synthetic: (n, 2); explained: share of the spread that the two axes hold; cells: thin ones that can be shown;
    thin: (n,) bool, the real rows in any of them.
    """

    real: Array
    synthetic: Array
    explained: float
    cells: tuple[str, ...]
    thin: Array


def scatter(real: Drawn, synthetic: Drawn, culprits: Sequence[Culprit], *, limit: int = POINTS) -> Cloud | None:
    """The first two principal components of the reference rows; None when these rows cannot be laid out."""
    from sklearn.decomposition import PCA

    real, synthetic = real.head(limit), synthetic.head(limit)
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
    cells: list[str] = []
    thin = np.zeros(len(flat), dtype=bool)
    for culprit in culprits:
        inside = members(culprit.cell, real.rows)
        if inside is not None and inside.any() and len(cells) < MARKS:
            cells.append(culprit.cell)
            thin |= inside
    return Cloud(flat, fake, float(axes.explained_variance_ratio_.sum()), tuple(cells), thin)


def members(cell: str, rows: Dataset) -> Array | None:
    """Which rows lie in a cell that the check of modes names by levels and ranges: (n,) bool; None for any other name.

    Read are "a=level & b over 2 to 3", "a=level within class c" and "class c".
    """
    parts, _, within = cell.partition(" within class ")
    if not within and cell.startswith("class "):
        parts, within = "", cell.removeprefix("class ")
    wanted = [*(parts.split(" & ") if parts else []), *([f"{rows.schema.target}={within}"] if within else [])]
    inside = np.ones(rows.num_rows, dtype=bool)
    for part in wanted:
        found = _inside(part, rows)
        if found is None:
            return None
        inside &= found
    return inside


_RANGE = re.compile(r"(?P<how>=| over | up to )(?P<low>\S+?)(?: to (?P<high>\S+))?$")


def _inside(part: str, rows: Dataset) -> Array | None:
    for column in rows.schema.learned:
        rest = part.strip().removeprefix(column.name.strip())
        if rest == part.strip() or not rest.startswith(("=", " over ", " up to ")):
            continue
        if column.discrete:
            return _at_level(column, rest.removeprefix("="), rows)
        return _in_range(column, rest, rows) if column.kind != "datetime" else None
    return None


def _at_level(column: Column, name: str, rows: Dataset) -> Array | None:
    values = rows.column(column.name).to_pylist()
    try:
        level = column.level(name)
    except DataError:
        if name != "missing":
            return None
        level = None
    return np.fromiter((v == level for v in values), dtype=bool, count=len(values))


def _in_range(column: Column, name: str, rows: Dataset) -> Array | None:
    found = _RANGE.match(name)
    low, high = (finite(found[part]) for part in ("low", "high")) if found else (None, None)
    if found is None or low is None:
        return None
    values = floats(rows.column(column.name), column.name)
    if found["how"] == "=":
        # Names carry four digits.
        return np.asarray(np.isclose(values, low, rtol=1e-3))
    if found["how"] == " up to ":
        return np.asarray(values <= low)
    return np.asarray((values > low) & (values <= (np.inf if high is None else high)))


def picture(cloud: Cloud, *, bins_only: bool) -> Markup:
    """Dots, or for a release squares with enough rows in them; real rows of thin cells stand out."""
    draw = _squares if bins_only else _dots
    parts: list[Markup | str] = [*draw(cloud.real, "real"), *draw(cloud.synthetic, "fake")]
    if cloud.thin.any():
        parts += draw(cloud.real[cloud.thin], "thin")
    label = (
        f"Map of {many(len(cloud.real), 'real row')} and {many(len(cloud.synthetic), 'synthetic row')} on the first two "
        f"principal components of the reference rows; {many(len(cloud.cells), 'thin cell')} marked"
    )
    return svg.chart(WIDTH, HEIGHT, label, parts, css="chart scatter", fit="none")


def _spot(places: Array) -> list[tuple[float, float]]:
    x = PAD + places[:, 0] * (WIDTH - 2 * PAD)
    y = HEIGHT - PAD - places[:, 1] * (HEIGHT - 2 * PAD)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _dots(places: Array, css: str) -> list[Markup]:
    spots = _spot(places)
    # A ring is a wide dot in ink with a narrower one in the colour of the card on it.
    return [svg.dots(spots, f"dots {css}"), *([svg.dots(spots, "dots hole")] if css == "thin" else [])]


def _squares(places: Array, css: str) -> list[Markup]:
    """Real rows fill a square by their number, synthetic ones a smaller square inside it."""
    cells = np.minimum((places * GRID).astype(int), np.array(GRID) - 1)
    spots, counts = np.unique(cells, axis=0, return_counts=True)
    kept = counts >= FEWEST
    most = counts.max(initial=1)
    wide, high = (WIDTH - 2 * PAD) / GRID[0], (HEIGHT - 2 * PAD) / GRID[1]
    parts = []
    for (i, j), count in zip(spots[kept].tolist(), counts[kept].tolist(), strict=True):
        side = (0.65 if css == "fake" else 1.0) * (0.4 + 0.6 * (count / most) ** 0.5)
        x, y = PAD + (i + 0.5 - side / 2) * wide, HEIGHT - PAD - (j + 0.5 + side / 2) * high
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
