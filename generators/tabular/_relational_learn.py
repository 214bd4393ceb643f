"""What is learned of one table: how its rows follow from their parents, and how many children each has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data.encode_coarse import Coarse
from data.encode_values import Array, plain
from data.ids import IdMaker
from data.relations import Tables, counts
from data.schema import Column, Schema
from generators.base import GeneratorError, Progress
from generators.tabular._relational_kinds import Kinds
from generators.tabular._relational_layout import Layout, is_list, sibling_order
from generators.tabular._relational_rows import ABOVE, BEFORE, BESIDE, KIND, TURNS, RowModel, telling

#: Names of what a row is told of where it stands among its siblings.
SIBLINGS, POSITION = "^siblings", "^position"


@dataclass
class TableModel:
    """One table. rows: draws its rows. coarse: its columns as its children see them; numbers: the same for its counts of
    children, by foreign key; most: how many children a row has, on average and at most. above, before: what a row is told of
    its owner and of the sibling before. links: for each other foreign key the share of nulls. size: rows of train."""

    layout: Layout
    schema: Schema
    size: int
    coarse: Mapping[str, Coarse]
    numbers: Mapping[str, Coarse]
    most: Mapping[str, tuple[float, int]]
    siblings: Coarse | None
    kinds: Kinds | None
    above: tuple[str, ...]
    before: tuple[str, ...]
    links: Mapping[str, float]
    ids: Mapping[str, IdMaker]
    rows: RowModel

    @property
    def own(self) -> list[str]:
        """The columns that are drawn, not copied or made."""
        return [c.name for c in self.schema.learned if c.name not in self.layout.copied]

    def to_json(self) -> dict[str, Any]:
        """All but the rows' own family."""
        coarse = {what: {k: v.to_json() for k, v in getattr(self, what).items()} for what in ("coarse", "numbers", "ids")}
        rows = self.rows
        return {
            "layout": self.layout.to_json(), "schema": self.schema.to_json(), "size": self.size, **coarse,
            "siblings": self.siblings and self.siblings.to_json(), "kinds": self.kinds and self.kinds.to_json(),
            "most": {name: list(each) for name, each in self.most.items()},
            "above": list(self.above), "before": list(self.before), "links": dict(self.links),
            "rows": {"schema": rows.schema.to_json(), "context": list(rows.context), "links": list(rows.links),
                     "beside": {k: list(v) for k, v in rows.beside.items()}, "cells": rows.cells,
                     "empty": rows.family is None},
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any], family: Any) -> TableModel:
        coarse = {what: {k: Coarse.from_json(v) for k, v in value[what].items()} for what in ("coarse", "numbers")}
        held = value["rows"]
        beside = {k: tuple(v) for k, v in held["beside"].items()}
        cells = None if held["cells"] is None else (held["cells"][0], held["cells"][1])
        rows = RowModel(
            Schema.from_json(held["schema"]), tuple(held["context"]), tuple(held["links"]), beside, family, cells
        )  # fmt: skip
        return cls(
            layout=Layout.from_json(value["layout"]), schema=Schema.from_json(value["schema"]), size=value["size"], **coarse,
            siblings=value["siblings"] and Coarse.from_json(value["siblings"]),
            most={name: (float(each[0]), int(each[1])) for name, each in value["most"].items()},
            kinds=value["kinds"] and Kinds.from_json(value["kinds"]), above=tuple(value["above"]),
            before=tuple(value["before"]), links=value["links"],
            ids={k: IdMaker.from_json(v) for k, v in value["ids"].items()}, rows=rows,
        )  # fmt: skip


@dataclass
class Learned:
    """What is known of all tables before their rows are learned. views: table -> name -> (rows,) codes, as children see it."""

    tables: Tables
    layouts: Mapping[str, Layout]
    coarse: Mapping[str, Mapping[str, Coarse]]
    kinds: Mapping[str, Kinds]
    codes: Mapping[str, Array]
    views: dict[str, dict[str, Array]]


def kind_name(table: str) -> str:
    """What a table's kind is called where others see it."""
    return f"{table}{KIND}"


