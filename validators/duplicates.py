"""Do the synthetic rows repeat each other more than real rows do?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from scipy import special

from data.dataset import Dataset
from data.encode import Geometry
from validators.base import Culprit, Evidence, Finding, Verdict
from validators.points import MOST, batch_keys, keys, nearest_others, points
from validators.sides import Sides, sides
from validators.stats import Array, clopper_pearson, percent

CHECK = "duplicates"
#: Share of real rows inside the radius, and how many times that share is too much.
INSIDE, TOLERANCE, WARNS = 0.05, 2.0, 1.5
LEAST_ROWS = 40
#: Exact repeats below this share of the rows do no harm, however surprising.
HARMLESS = 0.01
SUBSETS = 4
#: Exact repeats are counted over at most about so many rows, chosen by their content, so that twins stay together.
MOST_KEYS = 1_000_000


@dataclass(frozen=True)
class DuplicatesCheck:
    """The share of synthetic rows whose nearest other one lies inside a radius that real rows set among themselves.

    The radius is the 5 % quantile of nearest distances within the reference: taken from the holdout it gives false
    alarms. Sizes are equal, as distances shrink with size. Blocks when the share is more than twice the real one and
    a bootstrap over rows confirms it; also when exact repeats over all rows are, by the same tolerance (a repeat is
    seldom seen in a subset of a large set), and when a single row is repeated: more than 1 % of the set and surely more
    than twice its share of the reference (Clopper-Pearson, Bonferroni over the distinct rows)."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises nothing: too few rows give SKIPPED."""
        at = sides(evidence)
        size = min(at.reference.num_rows, len(at.whole), MOST)
        if size < LEAST_ROWS:
            return Finding(
                CHECK, "SKIPPED", summary=f"{size} rows a side are too few; {LEAST_ROWS} are needed to judge repeats"
            )
        return _finding(size, _inside(at, size), _repeats(at))


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


def _inside(at: Sides, size: int) -> Inside:
    rng = np.random.default_rng([at.intent.seed, 13])
    geometry = Geometry.fit(at.reference, with_target=True)
    real = _distances(geometry, at.reference, np.arange(at.reference.num_rows), size, rng, subsets=1)[0]
    made = _distances(geometry, at.sample, at.whole, size, rng, subsets=SUBSETS)
    # Equal distances differ in the last digits; the reference's own ties count on both sides.
    radius = float(np.quantile(real, INSIDE, method="higher")) + 1e-7
    unseen = None
    if len(at.h) >= size and at.holdout is not at.reference:
        unseen = float((_distances(geometry, at.holdout, at.h, size, rng, subsets=1)[0] <= radius).mean())
    share, base = float(np.mean([(d <= radius).mean() for d in made])), float((real <= radius).mean())
    bound, p = _bootstrap(share, base, size, at.intent.level(CHECK) / 2, rng)
    return Inside(share, base, unseen, bound, p)


def _distances(
    geometry: Geometry, rows: Dataset, places: Array, size: int, rng: np.random.Generator, *, subsets: int
) -> list[Array]:
    """Nearest distances within disjoint random subsets of equal size of the rows at `places`."""
    order = rng.permutation(places)
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
    heavy: bool
    worst: tuple[tuple[int, int], ...]


def _repeats(at: Sides) -> Repeats:
    alpha = at.intent.level(CHECK) / 2
    made, places, kept = _kept_keys(at)
    rate, spread = _pair_rate(made, at.rows, kept)
    real_keys = keys(at.reference)
    real_rate, real_spread = _pair_rate(real_keys, len(real_keys), 1.0)
    pairs = len(real_keys) * (len(real_keys) - 1) / 2
    # Few or no repeats among the reference bound their rate only from above.
    upper = float(special.gammaincinv(real_rate * pairs + 1, 1 - alpha)) / pairs
    width = float(special.ndtri(1 - alpha)) * math.hypot(spread, TOLERANCE * real_spread)
    distinct, first, back, counts = np.unique(made, return_index=True, return_inverse=True, return_counts=True)
    twins = min(round(int((counts[back] > 1).sum()) / kept), at.rows)
    excess = rate - TOLERANCE * max(upper, real_rate) > width and twins > HARMLESS * at.rows
    heavy = np.argsort(-counts, kind="stable")[:10]
    worst = tuple((int(places[first[i]]), int(counts[i])) for i in heavy if counts[i] > 1)
    shares = [(int(counts[i]), int((real_keys == distinct[i]).sum())) for i in heavy]
    surplus = any(_surplus(s, at.rows, r, len(real_keys), alpha / len(counts)) for s, r in shares)
    return Repeats(rate, real_rate, twins, at.rows, excess, surplus, worst)


