"""How well does a score tell training rows from unseen ones, surely?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import special, stats

from validators.stats import Array, clopper_pearson

#: The false-positive rate at which attacks on single people are read (Carlini et al. 2022, section III).
FPR = 0.01


@dataclass(frozen=True)
class Scores:
    """Scores of training rows (n,) and of unseen ones (m,), higher where an attack takes a row for a training row.

    name: which attack, on whom."""

    name: str
    train: Array
    unseen: Array

    @cached_property
    def _placed(self) -> tuple[Array, Array]:
        """Of each training row the share of unseen rows below it, of each unseen row that of training rows above it; ties by
        half. (n,), (m,)."""
        return _below(self.train, self.unseen), 1 - _below(self.unseen, self.train)

    @property
    def auc(self) -> float:
        return float(self._placed[0].mean())

    @property
    def auc_ci(self) -> tuple[float, float]:
        """95 % interval (DeLong et al. 1988)."""
        one, two = self._placed
        spread = math.sqrt(one.var(ddof=1) / len(one) + two.var(ddof=1) / len(two))
        # Sets that are wholly apart vary by half a row at least.
        half = 1.96 * max(spread, 0.5 / min(len(one), len(two)))
        return max(self.auc - half, 0.0), min(self.auc + half, 1.0)

    @property
    def p(self) -> float:
        """Mann-Whitney's, of scores that are no higher on training rows."""
        if np.ptp(np.concatenate([self.train, self.unseen])) == 0:
            return 1.0
        return float(stats.mannwhitneyu(self.train, self.unseen, alternative="greater").pvalue)

    @property
    def tpr(self) -> float:
        """Share of training rows above all but 1 % of the unseen ones."""
        spared = int(FPR * len(self.unseen))
        return float((self.train > np.sort(self.unseen)[-1 - spared]).mean())

    @cached_property
    def tpr_hits(self) -> tuple[int, int] | None:
        """Training rows above a score that surely (95 %) at most 1 % of unseen rows pass, and how many unseen ones do here;
        None for fewer than 299 unseen rows, of which nothing so rare is sure.

        Source: the rate beyond the k-th highest of m is Beta(k, m + 1 - k), Wilks 1941."""
        count, most = len(self.unseen), 0
        while most < count and special.betaincinv(most + 1, count - most, 0.95) <= FPR:
            most += 1
        if not most:
            return None
        cut = np.sort(self.unseen)[-most]
        return int((self.train > cut).sum()), int((self.unseen > cut).sum())

    @property
    def tpr_low(self) -> float | None:
        """The lower end of the 95 % interval of the TPR at a FPR that is surely no more than 1 % (Clopper-Pearson)."""
        found = self.tpr_hits
        return None if found is None else clopper_pearson(found[0], len(self.train), 0.05)[0]

    @property
    def tail_p(self) -> float:
        """How surprising so many training rows are above the threshold of `tpr_hits` where both sides have one law: of rows in
        random order those before the k-th unseen one follow the negative hypergeometric law. 1 where there is no threshold."""
        if (found := self.tpr_hits) is None:
            return 1.0
        total = len(self.train) + len(self.unseen)
        return float(stats.nhypergeom.sf(found[0] - 1, total, len(self.train), found[1] + 1))

    def plain(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "attack": self.name,
            "train": len(self.train),
            "unseen": len(self.unseen),
            "auc": self.auc,
            "auc_ci": list(self.auc_ci),
            "tpr_at_1_percent_fpr": self.tpr,
            "tpr_lower_bound": self.tpr_low,
            "p": self.p,
            "tail_p": self.tail_p,
        }


def _below(some: Array, others: Array) -> Array:
    """Of each the share of others below it, ties by half: (n,), (m,) -> (n,)."""
    ordered = np.sort(others)
    low, high = np.searchsorted(ordered, some, side="left"), np.searchsorted(ordered, some, side="right")
    return (low + high) / 2 / len(others)
