"""How does a model see a row? Numbers and codes fitted on train alone, for trees and for linear models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from data.dataset import Dataset
from data.encode_values import Levels, floats, split_tail
from data.schema import Column
from validators.stats import Array

#: A level below this share joins the tail level; at most LIMIT levels of a column stand alone.
FLOOR, LIMIT = 0.0005, 100
#: Bins of a number that trees see; codes of levels fit in as well.
BINS = 127
#: Standard deviations at which a number is cut: for any model (infinities), and for a linear one.
FAR, LINEAR_FAR = 1e6, 10.0
#: Features beyond which the matrix of a linear model is sparse.
DENSE = 300


@dataclass(frozen=True)
class Cells:
    """Encoded rows. numbers: (n, p) float64 in standard deviations of train, NaN where null; codes: (n, q) int64,
    -1 for a level that train does not have."""

    numbers: Array
    codes: Array

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: Array) -> Cells:
        """The rows at these positions or under this mask."""
        return Cells(self.numbers[rows], self.codes[rows])


def joined(parts: list[Cells]) -> Cells:
    """All rows of these, one after another."""
    return Cells(np.concatenate([p.numbers for p in parts]), np.concatenate([p.codes for p in parts]))


@dataclass(frozen=True)
class _Number:
    """A numeric, integer or datetime column: mean, standard deviation, and in its units the median and the bins of trees;
    gaps: whether it has nulls."""

    name: str
    centre: float
    spread: float
    middle: float
    edges: Array
    gaps: bool

    def read(self, rows: Dataset) -> Array:
        seen = floats(rows.column(self.name), self.name)
        return np.clip((seen - self.centre) / self.spread, -FAR, FAR)


@dataclass(frozen=True)
class _Level:
    """A categorical or boolean column: `alone` codes of their own, then the tail (if any), then null (if any)."""

    name: str
    levels: Levels
    alone: int
    size: int
    nulls: bool

    def read(self, rows: Dataset) -> Array:
        codes = self.levels.read(rows.column(self.name))
        place = np.where(codes >= self.alone, self.alone, codes)
        return np.where(codes == -2, self.size - 1 if self.nulls else -1, place)


@dataclass(frozen=True)
class Encoder:
    """The columns that a model learns from. A column that is constant in train says nothing and is left out.

    Trees get the numbers in bins, with their nulls, and the codes as categories; linear models get standardised numbers,
    a flag for nulls, and one feature a level. Half of the bins are quantiles within the classes, so that a rare class in
    a tail is not lumped together with it; fixed here, since scikit-learn's own bins of weighted rows take ten times as
    long as the trees."""

    numbers: tuple[_Number, ...]
    levels: tuple[_Level, ...]

    @classmethod
    def fit(cls, train: Dataset, columns: list[Column], labels: Array | None = None) -> Encoder:
        """Learn means, bins and levels from `train`; `columns` are looked at; labels: (n,) class of each row."""
        numbers = [_fit_number(train, column, labels) for column in columns if not column.discrete]
        levels = [_fit_level(train, column) for column in columns if column.discrete]
        return cls(tuple(n for n in numbers if n is not None), tuple(v for v in levels if v is not None))

    @property
    def columns(self) -> int:
        """Number of columns that vary."""
        return len(self.numbers) + len(self.levels)

    @property
    def gaps(self) -> Array:
        """(g,) positions of the numbers that have nulls in train."""
        return np.flatnonzero([number.gaps for number in self.numbers])

    @property
    def middle(self) -> Array:
        """(p,) median of each number, standardised."""
        return np.array([number.middle for number in self.numbers], dtype=float)

    @property
    def categorical(self) -> list[bool]:
        """Which columns of `trees` are categories."""
        return [False] * len(self.numbers) + [True] * len(self.levels)

    def read(self, rows: Dataset) -> Cells:
        """Raises DataError when a column is missing or cannot be read."""
        n = rows.num_rows
        numbers = [number.read(rows) for number in self.numbers]
        codes = [level.read(rows) for level in self.levels]
        return Cells(
            np.column_stack(numbers) if numbers else np.zeros((n, 0)),
            np.column_stack(codes).astype(np.int64) if codes else np.zeros((n, 0), dtype=np.int64),
        )

    def trees(self, cells: Cells) -> Array:
        """(n, p + q) float64: numbers of bins and codes, NaN for null numbers and unseen levels."""
        binned = np.empty_like(cells.numbers)
        for j, number in enumerate(self.numbers):
            seen = cells.numbers[:, j]
            binned[:, j] = np.where(np.isnan(seen), np.nan, np.searchsorted(number.edges, seen))
        return np.hstack([binned, np.where(cells.codes < 0, np.nan, cells.codes)])

    def linear(self, cells: Cells) -> Any:
        """(n, f) float64, sparse beyond DENSE features; an unseen level is all zero."""
        from scipy import sparse

        missing = np.isnan(cells.numbers)
        numbers = np.clip(np.where(missing, self.middle, cells.numbers), -LINEAR_FAR, LINEAR_FAR)
        plain = np.hstack([numbers, missing[:, self.gaps]])
        starts = np.cumsum([0, *(level.size for level in self.levels)])
        row, column = np.nonzero(cells.codes >= 0)
        place = starts[column] + cells.codes[row, column]
        hot = sparse.csr_matrix((np.ones(len(row)), (row, place)), shape=(len(cells), int(starts[-1])))
        if plain.shape[1] + hot.shape[1] > DENSE:
            return sparse.hstack([sparse.csr_matrix(plain), hot], format="csr")
        return np.hstack([plain, hot.toarray()])


@dataclass(frozen=True)
class Seen:
    """Rows as the models see them; each view is made once."""

    encoder: Encoder
    cells: Cells

    @cached_property
    def trees(self) -> Array:
        """See `Encoder.trees`."""
        return self.encoder.trees(self.cells)

    @cached_property
    def linear(self) -> Any:
        """See `Encoder.linear`."""
        return self.encoder.linear(self.cells)


def _fit_number(train: Dataset, column: Column, labels: Array | None) -> _Number | None:
    seen = floats(train.column(column.name), column.name)
    missing = np.isnan(seen)
    known = seen[np.isfinite(seen)]
    if not len(known) or (known.min() == known.max() and len(known) == len(seen)):
        return None
    centre, spread = float(known.mean()), float(known.std())
    spread = spread if np.isfinite(spread) and spread > 0 else 1.0
    scaled = np.clip((seen - centre) / spread, -FAR, FAR)
    edges = _edges(scaled[~missing], None if labels is None else labels[~missing])
    return _Number(column.name, centre, spread, float((np.median(known) - centre) / spread), edges, bool(missing.any()))


def _edges(values: Array, labels: Array | None) -> Array:
    """At most BINS - 1 ascending edges: between all distinct values where these are few, else quantiles, half of them of
    the whole and half within the classes."""
    distinct = np.unique(values)
    if len(distinct) <= BINS:
        return np.asarray((distinct[1:] + distinct[:-1]) / 2)
    if labels is None:
        return np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
    present = np.unique(labels)
    each = max((BINS - 1) // (2 * len(present)), 1)
    inside = [np.quantile(values[labels == y], np.linspace(0, 1, each + 2)[1:-1]) for y in present]
    most = max(BINS - 1 - each * len(present), 0)
    return np.unique(np.concatenate([np.quantile(values, np.linspace(0, 1, most + 2)[1:-1]), *inside]))[: BINS - 1]


def _fit_level(train: Dataset, column: Column) -> _Level | None:
    values = train.column(column.name)
    levels = Levels.fit(values, column)
    nulls = values.null_count > 0
    if len(levels.values) + nulls < 2:
        return None
    alone = split_tail(levels.counts, floor=FLOOR, limit=LIMIT)
    return _Level(column.name, levels, alone, alone + (len(levels.values) > alone) + nulls, nulls)
