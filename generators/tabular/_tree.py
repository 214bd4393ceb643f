"""Which levels go together? A tree of the discrete columns given the class, drawn exactly under any condition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Array = np.ndarray

#: No table of P(child | parent, class) is larger than this; beyond it the child depends on the class alone.
CELLS = 1_000_000
#: The structure is learned from at most this many rows; the tables use all.
ROWS = 50_000
#: Pseudo-rows that pull P(child | parent, class) towards P(child | class), and that towards P(child).
PSEUDO = 1.0


@dataclass(frozen=True)
class Tree:
    """P(class) times a product of P(child | parent, class): pairs on the tree are right, and so is every class.

    Source: Chow and Liu 1968; with the class as a common parent, Friedman, Geiger and Goldszmidt 1997 (tree-augmented
    naive Bayes). An edge must pay for its parameters: half of them, in nats over all rows (as in AIC).

    Fields:
        order: columns, parents before children. parent: the parent of each column, -1 for none.
        tables: per column (classes, parent levels or 1, levels), rows summing to 1.
        prior: (classes,) shares of the classes; one class where the data have none.
        classed: the column that is the class, -1 for none.
    """

    order: tuple[int, ...]
    parent: tuple[int, ...]
    tables: tuple[Array, ...]
    prior: Array
    classed: int

    @classmethod
    def fit(cls, states: Array, sizes: list[int], classed: int, rng: np.random.Generator) -> Tree:
        """states: (n, c) int64 in range(sizes[c]); columns of one state are left alone."""
        n, c = states.shape
        labels = states[:, classed] if classed >= 0 else np.zeros(n, dtype=np.int64)
        classes = sizes[classed] if classed >= 0 else 1
        rows = rng.choice(n, ROWS, replace=False) if n > ROWS else np.arange(n)
        free = [i for i in range(c) if sizes[i] > 1 and i != classed]
        parent = _span(_gains(states[rows], labels[rows], sizes, classes, free), free, c)
        order = _parents_first(parent, free)
        tables = tuple(
            _table(states, labels, i, parent[i], sizes, classes) if i in set(free) else np.ones((1, 1, 1)) for i in range(c)
        )
        prior = np.bincount(labels, minlength=classes) / max(n, 1)
        return cls(tuple(order), tuple(parent), tables, prior, classed)

    def draw(self, n: int, evidence: Mapping[int, int], rng: np.random.Generator) -> tuple[Array, Array]:
        """States (n, c) that hold `evidence` {column: state} and labels (n,). Exact: messages run up the tree first.

        Raises ValueError when the evidence has probability zero."""
        up, root = self._messages(evidence)
        weight = self.prior * root
        if self.classed in evidence:
            weight = np.where(np.arange(len(weight)) == evidence[self.classed], weight, 0)
        if not weight.sum() > 0:
            raise ValueError("the condition has probability zero")
        labels = rng.choice(len(weight), size=n, p=weight / weight.sum())
        states = np.zeros((n, len(self.parent)), dtype=np.int64)
        if self.classed >= 0:
            states[:, self.classed] = labels
        for i in self.order:
            above = states[:, self.parent[i]] if self.parent[i] >= 0 else np.zeros(n, dtype=np.int64)
            table = np.cumsum(self.tables[i] * up[i][:, None, :], axis=2)
            states[:, i] = _pick(table, labels, above, rng.random(n))
        return states, labels

    def _messages(self, evidence: Mapping[int, int]) -> tuple[dict[int, Array], Array]:
        """For every column how likely the evidence below it is, (classes, levels), and for every class, (classes,)."""
        up = {i: np.ones((len(self.prior), self.tables[i].shape[2])) for i in self.order}
        root = np.ones(len(self.prior))
        for i in reversed(self.order):
            if i in evidence:
                up[i] = up[i] * (np.arange(up[i].shape[1]) == evidence[i])
            above = np.einsum("kps,ks->kp", self.tables[i], up[i])
            if self.parent[i] >= 0:
                up[self.parent[i]] = up[self.parent[i]] * above
            else:
                root = root * above[:, 0]
        return up, root


def _pick(cumulative: Array, labels: Array, above: Array, uniform: Array) -> Array:
    """One level a row from cumulative weights (classes, parents, levels); grouped, so that memory stays small."""
    parents = cumulative.shape[1]
    cell = labels * parents + above
    order = np.argsort(cell, kind="stable")
    out = np.empty(len(labels), dtype=np.int64)
    flat = cumulative.reshape(-1, cumulative.shape[2])
    cells, starts = np.unique(cell[order], return_index=True)
    for where, row in zip(np.split(order, starts[1:]), flat[cells], strict=True):
        out[where] = np.searchsorted(row, uniform[where] * row[-1], side="right").clip(0, len(row) - 1)
    return out


def _gains(states: Array, labels: Array, sizes: list[int], classes: int, free: list[int]) -> dict[tuple[int, int], float]:
    """I(a; b | class) in nats, less the cost of its parameters, for the pairs where that is positive."""
    n = len(states)
    out: dict[tuple[int, int], float] = {}
    for at, a in enumerate(free):
        for b in free[at + 1 :]:
            if classes * sizes[a] * sizes[b] > CELLS:
                continue
            cell = (labels * sizes[a] + states[:, a]) * sizes[b] + states[:, b]
            joint = np.bincount(cell, minlength=classes * sizes[a] * sizes[b]).reshape(classes, sizes[a], sizes[b])
            gain = _information(joint) - _parameters(joint) / max(n, 1)
            if gain > 0:
                out[(a, b)] = gain
    return out


def _information(joint: Array) -> float:
    """Conditional mutual information of counts (classes, a, b), in nats."""
    p = joint / max(joint.sum(), 1)
    apart = p.sum(axis=2, keepdims=True) * p.sum(axis=1, keepdims=True)
    whole = p.sum(axis=(1, 2), keepdims=True) * p
    seen = p > 0
    return float((p[seen] * np.log(whole[seen] / apart[seen])).sum())


def _parameters(joint: Array) -> float:
    """Free parameters of the edge, counting only levels that occur in each class."""
    a = (joint.sum(axis=2) > 0).sum(axis=1) - 1
    b = (joint.sum(axis=1) > 0).sum(axis=1) - 1
    return float((a.clip(0) * b.clip(0)).sum())


def _span(gains: Mapping[tuple[int, int], float], free: list[int], columns: int) -> list[int]:
    """Maximum spanning forest (Kruskal), as the parent of every column."""
    group = {i: i for i in free}

    def find(i: int) -> int:
        while group[i] != i:
            i = group[i]
        return i

    near: dict[int, list[int]] = {i: [] for i in free}
    for a, b in sorted(gains, key=lambda pair: (-gains[pair], pair)):
        if find(a) != find(b):
            group[find(a)] = find(b)
            near[a].append(b)
            near[b].append(a)
    parent = [-1] * columns
    seen: set[int] = set()
    for start in free:
        stack = [] if start in seen else [start]
        seen.add(start)
        while stack:
            i = stack.pop()
            for j in near[i]:
                if j not in seen:
                    parent[j] = i
                    seen.add(j)
                    stack.append(j)
    return parent


def _parents_first(parent: list[int], free: list[int]) -> list[int]:
    order: list[int] = []
    waiting = list(free)
    while waiting:
        ready = [i for i in waiting if parent[i] < 0 or parent[i] in order]
        order += ready
        waiting = [i for i in waiting if i not in ready]
    return order


def _table(states: Array, labels: Array, child: int, parent: int, sizes: list[int], classes: int) -> Array:
    """P(child | parent, class), smoothed towards what is known with less detail."""
    above = states[:, parent] if parent >= 0 else np.zeros(len(states), dtype=np.int64)
    width = sizes[parent] if parent >= 0 else 1
    cell = (labels * width + above) * sizes[child] + states[:, child]
    counts = (
        np.bincount(cell, minlength=classes * width * sizes[child]).reshape(classes, width, sizes[child]).astype(np.float64)
    )
    overall = counts.sum(axis=(0, 1)) / max(len(states), 1)
    by_class = counts.sum(axis=1, keepdims=True)
    by_class = (by_class + PSEUDO * overall) / (by_class.sum(axis=2, keepdims=True) + PSEUDO)
    return np.asarray((counts + PSEUDO * by_class) / (counts.sum(axis=2, keepdims=True) + PSEUDO))
