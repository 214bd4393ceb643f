"""How is one table drawn once its parents are: row after row of each parent, matched to the other parents, keys made new?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from data.encode_values import Array
from data.mix import apportion
from data.relations import ForeignKey
from data.schema import arrow_type
from generators.tabular._conditions import part_seed
from generators.tabular._relational_learn import (
    POSITION,
    SIBLINGS,
    TableModel,
    beside_name,
    capped,
    kind_name,
    positions,
    waves,
)
from generators.tabular._relational_match import Pool, levelled, refer, without_repeats
from generators.tabular._relational_rows import KIND, Completes
from generators.tabular._table import rng_of


@dataclass
class Drawn:
    """A finished table: its columns, what its children see of it, how many each row should have, and the kinds of its rows."""

    table: pa.Table
    view: Mapping[str, Array]
    number: Mapping[str, Array]
    kinds: Array | None


@dataclass
class Drawing:
    """One table in the making; rows stand by owner, siblings in their order."""

    model: TableModel
    done: Mapping[str, Drawn]
    scale: float
    seed: int
    owner: Array = field(init=False)
    codes: dict[str, Array] = field(init=False)
    parents: dict[str, Array] = field(init=False)
    own: dict[str, pa.Array] = field(init=False)

    def __post_init__(self) -> None:
        self.rng = rng_of(self.seed, 61)
        self.owner = self._owners()
        self.position = positions(self.owner)
        rows = len(self.owner)
        self.codes = {name: np.full(rows, -1, dtype=np.int64) for name in self.model.rows.links}
        self.former = {name: np.full(rows, -1, dtype=np.int64) for name in self.model.before}
        self.parents = {key.column: np.full(rows, -1, dtype=np.int64) for key in self.model.layout.others}
        self.pools = {key.column: self._pool(key, rows) for key in self.model.layout.others}

    def __call__(self) -> Drawn:
        """The table."""
        self._draw()
        kept = self._without_repeats()
        self._finish_rows(kept)
        for key in self.model.layout.selves:
            self.parents[key.column] = self._refer(key)
        table = self._assemble()
        return Drawn(table, self._view(table), self.number, self.codes.get(KIND))

    def _owners(self) -> Array:
        """The row of its owner for each row, -1 for none."""
        layout, model = self.model.layout, self.model
        if layout.owner is None:
            return np.full(max(round(model.size * self.scale), 1), -1, dtype=np.int64)
        number = self.done[layout.owner.parent].number[layout.owner.name]
        owned = np.repeat(np.arange(len(number)), number)
        free = round(len(owned) * layout.nulls / (1 - layout.nulls)) if layout.nulls < 1 else round(model.size * self.scale)
        return np.concatenate([owned, np.full(free, -1, dtype=np.int64)])

    def _pool(self, key: ForeignKey, rows: int) -> Pool | None:
        above = self.done[key.parent]
        kinds = above.kinds
        if kinds is None or not len(kinds):
            return None
        return Pool(kinds, above.number[key.name], rows * (1 - self.model.links[key.column]), self.rng)

    def _draw(self) -> None:
        """All rows, those together that do not look at one another."""
        turns = waves(self.position) if self.model.before else [(np.arange(len(self.owner)), 0)]
        if not isinstance(self.model.rows.family, Completes):
            turns = [(np.arange(len(self.owner)), 0)]
        parts: list[dict[str, pa.Array]] = []
        for turn, (rows, back) in enumerate(turns):
            parts.append(self._some(rows, back, part_seed(self.seed, turn)))
        places = np.argsort(np.concatenate([rows for rows, _ in turns]), kind="stable")
        names = parts[0] if parts else {}
        self.own = {name: pa.concat_arrays([part[name] for part in parts]).take(pa.array(places)) for name in names}

    def _some(self, rows: Array, back: int, seed: int) -> dict[str, pa.Array]:
        model = self.model
        known = self._known(rows, back)
        if model.rows.beside and model.rows.family is not None and len(rows):
            self._link(rows, model.rows.draw_links(known, part_seed(seed, 1)))
            known |= {name: self.codes[name][rows] for name in model.rows.links}
            known |= self._seen_beside(rows)
            own = model.rows.draw(known, len(rows), seed)[1]
        else:
            links, own = model.rows.draw(known, len(rows), seed)
            self._link(rows, links)
        for name in self.former:
            fresh = self.codes[name][rows] if name in self.codes else model.coarse[name].read(own[name])
            self.former[name][rows] = fresh
        return own

    def _known(self, rows: Array, back: int) -> dict[str, Array]:
        model, layout = self.model, self.model.layout
        if layout.owner is None:
            if model.kinds is None:
                return {}
            shares = dict(enumerate(float(share) for share in model.kinds.shares))
            each = np.repeat(np.arange(len(shares)), list(apportion(shares, len(rows)).values()))
            self.codes[KIND][rows] = self.rng.permutation(each)
            return {KIND: self.codes[KIND][rows]}
        above, at = self.done[layout.owner.parent], self.owner[rows]
        known = {f"^{name}": _gather(above.view[name], at) for name in model.above}
        many = np.bincount(self.owner[self.owner >= 0], minlength=1).astype(np.float64)
        assert model.siblings is not None
        known[SIBLINGS] = np.where(at < 0, -1, model.siblings.of(many[np.maximum(at, 0)]))
        known[POSITION] = capped(self.position[rows])
        return known | {f"^before {n}": c[rows - back] if back else np.full(len(rows), -1) for n, c in self.former.items()}

    def _link(self, rows: Array, links: Mapping[str, Array]) -> None:
        for name, codes in links.items():
            self.codes[name][rows] = codes
        for key in self.model.layout.others:
            pool = self.pools[key.column]
            if pool is not None:
                self.parents[key.column][rows] = pool.take(self.codes[f":{key.column}"][rows])

    def _seen_beside(self, rows: Array) -> dict[str, Array]:
        out: dict[str, Array] = {}
        for key in self.model.layout.others:
            told = self.model.rows.beside.get(key.column, ())
            view = self.done[key.parent].view
            out |= {n: _gather(view[n.removeprefix(beside_name(key.column, ""))], self.parents[key.column][rows]) for n in told}
        return out

    def _without_repeats(self) -> Array:
        """Rows that stay: references to nothing, and repeats that nothing can be done about, go."""
        layout = self.model.layout
        kept = np.ones(len(self.owner), dtype=bool)
        for key in layout.others:
            if self.pools[key.column] is None and self.model.links[key.column] == 0:
                kept[:] = False
        if layout.owner is not None and layout.unique and kept.all():
            columns = [self.owner, *(self.parents[key.column] for key in layout.others)]
            # From the largest table on: there is the most room.
            pools = [None, *(self.pools[key.column] for key in layout.others)]
            kinds = [None, *(self.codes[f":{key.column}"] for key in layout.others)]
            kept &= without_repeats(columns, pools, kinds)
        return kept

    def _finish_rows(self, kept: Array) -> None:
        rows = np.flatnonzero(kept)
        self.owner, self.codes = self.owner[rows], {name: codes[rows] for name, codes in self.codes.items()}
        self.parents = {name: places[rows] for name, places in self.parents.items()}
        self.own = {name: values.take(pa.array(rows)) for name, values in self.own.items()}
        self.position = positions(self.owner)
        # What is the same for all siblings is what the first one drew.
        leader = pa.array(np.arange(len(rows)) - self.position)
        self.own |= {name: self.own[name].take(leader) for name in self.model.layout.steady}
        number = {name: np.asarray(self.own.pop(f"#{name}").to_numpy(), dtype=np.int64) for name in self.model.numbers}
        self.number = {name: levelled(np.maximum(each, 0), *self.model.most[name], self.rng) for name, each in number.items()}
        if self.model.layout.owner is not None:
            self.parents[self.model.layout.owner.column] = self.owner

    def _refer(self, key: ForeignKey) -> Array:
        kinds = self.model.kinds
        assert kinds is not None
        mine = self.codes[KIND]
        depth = np.array(kinds.depth[key.column])[mine]
        nullable = self.model.schema[key.column].nullable
        asked = self.codes[f":{key.column}"]
        return refer(depth, asked, mine, self.number[key.name], nullable=nullable, rng=self.rng)

    def _assemble(self) -> pa.Table:
        model, layout, rows = self.model, self.model.layout, len(self.owner)
        made: dict[str, pa.Array] = {}
        for place, (name, maker) in enumerate(model.ids.items()):
            made[name] = maker.draw(0, rows, part_seed(self.seed, 2**20 + place))
        keys = {key.column: key for key in (layout.owner, *layout.others, *layout.selves) if key is not None}
        for name, key in keys.items():
            source = made[key.key] if key.to_itself else self.done[key.parent].table.column(key.key)
            made[name] = _taken(source, self.parents[name])
        for name, (column, source_name) in layout.copied.items():
            made[name] = _taken(self.done[keys[column].parent].table.column(source_name), self.parents[column])
        if layout.numbered is not None:
            made[layout.numbered] = pa.array(layout.first_number + self.position)
        made |= self.own
        wanted = {c.name: arrow_type(c.dtype) for c in model.schema}
        return pa.table({name: made[name] if made[name].type == t else made[name].cast(t) for name, t in wanted.items()})

    def _view(self, table: pa.Table) -> dict[str, Array]:
        model, layout = self.model, self.model.layout
        name = layout.table
        view = {f"{name}.{column}": each.read(table.column(column)) for column, each in model.coarse.items()}
        view |= {f"{name}#{key}": model.numbers[key].of(each.astype(np.float64)) for key, each in self.number.items()}
        if layout.owner is not None:
            above = self.done[layout.owner.parent].view
            view |= {n: _gather(above[n], self.owner) for n in model.above}
        if KIND in self.codes:
            view[kind_name(name)] = self.codes[KIND]
        return view | {f"{name}:{key.column}": self.codes[f":{key.column}"] for key in layout.others}


def _gather(codes: Array, places: Array) -> Array:
    if not len(codes):
        return np.full(len(places), -1, dtype=np.int64)
    return np.where(places >= 0, codes[np.maximum(places, 0)], -1)


def _taken(values: pa.Array | pa.ChunkedArray, places: Array) -> pa.Array:
    """The values at these places, null for place -1."""
    taken = values.take(pa.array(places, mask=places < 0))
    return taken.combine_chunks() if isinstance(taken, pa.ChunkedArray) else taken
