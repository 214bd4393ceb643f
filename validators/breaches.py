"""How many values break each rule of a schema? Every row is counted, batch by batch, in memory that does not grow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

from data.combinations import marks, present
from data.constraints import Constraint, Unique
from data.dataset import Dataset
from data.schema import Column, arrow_type
from validators.stats import Array

Kind = Literal["columns", "type", "range", "levels", "filled", "unique", "constraint", "order"]

#: Distinct unseen levels that are counted by name in a column; those met after so many are counted without one.
NAMED = 1000
#: Values of an id column compared at a time, as 8-byte hashes: more are compared in several passes over that column.
HELD = 8_000_000


@dataclass(frozen=True)
class Rule:
    """What values must be.

    column: "" for the table; kind: "columns" (these are there), "type", "range", "levels", "filled", "unique", "constraint",
    a rule over several columns that knows the training rows, or "order", such a rule that nobody stated.
    hard: the plan declared it or it lies in the nature of things, so that no value may break it. Otherwise as many may as
    a rate of `share` explains, all but `alpha` of the time. names: the columns of "columns"; levels: the values of
    "levels"; low, high: the bounds of "range", None for none."""

    column: str
    kind: Kind
    hard: bool = True
    names: tuple[str, ...] = ()
    levels: tuple[Any, ...] = ()
    low: Any = None
    high: Any = None
    share: float = 0.0
    alpha: float = 0.0
    constraint: Constraint | None = None

    @property
    def over(self) -> tuple[str, ...]:
        """The columns that it speaks of."""
        return tuple(self.constraint.columns) if self.constraint is not None else (self.column,)

    def allowed(self, rows: int) -> int:
        """How many of so many values may break the rule."""
        return 0 if self.hard or not rows else int(stats.binom.ppf(1 - self.alpha, rows, self.share))


@dataclass
class Count:
    """What became of a rule. rows: values looked at, nulls left out where they cannot break it; broken: those that break it;
    named: unseen levels and how often each stands there, most frequent first."""

    rows: int = 0
    broken: int = 0
    named: dict[str, int] = field(default_factory=dict)

    def add(self, other: Count) -> None:
        """Take in the count of further rows."""
        self.rows += other.rows
        self.broken += other.broken
        for name, times in other.named.items():
            # Full once is full for good: so a name is counted from its first appearance on, or not at all.
            if name in self.named or len(self.named) < NAMED:
                self.named[name] = self.named.get(name, 0) + times


def count(rows: Dataset, rules: Sequence[Rule]) -> list[Count]:
    """The count of every rule over all rows, in the order of the rules.

    Columns of a rule must be there, and their values must be of the kind that the rule speaks of (see `matches`)."""
    totals = [Count() for _ in rules]
    places: dict[str, list[int]] = {}
    kept: dict[int, Constraint] = {}
    for place, rule in enumerate(rules):
        if rule.kind in ("range", "levels", "filled"):
            places.setdefault(rule.column, []).append(place)
        elif rule.constraint is not None and not isinstance(rule.constraint, Unique):
            kept[place] = rule.constraint
        else:
            totals[place] = _apart(rows, rule)
    if not places and not kept:
        return totals

    def work(batch: pa.RecordBatch, _: int) -> list[Count]:
        columns = (_values(batch.column(name)) for name in places)
        one = [_count(rules[i], values) for values, where in zip(columns, places.values(), strict=True) for i in where]
        return one + [Count(batch.num_rows, int((~each.holds(batch)).sum())) for each in kept.values()]

    order = [*(i for where in places.values() for i in where), *kept]
    names = [*places, *(name for each in kept.values() for name in each.columns)]
    for part in rows.scan(work, columns=list(dict.fromkeys(names))):
        for i, counted in zip(order, part, strict=True):
            totals[i].add(counted)
    for total in totals:
        total.named = dict(sorted(total.named.items(), key=lambda each: (-each[1], each[0])))
    return totals


def _apart(rows: Dataset, rule: Rule) -> Count:
    """The count of a rule that no single batch can answer."""
    if rule.kind == "columns":
        there = rows.source.schema.names
        lacking = [name for name in rule.names if name not in there]
        return Count(len(rule.names), len(lacking), dict.fromkeys(lacking, 1))
    if rule.kind == "unique":
        return Count(*repeated(rows, rule.column))
    if isinstance(rule.constraint, Unique):
        return Count(rows.num_rows, repeats(rule.constraint, rows))
    column = rows.schema[rule.column]
    total = rows.num_rows
    if matches(column, rows):
        return Count(total, 0)
    strange = _strange(rows, column)
    return Count(total, sum(strange.values()) or total, strange)


def repeats(constraint: Unique, rows: Dataset) -> int:
    """Rows whose combination an earlier one holds."""
    names = list(dict.fromkeys(constraint.columns))
    parts = list(rows.scan(lambda batch, _: marks(batch, names)[present(batch, names)], columns=names))
    seals = np.sort(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.uint64)
    return int(np.count_nonzero(seals[1:] == seals[:-1]))


def _strange(rows: Dataset, column: Column) -> dict[str, int]:
    """Texts in a column of numbers or times that are none, and how often each stands there; empty where that is not it."""
    if coarse(rows.source.schema.field(column.name).type) != "text":
        return {}
    wanted = arrow_type(column.dtype)
    counted = pc.value_counts(rows.column(column.name).combine_chunks().drop_null())
    out: dict[str, int] = {}
    for value, times in zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True):
        try:
            pa.array([value.strip()], pa.string()).cast(pa.float64() if pa.types.is_integer(wanted) else wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            out[value] = out.get(value, 0) + times
    return dict(sorted(out.items(), key=lambda each: (-each[1], each[0])))


def _values(values: pa.Array) -> pa.Array:
    """A column with one kind of null and without a dictionary."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_floating(values.type):
        missing = pc.is_nan(values)
        if pc.any(missing).as_py():
            values = pc.if_else(pc.fill_null(missing, False), pa.scalar(None, values.type), values)
    return values


