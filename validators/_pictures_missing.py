"""Which real pictures lie in a cell that is missing or thin, so that a person can look at what is missing?"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
#: Deviations by which the pictures of a cell must differ from the others of their class for it to be said in words.
TELLING = 0.5
#: Column -> what is said of pictures that lie low and high in it.
WORDS: Mapping[str, tuple[str, str]] = {
    "brightness": ("darker", "brighter"),
    "contrast": ("of less contrast", "of more contrast"),
    "area of the mark": ("smaller marks", "larger marks"),
    "place of the mark across": ("marks further left", "marks further right"),
    "place of the mark down": ("marks further up", "marks further down"),
    "elongation of the mark": ("rounder marks", "longer marks"),
    "parts of the mark": ("fewer marks", "more marks"),
}


@dataclass(frozen=True)
class PictureModesCheck(ModesCheck):
    """Is a region of the real pictures missing or thin? It says how these differ from the others of their class, where a
    person has words for it, and leaves in the memo which pictures lie in the cells it names."""

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises KeyError for evidence that `prepare_pictures` did not make; sets too small to test give SKIPPED."""
        narrow: Evidence = evidence.memo[MEMO]
        found = _of_pictures(super().evaluate(narrow))
        if not found.culprits:
            return in_pictures(found, evidence)
        inside = members(narrow, [culprit.cell for culprit in found.culprits])
        names = {cell: _named(narrow.reference, cell, rows[0]) for cell, rows in inside.items()}
        told = in_pictures(_renamed(found, names), evidence)
        evidence.memo[CELLS] = {
            new.cell: _of_keys(evidence, *inside[old.cell])
            for old, new in zip(found.culprits, told.culprits, strict=True)
            if old.cell in inside
        }
        return told


def _of_pictures(found: Finding) -> Finding:
    """The verdict speaks of pictures where the check has counted rows."""
    seen = found.details.get("detectable")
    return replace(found, details={**found.details, "detectable": {**seen, "unit": "picture"}}) if seen else found


#: A cell of places as bins name it, and what the thirds of a picture are called, each by its middle.
_PLACE = re.compile(r"place of the mark (across|down)(=| up to | over )([0-9.]+)(?: to ([0-9.]+))?")
_THIRDS = {"across": ("left", "middle", "right"), "down": ("upper", "middle", "lower")}
_MIDDLES = (0.1667, 0.5, 0.8333)


def in_thirds(cell: str) -> str:
    """The cell with its places in words: "place of the mark down=0.1667" -> "marks in the upper third"."""

    def said(found: re.Match[str]) -> str:
        how, first, second = found[2], float(found[3]), float(found[4] or 1)
        low, high = {"=": (first - 1e-3, first), " up to ": (-1.0, first), " over ": (first, second)}[how]
        inside = [name for name, at in zip(_THIRDS[found[1]], _MIDDLES, strict=True) if low + 1e-4 < at <= high + 1e-4]
        return f"marks in the {' or '.join(inside)} third" if inside else found[0]

    return _PLACE.sub(said, cell)


def _renamed(found: Finding, names: Mapping[str, str]) -> Finding:
    worst = found.culprits[0].cell
    culprits = tuple(replace(culprit, cell=names.get(culprit.cell, culprit.cell)) for culprit in found.culprits)
    return replace(found, summary=found.summary.replace(worst, names.get(worst, worst), 1), culprits=culprits)


def _named(rows: Dataset, cell: str, inside: Array) -> str:
    """The cell with the words for it in front, where its name alone speaks of clusters, looks or regions."""
    vague = re.match(r"(cluster|group|a region|look) ", cell) or "any other value" in cell
    words, cell = in_words(rows, inside) if vague else "", in_thirds(cell)
    return f"{words}: {cell}" if words else cell


def in_words(rows: Dataset, inside: Array) -> str:
    """How the pictures at these positions differ from the others of their class: "pit, smaller and rounder marks".

    Empty where no two words tell, as a look has none."""
    if not len(inside):
        return ""
    labels = rows.labels()
    own = int(np.bincount(labels[inside]).argmax())
    mine = np.flatnonzero(labels == own)
    others = np.setdiff1d(mine, inside)
    gaps = []
    for column in (name for name in WORDS if name in rows.schema):
        values = np.asarray(rows.column(column).to_numpy(zero_copy_only=False), dtype=np.float64)
        parts = [values[some][np.isfinite(values[some])] for some in (inside, others, mine)]
        spread = float(parts[2].std()) if len(parts[2]) else 0.0
        if spread and len(parts[0]) and len(parts[1]):
            gap = float(parts[0].mean() - parts[1].mean()) / spread
            gaps.append((abs(gap), WORDS[column][int(gap > 0)]))
    told = [words for size, words in sorted(gaps, reverse=True)[:2] if size > TELLING]
    if not told:
        return ""
    alike = all(words.endswith(" marks") for words in told)
    joined = " and ".join(words.removesuffix(" marks") for words in told) + " marks" if alike else " and ".join(told)
    return f"{str(rows.schema.classes()[own]).strip()}, {joined}"


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
