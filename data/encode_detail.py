"""Where within its coarse token does a number lie, by the rows that lie there, and which number is it that lies there?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data.dataset import Dataset
from data.encode_cells import spans
from data.encode_columns import NumberTokens
from data.encode_tokens import Tokens
from data.encode_values import Array


@dataclass(frozen=True)
class Detail:
    """The columns of numbers whose bins, which have no parts, hold more than one number.

    A number's place along its bin is the share of the bin's rows that lie below it. A number that several rows hold is a
    stretch of places, as any of them stands for it. So places in a bin are even before anything else is known of a row.

    Fields:
        tokens: of the whole table. columns: these columns. fields: the place of each one's token among all fields.
        low, wide: for each column (tokens,) where each of its tokens begins among all rows of its bins, and its share of these;
        wide is 0 for tokens that say all: exact numbers, null, bins of one number."""

    tokens: Tokens
    columns: tuple[NumberTokens, ...]
    fields: tuple[int, ...]
    low: tuple[Array, ...]
    wide: tuple[Array, ...]

    @classmethod
    def of(cls, tokens: Tokens) -> Detail:
        at, columns, low, wide = spans(tokens), [], [], []
        for column in tokens.columns:
            if isinstance(column, NumberTokens) and len(column.sizes) == 1 and (np.diff(column.starts) > 1).any():
                upto = np.concatenate([[0.0], np.cumsum(column.mass)])
                edges = upto[column.starts] / upto[-1]
                spread = np.where(np.diff(column.starts) > 1, np.diff(edges), 0.0)
                before, after = np.zeros(len(column.spikes)), np.zeros(int(column.nulls))
                columns.append(column)
                low.append(np.concatenate([before, edges[:-1], after]))
                wide.append(np.concatenate([before, spread, after]))
        fields = tuple(at[column.name].start for column in columns)
        return cls(tokens, tuple(columns), fields, tuple(low), tuple(wide))

    def places(self, rows: Dataset, encoded: Array) -> tuple[Array, Array]:
        """From where to where along its bin each number stretches: two of (n, columns) float32 in [0, 1]; 0 where there is no
        bin. encoded: (n, fields) the tokens of the rows."""
        out = np.zeros((2, len(encoded), len(self.columns)), dtype=np.float32)
        for k, (column, field) in enumerate(zip(self.columns, self.fields, strict=True)):
            seen = column.scale.read(rows.column(column.name), column.name)
            out[:, :, k] = stretch(column, seen, encoded[:, field])
        return out[0], out[1]

    def table(self) -> tuple[Array, Array]:
        """`low` and `wide` of all columns: two of (columns, most tokens) float32, 0 behind a column's last token."""
        most = max((len(each) for each in self.low), default=0)
        low, wide = (np.array([np.pad(each, (0, most - len(each))) for each in part]) for part in (self.low, self.wide))
        return low.astype(np.float32), wide.astype(np.float32)

    def within(self, along: Array) -> Mapping[str, Array]:
        """(n, columns) places as `Tokens.decode` takes them."""
        return {column.name: along[:, k] for k, column in enumerate(self.columns)}


def stretch(column: NumberTokens, seen: Array, token: Array) -> tuple[Array, Array]:
    """From where to where along its bin each number lies: (n,) and (n,), by that of train's numbers which is nearest.

    seen: (n,) by the column's scale. token: (n,) of each."""
    low, high = np.zeros(len(seen)), np.zeros(len(seen))
    rows = np.flatnonzero((token >= len(column.spikes)) & (token < len(column.spikes) + column.bins) & ~np.isnan(seen))
    bins = token[rows] - len(column.spikes)
    begin, end = column.starts[bins], column.starts[bins + 1]
    right = np.searchsorted(column.atoms, seen[rows]).clip(begin, end - 1)
    left = np.maximum(right - 1, begin)
    nearer = np.abs(column.atoms[left] - seen[rows]) <= np.abs(column.atoms[right] - seen[rows])
    atom = np.where(nearer, left, right)
    upto = np.concatenate([[0.0], np.cumsum(column.mass)])
    whole = upto[end] - upto[begin]
    low[rows], high[rows] = (upto[atom] - upto[begin]) / whole, (upto[atom + 1] - upto[begin]) / whole
    return low, high
