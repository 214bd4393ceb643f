"""Can it be told of a person whether their row was among the training rows?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from validators._privacy_rows import Attacked, attacked, too_few
from validators._privacy_scores import FPR, Scores
from validators._utility_learners import one_thread
from validators.base import Culprit, Evidence, Finding, Verdict, figures_of
from validators.points import nearest
from validators.stats import Array, percent

CHECK = "membership"
#: Limits of the lower ends of 95 % intervals, where it blocks and warns: area under the curve, and TPR at 1 % FPR.
AUC, AUC_WARNS = 0.60, 0.55
TPR, TPR_WARNS = 0.03, 0.02
#: Real neighbours that say how dense people are around a target, and synthetic ones that say the same of what was made.
DENSITY = 5
#: Part of the targets, those farthest from other real rows, that count as outliers.
OUTLIERS = 0.1
#: Rows of a side that the classifier learns from.
LEARNED = 10_000
#: Distances below this count as none.
TOUCHING = 1e-6
ATTACKS = ("nearest row", "density ratio", "local density", "classifier")
ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class MembershipCheck:
    """Scores that should be higher for training rows, on as many of them as of holdout rows (2,000 a side at most).

    nearest row: the distance to the nearest synthetic row. density ratio: that over the distance to the fifth nearest other
    real row, the ratio of both densities by nearest neighbours (DOMIAS). local density: how much nearer the nearest synthetic
    row is than the fifth, a peak. classifier: how surely boosted trees that tell synthetic rows from other real ones take a
    target for synthetic. ensemble: the mean rank of the four. Other real rows, what an attacker knows of people, are the
    reference where it is a set of its own; else one half of the holdout serves for targets of the other, so that no target
    is among them. The tenth of the targets that lies farthest from other real rows, outliers, is read apart.

    Blocks where an attack's area under the curve is surely above .60, or its TPR at 1 % FPR above 3 % (lower ends of 95 %
    intervals; 299 unseen targets are needed for the latter), and warns from .55 and 2 %; each only where Mann-Whitney's test,
    or an exact one of the rows beyond the threshold, is significant at this check's share of alpha (Bonferroni over attacks),
    which is then its rate of false alarms where nothing leaks.

    Source: van Breugel et al. 2023, Membership Inference Attacks against Synthetic Data through Overfitting Detection,
    section 4 (density ratio); Chen et al. 2020, GAN-Leaks (distances); Carlini et al. 2022, section III (low FPR)."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises DataError for quasi-identifiers, secrets or limits that are not there; too few rows give SKIPPED."""
        limits = {"auc": AUC, "tpr": TPR, **check_limits(evidence.intent.limits.get(CHECK, {}))}
        seen = attacked(evidence)
        if (short := too_few(CHECK, seen)) is not None:
            return short
        with one_thread():
            folds = _folds(seen)
        tests = _tests(folds)
        return _finding(tests, evidence.intent.level(CHECK) / (2 * len(tests)), limits, seen)


def check_limits(stated: Mapping[str, float]) -> dict[str, float]:
    """The plan's limits; raises DataError for a figure that does not exist."""
    return figures_of(CHECK, stated, ("auc", "tpr"))


@dataclass(frozen=True)
class _Fold:
    """Ranks in [0, 1] of one fold's targets by each attack: (4, n) of train, (4, m) of the holdout; and which are outliers."""

    train: Array
    unseen: Array
    far: tuple[Array, Array]


def _folds(seen: Attacked) -> list[_Fold]:
    train, holdout, made = seen.points
    if seen.others is not None:
        return [_fold(train, holdout, seen.space.points(seen.others), made, seen)]
    half = len(holdout) // 2
    one, two = slice(0, half), slice(half, None)
    return [_fold(train[own], holdout[own], holdout[other], made, seen) for own, other in ((one, two), (two, one))]


def _fold(train: Array, holdout: Array, others: Array, made: Array, seen: Attacked) -> _Fold:
    """others: (r, d) real rows that are no targets."""
    targets = np.concatenate([train, holdout])
    near = np.log(np.maximum(nearest(targets, made, DENSITY)[0], TOUCHING))
    real = np.log(np.maximum(nearest(targets, others, DENSITY)[0][:, -1], TOUCHING))
    found = [-near[:, 0], real - near[:, 0], near[:, -1] - near[:, 0], _classified(targets, made, others, seen)]
    ranks = np.stack([_ranks(score) for score in found])
    far = real >= np.quantile(real, 1 - OUTLIERS)
    n = len(train)
    return _Fold(ranks[:, :n], ranks[:, n:], (far[:n], far[n:]))


