"""What if we simply drew the real rows again? The reference that every other family is compared with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa

from data.dataset import BATCH_ROWS, Dataset
from generators.base import SILENT, Condition, GeneratorError, Progress, Traits, seal
from generators.tabular._conditions import matches, resolve
from generators.tabular._table import Finish, open_model, refuse, rng_of, write_json

__all__ = ["Bootstrap"]

ROWS = "rows.parquet"
STATE = "state.json"


@dataclass
class Bootstrap:
    """Rows of the training data, drawn with replacement (random oversampling when asked class by class).

    It has every mode, every marginal and every dependence of the data, and nothing new: the `copies` check tells it
    from a model. Ids are made anew. A saved model holds the training rows.

    Source: Efron 1979; as oversampling, He and Garcia 2009, section 3.1.1.

    Learned: `train_` (the rows), `finish_`."""

    modality: ClassVar[str] = "tabular"
    exact_conditions: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        kind="resampling",
        rows=1,
        rows_of_class=1,
        auc=0.528,
        reference=True,
        fails=("privacy", "diversity"),
    )

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Remember the rows. Raises GeneratorError when there are none or a column is no table's."""
        refuse(train)
        learned = [column.name for column in train.schema.learned]
        self.finish_ = Finish.fit(train)
        self.train_: pa.Table = train.table.select(learned).combine_chunks()
        progress.advance(1, 1, "fit")
        return self

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` rows; `where` draws among the training rows that hold it.

        Raises GeneratorError when no training row holds the condition."""
        wanted = resolve(where, self.finish_.schema)
        rows = _holding(self.train_, wanted) if wanted else np.arange(self.train_.num_rows)
        if not len(rows):
            asked = ", ".join(f"{name}={value}" for name, value in wanted.items())
            raise GeneratorError(f"no training row holds {asked}; ask for fewer conditions or another value")
        rng = rng_of(seed)
        for start in range(0, n, BATCH_ROWS):
            picked = rows[rng.integers(0, len(rows), min(BATCH_ROWS, n - start))]
            yield self.finish_(self.train_.take(pa.array(picked)), start=start, seed=seed)

    def save(self, folder: Path) -> None:
        """Write the training rows and the envelope."""
        folder.mkdir(parents=True, exist_ok=True)
        learned = self.finish_.schema.select(self.train_.column_names)
        Dataset(self.train_, learned).write_parquet(folder / ROWS)
        write_json(folder / STATE, self.finish_.to_state())
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote."""
        family = cls(**open_model(folder, cls))
        family.finish_ = Finish.from_state(json.loads((folder / STATE).read_text()))
        schema = family.finish_.schema.select([c.name for c in family.finish_.schema.learned])
        rows = Dataset.from_parquet(folder / ROWS, schema).table
        family.train_ = rows.cast(schema.arrow()).combine_chunks()
        return family


def _holding(rows: pa.Table, wanted: Condition) -> np.ndarray:
    """Positions of the rows that hold a resolved condition."""
    batch = pa.RecordBatch.from_arrays([c.combine_chunks() for c in rows.columns], schema=rows.schema)
    return np.flatnonzero(matches(batch, wanted).to_numpy(zero_copy_only=False))
