"""Is a region of the real data missing from the synthetic set, or thin in it?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from validators.base import Culprit, Evidence, Finding, Intent, Verdict
from validators.cells import CLASS, SEARCHED, SINGLE, WITHIN, Codes, Family, Grid, fit_grid
from validators.gate import Detectable
from validators.mix import Classes
from validators.search import Found, search
from validators.sides import Sides, sides
from validators.stats import (
    Array,
    clopper_pearson,
    holm,
    least_holdout_count,
    log_binomial_tail,
    percent,
    rate_ratio,
    rows_for_mode,
    smallest_mode,
    tarone,
)

CHECK = "modes"
SHOWN = 10
#: Guess of how many cells are tested, to fix the least cell before anything is counted.
GUESSED_TESTS = 2000
#: Holdout and reference are of one kind unless a cell surely has less than this times its share in one of them.
DRIFT, DRIFT_ALPHA = 0.5, 1e-4
#: Weight of the evidence of a cell by how plainly it reads: class, column, column within a class, pair, cluster, searched.
PLAINNESS = (1.0, 0.98, 0.9, 0.85, 0.75, 0.5)
#: Part of the check's alpha for the classes as a whole: they are few, and their loss is what users fear most.
CLASS_PART = 0.2


@dataclass(frozen=True)
class Table:
    """Every cell that is counted, one entry each: (k,) arrays.

    h, s, r: holdout, synthetic and reference rows in it; n, m, of: those of its scope; share: intended share of a class,
    NaN for counted cells."""

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

    def log_p(self, rho: float) -> Array:
        """Log of P(at most s synthetic rows here) if the cell had rho times its real share."""
        return log_binomial_tail(self.s, self._trials, self._chance(rho))

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
        return np.where(self.fixed, self.m, self.h + self.s)

    def _chance(self, rho: float) -> Array:
        pooled = rho * self.m / np.maximum(rho * self.m + self.n, 1)
        return np.where(self.fixed, rho * np.nan_to_num(self.share), pooled)


@dataclass(frozen=True)
class ModesCheck:
    """Cells are counted in holdout and synthetic rows and tested for thinness: many fixed on the reference rows, and a few
    that a classifier finds on reference and some synthetic rows, counted on the others.

    Given t = h + s rows in a cell, H0: its synthetic share is at least rho times its real share, so that
    p = P(Bin(t, rho m / (rho m + n)) <= s). Cells that could not reject at their t are left out (Tarone 1990), the others
    share the check's alpha (Holm), the classes as a whole a part of their own. Blocks at Intent.rho, warns at
    Intent.warn_rho."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises nothing: sets too small to test give SKIPPED with what can be seen (nothing) in `details`."""
        at = sides(evidence)
        if at.holdout.num_rows == 0 or at.synthetic.num_rows == 0 or at.reference.num_rows < 2:
            return _nothing("there are no rows to compare in the classes under judgement", at.classes)
        rows = _sizes(at)
        grid = _grid(at, _floors(rows, evidence.intent))
        placed = _placed(grid, at)
        found = search(at, grid, placed)
        return _finding(_count(grid, at, rows, found, placed), grid, at, rows, found, placed)


def _sizes(at: Sides) -> dict[int | None, tuple[int, int]]:
    """Holdout and synthetic rows that are compared over all classes (None), and within each."""
    out: dict[int | None, tuple[int, int]] = {None: (len(at.h), at.rows)}
    if at.classes is not None:
        for y in range(len(at.classes.names)):
            out[y] = (int((at.classes.holdout == y).sum()), int((at.classes.synthetic == y).sum()))
    return out


def _floors(rows: Mapping[int | None, tuple[int, int]], intent: Intent) -> dict[int | None, float]:
    """Least share of a cell whose complete loss could be flagged, for each scope."""
    out: dict[int | None, float] = {}
    for scope, (n, m) in rows.items():
        least = least_holdout_count(intent.level(CHECK), GUESSED_TESTS, _pooled(intent.rho, n, m))
        out[scope] = min(least / max(n, 1), 2.0)
    return out


