"""Which tables, and which keys between them? A database states its keys; for files the plan does."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from data.errors import DataError
from data.relations import ForeignKey, Relations
from data.sources.sql import inspected
from data.sources.sql import read as read_query

if TYPE_CHECKING:
    from sqlalchemy import Dialect, Inspector, Select

#: Table -> its primary key; and the foreign keys.
Keys = tuple[dict[str, tuple[str, ...]], list[ForeignKey]]


def read(
    url: str | None = None,
    files: Mapping[str, str] | None = None,
    tables: Sequence[str] | None = None,
    primary: Mapping[str, str | Sequence[str]] | None = None,
    keys: Sequence[str] = (),
) -> tuple[dict[str, pa.Table], Relations]:
    """The tables of a database, or of csv and Parquet files, and the keys between them.

    tables: the only ones, all if None. primary: table -> its key, in place of what the database states. keys: further foreign
    keys, "table.column -> parent.column" each. Rows of a table with a primary key come in its order.

    Raises DataError for what cannot be read, a table that is not there, a key that is not written so, and composite foreign
    keys."""
    if (url is None) == (files is None):
        raise DataError("data: name either url, for a database, or files, for csv and Parquet files")
    found: Keys = ({}, [])
    if url is not None:
        held, found = _from_database(url, tables)
    else:
        held = {name: _file(Path(path)) for name, path in (files or {}).items() if tables is None or name in tables}
        _known(tables or (), files or {}, "data.files")
    own = {name: found[0].get(name, ()) for name in held}
    for name, key in (primary or {}).items():
        _known([name], held, "the tables read")
        own[name] = (key,) if isinstance(key, str) else tuple(key)
    foreign = [*found[1], *(parse_key(text) for text in keys)]
    return held, Relations(own, tuple(dict.fromkeys(foreign)))


def parse_key(text: str) -> ForeignKey:
    """The key that "table.column -> parent.column" means. Raises DataError for anything else."""
    child, arrow, parent = (part.strip() for part in text.partition("->"))
    sides = [side.rpartition(".") for side in (child, parent)]
    if not arrow or not all(table and column for table, _, column in sides):
        raise DataError(f"data.keys: {text!r} is no foreign key; write it as table.column -> parent.column")
    return ForeignKey(sides[0][0], sides[0][2], sides[1][0], sides[1][2])


def keys_of(url: str) -> tuple[list[str], Keys]:
    """The tables of a database, views apart, and the keys that it states. Raises DataError as `read` does."""
    with inspected(url) as (look, shown):
        names = sorted(look.get_table_names())
        return names, _stated(look, names, shown)


def _from_database(url: str, wanted: Sequence[str] | None) -> tuple[dict[str, pa.Table], Keys]:
    with inspected(url) as (look, shown):
        there = sorted(look.get_table_names())
        _known(wanted or (), there, shown)
        names = [name for name in there if wanted is None or name in wanted]
        if not names:
            raise DataError(f"{shown} holds no tables; name a database that does")
        primary, foreign = _stated(look, names, shown)
        queries = {name: _all_of(name, primary[name], look.dialect) for name in names}
    held = {name: read_query(url, query) for name, query in queries.items()}
    # What refers to a table that is left out on purpose is a column like any other.
    return held, (primary, [key for key in foreign if key.parent in names])


def _stated(look: Inspector, names: Sequence[str], shown: str) -> Keys:
    primary = {name: tuple(look.get_pk_constraint(name)["constrained_columns"]) for name in names}
    foreign = []
    for name in names:
        for key in look.get_foreign_keys(name):
            own, parent = key["constrained_columns"], key["referred_table"]
            # A key that names no column means the other table's primary key.
            referred = key["referred_columns"] or list(look.get_pk_constraint(parent)["constrained_columns"])
            if len(own) > 1 and parent in names:
                raise DataError(
                    f"{shown}: {name} refers to {parent} by {len(own)} columns together ({', '.join(own)}); composite foreign "
                    "keys are not supported: leave one of both tables out of data.tables"
                )
            if len(own) == 1:
                foreign.append(ForeignKey(name, own[0], parent, referred[0]))
    return primary, foreign


def _all_of(name: str, primary: Sequence[str], dialect: Dialect) -> str:
    """The query for all rows in the order of their primary key, names quoted as the database has it."""
    from sqlalchemy import column, literal_column, select, table

    query: Select[tuple[Any, ...]] = (
        select(literal_column("*")).select_from(table(name)).order_by(*(column(each) for each in primary))
    )
    return str(query.compile(dialect=dialect))


def _file(path: Path) -> pa.Table:
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; correct data.files (it is relative to {Path.cwd()})")
    if path.is_dir() or path.suffix in (".parquet", ".pq"):
        from data.sources.parquet import read as read_parquet

        return read_parquet(str(path))
    from data.sources.csv import read as read_csv

    return read_csv(str(path))


def _known(wanted: Sequence[str], there: Mapping[str, Any] | Sequence[str], where: str) -> None:
    for name in wanted:
        if name not in there:
            near = difflib.get_close_matches(name, list(there), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(list(there)[:12])}"
            raise DataError(f"there is no table {name!r} in {where}; {hint}")