def learn_table(
    known: Learned, table: str, *, prototype: Any, seed: int, progress: Progress, checkpoint: Path | None
) -> TableModel:
    """Fit the family to the rows of one table; the tables above it were learned before. Adds the table's view."""
    rows = _Rows(known, table)
    schema = rows.drawn_schema()
    told = rows.told()
    order = pa.array(rows.order)
    own = {name: values.take(order) for name, values in rows.drawn_columns().items()}
    model = RowModel.fit(
        told, rows.in_order({**rows.kind, **rows.links}), {key: rows.in_order(each) for key, each in rows.beside().items()},
        own, schema, rows=rows.data.num_rows, prototype=prototype, seed=seed, progress=progress, checkpoint=checkpoint,
    )  # fmt: skip
    known.views[table] = rows.view
    made = {c.name for c in rows.data.schema.of_kind("id")} - set(rows.places) - {rows.layout.numbered}
    return TableModel(
        layout=rows.layout, schema=rows.data.schema, size=rows.data.num_rows, coarse=known.coarse[table],
        numbers=rows.numbers, most={n: (float(each.mean()), int(each.max())) for n, each in rows.number.items()},
        siblings=rows.siblings, kinds=known.kinds.get(table), above=tuple(rows.above), before=tuple(rows.before),
        links={k.column: float((rows.places[k.column] < 0).mean()) for k in rows.layout.others},
        ids={name: IdMaker.fit(rows.data.column(name)) for name in rows.data.schema.names if name in made}, rows=model,
    )  # fmt: skip


class _Rows:
    """One table of train, as codes: what its rows are told, and what its children will see of it.

    places: foreign key's column -> the row of each row's parent. links: the kinds of parents beside the owner. number: how many
    children each row has, by foreign key. order: rows by owner, siblings in their order. above, before, siblings: what `told`
    found to be worth telling."""

    def __init__(self, known: Learned, table: str) -> None:
        tables = known.tables
        self.known, self.table, self.layout, self.data = known, table, known.layouts[table], tables[table]
        self.places = {key.column: tables.places(key) for key in tables.relations.of(table)}
        self.kind = {KIND: known.codes[table]} if table in known.codes else {}
        across = (*self.layout.others, *self.layout.selves)
        self.links = {f":{key.column}": _gather(known.codes[key.parent], self.places[key.column]) for key in across}
        self.number = {key.name: counts(tables.places(key), self.data.num_rows) for key in tables.relations.to(table)}
        self.numbers = {name: Coarse.of_numbers(name, each.astype(np.float64)) for name, each in self.number.items()}
        self.drawn = [c for c in self.data.schema.learned if c.name not in self.layout.copied]
        self.view = {f"{table}.{name}": each.read(self.data.column(name)) for name, each in known.coarse[table].items()}
        numbered = {n: self.numbers[n].of(each.astype(np.float64)) for n, each in self.number.items()}
        self.own = {c.name: self.view[f"{table}.{c.name}"] for c in self.drawn}
        self.targets = [*self.own.values(), *numbered.values(), *self.kind.values(), *self.links.values()]
        self.view |= {f"{table}#{name}": codes for name, codes in numbered.items()}
        self.view |= {f"{table}{name}": codes for name, codes in self.kind.items()}
        self.view |= {f"{table}:{key.column}": self.links[f":{key.column}"] for key in self.layout.others}
        self.order = sibling_order(tables, self.layout, self.places, {name[1:]: codes for name, codes in self.links.items()})
        self.above: list[str] = []
        self.before: list[str] = []
        self.siblings: Coarse | None = None

    def in_order(self, codes: Mapping[str, Array]) -> dict[str, Array]:
        """The same by owner, siblings in their order."""
        return {name: each[self.order] for name, each in codes.items()}

    def drawn_columns(self) -> dict[str, pa.Array]:
        """What is drawn: the table's own columns, and how many children a row has."""
        numbers = {f"#{name}": pa.array(each) for name, each in self.number.items()}
        return {**{c.name: plain(self.data.column(c.name)) for c in self.drawn}, **numbers}

    def drawn_schema(self) -> Schema:
        """Raises GeneratorError when a column is called like a count."""
        counted = [Column(name=f"#{name}", kind="integer", dtype="int64") for name in self.number]
        schema = Schema((*self.drawn, *counted))
        if len(set(schema.names)) < len(schema.names):
            raise GeneratorError(f"a column is called {counted[0].name!r}, as a count of children is; rename it")
        return schema

    def told(self) -> dict[str, Array]:
        """What a row is told of its owner and its siblings: name -> (n,) codes, in order; nothing without an owner."""
        if self.layout.owner is None:
            return {}
        owner = self.layout.owner
        at = self.places[owner.column]
        seen = {name: _gather(codes, at) for name, codes in self.known.views[owner.parent].items()}
        best = telling(seen, self.targets, ABOVE, len(np.unique(at[at >= 0])))
        self.above = list(dict.fromkeys([kind_name(owner.parent), *best]))
        self.view |= {name: seen[name] for name in self.above}
        return {f"^{n}": seen[n][self.order] for n in self.above} | self._among_siblings(at)

    def _among_siblings(self, at: Array) -> dict[str, Array]:
        each = np.bincount(at[at >= 0], minlength=1)
        self.siblings = Coarse.of_numbers(SIBLINGS, each[each > 0].astype(np.float64))
        many = self.siblings.of(each[np.maximum(at, 0)].astype(np.float64))
        position = positions(at[self.order])
        later = position > 0
        former = {name: np.roll(codes, 1) for name, codes in self.in_order({**self.own, **self.links}).items()}
        targets = [codes[self.order][later] for codes in self.targets]
        self.before = telling({name: codes[later] for name, codes in former.items()}, targets, BEFORE, int(later.sum()))
        told = {SIBLINGS: np.where(at < 0, -1, many)[self.order], POSITION: capped(position)}
        return told | {f"^before {name}": np.where(later, former[name], -1) for name in self.before}

    def beside(self) -> dict[str, dict[str, Array]]:
        """What rows are told of their other parents beyond the kind: foreign key's column -> name -> (n,) codes."""
        out: dict[str, dict[str, Array]] = {}
        for key in self.layout.others:
            if is_list(self.known.tables, key.parent) or not self.drawn:
                continue
            view = self.known.views[key.parent]
            names = [f"{key.parent}.{name}" for name in self.known.coarse[key.parent]]
            seen = {name: _gather(view[name], self.places[key.column]) for name in names}
            best = telling(seen, list(self.own.values()), BESIDE)
            out[key.column] = {beside_name(key.column, name): seen[name] for name in best}
        return out


