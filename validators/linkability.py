"""Can two halves of what is known of one person be put together by means of the synthetic rows?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from validators._privacy_risk import Attack, judged
from validators._privacy_rows import Attacked, attacked, too_few
from validators._utility_learners import one_thread
from validators.base import Evidence, Finding
from validators.points import nearest
from validators.stats import Array

CHECK = "linkability"
#: Synthetic neighbours of each half; one in common links them.
NEIGHBOURS = 5


@dataclass(frozen=True)
class LinkabilityCheck:
    """An attacker holds some columns of a person in one table and the others in another, without names, and looks for the
    synthetic rows nearest to either: one among the NEIGHBOURS of both links them.

    The halves are the quasi-identifiers and the other columns; where none are stated, every second column. The same is done
    for holdout rows (control), and random synthetic rows stand for naive guesses. Blocks where the risk, (attack - control) /
    (1 - control), is surely above .10: the lower end of its 95 % interval is, and Fisher's exact test of attack against
    control is significant at this check's share of alpha, which is then its rate of false alarms where nothing leaks. Warns
    from .05. At most 2,000 rows a side are attacked, with at most 60,000 synthetic rows.

    Source: Giomi et al. 2023, A Unified Framework for Quantifying Privacy Risk in Synthetic Data (PoPETs 2023(2)), section 5.2.
    """

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises DataError for quasi-identifiers that are not there; too few rows or columns give SKIPPED."""
        seen = attacked(evidence)
        if (short := too_few(CHECK, seen)) is not None:
            return short
        one, two = seen.roles.halves
        if not one or not two:
            return Finding(CHECK, "SKIPPED", summary="there is a single column, and nothing to link it to")
        train, holdout = (_linked(seen, side, one, two) for side in (0, 1))
        name = f"linking {len(one)} columns to {len(two)} others"
        attack = Attack(name, seen.rows, train, holdout, _guessed(seen))
        return judged(CHECK, [attack], evidence, halves=[one, two], neighbours=NEIGHBOURS, synthetic_rows=seen.made.num_rows)


def _linked(seen: Attacked, side: int, one: list[str], two: list[str]) -> int:
    """Targets of one side whose halves share a neighbour."""
    found = []
    with one_thread():
        for names in (one, two):
            places = seen.space.places(names)
            found.append(nearest(seen.points[side][:, places], seen.points[2][:, places], NEIGHBOURS)[1])
    return int(_meet(*found).sum())


def _guessed(seen: Attacked) -> int:
    rng = seen.rng(1)
    one, two = (rng.integers(seen.made.num_rows, size=(seen.rows, NEIGHBOURS)) for _ in range(2))
    return int(_meet(one, two).sum())


def _meet(one: Array, two: Array) -> Array:
    """Whether two lists of row numbers share one: (n, k), (n, k) -> (n,) bool."""
    return np.asarray((one[:, :, None] == two[:, None, :]).any(axis=(1, 2)))
