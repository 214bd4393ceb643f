"""Which rows are held back together? Folds with every class spread over all of them, groups whole."""

from __future__ import annotations

import numpy as np

from validators.stats import Array


def folds_of(y: Array, groups: Array | None, folds: int, seed: int) -> Array:
    """(n,) fold of each row, classes spread evenly; rows of one group share a fold. y: (n,) int, none below 0."""
    rng = np.random.default_rng([seed, 89])
    if groups is not None:
        _, place = np.unique(groups, return_inverse=True)
        rare = np.zeros(place.max(initial=-1) + 1)
        np.maximum.at(rare, place, (1 / np.bincount(y))[y])  # groups that hold a rare class are dealt first
        order = rng.permutation(len(rare))
        dealt = np.empty(len(rare), dtype=np.int64)
        dealt[order[np.argsort(-rare[order], kind="stable")]] = np.arange(len(rare)) % folds
        return np.asarray(dealt[place])
    out = np.empty(len(y), dtype=np.int64)
    for k in np.unique(y):
        own = np.flatnonzero(y == k)
        out[rng.permutation(own)] = np.arange(len(own)) % folds
    return out
