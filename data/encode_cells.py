"""Where does a value lie on the unit interval, so that train fills it evenly, and how dense are the values around it?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.dataset import Dataset
from data.encode_tokens import NumberTokens, TokenColumn, Tokens
from data.encode_values import Array, Values


@dataclass(frozen=True)
class Cells:
    """The tokens of one column side by side on the unit interval, each as long as its share of train.

    A cell is what one row of tokens says: a level, an exact number, a part of a bin, null. Numbers lie in ascending order,
    levels with the most frequent first, null last. A cell is open where its numbers are continuous: then a number has a place
    in it. Elsewhere all of it stands for one value, or for a few on a grid.

    Fields:
        known: (cells,) tokens of each as one number. bounds: (cells + 1,) where cells begin and end, 0 to 1.
        low, high: (cells,) least and greatest number of open cells, equal elsewhere. spread: standard deviation of train's
        numbers, the unit of densities; 1 where there is none. rows: of train."""

    column: TokenColumn
    known: Array
    bounds: Array
    low: Array
    high: Array
    spread: float
    rows: int

    @classmethod
    def fit(cls, column: TokenColumn, values: Values, tokens: Array) -> Cells:
        """values: the column of train; tokens: (n, fields) what they are."""
        known, counts = np.unique(_joined(column, tokens), return_counts=True)
        rank, low, high = np.arange(len(known), dtype=np.float64), np.zeros(len(known)), np.zeros(len(known))
        spread = 1.0
        if isinstance(column, NumberTokens):
            rank, low, high = _reach(column, known)
            seen = column.scale.read(values, column.name)
            spread = float(np.nanstd(seen)) if np.isfinite(seen).any() else 1.0
        order = np.argsort(rank, kind="stable")
        bounds = np.concatenate([[0.0], np.cumsum(counts[order]) / counts.sum()])
        return cls(column, known[order], bounds, low[order], high[order], spread or 1.0, len(tokens))

    def place(self, values: Values, tokens: Array) -> tuple[Array, Array, Array]:
        """Where values lie: (n,) float64 from and to, equal in open cells, and `nats`, (n,).

        A density on the interval, times exp(nats), is that of the value: see `within` for what it is a density of. What train
        did not hold is given the longest cell."""
        cell = self._cell(tokens)
        cell = np.where(cell < 0, int(np.argmax(np.diff(self.bounds))), cell)
        start, end = self.bounds[cell], self.bounds[cell + 1]
        nats = np.log(end - start) + self.within(values, tokens)
        if isinstance(self.column, NumberTokens):
            seen, wide = self.column.scale.read(values, self.column.name), self.high[cell] - self.low[cell]
            open_ = (wide > 0) & ~np.isnan(seen)
            along = np.where(open_, (seen - self.low[cell]) / np.where(open_, wide, 1.0), 0.0).clip(0, 1)
            start, end = (np.where(open_, start + along * (end - start), side) for side in (start, end))
        return start, end, nats

    def within(self, values: Values, tokens: Array) -> Array:
        """Nats of values given their tokens, (n,): a chance where values are states or lie on a grid, else a density by
        standard deviations of train's numbers, even over the cell.

        What train did not hold counts as seen once in one more row than train had; so do numbers beyond its range, which
        grow rarer by a nat for each standard deviation, too."""
        cell = self._cell(tokens)
        unseen = cell < 0
        nats = np.where(unseen, -math.log(self.rows + 1), 0.0)
        if not isinstance(self.column, NumberTokens):
            return nats
        seen = self.column.scale.read(values, self.column.name)
        beyond = np.nan_to_num(np.maximum(self.column.scale.low - seen, seen - self.column.scale.high)).clip(min=0)
        nats = nats - np.where(beyond > 0, math.log(self.rows + 1) + beyond / self.spread, 0.0)
        wide = np.where(unseen | np.isnan(seen), 0.0, (self.high - self.low)[cell] / self.spread)
        nats = nats - np.log(np.where(wide > 0, wide, 1.0))
        return nats + np.where(unseen, 0.0, self._among(seen, cell))

    def evened(self, tokens: Array) -> Array:
        """Nats to add where a column has densities and chances, so that they can be compared: (n,).

        A number at which rows gather, or null, is then as dense as if it were spread over a cell of the usual width. Without,
        a row would seem odd for an exact value that every third row holds, beside rows whose numbers lie in a narrow range."""
        wide = self.high - self.low
        if not (wide > 0).any():
            return np.zeros(len(tokens))
        cell = self._cell(tokens)
        state = (cell >= 0) & (wide[cell] <= 0)
        return np.where(state, -math.log(float(np.median(wide[wide > 0])) / self.spread), 0.0)

    def tokens(self, at: Array) -> Array:
        """The tokens of places on the unit interval: (n,) -> (n, fields)."""
        cell = np.searchsorted(self.bounds[1:-1], at, side="right")
        joined = self.known[cell]
        inner = self.column.sizes[1] if len(self.column.sizes) > 1 else 1
        return np.stack([joined // inner, joined % inner], axis=1)[:, : len(self.column.sizes)]

    def first(self) -> tuple[Array, Array]:
        """Where the first token changes along the interval, (k,) inner bounds, and the token of each stretch, (k + 1,)."""
        token = self.known // (self.column.sizes[1] if len(self.column.sizes) > 1 else 1)
        change = np.flatnonzero(token[1:] != token[:-1]) + 1
        return self.bounds[change], token[np.concatenate([[0], change])]

    def _cell(self, tokens: Array) -> Array:
        """(n,) int64; -1 for what train did not hold."""
        joined = _joined(self.column, tokens)
        order = np.argsort(self.known, kind="stable")
        near = np.searchsorted(self.known[order], joined).clip(0, len(self.known) - 1)
        return np.where(self.known[order][near] == joined, order[near], -1)

    def _among(self, seen: Array, cell: Array) -> Array:
        """Nats of a value on a grid among those of its cell: (n,), 0 for others."""
        column = self.column
        out = np.zeros(len(seen))
        if not isinstance(column, NumberTokens) or not column.grid:
            return out
        joined = self.known[cell]
        inner = column.sizes[1] if len(column.sizes) > 1 else 1
        rows = np.flatnonzero((joined // inner >= len(column.spikes)) & ~np.isnan(seen))
        part = column.first[joined[rows] // inner - len(column.spikes)] + joined[rows] % inner
        upto = np.concatenate([[0.0], np.cumsum(column.mass)])
        whole = upto[column.starts[part + 1]] - upto[column.starts[part]]
        atom = np.searchsorted(column.atoms, seen[rows]).clip(0, len(column.atoms) - 1)
        out[rows] = np.log(np.where(column.atoms[atom] == seen[rows], column.mass[atom], 0.5) / whole)
        return out

    def to_state(self) -> dict[str, Any]:
        """JSON values only; the column keeps its own."""
        arrays = {name: getattr(self, name).tolist() for name in ("known", "bounds", "low", "high")}
        return arrays | {"spread": self.spread, "rows": self.rows}

    @classmethod
    def from_state(cls, column: TokenColumn, state: dict[str, Any]) -> Cells:
        low, high, bounds = (np.array(state[name], dtype=np.float64) for name in ("low", "high", "bounds"))
        return cls(column, np.array(state["known"], dtype=np.int64), bounds, low, high, state["spread"], state["rows"])


def _joined(column: TokenColumn, tokens: Array) -> Array:
    """A row of tokens as one number: (n,) int64, below 0 where one is unknown."""
    if tokens.shape[1] == 1:
        return np.asarray(tokens[:, 0])
    return np.where((tokens < 0).any(axis=1), -1, tokens[:, 0] * column.sizes[1] + tokens[:, 1])


def _reach(column: NumberTokens, known: Array) -> tuple[Array, Array, Array]:
    """The order of known tokens, and the range of numbers in each that is open: three of (cells,)."""
    inner = column.sizes[1] if len(column.sizes) > 1 else 1
    first, spikes = known // inner, len(column.spikes)
    rank, low, high = np.full(len(known), np.inf), np.zeros(len(known)), np.zeros(len(known))
    alone = (first >= 0) & (first < spikes)
    rank[alone] = column.spikes[first[alone]]
    rows = np.flatnonzero((first >= spikes) & (first < spikes + column.bins))
    part = column.first[first[rows] - spikes] + known[rows] % inner
    begin, end, atoms = column.starts[part], column.starts[part + 1], column.atoms
    rank[rows] = atoms[(begin + end - 1) // 2]
    if not column.grid:
        # Half a step beyond the outer atoms, as numbers are drawn within a part.
        low[rows] = (atoms[begin] + atoms[np.maximum(begin - 1, 0)]) / 2
        high[rows] = (atoms[end - 1] + atoms[np.minimum(end, len(atoms) - 1)]) / 2
    return rank, low, high


def spans(tokens: Tokens) -> dict[str, slice]:
    """Column -> its fields, of all columns at once."""
    out, start = {}, 0
    for column in tokens.columns:
        out[column.name] = slice(start, start + len(column.sizes))
        start = out[column.name].stop
    return out


@dataclass(frozen=True)
class Ribbon:
    """All columns of a table, each along its unit interval: rows become points of the unit cube.

    Source: Kamthe et al. 2021 (Copula Flows, arXiv 2101.00598), sections 3 and 4: marginals first, then what ties them."""

    cells: tuple[Cells, ...]

    @classmethod
    def fit(cls, tokens: Tokens, train: Dataset, encoded: Array, *, numbers: bool = False) -> Ribbon:
        """encoded: (n, fields) the tokens of train. numbers: of columns of numbers alone."""
        at, chosen = spans(tokens), _chosen(tokens, numbers)
        return cls(tuple(Cells.fit(c, train.column(c.name), encoded[:, at[c.name]]) for c in chosen))

    def place(self, tokens: Tokens, rows: Dataset, encoded: Array) -> tuple[Array, Array, Array]:
        """From, to, and nats of every column, (n, columns) float64 each: see Cells.place. encoded: (n, fields)."""
        at = spans(tokens)
        parts = [c.place(rows.column(c.column.name), encoded[:, at[c.column.name]]) for c in self.cells]
        start, end, nats = (np.stack(each, axis=1) for each in zip(*parts, strict=True))
        return start, end, nats

    def within(self, tokens: Tokens, rows: Dataset, encoded: Array) -> Array:
        """The sum over columns of the nats of values given their tokens: (n,); see Cells.within."""
        at = spans(tokens)
        own = [c.within(rows.column(c.column.name), encoded[:, at[c.column.name]]) for c in self.cells]
        return np.asarray(np.sum(own, axis=0))

    def evened(self, tokens: Tokens, encoded: Array) -> Array:
        """The sum over columns of what makes densities and chances comparable: (n,); see Cells.evened."""
        at = spans(tokens)
        return np.asarray(np.sum([c.evened(encoded[:, at[c.column.name]]) for c in self.cells], axis=0))

    def to_state(self) -> list[dict[str, Any]]:
        """JSON values only."""
        return [cells.to_state() for cells in self.cells]

    @classmethod
    def from_state(cls, tokens: Tokens, state: Sequence[dict[str, Any]], *, numbers: bool = False) -> Ribbon:
        return cls(tuple(Cells.from_state(c, s) for c, s in zip(_chosen(tokens, numbers), state, strict=True)))


def _chosen(tokens: Tokens, numbers: bool) -> list[TokenColumn]:
    return [c for c in tokens.columns if not numbers or isinstance(c, NumberTokens)]
