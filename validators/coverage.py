"""How much of the real support do the synthetic rows reach?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import stats

from data.dataset import Dataset
from data.encode import Geometry
from validators.base import Culprit, Evidence, Finding, Verdict
from validators.mix import classes, compared, restrict
from validators.points import MOST, nearest_others, points
from validators.stats import Array, percent

CHECK = "coverage"
NEIGHBOURS = 5
LIMIT, WARNS = 0.80, 0.90
SUBSETS = 5
#: Width of the noise that breaks ties, in ranks: far below any gap that matters.
JITTER = 1e-4
#: Distances are compared in blocks of at most this many pairs.
BLOCK_PAIRS = 8_000_000


def coverage(real: Array, made: Array, k: int = NEIGHBOURS, *, strict: bool = True) -> Array:
    """Whether each real point has a made one within its k-th neighbour's distance: (n, d), (m, d) -> (n,) bool.

    Source: Naeem et al. 2020, Reliable fidelity and diversity metrics, section 3; `strict` is the published `<`,
    which ties defeat: callers break them first. Raises ValueError when n <= k."""
    return cover(real, made, k, strict=strict)[0]


def cover(real: Array, made: Array, k: int = NEIGHBOURS, *, strict: bool = True) -> tuple[Array, float]:
    """Coverage of each real point and the density of the made ones: ((n,) bool, float)."""
    from sklearn.metrics import pairwise_distances

    if len(real) <= k:
        raise ValueError(f"coverage needs more than {k} real points, not {len(real)}")
    radius = nearest_others(real, k)
    covered, inside = np.zeros(len(real), dtype=bool), 0
    step = max(1, BLOCK_PAIRS // max(len(made), 1))
    for i in range(0, len(real), step):
        far = pairwise_distances(real[i : i + step], made)
        limit = radius[i : i + step, None]
        hit = far < limit if strict else far <= limit
        covered[i : i + step] = hit.any(axis=1)
        inside += int(hit.sum())
    return covered, inside / (k * len(made))


def expected_coverage(real: int, made: int, k: int = NEIGHBOURS) -> float:
    """E[coverage] when both sets come from one continuous distribution: 1 - prod_{j=1..k} (N - j) / (M + N - j)."""
    j = np.arange(1, k + 1)
    return float(1 - np.prod((real - j) / (made + real - j)))


@dataclass(frozen=True)
class Reach:
    """Coverage of one scope beside that of real rows of the same size. each, base: (n,) for each real point."""

    name: str
    rows: int
    each: Array
    base: Array
    density: float
    base_density: float | None

    @property
    def ratio(self) -> float:
        return float(self.each.mean() / self.base.mean())


@dataclass(frozen=True)
class CoverageCheck:
    """The share of unseen real rows that have a synthetic row among their five nearest, as a ratio to real rows.

    Equal sizes only, averaged over disjoint subsets; numeric columns only, as counts speak for the categories (modes);
    ties are broken by noise of 1e-4 ranks, so that discrete numbers follow the law of continuous ones. The worst of
    the whole set and each class leads. Blocks below 0.80 when a bootstrap over the real rows confirms it."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises nothing: no numeric column or too few rows give SKIPPED."""
        evidence = restrict(evidence)
        numeric = [c.name for c in evidence.reference.schema.of_kind("numeric", "integer", "datetime")]
        numeric = [name for name in numeric if name != evidence.reference.schema.target]
        if not numeric:
            return Finding(CHECK, "SKIPPED", summary="there is no numeric column; the counts of 'modes' speak for categories")
        reaches = _reaches(evidence, numeric)
        if not reaches:
            least = 3 * NEIGHBOURS
            return Finding(CHECK, "SKIPPED", summary=f"fewer than {least} holdout or synthetic rows are too few to judge")
        return _finding(evidence, reaches)


def _reaches(evidence: Evidence, numeric: list[str]) -> list[Reach]:
    found = classes(evidence)
    everything = compared(evidence, found)
    reference = _only(evidence.reference, numeric)
    geometry = Geometry.fit(reference)
    scopes = [("the whole set", *everything, np.arange(reference.num_rows))]
    for y, name in enumerate(found.names if found is not None and len(found.names) > 1 else ()):
        h, s, r = (np.flatnonzero(labels == y) for labels in (found.holdout, found.synthetic, found.reference))  # type: ignore[union-attr]  # there are no names without classes
        scopes.append((f"class {name}", h, s, r))
    out = []
    for i, (name, h, s, r) in enumerate(scopes):
        size = min(len(h), len(s), MOST)
        if size >= 3 * NEIGHBOURS:
            rng = np.random.default_rng([evidence.intent.seed, 17, i])
            sides = (_only(evidence.holdout, numeric), _only(evidence.synthetic, numeric), reference)
            out.append(_reach(name, geometry, sides, (h, s, r), size, rng))
    return out


