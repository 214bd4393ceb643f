"""How much of the real support do the synthetic rows reach, and how many of them lie in it?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import stats

from data.dataset import Dataset
from data.encode import Geometry
from validators.base import Culprit, Evidence, Finding, Verdict
from validators.points import MOST, nearest_others, points
from validators.sides import Sides, sides
from validators.stats import Array, percent

CHECK = "coverage"
NEIGHBOURS = 5
LIMIT, WARNS = 0.80, 0.90
SUBSETS = 5
#: Width of the noise that breaks ties, in ranks: far below any gap that matters.
JITTER = 1e-4
#: Distances are compared in blocks of at most this many pairs.
BLOCK_PAIRS = 4_000_000


def coverage(real: Array, made: Array, k: int = NEIGHBOURS, *, strict: bool = True) -> Array:
    """Whether each real point has a made one within its k-th neighbour's distance: (n, d), (m, d) -> (n,) bool.

    Source: Naeem et al. 2020, Reliable fidelity and diversity metrics, section 3; `strict` is the published `<`,
    which ties defeat: callers break them first. Raises ValueError when n <= k."""
    return cover(real, made, k, strict=strict).covered


@dataclass(frozen=True)
class Cover:
    """What the balls around real points hold: (n,) for each real point, (m,) for each made one, or one figure.

    covered: whether a ball holds a made point; clipped: made points in it over k, at most 1; density: mean number of
    balls a made point lies in, over k; inside: balls of bounded radius that each made point lies in, over k, at most 1.
    Source: Naeem et al. 2020, section 3; clipped forms: Salvy et al. 2025, arXiv 2507.01761, sections 3.1 and 3.2 (the
    radius of outliers is cut at the median radius, one point's part at 1)."""

    covered: Array
    clipped: Array
    density: float
    inside: Array


def cover(real: Array, made: Array, k: int = NEIGHBOURS, *, strict: bool = True) -> Cover:
    """The balls of k-th neighbours around `real`, and what of `made` lies in them: (n, d), (m, d).

    Raises ValueError when n <= k."""
    from sklearn.metrics import pairwise_distances

    if len(real) <= k:
        raise ValueError(f"coverage needs more than {k} real points, not {len(real)}")
    radius = nearest_others(real, k)
    bounded = np.minimum(radius, np.median(radius))
    held, inside = np.zeros(len(real), dtype=np.int64), np.zeros(len(made), dtype=np.int64)
    step = max(1, BLOCK_PAIRS // max(len(made), 1))
    for i in range(0, len(real), step):
        far = pairwise_distances(real[i : i + step], made)
        limit, cut = radius[i : i + step, None], bounded[i : i + step, None]
        held[i : i + step] = (far < limit if strict else far <= limit).sum(axis=1)
        inside += (far < cut if strict else far <= cut).sum(axis=0)
    return Cover(
        covered=held > 0,
        clipped=np.minimum(held / k, 1.0),
        density=float(held.sum()) / (k * len(made)),
        inside=np.minimum(inside / k, 1.0),
    )


def expected_coverage(real: int, made: int, k: int = NEIGHBOURS) -> float:
    """E[coverage] when both sets come from one continuous distribution: 1 - prod_{j=1..k} (N - j) / (M + N - j)."""
    j = np.arange(1, k + 1)
    return float(1 - np.prod((real - j) / (made + real - j)))


@dataclass(frozen=True)
class Reach:
    """One scope: the mean cover of several draws of synthetic rows beside that of real rows of the same size.

    base is None where there are too few reference rows; then the expected coverage of equal laws stands for it."""

    name: str
    rows: int
    made: Cover
    base: Cover | None

    @property
    def real(self) -> Array:
        """(n,) coverage of each real point by real rows."""
        return self.base.covered if self.base else np.full(self.rows, expected_coverage(self.rows, self.rows))

    @property
    def ratio(self) -> float:
        return float(self.made.covered.mean() / self.real.mean())

    @property
    def inside_ratio(self) -> float | None:
        """Share of synthetic rows that lie in the real support, against real rows; None without enough of those."""
        if self.base is None or not self.base.inside.mean():
            return None
        return float(self.made.inside.mean() / self.base.inside.mean())

    def figures(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "rows": self.rows,
            "coverage": float(self.made.covered.mean()),
            "real": float(self.real.mean()),
            "ratio": self.ratio,
            "clipped_coverage": float(self.made.clipped.mean()),
            "real_clipped_coverage": float(self.base.clipped.mean()) if self.base else None,
            "density": self.made.density,
            "real_density": self.base.density if self.base else None,
            "clipped_density": float(self.made.inside.mean()),
            "real_clipped_density": float(self.base.inside.mean()) if self.base else None,
            "inside_ratio": self.inside_ratio,
        }


@dataclass(frozen=True)
class CoverageCheck:
    """Two shares, each as a ratio to real rows: unseen real rows that have a synthetic row among their five nearest
    (coverage), and synthetic rows that lie where real rows lie (clipped density).

    Equal sizes only, averaged over disjoint subsets; numeric columns only, as counts speak for the categories (modes);
    ties are broken by noise of 1e-4 ranks, so that discrete numbers follow the law of continuous ones. The worst of
    the whole set and each class leads. Blocks below 0.80 when that is significant: for coverage by a bootstrap over the
    real rows, for density by Welch's test over the synthetic ones."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises nothing: no numeric column or too few rows give SKIPPED."""
        at = sides(evidence)
        numeric = [c.name for c in at.reference.schema.of_kind("numeric", "integer", "datetime")]
        numeric = [name for name in numeric if name != at.reference.schema.target]
        if not numeric:
            return Finding(CHECK, "SKIPPED", summary="there is no numeric column; the counts of 'modes' speak for categories")
        reaches = _reaches(at, numeric)
        if not reaches:
            least = 3 * NEIGHBOURS
            return Finding(CHECK, "SKIPPED", summary=f"fewer than {least} holdout or synthetic rows are too few to judge")
        return _finding(at, reaches)


def _reaches(at: Sides, numeric: list[str]) -> list[Reach]:
    reference, holdout, sample = (_only(rows, numeric) for rows in (at.reference, at.holdout, at.sample))
    geometry = Geometry.fit(reference)
    out = []
    for i, (name, r, h, s) in enumerate(at.scopes()):
        size = min(len(h), len(s), MOST)
        if size >= 3 * NEIGHBOURS:
            rng = np.random.default_rng([at.intent.seed, 17, i])
            real = _cloud(geometry, holdout, rng.permutation(h)[:size], rng)
            made = _average(real, geometry, sample, s, size, rng)
            base = _average(real, geometry, reference, r, size, rng) if len(r) >= size else None
            out.append(Reach(name, size, made, base))
    return out


def _only(rows: Dataset, names: list[str]) -> Dataset:
    return Dataset(rows.table.select(names), rows.schema.select(names))


def _average(real: Array, geometry: Geometry, rows: Dataset, places: Array, size: int, rng: np.random.Generator) -> Cover:
    """Cover of the real points by disjoint subsets of `size` rows: means over subsets, made points joined."""
    order = rng.permutation(places)
    count = min(SUBSETS if size < MOST // 2 else 2, len(order) // size)
    found = [cover(real, _cloud(geometry, rows, order[i * size : (i + 1) * size], rng)) for i in range(count)]
    return Cover(
        covered=np.mean([each.covered for each in found], axis=0),
        clipped=np.mean([each.clipped for each in found], axis=0),
        density=float(np.mean([each.density for each in found])),
        inside=np.concatenate([each.inside for each in found]),
    )


def _cloud(geometry: Geometry, rows: Dataset, places: Array, rng: np.random.Generator) -> Array:
    encoded = points(geometry, rows, places).astype(np.float64)
    return encoded + rng.uniform(-JITTER, JITTER, encoded.shape)


def confirmed(reach: Reach, limit: float, draws: int, rng: np.random.Generator) -> float:
    """Share of bootstrap draws of the real points whose ratio is not below `limit`; by Student's t below 1 / draws."""
    gap = reach.made.covered - limit * reach.real
    if gap.std() == 0:
        return 1.0 if gap.mean() >= 0 else 0.0
    hits = 0
    for _ in range(0, draws, 250):
        hits += int((gap[rng.integers(0, len(gap), size=(250, len(gap)))].mean(axis=1) >= 0).sum())
    if hits:
        return hits / (-(-draws // 250) * 250)
    return float(stats.ttest_1samp(gap, 0.0, alternative="less").pvalue)


def outside(reach: Reach, limit: float) -> float:
    """P-value of a clipped density not below `limit` times the real one: Welch's test over the rows of both sets.

    The balls are the same for both sides and given; rows of one subset share nothing else."""
    if reach.base is None:
        return 1.0
    made, real = reach.made.inside, reach.base.inside
    gap = float(made.mean() - limit * real.mean())
    error = math.sqrt(float(made.var()) / len(made) + limit**2 * float(real.var()) / len(real))
    if error == 0:
        return 1.0 if gap >= 0 else 0.0
    return float(stats.norm.cdf(gap / error))


@dataclass(frozen=True)
class Test:
    """One ratio of one scope, and how surprising it would be at each limit."""

    reach: Reach
    what: str
    ratio: float
    p_block: float
    p_warn: float


def _tests(reaches: list[Reach], draws: int, rng: np.random.Generator) -> list[Test]:
    out = []
    for reach in reaches:
        p = [confirmed(reach, limit, draws, rng) if reach.ratio < limit else 1.0 for limit in (LIMIT, WARNS)]
        out.append(Test(reach, "coverage", reach.ratio, *p))
        if (ratio := reach.inside_ratio) is not None:
            p = [outside(reach, limit) if ratio < limit else 1.0 for limit in (LIMIT, WARNS)]
            out.append(Test(reach, "density", ratio, *p))
    return out


def _finding(at: Sides, reaches: list[Reach]) -> Finding:
    alpha, rng = at.intent.level(CHECK) / (2 * len(reaches)), np.random.default_rng([at.intent.seed, 19])
    tests = _tests(reaches, int(min(max(4 / alpha, 1000), 8000)), rng)
    blocked = [test for test in tests if test.p_block <= alpha]
    warned = [test for test in tests if test.p_warn <= alpha]
    verdict: Verdict = "BLOCK" if blocked else "WARN" if warned else "PASS"
    lead = min(blocked or warned or tests, key=lambda test: test.ratio)
    return Finding(
        CHECK,
        verdict,
        value=lead.ratio,
        limit=LIMIT,
        reference=1.0,
        p_value=min(1.0, min(test.p_block for test in tests) * len(tests)),
        summary=_summary(lead),
        culprits=tuple(_culprit(test, len(tests)) for test in (blocked or warned)),
        details={"warn_limit": WARNS, "figure": lead.what, "scopes": [reach.figures() for reach in reaches]},
    )


def _summary(test: Test) -> str:
    reach = test.reach
    if test.what == "coverage":
        return (
            f"{percent(float(reach.made.covered.mean()))} of unseen real rows in {reach.name} have a synthetic row nearby, "
            f"{percent(float(reach.real.mean()))} a real one: a ratio of {reach.ratio:.2f}"
        )
    return (
        f"in {reach.name} {percent(test.ratio)} as many synthetic rows as real rows lie where real rows lie; "
        "the others stand apart from all of them"
    )


def _culprit(test: Test, tests: int) -> Culprit:
    reach = test.reach
    shares = (float(reach.real.mean()), float(reach.made.covered.mean()))
    if test.what == "density" and reach.base is not None:
        shares = (float(reach.base.inside.mean()), float(reach.made.inside.mean()))
    return Culprit(
        cell=reach.name if test.what == "coverage" else f"{reach.name}: rows where real rows lie",
        expected=shares[0],
        observed=shares[1],
        ratio=test.ratio,
        p_adjusted=min(test.p_block * tests, 1.0),
    )
