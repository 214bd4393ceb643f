"""How is a column told in a few words? Bins and frequent levels: enough to say what a parent is like, too little to say who."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from data.encode_values import Array, Values, floats, plain
from data.schema import Column

#: Numbers are cut into so many bins of equal mass, or are values of their own where they are not more.
BINS = 12
#: At most so many levels are told apart, each of so many rows at least.
LEVELS, LEVEL_ROWS = 20, 4


@dataclass(frozen=True)
class Coarse:
    """A column as a few codes: 0, 1, ... for its bins or levels, RARE for other levels, NULL for null.

    edges: numbers, the upper ends of all bins but the last. levels: the texts of the levels, most frequent first."""

    name: str
    edges: tuple[float, ...] = ()
    levels: tuple[str, ...] | None = None

    RARE = 1000
    NULL = 1001

    @classmethod
    def fit(cls, values: Values, column: Column) -> Coarse:
        """Learn bins or levels from a column."""
        if column.discrete:
            words = np.array(_words(values), dtype=object)
            levels, rows = np.unique(words[words != _NULL].astype(str), return_counts=True)
            order = np.lexsort((levels, -rows))[:LEVELS]
            return cls(column.name, levels=tuple(str(levels[i]) for i in order if rows[i] >= LEVEL_ROWS))
        return cls.of_numbers(column.name, floats(values, column.name))

    @classmethod
    def of_numbers(cls, name: str, numbers: Array) -> Coarse:
        """Learn bins from (n,) numbers, NaN for null."""
        seen = numbers[np.isfinite(numbers)]
        distinct = np.unique(seen)
        if len(distinct) <= BINS:
            return cls(name, tuple(((distinct[:-1] + distinct[1:]) / 2).tolist()))
        cuts = np.quantile(seen, np.arange(1, BINS) / BINS)
        return cls(name, tuple(np.unique(cuts[cuts < distinct[-1]]).tolist()))

    def read(self, values: Values) -> Array:
        """(n,) int64 codes."""
        if self.levels is None:
            return self.of(floats(values, self.name))
        place = {level: code for code, level in enumerate(self.levels)} | {_NULL: self.NULL}
        return np.array([place.get(word, self.RARE) for word in _words(values)], dtype=np.int64)

    def of(self, numbers: Array) -> Array:
        """Numbers as codes: (n,) int64."""
        missing = np.isnan(numbers)
        code = np.searchsorted(np.array(self.edges), np.where(missing, 0.0, numbers), side="left")
        return np.asarray(np.where(missing, self.NULL, code), dtype=np.int64)

    def points(self, codes: Array) -> Array:
        """Codes as places in space: numbers as one column from 0 to 1, levels one-hot over the root of two, null on its own:
        (n, d) float64."""
        null = (codes == self.NULL).astype(np.float64)[:, None]
        if self.levels is None:
            place = np.where(codes == self.NULL, 0.5, codes / max(len(self.edges), 1))[:, None]
            return np.concatenate([place, null], axis=1)
        kinds = [(codes == code).astype(np.float64) for code in (*range(len(self.levels)), self.RARE)]
        return np.asarray(np.concatenate([np.stack(kinds, axis=1), null], axis=1) / np.sqrt(2))

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "edges": list(self.edges), "levels": None if self.levels is None else list(self.levels)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Coarse:
        levels = None if value["levels"] is None else tuple(value["levels"])
        return cls(value["name"], tuple(value["edges"]), levels)


_NULL = "\0null"


def _words(values: Values) -> list[str]:
    return [_NULL if v is None else v for v in plain(values).cast(pa.string()).to_pylist()]


def information(one: Array, other: Array, rows: int | None = None) -> float:
    """Mutual information of two columns of codes in nats, less what chance alone brings: may be below 0.

    rows: how many of the rows are independent, fewer where those of one parent say the same; all if None.
    Source: Miller 1955, "Note on the bias of information estimates"."""
    _, a = np.unique(one, return_inverse=True)
    _, b = np.unique(other, return_inverse=True)
    width = int(b.max(initial=0)) + 1
    joint = np.bincount(a * width + b, minlength=(int(a.max(initial=0)) + 1) * width).reshape(-1, width)
    share = joint / max(joint.sum(), 1)
    split = share.sum(axis=1, keepdims=True) * share.sum(axis=0, keepdims=True)
    held = share > 0
    said = float((share[held] * np.log(share[held] / split[held])).sum())
    return said - (joint.shape[0] - 1) * (joint.shape[1] - 1) / (2 * max(rows or len(one), 1))