def _pooled(rho: float, n: float, m: float) -> float:
    return rho * m / max(rho * m + n, 1)


def _grid(at: Sides, floors: Mapping[int | None, float]) -> Grid:
    labels = None if at.classes is None else at.classes.reference
    names = () if at.classes is None else at.classes.names
    return fit_grid(at.reference, labels, names, floors=floors, seed=at.intent.seed)


def _placed(grid: Grid, at: Sides) -> dict[str, Codes]:
    """Codes of the rows that are held in memory."""
    found = at.classes
    labels = (None, None, None) if found is None else (found.reference, found.holdout, at.sample_labels)
    sets = {"reference": at.reference, "holdout": at.holdout, "sample": at.sample}
    return {name: grid.place(rows, some) for (name, rows), some in zip(sets.items(), labels, strict=True)}


def _count(
    grid: Grid, at: Sides, rows: Mapping[int | None, tuple[int, int]], searched: Found | None, placed: Mapping[str, Codes]
) -> Table:
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


def _finding(
    table: Table,
    grid: Grid,
    at: Sides,
    rows: Mapping[int | None, tuple[int, int]],
    searched: Found | None,
    placed: Mapping[str, Codes],
) -> Finding:
    intent, found, alpha = at.intent, at.classes, at.intent.level(CHECK)
    seen = _detectable(table, found, rows, intent)
    if (drifted := _drift(table, found is not None)) is not None:
        return _drifted(drifted, table, Namer(table, grid, at, searched, placed, {}, 1.0), seen)
    if not len(table.h):
        return _nothing("no cell of the reference rows is large enough to be tested with these holdout rows", found, seen)
    adjusted = _adjusted(table, intent.rho, alpha)
    tested = ~np.isnan(adjusted)
    if not tested.any():
        return _nothing("no cell holds enough rows for a test at this level", found, seen)
    missing = _rejected(adjusted, alpha)
    thin_cells = _rejected(_adjusted(table, intent.warn_rho, alpha), alpha)
    verdict: Verdict = "BLOCK" if missing else "WARN" if thin_cells else "PASS"
    flagged, rho = (missing, intent.rho) if missing else (thin_cells, intent.warn_rho)
    named = Namer(table, grid, at, searched, placed, flagged, rho).culprits() if flagged else []
    return Finding(
        CHECK,
        verdict,
        value=float(np.nanmin(table.ratio[tested])),
        limit=intent.rho,
        reference=_reference(table, tested),
        p_value=math.exp(float(np.nanmin(adjusted))),
        summary=_summary(verdict, named, int(tested.sum()), seen, intent),
        culprits=tuple(named),
        details={
            "tested": int(tested.sum()),
            "cells": len(table.h),
            "flagged": len(flagged),
            "holdout_rows": rows[None][0],
            "synthetic_rows": rows[None][1],
            "warn_limit": intent.warn_rho,
            "detectable": asdict(seen),
            **({"advice": _advice(named, found)} if named else {}),
        },
    )


def _drift(table: Table, classes: bool) -> int | None:
    """The cell in which holdout and reference differ most, if it is surely by more than half; None if there is none.

    Columns alone, within classes where there are any, as a train set may have a class mix of its own on purpose."""
    places = np.flatnonzero(table.plain == (WITHIN if classes else SINGLE))
    if not len(places):
        return None
    h, n, r, of = (column[places].astype(float) for column in (table.h, table.n, table.r, table.of))
    log_p = np.minimum(
        log_binomial_tail(h, h + r, DRIFT * n / (DRIFT * n + of)), log_binomial_tail(r, h + r, DRIFT * of / (DRIFT * of + n))
    )
    least = int(log_p.argmin())
    return int(places[least]) if log_p[least] <= math.log(DRIFT_ALPHA / (2 * len(places))) else None


