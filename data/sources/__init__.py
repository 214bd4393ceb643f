"""Where do the rows come from? One reader a file; what every reader owes its table stands here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import DataError


def clean(table: pa.Table, origin: str, *, start: int = 0) -> pa.Table:
    """NaN becomes null, and infinities are refused: what every reader does before it hands out a table.

    `origin` names the source in errors; start: how many rows of it came before these. Raises DataError, with column and
    row, at the first infinity, at a column without a name and at two columns of one name."""
    check_names(table.column_names, origin)
    for place, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            table = table.set_column(place, field.name, _finite(table.column(place), field.name, origin, start))
    return table.replace_schema_metadata(None)


def check_names(names: list[str], origin: str) -> None:
    """Raise DataError unless every column has a name of its own."""
    for place, name in enumerate(names, start=1):
        if not name.strip():
            raise DataError(f"{origin}: column {place} has no name; name it in the header, or leave the column out")
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise DataError(f"{origin}: the column name {twice!r} stands there {names.count(twice)} times; rename all but one")


def check_rows(table: pa.Table, origin: str) -> None:
    """Raise DataError when there is not a single row."""
    if table.num_rows == 0:
        raise DataError(f"{origin} holds no rows; give data with at least a few rows of each class")


def thin(table: pa.Table, column: str, keep: Mapping[Any, int], *, seed: int = 0, spare: np.ndarray | None = None) -> pa.Table:
    """At most `keep[level]` rows of each level of `column`, drawn at random by seed; order and other rows stay.

    spare: (n,) bool, rows that stay in any case and are not counted. A level is named by its value, or by its text.
    Raises DataError when the column or the level is not there."""
    if column not in table.column_names:
        raise DataError(f"keep: there is no column {column!r}; the columns are {', '.join(table.column_names)}")
    values = table.column(column).to_pylist()
    levels = list(dict.fromkeys(v for v in values if v is not None))
    chosen = np.ones(len(values), dtype=bool)
    left = np.zeros(len(values), dtype=bool) if spare is None else spare
    # Classes are cut in the order of their text, so that the order of `keep` in a plan changes nothing.
    rng = np.random.default_rng(seed)
    for level, most in sorted(keep.items(), key=lambda item: str(item[0])):
        wanted = _level(levels, level, column)
        rows = np.flatnonzero(np.fromiter((v == wanted for v in values), dtype=bool, count=len(values)) & ~left)
        if most < 0:
            raise DataError(f"keep: {level!r} must keep 0 rows or more, not {most}")
        chosen[rows] = most >= len(rows)
        if most < len(rows):
            chosen[rng.choice(rows, size=most, replace=False)] = True
    return table.filter(pa.array(chosen))


def _level(levels: list[Any], wanted: Any, column: str) -> Any:
    exact = [v for v in levels if v == wanted and isinstance(v, bool) == isinstance(wanted, bool)]
    spelled = [v for v in levels if str(v) == str(wanted)]
    bare = [v for v in levels if str(v).strip() == str(wanted).strip()]
    for hits in (exact, spelled, bare):
        if len(hits) == 1:
            return hits[0]
    shown = ", ".join(repr(str(v)) for v in levels[:8])
    raise DataError(f"keep: column {column!r} has no level {wanted!r}; it has {shown}")


def _finite(values: pa.ChunkedArray, name: str, origin: str, start: int) -> pa.ChunkedArray:
    if pc.any(pc.is_inf(values)).as_py():
        row = int(np.flatnonzero(pc.fill_null(pc.is_inf(values), False).to_numpy())[0]) + 1 + start
        raise DataError(f"{origin}: column {name!r} holds an infinity in row {row}; put a number there, or leave it empty")
    nan = pc.is_nan(values)
    if not pc.any(nan).as_py():
        return values
    return pc.if_else(pc.fill_null(nan, False), pa.scalar(None, values.type), values)
