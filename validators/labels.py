"""Does a synthetic row look like the class it claims to be?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from data.encode import Geometry
from validators.base import Culprit, Evidence, Finding, Verdict
from validators.points import MOST, Scaled, nearest, points
from validators.sides import Sides, sides
from validators.stats import Array, holm, hypergeometric_excess, percent, rate_ratio, tarone

CHECK = "labels"
NEIGHBOURS = 5
#: Points of share above the real rate from which a significant excess blocks or warns.
LIMIT, WARNS = 0.05, 0.02
LEAST_ROWS = 15
TREES, LEAF = 100, 3
TIMES = 10


@dataclass(frozen=True)
class Mistaken:
    """Rows of one class that look like another. hits of rows: synthetic; base of base_rows: holdout."""

    name: str
    hits: int
    rows: int
    base: int
    base_rows: int

    @property
    def excess(self) -> float:
        return self.hits / self.rows - self.base / self.base_rows

    @property
    def least(self) -> float:
        """The smallest p that so many mistaken rows could give: all of them synthetic."""
        hits = self.hits + self.base
        return hypergeometric_excess(min(hits, self.rows), self.rows, max(hits - self.rows, 0), self.base_rows)

    @property
    def p(self) -> float:
        return hypergeometric_excess(self.hits, self.rows, self.base, self.base_rows)


@dataclass(frozen=True)
class LabelsCheck:
    """Two second opinions on each row's class, both learned from the reference alone.

    The five nearest reference rows vote, each vote weighed by the rarity of its class, so that a rare class is not
    outvoted by chance; and a forest of extremely randomised trees, its classes balanced, names a class. For each class
    the share of rows that the vote gives to others, and for each pair of classes the share that the forest gives to the
    second, is compared between synthetic and unseen real rows (Fisher's exact test, Holm over the tests that could
    reject). Blocks when it is more than five points above the real share.

    Source: Fix and Hodges 1951 (neighbours); Geurts, Ernst and Wehenkel 2006 (trees)."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises nothing: no classes or too few rows give SKIPPED."""
        at = sides(evidence)
        if not at.names:
            why = "no categorical target is named" if at.classes is None else "only one class is judged"
            return Finding(CHECK, "SKIPPED", summary=f"{why}, so no row can be mistaken for another class")
        if not any(c.name != at.reference.schema.target for c in at.reference.schema.learned):
            return Finding(CHECK, "SKIPPED", summary="there is no column besides the target that could tell classes apart")
        rows = _rows(at)
        if not rows.judged:
            return Finding(CHECK, "SKIPPED", summary=f"no two classes have {LEAST_ROWS} rows on every side")
        return _finding(at, rows, [*_by_neighbours(at, rows), *_by_forest(at, rows)])


@dataclass(frozen=True)
class Rows:
    """Positions and classes of the rows in use, on each side; judged: the classes with enough of them."""

    r: Array
    h: Array
    s: Array
    y_r: Array
    y_h: Array
    y_s: Array
    judged: tuple[int, ...]


