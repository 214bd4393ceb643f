"""Do synthetic rows beside the real ones help, more than what is cheaper? Real rows plus synthetic at growing ratios."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from validators._utility_cells import Seen, joined
from validators._utility_folds import folds_of
from validators._utility_learners import LEARNERS, LOGISTIC, Learners, Rows
from validators._utility_rows import LEAST_TESTED, CannotJudgeError, Task, Test, share_out, test_of
from validators._utility_scores import interval, over_seeds
from validators._utility_tstr import figures
from validators._utility_ways import NOTHING, WEIGHTS, treated, ways
from validators.stats import Array

#: Synthetic rows to a real one.
RATIOS = (0.5, 1.0, 2.0, 5.0, 10.0)
#: Train rows that are learned from; of more, the common classes are cut and weigh what they did.
TRAIN_ROWS = 10_000
FOLDS = 3
SYNTHETIC = "synthetic rows"
METRICS = ("average_precision", "recall_at_precision", "balanced_accuracy")
#: The metric by which ratio, way and learner are chosen, and by which gain is claimed.
LEAD = METRICS[0]


@dataclass(frozen=True)
class Arm:
    """One way to train: what is done to the real rows, the synthetic rows to a real one, and the model."""

    method: str
    ratio: float
    learner: str

    def __str__(self) -> str:
        what = f"{self.ratio:.2g} synthetic to each real row" if self.method == SYNTHETIC else self.method
        return f"{what if self.method != NOTHING else 'the real rows alone'} ({self.learner})"


@dataclass(frozen=True)
class Gain:
    """How much one arm is better than another on the holdout, with its 95 % interval."""

    better: Arm
    than: Arm
    metric: str
    value: float
    low: float
    high: float

    def plain(self) -> dict[str, Any]:
        """JSON values."""
        arms = {"of": dict(self.better.__dict__), "over": dict(self.than.__dict__)}
        return arms | {name: getattr(self, name) for name in ("metric", "value", "low", "high")}


@dataclass(frozen=True)
class Sweep:
    """All arms on the holdout: metric -> (seeds, 1 + draws).

    rows: train rows learned from; chosen: each arm's figure on other rows, by which arms are chosen; chosen_on says on
    which; picks: (1, draws) the seed of each bootstrap draw, the same for all arms."""

    rows: int
    values: dict[Arm, dict[str, Array]]
    chosen: dict[Arm, float]
    chosen_on: str
    picks: Array

    def best(self, *, synthetic: bool, method: str | None = None, learner: str | None = None) -> Arm:
        """The arm that did best on the rows set aside for choosing; of equal ones the cheaper."""
        wanted = [
            arm
            for arm in self.chosen
            if (arm.method == SYNTHETIC) == synthetic and method in (None, arm.method) and learner in (None, arm.learner)
        ]
        return max(wanted, key=lambda arm: self.chosen[arm])

    def figure(self, arm: Arm, metric: str) -> tuple[float, float, float]:
        """Estimate and 95 % interval over holdout rows and seeds."""
        return interval(over_seeds(self.values[arm][metric], self.picks))

    def gain(self, better: Arm, than: Arm, metric: str = LEAD) -> Gain:
        """The paired difference over the same holdout rows and seeds."""
        a, b = (over_seeds(self.values[arm][metric], self.picks) for arm in (better, than))
        return Gain(better, than, metric, *interval(a - b))

    @property
    def lead(self) -> Gain:
        """Best ratio against best cheaper way."""
        return self.gain(self.best(synthetic=True), self.best(synthetic=False))

    def gains(self) -> list[Gain]:
        """The best ratio against the best of each cheaper way, in every metric; then learner by learner."""
        made = self.best(synthetic=True)
        methods = list(dict.fromkeys(arm.method for arm in self.values if arm.method != SYNTHETIC))
        pairs = [(made, self.best(synthetic=False, method=method)) for method in methods]
        pairs += [(self.best(synthetic=True, learner=m), self.best(synthetic=False, learner=m)) for m in LEARNERS]
        return [self.gain(a, b, metric) for a, b in dict.fromkeys(pairs) for metric in METRICS]

    def plain(self) -> list[dict[str, Any]]:
        """One JSON object for each arm and metric."""
        return [
            arm.__dict__ | {"metric": metric} | dict(zip(("value", "low", "high"), self.figure(arm, metric), strict=True))
            for arm in self.values
            for metric in METRICS
        ]


def sweep(task: Task, *, precision: float, seeds: int) -> Sweep:
    """Every arm with every learner and seed; ratio, way and learner are chosen on rows that are not the holdout's.

    A seed draws the synthetic rows, the repeated rows, SMOTE's steps and the columns of each tree anew, and the train rows
    where there are more than TRAIN_ROWS. Copies of train rows, which cannot help, are said to in 2 of 100 reshuffles of
    mammography (3,000 rows). Raises CannotJudgeError when there are no synthetic rows.

    What a claim of benefit is measured against is this project's own rule; that a choice must not be made on the rows that
    the claim is made on: Cawley and Talbot 2010."""
    if task.synthetic.total == 0:
        raise CannotJudgeError("there are no synthetic rows of the classes under judgement")
    check = _reference(task)
    values: dict[Arm, list[dict[str, Array]]] = {}
    scored: dict[Arm, list[float]] = {}
    for seed in range(seeds):
        rows = _real(task, seed)
        known = {arm: done[0] for arm, done in values.items() if _repeats(arm, task)}
        tests = [task.test] if check is None else [task.test, check]
        for arm, (held, *rest) in _trained(task, rows, tests, seed, skip=set(known)):
            values.setdefault(arm, []).append(_kept(figures(held, task.test, _rare(task), task.tested, precision=precision)))
            if check is not None:
                scored.setdefault(arm, []).append(_score(rest[0], check, task))
        for arm, done in known.items():
            values[arm].append(done)
    if check is None:
        scored = _cross_validated(task)
    rng = np.random.default_rng([task.intent.seed, 61])
    return Sweep(
        rows=int(share_out(task.train.mass, TRAIN_ROWS).sum()),
        values={arm: {m: np.stack([one[m] for one in done]) for m in METRICS} for arm, done in values.items()},
        chosen={arm: float(np.mean(scored[arm])) for arm in values},
        chosen_on="reference" if check is not None else f"{FOLDS} folds of train",
        # One seed a draw, not the mean of all: what is claimed must hold for a model that is trained once.
        picks=rng.integers(0, seeds, size=(1, task.test.weights.shape[1] - 1)),
    )


def ratios(task: Task) -> list[float]:
    """The ratios that the synthetic rows allow; where not even the least, the one that takes them all."""
    most = task.synthetic.total / task.train.total
    return [r for r in RATIOS if r <= most] or [most]


def _trained(task: Task, rows: Rows, tests: list[Test], seed: int, skip: set[Arm]) -> Iterator[tuple[Arm, list[Array]]]:
    """Each arm and its scores of each test, (n, k) each."""
    learners = Learners.sized(task.encoder, len(task.names), len(rows.y))
    state = int(np.random.default_rng([task.intent.seed, 67, seed]).integers(2**31))
    for method, ratio in [(way, 0.0) for way in ways(task.encoder)] + [(SYNTHETIC, r) for r in ratios(task)]:
        arms = [arm for learner in LEARNERS if (arm := Arm(method, ratio, learner)) not in skip]
        if not arms:
            continue
        ready = _joined(task, rows, ratio, seed) if ratio else treated(method, rows, task.encoder, state)
        for arm in arms:
            yield arm, learners.scores(arm.learner, ready, [test.seen for test in tests], state)


def _real(task: Task, seed: int) -> Rows:
    rng = np.random.default_rng([task.intent.seed, 71, seed])
    return task.train.draw(task.encoder, share_out(task.train.mass, TRAIN_ROWS), task.train.mass, rng)


def _joined(task: Task, rows: Rows, ratio: float, seed: int) -> Rows:
    """Real rows and, for each, `ratio` synthetic ones in the mix that they come in."""
    rng = np.random.default_rng([task.intent.seed, 73, seed])
    mass = ratio * rows.w.sum() * task.synthetic.mass / task.synthetic.total
    made = task.synthetic.draw(task.encoder, share_out(mass, int(np.ceil(ratio * len(rows.y)))), mass, rng)
    return Rows(joined([rows.cells, made.cells]), np.concatenate([rows.y, made.y]), np.concatenate([rows.w, made.w]))


def _repeats(arm: Arm, task: Task) -> bool:
    """Whether another seed would give the same model; boosting draws columns by its seed."""
    return arm.method in (NOTHING, WEIGHTS) and arm.learner == LOGISTIC and task.train.total <= TRAIN_ROWS


def _rare(task: Task) -> Array:
    return np.array([task.minority])


def _kept(found: dict[str, Array]) -> dict[str, Array]:
    return {metric: found[metric] for metric in METRICS}


def _score(scores: Array, test: Test, task: Task) -> float:
    return float(figures(scores, test, _rare(task), task.tested, draws=False)[LEAD][0])


def _reference(task: Task) -> Test | None:
    """The reference rows as a test to choose on: the generator has not seen them. None where they are too few."""
    if task.reference is None or task.reference.mass[task.minority] < LEAST_TESTED:
        return None
    rng = np.random.default_rng([task.intent.seed, 79])
    return test_of(task.reference, task.encoder, rng, classes=len(task.tested), draws=0)


def _cross_validated(task: Task) -> dict[Arm, list[float]]:
    """Each arm's figure on folds of train. The generator has seen those rows, so the choice may lean to copies; what is
    then claimed on the holdout does not."""
    rng = np.random.default_rng([task.intent.seed, 83])
    places = task.train.places(share_out(task.train.mass, TRAIN_ROWS), rng)
    rows = task.train.at(task.encoder, places, task.train.mass)
    fold = folds_of(rows.y, None if task.groups is None else task.groups[places], FOLDS, task.intent.seed)
    scored: dict[Arm, list[float]] = {}
    for f in range(FOLDS):
        held = Test(Seen(task.encoder, rows.cells.take(fold == f)), rows.y[fold == f], rows.w[fold == f, None])
        fit = Rows(rows.cells.take(fold != f), rows.y[fold != f], rows.w[fold != f])
        if not (held.y == task.minority).any() or len(np.unique(fit.y)) < 2:
            continue
        for arm, (scores,) in _trained(task, fit, [held], f, skip=set()):
            scored.setdefault(arm, []).append(_score(scores, held, task))
    if not scored:
        raise CannotJudgeError(f"class {task.names[task.minority]!r} has too few train rows to choose a ratio by")
    return scored
