"""Which regions does the encoded data fall into, coarse and fine, and what sets each of them apart?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from data.encode import Geometry
from data.schema import Schema
from validators.stats import Array

FIT_ROWS = 20_000
ASSIGN_ROWS = 16_384


@dataclass(frozen=True)
class Clusters:
    """k-means cells, and all larger cells that come of joining the nearest ones step by step.

    centres: (k, d) float32, in the space of `Scaled.both`; groups: (c, k) bool, which centres make up each cell, the k
    single ones first; descriptions: how each cell is told; scope: the class they part, None for all rows."""

    centres: Array
    groups: Array
    descriptions: tuple[str, ...]
    scope: int | None = None
    within: str = ""

    @property
    def size(self) -> int:
        return len(self.centres)

    @property
    def key(self) -> str:
        return f"clusters:{'' if self.scope is None else self.scope}"

    def label(self, i: int) -> str:
        inside = f" within class {self.within}" if self.within else ""
        joined = int(self.groups[i].sum())
        size = f"cluster {i + 1} of {self.size}" if joined == 1 else f"group of {joined} of {self.size} clusters"
        return f"{size}{inside} ({self.descriptions[i]})"

    def assign(self, points: Array, labels: Array | None = None) -> Array:
        """Nearest centre of each point: (n, d) -> (n,) int16. labels: (n,) classes; rows of others than `scope` get -1."""
        if self.scope is not None and labels is not None:
            out = np.full(len(points), -1, dtype=np.int16)
            inside = np.flatnonzero(labels == self.scope)
            out[inside] = self.assign(points[inside])
            return out
        norms = (self.centres**2).sum(1)
        parts = [
            np.argmin(norms - 2 * (points[i : i + ASSIGN_ROWS] @ self.centres.T), axis=1)
            for i in range(0, len(points), ASSIGN_ROWS)
        ]
        return np.concatenate(parts).astype(np.int16) if parts else np.zeros(0, dtype=np.int16)


def fit_clusters(
    points: Array, k: int, geometry: Geometry, schema: Schema, *, seed: int, scope: int | None = None, within: str = ""
) -> Clusters:
    """k-means on at most FIT_ROWS points (n, d), on one thread so that the same seed gives the same cells; its centres
    joined by Ward's criterion (Ward 1963), each weighed by its points."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng([seed, k])
    sample = points if len(points) <= FIT_ROWS else points[rng.choice(len(points), FIT_ROWS, replace=False)]
    # Empty clusters only mean fewer distinct points than k.
    distinct = len(np.unique(sample, axis=0)) if len(sample) < 50 * k else k
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = KMeans(min(k, distinct), n_init=1, max_iter=30, random_state=seed).fit(sample)
    centres = np.asarray(model.cluster_centers_, dtype=np.float32)
    weights = np.bincount(model.labels_, minlength=len(centres))
    groups = join(centres.astype(np.float64), weights)
    middle, heavy = points.mean(axis=0), groups * np.maximum(weights, 1e-9)
    means = (heavy @ centres) / heavy.sum(axis=1, keepdims=True)
    return Clusters(centres, groups, tuple(_describe(c, middle, geometry, schema) for c in means), scope, within)


def join(centres: Array, weights: Array) -> Array:
    """Every cell that Ward's joining of weighed points passes through but the whole: (k, d), (k,) -> (c, k) bool.

    Written out, as the libraries' Ward weighs all points alike. Each step joins the pair whose joining adds least to the
    sum of squares, w v / (w + v) |a - b|^2, and costs k^2."""
    k = len(centres)
    members = np.eye(k, dtype=bool)
    out = [row.copy() for row in members]
    place, weight = centres.copy(), np.maximum(weights.astype(np.float64), 1e-9)
    cost = weight[:, None] * weight / (weight[:, None] + weight) * ((place[:, None] - place) ** 2).sum(-1)
    np.fill_diagonal(cost, np.inf)
    for _ in range(k - 2):
        i, j = divmod(int(cost.argmin()), k)
        place[i] = (weight[i] * place[i] + weight[j] * place[j]) / (weight[i] + weight[j])
        weight[i] += weight[j]
        members[i] |= members[j]
        out.append(members[i].copy())
        cost[j, :] = cost[:, j] = np.inf
        alive = np.isfinite(cost[i])
        cost[i, alive] = cost[alive, i] = (
            weight[i] * weight[alive] / (weight[i] + weight[alive]) * ((place[alive] - place[i]) ** 2).sum(-1)
        )
    return np.array(out)


def _describe(centre: Array, middle: Array, geometry: Geometry, schema: Schema) -> str:
    """The columns in which a centre lies farthest from the middle of all rows, at most three."""
    found: list[tuple[float, str]] = []
    for part in geometry.parts:
        away = centre[part.start : part.stop] - middle[part.start : part.stop]
        if not schema[part.name].discrete:
            found.append((abs(float(away[0])), f"{part.name} {'high' if away[0] > 0 else 'low'}"))
            continue
        best = int(np.argmax(away))
        # One-hot features are worth 1/sqrt(2); as shares they compare with ranks.
        found.append((float(away[best]) * 2**0.5 / 2, f"{part.name}={part.level_name(best)}"))
    told = [text for size, text in sorted(found, key=lambda item: -item[0]) if size > 0.12][:3]
    return ", ".join(told) or "near the middle of all columns"
