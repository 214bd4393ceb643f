"""How near do synthetic rows come to the training rows, and how near do unseen real rows?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from data.dataset import Dataset
from data.errors import DataError
from validators.report import svg
from validators.report.rows import Array, Drawn, draw
from validators.report.text import figure, share

#: Rows of each side, and training rows that they are measured against.
ROWS, TRAIN = 1_000, 20_000
#: Training rows that fit where each takes many features.
MOST_FEATURES = 4_000_000
LEAST_ROWS = 5
STEPS = 121
WIDTH, HEIGHT, LEFT, TOP = 420.0, 180.0, 40.0, 10.0
#: The part of the rows that the first picture shows, as the last few are far out, and the second, where copies are.
SHOWN, NEAR = 0.9, 0.05


@dataclass(frozen=True)
class Nearness:
    """Closeness of rows to train: distance to the nearest training row over that row's own distance to its nearest other,
    as the check of copies measures it. 0: a copy. Equal counts of both sets."""

    holdout: Array
    synthetic: Array
    train_rows: int


def nearness(train: Dataset, holdout: Drawn, synthetic: Drawn, *, seed: int = 0) -> Nearness | None:
    """None when there is nothing to measure: no rows, or no column that can be measured."""
    from validators.copies import closeness
    from validators.points import Scaled

    count = min(len(holdout), len(synthetic), ROWS)
    if count < LEAST_ROWS or train.num_rows < 2:
        return None
    some = draw(train, seed=seed, limit=TRAIN)
    try:
        with np.errstate(all="ignore"):  # of a column of infinities, which the next lines leave out
            space = Scaled.fit(some.rows, with_target=True)
            some = some.head(max(MOST_FEATURES // space.geometry.width, 500))
            base = np.unique(space.points(some.rows, np.arange(len(some))), axis=0)
            sides = [space.points(d.rows, np.arange(count)) for d in (holdout, synthetic)]
    except DataError:
        return None
    if len(base) < 2 or not all(np.isfinite(points).all() for points in (base, *sides)):
        return None
    # Copies are 0: rounding of the squared form must not turn an exact one into a near one.
    far = [np.where((d := closeness(side, base)[0]) < 1e-4, 0.0, d) for side in sides]
    return Nearness(far[0], far[1], len(some))


def pictures(found: Nearness, *, fewest: int = 1) -> tuple[Markup, Markup]:
    """Share of rows within a closeness: all rows, and the nearest of them enlarged. fewest: rows that a curve begins with."""
    both = np.concatenate([found.holdout, found.synthetic])
    whole = float(np.quantile(both, SHOWN)) or 1.0
    # Where the nearer of the two sides has its share within the enlarged part.
    close = max(float(np.quantile(found.holdout, NEAR)), 0.02 * whole)
    top = _ceiling(found, close)
    return _curves(found, whole, 1.0, _label(found), fewest), _curves(found, close, top, _near(found), fewest)


def _ceiling(found: Nearness, close: float) -> float:
    most = max(float((side <= close).mean()) for side in (found.holdout, found.synthetic))
    return min(1.0, max(most * 1.1, 0.01))


def _curves(found: Nearness, right: float, top: float, label: str, fewest: int) -> Markup:
    """The curve of copies rises early, left of that of the holdout."""
    parts: list[Markup | str] = []
    for part in (0.0, 0.5, 1.0):
        y = HEIGHT - part * (HEIGHT - TOP)
        parts.append(svg.line(LEFT, y, WIDTH, y, "axis" if part == 0 else "grid"))
        parts.append(svg.words(LEFT - 5, y + 4, share(part * top) if part else "0", anchor="end"))
    if right > 1:
        x = LEFT + (WIDTH - LEFT) / right
        parts.append(svg.line(x, TOP, x, HEIGHT, "limit quiet"))
    for values, css in ((found.holdout, "real line"), (found.synthetic, "fake line")):
        at = np.linspace(0, right, STEPS)
        count = np.searchsorted(np.sort(values), at, side="right")
        within = np.where(count < fewest, 0, count) / len(values)
        xs, ys = LEFT + at / right * (WIDTH - LEFT), HEIGHT - np.minimum(within / top, 1) * (HEIGHT - TOP)
        parts.append(svg.path(list(zip(xs.tolist(), ys.tolist(), strict=True)), css))
    parts.append(svg.words(LEFT, HEIGHT + 14, "0, a copy"))
    parts.append(svg.words(WIDTH, HEIGHT + 14, figure(right), anchor="end"))
    if 1.15 < right < 4.5:
        parts.append(svg.words(LEFT + (WIDTH - LEFT) / right, HEIGHT + 14, "1", anchor="middle"))
    return svg.chart(WIDTH, HEIGHT + 18, label, parts)


def _label(found: Nearness) -> str:
    real, fake = (figure(float(np.median(v))) for v in (found.holdout, found.synthetic))
    return f"Share of rows by their closeness to the nearest training row; median: holdout {real}, synthetic {fake}"


def _near(found: Nearness) -> str:
    close = float(np.quantile(found.holdout, NEAR))
    real, fake = (share(float((v <= close).mean())) for v in (found.holdout, found.synthetic))
    return f"The nearest rows enlarged: within {figure(close)}, holdout {real}, synthetic {fake}"
