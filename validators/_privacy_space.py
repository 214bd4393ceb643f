"""How far is one person's row from another, over any columns that an attacker knows?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.dataset import Dataset
from data.encode_values import floats
from data.schema import Column
from validators.points import EVEN, batch_keys
from validators.stats import Array

#: Columns of more levels than this are written as BITS signs of the level's key: any two levels lie about 1 apart.
MOST_LEVELS, BITS = 24, 32
#: Numbers are cut at so many deviations.
FAR = 10.0


def column_keys(rows: Dataset, column: Column) -> Array:
    """A 64-bit key of each value of one column, equal where values (or nulls) are equal: (n,) uint64."""
    parts = [batch_keys(batch, [column]) for batch in rows.batches(columns=[column.name])]
    return np.concatenate([np.zeros(0, dtype=np.uint64), *parts])


def numbers(rows: Dataset, column: Column) -> Array:
    """(n,) float64, NaN where null."""
    return floats(rows.column(column.name), column.name)


@dataclass(frozen=True)
class _Part:
    """One column and the features it becomes. known: keys of its levels, where each has a feature of its own."""

    column: Column
    start: int
    stop: int
    middle: float = 0.0
    width: float = 1.0
    known: Array | None = None

    def read(self, rows: Dataset) -> Array:
        """(n, stop - start) float64."""
        if not self.column.discrete:
            seen = (numbers(rows, self.column) - self.middle) / self.width
            missing = np.isnan(seen)
            return np.column_stack([np.where(missing, 0.0, np.clip(seen, -FAR, FAR)) * EVEN, missing])
        keys = column_keys(rows, self.column)
        if self.known is None:
            bits = (keys[:, None] >> np.arange(BITS, dtype=np.uint64)) & np.uint64(1)
            return np.asarray((bits.astype(np.float64) * 2 - 1) * (2 * BITS) ** -0.5)
        hot = keys[:, None] == self.known
        # A level that the reference lacks is as far from the others as they are from one another.
        return np.asarray(np.column_stack([hot, ~hot.any(axis=1)]) * 0.5**0.5)


@dataclass(frozen=True)
class Space:
    """Rows as points: numbers in units of their deviation (over the square root of 12, as ranks spread), with a flag for
    null; two different levels lie 1 apart.

    The gate's `Geometry` lumps rare levels together, which is what an attacker looks for; here each counts."""

    parts: tuple[_Part, ...]

    @classmethod
    def fit(cls, reference: Dataset) -> Space:
        """Learn deviations and levels."""
        parts: list[_Part] = []
        for column in reference.schema.learned:
            parts.append(_fit(column, reference, parts[-1].stop if parts else 0))
        return cls(tuple(parts))

    @property
    def width(self) -> int:
        """Number of features d."""
        return self.parts[-1].stop

    def points(self, rows: Dataset) -> Array:
        """(n, d) float64."""
        out = np.empty((rows.num_rows, self.width))
        for part in self.parts:
            out[:, part.start : part.stop] = part.read(rows)
        return out

    def places(self, names: Sequence[str]) -> Array:
        """Positions of the features of these columns: (f,)."""
        own = [np.arange(part.start, part.stop) for part in self.parts if part.column.name in names]
        return np.concatenate([np.zeros(0, dtype=np.int64), *own])


def _fit(column: Column, reference: Dataset, start: int) -> _Part:
    if not column.discrete:
        seen = numbers(reference, column)
        seen = seen[np.isfinite(seen)]
        middle, width = (float(seen.mean()), float(seen.std())) if len(seen) else (0.0, 1.0)
        return _Part(column, start, start + 2, middle, width or 1.0)
    known = np.unique(column_keys(reference, column))
    if len(known) > MOST_LEVELS:
        return _Part(column, start, start + BITS)
    return _Part(column, start, start + len(known) + 1, known=known)
