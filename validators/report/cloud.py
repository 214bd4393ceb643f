"""Where do real and synthetic rows lie, cell by cell, and which cells are thin or missing?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.encode import Geometry
from data.errors import DataError
from data.schema import Schema
from validators.base import Culprit, Intent
from validators.report.members import Known, members
from validators.report.rows import Array, Drawn
from validators.stats import rate_ratio

#: Points that are drawn of each set; rows that cells are fitted on and counted over; cells, as many as there are colours.
POINTS, COUNTED, CELLS = 1_500, 5_000, 8
#: Finer cells that are looked through for holes, and the reference rows that each should hold.
FINE, FINE_ROWS = 32, 60
#: Fewer rows where each takes many features, so that the map never costs more than a second or two.
MOST_FEATURES = 6_000_000
MARKS = 5
ALPHA = 0.05


@dataclass(frozen=True)
class Cell:
    """A cluster of reference rows. name: what sets it apart; real, synthetic: shares of the rows in it; ratio and its
    interval, which holds for all cells together; state: "missing", "thin" or "" (surely below the gate's two limits);
    centre: its place in the plane, 0..1."""

    name: str
    real: float
    synthetic: float
    ratio: float
    interval: tuple[float, float]
    state: str
    centre: tuple[float, float]


@dataclass(frozen=True)
class Cloud:
    """Places in the plane, both in 0..1 of it, and the cell that each row lies in.

    real, synthetic: (n, 2); real_cells, synthetic_cells: (n,); explained: share of the spread that the two axes hold;
    marks: cells named by the checks that could be placed; holes: (k, 2) middles of finer cells that are surely missing;
    marked: (n,) bool, the real rows in any of these or those.
    """

    real: Array
    synthetic: Array
    real_cells: Array
    synthetic_cells: Array
    explained: float
    cells: tuple[Cell, ...]
    marks: tuple[str, ...]
    holes: Array
    marked: Array


def scatter(
    real: Drawn,
    synthetic: Drawn,
    culprits: Sequence[Culprit],
    intent: Intent,
    *,
    limit: int | None = None,
    known: Known | None = None,
) -> Cloud | None:
    """The first two principal components of the reference rows; None when these rows cannot be laid out.

    limit: places given back, POINTS unless told; cells are counted over more rows than are drawn.
    """
    real, synthetic = real.head(COUNTED), synthetic.head(COUNTED)
    if len(real) < 3 or not len(synthetic):
        return None
    try:
        space = Geometry.fit(real.rows, with_target=True)
        real, synthetic = (each.head(max(MOST_FEATURES // space.width, 100)) for each in (real, synthetic))
        rows, others = space.transform(real.rows), space.transform(synthetic.rows)
    except DataError:
        return None
    if rows.shape[1] < 2 or not np.any(rows.std(axis=0) > 0):
        return None
    flat, fake, explained = _laid_out(rows, others, intent.seed)
    codes, other_codes, count = _cells_of(rows, others, intent.seed)
    names = _names(rows, codes, count, space, real.rows.schema)
    cells = _counted(codes, other_codes, real, synthetic, names, flat, intent)
    few = POINTS if limit is None else limit
    marks, marked = _marked(real.head(few), culprits, known)
    fine, missing = _missing(rows, others, real, synthetic, intent)
    holes = np.array([np.median(flat[fine == i], axis=0) for i in missing]).reshape(-1, 2)
    marked |= np.isin(fine[:few], missing)
    return Cloud(flat[:few], fake[:few], codes[:few], other_codes[:few], explained, cells, marks, holes, marked)


def _laid_out(rows: Array, others: Array, seed: int) -> tuple[Array, Array, float]:
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    middle = rows.mean(axis=0)
    # Threads that outnumber free cores wait on each other; one is quicker here, and always gives the same.
    with threadpool_limits(1):
        _, strengths, axes = randomized_svd(rows - middle, 2, random_state=seed)
    flat, fake = (rows - middle) @ axes.T, (others - middle) @ axes.T
    low, high = np.quantile(np.vstack([flat, fake]), [0.002, 0.998], axis=0)
    size = np.where(high > low, high - low, 1.0)
    explained = float((strengths**2).sum() / max(float(((rows - middle) ** 2).sum()), 1e-12))
    flat, fake = (((v - low) / size).clip(0, 1) for v in (flat, fake))
    return flat, fake, min(explained, 1.0)


def _cells_of(rows: Array, others: Array, seed: int, most: int = CELLS) -> tuple[Array, Array, int]:
    """k-means on the reference rows alone: the cell of each row on both sides, the largest first, and how many there are."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    distinct = len(np.unique(rows[:500], axis=0))
    with threadpool_limits(1):
        model = KMeans(min(most, distinct), n_init=1 if most > CELLS else 3, max_iter=50, random_state=seed).fit(rows)
        codes, other_codes = model.labels_, model.predict(others)
    count = len(model.cluster_centers_)
    place = np.argsort(np.argsort(-np.bincount(codes, minlength=count), kind="stable"))
    return place[codes], place[other_codes], count


def _names(rows: Array, codes: Array, count: int, space: Geometry, schema: Schema) -> list[str]:
    """The columns in which each cell lies farthest from the middle of all rows, at most three."""
    middle = rows.mean(axis=0)
    out = []
    for cell in range(count):
        inside = rows[codes == cell]
        away = inside.mean(axis=0) - middle if len(inside) else np.zeros_like(middle)
        out.append(", ".join(_apart(away, space, schema)) or "near the middle of all columns")
    return out


def _apart(away: Array, space: Geometry, schema: Schema) -> list[str]:
    found: list[tuple[float, str]] = []
    for part in space.parts:
        each = away[part.start : part.stop]
        if part.levels is None:
            found.append((abs(float(each[0])), f"{part.name} {'high' if each[0] > 0 else 'low'}"))
            continue
        best = int(np.argmax(each))
        if best < part.alone:
            # One-hot features are worth 1/sqrt(2); as shares they compare with ranks.
            found.append((float(each[best]) * 2**0.5 / 2, f"{part.name}={str(part.levels.values[best]).strip()}"))
    return [text for size, text in sorted(found, key=lambda item: -item[0]) if size > 0.12][:3]


def _missing(rows: Array, others: Array, real: Drawn, fake: Drawn, intent: Intent) -> tuple[Array, Array]:
    """The finer cell of each reference row, and which of these cells surely hold less than the gate's share."""
    fine, other, count = _cells_of(rows, others, intent.seed, int(np.clip(len(rows) // FINE_ROWS, 1, FINE)))
    ends = [_ratio(fine == i, other == i, real, fake, ALPHA / count)[1][1] for i in range(count)]
    return fine, np.flatnonzero(np.array(ends) < intent.rho)


def _ratio(inside: Array, others: Array, real: Drawn, fake: Drawn, alpha: float) -> tuple[float, tuple[float, float]]:
    """Share of synthetic rows over that of real ones, with its interval at 1 - alpha."""
    shares = [_share(c, d) for c, d in ((inside, real), (others, fake))]
    return rate_ratio(shares[1] * fake.size, fake.size, shares[0] * real.size, real.size, alpha)


def _share(inside: Array, drawn: Drawn) -> float:
    return float(drawn.weights[inside].sum() / max(drawn.weights.sum(), 1e-12))


def _counted(
    codes: Array, others: Array, real: Drawn, fake: Drawn, names: Sequence[str], flat: Array, intent: Intent
) -> tuple[Cell, ...]:
    alpha = ALPHA / len(names)
    out = []
    for i, name in enumerate(names):
        ratio, interval = _ratio(codes == i, others == i, real, fake, alpha)
        shares = [_share(codes == i, real), _share(others == i, fake)]
        state = "missing" if interval[1] < intent.rho else "thin" if interval[1] < intent.warn_rho else ""
        centre = np.median(flat[codes == i], axis=0) if (codes == i).any() else np.zeros(2)
        out.append(Cell(name, shares[0], shares[1], ratio, interval, state, (float(centre[0]), float(centre[1]))))
    return tuple(out)


def _marked(real: Drawn, culprits: Sequence[Culprit], known: Known | None) -> tuple[tuple[str, ...], Array]:
    marks: list[str] = []
    marked = np.zeros(len(real), dtype=bool)
    for culprit in culprits:
        inside = members(culprit.cell, real.rows, known)
        if inside is not None and inside.any() and len(marks) < MARKS:
            marks.append(culprit.cell)
            marked |= inside
    return tuple(marks), marked
