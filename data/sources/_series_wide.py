"""Which series does a table hold that has a row for each?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from data.encode_values import floats
from data.errors import DataError
from data.sources import csv as csv_source
from data.sources._dialect import load, sniff_delimiter, to_utf8
from data.sources._series_cut import Cut, table_of
from data.sources._series_events import Events
from data.sources._series_files import is_table, one
from data.sources._series_lines import Line
from data.sources._series_roles import text
from data.windows import NORMAL

Array = np.ndarray
#: Columns with numbered names from which on a table is taken to be wide; of one without a header, columns at all.
MANY, BARE = 24, 8
CLASSES = ("class", "label", "target", "y", "category")
#: The channel of a wide table.
VALUE = "value"


def is_wide(path: Path) -> bool:
    """Whether a file has a row for each series: no header, or columns that are numbered one after another, and no time."""
    if not path.is_file() or not is_table(path):
        return False
    if _is_bare(path):
        return True
    try:
        table = one(path)
    except DataError:
        return False
    return len(_numbered(table)) >= MANY and not any(pa.types.is_temporal(f.type) for f in table.schema)


def _is_bare(path: Path) -> bool:
    """Whether a text has no header: BARE fields or more in its first line, all of them numbers but perhaps the first."""
    if path.suffix.lower() in (".parquet", ".pq"):
        return False
    try:
        content, _ = to_utf8(load(path), path)
    except DataError:
        return False
    line = content[: content.find(b"\n")] if b"\n" in content else content
    if not line.strip():
        return False
    fields = line.decode("utf-8", "replace").strip("\r\n").split(sniff_delimiter(content))
    # Names may be numbers too, but then they count: 0, 1, 2.
    numbers = [_number(field) for field in fields[1:]]
    known = [number for number in numbers if number is not None]
    if len(fields) < BARE or len(known) < 2 or any(n is None and f.strip() for n, f in zip(numbers, fields[1:], strict=True)):
        return False
    return any(b - a != 1 for a, b in zip(known, known[1:], strict=False))


def _number(field: str) -> float | None:
    try:
        return float(field)
    except ValueError:
        return None


def _numbered(table: pa.Table) -> list[str]:
    """Columns of numbers whose names are one text with numbers that count up: t0, t1, t2."""
    runs: dict[str, list[tuple[int, str]]] = {}
    for field in table.schema:
        match = re.fullmatch(r"(.*?)(\d+)", field.name.strip())
        kind = field.type
        if match and (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
            runs.setdefault(match[1], []).append((int(match[2]), field.name))
    best = max(runs.values(), key=len, default=[])
    places = [place for place, _ in best]
    return [name for _, name in best] if places and places == list(range(places[0], places[0] + len(places))) else []


def read_wide(
    path: Path,
    cut: Cut,
    said: list[str],
    *,
    class_column: str | None,
    entity: str | None,
    columns: Sequence[str] | None,
    attributes: Sequence[str] | None,
    period: float | None,
) -> pa.Table:
    """The series as windows: whole where `cut.length` is 0, else cut. Each row is an entity, unless a column names it.

    Raises DataError for a folder, columns that are not there, fewer than two readings, and as `table_of` does."""
    if path.is_dir():
        raise DataError(f"{path} is a folder; a wide table is one file: name it, or state layout: long")
    table = csv_source.read(path, header=False) if _is_bare(path) else one(path)
    if table.column_names[0] == "0" and class_column is None and _is_bare(path):
        class_column = "0"
    roles = [n for n in (class_column, entity, *(columns or ()), *(attributes or ())) if n is not None]
    if strange := [n for n in roles if n not in table.column_names]:
        raise DataError(f"{path}: there is no column {strange[0]!r}; the columns are {', '.join(table.column_names[:8])}, ...")
    class_column = class_column or next((n for n in table.column_names if n.strip().lower() in CLASSES), None)
    taken = {class_column, entity, *(attributes or ())}
    names = (
        list(columns)
        if columns
        else _numbered(table)
        or [
            f.name
            for f in table.schema
            if pa.types.is_integer(f.type) or pa.types.is_floating(f.type) or pa.types.is_null(f.type)
        ]
    )
    names = [name for name in names if name not in taken]
    if len(names) < 2:
        raise DataError(f"{path}: columns of readings are {len(names)}, and a series has two or more; state data.channels")
    lines = _lines(table, path, names, class_column, entity, list(attributes or ()), period or 1.0, said)
    events = Events(()) if class_column is not None else None
    whole = replace(cut, length=cut.length or 0)
    return table_of(lines, (VALUE,), ((),), period or 1.0, whole, events, said, origin=str(path), attributes=attributes or ())


def _lines(
    table: pa.Table,
    path: Path,
    names: Sequence[str],
    class_column: str | None,
    entity: str | None,
    attributes: Sequence[str],
    period: float,
    said: list[str],
) -> list[Line]:
    """A line for each row, as long as its last reading tells, with its class as the label of every reading."""
    values = np.stack([floats(table.column(name), name) for name in names], axis=1)
    ends = np.where(np.isfinite(values).any(axis=1), values.shape[1] - np.isfinite(values)[:, ::-1].argmax(axis=1), 0)
    if (ends == 0).any():
        said.append(f"{int((ends == 0).sum())} rows without a reading are left out.")
    whose = table.column(entity).to_pylist() if entity else list(range(1, len(values) + 1))
    what = table.column(class_column).to_pylist() if class_column else [None] * len(values)
    held = {name: table.column(name).to_pylist() for name in attributes}
    out = []
    for i in np.flatnonzero(ends > 0):
        of = {name: column[i] for name, column in held.items()}
        who = f"row {whose[i]}" if entity is None else text(whose[i])
        level = None if class_column is None else NORMAL if what[i] is None else text(what[i])
        out.append(Line(who, np.arange(ends[i]) * period, values[i : i + 1, : ends[i]], attributes=of, level=level))
    if not out:
        raise DataError(f"{path}: no row holds a reading; check data.channels")
    return out
