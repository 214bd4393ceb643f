"""Is every level among the drawn rows that so many rows should hold? Chance loses one of five expected rows in 150."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from data.encode_tokens import LevelTokens, Tokens
from generators.tabular._autoregressive_draw import Drawer

Array = np.ndarray
#: Rows of train that hold a level which a draw as large as train shall hold too.
LEAST = 5


class Awaited:
    """Which levels of LEAST training rows and more were not drawn so far; none is waited for in a draw smaller than train."""

    def __init__(self, tokens: Tokens, n: int, rows: int) -> None:
        #: Column, its fields, and the levels that are waited for, by their places.
        self.left: list[tuple[LevelTokens, range, set[int]]] = []
        for column in tokens.columns if n >= rows else ():
            if isinstance(column, LevelTokens):
                often = {code for code, count in enumerate(column.levels.counts) if count >= LEAST}
                self.left.append((column, tokens.fields(column.name), often))

    def note(self, drawn: Array) -> None:
        """drawn: (n, fields) tokens."""
        for column, fields, left in self.left:
            if left:
                left.difference_update(np.unique(column.codes(drawn[:, fields.start : fields.stop])).tolist())

    def add(self, drawn: Array, drawer: Drawer, order: Sequence[int], live: Mapping[int, int], seed: int) -> bool:
        """Put rows that hold what is missing in place of the first ones of `drawn`, one for each; whether there were any.

        live: field -> its place among those that are drawn."""
        wanted = [(column, fields, code) for column, fields, left in self.left for code in sorted(left)][: len(drawn)]
        for row, (column, fields, code) in enumerate(wanted):
            asked = column.given(column.levels.values[code])
            given = {live[f]: token for f, token in zip(fields, asked, strict=True) if f in live}
            first = [*given, *(field for field in order if field not in given)]
            drawn[row, list(live)] = drawer.draw(1, first, given, seed + row)[0]
        return bool(wanted)
