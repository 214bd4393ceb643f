"""Is a region of the real data missing from the synthetic set, or thin in it?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import numpy as np

from validators.base import Culprit, Evidence, Finding, Intent, Verdict
from validators.cells import CLASS, SEARCHED, SINGLE, WITHIN, Codes, Grid, fit_grid
from validators.counted import CLASS_PART, Table, adjusted, count, placed_rows, pooled
from validators.gate import DRAWS, Detectable
from validators.mix import Classes
from validators.naming import Namer
from validators.search import Found, search
from validators.sides import Sides, sides
from validators.stats import (
    Array,
    least_holdout_count,
    log_binomial_tail,
    percent,
    rows_for_mode,
    smallest_mode,
    tarone,
)

CHECK = "modes"
#: Guess of how many cells are tested, to fix the least cell before anything is counted.
GUESSED_TESTS = 2000
#: Holdout and reference are of one kind unless a cell surely has less than this times its share in one of them.
DRIFT, DRIFT_ALPHA = 0.5, 1e-4
#: Training rows hardly show a kind when they hold less than this times its share among unseen rows.
SHOWN_LEAST = 0.5
#: Cells that become testable with each holdout row, at most: seen up to 2 on the tables of the benchmarks.
CELLS_A_ROW = 2.0


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
        placed = placed_rows(grid, at)
        found = search(at, grid, placed)
        table = self._counted(evidence, grid, count(grid, at, rows, found, placed), found, placed)
        return _finding(table, grid, at, rows, found, placed)

    def _counted(self, evidence: Evidence, grid: Grid, table: Table, found: Found | None, placed: Mapping[str, Codes]) -> Table:
        """The table by which cells are judged."""
        return table


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
        least = least_holdout_count(intent.level(CHECK), GUESSED_TESTS, pooled(intent.rho, n, m))
        out[scope] = min(least / max(n, 1), 2.0)
    return out


def _grid(at: Sides, floors: Mapping[int | None, float]) -> Grid:
    labels = None if at.classes is None else at.classes.reference
    names = () if at.classes is None else at.classes.names
    return fit_grid(at.reference, labels, names, floors=floors, seed=at.intent.seed)


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
        return _drifted(drifted, table, Namer(table, grid, at, searched, placed, {}, 1.0, alpha), seen)
    if not len(table.h):
        return _nothing("no cell of the reference rows is large enough to be tested with these holdout rows", found, seen)
    log_p = adjusted(table, intent.rho, alpha)
    tested = ~np.isnan(log_p)
    if not tested.any():
        return _nothing("no cell holds enough rows for a test at this level", found, seen)
    missing = _rejected(log_p, alpha)
    thin_cells = _rejected(adjusted(table, intent.warn_rho, alpha), alpha)
    verdict: Verdict = "BLOCK" if missing else "WARN" if thin_cells else "PASS"
    flagged, rho = (missing, intent.rho) if missing else (thin_cells, intent.warn_rho)
    namer = Namer(table, grid, at, searched, placed, flagged, rho, alpha)
    named = namer.culprits() if flagged else []
    # A cell that is thin may be too small to show that it is missing: it was tested all the same.
    looked = tested | np.isin(np.arange(len(tested)), list(flagged))
    return Finding(
        CHECK,
        verdict,
        value=float(np.nanmin(table.ratio[looked])),
        limit=intent.rho,
        reference=_reference(table, tested),
        p_value=math.exp(float(np.nanmin(log_p))),
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
            **({"advice": _never_shown(at, table, namer.order()[0]) or _advice(named, found)} if named else {}),
        },
    )


def _drift(table: Table, classes: bool) -> int | None:
    """The cell in which holdout and reference differ most, if it is surely by more than half; None if there is none.

    Columns alone, within classes where there are any, as a train set may have a class mix of its own on purpose."""
    places = np.flatnonzero(table.plain == (WITHIN if classes else SINGLE))
    if not len(places):
        return None
    h, n, r, of = ((column / table.witnesses)[places] for column in (table.h, table.n, table.r, table.of))
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


def _rows_needed(mass: float, alpha: float, tests: int, chance: float) -> int | None:
    """About how many holdout rows show the loss of a mode of this mass; None where no number does.

    More rows make more cells testable, and more tests ask more of each: CELLS_A_ROW is what tables give at most."""
    if not 0 < mass <= 1 or not 0 < chance < 1:
        return None
    rows = 1
    for _ in range(20):
        least = least_holdout_count(alpha, max(tests, round(CELLS_A_ROW * rows)), chance)
        wanted = rows_for_mode(mass, least)
        if wanted <= rows:
            break
        rows = wanted
    return rows


def _rejected(adjusted: Array, alpha: float) -> dict[int, float]:
    """Entry -> adjusted log p of the cells that are too thin."""
    return {int(i): float(adjusted[i]) for i in np.flatnonzero(adjusted <= math.log(alpha))}


def _detectable(table: Table, found: Classes | None, rows: Mapping[int | None, tuple[int, int]], intent: Intent) -> Detectable:
    """Source: GATE.md, h_min = ceil(ln(alpha/K) / ln(1 - pi)), then P(Bin(n, p) >= h_min) >= 0.95."""
    alpha = intent.level(CHECK)
    cells = table.plain != CLASS
    alpha *= 1 - CLASS_PART if not cells.all() else 1.0
    tests = tarone(table.log_least(intent.rho)[cells], alpha)[1] if cells.any() else 1
    least = {scope: least_holdout_count(alpha, tests, pooled(intent.rho, *size)) for scope, size in rows.items()}
    names = () if found is None else found.names
    whole = smallest_mode(rows[None][0], least[None])
    smallest = {name: smallest_mode(rows[y][0], least[y]) for y, name in enumerate(names)}
    # Were a class lost altogether its rows could not set the ratio of sizes; the set's ratio does.
    for y, name in enumerate(names):
        if rows[y][1] == 0:
            smallest[name] = 1.0 if rows[y][0] >= least[None] else None
    few = rows[None][1] < DRAWS * rows[None][0]

    def chance(scope: int | None) -> float:
        return pooled(intent.rho, 1, DRAWS) if few or not min(rows[scope]) else pooled(intent.rho, *rows[scope])

    needed = {n: _rows_needed(1.0, alpha, tests, chance(y)) for y, n in enumerate(names) if smallest[n] is None}
    return Detectable(
        whole=whole,
        classes=smallest,
        rows_needed=_rows_needed(intent.detect, alpha, tests, chance(None)),
        class_rows_needed=needed,
        few_synthetic=few,
        rows=rows[None][0],
        class_rows={name: rows[y][0] for y, name in enumerate(names)},
    )


def _summary(verdict: str, named: list[Culprit], tested: int, seen: Detectable, intent: Intent) -> str:
    if not named:
        size = "none" if seen.whole is None else percent(seen.whole)
        least = percent(intent.warn_rho)
        said = f"none of {tested} tested cells surely has less than {least} of its rows"
        return f"{said}; smallest mode whose absence would be noticed: {size}"
    worst = named[0]
    more = len(named) - 1
    others = f", and {more} more {'cell is' if more == 1 else 'cells are'} named" if more else ""
    counts = f"({worst.observed:.0f} of {worst.expected:.0f})"
    what = f"{worst.cell} has {percent(worst.ratio or 0.0)} of the rows it should have {counts}"
    return f"{what}, among {tested} tested cells{others}"


def _never_shown(at: Sides, table: Table, worst: int) -> str | None:
    """What to do where the training rows themselves hold less than half of what unseen rows do: no training mends that."""
    shown, rows, held, judged = (int(column[worst]) for column in (table.r, table.of, table.h, table.n))
    if at.reference is not at.train or table.plain[worst] == CLASS or not held or shown * judged >= SHOWN_LEAST * held * rows:
        return None
    return (
        f"get more real rows of it to train on: {shown} of {rows} training rows are of this kind, and {percent(held / judged)} "
        "of the unseen ones, so that the generator was hardly shown any"
    )


def _advice(named: list[Culprit], found: Classes | None) -> str:
    cell = named[0].cell
    if not cell.startswith("class "):
        return "train the generator longer or try another family, then judge a new attempt"
    if found is not None and found.shares is not None:
        return f"draw more rows of {cell}, so that it reaches its share of the intended mix"
    return f"draw more rows of {cell}, or name the mix you intend, then judge a new attempt"


def _nothing(why: str, found: Classes | None, seen: Detectable | None = None) -> Finding:
    # Where no cell was tested the loss of none would have been seen, whatever the power of a test might have been.
    blank = Detectable(classes={} if found is None else dict.fromkeys(found.names))
    seen = blank if seen is None else replace(seen, whole=None)
    return Finding(CHECK, "SKIPPED", summary=why, details={"detectable": asdict(seen)})
