"""How do tables hang together? Keys, the order that they imply, and the rows that belong to a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.dataset import Dataset
from data.encode_values import Array, Values, plain
from data.errors import DataError
from data.schema import Column

#: A table of at most so many rows may be a list whose words can go out as they are.
SHORT = 32
#: Depth of a row that refers, over other rows of its table, to itself.
IN_CIRCLE = -1


@dataclass(frozen=True)
class ForeignKey:
    """`table.column` holds values of `parent.key`, or null."""

    table: str
    column: str
    parent: str
    key: str

    @property
    def name(self) -> str:
        return f"{self.table}.{self.column}"

    @property
    def to_itself(self) -> bool:
        return self.table == self.parent


@dataclass(frozen=True)
class Relations:
    """The keys of some tables. primary: table -> the columns of its primary key, () where it has none."""

    primary: Mapping[str, tuple[str, ...]]
    foreign: tuple[ForeignKey, ...] = ()

    @property
    def tables(self) -> list[str]:
        return list(self.primary)

    def of(self, table: str) -> list[ForeignKey]:
        """The foreign keys that a table holds."""
        return [key for key in self.foreign if key.table == table]

    def to(self, table: str) -> list[ForeignKey]:
        """The foreign keys that refer to a table."""
        return [key for key in self.foreign if key.parent == table]

    def made(self, table: str) -> list[str]:
        """Columns whose values are made anew: keys of the table's own, and what others refer to."""
        own = [name for name in self.primary[table] if len(self.primary[table]) == 1]
        referred = list(dict.fromkeys([*own, *(key.key for key in self.to(table))]))
        return [name for name in referred if name not in {key.column for key in self.of(table)}]

    def numbered(self, table: str) -> str | None:
        """The column of a primary key that numbers the rows of one parent (order, line), None where there is none."""
        own = self.primary[table]
        loose = [name for name in own if name not in {key.column for key in self.of(table)}]
        return loose[0] if len(own) > 1 and len(loose) == 1 else None

    def order(self) -> list[str]:
        """The tables, parents before their children, else as they are named.

        Raises DataError when tables refer to each other in a circle."""
        out: list[str] = []
        left = self.tables
        while left:
            free = [t for t in left if all(key.parent in out or key.to_itself for key in self.of(t))]
            if not free:
                raise DataError(
                    f"the tables refer to each other in a circle: {' -> '.join(self._circle(left))}; leave one of these "
                    "foreign keys out of data.keys, or one of the tables out of data.tables"
                )
            out.append(free[0])
            left.remove(free[0])
        return out

    def _circle(self, left: Sequence[str]) -> list[str]:
        path = [left[0]]
        while len(set(path)) == len(path):
            path.append(next(key.parent for key in self.of(path[-1]) if key.parent in left and not key.to_itself))
        return path[path.index(path[-1]) :]

    def check(self, columns: Mapping[str, Sequence[str]]) -> None:
        """Raises DataError for a key that names what is not there, for a column with two meanings, for a circle of tables, and
        for a composite primary key that is neither made of foreign keys nor numbers the rows of one parent."""
        for table, own in self.primary.items():
            for name in own:
                _there(columns, table, name, f"the primary key of {table!r}")
        seen: set[str] = set()
        for key in self.foreign:
            _there(columns, key.table, key.column, f"the foreign key {key.name}")
            _there(columns, key.parent, key.key, f"the foreign key {key.name}")
            if key.name in seen:
                raise DataError(f"{key.name} refers to two tables; a column can hold one foreign key: leave one of them out")
            seen.add(key.name)
        for table, own in self.primary.items():
            foreign = {key.column for key in self.of(table)}
            loose = [name for name in own if name not in foreign]
            if len(own) > 1 and (len(loose) > 1 or (loose and len(own) > 2)):
                raise DataError(
                    f"table {table!r} has the primary key ({', '.join(own)}), of which {loose[0]!r} is no foreign key; "
                    "composite keys must be made of foreign keys, or of one and a number: state another under data.primary"
                )
        self.order()

    def to_json(self) -> dict[str, Any]:
        return {"primary": {t: list(own) for t, own in self.primary.items()}, "foreign": [asdict(key) for key in self.foreign]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Relations:
        return cls({t: tuple(own) for t, own in value["primary"].items()}, tuple(ForeignKey(**k) for k in value["foreign"]))


def _there(columns: Mapping[str, Sequence[str]], table: str, column: str, what: str) -> None:
    if table not in columns:
        raise DataError(
            f"{what} needs the table {table!r}, which is not among those read ({', '.join(columns)}); "
            "add it, or leave the key out"
        )
    if column not in columns[table]:
        raise DataError(f"{what} needs the column {table}.{column}, which is not there; it has {', '.join(columns[table][:8])}")


@dataclass(frozen=True)
class Tables:
    """Tables with their keys: parts holds a Dataset for each table, whose keys are of kind id; notices: what was left out."""

    parts: Mapping[str, Dataset]
    relations: Relations
    notices: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def from_arrow(
        cls,
        tables: Mapping[str, pa.Table],
        relations: Relations,
        *,
        stated: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    ) -> Tables:
        """Tables whose keys hold, with schemas inferred: keys are ids; free text and what else cannot be learned is left out.

        stated: table -> column -> fields of the schema in place of what is inferred.

        Raises DataError as `Relations.check`, and for keys that repeat or are missing, and references to no row."""
        from data.infer import infer

        relations.check({name: table.column_names for name, table in tables.items()})
        parts, notices = {}, []
        alike = {name: _same_types(name, table, tables, relations) for name, table in tables.items()}
        for name in relations.tables:
            table = alike[name]
            keys = {*relations.made(name), *(key.column for key in relations.of(name)), *relations.primary[name]}
            kinds = {**(stated or {}).get(name, {}), **{column: {"kind": "id"} for column in keys}}
            schema = infer(table, stated=kinds)
            out = [c.name for c in schema if not c.learned and c.kind != "id"]
            notices += [_left_out(name, schema[c], table.num_rows) for c in out]
            kept = schema.select([c.name for c in schema if c.name not in out])
            parts[name] = Dataset(table.select(kept.names), kept)
        made = cls(parts, relations, tuple(notices))
        check_keys(made)
        return made

    def __getitem__(self, table: str) -> Dataset:
        return self.parts[table]

    def places(self, key: ForeignKey) -> Array:
        """For each row of the child the row of its parent, -1 for null: (n,) int64."""
        return places(self[key.table].column(key.column), self[key.parent].column(key.key))


def _left_out(table: str, column: Column, rows: int) -> str:
    said = f"{table}.{column.name} is {column.kind}, which no family of tables writes, and is left out"
    short = f"; if it names what there is, and no person, state columns.{table}.{column.name}: {{kind: categorical}}"
    return said + (short if rows <= SHORT and column.kind == "text" else "")


def _same_types(name: str, table: pa.Table, tables: Mapping[str, pa.Table], relations: Relations) -> pa.Table:
    """The table with its foreign keys of the type of what they refer to. Raises DataError when they cannot be."""
    for key in relations.of(name):
        wanted = plain(tables[key.parent].column(key.key)).type
        held = plain(table.column(key.column))
        if held.type != wanted:
            try:
                held = held.cast(wanted)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                raise DataError(
                    f"{key.name} is of type {held.type} and {key.parent}.{key.key} of type {wanted}; cast one to the other"
                ) from None
        table = table.set_column(table.schema.get_field_index(key.column), key.column, held)
    return table


def places(child: Values, parent: Values) -> Array:
    """The position among `parent` of each value of `child`, -1 for null and for what is not there: (n,) int64."""
    found = pc.index_in(plain(child), value_set=plain(parent), skip_nulls=True)
    return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), dtype=np.int64)


