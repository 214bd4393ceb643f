"""Where does a row lie? Two frozen views of a table: the gate's metric space and the networks' matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from data.dataset import BATCH_ROWS, Dataset
from data.encode_modes import Modes, Span
from data.encode_values import Array, Levels, floats, split_tail
from data.errors import DataError
from data.schema import Column

__all__ = ["Geometry", "Modes", "Ranks", "Span"]

#: A level below this share joins the tail level; at most LIMIT levels of a column stand alone.
FLOOR = 0.002
LIMIT = 64
#: Knots of a rank curve. Exact below this many distinct values, else at even ranks, heavy values kept.
KNOTS = 2000

_HALF = np.float32(1 / np.sqrt(2))


@dataclass(frozen=True)
class Ranks:
    """The quantile rank of a value among those fitted: mid-ranks at ties, linear between, clipped outside."""

    at: Array
    rank: Array

    @classmethod
    def fit(cls, values: Array) -> Ranks:
        """values: (n,) float64 without NaN; infinities are clipped to the finite range."""
        finite = values[np.isfinite(values)]
        if not len(finite):
            return cls(np.zeros(1), np.full(1, 0.5))
        distinct, counts = np.unique(finite, return_counts=True)
        rank = (np.cumsum(counts) - counts / 2) / len(finite)
        if len(distinct) > KNOTS:
            even = np.searchsorted(rank, np.linspace(0, 1, KNOTS)).clip(0, len(rank) - 1)
            heavy = np.flatnonzero(counts > len(finite) / KNOTS)
            # The neighbours of a heavy value keep its jump where it is.
            near = np.concatenate([heavy - 1, heavy, heavy + 1]).clip(0, len(rank) - 1)
            keep = np.unique(np.concatenate([even, near, [0, len(rank) - 1]]))
            distinct, rank = distinct[keep], rank[keep]
        return cls(distinct, rank)

    def __call__(self, values: Array) -> Array:
        """(n,) float64 in [0, 1]; NaN gets the median's 0.5."""
        out = np.interp(values, self.at, self.rank)
        return np.where(np.isnan(values), 0.5, out)


@dataclass(frozen=True)
class _Part:
    """One column of the table and the features it becomes."""

    name: str
    start: int
    stop: int
    nulls: bool
    ranks: Ranks | None = None
    levels: Levels | None = None
    alone: int = 0

    def level_name(self, place: int) -> str:
        """What the level feature at `place` stands for, without blanks around it."""
        assert self.levels is not None  # noqa: S101 - asked of discrete columns alone
        if place < self.alone:
            return str(self.levels.values[place]).strip()
        return "any other level" if place == self.alone and len(self.levels.values) > self.alone else "missing"

    def fill(self, out: Array, values: pa.Array) -> None:
        """Write the features of `values` into out[:, start:stop], which is zero on entry."""
        if self.ranks is not None:
            seen = floats(values, self.name)
            out[:, self.start] = self.ranks(seen)
            if self.nulls:
                out[:, self.start + 1] = np.isnan(seen)
            return
        assert self.levels is not None  # noqa: S101 - a part has ranks or levels
        codes = self.levels.read(values)
        place = np.where(codes >= self.alone, self.alone, codes)
        place = np.where(codes == -2, self.stop - self.start - 1 if self.nulls else -1, place)
        rows = np.flatnonzero(place >= 0)
        out[rows, self.start + place[rows]] = _HALF


