"""How does the map of the rows look: real and synthetic side by side, coloured by cell?"""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from validators.report import svg
from validators.report.cloud import Cloud
from validators.report.rows import Array
from validators.report.text import figure, many

WIDTH, HEIGHT, PAD = 440.0, 340.0, 14.0
#: Squares across and upward in which a release counts its rows.
GRID = (36, 28)


def pictures(cloud: Cloud, *, fewest: int = 1) -> tuple[Markup, Markup]:
    """The real rows and the synthetic rows, on the same axes; above 1, squares of at least `fewest` rows in place of rows."""
    return (
        _map(cloud, cloud.real, cloud.real_cells, real=True, fewest=fewest),
        _map(cloud, cloud.synthetic, cloud.synthetic_cells, real=False, fewest=fewest),
    )


def _map(cloud: Cloud, places: Array, codes: Array, *, real: bool, fewest: int) -> Markup:
    parts: list[Markup | str] = [svg.rect(0, 0, WIDTH, HEIGHT, "ground", rx=4)]
    parts += _squares(places, codes, fewest) if fewest > 1 else _dots(places, codes, len(cloud.cells))
    if real and cloud.marked.any() and fewest == 1:
        spots = _spots(places[cloud.marked])
        # A ring is a wide dot in ink with a narrower one in the colour of the card on it.
        parts += [svg.dots(spots, "dots thin"), svg.dots(spots, "dots hole")]
    for i, cell in enumerate(cloud.cells):
        # The middle of a cell of one row is that row.
        if (cloud.real_cells == i).sum() >= fewest:
            parts += _number(i, cell.centre, cell.state if not real else "")
    if not real:
        parts += _holes(_spots(cloud.holes))
    label = _label(cloud, len(places), real=real)
    return svg.chart(WIDTH, HEIGHT, label, parts, css="chart scatter")


def _label(cloud: Cloud, rows: int, *, real: bool) -> str:
    what = "real row" if real else "synthetic row"
    label = f"Map of {many(rows, what)} on the first two principal components of the reference rows, coloured by cell"
    if real:
        return label + (f"; {many(int(cloud.marked.sum()), 'row')} of missing cells are ringed" if cloud.marked.any() else "")
    told = [f"{many(len(cloud.holes), 'region')} without enough synthetic rows"] if len(cloud.holes) else []
    told += [f"cell {i + 1} is {cell.state}, ratio {figure(cell.ratio, 2)}" for i, cell in enumerate(cloud.cells) if cell.state]
    return f"{label}; {', '.join(told) or 'no cell is surely thin'}"


def _spots(places: Array) -> list[tuple[float, float]]:
    x = PAD + places[:, 0] * (WIDTH - 2 * PAD)
    y = HEIGHT - PAD - places[:, 1] * (HEIGHT - 2 * PAD)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _dots(places: Array, codes: Array, cells: int) -> list[Markup]:
    return [svg.dots(_spots(places[codes == i]), f"dots c{i}") for i in range(cells)]


def _number(i: int, centre: tuple[float, float], state: str) -> list[Markup | str]:
    ((x, y),) = _spots(np.array([centre]))
    css = "num gone" if state else "num"
    parts: list[Markup | str] = [svg.tag("circle", cx=x, cy=y, r=10, class_=f"{css} b{i}")]
    parts.append(svg.words(x, y + 4, str(i + 1), "numtext", anchor="middle"))
    if state:
        parts.append(svg.words(x, y + 24, state, "state", anchor="middle"))
    return parts


def _holes(spots: list[tuple[float, float]]) -> list[Markup | str]:
    """A hollow circle for each; those that lie together share one word."""
    parts: list[Markup | str] = [svg.tag("circle", cx=x, cy=y, r=13, class_="hollow") for x, y in spots]
    for i, (x, y) in enumerate(spots):
        if all(abs(x - u) > 50 or abs(y - v) > 40 for u, v in spots[:i]):
            parts.append(svg.words(x, y + 26, "missing", "state", anchor="middle"))
    return parts


def _squares(places: Array, codes: Array, fewest: int) -> list[Markup]:
    """Squares larger where more rows lie, in the colour of the cell that most of them belong to; none below `fewest`."""
    squares = np.minimum((places * GRID).astype(int), np.array(GRID) - 1)
    spots, back, counts = np.unique(squares, axis=0, return_inverse=True, return_counts=True)
    back, most = back.reshape(-1), counts.max(initial=1)
    wide, high = (WIDTH - 2 * PAD) / GRID[0], (HEIGHT - 2 * PAD) / GRID[1]
    parts = []
    for k in np.flatnonzero(counts >= fewest):
        (i, j), side = spots[k].tolist(), 0.4 + 0.6 * float(counts[k] / most) ** 0.5
        x, y = PAD + (i + 0.5 - side / 2) * wide, HEIGHT - PAD - (j + 0.5 + side / 2) * high
        parts.append(svg.rect(x, y, side * wide, side * high, f"square b{int(np.bincount(codes[back == k]).argmax())}"))
    return parts
