"""An Arrow table, or a Parquet dataset on disk read lazily, together with its Schema."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from data.errors import DataError
from data.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

BATCH_ROWS = 65_536
#: Batches that wait to be worked on, for each thread: enough to keep it busy, few enough to keep memory flat.
AHEAD = 2

T = TypeVar("T")


@dataclass(frozen=True)
class Dataset:
    """Rows with their meaning. `source` is a table in memory or a Parquet dataset on disk.

    adapt: what a batch read from disk goes through, with the position of its first row, before anyone sees it.
    Sources are never changed in place: every operation gives a new Dataset."""

    source: pa.Table | pads.Dataset
    schema: Schema
    adapt: Callable[[pa.RecordBatch, int], pa.RecordBatch] | None = None

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
    def in_memory(self) -> bool:
        return isinstance(self.source, pa.Table)

    @property
    def table(self) -> pa.Table:
        """All rows in memory, columns in schema order."""
        if isinstance(self.source, pa.Table):
            return self.source.select(self.schema.names)
        if self.adapt is None:
            return self.source.to_table(columns=self.schema.names)
        return pa.Table.from_batches(list(self.batches()), schema=self.schema.arrow())

    @property
    def num_rows(self) -> int:
        return int(self.source.num_rows) if isinstance(self.source, pa.Table) else int(self.source.count_rows())

    def __len__(self) -> int:
        return self.num_rows

    def batches(self, rows: int = BATCH_ROWS, *, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in order, at most `rows` at a time, without loading the whole. columns: the only ones, None for all."""
        names = self.schema.names if columns is None else columns
        if isinstance(self.source, pa.Table):
            yield from self.source.select(names).to_batches(max_chunksize=rows)
            return
        done = 0
        # The library's own look-ahead holds hundreds of megabytes of a wide table.
        for batch in self.source.to_batches(columns=names, batch_size=rows, batch_readahead=4, fragment_readahead=1):
            yield batch if self.adapt is None else self.adapt(batch, done)
            done += batch.num_rows

    def scan(self, work: Callable[[pa.RecordBatch, int], T], *, columns: list[str] | None = None) -> Iterator[T]:
        """`work(batch, position of its first row)` for every batch, on all cores, the answers in the order of the rows.

        Memory does not grow with the number of rows, as long as the answers do not."""
        threads = os.cpu_count() or 1
        waiting: deque[Future[T]] = deque()
        done = 0
        with ThreadPoolExecutor(threads) as pool:
            for batch in self.batches(columns=columns):
                waiting.append(pool.submit(work, batch, done))
                done += batch.num_rows
                if len(waiting) > AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def to_pandas(self) -> pd.DataFrame:
        frame: pd.DataFrame = self.table.to_pandas()
        return frame

    def column(self, name: str) -> pa.ChunkedArray:
        self.schema[name]
        if isinstance(self.source, pa.Table):
            return self.source.column(name)
        if self.adapt is None:
            return self.source.to_table(columns=[name]).column(name)
        return pa.chunked_array([batch.column(0) for batch in self.batches(columns=[name])])

    def take(self, rows: Any) -> Dataset:
        """The rows at these positions, in this order, in memory; rows on disk are read batch by batch."""
        places = np.asarray(rows, dtype=np.int64)
        if isinstance(self.source, pa.Table):
            return replace(self, source=self.source.select(self.schema.names).take(pa.array(places)))
        order = np.argsort(places, kind="stable")
        ascending = places[order]

        def some(batch: pa.RecordBatch, start: int) -> pa.RecordBatch:
            low, high = np.searchsorted(ascending, [start, start + batch.num_rows])
            return batch.take(pa.array(ascending[low:high] - start))

        found = pa.Table.from_batches(list(self.scan(some)), schema=self.schema.arrow())
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return Dataset(found.take(pa.array(back)), self.schema)

    def labels(self) -> np.ndarray:
        """The class of each row as a position in `schema.classes()`; -1 where it is missing. (n,) int16.

        Raises DataError when the schema names no discrete target."""
        if not self.schema.classes():
            raise DataError("these rows have no classes: no categorical target is named")
        column = self.schema[str(self.schema.target)]
        parts = list(self.scan(lambda batch, _: _positions(batch.column(0), column), columns=[column.name]))
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int16)

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


def _positions(values: pa.Array, column: Column) -> np.ndarray:
    """Each value's position among the column's categories, -1 where it is none of them. (n,) int16."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    try:
        known = pa.array(column.categories, type=values.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # values of another type, which the check of the schema names
        return np.full(len(values), -1, dtype=np.int16)
    found = pc.fill_null(pc.index_in(values, value_set=known, skip_nulls=True), -1)
    return np.asarray(found.to_numpy(zero_copy_only=False).astype(np.int16))


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