def _drifted(i: int, table: Table, namer: Namer, seen: Detectable) -> Finding:
    shares = [percent(float(part[i]) / max(float(whole[i]), 1)) for part, whole in ((table.h, table.n), (table.r, table.of))]
    said = (
        f"the holdout is not of the reference's kind: {namer.name(i)} holds {shares[0]} of its rows and {shares[1]} of the "
        "reference's, so nothing can be told by it"
    )
    advice = "split train and holdout at random from one set, then judge again"
    return Finding(
        CHECK, "INCONCLUSIVE", summary=said, details={"detectable": asdict(seen), "yardstick": "drift", "advice": advice}
    )


def _reference(table: Table, tested: Array) -> float | None:
    """The smallest ratio of the same cells between reference and holdout: how thin real data look against real data."""
    # The search chose its cells by the reference itself, so that there they are no yardstick.
    counted = tested & ~table.fixed & (table.h > 0) & (table.of > 0) & (table.plain != SEARCHED)
    if not counted.any():
        return None
    return float(((table.r / table.of)[counted] / (table.h / table.n)[counted]).min())


def _adjusted(table: Table, rho: float, alpha: float) -> Array:
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


def _rejected(adjusted: Array, alpha: float) -> dict[int, float]:
    """Entry -> adjusted log p of the cells that are too thin."""
    return {int(i): float(adjusted[i]) for i in np.flatnonzero(adjusted <= math.log(alpha))}


def _detectable(table: Table, found: Classes | None, rows: Mapping[int | None, tuple[int, int]], intent: Intent) -> Detectable:
    """Source: GATE.md, h_min = ceil(ln(alpha/K) / ln(1 - pi)), then P(Bin(n, p) >= h_min) >= 0.95."""
    alpha = intent.level(CHECK)
    cells = table.plain != CLASS
    alpha *= 1 - CLASS_PART if not cells.all() else 1.0
    tests = tarone(table.log_least(intent.rho)[cells], alpha)[1] if cells.any() else 1
    least = {scope: least_holdout_count(alpha, tests, _pooled(intent.rho, *size)) for scope, size in rows.items()}
    names = () if found is None else found.names
    whole = smallest_mode(rows[None][0], least[None])
    smallest = {name: smallest_mode(rows[y][0], least[y]) for y, name in enumerate(names)}
    # Were a class lost altogether its rows could not set the ratio of sizes; the set's ratio does.
    for y, name in enumerate(names):
        if rows[y][1] == 0:
            smallest[name] = 1.0 if rows[y][0] >= least[None] else None
    needed = {n: least[y] if rows[y][1] else least[None] for y, n in enumerate(names) if smallest[n] is None}
    reachable = 0 < intent.detect <= 1 and least[None] < 10**9
    return Detectable(
        whole=whole,
        classes=smallest,
        rows_needed=rows_for_mode(intent.detect, least[None]) if reachable else None,
        class_rows_needed=needed,
    )


