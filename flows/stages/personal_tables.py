"""What becomes of personal data in tables that refer to one another: how do keys that are made anew still hold?

The family of a release is given numbers in place of keys, so it never sees a real one. The numbers that it draws are counted as
they come, parents first, and each count has one new value: in every table that holds the key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from configs.plan import Plan
from data.dataset import Dataset
from data.infer import infer
from data.personal import Personal
from data.relations import ForeignKey, Relations, Tables, places
from data.remake import Remaker, keys_alike
from flows.stages.personal import ANEW, DROPPED, LEARNED, Decided, decide, taught

#: Rows without the parent whose value they would have are counted from here on.
ALONE = 1 << 40


@dataclass(frozen=True)
class Anew:
    """What a release makes anew in its tables.

    keys: table -> column -> the "table.column" that it refers to in the end, itself for a key of its own. columns: table ->
    column -> kind, keys among them. follows: "table.column" -> (foreign key's column, the parent's "table.column") where a row
    has its parent's value."""

    keys: Mapping[str, Mapping[str, str]]
    columns: Mapping[str, Mapping[str, str]]
    follows: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"keys": self.keys, "columns": self.columns, "follows": self.follows}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Anew:
        return cls(value["keys"], value["columns"], {name: (own, above) for name, (own, above) in value["follows"].items()})

    def beside(self, table: str) -> list[str]:
        """The columns of a table that no family draws: all but its keys."""
        return [name for name in self.columns[table] if name not in self.keys[table]]


def decide_tables(
    plan: Plan, held: Mapping[str, pa.Table], relations: Relations
) -> tuple[dict[str, Decided], dict[str, dict[str, str]]]:
    """What is personal in each table, and table -> column -> kind of those that are none, as the plan says.

    Keys are made anew whatever the plan says of them. Raises as `decide`."""
    found, kinds = {}, {}
    for name, table in held.items():
        keys = {*relations.made(name), *(key.column for key in relations.of(name)), *relations.primary[name]}
        columns = {c.partition(".")[2]: spec for c, spec in plan.columns.items() if c.partition(".")[0] == name}
        columns |= {c: spec.model_copy(update={"pii": None}) for c, spec in columns.items() if c in keys}
        own = plan.model_copy(update={"columns": columns})
        stated = {column: spec.stated() for column, spec in columns.items() if not spec.drop}
        stated |= {column: {"kind": "id"} for column in keys}
        rows = table.drop_columns([column for column, spec in columns.items() if spec.drop and column in table.column_names])
        schema = infer(rows, stated=stated)
        kinds[name] = {c: kind for c, kind in taught(own, schema).items() if c not in keys}
        schema = (
            infer(rows, stated={**stated, **{c: {"kind": kind} for c, kind in kinds[name].items()}}) if kinds[name] else schema
        )
        decided = decide(own, schema, rows)
        found[name] = replace(decided, found=tuple(replace(one, column=f"{name}.{one.column}") for one in decided.found))
    return found, kinds


def anew_of(found: Mapping[str, Decided], held: Mapping[str, pa.Table], relations: Relations) -> Anew:
    """What a release makes anew: every key but those that number the rows of a parent, and what was found beside them."""
    roots = {name: _roots(relations, name) for name in held}
    whats = {one.column: one.what for each in found.values() for one in each.found if one.done == ANEW}
    columns: dict[str, dict[str, str]] = {}
    for name in held:
        numbered = relations.numbered(name)
        beside = {c: whats[f"{name}.{c}"] for c in held[name].column_names if f"{name}.{c}" in whats and c != numbered}
        columns[name] = beside | {c: whats.get(root, "id") for c, root in roots[name].items()}
    made = Anew(roots, columns)
    return replace(made, follows=_follows(made, held, relations))