def _gather(codes: Array, places: Array) -> Array:
    """What stands at these places, -1 for place -1."""
    return np.where(places >= 0, codes[np.maximum(places, 0)], -1)


def positions(owners: Array) -> Array:
    """The place of each row among its siblings, which stand together: (n,) int64; rows without an owner are first each."""
    if not len(owners):
        return np.zeros(0, dtype=np.int64)
    start = np.r_[True, (owners[1:] != owners[:-1]) | (owners[1:] < 0)]
    rows = np.arange(len(owners))
    return np.asarray(rows - np.maximum.accumulate(np.where(start, rows, 0)))


def capped(position: Array) -> Array:
    """Places as codes: those further on are told apart by their size alone."""
    return np.where(position < 8, position, 5 + np.log2(np.maximum(position, 1)).astype(np.int64))


def beside_name(column: str, name: str) -> str:
    """What a row's model calls a column of the parent that a foreign key refers to."""
    return f"^{column} {name}"


def waves(position: Array) -> list[tuple[Array, int]]:
    """Rows that are drawn together, and how far back the sibling stands that they look at: (rows, 0 for the first ones)."""
    top = int(position.max(initial=0)) + 1
    edges = [*range(min(top, TURNS)), *(TURNS * 2**k for k in range(64) if TURNS * 2**k < top), top]
    out = []
    for begin, end in zip(edges, edges[1:], strict=False):
        rows = np.flatnonzero((position >= begin) & (position < end))
        out.append((rows, 0 if begin == 0 else 1 if begin < TURNS else begin))
    return out
