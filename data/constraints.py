"""What must every row hold, real or drawn? Rules over one or several columns, as a plan states them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from data.combinations import Combinations, gaps, marks, present
from data.encode_values import plain
from data.errors import DataError
from data.expressions import Expression
from data.schema import Column, Schema

Array = np.ndarray
Rows: TypeAlias = pa.Table | pa.RecordBatch
Unit: TypeAlias = Literal["us", "ns"]
ORDERED = ("numeric", "integer", "datetime")


class ConstraintError(DataError):
    """A rule that cannot be kept; `place` is its position in the plan's list."""

    def __init__(self, place: int, message: str) -> None:
        super().__init__(place, message)
        self.place, self.message = place, message

    def __str__(self) -> str:
        return f"constraints.{self.place}: {self.message}"


class Constraint(Protocol):
    """A rule over the columns `columns`.

    A rule that depends on what real rows hold is asked to `learn` them first; before that, `breaches` can be asked only."""

    use: ClassVar[str]

    @property
    def columns(self) -> tuple[str, ...]: ...

    def check(self, schema: Schema) -> None:
        """Raises DataError where the schema lacks a column, or has one that the rule cannot be about."""

    def breaches(self, rows: Rows) -> Array:
        """Real rows that break the rule among themselves: (rows,) bool."""

    def learn(self, rows: Rows) -> Constraint:
        """The rule, knowing these real rows."""

    def holds(self, rows: Rows) -> Array:
        """Rows that hold the rule, each for itself; where something is missing nothing is broken: (rows,) bool."""


class _Lone(ABC):
    """A rule that needs to know no other row."""

    def breaches(self, rows: Rows) -> Array:
        return np.asarray(~self.holds(rows))

    def learn(self, rows: Rows) -> Any:
        return self

    @abstractmethod
    def holds(self, rows: Rows) -> Array:
        """As Constraint.holds."""


@dataclass(frozen=True)
class Range(_Lone):
    """The values of a column lie between two bounds. strict: the bounds ("low", "high" or both) do not belong to it."""

    use: ClassVar[str] = "range"
    column: str
    low: float | int | str | None = None
    high: float | int | str | None = None
    strict: bool | Literal["low", "high"] = False

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def __str__(self) -> str:
        signs = ["<" if self.strict in (True, end) else "<=" for end in ("low", "high")]
        low = f"{self.low} {signs[0]} " if self.low is not None else ""
        return low + self.column + (f" {signs[1]} {self.high}" if self.high is not None else "")

    def check(self, schema: Schema) -> None:
        column = _ordered(schema, self.column)
        for bound in (self.low, self.high):
            if bound is not None and isinstance(bound, str) != (column.kind == "datetime"):
                raise DataError(f"{bound!r} is no value of column {self.column!r}, which is {column.kind}; write one")
            if isinstance(bound, str):
                instant(bound)

    def holds(self, rows: Rows) -> Array:
        unit = finest(rows, (self.column,))
        values, missing = measure(rows.column(self.column), unit)
        keep = np.ones(len(values), dtype=bool)
        if self.low is not None:
            low = _bound(self.low, unit)
            keep &= values > low if self.strict in (True, "low") else values >= low
        if self.high is not None:
            high = _bound(self.high, unit)
            keep &= values < high if self.strict in (True, "high") else values <= high
        return np.asarray(keep | missing)


@dataclass(frozen=True)
class Inequality(_Lone):
    """The columns rise from left to right in every row, those that are missing left out. strict: no two are equal."""

    use: ClassVar[str] = "inequality"
    columns: tuple[str, ...]
    strict: bool = False

    def __str__(self) -> str:
        return (" < " if self.strict else " <= ").join(self.columns)

    def check(self, schema: Schema) -> None:
        kinds = [_ordered(schema, name) for name in self.columns]
        times = [column.kind == "datetime" for column in kinds]
        if any(times) and not all(times):
            raise DataError(f"{self} compares times with numbers; name columns of one sort")
        zones = {"tz=" in column.dtype for column in kinds if column.dtype.startswith("timestamp")}
        if len(zones) > 1:
            raise DataError(f"{self} compares times that have a zone with such that have none; give all a zone, or none")

    def holds(self, rows: Rows) -> Array:
        keep = np.ones(rows.num_rows, dtype=bool)
        unit = finest(rows, self.columns)
        before, unknown = measure(rows.column(self.columns[0]), unit)
        for name in self.columns[1:]:
            values, missing = measure(rows.column(name), unit)
            keep &= (before < values if self.strict else before <= values) | missing | unknown
            before, unknown = np.where(missing, before, values), unknown & missing
        return keep


