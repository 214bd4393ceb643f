"""What are more rows of a scarce class worth to the model they are for? Asked inside train, by cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from validators._utility_cells import BINS, Encoder, Seen
from validators._utility_folds import folds_of
from validators._utility_learners import BOOSTING, LEARNERS, LOGISTIC, one_thread
from validators._utility_rows import CannotJudgeError, encoder_of, features, groups_of
from validators._utility_scores import ranked, recalls
from validators._utility_sweep import METRICS
from validators._utility_ways import NOTHING, WEIGHTS
from validators.stats import Array

__all__ = ["BOOSTING", "LEARNERS", "LOGISTIC", "METRICS", "NOTHING", "WEIGHTS", "CannotJudgeError"]

#: Up to which share of the largest class the others are filled; and those shares at which the largest is drawn, too.
LEVELS, BOTH = (0.3, 1.0), (0.3, 1.0)
#: Rows of a class that a fold must hold to be asked of it.
LEAST = 2
#: Draws rows of a class: (fitted on these rows, how many of each class at most, seed) -> rows of each class.
Maker = Callable[[Dataset, Mapping[Any, int], int], Mapping[Any, Dataset]]


@dataclass(frozen=True)
class Arm:
    """One way to train. method: NOTHING, WEIGHTS or a family; level: share of the largest class that others are filled to;
    both: whether as many rows of the largest are drawn beside its real ones, so that a model cannot take how rows were made for
    what they are."""

    method: str
    level: float = 0.0
    both: bool = False

    def __str__(self) -> str:
        if not self.level:
            return self.method
        beside = ", and as many of that class" if self.both else ""
        return f"{self.method} to {100 * self.level:.3g} % of the largest class{beside}"


def wanted(counts: Mapping[Any, int], level: float, *, both: bool = False) -> dict[Any, int]:
    """Rows to draw of each class so that none has less than this share of the largest: {class: rows}, 0 left out; both: and as
    many of the largest as that share is."""
    top = max(counts.values())
    rows = {k: n for k, held in counts.items() if (n := round(level * top) - held) > 0}
    largest = max(counts, key=lambda k: counts[k])
    return rows | ({largest: round(level * top)} if both else {})


def weighed(seen: float, error: float | None, known: float, spread: float) -> float:
    """A gain, as what was seen of it, with its standard error (None: nothing was), and what is known from elsewhere say.

    Source: the normal mean under a normal prior (Efron and Morris 1975)."""
    trust = 0.0 if error is None or not np.isfinite(error) else spread**2 / (spread**2 + error**2)
    return known + trust * (seen - known)


def doubt(error: float | None, spread: float) -> float:
    """By how much `weighed` would come out otherwise with other folds, as a standard deviation: what the best of several gains
    owes to luck. What is known from elsewhere owes nothing to these folds."""
    if error is None or not np.isfinite(error):
        return 0.0
    return float(spread**2 * error / (spread**2 + error**2)) if error else 0.0


def trained(train: Dataset, test: Dataset, learner: str, *, weights: bool = False, seed: int = 0) -> Array:
    """A model trained on `train`, asked of `test`: (rows, classes) probabilities, classes as in the schema.

    Both models are scikit-learn's with their defaults (no early stopping, so that no rows are kept from it): what most people
    train. Raises CannotJudgeError where nothing varies but the class."""
    labels = train.labels()
    known = labels >= 0
    rows = train.take(np.flatnonzero(known)) if not known.all() else train
    y = labels[known]
    encoder = encoder_of(rows, features(rows.schema), y)
    model = _model(encoder, learner, weights, seed)
    view = attrgetter("trees" if learner == BOOSTING else "linear")
    with one_thread():
        model.fit(view(Seen(encoder, encoder.read(rows))), y)
        given = model.predict_proba(view(Seen(encoder, encoder.read(test))))
    # A class that no row was of is as likely as nothing.
    out = np.zeros((len(given), len(train.schema.classes())))
    out[:, model.classes_.astype(int)] = given
    return out


def _model(encoder: Encoder, learner: str, weights: bool, seed: int) -> Any:
    balanced = "balanced" if weights else None
    if learner == LOGISTIC:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(max_iter=300, class_weight=balanced)
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        categorical_features=encoder.categorical,
        max_bins=BINS + 1,
        class_weight=balanced,
        early_stopping=False,
        random_state=seed,
    )


def figures(given: Array, y: Array, cls: int, weights: Array | None = None, precision: float = 0.5) -> dict[str, Array]:
    """What `METRICS` say of one class: (1 + draws,) each. weights: (n, 1 + draws), ones if None."""
    w = np.ones((len(y), 1)) if weights is None else weights
    found = ranked(given[:, cls], y == cls, w, precision)
    others = recalls(given.argmax(axis=1) == cls, y == cls, w, np.array([True, False]))
    return {**{name: found[name] for name in METRICS[:2]}, METRICS[2]: others.mean(axis=0)}


@dataclass(frozen=True)
class Worth:
    """Average precision of each scarce class on rows that were held back, for each way to train.

    scores: arm -> (folds, classes), NaN where a fold could not ask; classes: their levels, scarcest first; rows: of each
    class in train; failed: family -> why it gave no rows (it loses, the others go on)."""

    classes: tuple[Any, ...]
    rows: Mapping[Any, int]
    scores: Mapping[Arm, Array]
    failed: Mapping[str, str] = field(default_factory=dict)

    def gain(self, arm: Arm, classes: Sequence[Any] | None = None) -> tuple[float, float]:
        """Mean gain over NOTHING in the mean over classes, and its standard error over folds."""
        picked = [self.classes.index(c) for c in (self.classes if classes is None else classes)]
        each = np.nanmean((self.scores[arm] - self.scores[Arm(NOTHING)])[:, picked], axis=1)
        each = each[~np.isnan(each)]
        if not len(each):
            return 0.0, np.inf
        # Folds share most of their training rows, so their spread alone would be too sure (Nadeau and Bengio 2003).
        count = len(each)
        spread = each.std(ddof=1) if count > 1 else np.inf
        return float(each.mean()), float(spread * np.sqrt(1 / count + 1 / 3))

    def expected(
        self, prior: Mapping[str, float], spread: float, classes: Sequence[Any] | None = None, *, part: float = 1.0
    ) -> dict[Arm, float]:
        """Gain of each arm as the folds and what is known of its family from other data say together.

        prior: family -> mean gain elsewhere with classes filled up (0 where nothing is known), of which less than filled up
        brings a `part`; spread: how much such a gain differs from data to data,
        as a standard deviation."""
        out = {}
        for arm in self.scores:
            seen, error = self.gain(arm, classes)
            known = prior.get(arm.method, 0.0) * (1.0 if arm.level >= 1 else part)
            out[arm] = 0.0 if arm.method == NOTHING else weighed(seen, error, known, spread)
        return out

    def plain(self) -> list[dict[str, Any]]:
        """JSON values, best first."""
        listed = [(arm, *self.gain(arm)) for arm in self.scores]
        return [
            {
                "method": arm.method,
                "level": arm.level,
                "both": arm.both,
                "gain": gain,
                "error": error if np.isfinite(error) else None,
            }
            for arm, gain, error in sorted(listed, key=lambda item: -item[1])
        ]


def worth(
    train: Dataset,
    makers: Mapping[str, Maker],
    *,
    scarce: Sequence[Any],
    levels: Sequence[float] = LEVELS,
    both: Sequence[float] = BOTH,
    learner: str = BOOSTING,
    folds: int = 4,
    seed: int = 0,
    told: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Worth:
    """Every way to train on each fold's other rows, asked of the fold: families are fitted anew without it.

    scarce: the classes that are asked of. Raises CannotJudgeError when no fold could ask of any of them."""
    classes = train.schema.classes()
    labels = train.labels()
    groups = groups_of(train)
    known = np.flatnonzero(labels >= 0)
    fold = folds_of(labels[known], None if groups is None else groups[known], folds, seed)
    asked = [classes.index(level) for level in scarce]
    parts: dict[Arm, list[Array]] = {}
    failed: dict[str, str] = {}
    total, done = folds * (2 + len(makers) * (len(levels) + len(both))), 0
    for f in range(folds):
        held, rest = train.take(known[fold == f]), train.take(known[fold != f])
        if len(np.unique(rest.labels())) < 2:
            continue
        counts = dict(zip(classes, np.bincount(rest.labels(), minlength=len(classes)).tolist(), strict=True))
        arms = [(level, False) for level in levels] + [(level, True) for level in both]
        ways = _ways(rest, makers, counts, scarce, arms, seed * folds + f, failed)
        for arm, rows, weights in ways:
            given = trained(rows, held, learner, weights=weights, seed=f)
            parts.setdefault(arm, []).append(_each(given, held.labels(), asked))
            done += 1
            told(min(done, total), total, "trial")
    scores = {arm: np.stack(each) for arm, each in parts.items() if len(each) == len(parts[Arm(NOTHING)])} if parts else {}
    if not scores or np.isnan(scores[Arm(NOTHING)]).all():
        raise CannotJudgeError(f"the scarce classes have too few rows for {folds} folds to ask of them; give more rows")
    return Worth(tuple(scarce), {c: int((labels == k).sum()) for k, c in enumerate(classes)}, scores, failed)


def _ways(
    rest: Dataset,
    makers: Mapping[str, Maker],
    counts: Mapping[Any, int],
    scarce: Sequence[Any],
    arms: Sequence[tuple[float, bool]],
    seed: int,
    failed: dict[str, str],
) -> Iterator[tuple[Arm, Dataset, bool]]:
    """Each arm, its rows, and whether classes weigh the same."""
    yield Arm(NOTHING), rest, False
    yield Arm(WEIGHTS), rest, True
    for name, make in makers.items():
        if name in failed:
            continue
        largest = max(counts, key=lambda k: counts[k])
        each = [wanted(counts, level, both=both) for level, both in arms]
        most = {k: max(n.get(k, 0) for n in each) for k in (*scarce, largest) if any(k in n for n in each)}
        try:
            made = make(rest, most, seed)
        except (Exception, MemoryError) as error:  # whatever a family raises: it loses, the others go on
            failed[name] = " ".join(str(error).split()) or type(error).__name__
            continue
        for level, both in arms:
            rows = wanted(counts, level, both=both)
            parts = [made[k].table.slice(0, n) for k, n in rows.items() if k in made]
            if any(k in made for k in rows if k in scarce):
                yield Arm(name, level, both), Dataset(pa.concat_tables([rest.table, *parts]), rest.schema), False


def _each(given: Array, y: Array, asked: Sequence[int]) -> Array:
    """Average precision of each class that is asked of, NaN where the fold has too few rows of it: (classes,)."""
    out = np.full(len(asked), np.nan)
    for i, cls in enumerate(asked):
        if (y == cls).sum() >= LEAST and (y != cls).any():
            out[i] = figures(given, y, cls)[METRICS[0]][0]
    return out
