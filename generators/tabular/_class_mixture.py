"""Which Gaussians are the numbers of one class drawn from, and which levels go with each?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Self

import numpy as np

from generators.tabular._table import rng_of

Array = np.ndarray
#: Rows that a component should have, and how often the number of columns plus one: fewer fix no covariance.
ROWS, TIMES = 10, 2
#: Variance that is added to each component, in squares of the class's own standard deviation; it keeps matrices invertible.
FLOOR = 1e-6
#: How often missing numbers are drawn given the rest of their row, and the mixture fitted again.
FILLS = 10
#: Rounds of expectation-maximisation at most, how little it must gain a row to stop, and starts where levels are learned.
ROUNDS, LEAST_GAIN, STARTS = 200, 1e-4, 3


@dataclass(frozen=True)
class ClassMixture:
    """The rows of one class: a component is chosen by its mass; it gives the numbers, real rows that belong to it the levels.

    Fields:
        means: (k, p), in units of the numbers. factors: (k, p, p), what standard normal numbers are multiplied by.
        lent: (m, q) the combinations of levels that rows of the class hold, each once.
        mass: (m, k) the share of the class's rows that hold a combination and belong to a component; 1 in all.
        apart: () bool, whether every level comes from a row of its own."""

    means: Array
    factors: Array
    lent: Array
    mass: Array
    apart: Array

    @classmethod
    def fit(cls, numbers: Array, codes: Array, components: int, *, spread: Array, seed: int) -> Self:
        """numbers: (n, p), NaN where missing. codes: (n, q). spread: (p,) for columns of which the class has one value."""
        low, high, count = _ends(numbers)
        vary, lone = high > low, count == 1
        apart = not (vary.any() or (lone & (spread > 0)).any())
        centre, scale = np.where(np.isinf(low), 0.0, low), np.where(lone, spread, 0.0)
        centre[vary], deviation = np.nanmean(numbers[:, vary], axis=0), np.nanstd(numbers[:, vary], axis=0)
        scale[vary] = np.where(deviation > 0, deviation, 1.0)  # squares of the smallest numbers are 0
        found, belongs = _learned((numbers[:, vary] - centre[vary]) / scale[vary], components, seed)
        if apart:
            belongs = _latent(codes, min(components, max(1, len(codes) // ROWS)), rng_of(seed, 1))
        k, p = belongs.shape[1], len(centre)
        means, factors = np.tile(centre, (k, 1)), np.tile(np.diag(scale), (k, 1, 1))
        if vary.any():
            means[:, vary] += found.means * scale[vary]
            factors[np.ix_(np.arange(k), vary, vary)] = scale[vary][:, None] * np.linalg.cholesky(found.covariances)
            _hold(means, factors, numbers, belongs.argmax(axis=1))
        lent, which = np.unique(codes, axis=0, return_inverse=True)
        mass = np.zeros((len(lent), k))
        np.add.at(mass, which.ravel(), belongs / len(codes))
        return cls(means, factors.reshape(k, p, p), lent, mass, np.array(apart))

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Numbers (n, p) without gaps and codes (n, q) of new rows."""
        k, p, q = *self.means.shape, self.lent.shape[1]
        share = self.mass.sum(axis=0)
        part = rng.choice(k, n, p=share / share.sum())
        numbers, codes = np.empty((n, p)), np.empty((n, q), dtype=np.int64)
        for j in np.unique(part):
            rows = np.flatnonzero(part == j)
            numbers[rows] = self.means[j] + rng.standard_normal((len(rows), p)) @ self.factors[j].T
            lenders = rng.choice(len(self.lent), (len(rows), q if self.apart else 1), p=self.mass[:, j] / share[j])
            codes[rows] = self.lent[lenders, np.arange(q)]
        return numbers, codes