def _classified(targets: Array, made: Array, others: Array, seen: Attacked) -> Array:
    """How surely each target is taken for a synthetic row: (n,)."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = seen.rng(5)
    size = min(len(made), len(others), LEARNED)
    some = [side[rng.permutation(len(side))[:size]] for side in (made, others)]
    model = HistGradientBoostingClassifier(max_iter=50, max_leaf_nodes=15, early_stopping=False, random_state=seen.seed)
    model.fit(np.concatenate(some), np.repeat([1, 0], size))
    return np.asarray(model.predict_proba(targets)[:, 1])


def _ranks(score: Array) -> Array:
    from scipy.stats import rankdata

    return np.asarray(rankdata(score)) / len(score)


def _tests(folds: list[_Fold]) -> list[Scores]:
    """Every attack on all targets, and on the outliers where there are enough on both sides."""
    train, unseen = (np.concatenate([getattr(fold, side) for fold in folds], axis=1) for side in ("train", "unseen"))
    far = [np.concatenate([fold.far[side] for fold in folds]) for side in (0, 1)]
    out = []
    for place, name in enumerate((*ATTACKS, ENSEMBLE)):
        one, two = (side[place] if place < len(ATTACKS) else side.mean(axis=0) for side in (train, unseen))
        out.append(Scores(name, one, two))
        if min(far[0].sum(), far[1].sum()) >= 10:
            out.append(Scores(f"{name}, outliers", one[far[0]], two[far[1]]))
    return out


def _verdict(scores: Scores, alpha: float, limits: dict[str, float]) -> Verdict:
    low = scores.auc_ci[0] if scores.p <= alpha else 0.0
    if low > limits["auc"] or _beyond(scores, alpha, limits["tpr"]):
        return "BLOCK"
    warned = low > min(AUC_WARNS, limits["auc"]) or _beyond(scores, alpha, min(TPR_WARNS, limits["tpr"]))
    return "WARN" if warned else "PASS"


def _beyond(scores: Scores, alpha: float, limit: float) -> bool:
    """Whether the TPR at 1 % FPR is surely above its limit."""
    low = scores.tpr_low
    return low is not None and low > limit and scores.tail_p <= alpha


def _finding(tests: list[Scores], alpha: float, limits: dict[str, float], seen: Attacked) -> Finding:
    order = ("BLOCK", "WARN", "PASS")
    verdicts = [_verdict(scores, alpha, limits) for scores in tests]
    ranked = sorted(range(len(tests)), key=lambda i: (order.index(verdicts[i]), -tests[i].auc_ci[0]))
    lead, worst = tests[ranked[0]], verdicts[ranked[0]]
    if worst == "PASS":
        # Where nothing is found, what all attacks together say is the figure, not the luckiest of ten.
        lead = next(scores for scores in tests if scores.name == ENSEMBLE)
    return Finding(
        CHECK,
        worst,
        value=lead.auc,
        limit=limits["auc"],
        reference=0.5,
        p_value=min(1.0, 2 * len(tests) * min(min(scores.p, scores.tail_p) for scores in tests)),
        summary=_summary(lead, seen.rows),
        culprits=tuple(_culprit(tests[i]) for i in ranked if verdicts[i] != "PASS"),
        details={
            "attacks": [{**tests[i].plain(), "verdict": verdicts[i]} for i in ranked],
            "targets": seen.rows,
            "synthetic_rows": seen.made.num_rows,
            "others": "half of the holdout" if seen.others is None else "reference",
            "tpr_limit": limits["tpr"],
            "warn_limit": AUC_WARNS,
        },
    )


def _summary(lead: Scores, rows: int) -> str:
    low, high = lead.auc_ci
    sure = "" if lead.tpr_low is None else f", surely {percent(lead.tpr_low)}"
    return (
        f"the attack by {lead.name} tells training rows from unseen ones with an AUC of {lead.auc:.2f} ({low:.2f} to "
        f"{high:.2f}) and finds {percent(lead.tpr)} of them{sure}, at {percent(FPR)} of false alarms ({rows} targets a side)"
    )


def _culprit(scores: Scores) -> Culprit:
    """expected, observed: training rows beyond the threshold of 1 % false alarms, by chance and found."""
    expected = FPR * len(scores.train)
    observed = scores.tpr * len(scores.train)
    return Culprit(cell=scores.name, expected=expected, observed=observed, ratio=observed / expected if expected else math.nan)
