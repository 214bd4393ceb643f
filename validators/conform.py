"""Do these tables speak of the same columns, and how are they read alike?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from data.dataset import Dataset
from data.errors import DataError
from data.schema import Column, Schema, arrow_type
from data.shards import SYNTHETIC

#: Formats that would be taken for csv.
OTHER_FORMATS = frozenset({".json", ".jsonl", ".xlsx", ".xls", ".feather", ".arrow", ".orc", ".pkl", ".pickle", ".npy", ".npz"})
#: Parquet with more rows than this is read batch by batch and never held as a whole.
LAZY_ROWS = 200_000


def load(rows: Any, role: str) -> Dataset | pa.Table | pads.Dataset:
    """Whatever a caller may hand in: a Dataset, an Arrow or pandas table, or the path of a csv or parquet file.

    role: what the rows are ("synthetic"), for errors; long synthetic Parquet is opened, not read. Raises DataError when
    they cannot be read or hold no column."""
    if isinstance(rows, (Dataset, pa.Table)):
        return rows
    if isinstance(rows, (str, os.PathLike)):
        return _file(Path(rows), lazily=role == "synthetic")
    if hasattr(rows, "to_records"):
        return _frame(rows, role)
    raise DataError(f"the {role} rows are a {type(rows).__name__}; give a Dataset, a pandas or Arrow table, or a path")


def _file(path: Path, *, lazily: bool) -> pa.Table | pads.Dataset:
    from data.sources import csv, parquet

    if path.is_dir() or path.suffix.lower() in (".parquet", ".pq"):
        if lazily and (found := parquet.open_lazily(path)).count_rows() > LAZY_ROWS:
            return found
        return parquet.read(path)
    if path.suffix.lower() in OTHER_FORMATS and path.is_file():
        raise DataError(f"{path} is not read: give the rows as csv or Parquet")
    return csv.read(path)


def _frame(frame: Any, role: str) -> pa.Table:
    from data.sources import clean

    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        said = str(error).splitlines()[0]
        raise DataError(f"the {role} rows mix types within a column ({said}); give each column one type") from None
    return clean(table, f"the {role} rows")


def table(rows: Dataset | pa.Table | pads.Dataset) -> pa.Table:
    """The rows as one Arrow table in memory."""
    from data.sources import clean

    if isinstance(rows, pads.Dataset):
        return clean(rows.to_table(), "the rows")
    return rows.table if isinstance(rows, Dataset) else rows


def check_columns(schema: Schema, rows: Dataset | pa.Table | pads.Dataset, role: str) -> None:
    """Raise DataError, naming what is missing and what is new, unless the rows have the schema's columns."""
    names = (rows.source if isinstance(rows, Dataset) else rows).schema.names
    missing, extra = [n for n in schema.names if n not in names], [n for n in names if n not in (*schema.names, SYNTHETIC)]
    if not missing and not extra:
        return
    parts = [f"lack {_some(missing)}"] if missing else []
    parts += [f"have {_some(extra)}, which train has not"] if extra else []
    raise DataError(f"the {role} rows do not have the columns of train: they {' and '.join(parts)}; rename or drop them")


def synthetic_alone(schema: Schema, rows: Dataset | pa.Table | pads.Dataset) -> Dataset | pa.Table | pads.Dataset:
    """Of a version that was published, the rows that it marks as synthetic; anything else as it is."""
    if isinstance(rows, Dataset) or SYNTHETIC not in rows.schema.names or SYNTHETIC in schema.names:
        return rows
    return rows.filter(pc.field(SYNTHETIC))


def conform(schema: Schema, rows: Dataset | pa.Table | pads.Dataset, role: str) -> Dataset:
    """The rows with the schema's column order and, where the values allow it, its types and its spelling of levels.

    Whole numbers and floats, text and dictionaries, "1" and 1 mean the same; blanks around a level are forgiven when only
    one side has them. What cannot be read as the schema's type stays as it is, for the check of the schema to name.
    An opened Parquet stays on disk where each type is sure to be readable as the schema's."""
    check_columns(schema, rows, role)
    if isinstance(rows, Dataset) and rows.source.schema.names == schema.names and _same_types(schema, rows):
        return Dataset(rows.source, schema, rows.adapt)
    if isinstance(rows, pads.Dataset) and all(_sure(rows.schema.field(c.name).type, arrow_type(c.dtype)) for c in schema):
        return Dataset(rows, schema, _Reader(schema, role))
    given = table(rows)
    return Dataset(pa.table({c.name: _read(c, given.column(c.name)) for c in schema}), schema)