def _count(rule: Rule, values: pa.Array) -> Count:
    if rule.kind == "filled":
        return Count(len(values), values.null_count)
    present = len(values) - values.null_count
    if pa.types.is_null(values.type):
        return Count()
    if rule.kind == "levels":
        unseen = _unseen(values, rule.levels)
        return Count(present, sum(unseen.values()), unseen)
    return Count(present, _outside(values, rule.low, rule.high))


def _unseen(values: pa.Array, levels: Iterable[Any]) -> dict[str, int]:
    """Values that are none of the levels, and how often each stands there, most frequent first."""
    counted = pc.value_counts(values.drop_null())
    found = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    known = set(levels)
    if pa.types.is_decimal(values.type):
        # A level that the plan states as 1.1 is the decimal 1.1.
        known |= {Decimal(str(level)) for level in levels if isinstance(level, float)}
    out: dict[str, int] = {}
    for value, times in sorted(((v, n) for v, n in found if v not in known), key=lambda each: -each[1]):
        out[str(value)] = out.get(str(value), 0) + times
    return out


def _outside(values: pa.Array, low: Any, high: Any) -> int:
    """How many values lie below `low` or above `high`; nulls lie nowhere."""
    if pa.types.is_temporal(values.type):
        values = _instants(values)
        low, high = (None if bound is None else instant(bound).to_datetime64() for bound in (low, high))
    if pa.types.is_decimal(values.type):
        return _outside_exactly(values, low, high)
    plain = values.drop_null().to_numpy(zero_copy_only=False)
    if pa.types.is_integer(values.type):
        # Beyond 2^53 a float cannot tell whole numbers apart: the bound moves, not the values.
        low, high = (_whole(bound, towards) for bound, towards in ((low, math.ceil), (high, math.floor)))
    below = 0 if low is None else np.count_nonzero(plain < low)
    return int(below + (0 if high is None else np.count_nonzero(plain > high)))


def _outside_exactly(values: pa.Array, low: Any, high: Any) -> int:
    """`_outside` for decimals, whose nearest floats may lie on the other side of a bound."""
    wide = pa.decimal256(76, values.type.scale)
    step = Decimal(1).scaleb(-values.type.scale)
    out = 0
    for bound, beyond, rounding in ((low, pc.less, ROUND_CEILING), (high, pc.greater, ROUND_FLOOR)):
        if bound is not None and math.isfinite(bound):
            nearest = Decimal(str(bound)).quantize(step, rounding, Context(prec=76))
            out += pc.sum(beyond(values.cast(wide), pa.scalar(nearest, wide))).as_py() or 0
    return out


def _whole(bound: Any, towards: Callable[[float], int]) -> Any:
    if not isinstance(bound, float):
        return bound
    return towards(bound) if math.isfinite(bound) else None


def instant(bound: str) -> pd.Timestamp:
    """An ISO 8601 text without its zone, as UTC has it."""
    found = pd.Timestamp(bound)
    return found.tz_convert("UTC").tz_localize(None) if found.tzinfo else found


def _instants(values: pa.Array) -> pa.Array:
    """Dates and times as microseconds without a zone."""
    zone = getattr(values.type, "tz", None)
    return values.cast(pa.timestamp("us", tz=zone), safe=False).cast(pa.timestamp("us"))


def repeated(rows: Dataset, name: str) -> tuple[int, int]:
    """Values of a column, nulls left out, and how many of them stand there more than once, every copy counted.

    Exact but for two values that share a 64-bit hash (in 10,000,000 values: with a probability below 3e-6). At most HELD
    hashes are held at a time: of more values, each pass over the column compares those of its own share of the hashes."""
    passes = max(1, math.ceil(rows.num_rows / HELD))
    seen = copies = 0
    for turn in range(passes):
        parts = list(rows.scan(_hashes(turn, passes), columns=[name]))
        seals = np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint64)
        seals.sort()
        same = seals[1:] == seals[:-1]
        inside = np.zeros(len(seals), dtype=bool)
        inside[1:] |= same
        inside[:-1] |= same
        seen += len(seals)
        copies += int(inside.sum())
    return seen, copies


def _hashes(turn: int, passes: int) -> Callable[[pa.RecordBatch, int], Array]:
    def work(batch: pa.RecordBatch, _: int) -> Array:
        values = _values(batch.column(0)).drop_null()
        if pa.types.is_decimal(values.type):
            values = values.cast(pa.string())
        plain = values.to_numpy(zero_copy_only=False)
        seals = np.asarray(pd.util.hash_array(plain, categorize=False), dtype=np.uint64)
        return seals if passes == 1 else seals[seals % np.uint64(passes) == turn]

    return work


def coarse(kind: pa.DataType) -> str:
    """What an Arrow type holds, coarsely: "number", "whole", "text", "truth", "time" or "null"; others by their name."""
    if pa.types.is_dictionary(kind):
        return coarse(kind.value_type)
    if pa.types.is_boolean(kind):
        return "truth"
    if pa.types.is_integer(kind):
        return "whole"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_temporal(kind):
        return "time"
    text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return "text" if any(is_text(kind) for is_text in text) else str(kind)


def matches(column: Column, rows: Dataset) -> bool:
    """Whether the values can be read as the column's type, so that its other rules can be asked; nulls alone always can."""
    found, wanted = coarse(rows.source.schema.field(column.name).type), coarse(arrow_type(column.dtype))
    return found in (wanted, "null") or {found, wanted} <= {"number", "whole"}