def check_keys(tables: Tables) -> None:
    """Raises DataError, with how many rows and the first value, for the first fault of `faults`."""
    for fault in faults(tables):
        raise DataError(fault)


def faults(tables: Tables) -> Iterator[str]:
    """What is wrong with the keys, a sentence each: primary keys that are missing or repeat, references to no row."""
    relations = tables.relations
    for table, own in relations.primary.items():
        referred = [(key.key,) for key in relations.to(table)]
        for columns in dict.fromkeys([own, *referred]):
            yield from _repeats(table, columns, tables[table]) if columns else ()
    for key in relations.foreign:
        child = tables[key.table].column(key.column)
        lost = np.flatnonzero((tables.places(key) < 0) & np.asarray(child.is_valid()))
        if len(lost):
            yield (
                f"{len(lost)} of {len(child)} rows of {key.name} refer to no row of {key.parent}.{key.key}, the first to "
                f"{child[int(lost[0])].as_py()!r}; leave these rows out, or add what they refer to"
            )


def _repeats(table: str, columns: Sequence[str], rows: Dataset) -> Iterator[str]:
    named = f"{table}.{columns[0]}" if len(columns) == 1 else f"{table} ({', '.join(columns)})"
    held = rows.table.select(list(columns))
    if empty := sum(column.null_count for column in held.columns):
        yield f"the key {named} is empty in {empty} rows; every row needs one"
        return
    counted = held.group_by(list(columns)).aggregate([([], "count_all")])
    twice = counted.filter(pc.greater(counted.column("count_all"), 1))
    if twice.num_rows:
        first = ", ".join(repr(twice.column(name)[0].as_py()) for name in columns)
        yield f"the key {named} repeats: {twice.num_rows} values stand more than once, the first is {first}; it must be unique"


def counts(parents: Array, rows: int) -> Array:
    """How many children each of `rows` parents has: (rows,) int64; parents: (n,) the parent's row, -1 for none."""
    return np.bincount(parents[parents >= 0], minlength=rows)


def depths(parents: Array) -> Array:
    """How far each row of a table that refers to itself is below a row that refers to none, or to itself: (n,) int64.

    0 for such rows; IN_CIRCLE for those whose references lead into a circle of more rows."""
    own = np.arange(len(parents))
    out = np.where((parents < 0) | (parents == own), 0, IN_CIRCLE)
    fresh = out == 0
    depth = 0
    while fresh.any():
        depth += 1
        fresh = (out == IN_CIRCLE) & (parents >= 0) & fresh[parents]
        out[fresh] = depth
    return out


def repeated_rows(columns: Sequence[Array]) -> Array:
    """Which rows repeat an earlier one in all of these columns: (n,) bool; a row with a value below 0 repeats none."""
    if not columns or not len(columns[0]):
        return np.zeros(len(columns[0]) if columns else 0, dtype=bool)
    rows = np.stack(columns, axis=1)
    _, first, of = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return np.asarray((first[of.ravel()] != np.arange(len(rows))) & (rows >= 0).all(axis=1))
