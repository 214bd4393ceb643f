"""Which of the finished parents does a row refer to? Each as often as it should be, of the kind that the row asks for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.encode_values import Array
from data.relations import repeated_rows
from generators.tabular._relational_kinds import DEEP, FREE, LOOP

#: Parents that are tried for a row that would repeat another.
TRIES = 24


class Pool:
    """Parents to take from: each stands in it as often as its count of children says, kinds apart, in random order."""

    def __init__(
        self, kinds: Array, number: Array, wanted: float, rng: np.random.Generator, among: Array | None = None
    ) -> None:
        """kinds, number: (parents,) the kind of each parent and how many children it should have. wanted: children that there
        will be; where counts fall short of that they grow. among: the parents that may be taken, all if None."""
        self.rng = rng
        every = np.arange(len(kinds)) if among is None else among
        have = float(number[every].sum())
        grow = max(wanted / have, 1.0) if have else 0.0
        asked = np.floor(number[every] * grow + rng.random(len(every))).astype(np.int64) if grow else number[every]
        self.any = np.repeat(every, asked) if asked.sum() else every
        self.slots: dict[int, Array] = {}
        for kind in np.unique(kinds[every]).tolist():
            own = self.any[kinds[self.any] == kind]
            # A kind none of whose parents should have children is taken from evenly, if it is asked for at all.
            self.slots[kind] = rng.permutation(own if len(own) else every[kinds[every] == kind])
        self.at = dict.fromkeys(self.slots, 0)

    def take(self, kinds: Array) -> Array:
        """A parent of each kind asked for, -1 for -1; of a kind that there is not, any: (n,) int64."""
        out = np.full(len(kinds), -1, dtype=np.int64)
        for kind in np.unique(kinds[kinds >= 0]).tolist():
            rows = np.flatnonzero(kinds == kind)
            out[rows] = self._some(kind, len(rows)) if kind in self.slots else self.rng.choice(self.any, len(rows))
        return out

    def _some(self, kind: int, rows: int) -> Array:
        parts: list[Array] = []
        while rows:
            if self.at[kind] == len(self.slots[kind]):
                self.slots[kind], self.at[kind] = self.rng.permutation(self.slots[kind]), 0
            part = self.slots[kind][self.at[kind] : self.at[kind] + rows]
            self.at[kind] += len(part)
            rows -= len(part)
            parts.append(part)
        return np.concatenate(parts)


def levelled(number: Array, mean: float, most: int, rng: np.random.Generator) -> Array:
    """Counts of children such that their mean is train's: (n,) int64. A few large counts make a small table's children many or
    few by chance, and their children again.

    Children are taken from parents that keep one, or given to such as have one, by chance and in proportion; where no parent
    in train has more than one (most), nothing is changed."""
    missing = round(len(number) * mean) - int(number.sum())
    if most <= 1 or not missing or not len(number):
        return number
    if missing > 0:
        weight = number if number.any() else np.ones(len(number))
        return np.asarray(number + rng.multinomial(missing, weight / weight.sum()))
    able = np.repeat(np.arange(len(number)), np.maximum(number - 1, 0))
    chosen = rng.choice(able, min(-missing, len(able)), replace=False)
    return np.asarray(number - np.bincount(chosen, minlength=len(number)))


def without_repeats(columns: Sequence[Array], pools: Sequence[Pool | None], kinds: Sequence[Array | None]) -> Array:
    """Change references until no two rows hold the same ones: (n,) bool, False for rows for which there is no other.

    columns: (n,) each, changed in place; pools, kinds: where others come from and of which kind, None for what stays."""
    for row in np.flatnonzero(repeated_rows(columns)).tolist():
        for column, pool, kind in zip(columns, pools, kinds, strict=True):
            if pool is not None and kind is not None and column[row] >= 0 and _another(columns, column, row, pool, kind[row]):
                break
    return ~repeated_rows(columns)


def _another(columns: Sequence[Array], column: Array, row: int, pool: Pool, kind: int) -> bool:
    """Another parent in this column that makes the row one of its own, of its kind if there is one."""
    alike = np.ones(len(column), dtype=bool)
    for each in columns:
        if each is not column:
            alike &= each == each[row]
    taken = set(column[alike].tolist())
    for own in (pool.slots.get(int(kind), pool.any), pool.any):
        for choice in pool.rng.choice(own, TRIES).tolist():
            if choice not in taken:
                column[row] = choice
                return True
    left = np.setdiff1d(np.unique(pool.any), np.array(sorted(taken)))
    if len(left):
        column[row] = pool.rng.choice(left)
    return bool(len(left))


def refer(depth: Array, asked: Array, kinds: Array, number: Array, *, nullable: bool, rng: np.random.Generator) -> Array:
    """The row of its own table that each row refers to, -1 for none: (n,) int64.

    depth: as in Kinds, of each row; asked: the kind of row that it wants to refer to; kinds, number: kind of each row, and how
    many rows should refer to it. Rows of a depth refer to rows one above, so that no circle comes of it."""
    out = np.full(len(depth), -1, dtype=np.int64)
    own = np.arange(len(depth))
    out[depth == LOOP] = own[depth == LOOP]
    height = np.where(depth == LOOP, 0, depth)
    if (free := np.flatnonzero(depth == FREE)).size:
        out[free] = Pool(kinds, number, len(free), rng).take(np.maximum(asked[free], 0))
    for level in range(1, DEEP + 1):
        rows = np.flatnonzero(height == level)
        if not len(rows):
            continue
        above = np.flatnonzero(height == level - 1)
        above = above if len(above) else np.flatnonzero((height >= 0) & (height < level))
        if not len(above):
            # Nothing to refer to: these become the tops themselves.
            out[rows], height[rows] = (-1 if nullable else rows), 0
            continue
        out[rows] = Pool(kinds, number, len(rows), rng, above).take(np.maximum(asked[rows], 0))
        if level == DEEP:
            # Everything further down: some refer to rows of this depth that stand before them.
            deeper = rng.random(len(rows)) < (asked[rows] >= 0) * _share_deep(depth, asked, kinds, rows)
            for place in np.flatnonzero(deeper & (np.arange(len(rows)) > 0)).tolist():
                out[rows[place]] = rows[int(rng.integers(place))]
    return out


def _share_deep(depth: Array, asked: Array, kinds: Array, rows: Array) -> float:
    """The share of these rows that want to refer to a row as deep as they are."""
    deep = np.unique(kinds[depth == DEEP])
    return float(np.isin(asked[rows], deep).mean())
