"""How is a column of any Arrow type read as plain numbers or codes, and written back as it came in?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import DataError
from data.schema import Column, arrow_type

Array = np.ndarray
Values: TypeAlias = pa.Array | pa.ChunkedArray

#: A common step of whole numbers (salaries in hundreds) is believed from this many distinct values on.
STEP_VALUES = 12

_UNITS_A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def plain(values: Values) -> pa.Array:
    """One contiguous array without dictionary encoding."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(array, pa.ChunkedArray):  # combine_chunks of no chunks
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=array.type)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def floats(values: Values, name: str) -> Array:
    """Any ordered column as (n,) float64; nulls and NaN become NaN, times count in their own unit.

    Raises DataError when the values are not numbers or times."""
    array = plain(values)
    kind = array.type
    try:
        if pa.types.is_null(kind):
            return np.full(len(array), np.nan)
        if pa.types.is_timestamp(kind) or pa.types.is_date64(kind) or pa.types.is_duration(kind):
            array = array.cast(pa.int64())
        elif pa.types.is_date32(kind):
            array = array.cast(pa.int32())
        elif pa.types.is_boolean(kind):
            array = array.cast(pa.int8())
        array = array.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(
            f"column {name!r} is of type {kind} and cannot be read as numbers; declare its kind in the plan"
        ) from None
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.float64)


@dataclass(frozen=True)
class Scale:
    """A numeric, integer or datetime column as float64 without loss, and back in its own type.

    Whole-numbered columns (integers, dates, timestamps) are read as steps above the least value, so that nanosecond
    times and 64-bit integers keep every digit in float64.

    Fields:
        dtype: the Arrow type to write.
        whole: whether values are whole numbers of `step` above `base`.
        low, high: range of what was fitted, in the units that `read` gives; written values are clipped to it.
        decimals: digits after the point that are written; None keeps them all.
    """

    dtype: str
    whole: bool
    base: int
    step: int
    low: float
    high: float
    decimals: int | None

    @classmethod
    def fit(cls, values: Values, column: Column) -> Scale:
        """Raises DataError when a value is infinite or the type cannot be learned."""
        array = plain(values)
        whole = column.kind in ("integer", "datetime") or pa.types.is_integer(array.type)
        base, step = _lattice(array, column) if whole else (0, 1)
        blank = cls(column.dtype, whole, base, step, -np.inf, np.inf, column.decimals)
        seen = blank.read(array, column.name)
        seen = seen[~np.isnan(seen)]
        if np.isinf(seen).any():
            raise DataError(
                f"column {column.name!r} holds {int(np.isinf(seen).sum())} infinite values; make them null or drop those rows"
            )
        low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 0.0)
        return cls(column.dtype, whole, base, step, low, high, column.decimals)

    def read(self, values: Values, name: str) -> Array:
        """(n,) float64, NaN where null."""
        array = plain(values)
        if not self.whole:
            return floats(array, name)
        raw = whole_numbers(array, name)
        steps = (pc.fill_null(raw, self.base).to_numpy(zero_copy_only=False) - np.int64(self.base)) / self.step
        return np.where(raw.is_null().to_numpy(zero_copy_only=False), np.nan, steps)

    def write(self, values: Array) -> pa.Array:
        """(n,) float64, NaN for null, to an array of `dtype`: clipped, rounded, whole where it was whole."""
        missing = np.isnan(values)
        inside = np.clip(np.where(missing, self.low, values), self.low, self.high)
        target = arrow_type(self.dtype)
        if self.whole:
            raw = np.rint(inside).astype(np.int64) * np.int64(self.step) + np.int64(self.base)
            return cast_whole(pa.array(raw, mask=missing), target)
        if self.decimals is not None:
            inside = np.round(inside, self.decimals)
        if pa.types.is_decimal(target):
            return pc.round(pa.array(inside, mask=missing), target.scale).cast(target)
        return pa.array(inside, mask=missing).cast(target, safe=False)

    def ends(self) -> tuple[str, str]:
        """The least and the greatest value, as the column writes them."""
        both = self.write(np.array([self.low, self.high]))
        low, high = both.to_pylist() if pa.types.is_temporal(both.type) else both.cast(pa.string()).to_pylist()
        return str(low), str(high)


