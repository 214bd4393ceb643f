"""Do columns, pairs of columns and whole rows look real?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from data.dataset import Dataset
from data.encode import Geometry
from validators.base import Culprit, Evidence, Finding, figures_of
from validators.points import drawn, points
from validators.shapes import all_shapes, all_trends, read
from validators.sides import sides
from validators.stats import Array

CHECK = "fidelity"
#: Figures a plan may limit: True where more is worse.
FIGURES: Mapping[str, bool] = {"column_shapes": False, "pair_trends": False, "score": False, "c2st_auc": True, "mmd": True}
C2ST_ROWS, MMD_ROWS, SHAPE_ROWS = 4000, 1000, 200_000
LEAST_ROWS = 10
FOLDS = 3


@dataclass(frozen=True)
class FidelityCheck:
    """Column shapes and pair trends as SDMetrics defines them, a classifier told real from synthetic (C2ST), and MMD.

    It reports: a target "equal to real" would fail every good generator on large data. It blocks only where the plan sets
    limits["fidelity"], a least column_shapes, pair_trends or score, or a most c2st_auc or mmd. The reference is the
    same figure for reference (or train) rows in place of the synthetic ones."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises DataError for a limit on a figure that does not exist; too few rows give SKIPPED."""
        limits = check_limits(evidence.intent.limits.get(CHECK, {}))
        at = sides(evidence)
        holdout, made = at.holdout.take(at.h), at.sample.take(at.whole)
        if min(rows.num_rows for rows in (at.reference, holdout, made)) < LEAST_ROWS:
            needed = f"{LEAST_ROWS} reference, holdout and synthetic rows are needed to compare shapes"
            return Finding(CHECK, "SKIPPED", summary=needed)
        geometry, seed = Geometry.fit(at.reference, with_target=True), evidence.intent.seed
        return _finding(_figures(geometry, holdout, made, seed), _figures(geometry, holdout, at.reference, seed), limits)


@dataclass(frozen=True)
class Figures:
    """All figures of one set beside the holdout."""

    shapes: dict[str, float]
    trends: dict[tuple[str, str], float]
    c2st_auc: float
    c2st_ci: tuple[float, float]
    mmd: float

    @property
    def column_shapes(self) -> float:
        return float(np.mean(list(self.shapes.values()))) if self.shapes else math.nan

    @property
    def pair_trends(self) -> float:
        return float(np.mean(list(self.trends.values()))) if self.trends else math.nan

    @property
    def score(self) -> float:
        """Mean of both, of the one that exists where there is a single column."""
        both = np.array([self.column_shapes, self.pair_trends])
        return float(both[~np.isnan(both)].mean()) if not np.isnan(both).all() else math.nan

    def plain(self) -> dict[str, Any]:
        figures = {name: getattr(self, name) for name in FIGURES}
        return {k: None if math.isnan(v) else v for k, v in figures.items()} | {"c2st_ci": list(self.c2st_ci)}


def check_limits(stated: Mapping[str, float]) -> dict[str, float]:
    """The plan's limits; raises DataError for a figure that does not exist."""
    return figures_of(CHECK, stated, FIGURES)


def _figures(geometry: Geometry, holdout: Dataset, other: Dataset, seed: int) -> Figures:
    rng = np.random.default_rng([seed, 23])
    some = other if other.num_rows <= SHAPE_ROWS else other.take(np.sort(drawn(other.num_rows, SHAPE_ROWS, rng)))
    columns = read(holdout, some)
    size = min(holdout.num_rows, other.num_rows, C2ST_ROWS)
    a, b = (points(geometry, d, np.sort(drawn(d.num_rows, size, rng))) for d in (holdout, other))
    auc, interval = c2st(a, b, seed=seed)
    fewer = (side[rng.permutation(size)[:MMD_ROWS]] for side in (a, b))
    return Figures(all_shapes(columns), all_trends(columns), auc, interval, mmd(*fewer))


def c2st(real: Array, made: Array, *, seed: int) -> tuple[float, tuple[float, float]]:
    """AUC of a cross-fitted gradient boosting that tells real from made, with a 95 % interval: (n, d), (m, d).

    0.5: it cannot tell them apart. Source: Lopez-Paz and Oquab 2017; interval of Hanley and McNeil 1982."""
    aucs, weights = [], []
    for low, high, _ in _folds(real, made, seed):
        aucs.append(_auc(low, high))
        weights.append(len(low) + len(high))
    auc = float(np.average(aucs, weights=weights))
    half = 1.96 * _hanley(auc, len(real), len(made))
    return auc, (max(0.0, auc - half), min(1.0, auc + half))


