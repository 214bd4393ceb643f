"""What do families with a privacy budget share: settings, tokens of columns, and what of a schema they may keep?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.ids import IdMaker
from data.schema import Column, Schema
from generators.base import GeneratorError
from generators.tabular._dp_domain import Bounds, Cells, refuse_undeclared
from generators.tabular._dp_noise import Noise
from generators.tabular._table import Finish

if TYPE_CHECKING:
    from generators.tabular._dp_base import Private

Array = np.ndarray
#: Budget where neither it nor the noise is stated.
EPSILON = 3.0
#: Letters that a made id may hold in each of its places: its real shape would be told for nothing.
PLACES = ("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",) * 10
#: Of a budget, what finding the columns' tokens may spend.
DOMAIN_PART = 0.1


@dataclass(frozen=True)
class Spent:
    """What a fit spent, of so many rows. noise: of a Gaussian mechanism, over what one row can change; mechanism: in words."""

    epsilon: float
    delta: float
    noise: float
    mechanism: str
    bounds: Bounds
    secure: bool
    rows: int

    @property
    def end_to_end(self) -> bool:
        """Whether the promise holds for all that the model knows."""
        return self.bounds != "data" and self.secure

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**self.__dict__, "end_to_end": self.end_to_end}


def check(family: Private, rows: int, columns: Sequence[Column]) -> None:
    """Raises GeneratorError for settings that promise nothing, and for columns that declare too little: all that can be wrong
    before the rows are looked at."""
    if family.epsilon is not None and family.noise is not None:
        raise GeneratorError("generator.epsilon and generator.noise: one follows from the other; leave one out")
    for name in ("epsilon", "noise"):
        value = getattr(family, name)
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise GeneratorError(f"generator.{name}: {value} is no budget; it must be above 0")
    delta = delta_of(family, rows)
    if not 0 < delta < 1 / rows:
        raise GeneratorError(
            f"generator.delta: {delta:g} would let one of {rows:,} rows be published whole; it must be above 0 and "
            f"below {1 / rows:.2g}"
        )
    if family.bounds == "declared":
        refuse_undeclared(columns)


def delta_of(family: Private, rows: int) -> float:
    """Delta that is promised: a tenth of one over the rows where it is not stated."""
    return family.delta if family.delta is not None else 1 / (10 * rows)


def noise_of(family: Private, seed: int) -> Noise:
    """The source of noise: secret, or from the seed where the family is told that nothing needs protection."""
    return Noise(None if family.secure else seed)


def finish_of(schema: Schema, cells: Sequence[Cells]) -> Finish:
    """How rows are finished, with nothing in it that was not declared or paid for."""
    known = {c.name: c for c in cells}
    columns = tuple(_public(column, known[column.name]) if column.name in known else _id(column) for column in schema)
    makers = {c.name: _maker(c) for c in schema.of_kind("id")}
    return Finish(replace(schema, columns=columns), makers)


def _public(column: Column, cells: Cells) -> Column:
    bare = replace(column, null_share=0.0, nullable=cells.nulls)
    if cells.levels is not None:
        return replace(bare, categories=cells.levels.values, low=None, high=None)
    assert cells.scale is not None
    low, high = cells.scale.write(np.array([cells.scale.low, cells.scale.high])).to_pylist()
    told = tuple(end if isinstance(end, int | float) else str(end) for end in (low, high))
    return replace(bare, categories=(), low=told[0], high=told[1])


def _id(column: Column) -> Column:
    return replace(column, null_share=0.0, categories=(), low=None, high=None)


def _maker(column: Column) -> IdMaker:
    return IdMaker(column.dtype) if "int" in column.dtype else IdMaker(column.dtype, places=PLACES)


def encode(train: Dataset, cells: Sequence[Cells]) -> Array:
    """(n, columns) tokens of the learned columns."""
    return np.column_stack([c.encode(train.column(c.name)) for c in cells])


def shares(counts: Array, noise: float) -> Array:
    """Noisy counts as chances: what cannot be told from noise is 0, unless all would be."""
    clear = np.where(counts > 2 * noise, counts, 0.0)
    kept = clear if clear.sum() > 0 else np.maximum(counts, 0.0)
    return np.asarray(kept / kept.sum() if kept.sum() > 0 else np.full(len(counts), 1 / len(counts)))


def columns_of(
    cells: Sequence[Cells], tokens: Array, known: Mapping[str, Array], rng: np.random.Generator
) -> dict[str, pa.Array]:
    """Tokens (n, columns) as values; known: of columns with a token for other levels, the chances of those that are known."""
    out = {}
    for i, column in enumerate(cells):
        codes = tokens[:, i]
        if column.others and (other := codes == column.values).any():
            codes = codes.copy()
            codes[other] = rng.choice(column.values, int(other.sum()), p=known[column.name])
        out[column.name] = column.decode(codes, rng)
    return out