@dataclass(frozen=True)
class Namer:
    """Names the worst cells, each hole by its plainest name.

    A cell that is thin only because it overlaps a named one is left out: rows of named cells are covered, and a cell must
    be thin in the others. Synthetic rows are covered in the sample, and the cell's count is cut by the covered share."""

    table: Table
    grid: Grid
    at: Sides
    searched: Found | None
    placed: Mapping[str, Codes]
    flagged: Mapping[int, float]
    rho: float

    def culprits(self) -> list[Culprit]:
        """At most SHOWN cells, worst first."""
        log_p, plain = self.table.log_p(self.rho), self.table.plain
        order = sorted(self.flagged, key=lambda i: (log_p[i] * PLAINNESS[int(plain[i])], plain[i]))
        found, level = self.at.classes, math.log(self.at.intent.level(CHECK) / len(self.flagged))
        h_labels, s_labels = (None, None) if found is None else (found.holdout, self.at.sample_labels)
        covered = np.zeros(self.at.holdout.num_rows, dtype=bool), np.zeros(self.at.sample.num_rows, dtype=bool)
        named: list[Culprit] = []
        for i in order[:400]:
            if len(named) == SHOWN:
                break
            inside = self._inside(i, "holdout", h_labels), self._inside(i, "sample", s_labels)
            if not named or self._still_thin(i, inside, covered) <= level:
                named.append(self._culprit(i))
                for mask, rows in zip(covered, inside, strict=True):
                    mask |= rows
        return named

    def _inside(self, i: int, side: str, labels: Array | None) -> Array:
        """Whether each row of a side lies in the cell: (n,) bool."""
        if self.searched is not None and self.table.plain[i] == SEARCHED:
            return np.asarray(getattr(self.searched, side)[int(self.table.cell[i])])
        if self.table.plain[i] == CLASS:
            return np.asarray(labels == self.table.cell[i])
        family = self._family(i)
        inside = family.inside(self.placed[side], int(self.table.cell[i]))
        return np.asarray(inside if family.scope is None else inside & (labels == family.scope))

    def _still_thin(self, i: int, inside: tuple[Array, Array], covered: tuple[Array, Array]) -> float:
        """Log p of a cell without the rows that lie in cells already named."""
        free = [int((rows & ~mask).sum()) / max(int(rows.sum()), 1) for rows, mask in zip(inside, covered, strict=True)]
        h = round(float(self.table.h[i]) * free[0])
        s = round(float(self.table.s[i]) * (free[1] if inside[1].any() else 1.0))
        n, m = float(self.table.n[i]), float(self.table.m[i])
        return float(log_binomial_tail(np.array(s), np.array(h + s), _pooled(self.rho, n, m)))

    def _family(self, i: int) -> Family:
        return self.grid.families[int(self.table.family[i])]

    def _culprit(self, i: int) -> Culprit:
        table, alpha = self.table, self.at.intent.level(CHECK)
        h, s, n, m = (float(column[i]) for column in (table.h, table.s, table.n, table.m))
        if table.fixed[i]:
            low, high = clopper_pearson(s, m, alpha)
            share = float(table.share[i])
            ratio, interval = s / (m * share), (low / share, high / share)
        else:
            ratio, interval = rate_ratio(s, m, h, n, alpha)
        return Culprit(
            cell=self.name(i),
            expected=round(float(table.expected[i]), 1),
            observed=s,
            ratio=ratio,
            ratio_ci=interval,
            p_adjusted=math.exp(self.flagged[i]),
        )

    def name(self, i: int) -> str:
        """What a cell is called."""
        if self.table.plain[i] == CLASS and self.at.classes is not None:
            return f"class {self.at.classes.names[int(self.table.cell[i])]}"
        if self.table.plain[i] == SEARCHED and self.searched is not None:
            return self.searched.labels[int(self.table.cell[i])]
        return self._family(i).label(int(self.table.cell[i]))


def _summary(verdict: str, named: list[Culprit], tested: int, seen: Detectable, intent: Intent) -> str:
    if not named:
        size = "none" if seen.whole is None else percent(seen.whole)
        return f"none of {tested} tested cells surely has less than {percent(intent.warn_rho)} of its rows; smallest mode seen: {size}"
    worst = named[0]
    more = len(named) - 1
    others = f", and {more} more {'cell is' if more == 1 else 'cells are'} named" if more else ""
    counts = f"({worst.observed:.0f} of {worst.expected:.0f})"
    what = f"{worst.cell} has {percent(worst.ratio or 0.0)} of the rows it should have {counts}"
    return f"{what}, among {tested} tested cells{others}"


def _advice(named: list[Culprit], found: Classes | None) -> str:
    cell = named[0].cell
    if not cell.startswith("class "):
        return "train the generator longer or try another family, then judge a new attempt"
    if found is not None and found.shares is not None:
        return f"draw more rows of {cell}, so that it reaches its share of the intended mix"
    return f"draw more rows of {cell}, or name the mix you intend, then judge a new attempt"


def _nothing(why: str, found: Classes | None, seen: Detectable | None = None) -> Finding:
    seen = seen or Detectable(classes={} if found is None else dict.fromkeys(found.names))
    return Finding(CHECK, "SKIPPED", summary=why, details={"detectable": asdict(seen)})
