"""What may a plan ask of every row? The entries of `constraints:`, each with its keys."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from configs.errors import KeyFault
from data.constraints import Constraint, make
from data.contradictions import contradiction
from data.errors import DataError


def _dated(value: Any) -> Any:
    # YAML reads 2024-05-31 as a date; a bound is its text.
    return value.isoformat() if isinstance(value, dt.date) else value


Name = Annotated[str, Field(min_length=1)]
Bound = Annotated[float | int | str | None, BeforeValidator(_dated)]
Several = Annotated[list[Name], Field(min_length=2)]


class Rule(BaseModel):
    """What every constraint has: frozen, and strict about keys that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="after")
    def _names_each_column_once(self) -> Rule:
        names = list(getattr(self, "columns", ()))
        settled = getattr(self, "settle", ())
        names += [settled] if isinstance(settled, str) else settled
        if again := [name for i, name in enumerate(names) if name in names[:i]]:
            raise ValueError(f"column {again[0]!r} stands twice; name each once")
        return self


class RangeRule(Rule):
    """The values of a column lie between two bounds."""

    use: Literal["range"]
    column: Name
    """A column of numbers or times."""
    low: Bound = None
    """Least value; times as text, e.g. 2024-05-31."""
    high: Bound = None
    """Greatest value."""
    strict: bool | Literal["low", "high"] = False
    """Whether the bounds are left out (true), or one of them (low, high)."""

    @model_validator(mode="after")
    def _has_a_bound(self) -> RangeRule:
        if self.low is None and self.high is None:
            raise ValueError("a range needs low, high, or both")
        return self


class InequalityRule(Rule):
    """Columns that rise from left to right in every row: a <= b, or a <= b <= c."""

    use: Literal["inequality"]
    columns: Several
    """Columns of numbers, or of times, the least first; what is missing is passed over."""
    strict: bool = False
    """Whether no two may be equal: a < b."""


class UniqueRule(Rule):
    """No two drawn rows hold the same values in the columns."""

    use: Literal["unique"]
    columns: Annotated[list[Name], Field(min_length=1)]
    """The columns; rows where one of them is missing are passed over."""


class FixedCombinationsRule(Rule):
    """Only combinations of values that training rows hold."""

    use: Literal["fixed_combinations"]
    columns: Several
    """The columns."""


class FunctionalDependencyRule(Rule):
    """Columns that settle others: the values are looked up in the training rows."""

    use: Literal["functional_dependency"]
    columns: Annotated[list[Name], Field(min_length=1)]
    """The columns that settle, e.g. [city]."""
    settle: Name | Annotated[list[Name], Field(min_length=1)]
    """What they settle, e.g. region, or several."""


class ExpressionRule(Rule):
    """A condition of your own over the columns of a row."""

    use: Literal["expression"]
    holds: Annotated[str, Field(min_length=1)]
    """E.g. "end - start <= days(30) or kind == 'long'"; odd names of columns stand between backticks."""

    @model_validator(mode="after")
    def _parses(self) -> ExpressionRule:
        try:
            make(self.model_dump())
        except DataError as error:
            raise ValueError(str(error)) from None
        return self


class OneHotRule(Rule):
    """Exactly one of the columns is true (or 1)."""

    use: Literal["one_hot"]
    columns: Several
    """Columns of true and false, or of 1 and 0."""


AnyRule = (
    RangeRule | InequalityRule | UniqueRule | FixedCombinationsRule | FunctionalDependencyRule | ExpressionRule | OneHotRule
)


def rules(stated: Sequence[Rule]) -> tuple[Constraint, ...]:
    """The entries as rules that rows can be asked for."""
    return tuple(make(entry.model_dump()) for entry in stated)


def check_rules(stated: Sequence[Rule], bounds: dict[str, tuple[Any, Any]], dropped: Sequence[str]) -> None:
    """Raises KeyFault where no row could hold all rules, or one names a column that the plan leaves out.

    bounds: low and high that the plan states of columns."""
    made = rules(stated)
    for place, rule in enumerate(made):
        if gone := [name for name in rule.columns if name in dropped]:
            raise KeyFault(("constraints", place), f"column {gone[0]!r} is dropped by the plan; keep it, or leave the rule out")
    found = contradiction(made, bounds)
    if found is not None:
        raise KeyFault(("constraints", found[0]), found[1])
