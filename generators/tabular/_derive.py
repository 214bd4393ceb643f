"""Which columns need not be learned as they are, because a rule lets them be made from others that are?

A derivation replaces columns by such that any values give whole rows that hold its rule: columns in an order by their
differences, combinations by one column of their numbers, what others settle by nothing at all. A rule whose columns another
derivation took, or that names the target (its classes must stay to be asked for), is left to rejection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa

from data.combinations import Combinations
from data.constraints import Constraint, FixedCombinations, FunctionalDependency, Inequality, OneHot
from data.schema import Column, Schema
from generators.base import GeneratorError
from generators.tabular._chain import Chain, one

Array = np.ndarray
Rows: TypeAlias = pa.Table | pa.RecordBatch
Columns = dict[str, pa.Array]


class Derivation(Protocol):
    """Columns `makes` come from the columns `needs`, and from `learned`, which stand in their place where rows are learned."""

    @property
    def makes(self) -> tuple[str, ...]: ...

    @property
    def needs(self) -> tuple[str, ...]: ...

    @property
    def learned(self) -> tuple[Column, ...]: ...

    def forward(self, rows: Rows) -> Columns:
        """Whole rows to the columns `learned`."""

    def inverse(self, columns: Mapping[str, pa.Array]) -> tuple[Columns, Array]:
        """The columns `makes` from `needs` and `learned`, and which rows could be made: (n,) bool."""

    def to_state(self) -> dict[str, Any]: ...

    @property
    def remembered(self) -> pa.Table | None:
        """Combinations of real values that it must keep."""


@dataclass(frozen=True)
class Joint:
    """Columns whose combinations are drawn as one: `name` numbers those that train holds.

    combinations: over the columns, in the order of the schema."""

    name: str
    combinations: Combinations = field(compare=False)

    @property
    def makes(self) -> tuple[str, ...]:
        return tuple(self.combinations.values.column_names)

    @property
    def needs(self) -> tuple[str, ...]:
        return ()

    @property
    def learned(self) -> tuple[Column, ...]:
        levels = tuple(str(i) for i in range(len(self.combinations)))
        return (Column(name=self.name, kind="categorical", dtype="string", categories=levels),)

    @property
    def remembered(self) -> pa.Table:
        return self.combinations.values

    def forward(self, rows: Rows) -> Columns:
        places = self.combinations.places(rows, self.makes)
        return {self.name: pa.array(places.astype(str).astype(object), pa.string(), mask=places < 0)}

    def inverse(self, columns: Mapping[str, pa.Array]) -> tuple[Columns, Array]:
        places = columns[self.name].cast(pa.int64())
        made = self.combinations.values.take(places).combine_chunks()
        return {name: one(made.column(name)) for name in self.makes}, np.ones(len(places), dtype=bool)

    def to_state(self) -> dict[str, Any]:
        return {"how": "joint", "name": self.name, "counts": self.combinations.counts.tolist()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], remembered: pa.Table) -> Joint:
        return cls(state["name"], Combinations.over(remembered, np.array(state["counts"], dtype=np.int64)))


@dataclass(frozen=True)
class Lookup:
    """What one column settles is looked up.

    source: that column. combinations: over it and those that it settles, one row for each value of `source`."""

    source: str
    combinations: Combinations = field(compare=False)

    @property
    def makes(self) -> tuple[str, ...]:
        return tuple(name for name in self.combinations.values.column_names if name != self.source)

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.source,)

    @property
    def learned(self) -> tuple[Column, ...]:
        return ()

    @property
    def remembered(self) -> pa.Table:
        return self.combinations.values

    def forward(self, rows: Rows) -> Columns:
        return {}

    def inverse(self, columns: Mapping[str, pa.Array]) -> tuple[Columns, Array]:
        keys = Combinations.over(self.combinations.values.select([self.source]), self.combinations.counts)
        places = keys.places(pa.table({self.source: columns[self.source]}), [self.source])
        made = self.combinations.values.take(pa.array(np.maximum(places, 0)))
        return {name: one(made.column(name)) for name in self.makes}, places >= 0

    def to_state(self) -> dict[str, Any]:
        return {"how": "lookup", "source": self.source, "counts": self.combinations.counts.tolist()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], remembered: pa.Table) -> Lookup:
        return cls(state["source"], Combinations.over(remembered, np.array(state["counts"], dtype=np.int64)))


def derive(constraints: Sequence[Constraint], rows: pa.Table, schema: Schema) -> tuple[list[Derivation], list[bool]]:
    """The derivations, each after those that make what it needs; and of each rule whether it holds by them alone."""
    found: list[Derivation] = []
    built = [False] * len(constraints)
    ranked = sorted(range(len(constraints)), key=lambda i: (_rank(constraints[i]), i))
    for i in ranked:
        made = _derivation(constraints[i], rows, schema, found)
        if made is not None and not _closes_a_circle(made, found):
            found.append(made)
            built[i] = True
    return _ordered(found), built


def _rank(rule: Constraint) -> int:
    """Combinations come first: what they take, nothing else can make."""
    return 0 if isinstance(rule, (FixedCombinations, OneHot)) else 1 if isinstance(rule, FunctionalDependency) else 2


def _derivation(rule: Constraint, rows: pa.Table, schema: Schema, found: Iterable[Derivation]) -> Derivation | None:
    taken = {name for each in found for name in each.makes} | {str(schema.target)}
    if isinstance(rule, (FixedCombinations, OneHot)):
        return _joint(rule.columns, rows, schema) if not taken & set(rule.columns) else None
    if isinstance(rule, FunctionalDependency):
        if taken & set(rule.columns_to):
            return None
        if len(rule.columns_from) == 1 and (rule.columns_from[0] in taken or schema[rule.columns_from[0]].discrete):
            return Lookup(rule.columns_from[0], Combinations.of(rows, rule.columns))
        return _joint(rule.columns, rows, schema) if not taken & set(rule.columns) else None
    if isinstance(rule, Inequality):
        # The one column that is learned as it is may be made elsewhere, or be the target; the others may not.
        held = [name for name in rule.columns if name in taken]
        if len(held) > 1 or any(schema[name].dtype == "uint64" for name in rule.columns):
            return None
        return Chain.fit(rule.columns, rule.columns.index(held[0]) if held else 0, rows, schema)
    return None


def _joint(names: Sequence[str], rows: pa.Table, schema: Schema) -> Joint:
    ordered = [name for name in schema.names if name in names]
    name = "&".join(ordered)
    while name in schema:
        name += "&"
    return Joint(name, Combinations.of(rows, ordered))


def _closes_a_circle(made: Derivation, found: Sequence[Derivation]) -> bool:
    """Whether what it needs is made, by however many steps, from what it makes."""
    needed, waiting = set(made.needs), list(made.needs)
    while waiting:
        name = waiting.pop()
        for each in (each for each in found if name in each.makes):
            fresh = [n for n in each.needs if n not in needed]
            needed.update(fresh)
            waiting.extend(fresh)
    return bool(needed & set(made.makes))


def _ordered(found: Sequence[Derivation]) -> list[Derivation]:
    out: list[Derivation] = []
    left = list(found)
    while left:
        unmade = {name for each in left for name in each.makes}
        ready = [each for each in left if not unmade & set(each.needs)]
        out += ready
        left = [each for each in left if each not in ready]
    return out


def rebuild(state: Mapping[str, Any], remembered: pa.Table | None) -> Derivation:
    """A derivation from what `to_state` and `remembered` gave."""
    if state["how"] == "chain":
        return Chain.from_state(state)
    if remembered is None:
        raise GeneratorError("a saved model lacks the combinations of real values that its rules need; fit the model again")
    kind = Joint if state["how"] == "joint" else Lookup
    return kind.from_state(state, remembered)