def away(found: Mapping[str, Decided], anew: Anew) -> dict[str, list[str]]:
    """The columns of each table that no family is given."""
    dropped = {
        one.column for each in found.values() for one in each.found if one.done == DROPPED and one.what != "not looked at"
    }
    return {
        name: [*anew.beside(name), *(c.partition(".")[2] for c in sorted(dropped) if c.partition(".")[0] == name)]
        for name in found
    }


def _roots(relations: Relations, table: str) -> dict[str, str]:
    """Key column -> what it refers to in the end, "table.column"."""
    foreign = {key.name: key for key in relations.foreign}
    out = {}
    for column in [*relations.made(table), *(key.column for key in relations.of(table))]:
        at = f"{table}.{column}"
        while at in foreign:
            at = f"{foreign[at].parent}.{foreign[at].key}"
        out[column] = at
    return out


def _follows(anew: Anew, held: Mapping[str, pa.Table], relations: Relations) -> dict[str, tuple[str, str]]:
    """Columns whose rows hold what their parent holds, e.g. an invoice's address: the customer's."""
    out: dict[str, tuple[str, str]] = {}
    for name in relations.order():
        for column in anew.beside(name):
            for key in (
                k for k in relations.of(name) if anew.keys[k.table][k.column] == f"{k.parent}.{k.key}" and not k.to_itself
            ):
                same = (c for c in anew.beside(key.parent) if anew.columns[key.parent][c] == anew.columns[name][column])
                above = next((c for c in same if f"{key.parent}.{c}" not in out and _held_above(held, key, column, c)), None)
                if above is not None:
                    out[f"{name}.{column}"] = (key.column, f"{key.parent}.{above}")
                    break
    return out


def _held_above(held: Mapping[str, pa.Table], key: ForeignKey, column: str, above: str) -> bool:
    """Whether every row holds its parent's value, where both have one."""
    rows = places(held[key.table].column(key.column), held[key.parent].column(key.key))
    there = rows >= 0
    mine = held[key.table].column(column).filter(pa.array(there)).cast(pa.string())
    theirs = held[key.parent].column(above).take(pa.array(rows[there])).cast(pa.string())
    same = pc.equal(mine, theirs).drop_null()
    return len(same) > 0 and bool(pc.all(same).as_py())


def numbered_keys(tables: Tables, anew: Anew) -> Tables:
    """The tables with numbers in place of their keys, equal for equal keys: what the family of a release is given."""
    parts = {}
    for name, rows in tables.parts.items():
        table, schema = rows.table, rows.schema
        for column, root in anew.keys[name].items():
            parent, _, key = root.partition(".")
            numbers = places(table.column(column), tables[parent].column(key))
            values = pa.array(numbers, mask=numbers < 0)
            table = table.set_column(table.schema.get_field_index(column), column, values)
            told = replace(schema[column], dtype="int64")
            schema = replace(schema, columns=tuple(told if c.name == column else c for c in schema))
        parts[name] = Dataset(table, schema)
    return Tables(parts, tables.relations, tables.notices)


