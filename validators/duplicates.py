"""Do the synthetic rows repeat each other more than real rows do?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import special

from data.dataset import Dataset
from data.encode import Geometry
from validators.base import Culprit, Evidence, Finding, Verdict
from validators.mix import thinned
from validators.points import MOST, keys, nearest_others, points
from validators.stats import Array, percent

CHECK = "duplicates"
#: Share of real rows inside the radius, and how many times that share is too much.
INSIDE, TOLERANCE, WARNS = 0.05, 2.0, 1.5
LEAST_ROWS = 40
#: Exact repeats below this share of the rows do no harm, however surprising.
HARMLESS = 0.01
SUBSETS = 4


@dataclass(frozen=True)
class DuplicatesCheck:
    """The share of synthetic rows whose nearest other one lies inside a radius that real rows set among themselves.

    The radius is the 5 % quantile of nearest distances within the reference: taken from the holdout it gives false
    alarms. Sizes are equal, as distances shrink with size. Blocks when the share is more than twice the real one and
    a bootstrap over rows confirms it; also when exact repeats over all rows are, by the same tolerance (a repeat is
    seldom seen in a subset of a large set)."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises nothing: too few rows give SKIPPED."""
        evidence = thinned(evidence)
        size = min(evidence.reference.num_rows, evidence.synthetic.num_rows, MOST)
        if size < LEAST_ROWS:
            return Finding(
                CHECK, "SKIPPED", summary=f"{size} rows a side are too few; {LEAST_ROWS} are needed to judge repeats"
            )
        inside = _inside(evidence, size)
        repeats = _repeats(evidence)
        return _finding(evidence, size, inside, repeats)


@dataclass(frozen=True)
class Inside:
    """Share of rows inside the radius: synthetic, reference, and holdout (None when it is too small)."""

    synthetic: float
    real: float
    holdout: float | None
    bound: float
    p: float

    @property
    def ratio(self) -> float:
        return self.synthetic / self.real if self.real else math.inf


def _inside(evidence: Evidence, size: int) -> Inside:
    rng = np.random.default_rng([evidence.intent.seed, 13])
    geometry = Geometry.fit(evidence.reference, with_target=True)
    real = _distances(geometry, evidence.reference, size, rng, subsets=1)[0]
    made = _distances(geometry, evidence.synthetic, size, rng, subsets=SUBSETS)
    # Equal distances differ in the last digits; the reference's own ties count on both sides.
    radius = float(np.quantile(real, INSIDE, method="higher")) + 1e-7
    unseen = None
    if evidence.holdout.num_rows >= size and evidence.holdout is not evidence.reference:
        unseen = float((_distances(geometry, evidence.holdout, size, rng, subsets=1)[0] <= radius).mean())
    share, base = float(np.mean([(d <= radius).mean() for d in made])), float((real <= radius).mean())
    bound, p = _bootstrap(share, base, size, evidence.intent.spent, rng)
    return Inside(share, base, unseen, bound, p)


def _distances(geometry: Geometry, rows: Dataset, size: int, rng: np.random.Generator, *, subsets: int) -> list[Array]:
    """Nearest distances within disjoint random subsets of equal size."""
    order = rng.permutation(rows.num_rows)
    count = min(subsets, len(order) // size)
    return [nearest_others(points(geometry, rows, np.sort(order[i * size : (i + 1) * size]))) for i in range(count)]


def _bootstrap(share: float, base: float, size: int, alpha: float, rng: np.random.Generator) -> tuple[float, float]:
    """Lower bound of the ratio at level alpha, and the share of draws at or below the tolerance.

    Rows that repeat each other come in pairs, so that only half of them are independent."""
    draws, half = int(min(max(10 / alpha, 2000), 200_000)), size // 2
    made = rng.binomial(half, share, size=draws) / half
    real = (rng.binomial(half, base, size=draws) + 0.5) / (half + 1)
    ratios = made / real
    return float(np.quantile(ratios, alpha)), float((1 + (ratios <= TOLERANCE).sum()) / (draws + 1))


@dataclass(frozen=True)
class Repeats:
    """Exact repeats: chance that two rows of a set are equal, and the share of rows that have a twin."""

    rate: float
    real_rate: float
    twins: int
    rows: int
    excess: bool
    worst: tuple[tuple[int, int], ...]


def _repeats(evidence: Evidence) -> Repeats:
    made, real = keys(evidence.synthetic), keys(evidence.reference)
    alpha = evidence.intent.spent
    rate, spread = _pair_rate(made)
    real_rate, real_spread = _pair_rate(real)
    pairs = len(real) * (len(real) - 1) / 2
    # Few or no repeats among the reference bound their rate only from above.
    upper = float(special.gammaincinv(real_rate * pairs + 1, 1 - alpha)) / pairs
    width = float(special.ndtri(1 - alpha)) * math.hypot(spread, TOLERANCE * real_spread)
    _, first, back, counts = np.unique(made, return_index=True, return_inverse=True, return_counts=True)
    twins = int((counts[back] > 1).sum())
    excess = rate - TOLERANCE * max(upper, real_rate) > width and twins > HARMLESS * len(made)
    heavy = np.argsort(-counts, kind="stable")[:10]
    return Repeats(
        rate, real_rate, twins, len(made), excess, tuple((int(first[i]), int(counts[i])) for i in heavy if counts[i] > 1)
    )


def _pair_rate(rows: Array) -> tuple[float, float]:
    """Chance that two rows are equal and its standard error (a U-statistic: Hoeffding 1948)."""
    n = len(rows)
    _, back, counts = np.unique(rows, return_inverse=True, return_counts=True)
    each = (counts[back] - 1) / (n - 1)
    rate = float(each.mean())
    return rate, math.sqrt(4 * float(each.var()) / n + 2 * rate / (n * (n - 1)))


def _finding(evidence: Evidence, size: int, inside: Inside, repeats: Repeats) -> Finding:
    collapsed = inside.ratio > TOLERANCE and inside.bound > TOLERANCE
    verdict: Verdict = "BLOCK" if collapsed or repeats.excess else "PASS"
    if verdict == "PASS" and inside.bound > WARNS:
        verdict = "WARN"
    return Finding(
        CHECK,
        verdict,
        value=inside.ratio,
        limit=TOLERANCE,
        reference=None if inside.holdout is None else inside.holdout / inside.real,
        p_value=inside.p,
        summary=_summary(verdict, inside, repeats, collapsed),
        culprits=tuple(
            Culprit(cell=f"synthetic row {i} and its repeats", expected=1, observed=count) for i, count in repeats.worst
        )
        if verdict == "BLOCK"
        else (),
        details={
            "inside": inside.synthetic,
            "inside_real": inside.real,
            "ratio_lower_bound": inside.bound,
            "rows": size,
            "exact_repeats": repeats.twins,
            "pair_rate": repeats.rate,
            "pair_rate_real": repeats.real_rate,
        },
    )


def _summary(verdict: str, inside: Inside, repeats: Repeats, collapsed: bool) -> str:
    if verdict == "BLOCK" and not collapsed:
        times = f"{repeats.rate / repeats.real_rate:.0f} times" if repeats.real_rate else "far above"
        return (
            f"{repeats.twins} of {repeats.rows} synthetic rows have an exact twin, {times} the rate at which real rows repeat"
        )
    return (
        f"{percent(inside.synthetic)} of synthetic rows lie as close to another one as {percent(inside.real)} of real rows do, "
        f"a ratio of {inside.ratio:.2g}"
    )
