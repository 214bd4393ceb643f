"""How does a table become the matrix that a network learns, and how does the matrix become the table again?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.encode_values import Array, Levels, Scale, Values, split_tail
from data.errors import DataError
from data.mixture import Mixture
from data.schema import Column

#: An exact value with more than this share of a numeric column is a state of its own (capital-gain: 91 % zeros) ...
SPIKE = 0.05
#: ... if it was seen this often: in twenty rows every value has 5 %.
SPIKE_ROWS = 5
#: Numbers lie on a grid when this share of the rows hold a value that at least so many rows hold.
GRID_SHARE, GRID_ROWS = 0.95, 3
#: Levels below this share of a discrete column share one state, the tail; at most LIMIT levels stand alone.
FLOOR = 0.001
LIMIT = 200


@dataclass(frozen=True)
class Span:
    """Features [start, stop) of one column. "states" and "modes" are one-hot (softmax), "scalar" lies in [-1, 1] (tanh).

    "states" says what a column is: its level, its spike, null. "modes" adds, for numbers, the component of the mixture:
    a number's one-hot block is [components ..., spikes ..., null] and is named "modes"."""

    column: str
    kind: Literal["states", "modes", "scalar"]
    start: int
    stop: int


@dataclass(frozen=True)
class Discrete:
    """A categorical or boolean column: states are its frequent levels, then the tail, then null, where there are any."""

    name: str
    levels: Levels
    alone: int
    nulls: bool

    @classmethod
    def fit(cls, values: Values, column: Column) -> Discrete:
        levels = Levels.fit(values, column)
        alone = split_tail(levels.counts, floor=FLOOR, limit=LIMIT)
        return cls(column.name, levels, alone, nulls=values.null_count > 0)

    @property
    def tail(self) -> bool:
        return len(self.levels.values) > self.alone

    @property
    def states(self) -> int:
        return self.alone + self.tail + self.nulls

    def split(self, values: Values) -> Array:
        """(n,) int64 states; -1 for a level never seen."""
        codes = self.levels.read(values)
        states = np.where(codes >= self.alone, self.alone, codes)
        return np.where(codes == -2, self.states - 1 if self.nulls else -1, states)

    def state(self, level: object) -> int:
        """The state that holds this level (None: null). Raises KeyError when it was never seen."""
        if level is None:
            if not self.nulls:
                raise KeyError(level)
            return self.states - 1
        try:
            return min(self.levels.values.index(level), self.alone)
        except ValueError:
            raise KeyError(level) from None

    def join(self, states: Array, rng: np.random.Generator) -> pa.Array:
        """States to values; members of the tail are drawn by their frequencies in train."""
        codes = np.where(states >= self.alone, -1, states)
        if self.tail:
            rows = np.flatnonzero(states == self.alone)
            weight = np.asarray(self.levels.counts[self.alone :], dtype=np.float64)
            codes[rows] = self.alone + rng.choice(len(weight), size=len(rows), p=weight / weight.sum())
        return self.levels.write(codes)

    def to_state(self) -> dict[str, Any]:
        return {"name": self.name, "levels": self.levels.to_state(), "alone": self.alone, "nulls": self.nulls}


