"""How well do scores tell classes apart, and how sure is that? Weighted figures over resampled holdout rows."""

from __future__ import annotations

import numpy as np

from validators.stats import Array

#: Weighted rows times resamples that are scored for one class, and the bounds of the number of resamples.
PAIRS, LEAST_DRAWS, MOST_DRAWS = 2_000_000, 200, 1000


def draws_for(rows: int, classes: int) -> int:
    """How many resamples are affordable for so many rows, scored once for each class."""
    return int(np.clip(PAIRS // max(rows * classes, 1), LEAST_DRAWS, MOST_DRAWS))


def resampled(labels: Array, weights: Array, draws: int, rng: np.random.Generator) -> Array:
    """Weights of the rows in each bootstrap draw, rows drawn within their class: (n,), (n,) -> (n, 1 + draws).

    The first column holds `weights` themselves, so that the first value of a figure is its estimate."""
    out = np.empty((len(labels), 1 + draws))
    out[:, 0] = weights
    for y in np.unique(labels):
        rows = np.flatnonzero(labels == y)
        k = len(rows)
        picks = rng.integers(0, k, size=(draws, k)) + k * np.arange(draws)[:, None]
        counts = np.bincount(picks.ravel(), minlength=k * draws).reshape(draws, k)
        out[rows, 1:] = counts.T * weights[rows, None]
    return out


def ranked(scores: Array, hit: Array, weights: Array, precision: float) -> dict[str, Array]:
    """ROC AUC, average precision and the greatest recall at a precision, for each column of weights.

    scores: (n,) higher for hits; hit: (n,) bool, both kinds present; weights: (n, b). Tied scores count as one threshold.
    Source: as scikit-learn defines them, with ties by half in the AUC."""
    order = np.argsort(-scores, kind="stable")
    starts = _starts(scores[order], hit[order])
    w = weights[order]
    found = np.add.reduceat(np.where(hit[order, None], w, 0.0), starts, axis=0)  # (segments, b) hits in each
    false = np.add.reduceat(w, starts, axis=0) - found
    hits, alarms = np.cumsum(found, axis=0), np.cumsum(false, axis=0)
    total = np.maximum(hits[-1], 1e-300)
    exact = hits / np.maximum(hits + alarms, 1e-300)
    return {
        "roc_auc": (false * (hits - found / 2)).sum(axis=0) / (total * np.maximum(alarms[-1], 1e-300)),
        "average_precision": (found * exact).sum(axis=0) / total,
        "recall_at_precision": np.where(exact >= precision, hits, 0.0).max(axis=0) / total,
    }


def recalls(predicted: Array, labels: Array, weights: Array, classes: Array) -> Array:
    """Share of each class that is predicted as itself: (n,), (n,), (n, b), (k,) -> (k, b)."""
    out = np.empty((len(classes), weights.shape[1]))
    for i, y in enumerate(classes):
        own = weights[labels == y]
        right = predicted[labels == y] == y
        out[i] = own[right].sum(axis=0) / np.maximum(own.sum(axis=0), 1e-300)
    return out


def over_seeds(values: Array, picks: Array) -> Array:
    """Mean over seeds, and in each draw over the seeds picked for it: (s, 1 + draws), (p, draws) -> (1 + draws,)."""
    drawn = values[:, 1:][picks, np.arange(picks.shape[1])]
    return np.asarray(np.r_[values[:, 0].mean(), drawn.mean(axis=0)])


def interval(values: Array) -> tuple[float, float, float]:
    """Estimate (the first value) and the 95 % percentile interval of the others, which holds it."""
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return float(values[0]), float(min(low, values[0])), float(max(high, values[0]))


def _starts(scores: Array, hit: Array) -> Array:
    """Where segments of descending scores begin: a new one at each new value, but runs of values without hits are one.

    Between two hits the order of the others changes none of the figures."""
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])
    holds = np.logical_or.reduceat(hit, starts)
    return np.asarray(starts[holds | np.r_[True, holds[:-1]]])