class _Reader:
    """Brings one batch of an opened Parquet to the schema; the position of its first row is for errors."""

    def __init__(self, schema: Schema, role: str) -> None:
        self.schema, self.origin = schema, f"the {role} rows"

    def __call__(self, batch: pa.RecordBatch, start: int) -> pa.RecordBatch:
        from data.sources import clean

        rows = clean(pa.Table.from_batches([batch]), self.origin, start=start)
        columns = {name: _read(self.schema[name], rows.column(name)).combine_chunks() for name in rows.column_names}
        return pa.record_batch({name: _whole(values) for name, values in columns.items()})


def _whole(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values


def _sure(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether every value of one type can be read as the other, so that no row need be looked at to know."""
    given, wanted = (kind.value_type if pa.types.is_dictionary(kind) else kind for kind in (given, wanted))
    if given == wanted or pa.types.is_null(given):
        return True
    if pa.types.is_floating(wanted):
        return bool(pa.types.is_floating(given) or pa.types.is_integer(given))
    if pa.types.is_integer(wanted):
        return bool(pa.types.is_signed_integer(given) and given.bit_width <= wanted.bit_width)
    texts = (pa.types.is_string, pa.types.is_large_string)
    return any(is_text(given) for is_text in texts) and any(is_text(wanted) for is_text in texts)


def _same_types(schema: Schema, rows: Dataset) -> bool:
    return all(str(rows.source.schema.field(c.name).type) == c.dtype for c in schema) and rows.schema == schema


def _read(column: Column, values: pa.ChunkedArray) -> pa.ChunkedArray:
    wanted = arrow_type(column.dtype)
    plain = wanted.value_type if pa.types.is_dictionary(wanted) else wanted
    given = values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values
    if given.null_count == len(given):
        return pa.chunked_array([pa.nulls(len(given), wanted)])
    out = _cast(given, plain)
    if column.discrete and out.type == plain and (pa.types.is_string(plain) or pa.types.is_large_string(plain)):
        out = _spelled(column, out)
    return out.cast(wanted) if out.type == plain else out


def _cast(values: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    if values.type == wanted:
        return values
    text = pa.types.is_string(wanted) or pa.types.is_large_string(wanted)
    steps = [pa.int64(), wanted] if text and pa.types.is_floating(values.type) else [wanted]
    if pa.types.is_integer(wanted) and (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        steps = [pa.float64(), wanted]
    try:
        out = values
        for step in steps:
            out = out.cast(step, safe=not (pa.types.is_floating(step) or pa.types.is_temporal(step)))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return values
    return out


def _spelled(column: Column, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Levels that are the schema's but for blanks around them, in the schema's spelling."""
    known = {str(level) for level in column.categories}
    trimmed: dict[str, list[str]] = {}
    for level in known:
        trimmed.setdefault(level.strip(), []).append(level)
    encoded = values.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    levels = encoded.dictionary.to_pylist()
    spelled = [_respell(level, known, trimmed) for level in levels]
    if spelled == levels:
        return values
    return pa.chunked_array([pa.array(spelled, type=values.type).take(encoded.indices)])


def _respell(level: str, known: set[str], trimmed: dict[str, list[str]]) -> str:
    if level in known:
        return level
    near = trimmed.get(level.strip(), [])
    return near[0] if len(near) == 1 else level


def _some(names: list[str], limit: int = 5) -> str:
    shown = ", ".join(repr(n) for n in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def joined(first: pa.Table, second: pa.Table) -> pa.Table:
    """Two tables of the same columns, types widened where they differ (whole numbers to floats)."""
    order = second.select(first.column_names)
    try:
        return pa.concat_tables([first, order], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return first
