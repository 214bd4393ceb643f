"""How much of what unseen pictures show do the synthetic ones reach, and how much do the training pictures themselves?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.encode import Geometry
from validators._pictures_apart import judged
from validators._pictures_words import in_pictures
from validators.base import Evidence, Finding, Verdict
from validators.coverage import (
    CHECK,
    LIMIT,
    WARNS,
    Cover,
    CoverageCheck,
    Reach,
    Test,
    _cloud,
    _culprit,
    _only,
    _reaches,
    _summary,
    _tests,
    cover,
    outside,
)
from validators.points import MOST
from validators.sides import Sides, sides

Array = np.ndarray[Any, Any]

#: Reference pictures that are a yardstick at all, and subsets of synthetic ones that are held against them.
LEAST, SUBSETS = 8, 30


@dataclass(frozen=True)
class PictureCoverageCheck(CoverageCheck):
    """The check of coverage, with a yardstick for classes that have fewer reference pictures than holdout ones.

    There the check of tables expects of a synthetic set what any set of the holdout's own kind would reach. But the holdout
    shows other parts than the training pictures did, and nobody can draw what was not in what he learned from. So as many
    synthetic pictures as there are reference ones are held against these: what share of the unseen ones has one of them
    nearby. Subsets of that size differ by chance, and so did the reference: the spread of the synthetic ones stands for
    both, in a normal test.

    And pictures that look like none of the real ones are told however few these are, by their distances to them."""

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises nothing: too few pictures give SKIPPED."""
        at = sides(evidence)
        names = [c.name for c in at.reference.schema.of_kind("numeric")]
        scopes = {name: (r, h, s) for name, r, h, s in at.scopes()}
        plain = {reach.name: reach for reach in _reaches(at, names)}
        few = {
            name: part for name, part in scopes.items()
            if name in plain and plain[name].base is None and len(part[0]) >= LEAST
        }  # fmt: skip
        if not few:
            return in_pictures(judged(super().evaluate(evidence), evidence), evidence)
        held = {name: _held(at, names, name, place, *part) for place, (name, part) in enumerate(few.items())}
        found = _finding(at, [reach for name, reach in plain.items() if name not in held], held)
        return in_pictures(judged(found, evidence), evidence)


@dataclass(frozen=True)
class Held:
    """A scope held against its few reference pictures. spread: deviation of the coverage of a synthetic subset as large as
    they are; subsets: how many of these there were."""

    reach: Reach
    spread: float
    subsets: int

    def p(self, limit: float) -> float:
        """P of a coverage so far below `limit` times that of the reference, were it not below."""
        from scipy.special import ndtr

        gap = float(self.reach.made.covered.mean()) - limit * float(self.reach.real.mean())
        error = self.spread * math.sqrt(1 / self.subsets + limit**2)
        return float(ndtr(gap / error)) if error else 1.0 if gap >= 0 else 0.0


def _held(at: Sides, names: list[str], name: str, place: int, r: Array, h: Array, s: Array) -> Held:
    reference, holdout, sample = (_only(rows, names) for rows in (at.reference, at.holdout, at.sample))
    geometry, rng = Geometry.fit(reference), np.random.default_rng([at.intent.seed, 83, place])
    real = _cloud(geometry, holdout, rng.permutation(h)[:MOST], rng)
    order, size = rng.permutation(s), len(r)
    parts = [order[i * size : (i + 1) * size] for i in range(min(SUBSETS, max(len(order) // size, 1)))]
    found = [cover(real, _cloud(geometry, sample, part, rng)) for part in parts]
    shares = np.array([each.covered.mean() for each in found])
    base = cover(real, _cloud(geometry, reference, r, rng))
    # One subset tells nothing of its spread: that of as many throws of a coin with its share is the most there is.
    least = math.sqrt(max(float(shares.mean()) * (1 - float(shares.mean())), 1e-9) / len(real))
    spread = max(float(shares.std(ddof=1)) if len(shares) > 2 else 0.0, least)
    return Held(Reach(name, len(real), _mean(found), base), spread, len(parts))


def _mean(found: Sequence[Cover]) -> Cover:
    return Cover(
        covered=np.mean([each.covered for each in found], axis=0),
        clipped=np.mean([each.clipped for each in found], axis=0),
        density=float(np.mean([each.density for each in found])),
        inside=np.concatenate([each.inside for each in found]),
    )


def _finding(at: Sides, plain: list[Reach], held: dict[str, Held]) -> Finding:
    """As `validators.coverage` puts its own together, with the tests of both kinds of scopes."""
    scopes = len(plain) + len(held)
    alpha, rng = at.intent.level(CHECK) / (2 * scopes), np.random.default_rng([at.intent.seed, 19])
    tests = _tests(plain, int(min(max(4 / alpha, 1000), 8000)), rng) + [test for one in held.values() for test in _both(one)]
    blocked = [test for test in tests if test.p_block <= alpha]
    warned = [test for test in tests if test.p_warn <= alpha]
    verdict: Verdict = "BLOCK" if blocked else "WARN" if warned else "PASS"
    lead = min(blocked or warned or tests, key=lambda test: test.ratio)
    said = _summary(lead)
    if lead.reach.name in held and lead.what == "coverage":
        said = said.replace("a synthetic row nearby", "one of as many synthetic rows nearby").replace(
            "a real one:", "a reference row:"
        )
    return Finding(
        CHECK,
        verdict,
        value=lead.ratio,
        limit=LIMIT,
        reference=1.0,
        p_value=min(1.0, min(test.p_block for test in tests) * len(tests)),
        summary=said,
        culprits=tuple(_culprit(test, len(tests)) for test in (blocked or warned)),
        details={
            "warn_limit": WARNS,
            "figure": lead.what,
            "scopes": [reach.figures() for reach in (*plain, *(one.reach for one in held.values()))],
        },
    )


def _both(one: Held) -> list[Test]:
    reach = one.reach
    out = [Test(reach, "coverage", reach.ratio, *(one.p(limit) if reach.ratio < limit else 1.0 for limit in (LIMIT, WARNS)))]
    if (ratio := reach.inside_ratio) is not None:
        out.append(Test(reach, "density", ratio, *(outside(reach, lim) if ratio < lim else 1.0 for lim in (LIMIT, WARNS))))
    return out