@dataclass(frozen=True)
class Numeric:
    """A numeric, integer or datetime column: state 0 is "any value", then come its spikes, then null.

    grid: ascending values that free numbers are moved to, the nearest each; empty where numbers are continuous. A
    measurement in fixed steps, or amounts that are always the same few, would otherwise be smeared between them."""

    name: str
    scale: Scale
    spikes: Array
    mixture: Mixture
    nulls: bool
    grid: Array

    @classmethod
    def fit(cls, values: Values, column: Column, rng: np.random.Generator) -> Numeric:
        scale = Scale.fit(values, column)
        seen = scale.read(values, column.name)
        missing = np.isnan(seen)
        distinct, counts = np.unique(seen[~missing], return_counts=True)
        spikes = distinct[(counts > SPIKE * max((~missing).sum(), 1)) & (counts >= SPIKE_ROWS)]
        if len(distinct) == 1:
            spikes = distinct
        free = seen[~missing & ~np.isin(seen, spikes)]
        return cls(column.name, scale, spikes, Mixture.fit(free, rng), bool(missing.any()), _grid(free))

    @property
    def states(self) -> int:
        return 1 + len(self.spikes) + self.nulls

    @property
    def modes(self) -> int:
        """Width of the one-hot block: components, spikes, null."""
        return len(self.mixture.means) + len(self.spikes) + self.nulls

    def split(self, values: Values) -> tuple[Array, Array]:
        """(n,) int64 states and (n,) float64 values, NaN where the state is a spike or null."""
        seen = self.scale.read(values, self.name)
        missing = np.isnan(seen)
        states = np.zeros(len(seen), dtype=np.int64)
        if len(self.spikes):
            near = np.searchsorted(self.spikes, seen).clip(0, len(self.spikes) - 1)
            states = np.where(self.spikes[near] == seen, near + 1, 0)
        states = np.where(missing, self.states - 1 if self.nulls else 0, states)
        return states, np.where(states == 0, seen, np.nan)

    def join(self, states: Array, values: Array) -> pa.Array:
        whole = np.concatenate([[np.nan], self.spikes, [np.nan] * self.nulls])[states]
        if len(self.grid):
            values = self.grid[np.searchsorted((self.grid[1:] + self.grid[:-1]) / 2, values)]
        return self.scale.write(np.where(states == 0, values, whole))

    def fill(self, out: Array, states: Array, values: Array) -> None:
        """Write (n, modes + 1) features; `out` is zero on entry. A free NaN (a null never seen in fit) stays zero."""
        rows, free = np.flatnonzero(states > 0), np.flatnonzero((states == 0) & ~np.isnan(values))
        k = len(self.mixture.means)
        out[rows, k + states[rows] - 1] = 1
        if k and len(free):
            component, scalar = self.mixture.encode(values[free])
            out[free, component] = 1
            out[free, -1] = scalar

    def read(self, block: Array) -> tuple[Array, Array]:
        """(n, modes + 1) features to states and values; the largest of the one-hot block wins."""
        k = len(self.mixture.means)
        hot = block[:, : self.modes].argmax(axis=1) if self.modes else np.zeros(len(block), dtype=np.int64)
        states = np.where(hot < k, 0, hot - k + 1)
        values = np.full(len(block), np.nan)
        free = states == 0
        if k:
            values[free] = self.mixture.decode(hot[free], block[free, -1].astype(np.float64))
        return states, values

    def to_state(self) -> dict[str, Any]:
        scale = {**self.scale.__dict__}
        return {
            "name": self.name,
            "scale": scale,
            "spikes": self.spikes.tolist(),
            "mixture": self.mixture.to_state(),
            "nulls": self.nulls,
            "grid": self.grid.tolist(),
        }


def _grid(values: Array) -> Array:
    """The distinct values, when nearly all rows share theirs with others; else nothing. values: (n,) without NaN."""
    distinct, counts = np.unique(values, return_counts=True)
    shared = counts[counts >= GRID_ROWS].sum()
    return distinct if 2 <= len(distinct) and shared >= GRID_SHARE * len(values) else np.zeros(0)


Part = Discrete | Numeric


