"""Which rows hold the same values in some columns, and which of them are known already?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from data.encode_values import plain

Array = np.ndarray
Rows: TypeAlias = pa.Table | pa.RecordBatch

_NOTHING = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)


def marks(rows: Rows, names: Sequence[str]) -> Array:
    """A 64-bit hash of what each row holds in these columns, a null being a value too: (rows,) uint64.

    Among 10,000,000 combinations two share a hash with a probability below 3e-6."""
    out = np.zeros(rows.num_rows, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for name in names:
            out = (out ^ (out >> np.uint64(29))) * _MIX + _hashed(plain(rows.column(name)))
    return out


def _hashed(values: pa.Array) -> Array:
    kind = values.type
    if pa.types.is_floating(kind):
        wide = values.cast(pa.float64())
        # NaN is no value, and -0.0 is 0.0.
        values = pc.if_else(pc.is_nan(wide), pa.scalar(None, pa.float64()), pc.add(wide, 0.0))
    elif pa.types.is_timestamp(kind) or pa.types.is_date64(kind):
        values = values.cast(pa.int64())
    elif pa.types.is_date32(kind):
        values = values.cast(pa.int32())
    elif pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    elif pa.types.is_null(kind):
        return np.full(len(values), _NOTHING)
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        filled = pc.fill_null(values, pa.scalar(0, values.type))
        seals = pd.util.hash_array(filled.to_numpy(zero_copy_only=False), categorize=False)
    else:
        texts = values.cast(pa.string()).dictionary_encode()
        known = pd.util.hash_array(texts.dictionary.to_numpy(zero_copy_only=False), categorize=False)
        known = np.append(known, 0)
        seals = known[pc.fill_null(texts.indices, len(known) - 1).to_numpy(zero_copy_only=False)]
    return np.where(values.is_null().to_numpy(zero_copy_only=False), _NOTHING, seals).astype(np.uint64)


def present(rows: Rows, names: Sequence[str]) -> Array:
    """Rows where none of these columns is missing: (rows,) bool."""
    out = np.ones(rows.num_rows, dtype=bool)
    for name in names:
        out &= ~gaps(rows.column(name))
    return out


def gaps(values: pa.Array | pa.ChunkedArray) -> Array:
    """Null or NaN: (n,) bool."""
    return np.asarray(pc.is_null(plain(values), nan_is_null=True).to_numpy(zero_copy_only=False))


@dataclass(frozen=True)
class Combinations:
    """The combinations of values that rows hold, most frequent first.

    values: one row a combination. counts: (k,) rows that hold each."""

    values: pa.Table
    counts: Array
    _order: Array = field(repr=False, compare=False)
    _marks: Array = field(repr=False, compare=False)

    @classmethod
    def of(cls, rows: Rows, names: Sequence[str]) -> Combinations:
        """Those of the columns `names`."""
        found, first, counts = np.unique(marks(rows, names), return_index=True, return_counts=True)
        order = np.lexsort([first, -counts])
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        return cls.over(table.select(list(names)).take(pa.array(first[order])).combine_chunks(), counts[order])

    @classmethod
    def over(cls, values: pa.Table, counts: Array) -> Combinations:
        """From the table and counts of another one, as they were saved."""
        seals = marks(values, values.column_names)
        order = np.argsort(seals, kind="stable")
        return cls(values, counts, order, seals[order])

    def __len__(self) -> int:
        return len(self.counts)

    def places(self, rows: Rows, names: Sequence[str]) -> Array:
        """Which combination each row holds in `names`, the columns of `values` in their order; -1 for none: (rows,) int64."""
        seals = marks(rows, names)
        if not len(self):
            return np.full(len(seals), -1)
        at = np.minimum(np.searchsorted(self._marks, seals), len(self) - 1)
        return np.where(self._marks[at] == seals, self._order[at], -1)
