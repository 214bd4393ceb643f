"""Which rows lie in a cell that a check names?"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

from data.dataset import Dataset
from data.encode_values import floats
from data.errors import DataError
from data.schema import Column, Schema
from validators.report.rows import Array
from validators.report.text import finite

#: Name of a cell -> which rows of a dataset lie in it: (n,) bool. A check may leave these in the evidence's memo, under
#: `CELLS`, for cells that their names alone do not tell, such as clusters.
Known = Mapping[str, Callable[[Dataset], Array]]
CELLS = "cells"


def members(cell: str, rows: Dataset, known: Known | None = None) -> Array | None:
    """(n,) bool; None for a name that is neither known nor made of levels, ranges and quantiles.

    Read are "a=level & b over 2 to 3", "a=level within class c", "a above its 99 % quantile" and "class c".
    """
    if known and cell in known:
        return np.asarray(known[cell](rows), dtype=bool)
    parts, _, within = cell.partition(" within class ")
    if not within and cell.startswith("class "):
        parts, within = "", cell.removeprefix("class ")
    wanted = [*(parts.split(" & ") if parts else []), *([f"{rows.schema.target}={within}"] if within else [])]
    inside = np.ones(rows.num_rows, dtype=bool)
    for part in wanted:
        found = _inside(part, rows)
        if found is None:
            return None
        inside &= found
    return inside


def levels_alone(cell: str, schema: Schema) -> bool:
    """Whether a cell is made of levels of discrete columns: no range, no number, and nothing that its name does not tell."""
    parts, _, within = cell.partition(" within class ")
    if not within and cell.startswith("class "):
        return True
    names = [column.name for column in schema.learned if column.discrete]
    return all(any(part.strip().startswith(f"{name.strip()}=") for name in names) for part in parts.split(" & "))


_RANGE = re.compile(r"(?P<how>=| over | up to )(?P<low>\S+?)(?: to (?P<high>\S+))?$")
_TAIL = re.compile(r" (?P<how>above|below) its (?P<percent>\S+) % quantile$")


def _inside(part: str, rows: Dataset) -> Array | None:
    for column in rows.schema.learned:
        rest = part.strip().removeprefix(column.name.strip())
        if rest == part.strip() or not rest.startswith(("=", " over ", " up to ", " above its ", " below its ")):
            continue
        if column.discrete:
            return _at_level(column, rest.removeprefix("="), rows)
        return _in_range(column, rest, rows) if column.kind != "datetime" else None
    return None


def _at_level(column: Column, name: str, rows: Dataset) -> Array | None:
    values = rows.column(column.name).to_pylist()
    try:
        level = column.level(name)
    except DataError:
        if name != "missing":
            return None
        level = None
    return np.fromiter((v == level for v in values), dtype=bool, count=len(values))


def _in_range(column: Column, name: str, rows: Dataset) -> Array | None:
    try:
        values = floats(rows.column(column.name), column.name)
    except DataError:
        return None
    if name == "=missing":
        return np.asarray(np.isnan(values))
    if tail := _TAIL.match(name):
        return _in_tail(values, tail["how"], finite(tail["percent"]))
    found = _RANGE.match(name)
    low, high = (finite(found[part]) for part in ("low", "high")) if found else (None, None)
    if found is None or low is None:
        return None
    if found["how"] == "=":
        # Names carry four digits.
        return np.asarray(np.isclose(values, low, rtol=1e-3))
    if found["how"] == " up to ":
        return np.asarray(values <= low)
    return np.asarray((values > low) & (values <= (np.inf if high is None else high)))


def _in_tail(values: Array, how: str, percent: float | None) -> Array | None:
    seen = values[np.isfinite(values)]
    if percent is None or not 0 <= percent <= 100 or not len(seen):
        return None
    edge = np.quantile(seen, percent / 100, method="lower")
    return np.asarray(values > edge if how == "above" else values < edge)
