"""Which parent owns a table's rows, what is copied from parents, and in which order do siblings stand?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.encode_values import Array, floats, plain
from data.relations import ForeignKey, Tables, counts, repeated_rows

#: A table of at most so many rows, none of them a person's, is a list, of genres or of currencies: each row is its own kind.
LIST = 32
#: A column that equals one of a parent's in every row, so many at least, is copied from it.
COPIED = 20


@dataclass(frozen=True)
class Layout:
    """What a table takes from where.

    owner: the foreign key by whose parents rows are counted, None for a table that refers to no other. others: foreign keys
    whose parents are matched to finished rows. selves: those that refer to the table itself. copied: column -> (foreign key's
    column, column of its parent). steady: columns that are the same for all siblings. unique: whether no two rows refer to the
    same parents. numbered: the column that counts siblings, from first_number on. nulls: share of rows without an owner.
    along: the column by which siblings stand in order; "" for that of the rows, or of what they refer to if that is unique."""

    table: str
    owner: ForeignKey | None
    others: tuple[ForeignKey, ...]
    selves: tuple[ForeignKey, ...]
    copied: Mapping[str, tuple[str, str]]
    steady: tuple[str, ...]
    unique: bool
    numbered: str | None
    first_number: int
    nulls: float
    along: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Layout:
        owner = None if value["owner"] is None else ForeignKey(**value["owner"])
        keys = {name: tuple(ForeignKey(**key) for key in value[name]) for name in ("others", "selves")}
        copied = {name: (source[0], source[1]) for name, source in value["copied"].items()}
        return cls(**{**value, "owner": owner, "copied": copied, "steady": tuple(value["steady"]), **keys})


def lay_out(tables: Tables, table: str) -> Layout:
    """How one table is made from its parents."""
    relations = tables.relations
    keys = relations.of(table)
    places = {key.column: tables.places(key) for key in keys}
    across = [key for key in keys if not key.to_itself]
    ranked = sorted(across, key=lambda key: _fitness(tables, key, places[key.column]), reverse=True)
    owner = ranked[0] if ranked else None
    others = tuple(key for key in across if key != owner)
    numbered = relations.numbered(table)
    start = 0 if numbered is None else int(pc.min(tables[table].column(numbered)).as_py())
    copied = _copied(tables, table, across, places)
    return Layout(
        table=table,
        owner=owner,
        others=others,
        selves=tuple(key for key in keys if key.to_itself),
        copied=copied,
        steady=_steady(tables, table, places[owner.column], copied) if owner else (),
        unique=len(across) > 0 and not repeated_rows([places[key.column] for key in across]).any(),
        numbered=numbered,
        first_number=start,
        nulls=float((places[owner.column] < 0).mean()) if owner else 0.0,
        along=_along(tables, table),
    )


def is_list(tables: Tables, table: str) -> bool:
    """Whether a table is a short list of what there is, each row of which may go out as it is."""
    # A column whose kind the plan states was looked at.
    persons = any(column.pii and "kind" not in column.declared for column in tables[table].schema.learned)
    itself = any(key.to_itself for key in tables.relations.of(table))
    return tables[table].num_rows <= LIST and not persons and not itself


def _fitness(tables: Tables, key: ForeignKey, places: Array) -> tuple[float, ...]:
    """How well children are counted by this parent: what numbers or names them first, then rows that hardly lack it, parents
    that are no mere list and that mostly have children, and many parents, from whom counts are learned."""
    primary, rows = tables.relations.primary[key.table], tables[key.parent].num_rows
    having = float((counts(places, rows) > 0).mean())
    numbers = tables.relations.numbered(key.table) is not None and key.column in primary
    named = primary == (key.column,)
    return (numbers or named, bool((places < 0).mean() < 0.5), not is_list(tables, key.parent), round(having, 1), rows)


def _along(tables: Tables, table: str) -> str:
    times = [c.name for c in tables[table].schema.of_kind("datetime") if not c.nullable]
    return times[0] if times else ""


def _copied(tables: Tables, table: str, keys: list[ForeignKey], places: Mapping[str, Array]) -> dict[str, tuple[str, str]]:
    """Columns that say in every row what the parent's says."""
    out: dict[str, tuple[str, str]] = {}
    rows = tables[table]
    for key in keys:
        at = places[key.column]
        if rows.num_rows < COPIED or (at < 0).any():
            continue
        for column in rows.schema.learned:
            # One of the same name is the likelier source of two that are alike.
            named = sorted(tables[key.parent].schema.learned, key=lambda c: c.name != column.name)
            for source in named:
                if column.name not in out and source.kind == column.kind and _same(tables, key, column.name, source.name, at):
                    out[column.name] = (key.column, source.name)
    return out


def _steady(tables: Tables, table: str, owner: Array, copied: Mapping[str, object]) -> tuple[str, ...]:
    """Columns that are drawn and of which all rows of an owner hold the same."""
    rows = tables[table]
    order = np.argsort(owner, kind="stable")
    following = np.r_[False, (owner[order][1:] == owner[order][:-1]) & (owner[order][1:] >= 0)]
    out = []
    for column in rows.schema.learned:
        values = plain(rows.column(column.name)).take(pa.array(order))
        codes = values.dictionary_encode(null_encoding="encode").indices.to_numpy()
        alike = codes[following] == codes[np.flatnonzero(following) - 1]
        if column.name not in copied and len(alike) >= COPIED and len(np.unique(codes)) > 1 and alike.all():
            out.append(column.name)
    return tuple(out)


def _same(tables: Tables, key: ForeignKey, column: str, source: str, at: Array) -> bool:
    mine = plain(tables[key.table].column(column))
    theirs = plain(tables[key.parent].column(source))
    if mine.type != theirs.type:
        return False
    theirs = theirs.take(pa.array(at))
    return len(pc.unique(mine)) > 1 and mine.equals(theirs)


def sibling_order(tables: Tables, layout: Layout, places: Mapping[str, Array], kinds: Mapping[str, Array]) -> Array:
    """The rows of a table by owner, siblings in their order, rows without an owner last: (n,) int64.

    kinds: foreign key's column -> the kind of each row's parent, by which rows that are nothing but links stand in order."""
    rows = tables[layout.table]
    if layout.owner is None:
        return np.arange(rows.num_rows)
    owner = places[layout.owner.column]
    by: list[Array] = []
    if layout.along:
        by = [floats(rows.column(layout.along), layout.along)]
    elif layout.unique:
        by = [kinds[key.column] for key in reversed(layout.others)]
    return np.lexsort((*by, np.where(owner < 0, owner.max(initial=0) + 1, owner)))