def _lattice(array: pa.Array, column: Column) -> tuple[int, int]:
    """Least value and common step of a whole-numbered column."""
    raw = whole_numbers(array, column.name).drop_null()
    if not len(raw):
        return 0, 1
    distinct = np.unique(raw.to_numpy(zero_copy_only=False))
    base = int(distinct[0])
    if column.kind == "datetime":
        # Down to the day only: sums of months are no lattice. The base itself must lie on it too.
        return base, _time_step(distinct, array.type)
    if len(distinct) < STEP_VALUES:
        return base, 1
    return base, max(int(np.gcd.reduce(distinct - base)), 1)


def _time_step(distinct: Array, kind: pa.DataType) -> int:
    if not pa.types.is_timestamp(kind):
        return 1
    second = _UNITS_A_SECOND[kind.unit]
    steps = [second * 86400, second * 3600, second * 60, second, second // 10**3, second // 10**6]
    return next((s for s in steps if s > 1 and not (distinct % s).any()), 1)


def whole_numbers(values: Values, name: str) -> pa.Array:
    """Whole numbers, dates and times as int64; floating NaN becomes null. Raises DataError when they do not fit."""
    array = plain(values)
    try:
        if pa.types.is_null(array.type):
            return array.cast(pa.int64())
        if pa.types.is_date32(array.type):
            array = array.cast(pa.int32())
        if pa.types.is_floating(array.type):
            if pc.any(pc.is_inf(array)).as_py():
                raise DataError(f"column {name!r} holds infinite values; make them null or drop those rows")
            array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
        return array.cast(pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(
            f"column {name!r} is of type {array.type} and does not fit 64-bit whole numbers; declare it numeric or categorical"
        ) from None


def cast_whole(raw: pa.Array, target: pa.DataType) -> pa.Array:
    """Whole numbers as an array of a whole-numbered Arrow type."""
    if pa.types.is_date32(target):
        return raw.cast(pa.int32()).cast(target)
    if pa.types.is_decimal(target):
        return raw.cast(pa.decimal128(19, 0)).cast(target)
    return raw.cast(target, safe=not pa.types.is_floating(target))


@dataclass(frozen=True)
class Levels:
    """The levels of a discrete column in their own type and spelling, most frequent first, with their counts."""

    dtype: str
    values: tuple[Any, ...]
    counts: tuple[int, ...]

    @classmethod
    def fit(cls, values: Values, column: Column) -> Levels:
        """Counts what is there; ties are ordered by text so that row order does not matter."""
        counted = pc.value_counts(plain(values).drop_null())
        levels, counts = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
        order = sorted(range(len(levels)), key=lambda i: (-counts[i], str(levels[i])))
        return cls(column.dtype, tuple(levels[i] for i in order), tuple(int(counts[i]) for i in order))

    def read(self, values: Values) -> Array:
        """(n,) int64 positions in `values`; -1 for a level never seen, -2 for null."""
        array = plain(values)
        known = self.known()
        if array.type != known.type:
            try:
                array = array.cast(known.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                array, known = array.cast(pa.string()), known.cast(pa.string())
        found = pc.fill_null(pc.index_in(array, value_set=known), -1).to_numpy(zero_copy_only=False).astype(np.int64)
        return np.where(array.is_null().to_numpy(zero_copy_only=False), -2, found)

    def write(self, codes: Array) -> pa.Array:
        """(n,) positions, negative for null, to an array of the column's own type."""
        picked = self.known().take(pa.array(codes, mask=codes < 0))
        target = arrow_type(self.dtype)
        if pa.types.is_dictionary(target):
            encoded = picked.dictionary_encode()
            return encoded if encoded.type == target else encoded.cast(target)
        return picked

    def known(self) -> pa.Array:
        """The levels as an Arrow array of the column's value type."""
        kind = arrow_type(self.dtype)
        return pa.array(self.values, type=kind.value_type if pa.types.is_dictionary(kind) else kind)

    def to_state(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "values": self.known().cast(pa.string()).to_pylist(), "counts": list(self.counts)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Levels:
        kind = arrow_type(state["dtype"])
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        values = pa.array(state["values"], type=pa.string()).cast(kind).to_pylist()
        return cls(state["dtype"], tuple(values), tuple(state["counts"]))


def split_tail(counts: Sequence[int], *, floor: float, limit: int) -> int:
    """How many of the most frequent levels (counts in falling order) stand alone; the rest share one level.

    A tail of a single level stands alone too: putting it into a group of one would only hide its name."""
    total = max(sum(counts), 1)
    alone = sum(1 for c in counts[:limit] if c >= floor * total)
    return len(counts) if alone == len(counts) - 1 and len(counts) <= limit else alone
