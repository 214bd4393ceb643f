"""Families for tests of trials: one draws as train is, one always the same row, one crashes, one sleeps, one has no time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.dataset import Dataset
from generators.base import SILENT, Condition, GeneratorError, Progress, Range, Traits, seal

#: A file whose lines are the fits that were made.
LEDGER = "COUNTERPOISE_TEST_LEDGER"


@dataclass
class Good:
    """Real rows, jittered."""

    modality: ClassVar[str] = "tabular"
    exact_conditions: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(kind="stub", rows=2, rows_of_class=1, fails=())
    ranges: ClassVar[Mapping[str, Range]] = {"width": Range(0.01, 3.0, log=True), "epochs": Range(1, 3)}

    width: float = 0.02
    epochs: int = 1

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        self.noted(train)
        self.rows_, self.schema_ = train.table, train.schema
        return self

    def noted(self, train: Dataset) -> None:
        if path := os.environ.get(LEDGER):
            with open(path, "a") as file:
                file.write(json.dumps([type(self).__name__, train.num_rows, getattr(self, "width", None)]) + "\n")

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        rows = self.rows_
        for name, value in (where or {}).items():
            rows = rows.filter(pa.compute.equal(rows.column(name), value))
        rng = np.random.default_rng(seed)
        drawn = rows.take(pa.array(rng.integers(0, rows.num_rows, n)))
        for name in [f.name for f in drawn.schema if pa.types.is_floating(f.type)]:
            values = drawn.column(name).to_numpy() + self.moved(rng, n)
            drawn = drawn.set_column(drawn.schema.get_field_index(name), name, pa.array(values))
        yield from pa.Table.from_arrays(drawn.columns, schema=self.schema_.arrow()).combine_chunks().to_batches()

    def moved(self, rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.normal(0, self.width, n)

    def save(self, folder: Path) -> None:
        pq.write_table(self.rows_, folder / "rows.parquet")
        (folder / "schema.json").write_text(json.dumps(self.schema_.to_json(), default=str))
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        from data.schema import Schema

        model = cls()
        model.rows_ = pq.read_table(folder / "rows.parquet")
        model.schema_ = Schema.from_json(json.loads((folder / "schema.json").read_text()))
        return model


@dataclass
class Goes(Good):
    """Goes on from an earlier model of its own."""

    warm: ClassVar[str] = "begin"

    begin: str | None = None

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        if self.begin is not None:
            type(self).load(Path(self.begin))
        return super().fit(train, seed=seed, progress=progress, checkpoint=checkpoint)


@dataclass
class Instant(Good):
    """As quick, and far off."""

    width: float = 3.0


@dataclass
class Slow(Good):
    """A hundred rows take a third of a second."""

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        for batch in super().sample(n, where=where, seed=seed):
            for start in range(0, batch.num_rows, 100):
                time.sleep(0.3)
                yield batch.slice(start, 100)


@dataclass
class Deadly(Good):
    """Its process ends at the first row."""

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        os._exit(7)
        yield


@dataclass
class Collapsed(Good):
    """The same row over and over."""

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        for batch in super().sample(1, where=where, seed=0):
            yield batch.take(pa.array([0] * n))


@dataclass
class Fixed(Good):
    """Nothing of it can be searched."""

    ranges: ClassVar[Mapping[str, Range]] = {}


@dataclass
class Moody(Good):
    """It fails where it is told to be narrow."""

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        if self.width < 0.1:
            raise GeneratorError("too narrow")
        return super().fit(train, seed=seed)


@dataclass
class Stubborn(Good):
    """It takes one width alone."""

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        if self.width != 0.1:
            raise GeneratorError("not so")
        return super().fit(train, seed=seed)


@dataclass
class Crashing(Good):
    """Its process dies, which no exception tells of."""

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        self.noted(train)
        os.abort()


@dataclass
class Refusing(Good):
    """It says why not."""

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        raise GeneratorError("these rows are not to its taste")


@dataclass
class Greedy(Good):
    """It asks for more memory than there is."""

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        raise MemoryError


@dataclass
class Sleeping(Good):
    """It never ends."""

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        self.noted(train)
        time.sleep(600)
        return self
