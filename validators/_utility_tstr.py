"""Does a model trained on synthetic rows do as well on real ones as a model trained on real rows (TSTR)?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from validators._utility_cells import Encoder
from validators._utility_learners import BOOSTING, Learners
from validators._utility_rows import CannotJudgeError, Pool, Task, Test, share_out
from validators._utility_scores import interval, over_seeds, ranked, recalls
from validators.stats import Array

#: Rows to learn from, and cells of them.
TRAIN_ROWS, TRAIN_CELLS, LEAST_TRAIN_ROWS = 4000, 200_000, 1000
#: Models of each set of rows, as one draw of a few rare rows says little; one where columns times trees a round are many.
DRAWS, WIDE = 5, 100
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
    counts = _real_counts(task)
    offered = task.synthetic.mass * min(1.0, task.train.total / task.synthetic.total)
    trial = Trial(task, learner, Learners.sized(task.encoder, len(task.names), int(counts.sum())))
    made = trial.run(task.synthetic, np.minimum(np.round(offered), counts))
    real = trial.run(task.train, counts)
    again = _again(trial, counts, real)
    rng = np.random.default_rng([task.intent.seed, 47])
    ratios = {m: ratio_of(made[m], real[m], rng, again.get(m)) for m in METRICS}
    return Transfer(ratios, made["recalls"][:, :, 0].mean(axis=0), real["recalls"][:, :, 0].mean(axis=0))


METRICS = ("roc_auc", "average_precision", "balanced_accuracy")


def ratio_of(made: Array, real: Array, rng: np.random.Generator, reference: float | None = None) -> Ratio:
    """Ratio of two figures of (models, 1 + draws): of their means, with an interval over the same resamples of the holdout
    and, for each side by itself, one model drawn at random. None where the real figure is nought.

    On 60 reshuffles of mammography (3,000 rows) and of Adult (1,500), fresh real rows in place of synthetic ones, the
    interval lies below 1 in 0 to 3 % of cases, as it should; over the holdout alone it did in a fifth."""
    models, draws = real.shape[0], real.shape[1] - 1
    # One model a draw, not the mean of all: a plan's limit meets the luck of a single set of train rows.
    a, b = (over_seeds(side, rng.integers(0, models, size=(1, draws))) for side in (made, real))
    if b[0] < LEAST_FIGURE:
        return Ratio(float(a[0]), float(b[0]), None, None, None, reference)
    return Ratio(float(a[0]), float(b[0]), *interval(a / np.maximum(b, LEAST_FIGURE)), reference)


def _real_counts(task: Task) -> Array:
    """Train rows of each class to learn from: as many as there are synthetic rows, and TRAIN_ROWS at most."""
    return share_out(task.train.mass * min(1.0, task.synthetic.total / task.train.total), most_rows(task.encoder))


def most_rows(encoder: Encoder) -> int:
    """Rows to learn from in a table of so many columns."""
    return int(np.clip(TRAIN_CELLS // encoder.columns, LEAST_TRAIN_ROWS, TRAIN_ROWS))


def _again(trial: Trial, counts: Array, real: Mapping[str, Array]) -> dict[str, float]:
    """The ratios of a model trained on reference rows to one trained on as many train rows; empty without a reference."""
    reference = trial.task.reference
    if reference is None:
        return {}
    fewer = np.minimum(counts, reference.mass)
    other = trial.run(reference, fewer, draws=False)
    base = real if (fewer == counts).all() else trial.run(trial.task.train, fewer, draws=False)
    return {m: float(other[m][:, 0].mean() / max(base[m][:, 0].mean(), LEAST_FIGURE)) for m in METRICS}


@dataclass(frozen=True)
class Trial:
    """How a set of rows is tried: a few models, each on a bootstrap of a draw of its own, all tested on the holdout."""

    task: Task
    learner: str
    learners: Learners

    def run(self, pool: Pool, counts: Array, *, draws: bool = True) -> dict[str, Array]:
        """Metrics of models trained on so many rows of each class: (models, 1 + resamples) each; `recalls` (models, t, ...).

        draws: over all resamples of the holdout, or for the estimate alone."""
        models = DRAWS if self.learners.width <= WIDE else 1
        found = [self._one(pool, counts, draw, draws) for draw in range(models)]
        return {metric: np.stack([one[metric] for one in found]) for metric in found[0]}

    def _one(self, pool: Pool, counts: Array, draw: int, draws: bool) -> dict[str, Array]:
        task = self.task
        # Each draw starts from a seed of its own, whatever the rows: what is equal is then drawn equally.
        rng = np.random.default_rng([task.intent.seed, 47, draw])
        rows = pool.draw(task.encoder, counts, counts, rng).resampled(rng)
        if len(np.unique(rows.y)) < 2:
            raise CannotJudgeError("so few rows hold one class alone, and no model can be trained on them")
        state = int(rng.integers(2**31))
        scores = self.learners.scores(self.learner, rows, [task.test.seen], state)[0]
        return figures(scores, task.test, task.focus, task.tested, draws=draws)


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
