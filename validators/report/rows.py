"""Which rows does the page look at, and what does each of them weigh?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.dataset import Dataset
from data.errors import DataError
from validators.base import Evidence
from validators.sides import Sides, sides

Array = np.ndarray[Any, np.dtype[Any]]

#: The page stays small and quick whatever the size of the sets: at most so many rows of each are drawn.
LIMIT = 20_000


@dataclass(frozen=True)
class Drawn:
    """Some rows of a set: at most LIMIT, without replacement.

    weights: (n,) float64 with mean 1, or summing to 0 when there are no rows; total: rows of the whole set.
    """

    rows: Dataset
    weights: Array
    total: int

    def __len__(self) -> int:
        return self.rows.num_rows

    def head(self, limit: int) -> Drawn:
        """At most `limit` of the rows; they come shuffled, so that the first are as good as any."""
        count = min(limit, len(self))
        return Drawn(self.rows.take(np.arange(count)), self.weights[:count], self.total)

    @property
    def size(self) -> float:
        """Rows of equal weight that would tell as much (Kish 1965)."""
        squares = float((self.weights**2).sum())
        return float(self.weights.sum()) ** 2 / squares if squares else 0.0


@dataclass(frozen=True)
class Rows:
    """The drawn rows of one evidence: reference, holdout and synthetic, comparable as they are weighted; the sides they
    come from."""

    at: Sides
    reference: Drawn
    holdout: Drawn
    synthetic: Drawn


def gather(evidence: Evidence) -> Rows | None:
    """Rows for every picture; None where a side has none. Synthetic rows come from the sample that is in memory.

    Where a mix is intended, real rows are weighted to it and synthetic rows to the mix that they have.
    """
    if not evidence.synthetic.num_rows or not evidence.reference.num_rows or not evidence.holdout.num_rows:
        return None
    at, seed, mix = sides(evidence), evidence.intent.seed, evidence.intent.mix
    return Rows(
        at,
        reference=draw(at.reference, seed=seed, mix=mix),
        holdout=draw(at.holdout, seed=seed + 1, mix=mix),
        synthetic=_synthetic(at, seed + 2, evidence.synthetic.num_rows),
    )


def draw(data: Dataset, *, seed: int, mix: Mapping[Any, float] | None = None, limit: int = LIMIT) -> Drawn:
    """At most `limit` rows in random order; with `mix`, weighted to these shares of the classes."""
    places = _places(data.num_rows, limit, seed)
    rows = data.take(places)
    return Drawn(rows, _weights(rows, mix), data.num_rows)


def _places(total: int, limit: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return rng.permutation(total) if total <= limit else rng.choice(total, limit, replace=False)


def _synthetic(at: Sides, seed: int, total: int) -> Drawn:
    """Of the sample: without an intended mix its fair part, else all of it, its topped-up classes weighted back."""
    if at.s is None or at.classes is None:
        places = at.whole[_places(len(at.whole), LIMIT, seed)]
        return Drawn(at.sample.take(places), np.ones(len(places)), total)
    places = _places(at.sample.num_rows, LIMIT, seed)
    labels, every = at.sample_labels[places] + 1, at.classes.synthetic + 1
    held = np.bincount(labels, minlength=len(at.classes.names) + 1)
    factor = np.bincount(every, minlength=len(held)) / np.maximum(held, 1)
    weights = factor[labels]
    return Drawn(at.sample.take(places), weights / weights.mean() if weights.sum() > 0 else np.ones(len(places)), total)


def _weights(rows: Dataset, mix: Mapping[Any, float] | None) -> Array:
    even = np.ones(rows.num_rows)
    if mix is None or not rows.schema.classes() or not rows.num_rows:
        return even
    target = rows.schema[str(rows.schema.target)]
    classes = list(rows.schema.classes())
    wanted = np.zeros(len(classes))
    for name, share in mix.items():
        try:
            wanted[classes.index(target.level(name))] += share
        except DataError:
            continue
    labels = rows.labels()
    real = np.bincount(labels[labels >= 0], minlength=len(classes)) / rows.num_rows
    factor = np.divide(wanted, real, out=np.zeros(len(classes)), where=real > 0)
    weights = np.where(labels >= 0, factor[labels], 0.0)
    # A mix of classes that these rows do not have says nothing about their weight.
    return weights / weights.mean() if weights.sum() > 0 else even