def told_apart(real: Array, made: Array, *, seed: int) -> Array:
    """Of each real row the share of made rows that the classifier of `c2st` finds more like made ones: (n, d), (m, d) -> (n,).

    Their mean is the AUC, and means over rows drawn again are those of the bootstrap over real rows. Source: the placement
    values of DeLong et al. 1988."""
    out = np.empty(len(real))
    for low, high, held in _folds(real, made, seed):
        ordered = np.sort(high)
        not_above, below = np.searchsorted(ordered, low, side="right"), np.searchsorted(ordered, low, side="left")
        out[held] = 1 - (not_above + below) / 2 / len(high)
    return out


def _folds(real: Array, made: Array, seed: int) -> Iterator[tuple[Array, Array, Array]]:
    """Of each fold the scores of real rows and of made rows that were held back, and which real rows these are."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    x = np.concatenate([real, made])
    y = np.concatenate([np.zeros(len(real), dtype=int), np.ones(len(made), dtype=int)])
    for fit, held in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, y):
        model = HistGradientBoostingClassifier(max_iter=50, max_leaf_nodes=15, early_stopping=False, random_state=seed)
        # Threads that outnumber free cores wait on each other: one is faster on a busy machine, and always the same.
        with threadpool_limits(1):
            score = model.fit(x[fit], y[fit]).predict_proba(x[held])[:, 1]
        yield score[y[held] == 0], score[y[held] == 1], held[y[held] == 0]


def _auc(low: Array, high: Array) -> float:
    """P(a score of `high` beats one of `low`), ties by half."""
    ordered = np.sort(low)
    below, upto = np.searchsorted(ordered, high, side="left"), np.searchsorted(ordered, high, side="right")
    return float((below + upto).mean() / 2 / len(low))


def _hanley(auc: float, n: int, m: int) -> float:
    """Standard error of an AUC."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    return math.sqrt(max(auc * (1 - auc) + (m - 1) * (q1 - auc**2) + (n - 1) * (q2 - auc**2), 0.0) / (n * m))


def mmd(real: Array, made: Array) -> float:
    """Unbiased squared maximum mean discrepancy, Gaussian kernel of median width: (n, d), (m, d); about 0 for equal laws.

    Source: Gretton et al. 2012, equation 3."""
    from sklearn.metrics import pairwise_distances

    both = pairwise_distances(np.concatenate([real, made]).astype(np.float64), metric="sqeuclidean")
    n, m = len(real), len(made)
    width = float(np.median(both[np.triu_indices(n + m, 1)])) or 1.0
    kernel = np.exp(-both / width)
    within = (kernel[:n, :n].sum() - n) / (n * (n - 1)) + (kernel[n:, n:].sum() - m) / (m * (m - 1))
    return float(within - 2 * kernel[:n, n:].mean())


def _finding(made: Figures, real: Figures, limits: Mapping[str, float]) -> Finding:
    crossed = [name for name, limit in limits.items() if _crossed(getattr(made, name), limit, worse_above=FIGURES[name])]
    lead = crossed[0] if crossed else next(iter(limits), "score")
    value, reference = getattr(made, lead), getattr(real, lead)
    said = (
        f"column shapes {made.column_shapes:.2f}, pair trends {made.pair_trends:.2f}, C2ST AUC {made.c2st_auc:.2f} "
        f"(real rows: {real.column_shapes:.2f}, {real.pair_trends:.2f}, {real.c2st_auc:.2f})"
    )
    if crossed:
        side = "above" if FIGURES[lead] else "below"
        said = f"{lead} is {value:.3g}, {side} the plan's limit of {limits[lead]:.3g}; " + said
    return Finding(
        CHECK,
        "BLOCK" if crossed else "PASS",
        value=None if math.isnan(value) else value,
        limit=limits.get(lead),
        reference=None if math.isnan(reference) else reference,
        summary=said,
        culprits=tuple(_culprits(made, real)) if crossed else (),
        details={
            "figure": lead,
            "synthetic": made.plain(),
            "real": real.plain(),
            "columns": {name: [score, real.shapes.get(name)] for name, score in made.shapes.items()},
            "pairs": [
                [*pair, score, real.trends.get(pair)] for pair, score in sorted(made.trends.items(), key=lambda i: i[1])[:50]
            ],
        },
    )


def _crossed(value: float, limit: float, *, worse_above: bool) -> bool:
    # A figure that does not exist (a single column has no pairs) crosses nothing.
    return value > limit if worse_above else value < limit


def _culprits(made: Figures, real: Figures) -> list[Culprit]:
    """The columns that look least real."""
    worst = sorted(made.shapes.items(), key=lambda item: item[1])[:10]
    return [Culprit(cell=name, expected=real.shapes.get(name, 1.0), observed=score) for name, score in worst]