@dataclass(frozen=True)
class Written(_Lone):
    """A condition in the language of data/expressions.py."""

    use: ClassVar[str] = "expression"
    text: str
    parsed: Expression = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parsed", Expression(self.text))

    @property
    def columns(self) -> tuple[str, ...]:
        return self.parsed.names

    def __str__(self) -> str:
        return self.text

    def check(self, schema: Schema) -> None:
        for name in self.columns:
            _learned(schema, name)
        self.parsed.check(schema)

    def holds(self, rows: Rows) -> Array:
        return np.asarray(self.parsed.holds(rows).to_numpy(zero_copy_only=False))


@dataclass(frozen=True)
class OneHot(_Lone):
    """Exactly one of the columns is true, or 1, and the others are false, or 0."""

    use: ClassVar[str] = "one_hot"
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return f"exactly one of {', '.join(self.columns)} is true"

    def check(self, schema: Schema) -> None:
        for name in self.columns:
            column = _learned(schema, name)
            levels = {str(level).lower() for level in column.categories}
            whole = column.kind == "integer" and (column.low, column.high) in ((0, 1), (0, 0), (1, 1))
            if not (whole or (column.discrete and levels <= {"true", "false", "0", "1", "0.0", "1.0"})):
                raise DataError(f"column {name!r} holds more than true and false, or 1 and 0; name such columns")

    def holds(self, rows: Rows) -> Array:
        on = sum((_on(rows.column(name)).astype(np.int64) for name in self.columns), np.zeros(rows.num_rows, dtype=np.int64))
        return np.asarray((on == 1) | ~present(rows, self.columns))


@dataclass(frozen=True)
class Unique(_Lone):
    """No two rows hold the same values in the columns; rows where one of them is missing are left out.

    One row alone breaks nothing: of several rows `breaches` says which stand there again."""

    use: ClassVar[str] = "unique"
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return f"{' with '.join(self.columns)} is unique"

    def check(self, schema: Schema) -> None:
        for name in self.columns:
            _learned(schema, name)

    def breaches(self, rows: Rows) -> Array:
        again = pd.Series(marks(rows, self.columns)).duplicated().to_numpy()
        return np.asarray(again & present(rows, self.columns))

    def holds(self, rows: Rows) -> Array:
        return np.ones(rows.num_rows, dtype=bool)


@dataclass(frozen=True)
class FixedCombinations:
    """Only combinations of values that real rows hold, missing values among them."""

    use: ClassVar[str] = "fixed_combinations"
    columns: tuple[str, ...]
    known: Combinations | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{' with '.join(self.columns)} as in a real row"

    def check(self, schema: Schema) -> None:
        for name in self.columns:
            _learned(schema, name)

    def breaches(self, rows: Rows) -> Array:
        return np.zeros(rows.num_rows, dtype=bool)

    def learn(self, rows: Rows) -> FixedCombinations:
        return FixedCombinations(self.columns, Combinations.of(rows, self.columns))

    def holds(self, rows: Rows) -> Array:
        return np.asarray(_known(self.known).places(rows, self.columns) >= 0)


@dataclass(frozen=True)
class FunctionalDependency:
    """`columns_from` settle `columns_to`: rows that agree in the first agree in the others, missing values among them."""

    use: ClassVar[str] = "functional_dependency"
    columns_from: tuple[str, ...]
    columns_to: tuple[str, ...]
    known: Combinations | None = field(default=None, repr=False, compare=False)

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.columns_from, *self.columns_to)

    def __str__(self) -> str:
        return f"{' with '.join(self.columns_from)} settles {' and '.join(self.columns_to)}"

    def check(self, schema: Schema) -> None:
        for name in self.columns:
            _learned(schema, name)

    def breaches(self, rows: Rows) -> Array:
        """Rows that hold another value than the first row of their group."""
        _, first, codes = np.unique(marks(rows, self.columns_from), return_index=True, return_inverse=True)
        settled = marks(rows, self.columns_to)
        return np.asarray(settled != settled[first[codes]])

    def learn(self, rows: Rows) -> FunctionalDependency:
        return FunctionalDependency(self.columns_from, self.columns_to, Combinations.of(rows, self.columns))

    def holds(self, rows: Rows) -> Array:
        return np.asarray(_known(self.known).places(rows, self.columns) >= 0)