@dataclass
class Spelled:
    """Turns drawn numbers back into keys, and adds the columns beside them; parents must come before their children.

    held: the real tables, whose values must not come out. secret: the key of what is made anew."""

    anew: Anew
    held: Mapping[str, pa.Table]
    seed: int
    locale: str
    secret: bytes

    def __post_init__(self) -> None:
        self.counted: dict[str, dict[int, int]] = {}
        self.rows = dict.fromkeys(self.held, 0)
        self.makers: dict[str, Remaker] = {}

    def __call__(self, table: str, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch of drawn rows as it goes out, columns in the source's order."""
        made = self.anew.columns[table]
        first, self.rows[table] = self.rows[table], self.rows[table] + batch.num_rows
        counts = {column: self._count(root, batch.column(column)) for column, root in self.anew.keys[table].items()}
        out = {}
        for column in self.held[table].column_names:
            if column in counts:
                out[column] = self._keys(table, column, counts[column])
            elif column in made:
                out[column] = self._beside(table, column, counts, np.arange(first, first + batch.num_rows))
            elif column in batch.schema.names:
                out[column] = batch.column(column)
        return pa.RecordBatch.from_pydict(out)

    def _count(self, root: str, values: pa.Array) -> np.ndarray:
        """The place of each number among all that were drawn of this key, in the order they came in; -1 for none: (n,)."""
        seen = self.counted.setdefault(root, {})
        return np.array([-1 if v is None else seen.setdefault(v, len(seen)) for v in values.to_pylist()], dtype=np.int64)

    def _keys(self, table: str, column: str, counts: np.ndarray) -> pa.Array:
        there = np.flatnonzero(counts >= 0)
        maker = self._maker(self.anew.keys[table][column], self.anew.columns[table][column])
        fresh = maker.at(counts[there].astype(np.uint64), self.seed)
        back = np.full(len(counts), -1, dtype=np.int64)
        back[there] = np.arange(len(there))
        spelled = fresh.take(pa.array(back, mask=back < 0))
        return spelled.cast(_plain(self.held[table].schema.field(column).type))

    def _beside(self, table: str, column: str, counts: Mapping[str, np.ndarray], own: np.ndarray) -> pa.Array:
        what, name = self.anew.columns[table][column], f"{table}.{column}"
        if name in self.anew.follows:
            key, above = self.anew.follows[name]
            parents = counts[key]
            return self._maker(above, what).at(np.where(parents < 0, own + ALONE, parents).astype(np.uint64), self.seed)
        return self._maker(name, what).at(own.astype(np.uint64), self.seed)

    def _maker(self, name: str, what: str) -> Remaker:
        """What makes the values of a column, "table.column"; columns of a table that hold the same share one stream."""
        if name not in self.makers:
            table, _, column = name.partition(".")
            alike = {c: w for c, w in self.anew.columns[table].items() if c == column or c not in self.anew.keys[table]}
            roots = keys_alike(self.held[table], alike)
            same = [self.held[table].column(c) for c in alike if roots[c] == roots[column] and c != column]
            # Names, phones and the like are drawn by chance and may come twice, which a key must not.
            kind = what if what in ("id", "email", "username") or column not in self.anew.keys[table] else "id"
            columns, key = (self.held[table].column(column), *same), f"{table}.{roots[column]}"
            self.makers[name] = Remaker.fit(kind, *columns, key=key, locale=self.locale, secret=self.secret)
        return self.makers[name]


def _plain(dtype: pa.DataType) -> pa.DataType:
    return dtype.value_type if pa.types.is_dictionary(dtype) else dtype


def told(found: Mapping[str, Decided], relations: Relations) -> Iterator[Personal]:
    """All decisions, keys with what they are made to be."""
    for name, each in found.items():
        numbered = relations.numbered(name)
        yield from (one for one in each.found if one.column != f"{name}.{numbered}" or one.done != ANEW)


def personal_notices(plan: Plan, found: Mapping[str, Decided], relations: Relations) -> list[str]:
    """A sentence each: in an augment run one that names what looks personal; in a release what is done about it."""
    blind = list(dict.fromkeys(said for each in found.values() for said in each.notices)) if plan.purpose == "augment" else []
    known = [one for one in told(found, relations) if one.what not in ("none", "id", "not looked at")]
    if plan.purpose == "augment":
        named = [f"{one.column} ({one.what.replace('_', ' ')})" for one in known if one.what != "text"]
        return [*blind, *([f"These columns look like personal data: {', '.join(named)}."] if named else [])]
    out = []
    for done, said in (
        (ANEW, f"Made anew with Faker ({plan.privacy.locale}), beside all keys"),
        (DROPPED, "Dropped as free text"),
    ):
        if names := [one.column for one in known if one.done == done]:
            out.append(f"{said}: {', '.join(names)}.")
    if names := [one.column for one in known if one.done == LEARNED]:
        out.append(f"Learned although others may know it of a person: {', '.join(names)}; drop it if that is too much.")
    return out
