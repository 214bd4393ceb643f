"""An Arrow table, or a Parquet dataset on disk read lazily, together with its Schema."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from data.errors import DataError
from data.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Dataset:
    """Rows with their meaning. `source` is a table in memory or a Parquet dataset on disk.

    Sources are never changed in place: every operation gives a new Dataset."""

    source: pa.Table | pads.Dataset
    schema: Schema

    @classmethod
    def from_arrow(cls, table: pa.Table, schema: Schema | None = None, *, target: str | None = None) -> Dataset:
        """A table with its schema, inferred when none is given."""
        if schema is None:
            from data.infer import infer

            schema = infer(table, target=target)
        return cls(table, schema)

    @classmethod
    def from_pandas(cls, frame: pd.DataFrame, schema: Schema | None = None, *, target: str | None = None) -> Dataset:
        return cls.from_arrow(pa.Table.from_pandas(frame, preserve_index=False), schema, target=target)

    @classmethod
    def from_parquet(cls, path: Path | Sequence[Path], schema: Schema | None = None, *, target: str | None = None) -> Dataset:
        """Parquet on disk, read batch by batch; only the schema inference looks at all rows."""
        source = pads.dataset([str(p) for p in path] if not isinstance(path, Path) else str(path), format="parquet")
        if schema is None:
            from data.infer import infer

            schema = infer(source.to_table(), target=target)
        return cls(source, schema)

    @property
    def table(self) -> pa.Table:
        """All rows in memory, columns in schema order."""
        if isinstance(self.source, pa.Table):
            return self.source.select(self.schema.names)
        return self.source.to_table(columns=self.schema.names)

    @property
    def num_rows(self) -> int:
        return int(self.source.num_rows) if isinstance(self.source, pa.Table) else int(self.source.count_rows())

    def __len__(self) -> int:
        return self.num_rows

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """The rows in order, at most `rows` at a time, without loading the whole."""
        if isinstance(self.source, pa.Table):
            yield from self.source.select(self.schema.names).to_batches(max_chunksize=rows)
        else:
            yield from self.source.to_batches(columns=self.schema.names, batch_size=rows)

    def to_pandas(self) -> pd.DataFrame:
        frame: pd.DataFrame = self.table.to_pandas()
        return frame

    def column(self, name: str) -> pa.ChunkedArray:
        self.schema[name]
        if isinstance(self.source, pa.Table):
            return self.source.column(name)
        return self.source.to_table(columns=[name]).column(name)

    def take(self, rows: Any) -> Dataset:
        """The rows at these positions, in this order."""
        return replace(self, source=self.table.take(pa.array(np.asarray(rows, dtype=np.int64))))

    def labels(self) -> np.ndarray:
        """The class of each row as a position in `schema.classes()`; -1 where it is missing. (n,) int64.

        Raises DataError when the schema names no discrete target."""
        if not self.schema.classes():
            raise DataError("these rows have no classes: no categorical target is named")
        column = self.schema[str(self.schema.target)]
        place = {value: i for i, value in enumerate(column.categories)}
        values = self.column(column.name).to_pylist()
        return np.fromiter((place.get(v, -1) for v in values), dtype=np.int64, count=len(values))

    def digest(self) -> str:
        """sha256 over names, types and values: the same rows give the same digest wherever they lie."""
        seal = hashlib.sha256(str(self.schema.arrow()).encode())
        for rows in _windows(self.batches()):
            seal.update(_plain_ipc(rows))
        return seal.hexdigest()

    def write_parquet(self, path: Path) -> Path:
        """One zstd Parquet file, written beside and moved into place, so that a killed write leaves nothing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".part")
        pq.write_table(self.table, beside, compression="zstd")
        beside.replace(path)
        return path


def _windows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows in windows of exactly BATCH_ROWS, so that no trace is left of how they were chunked."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        while sum(part.num_rows for part in held) >= BATCH_ROWS:
            rows = pa.Table.from_batches(held)
            yield rows[:BATCH_ROWS]
            held = rows[BATCH_ROWS:].to_batches()
    if any(part.num_rows for part in held):
        yield pa.Table.from_batches(held)


def _plain_ipc(rows: pa.Table) -> bytes:
    # Slices carry their parent's buffers; taking all rows makes the bytes depend on the values alone.
    compact = rows.take(pa.array(np.arange(rows.num_rows))).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, compact.schema.remove_metadata()) as writer:
        writer.write_table(compact.replace_schema_metadata(None))
    return bytes(sink.getvalue())
