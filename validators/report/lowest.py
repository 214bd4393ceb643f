"""Which levels and ranges come out lowest, where no check flags one?"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from validators.base import Culprit
from validators.report.columns import Bars
from validators.report.rows import Drawn
from validators.report.text import clean
from validators.stats import rate_ratio

#: All intervals together hold with this certainty (Bonferroni).
ALPHA = 0.05
#: With fewer expected rows a ratio is mostly chance.
LEAST_EXPECTED = 10.0
#: With fewer unseen rows a cell is not looked at.
LEAST = 5


@dataclass(frozen=True)
class _Cell:
    """Rows in one bar: weighted counts, brought to the number of rows of equal weight."""

    name: str
    got: float
    made: float
    real: float
    unseen: float

    @property
    def expected(self) -> float:
        return self.real / self.unseen * self.made

    @property
    def depth(self) -> float:
        """How many standard errors the logarithm of the ratio lies below 0; the fewer, the worse."""
        return math.log((self.got + 0.5) / (self.expected + 0.5)) / math.sqrt(1 / (self.got + 0.5) + 1 / self.real)


def lowest(
    bars: Sequence[Bars], holdout: Drawn, synthetic: Drawn, *, count: int, known: Collection[str], fewest: int = 1
) -> list[Culprit]:
    """The `count` bars that hold the fewest synthetic rows, measured by the unseen real ones; `known` names are left out,
    as are bars of fewer than `fewest` unseen rows. Those
    are taken that are most surely low, and the lowest ratio comes first.

    The intervals are at 95 % for all bars together."""
    cells = [cell for each in bars for cell in _cells(each, holdout, synthetic, max(fewest, LEAST))]
    alpha = ALPHA / max(len(cells), 1)
    worst = sorted((cell for cell in cells if cell.name not in known), key=lambda cell: cell.depth)[:count]
    scale = synthetic.total / max(synthetic.size, 1.0)
    return sorted((_culprit(cell, alpha, scale) for cell in worst), key=lambda culprit: culprit.ratio or 0.0)


def _cells(bars: Bars, holdout: Drawn, synthetic: Drawn, least: int) -> Iterator[_Cell]:
    made, unseen = synthetic.size, holdout.size
    for place, name in enumerate(bars.names):
        got, real = float(bars.synthetic[place]) * made, float(bars.again[place]) * unseen
        if real >= least and unseen and real / unseen * made >= LEAST_EXPECTED:
            target = bars.column.name == synthetic.rows.schema.target
            told = _named(bars, name, special=bool(bars.special[place]), target=target)
            yield _Cell(told, got, made, real, unseen)


def _named(bars: Bars, name: str, *, special: bool, target: bool) -> str:
    """As the check of modes would call it: "class yes", "colour=red", "gain=0"; "height 165 to 172"."""
    column = clean(bars.column.name)
    if target and bars.column.discrete and not special:
        return f"class {name}"
    if special and name.endswith(" other"):
        return f"{column}=any other level"
    if special or bars.column.discrete:
        return f"{column}={name.removeprefix('= ')}"
    return f"{column} {name}"


def _culprit(cell: _Cell, alpha: float, scale: float) -> Culprit:
    """scale: rows of the whole set for each that was drawn."""
    ratio, interval = rate_ratio(cell.got, cell.made, cell.real, cell.unseen, alpha)
    return Culprit(cell=cell.name, expected=cell.expected * scale, observed=cell.got * scale, ratio=ratio, ratio_ci=interval)
