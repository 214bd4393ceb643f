"""What is the worst hole called? One name for each, the plainest that tells it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from validators.base import Culprit
from validators.cells import CLASS, SEARCHED, Codes, Family, Grid
from validators.counted import Table, pooled
from validators.search import Found
from validators.sides import Sides
from validators.stats import Array, clopper_pearson, log_binomial_tail, rate_ratio

SHOWN = 10
#: Weight of the evidence of a cell by how plainly it reads: class, column, column within a class, pair, cluster, searched.
PLAINNESS = (1.0, 0.98, 0.9, 0.85, 0.75, 0.5)


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
    level: float

    def order(self) -> list[int]:
        """The entries of all thin cells, worst first."""
        log_p, plain = self.table.log_p(self.rho), self.table.plain
        return sorted(self.flagged, key=lambda i: (log_p[i] * PLAINNESS[int(plain[i])], plain[i]))

    def culprits(self) -> list[Culprit]:
        """At most SHOWN cells, worst first."""
        order = self.order()
        found, level = self.at.classes, math.log(self.level / len(self.flagged))
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
        return float(log_binomial_tail(np.array(s), np.array(h + s), pooled(self.rho, n, m)))

    def _family(self, i: int) -> Family:
        return self.grid.families[int(self.table.family[i])]

    def _culprit(self, i: int) -> Culprit:
        table, alpha = self.table, self.level
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
