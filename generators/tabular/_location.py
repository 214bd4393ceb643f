"""What would a linear model draw? The place from which the network starts, so that few rows do not leave it lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from generators.tabular._tree import Tree

Array = np.ndarray

#: Quantile functions are kept at these standard normal scores.
GRID = np.linspace(-4.0, 4.0, 321)
#: A class of n rows has its own marginals with weight n / (n + PRIOR_ROWS); the rest is the common shape.
PRIOR_ROWS = 4.0
#: Columns with more states than this do not shift the numbers.
SHIFTERS = 50
#: Regressions and covariances use at most this many rows.
ROWS = 50_000
SHARES = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0)


@dataclass(frozen=True)
class Location:
    """The general location model: a tree for the states, and numbers that are Gaussian given the states.

    Numbers are made normal class by class (their quantile functions), shifted linearly by the states of the other
    columns, and tied by a covariance of each class, shrunk towards the common one by cross-validation. With forty
    rows in thirty correlated columns this is about all that can be learned; with more rows it is the start that the
    adversarial part corrects.

    Source: Olkin and Tate 1961; Little and Schluchter 1985 (general location model); Friedman 1989 (regularised
    discriminant analysis, the shrinkage); normal scores as in the Gaussian copula.

    Fields:
        tree: the states. numbers: columns that have free values. shifters: columns whose states shift them.
        shift: (sum of their states, numbers). factors: (classes, numbers, numbers), Cholesky.
        quantiles: (classes, numbers, grid), values at the normal scores GRID.
    """

    tree: Tree
    numbers: tuple[int, ...]
    shifters: tuple[int, ...]
    sizes: tuple[int, ...]
    shift: Array
    factors: Array
    quantiles: Array

    @classmethod
    def fit(cls, states: Array, values: Array, *, sizes: list[int], classed: int, rng: np.random.Generator) -> Location:
        """states: (n, c) int64; values: (n, c), NaN where the state is not "any number"; classed: class column or -1."""
        tree = Tree.fit(states, sizes, classed, rng)
        numbers = tuple(int(i) for i in np.flatnonzero((~np.isnan(values)).any(axis=0)))
        shifters = tuple(i for i in range(len(sizes)) if i != classed and 1 < sizes[i] <= SHIFTERS)
        labels = states[:, classed] if classed >= 0 else np.zeros(len(states), dtype=np.int64)
        classes = len(tree.prior)
        rows = rng.choice(len(states), ROWS, replace=False) if len(states) > ROWS else np.arange(len(states))
        free, labels = values[rows][:, list(numbers)], labels[rows]
        scores = _scores(free, labels, classes)
        hot = _one_hot(states[rows], shifters, sizes)
        shift = _ridge(hot, scores)
        rest = scores - hot @ shift
        factors = _factors(rest, labels, classes, rng)
        return cls(tree, numbers, shifters, tuple(sizes), shift, factors, _quantiles(free, labels, classes))

    def draw(self, n: int, evidence: Mapping[int, int], rng: np.random.Generator) -> tuple[Array, Array]:
        """States (n, c) and values (n, c) that hold `evidence` {column: state}.

        Raises ValueError when the evidence has probability zero."""
        states, labels = self.tree.draw(n, evidence, rng)
        values = np.full(states.shape, np.nan)
        if self.numbers:
            noise = rng.standard_normal((n, len(self.numbers)))
            scores = _one_hot(states, self.shifters, self.sizes) @ self.shift
            for k in np.unique(labels):
                rows = np.flatnonzero(labels == k)
                scores[rows] += noise[rows] @ self.factors[k].T
                for j, i in enumerate(self.numbers):
                    values[rows, i] = np.interp(scores[rows, j], GRID, self.quantiles[k, j])
        return states, np.where(states == 0, values, np.nan)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything, as tensors that torch.save keeps and torch.load(weights_only=True) reads."""
        plain = {"shift": self.shift, "factors": self.factors, "quantiles": self.quantiles, "prior": self.tree.prior}
        plain |= {f"table{i}": table for i, table in enumerate(self.tree.tables)}
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in plain.items()}

    def facts(self) -> dict[str, Any]:
        """What the tensors do not hold; JSON values."""
        tree = {"order": self.tree.order, "parent": self.tree.parent, "classed": self.tree.classed}
        return {"tree": tree, "numbers": self.numbers, "shifters": self.shifters, "sizes": self.sizes}

    @classmethod
    def rebuild(cls, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> Location:
        plain = {name: value.numpy() for name, value in tensors.items()}
        tables = tuple(plain[f"table{i}"] for i in range(len(facts["sizes"])))
        stem = facts["tree"]
        tree = Tree(tuple(stem["order"]), tuple(stem["parent"]), tables, plain["prior"], stem["classed"])
        parts = (tuple(facts["numbers"]), tuple(facts["shifters"]), tuple(facts["sizes"]))
        return cls(tree, *parts, plain["shift"], plain["factors"], plain["quantiles"])


def _one_hot(states: Array, columns: tuple[int, ...], sizes: list[int] | tuple[int, ...]) -> Array:
    """(n, sum of the sizes) float64."""
    out = np.zeros((len(states), sum(sizes[i] for i in columns)))
    at = 0
    for i in columns:
        out[np.arange(len(states)), at + states[:, i]] = 1
        at += sizes[i]
    return out


def _scores(values: Array, labels: Array, classes: int) -> Array:
    """Normal scores within each class, mid-ranks at ties; NaN stays NaN. (n, p) -> (n, p)."""
    out = np.full(values.shape, np.nan)
    for k in range(classes):
        for j in range(values.shape[1]):
            rows = np.flatnonzero((labels == k) & ~np.isnan(values[:, j]))
            if len(rows):
                _, place, counts = np.unique(values[rows, j], return_inverse=True, return_counts=True)
                middle = (np.cumsum(counts) - counts / 2)[place] / len(rows)
                out[rows, j] = torch.special.ndtri(torch.from_numpy(middle.clip(1e-6, 1 - 1e-6))).numpy()
    return out


def _quantiles(values: Array, labels: Array, classes: int) -> Array:
    """Quantile functions at GRID: those of the class, drawn towards the common shape where the class has few rows."""
    u = torch.special.ndtr(torch.from_numpy(GRID)).numpy()
    out = np.zeros((classes, values.shape[1], len(GRID)))
    for j in range(values.shape[1]):
        own = [values[(labels == k) & ~np.isnan(values[:, j]), j] for k in range(classes)]
        whole = np.concatenate(own)
        within = np.concatenate([v - v.mean() for v in own if len(v)])
        spread = float(within.std()) or float(whole.std()) or 1.0
        scaled = np.concatenate([(v - v.mean()) / _spread(v, spread) for v in own if len(v)])
        shape = _interpolated(scaled, u)
        for k, v in enumerate(own):
            weight = len(v) / (len(v) + PRIOR_ROWS)
            middle = v.mean() if len(v) else whole.mean()
            common = middle + _spread(v, spread) * shape
            exact = _interpolated(v, u) if len(v) else common
            out[k, j] = np.clip(weight * exact + (1 - weight) * common, whole.min(), whole.max())
    return out


def _spread(values: Array, common: float) -> float:
    """Standard deviation of a class, shrunk towards the common one."""
    n = max(len(values) - 1, 0)
    own = float(values.var()) * len(values) / max(n, 1) if n else 0.0
    return float(np.sqrt((n * own + PRIOR_ROWS * common**2) / (n + PRIOR_ROWS)))


def _interpolated(values: Array, u: Array) -> Array:
    """Order statistics at (i - 1/2) / n, linear between."""
    ranked = np.sort(values)
    return np.asarray(np.interp(u, (np.arange(len(ranked)) + 0.5) / len(ranked), ranked))


def _ridge(hot: Array, scores: Array) -> Array:
    """Shift of each number by each state, column by column over the rows where it is free. (d, p)."""
    out = np.zeros((hot.shape[1], scores.shape[1]))
    for j in range(scores.shape[1] if hot.shape[1] else 0):
        rows = ~np.isnan(scores[:, j])
        x = hot[rows]
        # One pseudo-row a state at score 0, and a little more so that rare states move nothing.
        out[:, j] = np.linalg.solve(x.T @ x + 5.0 * np.eye(x.shape[1]), x.T @ scores[rows, j])
    return out


def _covariance(rest: Array) -> Array:
    """Pairwise-complete second moments; pairs seen together in fewer than five rows count as unrelated. (p, p)."""
    seen = (~np.isnan(rest)).astype(np.float64)
    filled = np.nan_to_num(rest)
    together = seen.T @ seen
    moments = filled.T @ filled / np.maximum(together, 1)
    moments[together < 5] = 0
    np.fill_diagonal(moments, np.where(np.diag(moments) > 0, np.diag(moments), 1.0))
    return np.asarray(moments)


def _positive(matrix: Array) -> Array:
    """The nearest matrix whose eigenvalues allow a Cholesky factor; its diagonal stays."""
    scale = np.sqrt(np.diag(matrix))
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    fixed = (vectors * np.maximum(values, 1e-4)) @ vectors.T
    unit = np.sqrt(np.diag(fixed))
    return np.asarray(fixed / np.outer(unit, unit) * np.outer(scale, scale))


def _semidefinite(matrix: Array) -> Array:
    """Without the negative eigenvalues that pairwise moments can have."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, 0)) @ vectors.T)


def _factors(rest: Array, labels: Array, classes: int, rng: np.random.Generator) -> Array:
    """Cholesky factors of the class covariances, (classes, p, p)."""
    p = rest.shape[1]
    common = _positive(_covariance(rest)) if p else np.zeros((0, 0))
    out = np.zeros((classes, p, p))
    for k in range(classes if p else 0):
        own = rest[labels == k]
        share = _share(own, common, rng) if len(own) > 5 and classes > 1 else float(classes > 1)
        mixed = share * common + (1 - share) * (_covariance(own) if len(own) > 5 else common)
        out[k] = np.linalg.cholesky(_positive(mixed))
    return out


def _share(own: Array, common: Array, rng: np.random.Generator) -> float:
    """How much of the common covariance a class takes: the share under which held-out rows are likeliest."""
    filled = np.nan_to_num(own)
    if len(own) > 50 * own.shape[1]:
        return 0.0
    fold = rng.permutation(len(own)) % 5
    score = np.zeros(len(SHARES))
    ridge = 1e-3 * np.eye(own.shape[1])
    for f in range(5):
        inside, held = _semidefinite(_covariance(own[fold != f])), filled[fold == f]
        for s, share in enumerate(SHARES):
            factor = np.linalg.cholesky(share * common + (1 - share) * inside + ridge)
            z = np.linalg.solve(factor, held.T)
            score[s] -= 0.5 * (z**2).sum() + len(held) * np.log(np.diag(factor)).sum()
    return SHARES[int(score.argmax())]
