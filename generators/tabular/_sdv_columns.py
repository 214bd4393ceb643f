"""How does an Arrow table reach SDV, and come back in the types, digits and spelling it had?

SDV sees a plain frame: floats (missing as NaN) for numbers and moments, short text codes for levels. What a model
cannot change stays outside: constant and all-null columns are put back, ids are made anew by the family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from data.dataset import Dataset
from data.encode_values import Levels, Scale, plain
from data.schema import Column
from generators.base import GeneratorError


class Codec(Protocol):
    """One column, to SDV and back. `sdtype` is None when it never varies, so that SDV need not see it at all."""

    @property
    def sdtype(self) -> str | None: ...

    def encode(self, values: pa.Array) -> np.ndarray: ...

    def decode(self, coded: np.ndarray) -> pa.Array: ...


@dataclass(frozen=True)
class Codes:
    """A finite set of values as text codes: the place of each level, and a negative one for null."""

    levels: Levels
    has_null: bool

    @property
    def sdtype(self) -> str | None:
        return "categorical" if len(self.levels.values) + self.has_null > 1 else None

    def encode(self, values: pa.Array) -> np.ndarray:
        """(n,) values -> (n,) text codes such as "0"."""
        return self.levels.read(values).astype(str).astype(object)

    def decode(self, coded: np.ndarray) -> pa.Array:
        """(n,) text codes -> (n,) values of the column's type."""
        return self.levels.write(coded.astype(np.int64))

    def constant(self, n: int) -> pa.Array:
        """The one value there is, `n` times: (n,)."""
        return self.levels.write(np.full(n, 0 if self.levels.values else -1, dtype=np.int64))


@dataclass(frozen=True)
class Numbers:
    """A number or a moment as float64, missing as NaN; digits, steps and range are restored on the way back."""

    name: str
    scale: Scale

    @property
    def sdtype(self) -> str | None:
        return "numerical"

    def encode(self, values: pa.Array) -> np.ndarray:
        """(n,) values -> (n,) float64."""
        return self.scale.read(values, self.name)

    def decode(self, coded: np.ndarray) -> pa.Array:
        """(n,) float64 -> (n,) values of the column's type."""
        return self.scale.write(coded.astype(np.float64))


def fit_codecs(train: Dataset) -> dict[str, Codec]:
    """A codec for every learned column, in schema order.

    Raises GeneratorError or DataError, with the column's name, for infinite values and types that hold no such kind."""
    return {column.name: _fit_codec(column, _values(train, column)) for column in train.schema.learned}


def frame(train: Dataset, codecs: dict[str, Codec], place: dict[str, str]) -> pd.DataFrame:
    """What SDV sees: one column for each codec with an sdtype, under the neutral names in `place`."""
    varying = {name: codec for name, codec in codecs.items() if codec.sdtype is not None}
    return pd.DataFrame({place[name]: c.encode(_values(train, train.schema[name])) for name, c in varying.items()})


def rows(drawn: pd.DataFrame | None, n: int, codecs: dict[str, Codec], place: dict[str, str]) -> pa.RecordBatch:
    """`n` rows that SDV drew as the table's own columns; constant columns are put back."""
    columns = {
        name: codec.constant(n) if isinstance(codec, Codes) and codec.sdtype is None
        else codec.decode(_drawn(drawn, place[name]))
        for name, codec in codecs.items()
    }  # fmt: skip
    if not columns:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * n, type=pa.struct([])))
    return pa.RecordBatch.from_pydict(columns)


def _drawn(drawn: pd.DataFrame | None, name: str) -> np.ndarray:
    if drawn is None:
        raise GeneratorError("the saved model is incomplete: its synthesizer is missing; fit the model again")
    return drawn[name].to_numpy()


def _fit_codec(column: Column, values: pa.Array) -> Codec:
    if column.discrete or len(values.unique().drop_null()) <= 1:
        # A numeric column with one value and nulls is learned as two levels: there is nothing to interpolate.
        return Codes(Levels.fit(values, column), values.null_count > 0)
    return Numbers(column.name, Scale.fit(values, column))


def _values(train: Dataset, column: Column) -> pa.Array:
    """One plain array, NaN as null: here a NaN is a missing value."""
    values = plain(train.column(column.name))
    if not pa.types.is_floating(values.type):
        return values
    if pc.any(pc.is_inf(values)).as_py():
        raise GeneratorError(f"column {column.name!r} holds infinite values; replace them by a number or leave them empty")
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
