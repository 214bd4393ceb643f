"""Is a region of the real data missing from the synthetic set, or thin in it?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from validators.base import Culprit, Evidence, Finding, Intent, Verdict
from validators.cells import CLASS, Codes, Family, Grid, fit_grid
from validators.gate import Detectable
from validators.mix import Classes, classes, compared, restrict
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
GUESSED_TESTS = 500
#: Weight of the evidence of a cell by how plainly it reads: class, column, column within a class, pair, cluster.
PLAINNESS = (1.0, 0.98, 0.9, 0.85, 0.75)


@dataclass(frozen=True)
class Placed:
    """Both sets in one scope: the codes of their rows. n and m are the numbers of rows."""

    holdout: Codes
    synthetic: Codes
    n: int
    m: int


@dataclass(frozen=True)
class Table:
    """Every cell that is counted, one entry each: (k,) arrays. share: intended share of a class, NaN for counted cells."""

    family: Array
    cell: Array
    plain: Array
    scope: Array
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
    """Every cell fixed on the reference rows is counted in holdout and synthetic rows and tested for thinness.

    Given t = h + s rows in a cell, H0: its synthetic share is at least rho times its real share, so that
    p = P(Bin(t, rho m / (rho m + n)) <= s). Cells that could not reject at their t are left out (Tarone 1990), the
    others share the spent alpha (Holm). Blocks at Intent.rho, warns at Intent.warn_rho."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises nothing: sets too small to test give SKIPPED with what can be seen (nothing) in `details`."""
        evidence = restrict(evidence)
        found, intent = classes(evidence), evidence.intent
        if evidence.holdout.num_rows == 0 or evidence.synthetic.num_rows == 0 or evidence.reference.num_rows < 2:
            return _nothing("there are no rows to compare in the classes under judgement", found)
        scopes = _scopes(evidence, found)
        rows = {scope: (len(h), len(s)) for scope, (h, s) in scopes.items()}
        grid = _grid(evidence, found, _floors(rows, intent))
        placed = _place(grid, evidence, scopes)
        table = _count(grid, placed, found, rows)
        return _finding(table, grid, placed, evidence, found, rows)


def _scopes(evidence: Evidence, found: Classes | None) -> dict[int | None, tuple[Array, Array]]:
    """The rows of holdout and synthetic set that are compared: over all classes (None), and within each."""
    out: dict[int | None, tuple[Array, Array]] = {None: compared(evidence, found)}
    if found is None:
        return out
    for y in range(len(found.names)):
        out[y] = (np.flatnonzero(found.holdout == y), np.flatnonzero(found.synthetic == y))
    return out


def _floors(rows: Mapping[int | None, tuple[int, int]], intent: Intent) -> dict[int | None, float]:
    """Least share of a cell whose complete loss could be flagged, for each scope."""
    out: dict[int | None, float] = {}
    for scope, (n, m) in rows.items():
        least = least_holdout_count(intent.spent, GUESSED_TESTS, _pooled(intent.rho, n, m))
        out[scope] = min(least / max(n, 1), 2.0)
    return out


def _pooled(rho: float, n: int, m: int) -> float:
    return rho * m / max(rho * m + n, 1)


def _grid(evidence: Evidence, found: Classes | None, floors: Mapping[int | None, float]) -> Grid:
    labels = None if found is None else found.reference
    names = () if found is None else found.names
    return fit_grid(evidence.reference, labels, names, floors=floors, seed=evidence.intent.seed)


def _place(grid: Grid, evidence: Evidence, scopes: Mapping[int | None, tuple[Array, Array]]) -> dict[int | None, Placed]:
    holdout, synthetic = grid.place(evidence.holdout), grid.place(evidence.synthetic)
    out: dict[int | None, Placed] = {}
    for scope, (h, s) in scopes.items():
        out[scope] = Placed(_pick(holdout, h), _pick(synthetic, s), len(h), len(s))
    return out


def _pick(codes: Codes, rows: Array) -> dict[str, Array]:
    return {key: values if len(rows) == len(values) else values[rows] for key, values in codes.items()}


