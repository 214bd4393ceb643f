"""How do the same rows become the same Parquet bytes every time, however many there are?"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.errors import PublishError
from data.schema import Schema

SYNTHETIC = "is_synthetic"

# A row group is what a reader holds in memory at once: 65,536 rows of a table are a few MB, 256 images some tens.
GROUP_ROWS = 65_536
GROUP_IMAGES = 256
FILE_ROWS = 1_048_576
FILE_IMAGES = 16_384


@dataclass
class Written:
    """What was written: files in order, rows of each, the Arrow schema, and rows per (class, is_synthetic).

    Classes are counted when the schema names a discrete target; is_synthetic is None when there is no such column.
    """

    files: list[Path] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    arrow: pa.Schema = field(default_factory=lambda: pa.schema([]))
    counts: Counter[tuple[Any, bool | None]] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return sum(self.rows)


def read_parts(parts: Iterable[pa.RecordBatch] | Sequence[Path | str]) -> Iterator[pa.RecordBatch]:
    """The rows of record batches, or of Parquet files read in turn, batch by batch.

    Raises PublishError when a file is missing or is not Parquet.
    """
    for part in parts:
        if isinstance(part, pa.RecordBatch):
            yield part
            continue
        if not Path(part).is_file():
            raise PublishError(f"{part} is missing, so its rows cannot be published; run the sample stage again")
        try:
            file = pq.ParquetFile(part)
        except pa.ArrowInvalid as error:
            raise PublishError(f"{part} is not a whole Parquet file ({error}); run the sample stage again") from error
        with file:
            yield from file.iter_batches(batch_size=GROUP_ROWS)


def write_shards(batches: Iterator[pa.RecordBatch], folder: Path, *, schema: Schema, rows_per_file: int | None) -> Written:
    """Write `train-00000-of-0000N.parquet` files: one row group is held in memory, never more.

    Row groups are cut by row count alone, so the bytes depend on the rows and not on how they arrived.

    Raises PublishError when there is no row, or when batches differ in their columns.
    """
    first = next(batches, None)
    if first is None:
        raise PublishError("there is no row to publish; the sample stage drew nothing")
    out = Written(arrow=published_schema(first.schema, schema))
    groups = _groups(itertools.chain([first], batches), first.schema, *_sizes(schema, rows_per_file))
    folder.mkdir(parents=True, exist_ok=True)
    for index, (_, file_groups) in enumerate(itertools.groupby(groups, key=lambda group: group[0])):
        path = folder / f"part-{index:05d}.parquet"
        out.rows.append(_write_file(path, (table for _, table in file_groups), out, schema))
        out.files.append(path)
    if not out.total:
        raise PublishError("there is no row to publish; the sample stage drew nothing")
    out.files = [path.rename(folder / f"train-{i:05d}-of-{len(out.files):05d}.parquet") for i, path in enumerate(out.files)]
    return out


def published_schema(arrow: pa.Schema, schema: Schema) -> pa.Schema:
    """The columns as they came, with the `huggingface` metadata and nothing else (pandas' would hold an index)."""
    features = {f.name: feature(f.type, schema[f.name].kind if f.name in schema else "") for f in arrow}
    metadata = {"huggingface": json.dumps({"info": {"features": features}}, sort_keys=False)}
    return pa.schema([pa.field(f.name, f.type) for f in arrow], metadata=metadata)


def feature(kind: pa.DataType, meaning: str = "") -> dict[str, Any]:
    """An Arrow type as a feature of Hugging Face `datasets` (its JSON form)."""
    if meaning in ("image", "mask"):
        return {"_type": "Image"}
    if pa.types.is_dictionary(kind):
        return feature(kind.value_type)
    if pa.types.is_struct(kind):
        return {child.name: feature(child.type) for child in kind.fields}
    if pa.types.is_fixed_size_list(kind):
        return {"feature": feature(kind.value_type), "length": kind.list_size, "_type": "List"}
    if pa.types.is_large_list(kind):
        return {"feature": feature(kind.value_type), "_type": "LargeList"}
    if pa.types.is_list(kind):
        return {"feature": feature(kind.value_type), "_type": "List"}
    return {"dtype": _dtype(kind), "_type": "Value"}


def _dtype(kind: pa.DataType) -> str:
    renamed = {"double": "float64", "float": "float32", "halffloat": "float16", "date32[day]": "date32", "date64[ms]": "date64"}
    return renamed.get(str(kind), str(kind))


def _sizes(schema: Schema, rows_per_file: int | None) -> tuple[int, int]:
    """(rows of a row group, row groups of a file), the groups of a file being of equal size."""
    heavy = bool(schema.of_kind("image", "series"))
    group, file = (GROUP_IMAGES, FILE_IMAGES) if heavy else (GROUP_ROWS, FILE_ROWS)
    file = file if rows_per_file is None else rows_per_file
    if file < 1:
        raise PublishError(f"rows_per_file is {file}; it must be at least 1")
    groups = math.ceil(file / group)
    return math.ceil(file / groups), groups


def _groups(batches: Iterator[pa.RecordBatch], arrow: pa.Schema, rows: int, per_file: int) -> Iterator[tuple[int, pa.Table]]:
    """(file number, row group) with exactly `rows` rows in every group but the last."""
    waiting: list[pa.RecordBatch] = []
    held, number = 0, 0
    for batch in batches:
        if not batch.schema.equals(arrow):
            raise PublishError(f"the rows change their columns on the way: {_difference(arrow, batch.schema)}")
        while batch.num_rows:
            taken = batch.slice(0, rows - held)
            batch = batch.slice(taken.num_rows)
            waiting.append(taken)
            held += taken.num_rows
            if held == rows:
                yield number // per_file, pa.Table.from_batches(waiting)
                waiting, held, number = [], 0, number + 1
    if held:
        yield number // per_file, pa.Table.from_batches(waiting)


def _difference(one: pa.Schema, other: pa.Schema) -> str:
    before, after = ({f.name: str(f.type) for f in s} for s in (one, other))
    changed = [n for n in before | after if before.get(n) != after.get(n)]
    if not changed:
        return "their order differs"
    name = changed[0]
    return f"{name!r} was {before.get(name, 'absent')} and then {after.get(name, 'absent')}"


def _write_file(path: Path, groups: Iterator[pa.Table], out: Written, schema: Schema) -> int:
    rows = 0
    with pq.ParquetWriter(
        path, out.arrow, compression="zstd", write_page_index=True, use_content_defined_chunking=True
    ) as writer:
        for group in groups:
            table = _canonical(group).replace_schema_metadata(out.arrow.metadata).cast(out.arrow)
            out.counts.update(_count(table, schema))
            writer.write_table(table, row_group_size=table.num_rows)
            rows += table.num_rows
    return rows


def _canonical(table: pa.Table) -> pa.Table:
    # Dictionaries keep the order of whoever made them; encoding anew makes the bytes depend on the values alone.
    table = table.combine_chunks()
    for i, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):
            values = table.column(i).cast(column.type.value_type).combine_chunks()
            encoded = pc.dictionary_encode(values)
            indices = encoded.indices.cast(column.type.index_type)
            again = pa.DictionaryArray.from_arrays(indices, encoded.dictionary, ordered=column.type.ordered)
            table = table.set_column(i, column, again)
    return table


def _count(table: pa.Table, schema: Schema) -> dict[tuple[Any, bool | None], int]:
    target = schema.target if schema.target and schema[schema.target].discrete else None
    marks = table.column(SYNTHETIC) if SYNTHETIC in table.column_names else pa.nulls(table.num_rows, pa.bool_())
    labels = table.column(target) if target in table.column_names else pa.nulls(table.num_rows, pa.string())
    if pa.types.is_dictionary(labels.type):
        labels = labels.cast(labels.type.value_type)
    pairs = pa.table({"label": labels, "mark": marks}).group_by(["label", "mark"]).aggregate([([], "count_all")])
    return {(row["label"], row["mark"]): row["count_all"] for row in pairs.to_pylist()}
