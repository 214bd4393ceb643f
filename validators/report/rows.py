"""Which rows does the page look at, and what does each of them weigh?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.dataset import Dataset
from data.errors import DataError

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


def draw(data: Dataset, *, seed: int, mix: Mapping[Any, float] | None = None, limit: int = LIMIT) -> Drawn:
    """At most `limit` rows in random order; with `mix`, weighted to these shares of the classes."""
    total = data.num_rows
    rng = np.random.default_rng(seed)
    places = rng.permutation(total) if total <= limit else rng.choice(total, limit, replace=False)
    rows = data.take(places)
    return Drawn(rows, _weights(rows, mix), total)


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