def _surplus(s: int, m: int, r: int, of: int, alpha: float) -> bool:
    """Whether a single row surely has more than TOLERANCE times its share of the reference, and a share that matters."""
    return s > HARMLESS * m and clopper_pearson(s, m, alpha)[0] > TOLERANCE * clopper_pearson(r, of, alpha)[1]


def _kept_keys(at: Sides) -> tuple[Array, Array, float]:
    """Keys and positions of the compared rows, or of the share of them whose keys are small: equal rows stay together."""
    kept = min(1.0, MOST_KEYS / max(at.rows, 1))
    limit, columns = np.uint64(min(kept * 2.0**64, 2**64 - 1025)), at.synthetic.schema.learned

    def work(batch: pa.RecordBatch, start: int) -> tuple[Array, Array]:
        made = batch_keys(batch, columns)
        chosen = np.ones(len(made), dtype=bool) if kept == 1.0 else made <= limit
        chosen = chosen if at.s is None else chosen & at.s[start : start + len(made)]
        places = np.flatnonzero(chosen)
        return made[places], places + start

    parts = list(at.synthetic.scan(work, columns=[column.name for column in columns]))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]), kept


def _pair_rate(rows: Array, total: int, kept: float) -> tuple[float, float]:
    """Chance that two of `total` rows are equal and its standard error, from the keys of a share `kept` of all keys.

    Source: a U-statistic (Hoeffding 1948), and the variance of a Horvitz-Thompson sum for keys kept with one chance."""
    counts = np.unique(rows, return_counts=True)[1].astype(float)
    share = counts * (counts - 1) / (total * (total - 1.0))
    rate = float(share.sum()) / kept
    second = float((counts * ((counts - 1) / (total - 1)) ** 2).sum()) / kept / total
    spread = 4 * max(second - rate**2, 0.0) / total + 2 * rate / (total * (total - 1.0))
    return rate, math.sqrt(spread + (1 - kept) / kept**2 * float((share**2).sum()))


def _finding(size: int, inside: Inside, repeats: Repeats) -> Finding:
    collapsed = inside.ratio > TOLERANCE and inside.bound > TOLERANCE
    verdict: Verdict = "BLOCK" if collapsed or repeats.excess or repeats.heavy else "PASS"
    if verdict == "PASS" and inside.bound > WARNS:
        verdict = "WARN"
    worst = repeats.worst if verdict == "BLOCK" else ()
    return Finding(
        CHECK,
        verdict,
        value=inside.ratio,
        limit=TOLERANCE,
        reference=None if inside.holdout is None else inside.holdout / inside.real,
        p_value=inside.p,
        summary=_summary(verdict, inside, repeats, collapsed),
        culprits=tuple(Culprit(cell=f"synthetic row {i} and its repeats", expected=1, observed=n) for i, n in worst),
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
    if verdict == "BLOCK" and not collapsed and not repeats.excess:
        return f"one synthetic row is repeated {repeats.worst[0][1]} times, surely more than twice its share of the real rows"
    if verdict == "BLOCK" and not collapsed:
        times = f"{repeats.rate / repeats.real_rate:.0f} times" if repeats.real_rate else "far above"
        return (
            f"{repeats.twins} of {repeats.rows} synthetic rows have an exact twin, {times} the rate at which real rows repeat"
        )
    return (
        f"{percent(inside.synthetic)} of synthetic rows lie as close to another one as {percent(inside.real)} of real rows do, "
        f"a ratio of {inside.ratio:.2g}"
    )
