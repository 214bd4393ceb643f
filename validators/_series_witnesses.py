"""How many windows of one entity bear witness as a single one would?

A machine that runs rough shows it in all of its windows: twenty of them say no more than one about how many machines do.
Where whole entities stand in one part, a cell of windows that a few entities fill is therefore no surprise when it is thin
elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from validators.cells import CLASS, SEARCHED, Codes, Grid
from validators.counted import Table
from validators.search import Found
from validators.sides import Sides

Array = np.ndarray[Any, Any]
#: Share of the holdout's windows whose entities stand on the other side too, from which these were not parted by entity.
SHARED = 0.5


@dataclass(frozen=True)
class Entities:
    """A number for each row of both sides, the same for those of one entity: (n,) int64."""

    reference: Array
    holdout: Array


def entities(reference: Array, holdout: Array) -> Entities | None:
    """Of the names of both sides, "" for none; None where entities stand on both, as in parts by time, or none repeats."""
    numbers = []
    for names in (reference, holdout):
        blank = names == ""
        own = np.where(blank, np.arange(len(names)).astype(str), "e" + names.astype(str))
        numbers.append(np.unique(own, return_inverse=True)[1].astype(np.int64))
    shared = np.isin(holdout[holdout != ""], reference[reference != ""])
    if shared.sum() > SHARED * len(holdout) or all(len(np.unique(side)) == len(side) for side in numbers):
        return None
    return Entities(*numbers)


def weighed(table: Table, grid: Grid, at: Sides, found: Found | None, placed: Mapping[str, Codes], who: Entities) -> Table:
    """The table with the design effect of each cell, the larger of that among holdout and among reference windows.

    Source: Kish 1965, section 5.4 (the effect); Rao and Scott 1992 (counts divided by it)."""
    out = np.ones(len(table.h))
    sets = {"holdout": (who.holdout, placed["holdout"]), "reference": (who.reference, placed["reference"])}
    labels = {} if at.classes is None else {"holdout": at.classes.holdout, "reference": at.classes.reference}
    for side, (groups, codes) in sets.items():
        rows = at.h if side == "holdout" else np.arange(len(groups))
        for i in np.unique(table.family).astype(int):
            mine = np.flatnonzero(table.family == i)
            cells = table.cell[mine].astype(int)
            if table.plain[mine[0]] == CLASS:
                some = np.flatnonzero(labels[side] >= 0)
                counts = _counts(groups[some], labels[side][some], int(cells.max()) + 1)[:, cells]
            elif table.plain[mine[0]] == SEARCHED and found is not None:
                some = rows
                inside = getattr(found, side)[cells][:, rows].astype(np.float64)
                counts = np.stack([np.bincount(groups[rows], weights=each, minlength=groups.max() + 1) for each in inside], 1)
            else:
                family = grid.families[i]
                some = rows if family.scope is None else np.flatnonzero(labels[side] == family.scope)
                placed_at = family.codes(codes)[some].astype(np.int64)
                every = _counts(groups[some], placed_at, family.size)
                counts = (every if family.groups is None else every @ family.groups.T.astype(np.float64))[:, cells]
            sizes = np.bincount(groups[some], minlength=len(counts))
            out[mine] = np.maximum(out[mine], effects(counts, sizes))
    return replace(table, alike=np.where(table.fixed, 1.0, out))


def _counts(groups: Array, codes: Array, size: int) -> Array:
    """Windows of each entity at each code, those at none left out: (entities, size)."""
    many = int(groups.max(initial=-1)) + 1
    some = codes >= 0
    return np.bincount(groups[some] * size + codes[some], minlength=many * size).reshape(many, size).astype(np.float64)


def effects(counts: Array, sizes: Array) -> Array:
    """Design effect of each cell's share: (entities, k) windows in it, (entities,) windows in all -> (k,), 1 or more.

    The variance of a share between entities over that of as many windows that had nothing to do with one another."""
    held = sizes > 0
    counts, sizes = counts[held], sizes[held].astype(np.float64)
    many, whole = len(sizes), sizes.sum()
    if many < 2:
        return np.full(counts.shape[1], max(float(whole), 1.0))
    share = counts.sum(axis=0) / whole
    between = ((counts - share * sizes[:, None]) ** 2).sum(axis=0) * many / (many - 1) / whole**2
    alone = share * (1 - share) / whole
    return np.asarray(np.maximum(np.where(alone > 0, between / np.where(alone > 0, alone, 1.0), 1.0), 1.0))
