"""Did a class of pictures shrink, more than the parts that happened to be photographed explain?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from validators._pictures_features import Measured, judged_rows
from validators._pictures_words import in_pictures
from validators.base import Evidence, Finding
from validators.sides import Sides, sides
from validators.spread import Shrinkage, SpreadCheck, _clouds, _distances, _drawn, _finding, _measured, _scopes

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class PictureSpreadCheck(SpreadCheck):
    """The check of spread where pictures come in groups, several of one part: they are no independent witnesses.

    Where holdout pictures share groups, the Mann-Whitney test, which takes each for a witness of its own, is joined by one
    that takes the groups for that (Student's t on the placement values, DeLong et al. 1988, with the clusters of Obuchowski
    1997); the larger p counts."""

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises nothing: too few pictures give SKIPPED."""
        found = super().evaluate(evidence)
        held: dict[str, Measured] = evidence.memo["features"]
        groups = [_grouped(held[name].groups) for name in ("holdout", "synthetic")]
        if found.verdict not in ("BLOCK", "WARN") or not any(groups):
            return in_pictures(found, evidence)
        at = sides(evidence)
        again = [each for i, scope in enumerate(_scopes(at)) for each in _by_groups(evidence, at, i, *scope)]
        return in_pictures(_finding(again, at.intent.level(self.name)), evidence)


def _grouped(groups: Array) -> bool:
    return len(np.unique(groups)) < len(groups)


def _by_groups(evidence: Evidence, at: Sides, place: int, name: str, r: Array, h: Array, s: Array) -> list[Shrinkage]:
    """What `spread` measures in one scope, each with the larger of both p."""
    found = _measured(at, place, name, r, h, s)
    if not found:
        return []
    held: dict[str, Measured] = evidence.memo["features"]
    r, h, s = _drawn(at, place, r, h, s)  # the same rows as the check has drawn
    unseen = held["holdout"].groups[judged_rows(evidence, evidence.holdout)[h]]
    made = held["synthetic"].groups[at.places[s]]
    pairs = [pair for _, *clouds in _clouds(at, r, h, s) for pair in _distances(*clouds)]
    return [replace(each, p=max(each.p, clustered(*pair, unseen, made))) for each, pair in zip(found, pairs, strict=True)]


def clustered(real: Array, made: Array, real_groups: Array, made_groups: Array) -> float:
    """P of an AUC as large as P(real > made) were both alike, groups taken as one witness each: (n,), (m,), (n,), (m,)."""
    from scipy import stats

    placed = _placed(made, real), 1 - _placed(real, made)
    auc = float(placed[0].mean())
    variance, fewest = 0.0, np.inf
    for values, groups in zip(placed, (real_groups, made_groups), strict=True):
        _, back = np.unique(groups, return_inverse=True)
        sums = np.bincount(back, weights=values - values.mean())
        fewest = min(fewest, len(sums))
        variance += float((sums**2).sum()) / len(values) ** 2 * len(sums) / max(len(sums) - 1, 1)
    if fewest < 2 or variance == 0:
        return 1.0
    return float(stats.t.sf((auc - 0.5) / np.sqrt(variance), fewest - 1))


def _placed(low: Array, high: Array) -> Array:
    """Share of `low` that lies below each of `high`, ties by half: (n,), (m,) -> (m,)."""
    ordered = np.sort(low)
    below, upto = (np.searchsorted(ordered, high, side=side) for side in ("left", "right"))
    return np.asarray((below + upto) / 2 / len(low))
