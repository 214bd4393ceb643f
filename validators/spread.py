"""Did a class shrink, though none of its modes is missing?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from data.dataset import Dataset
from validators.base import Culprit, Evidence, Finding, Verdict
from validators.points import MOST, Scaled, nearest
from validators.sides import Sides, sides
from validators.stats import Array, holm, percent

CHECK = "spread"
#: P(an unseen real row lies farther out than a synthetic one), from which a significant shrinkage blocks or warns.
LIMIT, WARNS = 0.55, 0.53
#: The neighbours whose distances are averaged: the nearest alone is so noisy that a tenth less spread is lost in it.
NEIGHBOURS = 10
LEAST_ROWS = 30
TIMES = 10


@dataclass(frozen=True)
class Shrinkage:
    """One measure in one scope. auc: P(holdout row farther out than synthetic row), ties by half; scale: the synthetic
    rows' median distance over the holdout's; p: Mann-Whitney, one-sided."""

    name: str
    what: str
    auc: float
    scale: float
    p: float
    rows: tuple[int, int]

    def figures(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "measure": self.what,
            "auc": self.auc,
            "scale": self.scale,
            "p": self.p,
            "rows": list(self.rows),
        }


@dataclass(frozen=True)
class SpreadCheck:
    """Within each class (the whole set where there are none): do synthetic rows keep nearer to the reference rows, or to
    their middle, than unseen real rows do?

    Two distances: the mean to the ten nearest reference rows of the class, which sees every mode shrink, and that to the
    middle of the class, which sees more where there are few columns. Numbers are in units of the class's deviation; where
    there are words beside them, both are measured in the numbers alone too, as words would drown a small shrinkage. A
    one-sided Mann-Whitney test for each, Holm over classes and distances; blocks when P(real row farther out) > 0.55.
    The test is exact but for the normal approximation, as all distances are to rows that neither side holds.

    Source: Mann and Whitney 1947; the effect is the area under the ROC curve, Hanley and McNeil 1982."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises nothing: too few rows give SKIPPED."""
        at = sides(evidence)
        if not any(c.name != at.reference.schema.target for c in at.reference.schema.learned):
            return Finding(CHECK, "SKIPPED", summary="there is no column besides the target to measure a spread in")
        found = [each for i, scope in enumerate(_scopes(at)) for each in _measured(at, i, *scope)]
        if not found:
            least = f"{LEAST_ROWS} reference, holdout and synthetic rows of a class"
            return Finding(CHECK, "SKIPPED", summary=f"{least} are needed to judge its spread")
        return _finding(found, at.intent.level(CHECK))


def _scopes(at: Sides) -> list[tuple[str, Array, Array, Array]]:
    scopes = at.scopes()
    return scopes[1:] or scopes[:1]


def _measured(at: Sides, place: int, name: str, r: Array, h: Array, s: Array) -> list[Shrinkage]:
    if min(len(r), len(h), len(s)) < LEAST_ROWS:
        return []
    middle = f"to the middle of {'the class' if at.names else 'the set'}"
    out = []
    for what, *clouds in _clouds(at, *_drawn(at, place, r, h, s)):
        near, radius = _distances(*clouds)
        out.append(_shrinkage(name, f"to the nearest reference rows{what}", *near))
        out.append(_shrinkage(name, middle + what, *radius))
    return out


def _drawn(at: Sides, place: int, r: Array, h: Array, s: Array) -> tuple[Array, Array, Array]:
    """The rows of a scope that are measured: positions in reference, holdout and sample."""
    rng = np.random.default_rng([at.intent.seed, 31, place])
    r, h = (np.sort(rng.permutation(side)[:MOST]) for side in (r, h))
    return r, h, np.sort(rng.permutation(s)[: min(TIMES * len(h), 2 * MOST)])


def _clouds(at: Sides, r: Array, h: Array, s: Array) -> Iterator[tuple[str, Array, Array, Array]]:
    """By all columns, and by numbers alone where there are words beside them: what is said of it, and the points (n, d) of
    reference, holdout and synthetic rows."""
    schema = at.reference.schema
    every = [c.name for c in schema.learned if c.name != schema.target]
    numbers = [name for name in every if not schema[name].discrete]
    for names, what in ((every, ""), (numbers, " by its numbers")):
        if names and (names is every or len(names) < len(every)):
            rows = [_points_of(names, data, places) for data, places in ((at.reference, r), (at.holdout, h), (at.sample, s))]
            space = Scaled.fit(rows[0], with_target=False)
            cloud, real, made = (space.points(each, np.arange(each.num_rows)) for each in rows)
            yield what, cloud, real, made


def _points_of(names: list[str], data: Dataset, places: Array) -> Dataset:
    some = data.take(places)
    return Dataset(some.table.select(names), some.schema.select(names))


def _distances(cloud: Array, real: Array, made: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Of real and made points, to the nearest of the cloud and to its middle."""
    k, middle = min(NEIGHBOURS, len(cloud) - 1), cloud.mean(axis=0)
    near = [nearest(side, cloud, k)[0].mean(axis=1) for side in (real, made)]
    radius = [np.linalg.norm(side - middle, axis=1) for side in (real, made)]
    return (near[0], near[1]), (radius[0], radius[1])


def _shrinkage(name: str, what: str, real: Array, made: Array) -> Shrinkage:
    from scipy.stats import mannwhitneyu

    # Distances that should be equal differ in the last digits; one precision makes ties of them.
    real, made = (np.round(side, 6) for side in (real, made))
    test = mannwhitneyu(real, made, alternative="greater", method="asymptotic")
    p = 1.0 if np.isnan(test.pvalue) else float(test.pvalue)  # all distances equal
    middle = float(np.median(real))
    scale = float(np.median(made)) / middle if middle else 1.0
    return Shrinkage(name, what, float(test.statistic) / (len(real) * len(made)), scale, p, (len(real), len(made)))


def _finding(found: list[Shrinkage], alpha: float) -> Finding:
    adjusted = np.exp(holm(np.log([max(each.p, 1e-300) for each in found])))
    sure = [i for i in range(len(found)) if adjusted[i] <= alpha]
    blocked = [i for i in sure if found[i].auc > LIMIT]
    warned = [i for i in sure if found[i].auc > WARNS]
    verdict: Verdict = "BLOCK" if blocked else "WARN" if warned else "PASS"
    lead = found[max(blocked or warned or range(len(found)), key=lambda i: found[i].auc)]
    return Finding(
        CHECK,
        verdict,
        value=lead.auc,
        limit=LIMIT,
        reference=0.5,
        p_value=float(adjusted.min()),
        summary=_summary(lead, verdict),
        culprits=tuple(_culprit(found[i], float(adjusted[i])) for i in (blocked or warned)),
        details={"warn_limit": WARNS, "scopes": [each.figures() for each in found]},
    )


def _summary(lead: Shrinkage, verdict: str) -> str:
    if verdict == "PASS":
        return f"an unseen real row lies farther out than a synthetic one in {percent(lead.auc)} of pairs (50 % if alike)"
    return (
        f"{lead.name} has shrunk: synthetic rows lie at {percent(lead.scale)} of the distance of unseen real rows {lead.what}, "
        f"and are nearer in {percent(lead.auc)} of pairs"
    )


def _culprit(each: Shrinkage, p: float) -> Culprit:
    return Culprit(
        cell=f"{each.name}: distance {each.what}", expected=1.0, observed=each.scale, ratio=each.scale, p_adjusted=min(p, 1.0)
    )
