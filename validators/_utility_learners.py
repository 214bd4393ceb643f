"""Which models are asked? Gradient boosting and logistic regression, small, seeded and on one thread."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import numpy as np

from validators._utility_cells import BINS, Cells, Encoder, Seen
from validators._utility_scores import resampled
from validators.stats import Array

BOOSTING, LOGISTIC = "gradient boosting", "logistic regression"
LEARNERS = (BOOSTING, LOGISTIC)
#: Rounds of boosting times columns times trees a round that a fit may cost.
COLUMN_TREES = 4000
MOST_ROUNDS, LEAST_ROUNDS = 100, 10
#: Small trees on half of the columns: on Adult and mammography (2,500 rows) they rank better than trees of 31 leaves, vary
#: less from draw to draw (AUC .93 +- .014 against .88 +- .020 with balanced weights on mammography), and cost a third.
LEAVES = 8


@dataclass(frozen=True)
class Rows:
    """Rows to train on. y: (n,) int classes, or float values; w: (n,) weights, 1 for a row that stands for itself."""

    cells: Cells
    y: Array
    w: Array

    def balanced(self) -> Rows:
        """The same rows, weighted so that all classes weigh the same."""
        present, place, counts = np.unique(self.y, return_inverse=True, return_counts=True)
        return replace(self, w=(len(self.y) / (len(present) * counts))[place])

    def resampled(self, rng: np.random.Generator) -> Rows:
        """A bootstrap of these rows within their classes, all classes weighing the same; rows not drawn are left out."""
        counts = resampled(self.y, np.ones(len(self.y)), 1, rng)[:, 1]
        kept = counts > 0
        return Rows(self.cells.take(kept), self.y[kept], (counts * self.balanced().w)[kept])


@dataclass(frozen=True)
class Learners:
    """Both models, sized for a table of this many columns and classes.

    leaf: fewest rows of a leaf, the same for all arms of a comparison."""

    encoder: Encoder
    classes: int
    leaf: int

    @classmethod
    def sized(cls, encoder: Encoder, classes: int, rows: int) -> Learners:
        """rows: real rows that the models are trained on."""
        return cls(encoder, classes, int(np.clip(rows // 50, 2, 20)))

    @property
    def width(self) -> int:
        """Columns times the trees of one round."""
        return self.encoder.columns * (self.classes if self.classes > 2 else 1)

    def scores(self, learner: str, rows: Rows, tests: Sequence[Seen], seed: int) -> list[Array]:
        """Train, and give each test row's probability of each class: (n, classes), 0 for a class not trained on.

        Raises ValueError when the rows hold a single class."""
        model, view = self._model(learner, seed)
        with one_thread():
            matrix = view(Seen(self.encoder, rows.cells))
            blank = _blank(matrix)
            model.fit(_filled(matrix, blank), rows.y, sample_weight=rows.w)
            known = [model.predict_proba(_filled(view(test), blank)) for test in tests]
        out = [np.zeros((len(each), self.classes)) for each in known]
        for scores, each in zip(out, known, strict=True):
            scores[:, model.classes_.astype(int)] = each
        return out

    def values(self, rows: Rows, tests: Sequence[Seen], seed: int) -> list[Array]:
        """Boosted predictions of a numeric target: (n,) each."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        model = HistGradientBoostingRegressor(**self._settings(seed))
        with one_thread():
            matrix = self.encoder.trees(rows.cells)
            blank = _blank(matrix)
            model.fit(_filled(matrix, blank), rows.y, sample_weight=rows.w)
            return [np.asarray(model.predict(_filled(test.trees, blank))) for test in tests]

    def _model(self, learner: str, seed: int) -> tuple[Any, Any]:
        if learner == LOGISTIC:
            from sklearn.linear_model import LogisticRegression

            return LogisticRegression(max_iter=200), attrgetter("linear")
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(**self._settings(seed)), attrgetter("trees")

    def _settings(self, seed: int) -> dict[str, Any]:
        rounds = int(np.clip(COLUMN_TREES // self.width, LEAST_ROUNDS, MOST_ROUNDS))
        return {
            "max_iter": rounds,
            "learning_rate": float(np.clip(10 / rounds, 0.1, 0.3)),
            "max_leaf_nodes": LEAVES,
            "max_features": 0.5,
            "l2_regularization": 10.0,
            "max_bins": BINS + 1,
            "min_samples_leaf": self.leaf,
            "categorical_features": self.encoder.categorical,
            "early_stopping": False,
            "random_state": seed,
        }


def _blank(matrix: Array) -> Array:
    """Columns without a single value, which no learner can bin: (d,) bool."""
    return np.asarray(np.isnan(matrix).all(axis=0))


def _filled(matrix: Array, blank: Array) -> Array:
    """The matrix with one value, the same in every set, where training has none."""
    if not blank.any():
        return matrix
    out = matrix.copy()
    out[:, blank] = 0
    return out


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread: always the same answer, and no threads that spin for each other on a busy machine (ten times as slow)."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a linear model that has not quite converged ranks as well
        yield
