"""How does one column become whole numbers that a network can guess one by one, and how do these become the column again?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from data.encode_bins import (
    ALONE,
    ALONE_ROWS,
    BIN_ROWS,
    BINS,
    FINE,
    GRID_ROWS,
    GRID_SHARE,
    SPIKE_ROWS,
    WIDE_ROWS,
    cut,
    nearest,
    own_cuts,
    parts,
    thinned,
)
from data.encode_values import Array, Levels, Scale, Values
from data.schema import Column

#: Levels of a discrete column that are tokens of their own; those beyond are told by a group and a place in it.
LEVELS = 512


@dataclass(frozen=True)
class LevelTokens:
    """A categorical or boolean column. Tokens are its levels, most frequent first, then null where there is one.

    A column of many levels has two tokens: the LEVELS / 2 most frequent ones stand alone in the first, the others fall into
    groups of `fold` by frequency; the second is the place in the group, 0 for those that stand alone."""

    name: str
    levels: Levels
    nulls: bool
    alone: int
    fold: int

    @classmethod
    def fit(cls, values: Values, column: Column) -> LevelTokens:
        levels = Levels.fit(values, column)
        count = len(levels.values)
        alone = count if count <= LEVELS else LEVELS // 2
        fold = math.isqrt(max(count - alone - 1, 0)) + 1 if count > alone else 0
        return cls(column.name, levels, values.null_count > 0, alone, fold)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Tokens of each field; (0,) for a column without any value."""
        first = self.alone + (-(-(len(self.levels.values) - self.alone) // self.fold) if self.fold else 0) + self.nulls
        return (first, self.fold) if self.fold else (first,)

    def encode(self, values: Values) -> Array:
        """(n, fields) int64; a level never seen, or a null that was not, gets -1."""
        return self._split(self.levels.read(values))

    def _split(self, codes: Array) -> Array:
        rest = codes - self.alone
        first = np.where(rest >= 0, self.alone + rest // max(self.fold, 1), codes)
        first = np.where(codes == -2, self.sizes[0] - 1 if self.nulls else -1, first)
        if not self.fold:
            return first[:, None]
        return np.stack([first, np.where(rest >= 0, rest % self.fold, 0)], axis=1)

    def decode(self, tokens: Array, rng: np.random.Generator) -> pa.Array:
        """(n, fields) tokens to values of the column's own type."""
        return self.levels.write(self.codes(tokens))

    def codes(self, tokens: Array) -> Array:
        """(n, fields) tokens to places among the levels: (n,) int64, -1 for null."""
        first = tokens[:, 0]
        codes = np.where(first >= self.sizes[0] - self.nulls, -1, first)
        if self.fold:
            deep = (first >= self.alone) & (codes >= 0)
            inner = self.alone + (first - self.alone) * self.fold + tokens[:, 1]
            # The last group may not be full.
            codes = np.where(deep, np.minimum(inner, len(self.levels.values) - 1), codes)
        return codes

    def given(self, value: object) -> tuple[int, ...]:
        """The tokens of a level or null. Raises KeyError when it was never seen."""
        if value is None:
            if not self.nulls:
                raise KeyError(value)
            return (self.sizes[0] - 1, 0)[: len(self.sizes)]
        try:
            code = self.levels.values.index(value)
        except ValueError:
            raise KeyError(value) from None
        return tuple(int(token) for token in self._split(np.array([code]))[0])

    def ranks(self) -> Array:
        """NaN for each token: levels have no order."""
        return np.full(sum(self.sizes), np.nan)

    def outside(self, values: Values) -> Array:
        """Levels have no range: (n,) zeros."""
        return np.zeros(len(values), dtype=bool)

    def to_state(self) -> dict[str, Any]:
        state = {"name": self.name, "levels": self.levels.to_state(), "nulls": self.nulls}
        return state | {"alone": self.alone, "fold": self.fold}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> LevelTokens:
        return cls(state["name"], Levels.from_state(state["levels"]), state["nulls"], state["alone"], state["fold"])


@dataclass(frozen=True)
class NumberTokens:
    """A numeric, integer or datetime column. Tokens are values that stand alone (spikes, ascending), then bins, then null;
    where bins hold rows enough a second token says in which part of the bin a number lies, 0 for what is in none.

    Within a part a value is drawn from the distribution of train's values there: on a grid one of those, else between two
    neighbours, so that tails and gaps stay as they are.

    Fields:
        atoms: (m,) ascending values outside the spikes; mass: (m,) rows for each.
        starts: (parts + 1,) where each part of a bin begins among the atoms. first: (bins + 1,) the first part of each bin.
        grid: whether atoms alone are drawn."""

    name: str
    scale: Scale
    spikes: Array
    atoms: Array
    mass: Array
    starts: Array
    first: Array
    grid: bool
    nulls: bool

    @classmethod
    def fit(
        cls,
        values: Values,
        column: Column,
        classes: Array | None = None,
        *,
        wide: bool = False,
        bins: int = BINS,
        fine: int = FINE,
    ) -> NumberTokens:
        """classes: (n,) int64, the class of each row, 0 the most frequent; below 0 for none. wide: one of very many columns,
        which has fewer bins, and these no parts. bins: at most so many. fine: parts of each, at most; 1 for none.

        Raises DataError for infinite values."""
        scale = Scale.fit(values, column)
        seen = scale.read(values, column.name)
        missing = np.isnan(seen)
        distinct, counts = np.unique(seen[~missing], return_counts=True)
        total = int(counts.sum())
        few = len(distinct) <= ALONE and total >= ALONE_ROWS * len(distinct)
        apart = np.full(len(distinct), True) if few or len(distinct) == 1 else counts >= max(SPIKE_ROWS, total / BINS)
        atoms, mass = thinned(distinct[~apart], counts[~apart])
        grid = bool(len(mass)) and float(counts[counts >= GRID_ROWS].sum()) >= GRID_SHARE * total
        own = own_cuts(atoms, seen, classes)
        edges = cut(mass, np.searchsorted(atoms, distinct[apart]), own, WIDE_ROWS if wide else BIN_ROWS, bins)
        starts, first = parts(mass, edges, 1 if wide else fine)
        return cls(column.name, scale, distinct[apart], atoms, mass, starts, first, grid, bool(missing.any()))

    @property
    def bins(self) -> int:
        return len(self.first) - 1

    @property
    def sizes(self) -> tuple[int, ...]:
        most = int(np.diff(self.first).max(initial=0))
        return (len(self.spikes) + self.bins + self.nulls, most)[: 1 + (most > 1)]

    def encode(self, values: Values) -> Array:
        """(n, fields) int64. A value never seen gets the bin, or else the spike, that is nearest; a null never seen -1."""
        return self._split(self.scale.read(values, self.name))

    def _split(self, seen: Array) -> Array:
        missing = np.isnan(seen)
        tokens, part = np.full(len(seen), -1, dtype=np.int64), np.zeros(len(seen), dtype=np.int64)
        if self.bins:
            place = np.searchsorted(self.atoms[self.starts[1:-1]], seen, side="right")
            inside = np.searchsorted(self.first[1:-1], place, side="right")
            tokens, part = len(self.spikes) + inside, place - self.first[inside]
        if len(self.spikes):
            near = nearest(self.spikes, seen)
            alone = (self.spikes[near] == seen) | (not self.bins)
            tokens, part = np.where(alone, near, tokens), np.where(alone, 0, part)
        tokens = np.where(missing, self.sizes[0] - 1 if self.nulls else -1, tokens)
        return np.stack([tokens, np.where(missing, 0, part)], axis=1)[:, : len(self.sizes)]

    def decode(self, tokens: Array, rng: np.random.Generator, within: Array | None = None) -> pa.Array:
        """(n, fields) tokens to values of the column's own type.

        within: (n,) how far along the rows of its part each value lies, 0 to 1; drawn evenly if None."""
        first = tokens[:, 0]
        out = np.full(len(first), np.nan)
        alone = first < len(self.spikes)
        out[alone] = self.spikes[first[alone]]
        rows = np.flatnonzero(~alone & (first < len(self.spikes) + self.bins))
        if len(rows):
            bins = first[rows] - len(self.spikes)
            part = self.first[bins] + (tokens[rows, 1] if tokens.shape[1] > 1 else 0)
            # A narrow bin may have fewer parts than there are tokens.
            along = rng.random(len(rows)) if within is None else within[rows]
            out[rows] = self._within(np.minimum(part, self.first[bins + 1] - 1), along)
        return self.scale.write(out)

    def _within(self, parts: Array, along: Array) -> Array:
        upto = np.concatenate([[0.0], np.cumsum(self.mass)])
        first, end = self.starts[parts], self.starts[parts + 1]
        at = upto[first] + along * (upto[end] - upto[first])
        place = np.clip(np.searchsorted(upto, at, side="right") - 1, first, end - 1)
        if self.grid:
            return np.asarray(self.atoms[place])
        # Half a step to either side of the atom, towards its neighbours, which may lie in the next part.
        step = (at - upto[place]) / self.mass[place] - 0.5
        other = np.clip(place + np.where(step < 0, -1, 1), 0, len(self.atoms) - 1)
        return np.asarray(self.atoms[place] + np.abs(step) * (self.atoms[other] - self.atoms[place]))

    def given(self, value: float | None) -> tuple[int, ...]:
        """The tokens of a value in the scale's units, or of null; a value between two of train's has those of the nearest.

        Raises KeyError for a number outside train's range, and for null where train has none."""
        inside = value is not None and bool(len(self.spikes) or self.bins) and self.scale.low <= value <= self.scale.high
        if not (self.nulls if value is None else inside):
            raise KeyError(value)
        return tuple(int(token) for token in self._split(np.array([np.nan if value is None else value]))[0])

    def makes(self, value: float) -> bool:
        """Whether `decode` can give this value, in the scale's units."""
        among = value in self.atoms if self.grid else self.scale.low <= value <= self.scale.high
        return value in self.spikes or (self.bins > 0 and bool(among))

    def outside(self, values: Values) -> Array:
        """Which values lie beyond train's least and greatest: (n,) bool."""
        seen = self.scale.read(values, self.name)
        return np.asarray((seen < self.scale.low) | (seen > self.scale.high))

    def ranks(self) -> Array:
        """The place of each token among the values, and of a part in its bin: (tokens,) float64 in [0, 1], NaN for null."""
        edges = self.starts[self.first]
        middle = [float(self.atoms[(a + b - 1) // 2]) for a, b in zip(edges, edges[1:], strict=False)]
        values = np.concatenate([self.spikes, middle])
        rank = np.empty(len(values))
        rank[np.argsort(values, kind="stable")] = (np.arange(len(values)) + 0.5) / max(len(values), 1)
        parts = [(np.arange(size) + 0.5) / size for size in self.sizes[1:]]
        return np.concatenate([rank, *([[np.nan]] if self.nulls else []), *parts])

    def to_state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"name": self.name, "scale": vars(self.scale), "grid": self.grid, "nulls": self.nulls}
        return state | {name: getattr(self, name).tolist() for name in ("spikes", "atoms", "mass", "starts", "first")}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> NumberTokens:
        spikes, atoms, mass = (np.array(state[name], dtype=np.float64) for name in ("spikes", "atoms", "mass"))
        starts, first = (np.array(state[name], dtype=np.int64) for name in ("starts", "first"))
        return cls(state["name"], Scale(**state["scale"]), spikes, atoms, mass, starts, first, state["grid"], state["nulls"])