def _rows(at: Sides) -> Rows:
    rng = np.random.default_rng([at.intent.seed, 37])
    found: list[tuple[Array, Array, Array]] = [at.of_class(y) for y in range(len(at.names))]
    most = max(2 * MOST // len(found), 500)
    picked = []
    for r, h, s in found:
        h = rng.permutation(h)[:most]
        picked.append((rng.permutation(r)[:most], h, rng.permutation(s)[: max(min(TIMES * len(h), 2 * most), LEAST_ROWS)]))
    judged = tuple(y for y, sizes in enumerate(picked) if min(len(side) for side in sizes) >= LEAST_ROWS)
    r, h, s = (np.concatenate([each[i] for each in picked]) for i in range(3))
    y_r, y_h, y_s = (np.repeat(np.arange(len(picked)), [len(each[i]) for each in picked]) for i in range(3))
    return Rows(r, h, s, y_r, y_h, y_s, judged=judged if len(np.unique(y_r)) > 1 else ())


def _by_neighbours(at: Sides, rows: Rows) -> list[Mistaken]:
    space = Scaled.fit(at.reference.take(rows.r), with_target=False)
    cloud = space.points(at.reference, rows.r)
    weight = 1 / np.maximum(np.bincount(rows.y_r, minlength=len(at.names)), 1)
    mistaken = [
        _outvoted(space.points(data, places), labels, cloud, rows.y_r, weight)
        for data, places, labels in ((at.holdout, rows.h, rows.y_h), (at.sample, rows.s, rows.y_s))
    ]
    out = []
    for y in rows.judged:
        real, made = (wrong[labels == y] for wrong, labels in zip(mistaken, (rows.y_h, rows.y_s), strict=True))
        name = f"class {at.names[y]}: rows among rows of other classes"
        out.append(Mistaken(name, int(made.sum()), len(made), int(real.sum()), len(real)))
    return out


def _outvoted(query: Array, labels: Array, cloud: Array, classes: Array, weight: Array) -> Array:
    """Whether the nearest rows, by weight, are mostly of another class: (n,) bool."""
    votes = classes[nearest(query, cloud, min(NEIGHBOURS, len(cloud)))[1]]
    weights = weight[votes]
    own = (weights * (votes == labels[:, None])).sum(axis=1)
    return np.asarray(own < 0.5 * weights.sum(axis=1) - 1e-12)


def _by_forest(at: Sides, rows: Rows) -> list[Mistaken]:
    from sklearn.ensemble import ExtraTreesClassifier

    geometry = Geometry.fit(at.reference)
    model = ExtraTreesClassifier(TREES, min_samples_leaf=LEAF, class_weight="balanced", random_state=at.intent.seed).fit(
        points(geometry, at.reference, rows.r), rows.y_r
    )
    said = [model.predict(points(geometry, data, places)) for data, places in ((at.holdout, rows.h), (at.sample, rows.s))]
    out = []
    for y in rows.judged:
        real, made = said[0][rows.y_h == y], said[1][rows.y_s == y]
        for z in np.unique(rows.y_r):
            if z != y:
                name = f"class {at.names[y]}: rows that look like class {at.names[z]}"
                out.append(Mistaken(name, int((made == z).sum()), len(made), int((real == z).sum()), len(real)))
    return out


def _finding(at: Sides, rows: Rows, found: list[Mistaken]) -> Finding:
    alpha = at.intent.level(CHECK)
    adjusted = _adjusted(found, alpha)
    sure = [i for i in range(len(found)) if adjusted[i] <= alpha]
    blocked = [i for i in sure if found[i].excess > LIMIT]
    warned = [i for i in sure if found[i].excess > WARNS]
    verdict: Verdict = "BLOCK" if blocked else "WARN" if warned else "PASS"
    shown = sorted(blocked or warned, key=lambda i: -found[i].excess)
    lead = found[shown[0]] if shown else max(found, key=lambda each: each.excess)
    return Finding(
        CHECK,
        verdict,
        value=lead.hits / lead.rows,
        limit=min(lead.base / lead.base_rows + LIMIT, 1.0),
        reference=lead.base / lead.base_rows,
        p_value=float(adjusted.min()),
        summary=_summary(lead),
        culprits=tuple(_culprit(found[i], float(adjusted[i]), alpha) for i in shown),
        details={"warn_excess": WARNS, "classes": len(rows.judged), "tests": [_told(each) for each in found[:200]]},
    )


def _adjusted(found: list[Mistaken], alpha: float) -> Array:
    """Holm over the tests that could reject at all: most pairs of many classes are never mistaken."""
    tested, _ = tarone(np.log([max(each.least, 1e-300) for each in found]), alpha)
    out = np.ones(len(found))
    places = np.flatnonzero(tested)
    if len(places):
        out[places] = np.exp(holm(np.log([max(found[i].p, 1e-300) for i in places])))
    return out


def _told(each: Mistaken) -> dict[str, Any]:
    shares = {"synthetic": each.hits / each.rows, "real": each.base / each.base_rows}
    return {"name": each.name, **shares, "rows": each.rows, "holdout_rows": each.base_rows, "p": each.p}


def _summary(lead: Mistaken) -> str:
    name, _, what = lead.name.rpartition(": rows ")
    shares = f"{percent(lead.hits / lead.rows)} of synthetic rows"
    what = what if what.startswith("that") else f"lie {what}"
    return f"{shares} of {name} {what.removeprefix('that ')}, against {percent(lead.base / lead.base_rows)} of unseen real rows"


def _culprit(each: Mistaken, p: float, alpha: float) -> Culprit:
    ratio, interval = rate_ratio(each.hits, each.rows, each.base, each.base_rows, alpha)
    return Culprit(
        cell=each.name,
        expected=round(each.base / each.base_rows * each.rows, 1),
        observed=each.hits,
        ratio=ratio if np.isfinite(ratio) else None,
        ratio_ci=interval,
        p_adjusted=min(p, 1.0),
    )
