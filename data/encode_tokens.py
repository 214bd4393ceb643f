"""How does a table become whole numbers that a network can guess one by one, and how do these become the table again?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.encode_bins import ALONE, BINS, FINE, WIDE, by_frequency
from data.encode_columns import LEVELS, LevelTokens, NumberTokens
from data.encode_moments import MomentTokens, units_of
from data.encode_values import Array
from data.errors import DataError
from data.schema import Column, arrow_type

__all__ = ["ALONE", "BINS", "FINE", "LEVELS", "LevelTokens", "MomentTokens", "NumberTokens", "TokenColumn", "Tokens"]

TokenColumn = LevelTokens | NumberTokens | MomentTokens


@dataclass(frozen=True)
class Tokens:
    """A table as tokens: (n, fields) whole numbers, a field for each column, or two for a column of many levels.

    Source: discretised sub-columns as in TabularARGN (Tiwald et al. 2025, arXiv 2501.12012, section 3.1); what is different:
    bins have train's own distribution within them, and values that are frequent are no bins."""

    columns: tuple[TokenColumn, ...]

    @classmethod
    def fit(cls, train: Dataset, *, calendar: bool = False, bins: int = BINS, fine: int = FINE) -> Tokens:
        """calendar: dates and times become days, weekdays, weeks and times of day (MomentTokens) in place of one number.
        bins, fine: of each column of numbers, and parts of each bin, at most.

        Raises DataError for infinite values."""
        classes = by_frequency(train.labels()) if train.schema.classes() else None
        wide = len(train.schema.learned) > WIDE

        def fit(column: Column) -> TokenColumn:
            values = train.column(column.name)
            if column.discrete:
                return LevelTokens.fit(values, column)
            if calendar and units_of(arrow_type(column.dtype)) and values.null_count < len(values):
                return MomentTokens.fit(values, column)
            return NumberTokens.fit(values, column, classes, wide=wide, bins=bins, fine=fine)

        return cls(tuple(fit(column) for column in train.schema.learned))

    @property
    def sizes(self) -> list[int]:
        """Tokens of each field."""
        return [size for column in self.columns for size in column.sizes]

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def fields(self, name: str) -> range:
        """The fields of a column."""
        start = 0
        for column in self.columns:
            if column.name == name:
                return range(start, start + len(column.sizes))
            start += len(column.sizes)
        raise KeyError(name)

    def __getitem__(self, name: str) -> TokenColumn:
        return next(column for column in self.columns if column.name == name)

    def encode(self, rows: Dataset | pa.Table | pa.RecordBatch) -> Array:
        """(n, fields) int64; -1 for what train did not hold. Raises DataError for a column that is not there."""
        held = rows.table if isinstance(rows, Dataset) else rows
        parts = []
        for column in self.columns:
            if column.name not in held.schema.names:
                raise DataError(f"column {column.name!r} is missing; the columns are {', '.join(held.schema.names)}")
            parts.append(column.encode(held.column(column.name)))
        return np.concatenate(parts, axis=1)

    def outside(self, rows: Dataset) -> Array:
        """How many numbers of each row lie beyond what train held: (n,) int64."""
        return np.asarray(np.sum([column.outside(rows.column(column.name)) for column in self.columns], axis=0, dtype=np.int64))

    def missing(self, rows: Dataset) -> Array:
        """Which fields are of a column that is null: (n, fields) bool."""
        parts = []
        for column in self.columns:
            values = rows.column(column.name)
            seen = values.is_null(nan_is_null=True) if pa.types.is_floating(values.type) else values.is_null()
            null = np.asarray(seen.to_numpy(zero_copy_only=False) if isinstance(seen, pa.Array) else seen.to_numpy())
            parts += [null] * len(column.sizes)
        return np.stack(parts, axis=1)

    def decode(self, tokens: Array, rng: np.random.Generator, within: Mapping[str, Array] | None = None) -> dict[str, pa.Array]:
        """Column -> its values. within: of columns of numbers, how far along its part each value lies: NumberTokens.decode."""
        out, start, along = {}, 0, within or {}
        for column in self.columns:
            stop = start + len(column.sizes)
            own = tokens[:, start:stop]
            if isinstance(column, NumberTokens):
                out[column.name] = column.decode(own, rng, along.get(column.name))
            else:
                out[column.name] = column.decode(own, rng)
            start = stop
        return out

    def to_state(self) -> list[dict[str, Any]]:
        """JSON values only."""
        return [column.to_state() for column in self.columns]

    @classmethod
    def from_state(cls, state: Sequence[dict[str, Any]]) -> Tokens:
        def kind(column: dict[str, Any]) -> type[LevelTokens | NumberTokens | MomentTokens]:
            return LevelTokens if "levels" in column else MomentTokens if "days" in column else NumberTokens

        return cls(tuple(kind(column).from_state(column) for column in state))