def _only(rows: Dataset, names: list[str]) -> Dataset:
    return Dataset(rows.source, rows.schema.select(names))


def _reach(
    name: str,
    geometry: Geometry,
    sides: tuple[Dataset, Dataset, Dataset],
    places: tuple[Array, Array, Array],
    size: int,
    rng: np.random.Generator,
) -> Reach:
    real = _cloud(geometry, sides[0], rng.permutation(places[0])[:size], rng)
    each, density = _average(real, geometry, sides[1], places[1], size, rng)
    if len(places[2]) >= size:
        base, base_density = _average(real, geometry, sides[2], places[2], size, rng)
        return Reach(name, size, each, base, density, base_density)
    return Reach(name, size, each, np.full(size, expected_coverage(size, size)), density, None)


def _average(
    real: Array, geometry: Geometry, rows: Dataset, places: Array, size: int, rng: np.random.Generator
) -> tuple[Array, float]:
    """Coverage of each real point by disjoint subsets of `size` rows, averaged; and their mean density."""
    order = rng.permutation(places)
    count = min(SUBSETS if size < MOST // 2 else 2, len(order) // size)
    found = [cover(real, _cloud(geometry, rows, order[i * size : (i + 1) * size], rng)) for i in range(count)]
    return np.mean([c for c, _ in found], axis=0), float(np.mean([d for _, d in found]))


def _cloud(geometry: Geometry, rows: Dataset, places: Array, rng: np.random.Generator) -> Array:
    encoded = points(geometry, rows, places).astype(np.float64)
    return encoded + rng.uniform(-JITTER, JITTER, encoded.shape)


def confirmed(reach: Reach, limit: float, draws: int, rng: np.random.Generator) -> float:
    """Share of bootstrap draws of the real points whose ratio is not below `limit`; by Student's t below 1 / draws."""
    gap = reach.each - limit * reach.base
    if gap.std() == 0:
        return 1.0 if gap.mean() >= 0 else 0.0
    hits = 0
    for _ in range(0, draws, 250):
        hits += int((gap[rng.integers(0, len(gap), size=(250, len(gap)))].mean(axis=1) >= 0).sum())
    if hits:
        return hits / (-(-draws // 250) * 250)
    return float(stats.ttest_1samp(gap, 0.0, alternative="less").pvalue)


def _finding(evidence: Evidence, reaches: list[Reach]) -> Finding:
    alpha, rng = evidence.intent.spent / len(reaches), np.random.default_rng([evidence.intent.seed, 19])
    draws = int(min(max(4 / alpha, 1000), 8000))
    p_block = [confirmed(r, LIMIT, draws, rng) if r.ratio < LIMIT else 1.0 for r in reaches]
    p_warn = [confirmed(r, WARNS, draws, rng) if r.ratio < WARNS else 1.0 for r in reaches]
    blocked = [i for i in range(len(reaches)) if p_block[i] <= alpha]
    warned = [i for i in range(len(reaches)) if p_warn[i] <= alpha]
    verdict: Verdict = "BLOCK" if blocked else "WARN" if warned else "PASS"
    lead = min(blocked or warned or [int(np.argmin([r.ratio for r in reaches]))], key=lambda i: reaches[i].ratio)
    worst = reaches[lead]
    return Finding(
        CHECK,
        verdict,
        value=worst.ratio,
        limit=LIMIT,
        reference=1.0,
        p_value=min(1.0, min(p_block) * len(reaches)),
        summary=(
            f"{percent(float(worst.each.mean()))} of unseen real rows in {worst.name} have a synthetic row nearby, "
            f"{percent(float(worst.base.mean()))} a real one: a ratio of {worst.ratio:.2f}"
        ),
        culprits=tuple(_culprit(reaches[i], p_block[i] * len(reaches)) for i in (blocked or warned)),
        details={
            "warn_limit": WARNS,
            "scopes": [
                {
                    "name": r.name,
                    "rows": r.rows,
                    "coverage": float(r.each.mean()),
                    "real": float(r.base.mean()),
                    "ratio": r.ratio,
                    "density": r.density,
                    "real_density": r.base_density,
                }
                for r in reaches
            ],
        },
    )


def _culprit(reach: Reach, p: float) -> Culprit:
    return Culprit(
        cell=reach.name,
        expected=float(reach.base.mean()),
        observed=float(reach.each.mean()),
        ratio=reach.ratio,
        p_adjusted=min(p, 1.0),
    )