@dataclass(frozen=True)
class _Gaussians:
    """weights (k,), means (k, p), covariances (k, p, p)."""

    weights: Array
    means: Array
    covariances: Array

    @classmethod
    def fit(cls, points: Array, components: int, seed: int) -> Self:
        """points: (n, p), standardised. One component is their mean and covariance, more are scikit-learn's."""
        n, p = points.shape
        if (k := min(components, n // max(ROWS, TIMES * (p + 1)))) > 1:
            weights, means, covariances = _scikit(points, k, seed)
            # Without it a row that lies alone would be a component, and drawn again and again.
            lack = np.clip(1 - n * weights / ROWS, 0, 1)[:, None, None]
            return cls(weights, means, (1 - lack) * covariances + lack * np.tensordot(weights, covariances, 1))
        around = points - points.mean(axis=0)
        covariance = around.T @ around / n
        # Variances are divided by n - 1 and covariances by n, as if one more row spoke for columns that are independent.
        covariance[np.diag_indices(p)] *= n / max(n - 1, 1)
        return cls(np.ones(1), points.mean(axis=0)[None], (covariance + FLOOR * np.eye(p))[None])

    def given(self, points: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """How far each row belongs to each component by what it shows, (n, k), and the rows with their gaps (NaN) drawn so."""
        belongs, full = np.empty((len(points), len(self.weights))), points.copy()
        whole = np.linalg.cholesky(self.covariances)
        patterns, which = np.unique(np.isnan(points), axis=0, return_inverse=True)
        order = np.argsort(which.ravel(), kind="stable")
        ends = np.cumsum(np.bincount(which.ravel(), minlength=len(patterns)))
        for gone, rows in zip(patterns, np.split(order, ends[:-1]), strict=True):
            roots = [np.linalg.cholesky(covariance[np.ix_(~gone, ~gone)]) for covariance in self.covariances]
            belongs[rows] = self._shares(points[rows][:, ~gone], ~gone, roots)
            if gone.any():
                part = (rng.random((len(rows), 1)) > belongs[rows].cumsum(axis=1)[:, :-1]).sum(axis=1)
                for k in np.unique(part):
                    own = rows[part == k]
                    # Matheron's rule: a free draw, moved by what it missed.
                    free = self.means[k] + rng.standard_normal((len(own), len(gone))) @ whole[k].T
                    missed = _solved(roots[k], (points[own] - free)[:, ~gone].T)
                    across = _solved(roots[k], self.covariances[k][np.ix_(~gone, gone)])
                    full[np.ix_(own, gone)] = free[:, gone] + missed.T @ across
        return belongs, full

    def _shares(self, shown: Array, there: Array, roots: list[Array]) -> Array:
        """(n, k) from the columns that are there, (n, o), and the roots of their covariances."""
        joint = np.empty((len(shown), len(self.weights)))
        for k, (weight, mean, root) in enumerate(zip(self.weights, self.means, roots, strict=True)):
            away = _solved(root, (shown - mean[there]).T)
            joint[:, k] = np.log(max(weight, 1e-300)) - np.log(np.diag(root)).sum() - 0.5 * (away**2).sum(axis=0)
        return _softmax(joint)[0]


def _ends(numbers: Array) -> tuple[Array, Array, Array]:
    """The least and the greatest value of each column, infinite where there is none, and how many there are: (n, p) -> (p,)."""
    seen = ~np.isnan(numbers)
    least, most = np.where(seen, numbers, np.inf), np.where(seen, numbers, -np.inf)
    return least.min(axis=0, initial=np.inf), most.max(axis=0, initial=-np.inf), seen.sum(axis=0)


def _hold(means: Array, factors: Array, numbers: Array, part: Array) -> None:
    """Where the rows of a component, ROWS or more, have one value in a column, it is drawn exactly: there numbers repeat."""
    for k in range(len(means)):
        low, high, count = _ends(numbers[part == k])
        same = (low == high) & (count >= ROWS)
        means[k, same], factors[k, same] = low[same], 0.0


def _learned(points: Array, components: int, seed: int) -> tuple[_Gaussians, Array]:
    """The mixture of standardised points (n, p) with NaN for gaps, and how far each row belongs to each component (n, k).

    Gaps hold other rows' values at first, then draws from the mixture so far (stochastic EM)."""
    if not points.shape[1]:
        return _Gaussians(np.ones(1), np.zeros((1, 0)), np.zeros((1, 0, 0))), np.ones((len(points), 1))
    rng, gone = rng_of(seed), np.isnan(points)
    full = points.copy()
    for j in np.flatnonzero(gone.any(axis=0)):
        full[gone[:, j], j] = rng.choice(points[~gone[:, j], j], int(gone[:, j].sum()))
    for _ in range(1 + FILLS * bool(gone.any())):
        found = _Gaussians.fit(full, components, seed)
        belongs, full = found.given(points, rng)
    return found, belongs


def _solved(root: Array, right: Array) -> Array:
    """What a lower triangular root (o, o) must be multiplied by to give `right`: (o, n)."""
    from scipy.linalg import solve_triangular

    return np.asarray(solve_triangular(root, right, lower=True, check_finite=False))


def _scikit(points: Array, k: int, seed: int) -> tuple[Array, Array, Array]:
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(k, reg_covar=FLOOR, max_iter=ROUNDS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one that has not quite converged, or points that repeat a few values, will do
        mixture.fit(points)
    return mixture.weights_, mixture.means_, mixture.covariances_


def _latent(codes: Array, k: int, rng: np.random.Generator) -> Array:
    """How far each row belongs to each of k classes within which levels do not depend on one another: (n, q) -> (n, k)."""
    from scipy.sparse import csr_array

    n, q = codes.shape
    if k == 1 or not q:
        return np.ones((n, 1))
    places = [np.unique(codes[:, j], return_inverse=True)[1] for j in range(q)]
    starts = np.cumsum([0, *(place.max() + 1 for place in places)])
    column = np.column_stack(places) + starts[:-1]
    shown = csr_array((np.ones(n * q), column.ravel(), np.arange(0, n * q + 1, q)), shape=(n, int(starts[-1])))
    tries = [_maximised(shown, rng.dirichlet(np.ones(k), n)) for _ in range(STARTS)]
    return max(tries, key=lambda found: found[1])[0]


def _maximised(shown: Array, belongs: Array) -> tuple[Array, float]:
    """Expectation-maximisation from a first guess (n, k); shown: (n, levels), 1 where a row holds one. And the nats a row."""
    usual, k, last = shown.mean(axis=0), belongs.shape[1], -np.inf
    for _ in range(ROUNDS):
        mass = belongs.sum(axis=0)
        # A row's worth of what is usual: no level is impossible anywhere.
        chance = ((shown.T @ belongs).T + usual) / (mass[:, None] + 1)
        belongs, nats = _softmax(shown @ np.log(chance).T + np.log((mass + 1) / (len(belongs) + k)))
        if nats.mean() - last < LEAST_GAIN:
            break
        last = float(nats.mean())
    return belongs, float(nats.mean())


def _softmax(joint: Array) -> tuple[Array, Array]:
    """Shares that sum to one (n, k) and the log of what they were divided by (n,)."""
    top = joint.max(axis=1, keepdims=True)
    weight = np.exp(joint - top)
    total = weight.sum(axis=1, keepdims=True)
    return weight / total, (top + np.log(total))[:, 0]
