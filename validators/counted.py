"""How many real and synthetic rows lie in each cell, and how surprising is it that so few are synthetic?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from validators.cells import CLASS, SEARCHED, Codes, Grid
from validators.mix import Classes
from validators.search import Found
from validators.sides import Sides
from validators.stats import Array, holm, log_binomial_tail, tarone

#: Part of the alpha for the classes as a whole: they are few, and their loss is what users fear most.
CLASS_PART = 0.2


def pooled(rho: float, n: float, m: float) -> float:
    """Chance that a row of a cell is synthetic when the cell has rho times its share: of m synthetic and n real rows."""
    return rho * m / max(rho * m + n, 1)


@dataclass(frozen=True)
class Table:
    """Every cell that is counted, one entry each: (k,) arrays.

    h, s, r: holdout, synthetic and reference rows in it; n, m, of: those of its scope; share: intended share of a class,
    NaN for counted cells; alike: rows that bear witness as one would, None where each does."""

    family: Array
    cell: Array
    plain: Array
    scope: Array
    r: Array
    of: Array
    h: Array
    s: Array
    n: Array
    m: Array
    share: Array
    alike: Array | None = None

    def log_p(self, rho: float) -> Array:
        """Log of P(at most s synthetic rows here) if the cell had rho times its real share."""
        return log_binomial_tail(self._seen[1], self._trials, self._chance(rho))

    def log_least(self, rho: float) -> Array:
        """Log of the least p that a cell of this total could reach: no synthetic row in it at all."""
        return log_binomial_tail(np.zeros(len(self.s)), self._trials, self._chance(rho))

    @property
    def fixed(self) -> Array:
        return np.asarray(~np.isnan(self.share))

    @property
    def ratio(self) -> Array:
        """Synthetic share over real (or intended) share; NaN where the holdout has no row."""
        expected = self.expected
        known = expected > 0
        return np.where(known, self.s / np.where(known, expected, 1.0), np.nan)

    @property
    def expected(self) -> Array:
        return np.where(self.fixed, self.m * np.nan_to_num(self.share), self.h * self.m / np.maximum(self.n, 1))

    @property
    def _trials(self) -> Array:
        return np.where(self.fixed, self.m, sum(self._seen))

    @property
    def witnesses(self) -> Array:
        """How many rows bear witness as one would: (k,), 1 or more."""
        return np.ones(len(self.h)) if self.alike is None else np.asarray(self.alike)

    @property
    def _seen(self) -> tuple[Array, Array]:
        """Holdout and synthetic rows that bear witness; a share of one on the real side is none."""
        if self.alike is None:
            return self.h, self.s
        return np.floor(self.h / self.alike), np.where(self.fixed, self.s, np.ceil(self.s / self.alike))

    def _chance(self, rho: float) -> Array:
        mixed = rho * self.m / np.maximum(rho * self.m + self.n, 1)
        return np.where(self.fixed, rho * np.nan_to_num(self.share), mixed)


def adjusted(table: Table, rho: float, alpha: float) -> Array:
    """(k,) log p of thinness at rho, to be held against `alpha` whatever the cell: Holm over classes and over the other
    cells, each with its part of the alpha; NaN where a cell could not reject at its total (Tarone)."""
    out, log_p, log_least = np.full(len(table.h), np.nan), table.log_p(rho), table.log_least(rho)
    classes = table.plain == CLASS
    for inside, part in ((classes, CLASS_PART), (~classes, 1 - CLASS_PART if classes.any() else 1.0)):
        places = np.flatnonzero(inside)
        if len(places):
            tested, _ = tarone(log_least[places], part * alpha)
            out[places[tested]] = holm(log_p[places[tested]]) - math.log(part)
    return np.asarray(np.minimum(out, 0.0))


def placed_rows(grid: Grid, at: Sides) -> dict[str, Codes]:
    """Codes of the rows that are held in memory."""
    found = at.classes
    labels = (None, None, None) if found is None else (found.reference, found.holdout, at.sample_labels)
    sets = {"reference": at.reference, "holdout": at.holdout, "sample": at.sample}
    return {name: grid.place(rows, some) for (name, rows), some in zip(sets.items(), labels, strict=True)}


def count(
    grid: Grid, at: Sides, rows: Mapping[int | None, tuple[int, int]], searched: Found | None, placed: Mapping[str, Codes]
) -> Table:
    """Every cell of the grid and of the search, counted on all three sides; rows: holdout and synthetic rows of each scope."""
    found = at.classes
    labels = (None, None, None) if found is None else (found.reference, found.holdout, found.synthetic)
    r_cells = grid.cells(placed["reference"], labels[0], None)
    h_cells = grid.cells(placed["holdout"], labels[1], _mask(at.h, at.holdout.num_rows))
    s_cells = grid.count_all(at.synthetic, labels[2], at.s)
    parts: list[list[Array]] = []
    for i, family in enumerate(grid.families):
        n, m = rows[family.scope]
        cells = np.flatnonzero(family.keep)
        if len(cells) and n and m:
            scope = -1 if family.scope is None else family.scope
            of = at.reference.num_rows if labels[0] is None or scope < 0 else int((labels[0] == scope).sum())
            r, h, s = (counts[i][cells] for counts in (r_cells, h_cells, s_cells))
            parts.append(_rows(i, cells, family.plain, scope, r, of, h, s, n, m, np.nan))
    if found is not None and len(found.names) > 1:
        parts.append(_class_rows(found))
    if searched is not None:
        parts.append(_searched_rows(searched, at))
    if not parts:
        return Table(*(np.zeros(0) for _ in range(11)))
    return Table(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _class_rows(found: Classes) -> list[Array]:
    """One entry a class: its share among all labelled rows, against the intended mix where there is one."""
    k = len(found.names)
    shares = np.full(k, np.nan) if found.shares is None else found.shares
    r, h, s = (_bincount(labels, k) for labels in (found.reference, found.holdout, found.synthetic))
    return _rows(-1, np.arange(k), CLASS, -1, r, int(r.sum()), h, s, int(h.sum()), int(s.sum()), shares)


def _searched_rows(found: Found, at: Sides) -> list[Array]:
    """One entry a cell of the search, counted on rows that took no part in it."""
    sets = (found.reference, found.holdout[:, at.h], found.sample[:, found.counted])
    r, h, s = (side.sum(axis=1) for side in sets)
    of, n, m = (side.shape[1] for side in sets)
    return _rows(-2, np.arange(len(r)), SEARCHED, -1, r, of, h, s, n, m, np.nan)


def _mask(places: Array, rows: int) -> Array | None:
    if len(places) == rows:
        return None
    out = np.zeros(rows, dtype=bool)
    out[places] = True
    return out


def _rows(*columns: Any) -> list[Array]:
    size = len(columns[1])
    return [np.broadcast_to(np.asarray(column), (size,)) for column in columns]


def _bincount(codes: Array, size: int) -> Array:
    return np.bincount(codes[codes >= 0], minlength=size)[:size]