def make(spec: Mapping[str, Any]) -> Constraint:
    """The rule that an entry of a plan describes (`use` and its keys). Raises DataError for an expression that is none."""
    found: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in spec.items()}
    use = found.pop("use")
    if use == "range":
        return Range(**found)
    if use == "expression":
        return Written(found["holds"])
    if use == "functional_dependency":
        return FunctionalDependency(_names(found["columns"]), _names(found["settle"]))
    plain_ones: dict[str, Any] = {
        "inequality": Inequality, "one_hot": OneHot, "unique": Unique, "fixed_combinations": FixedCombinations,
    }  # fmt: skip
    made: Constraint = plain_ones[use](**found)
    return made


def check(constraints: Sequence[Constraint], schema: Schema, rows: pa.Table) -> None:
    """Raises ConstraintError for a rule that the columns cannot have, or that real rows break: how many, and the first."""
    for place, constraint in enumerate(constraints):
        try:
            constraint.check(schema)
        except DataError as error:
            raise ConstraintError(place, str(error)) from None
        broken = np.flatnonzero(constraint.breaches(rows))
        if len(broken):
            count = f"{len(broken):,} of {len(rows):,} rows break" if len(broken) > 1 else f"one of {len(rows):,} rows breaks"
            first = f"row {broken[0] + 1:,} of those read{_shown(rows, constraint, broken[0])}"
            raise ConstraintError(
                place, f"{count} the rule {constraint}, the first is {first}; mend the rows, or loosen the rule"
            )


def _shown(rows: pa.Table, constraint: Constraint, at: int) -> str:
    values = [f"{name}={rows.column(name)[int(at)].as_py()}" for name in constraint.columns[:4]]
    return f" ({', '.join(values)})"


def finest(rows: Rows, names: Sequence[str]) -> Unit:
    """The unit in which all times of these columns are whole: ns where one column needs it."""
    return "ns" if any(getattr(rows.schema.field(name).type, "unit", "") == "ns" for name in names) else "us"


def measure(values: pa.Array | pa.ChunkedArray, unit: Unit = "us") -> tuple[Array, Array]:
    """Numbers or times that can be compared with one another, and where there are none: (n,) values, (n,) bool.

    Whole numbers come as int64, others as float64, times as int64 of `unit` since 1970 in UTC; 0 where there is nothing."""
    array, missing = plain(values), gaps(values)
    kind = array.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        array = array.cast(pa.timestamp(unit, tz=getattr(kind, "tz", None))).cast(pa.int64())
    elif pa.types.is_boolean(kind) or (pa.types.is_integer(kind) and not pa.types.is_uint64(kind)):
        array = array.cast(pa.int64())
    else:
        array = array.cast(pa.float64(), safe=False)
    out = pc.fill_null(array, pa.scalar(0, array.type)).to_numpy(zero_copy_only=False)
    return np.where(missing, out.dtype.type(0), out), missing


def instant(text: str) -> int:
    """An ISO 8601 text as microseconds in UTC. Raises DataError."""
    try:
        found = pd.Timestamp(text)
    except ValueError:
        raise DataError(f"{text!r} is no date or time; write it as 2024-05-31 or 2024-05-31T12:00:00") from None
    found = found.tz_convert("UTC").tz_localize(None) if found.tzinfo else found
    return int(found.to_datetime64().astype("datetime64[us]").astype(np.int64))


def _bound(bound: float | int | str, unit: Unit) -> float | int:
    return instant(bound) * (1000 if unit == "ns" else 1) if isinstance(bound, str) else bound


def _on(values: pa.Array | pa.ChunkedArray) -> Array:
    array = plain(values)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return np.isin(np.char.lower(array.fill_null("").to_numpy(zero_copy_only=False).astype(str)), ["true", "1", "1.0"])
    return np.asarray(measure(array)[0] == 1)


def _names(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _known(combinations: Combinations | None) -> Combinations:
    if combinations is None:
        raise RuntimeError("the rule has not learned any rows yet")
    return combinations


def _learned(schema: Schema, name: str) -> Column:
    column = schema[name]
    if not column.learned:
        why = "ids are made anew" if column.kind == "id" else "no tabular family writes it"
        raise DataError(f"column {name!r} is {column.kind}: {why}, so no rule can be about it; leave it out")
    return column


def _ordered(schema: Schema, name: str) -> Column:
    column = _learned(schema, name)
    if column.kind not in ORDERED:
        raise DataError(f"column {name!r} is {column.kind}; only numbers and times lie in an order")
    return column
