"""Around which values do the numbers of one column gather?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray

COMPONENTS = 10
ROWS = 20_000
ROUNDS = 100
#: No component is narrower than this share of the column's spread; it keeps a repeated value from becoming one.
NARROWEST = 1e-3


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture of one variable; superfluous components die out while it is fitted.

    Source: Figueiredo and Jain 2002, "Unsupervised learning of finite mixture models", equation 17: a component
    whose rows do not pay for its two parameters gets weight zero.

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
        weights, means, sds = _expectation_maximisation((seen - centre) / spread)
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
    """log p(value, component) up to a constant, (n, k)."""
    z = (values[:, None] - means) / sds
    return np.asarray(np.log(weights) - np.log(sds) - 0.5 * z * z)


def _expectation_maximisation(values: Array) -> tuple[Array, Array, Array]:
    """Weights, means, sds of standardised values."""
    k = int(min(COMPONENTS, max(len(np.unique(values)) // 5, 1)))
    means = np.quantile(values, (np.arange(k) + 0.5) / k)
    weights, sds = np.full(k, 1 / k), np.full(k, max(1 / k, 0.1))
    last = -np.inf
    for _ in range(ROUNDS):
        joint = _log_joint(values, weights, means, sds)
        top = joint.max(axis=1, keepdims=True)
        share = np.exp(joint - top)
        total = share.sum(axis=1, keepdims=True)
        share /= total
        mass = share.sum(axis=0)
        keep = mass > 1.0 if (mass > 1.0).any() else mass == mass.max()
        share, mass = share[:, keep], mass[keep]
        weights = np.maximum(mass - 1.0, 1e-12) / np.maximum(mass - 1.0, 1e-12).sum()
        means = share.T @ values / mass
        sds = np.sqrt(np.maximum((share * (values[:, None] - means) ** 2).sum(axis=0) / mass, NARROWEST**2))
        likelihood = float((top[:, 0] + np.log(total[:, 0])).mean())
        if abs(likelihood - last) < 1e-6 and keep.all():
            break
        last = likelihood
    return weights, means, sds
