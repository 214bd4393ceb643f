"""Which values can a column hold, told without a look at the rows that nobody paid for?

Levels come from what the plan declares; numbers lie between declared ends, in bins that are narrow where noisy counts say that
many rows lie, or are one of the few values that very many rows hold. What is not declared is either paid for as well, or read
off the rows where the plan says so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.encode_values import Levels, Scale, Values
from data.schema import Column
from generators.base import GeneratorError, NoisyError
from generators.tabular._conditions import place_of
from generators.tabular._dp_account import Part
from generators.tabular._dp_bins import LOOKS, divided, hidden, in_tail, place_among, without
from generators.tabular._dp_noise import Noise

Array = np.ndarray
Bounds = Literal["declared", "budget", "data"]
#: Exponents of two between which ends that are not declared are looked for.
MAGNITUDES = (-30, 41)
#: Standard deviations of noise that the count between two of them must stand above: one that noise shows only makes the first
#: bins wider, one that it hides is a part of the rows.
SEEN = 4.0
#: Of delta, the part that finding undeclared levels may use, and as much again for values that very many rows hold.
DELTA_PART = 0.1


@dataclass(frozen=True)
class Cells:
    """The tokens of one column: its levels, or its bins in order and its atoms, then one for other levels, then null.

    Fields:
        levels: of a discrete column, those that are known. others: whether there is a token for any other level.
        scale, edges: of a column of numbers, how it is read, and the bins: bin i is from edges[i] to below edges[i + 1].
        atoms: of a column of numbers, ascending, values that very many rows hold, and that count in no bin. tails: of the first
            and the last bin, how far from its inner edge numbers lie on average; 0 where they lie anywhere in it.
        nulls: whether there is a token for null."""

    name: str
    levels: Levels | None = None
    others: bool = False
    scale: Scale | None = None
    edges: tuple[float, ...] = ()
    atoms: tuple[float, ...] = ()
    nulls: bool = False
    tails: tuple[float, float] = (0.0, 0.0)

    @property
    def values(self) -> int:
        """Tokens of values: all but those of other levels and null."""
        return self._bins + len(self.atoms) if self.levels is None else len(self.levels.values)

    @property
    def _bins(self) -> int:
        return len(self.edges) - 1

    @property
    def size(self) -> int:
        """All tokens."""
        return self.values + self.others + self.nulls

    def encode(self, values: Values) -> Array:
        """(n,) tokens. Numbers beyond the ends count as the last bin on their side.

        Raises GeneratorError for a level or a null that the column cannot hold."""
        codes = self._codes(values)
        if not self.nulls and (codes == -2).any():
            raise GeneratorError(f"column {self.name!r} holds nulls; declare columns.{self.name}.nullable: true")
        if not self.others and (codes == -1).any():
            raise GeneratorError(
                f"column {self.name!r} holds {int((codes == -1).sum())} values that columns.{self.name}.categories does not "
                "declare; declare all of them"
            )
        return np.where(codes == -2, self.size - 1, np.where(codes == -1, self.values, codes))

    def _codes(self, values: Values) -> Array:
        if self.levels is not None:
            return self.levels.read(values)
        assert self.scale is not None
        x = self.scale.read(values, self.name)
        inside = np.clip(np.searchsorted(self.edges, x, side="right") - 1, 0, self._bins - 1)
        atom = place_among(x, self.atoms)
        return np.where(np.isnan(x), -2, np.where(atom >= 0, self._bins + atom, inside))

    def decode(self, codes: Array, rng: np.random.Generator) -> pa.Array:
        """(n,) tokens as values; within a bin any number is as likely, in a tail near ones are more so; an atom is itself."""
        null = codes == self.size - 1 if self.nulls else np.zeros(len(codes), dtype=bool)
        if self.levels is not None:
            return self.levels.write(np.where(null | (codes >= self.values), -1, codes))
        assert self.scale is not None
        edges, at = np.asarray(self.edges), np.minimum(codes, self._bins - 1)
        low, high = edges[at], edges[at + 1]
        u = rng.random(len(codes))
        if self.scale.whole:
            x = without(np.ceil(low), np.maximum(np.ceil(high) - 1, np.ceil(low)), u, self.atoms)
        else:
            x = low + u * (high - low)
        for tail, place in zip(self.tails, (0, self._bins - 1), strict=True):
            if tail:
                away = in_tail(high - low, tail, u)
                away = np.where(place == 0, high - np.maximum(away, 1e-9 * (high - low)), low + away)
                x = np.where(at == place, np.floor(away) if self.scale.whole else away, x)
        if self.atoms:
            at = np.clip(codes - self._bins, 0, len(self.atoms) - 1)
            x = np.where((codes >= self._bins) & ~null, np.asarray(self.atoms)[at], x)
        return self.scale.write(np.where(null, np.nan, x))

    def to_state(self) -> dict[str, Any]:
        """JSON values only."""
        state: dict[str, Any] = {"name": self.name, "others": self.others, "nulls": self.nulls}
        state |= {"edges": list(self.edges), "atoms": list(self.atoms), "tails": list(self.tails)}
        levels = None if self.levels is None else self.levels.to_state()
        return state | {"levels": levels, "scale": None if self.scale is None else asdict(self.scale)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """What `to_state` wrote."""
        levels = None if state["levels"] is None else Levels.from_state(state["levels"])
        scale = None if state["scale"] is None else Scale(**state["scale"])
        edges, atoms, tails = tuple(state["edges"]), tuple(state["atoms"]), state["tails"]
        return cls(state["name"], levels, state["others"], scale, edges, atoms, state["nulls"], (tails[0], tails[1]))


@dataclass(frozen=True)
class Found:
    """The columns, and what finding them spent, beside the part of delta that `left` does not leave."""

    cells: tuple[Cells, ...]
    parts: tuple[Part, ...]


def looks(columns: Sequence[Column], bounds: Bounds) -> int:
    """How often noisy counts are taken to find these columns."""
    numbers = [c for c in columns if not c.discrete]
    undeclared = bounds == "budget" and any(not _stated(c) for c in columns)
    return (1 + LOOKS if numbers else 0) + undeclared


def left(columns: Sequence[Column], bounds: Bounds) -> float:
    """The share of delta that finding these columns leaves to the noise of all counts and steps."""
    undeclared = bounds == "budget" and any(c.discrete and not _stated(c) for c in columns)
    return 1 - DELTA_PART * (undeclared + any(not c.discrete for c in columns))


def find(train: Dataset, bounds: Bounds, noise: float, delta: float, source: Noise, *, k: int = 1) -> Found:
    """The tokens of every learned column.

    noise: multiplier of each look (its standard deviation is that times the root of the columns looked at); delta: of the whole
    fit. Raises GeneratorError for a column that declares too little where bounds are to be declared."""
    columns = train.schema.learned
    if bounds == "declared":
        refuse_undeclared(columns)
    open_ = [c for c in columns if not _stated(c)] if bounds == "budget" else []
    levels, ends = _undeclared(train, open_, noise, delta * DELTA_PART, source, k) if open_ else ({}, {})
    cells: dict[str, Cells] = {}
    numbers: dict[str, Scale] = {}
    for column in columns:
        nulls = _nulls(column, bounds)
        if column.discrete:
            known = levels.get(column.name) or _declared(column)
            cells[column.name] = Cells(column.name, known, column.name in levels, nulls=nulls)
        else:
            numbers[column.name] = _scale(train, column, ends.get(column.name))
    parts = [Part(noise)] if open_ else []
    if numbers:
        for name, parts_of in divided(train, numbers, noise, delta * DELTA_PART, source, k).items():
            nulls = _nulls(train.schema[name], bounds)
            cells[name] = Cells(name, scale=numbers[name], nulls=nulls, **vars(parts_of))
        parts += [Part(noise)] * (1 + LOOKS)
    return Found(tuple(cells[c.name] for c in columns), tuple(parts))


def _nulls(column: Column, bounds: Bounds) -> bool:
    """Whether a column has a token for null: it may be that one row alone has any."""
    return column.nullable or ("nullable" not in column.declared and bounds != "data")


def _stated(column: Column) -> bool:
    """Whether the plan declares all that the column's tokens need."""
    if column.kind == "boolean":
        return True
    if column.discrete:
        return "categories" in column.declared
    return {"low", "high"} <= column.declared