def _count(
    grid: Grid, placed: Mapping[int | None, Placed], found: Classes | None, rows: Mapping[int | None, tuple[int, int]]
) -> Table:
    parts: list[list[Array]] = []
    for i, family in enumerate(grid.families):
        side = placed[family.scope]
        cells = np.flatnonzero(family.keep)
        if not len(cells) or not side.n or not side.m:
            continue
        h, s = (_bincount(family.codes(codes), family.size)[cells] for codes in (side.holdout, side.synthetic))
        scope = -1 if family.scope is None else family.scope
        parts.append(_rows(i, cells, family.plain, scope, h, s, side.n, side.m, np.nan))
    if found is not None and len(found.names) > 1:
        n, m = int((found.holdout >= 0).sum()), int((found.synthetic >= 0).sum())
        shares = np.full(len(found.names), np.nan) if found.shares is None else found.shares
        h, s = (_bincount(labels, len(found.names)) for labels in (found.holdout, found.synthetic))
        parts.append(_rows(-1, np.arange(len(found.names)), CLASS, -1, h, s, n, m, shares))
    if not parts:
        return Table(*(np.zeros(0) for _ in range(9)))
    return Table(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _rows(*columns: Any) -> list[Array]:
    size = len(columns[1])
    return [np.broadcast_to(np.asarray(column), (size,)) for column in columns]


def _bincount(codes: Array, size: int) -> Array:
    return np.bincount(codes[codes >= 0], minlength=size)[:size]


def _finding(
    table: Table,
    grid: Grid,
    placed: Mapping[int | None, Placed],
    evidence: Evidence,
    found: Classes | None,
    rows: Mapping[int | None, tuple[int, int]],
) -> Finding:
    intent = evidence.intent
    seen = _detectable(table, found, rows, intent)
    if not len(table.h):
        return _nothing("no cell of the reference rows is large enough to be tested with these holdout rows", found, seen)
    tested, _ = tarone(table.log_least(intent.rho), intent.spent)
    if not tested.any():
        return _nothing("no cell holds enough rows for a test at this level", found, seen)
    missing = _rejected(table, intent.rho, intent.spent)
    thin_cells = _rejected(table, intent.warn_rho, intent.spent)
    verdict: Verdict = "BLOCK" if missing else "WARN" if thin_cells else "PASS"
    named = _culprits(table, grid, placed, found, missing or thin_cells, intent, intent.rho if missing else intent.warn_rho)
    adjusted = holm(table.log_p(intent.rho)[tested])
    return Finding(
        CHECK,
        verdict,
        value=float(np.nanmin(table.ratio[tested])),
        limit=intent.rho,
        reference=_reference(table, tested, grid, evidence, found),
        p_value=math.exp(float(adjusted.min())),
        summary=_summary(verdict, named, int(tested.sum()), seen, intent),
        culprits=tuple(named),
        details={
            "tested": int(tested.sum()),
            "cells": len(table.h),
            "flagged": len(missing or thin_cells),
            "holdout_rows": rows[None][0],
            "synthetic_rows": rows[None][1],
            "warn_limit": intent.warn_rho,
            "detectable": asdict(seen),
            **({"advice": _advice(named, found)} if named else {}),
        },
    )


def _rejected(table: Table, rho: float, alpha: float) -> dict[int, float]:
    """Entry -> adjusted log p of the cells that are too thin at rho."""
    tested, _ = tarone(table.log_least(rho), alpha)
    places = np.flatnonzero(tested)
    adjusted = holm(table.log_p(rho)[places])
    return {int(i): float(p) for i, p in zip(places, adjusted, strict=True) if p <= math.log(alpha)}


def _detectable(table: Table, found: Classes | None, rows: Mapping[int | None, tuple[int, int]], intent: Intent) -> Detectable:
    """Source: GATE.md, h_min = ceil(ln(alpha/K) / ln(1 - pi)), then P(Bin(n, p) >= h_min) >= 0.95."""
    tests = tarone(table.log_least(intent.rho), intent.spent)[1] if len(table.h) else 1
    least = {scope: least_holdout_count(intent.spent, tests, _pooled(intent.rho, *size)) for scope, size in rows.items()}
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


def _culprits(
    table: Table,
    grid: Grid,
    placed: Mapping[int | None, Placed],
    found: Classes | None,
    flagged: Mapping[int, float],
    intent: Intent,
    rho: float,
) -> list[Culprit]:
    """The worst cells, the plainest name for each hole: one that is thin only because it overlaps a named one is left out."""
    log_p = table.log_p(rho)
    order = sorted(flagged, key=lambda i: (log_p[i] * PLAINNESS[int(table.plain[i])], table.plain[i]))
    hidden: dict[int | None, tuple[Array, Array]] = {
        scope: (np.zeros(side.n, dtype=bool), np.zeros(side.m, dtype=bool)) for scope, side in placed.items()
    }
    level = math.log(intent.spent / len(flagged)) if flagged else 0.0
    named: list[Culprit] = []
    for i in order[:400]:
        if len(named) == SHOWN:
            break
        if _still_thin(i, table, grid, placed, hidden, rho) <= level:
            named.append(_culprit(i, table, grid, found, flagged[i], intent))
            _hide(i, table, grid, placed, hidden)
    return named


def _still_thin(i: int, table: Table, grid: Grid, placed: Any, hidden: Any, rho: float) -> float:
    """Log p of a cell without the rows that lie in cells already named."""
    if table.plain[i] == CLASS:
        return float(table.log_p(rho)[i])
    family, side = _family(i, table, grid), placed[_scope(i, table)]
    free = [~mask for mask in hidden[_scope(i, table)]]
    h = int((free[0] & (family.codes(side.holdout) == table.cell[i])).sum())
    s = int((free[1] & (family.codes(side.synthetic) == table.cell[i])).sum())
    return float(log_binomial_tail(np.array(s), np.array(h + s), _pooled(rho, side.n, side.m)))


def _hide(i: int, table: Table, grid: Grid, placed: Any, hidden: Any) -> None:
    """Cover the rows of a named cell in every scope, where its encoder is known there."""
    if table.plain[i] == CLASS:
        return
    family = _family(i, table, grid)
    for scope, (h, s) in hidden.items():
        if family.scope is None or scope == family.scope:
            h |= family.codes(placed[scope].holdout) == table.cell[i]
            s |= family.codes(placed[scope].synthetic) == table.cell[i]


def _family(i: int, table: Table, grid: Grid) -> Family:
    return grid.families[int(table.family[i])]


def _scope(i: int, table: Table) -> int | None:
    return None if table.scope[i] < 0 else int(table.scope[i])


def _culprit(i: int, table: Table, grid: Grid, found: Classes | None, log_adjusted: float, intent: Intent) -> Culprit:
    h, s, n, m = (float(column[i]) for column in (table.h, table.s, table.n, table.m))
    if table.fixed[i]:
        low, high = clopper_pearson(s, m, intent.spent)
        share = float(table.share[i])
        ratio, interval = s / (m * share), (low / share, high / share)
    else:
        ratio, interval = rate_ratio(s, m, h, n, intent.spent)
    return Culprit(
        cell=_name(i, table, grid, found),
        expected=round(float(table.expected[i]), 1),
        observed=s,
        ratio=ratio,
        ratio_ci=interval,
        p_adjusted=math.exp(log_adjusted),
    )


def _name(i: int, table: Table, grid: Grid, found: Classes | None) -> str:
    if table.plain[i] == CLASS and found is not None:
        return f"class {found.names[int(table.cell[i])]}"
    return _family(i, table, grid).label(int(table.cell[i]))


def _reference(table: Table, tested: Array, grid: Grid, evidence: Evidence, found: Classes | None) -> float | None:
    """The smallest ratio of the same cells between reference and holdout: how thin real data look against real data."""
    placed = grid.place(evidence.reference)
    ratios = []
    for i in np.flatnonzero(tested).tolist():
        if table.plain[i] == CLASS or not table.h[i]:
            continue
        family, scope = _family(i, table, grid), _scope(i, table)
        inside = (
            np.ones(evidence.reference.num_rows, dtype=bool) if scope is None or found is None else found.reference == scope
        )
        r = _cell_count(family, int(table.cell[i]), placed, inside)
        ratios.append(r / max(int(inside.sum()), 1) / (table.h[i] / table.n[i]))
    return float(min(ratios)) if ratios else None


def _cell_count(family: Family, cell: int, codes: Codes, inside: Array) -> int:
    return int((inside & (family.codes(codes) == cell)).sum())


def _summary(verdict: str, named: list[Culprit], tested: int, seen: Detectable, intent: Intent) -> str:
    if not named:
        size = "none" if seen.whole is None else percent(seen.whole)
        return f"none of {tested} tested cells has less than {percent(intent.warn_rho)} of its rows; smallest mode seen: {size}"
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
