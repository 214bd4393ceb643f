"""Which values of two columns never go together? What many rows could have shown, and none did, is not drawn either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from data.encode_tokens import LevelTokens, NumberTokens, Tokens

Array = np.ndarray
#: Rows that two states would share by chance, at least, before their absence is believed: e^-12 of such pairs lack by chance.
EXPECTED = 12.0
#: By how much what never happened is less likely than the network says (nats): a hundredth becomes one in a million.
NATS = 9.0
#: States that are looked at, at most: the most frequent; rows that are counted at a time.
MOST, ROWS = 4000, 20_000


@dataclass(frozen=True)
class Never:
    """Pairs of fields with the tokens that never went together.

    A network that is stopped before it learns chance by heart still gives a rule without exceptions a hundredth of exceptions
    ("no phone" with "several lines"; a measure that is missing while its twin is not), and these are what tells its rows from
    real ones. A state is a level, a number that stands alone, null, or "any bin".

    pairs: of each, the fields a < b, and (size a, size b) bool of their tokens."""

    pairs: tuple[tuple[int, int, Array], ...] = ()

    @classmethod
    def fit(cls, states: Sequence[Array], tokens: Array) -> Never:
        """states: of each field the state of each token, -1 for none. tokens: (n, fields) local tokens."""
        kept = _common(states, tokens)
        if len(kept) < 2:
            return cls()
        field, state = kept.T
        place = [np.full(int(own.max(initial=0)) + 2, -1) for own in states]
        for k, (f, s) in enumerate(kept):
            place[f][s] = k
        together = np.zeros((len(kept), len(kept)))
        for first in range(0, len(tokens), ROWS):
            some = tokens[first : first + ROWS]
            seen = np.zeros((len(some), len(kept) + 1), dtype=np.float32)
            for f in np.unique(field):
                # A state of -1 reads the last place, which is none.
                seen[np.arange(len(some)), place[f][states[f][some[:, f]]]] = 1
            together += seen[:, :-1].T @ seen[:, :-1]
        counts = np.diag(together)
        lacking = (together == 0) & (np.outer(counts, counts) >= EXPECTED * len(tokens)) & (field[:, None] < field[None, :])
        out = []
        for a, b in np.unique(field[np.argwhere(lacking)], axis=0) if lacking.any() else ():
            rows, columns = np.flatnonzero(field == a), np.flatnonzero(field == b)
            own = lacking[np.ix_(rows, columns)]
            left, right = ((states[f][:, None] == state[places]).astype(int) for f, places in ((a, rows), (b, columns)))
            out.append((int(a), int(b), (left @ own @ right.T) > 0))
        return cls(tuple(out))

    def terms(self, field: int, device: torch.device | str) -> list[tuple[int, Tensor]]:
        """What other fields add to the logits of one: the other field, and (its size + 1, size) by its token, last unknown."""
        found = [(a, cells) for a, b, cells in self.pairs if b == field]
        found += [(b, cells.T) for a, b, cells in self.pairs if a == field]
        return [(other, torch.from_numpy(np.pad(cells * -NATS, ((0, 1), (0, 0))).astype(np.float32)).to(device))
                for other, cells in found]  # fmt: skip

    def to_state(self) -> list[list[Any]]:
        """JSON values only."""
        return [[a, b, list(cells.shape), np.flatnonzero(cells).tolist()] for a, b, cells in self.pairs]

    @classmethod
    def from_state(cls, state: Sequence[Sequence[Any]]) -> Self:
        pairs = []
        for a, b, shape, places in state:
            cells = np.zeros(shape, dtype=bool)
            cells.flat[places] = True
            pairs.append((a, b, cells))
        return cls(tuple(pairs))


def states_of(tokens: Tokens) -> list[Array]:
    """Of each field the state of each token; -1 where it says no state: of parts, places in groups, times."""
    out = []
    for column in tokens.columns:
        sizes = column.sizes
        own = [np.full(size, -1) for size in sizes]
        if isinstance(column, LevelTokens) and len(sizes) == 1:
            own[0] = np.arange(sizes[0])
        if isinstance(column, NumberTokens):
            spikes = len(column.spikes)
            own[0] = np.minimum(np.arange(sizes[0]), spikes)
            own[0][sizes[0] - column.nulls :] = spikes + 1
        out += own
    return out


def _common(states: Sequence[Array], tokens: Array) -> Array:
    """(k, 2) fields and states that hold rows enough to lack in a pair, in the order of the fields."""
    found = []
    for f, own in enumerate(states):
        counts = np.bincount(own[tokens[:, f]] + 1, minlength=1)[1:]
        found += [(f, s, int(counts[s])) for s in np.flatnonzero(counts >= EXPECTED)]
    best = sorted(found, key=lambda each: -each[2])[:MOST]
    return np.array(sorted((f, s) for f, s, _ in best), dtype=np.int64).reshape(-1, 2)