def refuse_undeclared(columns: Sequence[Column]) -> None:
    """Raises GeneratorError for a column whose levels or ends the plan does not declare."""
    lost = [c for c in columns if not _stated(c)]
    if lost:
        what = "categories" if lost[0].discrete else "low and high"
        more = f", nor are those of {len(lost) - 1} more columns" if len(lost) > 1 else ""
        raise GeneratorError(
            f"the {what} of column {lost[0].name!r} are not declared{more}; state columns.{lost[0].name}, or set "
            "privacy.bounds to budget"
        )


def refuse_odd(train: Dataset, bounds: Bounds) -> None:
    """Raises GeneratorError for rows that hold a null or a level that the plan says there are none of: before any noise."""
    for column in train.schema.learned:
        known = _declared(column) if column.discrete and (bounds != "budget" or _stated(column)) else None
        values = train.column(column.name)
        if not _nulls(column, bounds) and values.null_count:
            raise GeneratorError(f"column {column.name!r} holds nulls; declare columns.{column.name}.nullable: true")
        if known is not None:
            Cells(column.name, known, nulls=True).encode(values)


def _declared(column: Column) -> Levels:
    """The levels that the schema holds, in an order that says nothing of the rows."""
    known = column.categories or ((False, True) if column.kind == "boolean" else ())
    values = sorted(known, key=str)
    return Levels(column.dtype, tuple(values), (1,) * len(values))