@dataclass(frozen=True)
class Modes:
    """Mode-specific normalisation: a number is the component of a mixture it belongs to and its place therein.

    Between the table and the matrix stands a second view, `split`: for every column a state (its level, its spike,
    null, or 0 = "any number") and for numbers in state 0 their value. Linear models work on that view.
    Columns with one state and no free value (constant, all null) are remembered and take no features.

    Source: Xu et al. 2019 (arXiv 1907.00503), section 4.2. Differences: the component is the most likely one, not a
    draw, so that a table has one matrix; the scalar is scaled by the component's reach on train rather than by 4 sd,
    so that no value is clipped; exact values of more than 5 % and nulls are components of their own.
    """

    parts: tuple[Part, ...]

    @classmethod
    def fit(cls, train: Dataset, *, seed: int) -> Modes:
        """Learn components and levels of the learned columns of `train`.

        Raises DataError when there is no such column, no row, or an infinite value."""
        if not train.num_rows:
            raise DataError("there are no rows to learn from")
        if not train.schema.learned:
            raise DataError("no column can be learned: there are only ids, texts or other unlearned kinds")
        rng = np.random.default_rng(seed)
        return cls(tuple(_fit_part(column, train.column(column.name), rng) for column in train.schema.learned))

    @property
    def spans(self) -> tuple[Span, ...]:
        """The blocks of the matrix, in order."""
        out: list[Span] = []
        at = 0
        for part in self.parts:
            for kind, width in _widths(part):
                out.append(Span(part.name, kind, at, at + width))
                at += width
        return tuple(out)

    @property
    def width(self) -> int:
        """Number of features d; 0 when every column is constant."""
        return sum(width for part in self.parts for _, width in _widths(part))

    def __getitem__(self, name: str) -> Part:
        return next(part for part in self.parts if part.name == name)

    def split(self, rows: Dataset | pa.Table) -> tuple[Array, Array]:
        """States (n, c) int64 and values (n, c) float64 of the c learned columns; NaN where a column has no free value."""
        states = np.zeros((rows.num_rows, len(self.parts)), dtype=np.int64)
        values = np.full(states.shape, np.nan)
        for i, part in enumerate(self.parts):
            column = rows.column(part.name)
            if isinstance(part, Discrete):
                states[:, i] = part.split(column)
            else:
                states[:, i], values[:, i] = part.split(column)
        return states, values

    def encode(self, states: Array, values: Array) -> Array:
        """The split view as a matrix, (n, d) float32."""
        out = np.zeros((len(states), self.width), dtype=np.float32)
        at = 0
        for i, part in enumerate(self.parts):
            width = sum(w for _, w in _widths(part))
            block = np.zeros((len(states), part.modes + 1), dtype=np.float32) if isinstance(part, Numeric) else None
            if width and isinstance(part, Discrete):
                rows = np.flatnonzero(states[:, i] >= 0)
                out[rows, at + states[rows, i]] = 1
            elif width and isinstance(part, Numeric) and block is not None:
                part.fill(block, states[:, i], values[:, i])
                out[:, at : at + width] = block[:, block.shape[1] - width :] if width == 1 else block[:, :width]
            at += width
        return out

    def decode(self, matrix: Array) -> tuple[Array, Array]:
        """A matrix (n, d) as states and values; the largest of every one-hot block wins."""
        states = np.zeros((len(matrix), len(self.parts)), dtype=np.int64)
        values = np.full(states.shape, np.nan)
        at = 0
        for i, part in enumerate(self.parts):
            width = sum(w for _, w in _widths(part))
            block = matrix[:, at : at + width]
            if isinstance(part, Discrete):
                states[:, i] = block.argmax(axis=1) if width else 0
            else:
                states[:, i], values[:, i] = part.read(_padded(part, block))
            at += width
        return states, values

    def join(self, states: Array, values: Array, *, seed: int) -> pa.Table:
        """The split view as a table of the learned columns, each in its own type. `seed` draws members of tails."""
        rng = np.random.default_rng(seed)
        columns = [
            part.join(states[:, i], rng) if isinstance(part, Discrete) else part.join(states[:, i], values[:, i])
            for i, part in enumerate(self.parts)
        ]
        return pa.table(dict(zip([part.name for part in self.parts], columns, strict=True)))

    def transform(self, rows: Dataset | pa.Table) -> Array:
        """(n, d) float32."""
        return self.encode(*self.split(rows))

    def inverse(self, matrix: Array, *, seed: int = 0) -> pa.Table:
        """(n, d) to the table of the learned columns: types, decimals, spelling and nulls as they came in."""
        return self.join(*self.decode(matrix), seed=seed)

    def to_state(self) -> dict[str, Any]:
        """JSON values only."""
        return {"parts": [part.to_state() for part in self.parts]}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Modes:
        return cls(tuple(_part_from(value) for value in state["parts"]))


def _fit_part(column: Column, values: pa.ChunkedArray, rng: np.random.Generator) -> Part:
    return Discrete.fit(values, column) if column.discrete else Numeric.fit(values, column, rng)


def _widths(part: Part) -> Sequence[tuple[Literal["states", "modes", "scalar"], int]]:
    """The blocks of a column; none where it has nothing to say."""
    if isinstance(part, Discrete):
        return [("states", part.states)] if part.states > 1 else []
    scalar: list[tuple[Literal["states", "modes", "scalar"], int]] = [("scalar", 1)] if len(part.mixture.means) else []
    return [("modes", part.modes), *scalar] if part.modes > 1 else scalar


def _padded(part: Numeric, block: Array) -> Array:
    """The block with the features that were left out because they never change."""
    missing = part.modes + 1 - block.shape[1]
    if not missing:
        return block
    fill = np.zeros((len(block), missing), dtype=np.float32)
    if len(part.mixture.means) and part.modes == 1:
        return np.hstack([fill + 1, block])  # one component: only the scalar was kept
    return np.hstack([block, fill]) if block.shape[1] else np.hstack([fill[:, :1] + 1, fill[:, 1:]])


def _part_from(state: dict[str, Any]) -> Part:
    if "levels" in state:
        return Discrete(state["name"], Levels.from_state(state["levels"]), state["alone"], state["nulls"])
    mixture = Mixture.from_state(state["mixture"])
    spikes, grid = (np.asarray(state[name], dtype=np.float64) for name in ("spikes", "grid"))
    return Numeric(state["name"], Scale(**state["scale"]), spikes, mixture, state["nulls"], grid)
