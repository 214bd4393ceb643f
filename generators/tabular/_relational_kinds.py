"""What kinds of rows does a table that others refer to hold? Told by its columns, its children, and their children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.encode_coarse import Coarse
from data.encode_values import Array
from data.relations import IN_CIRCLE, ForeignKey, Tables, counts, depths
from generators.tabular._relational_layout import Layout, is_list
from generators.tabular._table import rng_of

#: At most so many kinds, of so many rows each on average.
KINDS, KIND_ROWS = 24, 16
#: Columns of space in which rows are grouped, rows that the groups are found on, and turns of the search.
WIDTH, GROUPED, TURNS = 128, 20_000, 25
#: Rows below this depth of a table that refers to itself are told apart no more.
DEEP = 6
#: A row that refers to itself, and one whose references lead into a circle.
LOOP, FREE = -2, IN_CIRCLE


@dataclass(frozen=True)
class Kinds:
    """The kinds of a table's rows. shares: rows of train of each kind. depth: self-reference's column -> the depth of each
    kind: 0 refers to none, LOOP to itself, FREE to any row, 1 and more to a row one above."""

    shares: tuple[int, ...]
    depth: Mapping[str, tuple[int, ...]]

    def to_json(self) -> dict[str, Any]:
        return {"shares": list(self.shares), "depth": {name: list(each) for name, each in self.depth.items()}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Kinds:
        return cls(tuple(value["shares"]), {name: tuple(each) for name, each in value["depth"].items()})


def learn_kinds(
    tables: Tables, layouts: Mapping[str, Layout], coarse: Mapping[str, Mapping[str, Coarse]], seed: int
) -> tuple[dict[str, Kinds], dict[str, Array]]:
    """The kinds of every table that is referred to, and the kind of each of its rows: {table: (n,) int64}."""
    points: dict[str, Array] = {}
    kinds: dict[str, Kinds] = {}
    codes: dict[str, Array] = {}
    for place, table in enumerate(reversed(tables.relations.order())):
        points[table] = _points(tables, table, coarse[table], points)
        if not tables.relations.to(table):
            continue
        levels = {key.column: _levels(tables, key) for key in layouts[table].selves}
        rows = tables[table].num_rows
        found = np.arange(rows) if is_list(tables, table) else _grouped(points[table], levels, rng_of(seed, 51, place))
        codes[table] = found
        first = np.unique(found, return_index=True)[1]
        depth = {name: tuple(int(v) for v in level[first]) for name, level in levels.items()}
        kinds[table] = Kinds(tuple(np.bincount(found).tolist()), depth)
    return kinds, codes


def _levels(tables: Tables, key: ForeignKey) -> Array:
    parents = tables.places(key)
    depth = np.minimum(depths(parents), DEEP)
    return np.where(parents == np.arange(len(parents)), LOOP, depth)


def _points(tables: Tables, table: str, coarse: Mapping[str, Coarse], below: Mapping[str, Array]) -> Array:
    """Rows as places in space: their columns, which lists they refer to, how many children, what these are like on average."""
    rows = tables[table]
    parts = [each.points(each.read(rows.column(name))) for name, each in coarse.items()]
    lists = [key for key in tables.relations.of(table) if is_list(tables, key.parent)]
    parts += [(tables.places(key)[:, None] == np.arange(tables[key.parent].num_rows)) / np.sqrt(2) for key in lists]
    for key in tables.relations.to(table):
        parents = tables.places(key)
        number = counts(parents, rows.num_rows)
        parts.append(np.log1p(number)[:, None] / max(np.log1p(number.max(initial=0)), 1.0))
        if not key.to_itself:
            parts.append(_means(below[key.table], parents, number))
    whole = np.concatenate([np.zeros((rows.num_rows, 1)), *parts], axis=1)
    if whole.shape[1] <= WIDTH:
        return whole
    widest = np.argsort(-whole.var(axis=0), kind="stable")[:WIDTH]
    return np.asarray(whole[:, np.sort(widest)])


def _means(points: Array, parents: Array, number: Array) -> Array:
    out = np.zeros((len(number), points.shape[1]))
    for column in range(points.shape[1]):
        out[:, column] = np.bincount(parents[parents >= 0], points[parents >= 0, column], len(number))
    filled = out / np.maximum(number, 1)[:, None]
    # Parents without children lie in the middle of the others, so that nothing but the count sets them apart.
    having = number > 0
    filled[~having] = filled[having].mean(axis=0) if having.any() else 0.0
    return np.asarray(filled)


def _grouped(points: Array, levels: Mapping[str, Array], rng: np.random.Generator) -> Array:
    """The kind of each row, numbered from 0 without gaps; rows of different depths are of different kinds."""
    rows = len(points)
    strata = np.zeros(rows, dtype=np.int64)
    for level in levels.values():
        _, strata = np.unique(strata * (2 * DEEP + 4) + level + 2, return_inverse=True)
    out = np.zeros(rows, dtype=np.int64)
    begun = 0
    for stratum in range(int(strata.max()) + 1):
        members = np.flatnonzero(strata == stratum)
        number = int(np.clip(min(KINDS * len(members) / rows, len(members) / KIND_ROWS), 1, KINDS))
        _, own = np.unique(nearest(points[members], centres(points[members], number, rng)), return_inverse=True)
        out[members] = begun + own
        begun += int(own.max()) + 1
    return out


def centres(points: Array, number: int, rng: np.random.Generator) -> Array:
    """Centres of at most `number` groups of points, (k, d), by Lloyd's algorithm.

    Source: the first ones as in k-means++ (Arthur and Vassilvitskii 2007)."""
    if len(points) > GROUPED:
        points = points[rng.choice(len(points), GROUPED, replace=False)]
    found = [points[int(rng.integers(len(points)))]]
    near = ((points - found[0]) ** 2).sum(axis=1)
    while len(found) < number and near.max() > 1e-12:
        found.append(points[int(rng.choice(len(points), p=near / near.sum()))])
        near = np.minimum(near, ((points - found[-1]) ** 2).sum(axis=1))
    middle = np.array(found)
    for _ in range(TURNS):
        of = nearest(points, middle)
        fresh = np.array([points[of == k].mean(axis=0) if (of == k).any() else middle[k] for k in range(len(middle))])
        if np.allclose(fresh, middle):
            break
        middle = fresh
    return middle


def nearest(points: Array, middle: Array) -> Array:
    """The nearest centre of each point: (n,) int64."""
    # Distances but for what is the same for all centres.
    return np.asarray(np.argmin((middle**2).sum(axis=1) - 2 * points @ middle.T, axis=1))
