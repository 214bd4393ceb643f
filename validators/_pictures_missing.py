"""Which real pictures lie in a cell that is missing or thin, so that a person can look at what is missing?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.dataset import Dataset
from validators._pictures_features import judged_rows
from validators._pictures_words import in_pictures
from validators.base import Evidence, Finding
from validators.counted import count, placed_rows
from validators.modes import ModesCheck, _floors, _grid, _sizes
from validators.naming import Namer
from validators.points import keys
from validators.search import search
from validators.sides import sides

Array = np.ndarray[Any, Any]
#: Where `prepare_pictures` leaves the evidence by which modes are judged.
MEMO = "modes"
#: Where the report looks for the cells that a name alone does not tell.
CELLS = "cells"


@dataclass(frozen=True)
class PictureModesCheck(ModesCheck):
    """Is a region of the real pictures missing or thin? It leaves in the memo which pictures lie in the cells it names."""

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises KeyError for evidence that `prepare_pictures` did not make; sets too small to test give SKIPPED."""
        narrow: Evidence = evidence.memo[MEMO]
        found = super().evaluate(narrow)
        told = in_pictures(found, evidence)
        if found.culprits:
            inside = members(narrow, [culprit.cell for culprit in found.culprits])
            evidence.memo[CELLS] = {
                new.cell: _of_keys(evidence, *inside[old.cell])
                for old, new in zip(found.culprits, told.culprits, strict=True)
                if old.cell in inside
            }
        return told


def members(evidence: Evidence, cells: Sequence[str]) -> dict[str, tuple[Array, Array]]:
    """Cell -> positions of the reference and of the holdout pictures in it, for cells that `modes` names.

    The cells are made anew, as the check keeps none: the same evidence gives the same cells."""
    at = sides(evidence)
    rows = _sizes(at)
    grid = _grid(at, _floors(rows, evidence.intent))
    placed = placed_rows(grid, at)
    searched = search(at, grid, placed)
    table = count(grid, at, rows, searched, placed)
    namer = Namer(table, grid, at, searched, placed, {}, 1.0, 1.0)
    places: dict[str, int] = {}
    for i in range(len(table.h)):
        places.setdefault(namer.name(i), i)
    labels = (None, None) if at.classes is None else (at.classes.reference, at.classes.holdout)
    real = [
        (side, mine, judged_rows(evidence, getattr(evidence, side)))
        for side, mine in zip(("reference", "holdout"), labels, strict=True)
    ]
    out = {}
    for cell in (name for name in cells if name in places):
        first, second = (kept[namer._inside(places[cell], side, mine)] for side, mine, kept in real)
        out[cell] = (first, second)
    return out


def _of_keys(evidence: Evidence, reference: Array, holdout: Array) -> Callable[[Dataset], Array]:
    """Which of any rows equal a reference or holdout row at these positions."""
    known = np.unique(np.concatenate([keys(evidence.reference)[reference], keys(evidence.holdout)[holdout]]))
    return lambda rows: np.asarray(np.isin(keys(rows), known))
