"""Does a model trained on synthetic rows do as well on real ones as a model trained on real rows (TSTR)?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from validators._utility_learners import BOOSTING, Learners, Rows
from validators._utility_rows import CannotJudgeError, Pool, Task, Test, share_out
from validators._utility_scores import interval, ranked, recalls
from validators.stats import Array

TRAIN_ROWS = 4000
#: A denominator below this makes a ratio meaningless.
LEAST_FIGURE = 1e-6


@dataclass(frozen=True)
class Ratio:
    """A figure of the model trained on synthetic rows, of the one trained on real rows, and their ratio with its 95 %
    interval. reference: the same ratio for other real rows in place of the synthetic ones, None where there are none."""

    synthetic: float
    real: float
    ratio: float | None
    low: float | None
    high: float | None
    reference: float | None = None

    def plain(self) -> dict[str, float | None]:
        """JSON values."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Transfer:
    """The ratios of one learner by metric, and the share of each tested class that both models recognise: (t,) each."""

    ratios: Mapping[str, Ratio]
    recalled: Array
    real_recalled: Array

    def plain(self) -> dict[str, Any]:
        """JSON values."""
        return {name: ratio.plain() for name, ratio in self.ratios.items()}


def transfer(task: Task, *, learner: str = BOOSTING) -> Transfer:
    """Train on synthetic, test on the holdout, beside train on real: equal numbers of rows, all classes weighing the same.

    Balanced weights, since the mix may be changed on purpose and at one in a thousand an unweighted model calls every row
    common; whether the mix is right is the question of `modes`. Raises CannotJudgeError when the synthetic rows hold one
    class alone. Source: Esteban et al. 2017, section 4.1 (TSTR)."""
    if task.synthetic.present < 2:
        raise CannotJudgeError("the synthetic rows hold one class alone, so no model can be trained on them by themselves")
    rng = np.random.default_rng([task.intent.seed, 47])
    real_counts = _real_counts(task)
    offered = task.synthetic.mass * min(1.0, task.train.total / task.synthetic.total)
    learners = Learners.sized(task.encoder, len(task.names), int(real_counts.sum()))
    made = _figures(task, learners, learner, task.synthetic, np.minimum(np.round(offered), real_counts), rng)
    real = _figures(task, learners, learner, task.train, real_counts, rng)
    again = _again(task, learners, learner, real_counts, real, rng)
    ratios = {name: ratio_of(made[name], real[name], again.get(name)) for name in METRICS}
    return Transfer(ratios, made["recalls"][:, 0], real["recalls"][:, 0])


METRICS = ("roc_auc", "average_precision", "balanced_accuracy")


def ratio_of(made: Array, real: Array, reference: float | None = None) -> Ratio:
    """Ratio of two figures over the same resamples: (1 + draws,) each; none where the real one is nought."""
    if real[0] < LEAST_FIGURE:
        return Ratio(float(made[0]), float(real[0]), None, None, None, reference)
    ratio, low, high = interval(made / np.maximum(real, LEAST_FIGURE))
    return Ratio(float(made[0]), float(real[0]), ratio, low, high, reference)


def _real_counts(task: Task) -> Array:
    """Train rows of each class to learn from: as many as there are synthetic rows, and TRAIN_ROWS at most."""
    return share_out(task.train.mass * min(1.0, task.synthetic.total / task.train.total), TRAIN_ROWS)


def _again(
    task: Task, learners: Learners, learner: str, counts: Array, real: Mapping[str, Array], rng: np.random.Generator
) -> dict[str, float]:
    """The ratios of a model trained on reference rows to one trained on as many train rows; empty without a reference."""
    if task.reference is None:
        return {}
    fewer = np.minimum(counts, task.reference.mass)
    other = _figures(task, learners, learner, task.reference, fewer, rng)
    base = real if (fewer == counts).all() else _figures(task, learners, learner, task.train, fewer, rng)
    return {name: float(other[name][0] / max(base[name][0], LEAST_FIGURE)) for name in METRICS}


def _figures(
    task: Task, learners: Learners, learner: str, pool: Pool, counts: Array, rng: np.random.Generator
) -> dict[str, Array]:
    """All metrics on the holdout of a model trained on so many rows of each class: (1 + draws,) each; `recalls` (t, ...)."""
    rows: Rows = pool.draw(task.encoder, counts, counts, rng).balanced()
    if len(np.unique(rows.y)) < 2:
        raise CannotJudgeError("so few synthetic rows hold one class alone, and no model can be trained on them")
    scores = learners.scores(learner, rows, [task.test.cells], task.intent.seed)[0]
    return figures(scores, task.test, task.focus, task.tested)


def figures(
    scores: Array, test: Test, focus: Array, tested: Array, *, precision: float = 0.5, draws: bool = True
) -> dict[str, Array]:
    """Metrics of (n, k) scores: ranking figures averaged over the classes in `focus`, balanced accuracy over `tested`.

    draws: over all resamples, or for the estimate alone. `recalls`: (t, 1 + draws)."""
    weights = test.weights if draws else test.weights[:, :1]
    each = [ranked(scores[:, y], test.y == y, weights, precision) for y in focus]
    out = {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}
    recalled = recalls(scores.argmax(axis=1), test.y, weights, tested)
    return out | {"balanced_accuracy": recalled.mean(axis=0), "recalls": recalled}