@dataclass(frozen=True)
class Geometry:
    """The gate's metric space: distances mean the same in every column.

    Numeric, integer and datetime columns become quantile ranks in [0, 1], plus an indicator where nulls are possible
    (the value is then the median). Categorical and boolean columns become one-hot / sqrt(2), so that two different
    levels lie at distance 1; rare levels share one feature, a level never seen is all zero, null is a level of its own.
    Ids, texts and other kinds that families do not learn take no part.

    Source: the embedding of Naeem et al. 2020 as used for mixed tables; ranks make it invariant to units and tails.
    """

    parts: tuple[_Part, ...]

    @classmethod
    def fit(cls, train: Dataset, *, with_target: bool = False) -> Geometry:
        """Learn ranks and levels from `train` alone; the holdout must stay unseen by the space it is judged in.

        Raises DataError when no column is left to measure."""
        schema = train.schema
        parts: list[_Part] = []
        for column in schema.learned:
            if column.name == schema.target and not with_target:
                continue
            parts.append(_fit_part(column, train.column(column.name), parts[-1].stop if parts else 0))
        if not parts:
            raise DataError("no column can be measured: besides the target there are only ids, texts or other unlearned kinds")
        return cls(tuple(parts))

    @property
    def width(self) -> int:
        """Number of features d."""
        return self.parts[-1].stop

    @property
    def spans(self) -> dict[str, slice]:
        """The features of each column."""
        return {part.name: slice(part.start, part.stop) for part in self.parts}

    def transform(self, rows: Dataset | pa.Table | pa.RecordBatch) -> Array:
        """(n, d) float32. Rows of a dataset on disk are read batch by batch.

        Raises DataError when a fitted column is missing or cannot be read."""
        total = rows.num_rows
        out = np.zeros((total, self.width), dtype=np.float32)
        done = 0
        for batch in _batches(rows):
            part = out[done : done + batch.num_rows]
            for each in self.parts:
                each.fill(part, _column(batch, each.name))
            done += batch.num_rows
        return out

    def to_state(self) -> dict[str, Any]:
        """JSON values only."""
        return {"parts": [_part_state(part) for part in self.parts]}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Geometry:
        return cls(tuple(_part_from(value) for value in state["parts"]))


def _fit_part(column: Column, values: pa.ChunkedArray, start: int) -> _Part:
    if column.discrete:
        levels = Levels.fit(values, column)
        alone = split_tail(levels.counts, floor=FLOOR, limit=LIMIT)
        nulls = column.nullable or values.null_count > 0
        stop = start + alone + (len(levels.values) > alone) + nulls
        # A column of nulls alone, in a schema that allows none, still takes one (empty) feature.
        return _Part(column.name, start, max(stop, start + 1), nulls, levels=levels, alone=alone)
    seen = floats(values, column.name)
    missing = np.isnan(seen)
    nulls = bool(column.nullable or missing.any())
    return _Part(column.name, start, start + 1 + nulls, nulls, ranks=Ranks.fit(seen[~missing]))


def _batches(rows: Dataset | pa.Table | pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if isinstance(rows, pa.RecordBatch):
        yield rows
    elif isinstance(rows, pa.Table):
        yield from rows.to_batches(max_chunksize=BATCH_ROWS)
    else:
        yield from rows.batches()


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name not in batch.schema.names:
        raise DataError(f"column {name!r} is missing; the columns are {', '.join(batch.schema.names)}")
    return batch.column(batch.schema.get_field_index(name))


def _part_state(part: _Part) -> dict[str, Any]:
    state: dict[str, Any] = {
        "name": part.name,
        "start": part.start,
        "stop": part.stop,
        "nulls": part.nulls,
        "alone": part.alone,
    }
    if part.ranks is not None:
        state["ranks"] = {"at": part.ranks.at.tolist(), "rank": part.ranks.rank.tolist()}
    if part.levels is not None:
        state["levels"] = part.levels.to_state()
    return state


def _part_from(state: dict[str, Any]) -> _Part:
    ranks, levels = state.get("ranks"), state.get("levels")
    return _Part(
        state["name"],
        state["start"],
        state["stop"],
        state["nulls"],
        ranks=Ranks(np.asarray(ranks["at"]), np.asarray(ranks["rank"])) if ranks else None,
        levels=Levels.from_state(levels) if levels else None,
        alone=state["alone"],
    )
