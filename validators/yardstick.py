"""Is the holdout fit to judge by: apart from train, and of the same kind?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.dataset import Dataset
from validators.points import keys
from validators.stats import Array, hypergeometric_excess

#: Share of holdout rows found in train from which the two may overlap, and from which too little is left beside them.
OVERLAP, MOST = 0.02, 0.5
#: Odds of a twin in train, holdout rows against training rows, from which an overlap is no chance.
ODDS, ALPHA = 2.0, 1e-4


@dataclass(frozen=True)
class Overlap:
    """Holdout rows that are training rows too. same: (n,) bool; chance: no more of them than training rows have twins."""

    same: Array
    chance: bool

    @property
    def share(self) -> float:
        return float(self.same.mean()) if len(self.same) else 0.0


def overlap(train: Dataset, holdout: Dataset) -> Overlap:
    """How the two share rows, beyond what a table of few distinct rows does by itself (Fisher's exact test)."""
    known, counts = np.unique(keys(train), return_counts=True)
    same = np.isin(keys(holdout), known)
    hits, rows, twins, total = int(same.sum()), len(same), int(counts[counts > 1].sum()), int(counts.sum())
    odds = hits * (total - twins) > ODDS * twins * (rows - hits)
    surprising = hypergeometric_excess(hits, rows, twins, total) <= ALPHA if rows and total else False
    return Overlap(same, not (hits > OVERLAP * rows and odds and surprising))


def leaked(holdout: Array, made: int, total: int, train: Array) -> int:
    """Synthetic rows that are holdout rows, if there are more of them than chance gives; else 0.

    holdout, train: keys of real rows; made: how many of `total` synthetic rows are holdout rows. Training
    rows, which are real and not in the holdout, say how often rows of different sets are equal (Fisher's exact test)."""
    hits, base = made, int(np.isin(train, holdout).sum())
    more = hits * (len(train) - base) > ODDS * base * (total - hits)
    if hits <= OVERLAP * total or not more or hypergeometric_excess(hits, total, base, len(train)) > ALPHA:
        return 0
    return hits


def apart(train: Dataset, holdout: Dataset, role: str) -> tuple[Dataset, str | None]:
    """The holdout without rows that are rows of `train` too, and the sentence that says so.

    All of it comes back where nothing overlaps beyond chance, or where more than half does: then `copies` refuses to judge.
    role: what `train` is called."""
    found = overlap(train, holdout)
    if found.chance or found.share > MOST:
        return holdout, None
    kept = np.flatnonzero(~found.same)
    said = (
        f"{int(found.same.sum())} of {holdout.num_rows} holdout rows are {role} rows too and were left out of the holdout, "
        "since they cannot stand for unseen rows"
    )
    return holdout.take(kept), said