def _scale(train: Dataset, column: Column, ends: tuple[float, float] | None) -> Scale:
    """How a column of numbers is read, its ends those of the plan, of `ends`, or of the schema."""
    # The step of whole numbers is how they are written, as digits are: that is taken to be known.
    seen = Scale.fit(train.column(column.name), column)
    base = 0 if column.kind != "datetime" or column.low is None else _raw(column)
    blank = replace(seen, base=base, step=seen.step if column.kind == "datetime" else 1, low=-np.inf, high=np.inf)
    if ends is not None:
        low, high = ends
    elif None in (column.low, column.high):
        x = blank.read(train.column(column.name), column.name)
        low, high = (float(np.nanmin(x)), float(np.nanmax(x))) if not np.isnan(x).all() else (0.0, 0.0)
    else:
        low, high = (place_of(blank, _typed(column, end), column.name) for end in (column.low, column.high))
    return replace(blank, low=low, high=max(high, low))


def _typed(column: Column, end: Any) -> Any:
    return pa.scalar(end).cast(pa.array([], type=_arrow(column)).type).as_py() if isinstance(end, str) else end


def _arrow(column: Column) -> pa.DataType:
    from data.schema import arrow_type

    return arrow_type(column.dtype)


def _raw(column: Column) -> int:
    value = pa.array([_typed(column, column.low)], type=_arrow(column))
    return int(value.cast(pa.int32() if pa.types.is_date32(value.type) else pa.int64())[0].as_py())


# --- what is not declared -----------------------------------------------------------------------------------------------------


def _undeclared(
    train: Dataset, columns: Sequence[Column], noise: float, delta: float, source: Noise, k: int
) -> tuple[dict[str, Levels], dict[str, tuple[float, float]]]:
    """Levels and ends that noisy counts show.

    A level that few rows hold must not be shown only because it was there: its count has to stand so far above the noise that
    fewer than k rows lift it there with a chance below delta.

    Source: Korolova et al. 2009 (WWW), with Gaussian noise as in Gopi et al. 2020 (arXiv 2006.03684), section 4."""
    deviation, discrete = noise * math.sqrt(len(columns)), [c for c in columns if c.discrete]
    levels: dict[str, Levels] = {}
    ends: dict[str, tuple[float, float]] = {}
    least = hidden(deviation, delta, len(discrete)) + k - 1
    for column in columns:
        if column.discrete:
            seen = Levels.fit(train.column(column.name), column)
            noisy = np.array(seen.counts) + deviation * source.normal(len(seen.counts))
            kept = sorted((v for v, count in zip(seen.values, noisy, strict=True) if count >= least), key=str)
            if not kept:
                raise NoisyError(
                    f"no level of column {column.name!r} is held by enough rows to be found within the budget; state "
                    f"columns.{column.name}.categories, or leave the column out with columns.{column.name}.drop: true"
                )
            levels[column.name] = Levels(column.dtype, tuple(kept), (1,) * len(kept))
        else:
            ends[column.name] = _ends(train, column, deviation, source)
    return levels, ends


def _ends(train: Dataset, column: Column, deviation: float, source: Noise) -> tuple[float, float]:
    """Powers of two between which noisy counts show numbers."""
    blank = replace(Scale.fit(train.column(column.name), column), base=0, low=-np.inf, high=np.inf)
    blank = blank if column.kind == "datetime" else replace(blank, step=1)
    x = blank.read(train.column(column.name), column.name)
    x = x[~np.isnan(x)]
    powers = 2.0 ** np.arange(*MAGNITUDES)
    marks = np.r_[-powers[::-1], 0.0, powers]
    counts = np.bincount(np.clip(np.searchsorted(marks, x, side="right") - 1, 0, len(marks) - 2), minlength=len(marks) - 1)
    shown = np.flatnonzero(counts + deviation * source.normal(len(counts)) > SEEN * deviation)
    if not len(shown):
        raise NoisyError(
            f"the range of column {column.name!r} cannot be found within the budget; state columns.{column.name}.low and .high"
        )
    return float(marks[shown[0]]), float(marks[shown[-1] + 1])
