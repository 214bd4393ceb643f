"""How do families without a network of their own read rows: as numbers, codes of levels, and a class each?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.encode_values import Levels, Scale
from generators.base import GeneratorError
from generators.tabular._conditions import part_seed
from generators.tabular._table import rng_of

Array = np.ndarray
#: (class, rows, seed) -> numbers (rows, p) and codes (rows, q) of that many new rows of the class.
DrawClass = Callable[[int, int, int], tuple[Array, Array]]


@dataclass(frozen=True)
class PlainRows:
    """Rows as numbers, codes and classes, and back as they were written.

    Fields:
        target: the column of the classes where it is discrete, else None: then all rows are of one class.
        scales: how each number is read. levels: how each discrete column is read, the target among them."""

    target: str | None
    scales: Mapping[str, Scale]
    levels: Mapping[str, Levels]

    @classmethod
    def fit(cls, train: Dataset) -> Self:
        """Raises DataError when a column holds infinite values."""
        target, learned = train.schema.target, train.schema.learned
        scales = {c.name: Scale.fit(train.column(c.name), c) for c in learned if not c.discrete}
        levels = {c.name: Levels.fit(train.column(c.name), c) for c in learned if c.discrete}
        return cls(target if target in levels else None, scales, levels)

    @property
    def features(self) -> list[str]:
        """The discrete columns that are not the target."""
        return [name for name in self.levels if name != self.target]

    def labels(self, train: Dataset) -> Array:
        """The class of each row, null as one more class: (n,) int64."""
        if self.target is None:
            return np.zeros(train.num_rows, dtype=np.int64)
        codes = self.levels[self.target].read(train.column(self.target))
        return np.where(codes < 0, len(self.levels[self.target].values), codes)

    def numbers(self, train: Dataset) -> Array:
        """(n, p) float64 in the units of the scales, NaN where missing."""
        read = [scale.read(train.column(name), name) for name, scale in self.scales.items()]
        return np.column_stack([*read, np.zeros((train.num_rows, 0))])

    def codes(self, train: Dataset) -> Array:
        """(n, q) int64, negative where missing."""
        read = [self.levels[name].read(train.column(name)) for name in self.features]
        return np.column_stack([*read, np.zeros((train.num_rows, 0), dtype=np.int64)]).astype(np.int64)

    def name(self, label: int) -> str:
        """A class as a sentence names it."""
        values = self.levels[str(self.target)].values
        return repr(values[label]) if label < len(values) else "null"

    def label(self, level: object, shares: Array) -> int:
        """The class that a condition names. Raises GeneratorError for one that no training row holds, whose share is 0."""
        values = self.levels[str(self.target)].values
        label = len(values) if level is None else values.index(level) if level in values else -1
        if not 0 <= label < len(shares) or not shares[label]:
            raise GeneratorError(f"where.{self.target}: no training row holds {level!r}; name a class that was seen")
        return label

    def write(self, numbers: Array, codes: Array, labels: Array, gaps: Array) -> pa.RecordBatch:
        """Columns from numbers (n, p), codes (n, q) and classes (n,).

        codes may be followed by a flag for each number that `gaps` names: 1 leaves it out."""
        numbers, features = numbers.copy(), self.features
        for j, gap in enumerate(gaps):
            numbers[codes[:, len(features) + j] == 1, gap] = np.nan
        out: dict[str, pa.Array] = {name: scale.write(numbers[:, j]) for j, (name, scale) in enumerate(self.scales.items())}
        for j, name in enumerate(features):
            out[name] = self.levels[name].write(codes[:, j])
        if self.target is not None:
            levels = self.levels[self.target]
            out[self.target] = levels.write(np.where(labels == len(levels.values), -1, labels))
        return pa.RecordBatch.from_pydict(out)

    def to_state(self) -> dict[str, Any]:
        """JSON values only."""
        return {
            "scales": {name: scale.__dict__ for name, scale in self.scales.items()},
            "levels": {name: levels.to_state() for name, levels in self.levels.items()},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], target: str | None) -> Self:
        """What `to_state` wrote; target: the schema's, of any kind or None."""
        scales = {name: Scale(**value) for name, value in state["scales"].items()}
        levels = {name: Levels.from_state(value) for name, value in state["levels"].items()}
        return cls(target if target in levels else None, scales, levels)


def flagged(numbers: Array, codes: Array, gaps: Array) -> Array:
    """Codes (n, q) with a flag behind them, 1 for missing, for each column of numbers that `gaps` names."""
    return np.hstack([codes, np.isnan(numbers[:, gaps]).astype(np.int64)])


def by_class(draw: DrawClass, n: int, label: int | None, shares: Array, seed: int) -> tuple[Array, Array, Array]:
    """Numbers, codes and classes of `n` rows in random order, of one class or, where `label` is None, by the shares of all."""
    rng = rng_of(seed)
    counts = rng.multinomial(n, shares) if label is None else np.eye(len(shares), dtype=np.int64)[label] * n
    made = [(*draw(k, int(m), part_seed(seed, k)), np.full(m, k)) for k, m in enumerate(counts) if m]
    order = rng.permutation(n)
    numbers, codes, labels = (np.concatenate(part)[order] for part in zip(*made, strict=True))
    return numbers, codes, labels


def some(labels: Array, most: int, rng: np.random.Generator) -> Array:
    """Positions of at most `most` rows of each class, a random choice of more, in order."""
    kept = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        kept.append(rows if len(rows) <= most else rng.choice(rows, most, replace=False))
    return np.sort(np.concatenate(kept))
