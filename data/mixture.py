"""Around which values do the numbers of one column gather?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray

#: Numbers of components that are tried.
COMPONENTS = (1, 2, 3, 4, 6, 10)
#: A mixture is fitted to at most this many values.
ROWS = 10_000
ROUNDS = 60
#: No component is narrower than this share of the column's spread; it keeps a repeated value from becoming one.
NARROWEST = 1e-3


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture of one variable, with the number of components that BIC likes best.

    Source: Dempster et al. 1977 (expectation-maximisation); Schwarz 1978 (BIC). CTGAN's variational mixture is meant
    to do the same and mostly keeps all ten components; each that is not needed is one more place to go wrong.

    Fields: weights, means, sds (k,) and reach (k,), the farthest train value from each mean."""

    weights: Array
    means: Array
    sds: Array
    reach: Array

    @classmethod
    def fit(cls, values: Array, rng: np.random.Generator) -> Mixture:
        """values: (n,) finite float64; n = 0 gives a mixture of no component."""
        if not len(values):
            return cls(*(np.zeros(0) for _ in range(4)))
        seen = values if len(values) <= ROWS else rng.choice(values, ROWS, replace=False)
        centre, spread = float(seen.mean()), float(seen.std()) or 1.0
        weights, means, sds = _choose((seen - centre) / spread)
        blank = cls(weights, means * spread + centre, sds * spread, np.ones(len(means)))
        component = blank.component(values)
        far = np.zeros(len(means))
        np.maximum.at(far, component, np.abs(values - blank.means[component]))
        order = [i for i in np.argsort(blank.means) if (component == i).any()]
        reach = np.maximum(far, blank.sds)[order]
        return cls(blank.weights[order], blank.means[order], blank.sds[order], reach)

    def component(self, values: Array) -> Array:
        """The most likely component of each value, (n,) -> (n,) int64."""
        out = np.empty(len(values), dtype=np.int64)
        for start in range(0, len(values), ROWS):
            part = values[start : start + ROWS]
            out[start : start + ROWS] = _log_joint(part, self.weights, self.means, self.sds).argmax(axis=1)
        return out

    def encode(self, values: Array) -> tuple[Array, Array]:
        """Component (n,) and place in it (n,) in [-1, 1]; values beyond the reach of train are clipped."""
        component = self.component(values)
        return component, np.clip((values - self.means[component]) / self.reach[component], -1, 1)

    def decode(self, component: Array, scalar: Array) -> Array:
        return np.asarray(self.means[component] + self.reach[component] * np.clip(scalar, -1, 1))

    def to_state(self) -> dict[str, Any]:
        return {name: getattr(self, name).tolist() for name in ("weights", "means", "sds", "reach")}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Mixture:
        return cls(**{name: np.asarray(value, dtype=np.float64) for name, value in state.items()})


def _log_joint(values: Array, weights: Array, means: Array, sds: Array) -> Array:
    """Log p(value, component) up to a constant, (n, k)."""
    z = (values[:, None] - means) / sds
    return np.asarray(np.log(weights) - np.log(sds) - 0.5 * z * z)


def _choose(values: Array) -> tuple[Array, Array, Array]:
    """Weights, means, sds of standardised values, with the number of components that BIC likes best."""
    most = max(len(np.unique(values)) // 5, 1)
    best: tuple[float, tuple[Array, Array, Array]] | None = None
    for k in COMPONENTS:
        if k > most:
            break
        parts, likelihood = _expectation_maximisation(values, k)
        cost = (3 * len(parts[0]) - 1) * np.log(len(values)) - 2 * likelihood
        if best is None or cost < best[0]:
            best = cost, parts
    assert best is not None  # noqa: S101 - one component is always tried
    return best[1]


def _expectation_maximisation(values: Array, k: int) -> tuple[tuple[Array, Array, Array], float]:
    """At most `k` components from evenly spread quantiles, and the log-likelihood."""
    means = np.quantile(values, (np.arange(k) + 0.5) / k)
    weights, sds = np.full(k, 1 / k), np.full(k, max(1 / k, 0.1))
    last = -np.inf
    for _ in range(ROUNDS):
        joint = _log_joint(values, weights, means, sds)
        top = joint.max(axis=1, keepdims=True)
        share = np.exp(joint - top)
        total = share.sum(axis=1, keepdims=True)
        likelihood = float((top[:, 0] + np.log(total[:, 0])).sum()) - 0.5 * len(values) * np.log(2 * np.pi)
        if abs(likelihood - last) < 1e-5 * len(values):
            break
        last = likelihood
        share /= total
        mass = share.sum(axis=0)
        # A component that not even one row pays for dies.
        keep = mass > 1.0 if (mass > 1.0).any() else mass == mass.max()
        share, mass = share[:, keep], mass[keep]
        weights = mass / mass.sum()
        means = share.T @ values / mass
        sds = np.sqrt(np.maximum((share * (values[:, None] - means) ** 2).sum(axis=0) / mass, NARROWEST**2))
    return (weights, means, sds), likelihood
