"""Of which class is a row? Log odds by two classifiers that err in different ways, made for classes of few rows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from scipy.special import ndtri

from data.dataset import Dataset
from data.encode import Geometry

Array = np.ndarray
#: Rows that are learned from at most; of the scarce classes all.
MOST_ROWS = 20_000
#: A forest that never saw a class in a leaf does not know that there is none.
DOUBT = 0.02
#: Ranks are taken for normal scores between these, some three standard deviations.
EDGE = 0.0015


@dataclass(frozen=True)
class Odds:
    """ln p(x | class) - ln p(x) up to a constant, for each class: the mean of a linear model's and a forest's.

    A logistic regression with a strong penalty on normal scores and levels, all classes weighing the same: a few dozen rows of
    a class tell it which way the class lies. A random forest on the same features: it tells corners and hollows, and says the
    prior where it knows nothing. Which of the two is better depends on the table; where a class is scarce their mean is hardly
    worse than the better one, and often better than both.

    Sources: density ratios by classifiers: Sugiyama, Suzuki and Kanamori 2012, section 4; Breiman 2001 (random forests).

    geometry: rows to features. coefficients (classes, d), intercepts (classes,): the linear model. nodes: the forest's trees
    one after another, `roots` where each begins; a leaf's children are itself; leaves: (nodes, classes) shares.
    prior: (classes,) shares that the forest learned from."""

    geometry: Geometry
    scores: Array  # (d,) bool: which features are ranks
    coefficients: Array
    intercepts: Array
    features: Array
    thresholds: Array
    children: Array  # (nodes, 2)
    leaves: Array
    roots: Array
    prior: Array

    @classmethod
    def fit(
        cls, train: Dataset, labels: Array, classes: int, *, trees: int, leaf: int, penalty: float, rng: np.random.Generator
    ) -> Self:
        """labels: (n,) int, each of 0..classes-1 present."""
        geometry = Geometry.fit(train)
        kept = _some(labels, rng)
        ranked = np.zeros(geometry.width, dtype=bool)
        ranked[[part.start for part in geometry.parts if part.ranks is not None]] = True
        x, y = _normal(geometry.transform(train.take(kept)), ranked), labels[kept]
        weights, constants = _linear(x, y, penalty)
        features, thresholds, children, leaves, roots = _forest(x, y, trees, leaf, int(rng.integers(2**31)))
        prior = np.bincount(y, minlength=classes) / len(y)
        return cls(geometry, ranked, weights, constants, features, thresholds, children, leaves, roots, prior)

    def __call__(self, rows: pa.RecordBatch | pa.Table) -> Array:
        """(n, classes) float64, nats."""
        x = _normal(self.geometry.transform(rows), self.scores)
        linear = x.astype(np.float64) @ self.coefficients.T + self.intercepts
        shares = (1 - DOUBT) * self._shares(x) + DOUBT * self.prior
        return np.asarray((linear - linear.mean(axis=1, keepdims=True) + np.log(shares / self.prior)) / 2)

    def _shares(self, x: Array) -> Array:
        """The forest's mean share of each class: (n, classes)."""
        rows, out = np.arange(len(x)), np.zeros((len(x), self.leaves.shape[1]))
        flat, width = np.ascontiguousarray(x).ravel(), x.shape[1]
        for root in self.roots:
            at = np.full(len(x), root)
            moving = rows
            while len(moving):
                here = at[moving]
                right = flat[moving * width + self.features[here]] > self.thresholds[here]
                there = self.children[here, right.astype(np.int64)]
                at[moving] = there
                moving = moving[there != here]
            out += self.leaves[at]
        return out / len(self.roots)

    def to_state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """JSON values, and arrays."""
        return self.geometry.to_state(), {name: getattr(self, name) for name in ARRAYS}

    @classmethod
    def from_state(cls, geometry: dict[str, Any], arrays: Mapping[str, Array]) -> Self:
        return cls(Geometry.from_state(geometry), *(arrays[name] for name in ARRAYS))


ARRAYS = ("scores", "coefficients", "intercepts", "features", "thresholds", "children", "leaves", "roots", "prior")


def _normal(x: Array, ranked: Array) -> Array:
    """Ranks as normal scores, levels as they are: (n, d) float32."""
    x[:, ranked] = ndtri(x[:, ranked].clip(EDGE, 1 - EDGE))
    return x


def _some(labels: Array, rng: np.random.Generator) -> Array:
    """Positions of at most MOST_ROWS rows, of large classes a random choice, in order."""
    if len(labels) <= MOST_ROWS:
        return np.arange(len(labels))
    counts = np.bincount(labels)
    top = counts.max()
    while np.minimum(counts, top).sum() > MOST_ROWS and top > 1:
        top = int(top * 0.95)
    each = (np.flatnonzero(labels == k) for k in np.flatnonzero(counts))
    return np.sort(np.concatenate([own if len(own) <= top else rng.choice(own, top, replace=False) for own in each]))


def _linear(x: Array, y: Array, penalty: float) -> tuple[Array, Array]:
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a model that has not quite converged is as good
        model = LogisticRegression(C=1 / penalty, class_weight="balanced", max_iter=300).fit(x.astype(np.float64), y)
    weights, constants = model.coef_, model.intercept_
    if len(weights) == 1:  # two classes share one line
        weights, constants = np.vstack([-weights, weights]) / 2, np.concatenate([-constants, constants]) / 2
    return weights, constants


def _forest(x: Array, y: Array, trees: int, leaf: int, seed: int) -> tuple[Array, ...]:
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(trees, min_samples_leaf=leaf, random_state=seed, n_jobs=1).fit(x, y)
    each = [tree.tree_ for tree in model.estimators_]
    roots = np.cumsum([0, *(tree.node_count for tree in each)])[:-1]
    features, thresholds, children, leaves = [], [], [], []
    for root, tree in zip(roots, each, strict=True):
        own = np.column_stack([tree.children_left, tree.children_right])
        ends = own[:, 0] < 0
        own[ends] = np.flatnonzero(ends)[:, None]
        features.append(np.where(ends, 0, tree.feature))
        thresholds.append(tree.threshold)
        children.append(own + root)
        value = tree.value[:, 0, :]
        leaves.append(value / value.sum(axis=1, keepdims=True))
    return (*(np.concatenate(part) for part in (features, thresholds, children, leaves)), roots)
