"""How are columns learned that must rise from left to right? One as it is, the others as what lies between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from data.constraints import finest, measure
from data.schema import Column, Schema, arrow_type

Array = np.ndarray
Rows: TypeAlias = pa.Table | pa.RecordBatch
DAY, SECOND = 86_400_000_000, 1_000_000
_SECONDS = {"s": SECOND, "ms": 1000, "us": 1}


@dataclass(frozen=True)
class Link:
    """One column of the chain as it is counted in steps.

    grain: steps between two values that the column can hold. decimals: of plain differences, digits that it can hold, None for
    all. gap: the column that is learned, the steps from the nearest column towards the anchor that is not missing. alone: a
    second one with the values themselves, for rows without such a neighbour; "" where train has none. low, high: in steps."""

    name: str
    dtype: str
    grain: int
    decimals: int | None
    gap: str
    alone: str
    low: float
    high: float
    nullable: bool


@dataclass(frozen=True)
class Chain:
    """Columns in rising order, all but the anchor learned as steps away from their neighbour.

    sort: "time" (steps are `step` units of time), "whole" (steps of 10^-digits, exact) or "float" (plain differences).
    Steps in train are not below 0 (or above 0 where the rule is strict), and no family leaves the range of train."""

    links: tuple[Link, ...]
    anchor: int
    sort: str
    unit: str
    step: int
    digits: int
    learned: tuple[Column, ...]

    @property
    def makes(self) -> tuple[str, ...]:
        return tuple(link.name for i, link in enumerate(self.links) if i != self.anchor)

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.links[self.anchor].name,)

    @property
    def remembered(self) -> None:
        return None

    @classmethod
    def fit(cls, names: Sequence[str], anchor: int, rows: pa.Table, schema: Schema) -> Chain:
        """The chain over the columns `names`, of which the one at `anchor` stays as it is."""
        columns = [schema[name] for name in names]
        sort, digits = _sort(columns)
        unit = finest(rows, names)
        step = _common_step(rows, names, unit) if sort == "time" else 1
        blank = tuple(_blank(c, sort, digits, unit, step) for c in columns)
        chain = cls(blank, anchor, sort, unit, step, digits, ())
        links, learned = list(blank), []
        for i, base in chain._walk():
            values, missing = chain._steps(rows, i)
            apart, orphan = chain._apart(rows, i, base)
            seen = values[~missing]
            gap = _fresh(f"{names[i]} - {names[base]}" if i > base else f"{names[base]} - {names[i]}", schema)
            alone = _fresh(f"{names[i]} alone", schema) if (orphan & ~missing).any() else ""
            low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 0.0)
            links[i] = replace(blank[i], gap=gap, alone=alone, low=low, high=high, nullable=bool(missing.any()))
            learned.append(_gap_column(gap, chain, nullable=bool((missing | orphan).any())))
            if alone:
                learned.append(replace(columns[i], name=alone))
        return cls(tuple(links), anchor, sort, unit, step, digits, tuple(learned))

    def forward(self, rows: Rows) -> dict[str, pa.Array]:
        out: dict[str, pa.Array] = {}
        for i, base in self._walk():
            link = self.links[i]
            apart, orphan = self._apart(rows, i, base)
            values, missing = self._steps(rows, i)
            none = missing | orphan
            if self.sort == "float":
                out[link.gap] = pa.array(np.where(none, 0.0, apart), pa.float64(), mask=none)
            else:
                out[link.gap] = pa.array(np.where(none, 0, apart).astype(np.int64), pa.int64(), mask=none)
            if link.alone:
                out[link.alone] = one(rows.column(link.name))
        return out

    def inverse(self, columns: Mapping[str, pa.Array]) -> tuple[dict[str, pa.Array], Array]:
        held = {self.anchor: self._read(columns[self.links[self.anchor].name], self.links[self.anchor])}
        out: dict[str, pa.Array] = {}
        fit = np.ones(len(held[self.anchor][0]), dtype=bool)
        for i, _ in self._walk():
            link, up = self.links[i], i > self.anchor
            base, orphan = self._nearest(held, i)
            apart, none = measure(columns[link.gap], "us")
            values = base + apart if up else base - apart
            missing = none | orphan
            if link.alone:
                own, missing = self._read(columns[link.alone], link)
                values = np.where(none | orphan, own, values)
            values = _to_grain(values, link, up)
            # A sum may leave the range that train has in the column, which no family does, or be missing where train never is.
            fit &= np.where(missing, link.nullable, (values >= link.low) & (values <= link.high))
            out[link.name] = self._write(np.where(missing, link.low, np.clip(values, link.low, link.high)), missing, link)
            held[i] = (values, missing)
        return out, fit

    def given(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """What of a condition on these columns can be asked of the learned ones: {learned column: value}.

        The steps between two neighbours are known where both are."""
        table = {link.name: pa.array([wanted[link.name]], arrow_type(link.dtype)) for link in self.links if link.name in wanted}
        out: dict[str, Any] = {}
        for i, base in self._walk():
            link, near = self.links[i], self.links[base]
            if {link.name, near.name} <= set(table) and wanted[link.name] is not None and wanted[near.name] is not None:
                here, there = (self._read(table[each.name], each)[0][0] for each in (link, near))
                apart = here - there if i > base else there - here
                out[link.gap] = float(apart) if self.sort == "float" else int(apart)
        return out

    def to_state(self) -> dict[str, Any]:
        return {"how": "chain", **asdict(self), "learned": Schema(self.learned).to_json()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Chain:
        links = tuple(Link(**link) for link in state["links"])
        learned = Schema.from_json(state["learned"]).columns
        rest = {key: state[key] for key in ("anchor", "sort", "unit", "step", "digits")}
        return cls(links, learned=learned, **rest)

    def _walk(self) -> list[tuple[int, int]]:
        """(place, neighbour towards the anchor), from the anchor outwards."""
        up = [(i, i - 1) for i in range(self.anchor + 1, len(self.links))]
        return up + [(i, i + 1) for i in range(self.anchor - 1, -1, -1)]

    def _apart(self, rows: Rows, i: int, base: int) -> tuple[Array, Array]:
        """Steps from the nearest column towards the anchor that is there, and rows that have none: (n,), (n,) bool."""
        between = range(self.anchor, i) if i > self.anchor else range(self.anchor, i, -1)
        near, orphan = self._nearest({j: self._steps(rows, j) for j in between}, i)
        values, _ = self._steps(rows, i)
        return (values - near if i > base else near - values), orphan

    def _nearest(self, held: Mapping[int, tuple[Array, Array]], i: int) -> tuple[Array, Array]:
        between = range(i - 1, self.anchor - 1, -1) if i > self.anchor else range(i + 1, self.anchor + 1)
        values, orphan = held[between[0]]
        for j in between[1:]:
            further, missing = held[j]
            values, orphan = np.where(orphan, further, values), orphan & missing
        return values, orphan

    def _steps(self, rows: Rows, i: int) -> tuple[Array, Array]:
        return self._read(rows.column(self.links[i].name), self.links[i])

    def _read(self, values: pa.Array | pa.ChunkedArray, link: Link) -> tuple[Array, Array]:
        numbers, missing = measure(values, "ns" if self.unit == "ns" else "us")
        if self.sort == "time":
            return numbers // self.step, missing
        if self.sort == "whole":
            return (np.rint(numbers * 10.0**self.digits).astype(np.int64) if self.digits else numbers.astype(np.int64)), missing
        return numbers.astype(np.float64), missing

    def _write(self, values: Array, missing: Array, link: Link) -> pa.Array:
        target = arrow_type(link.dtype)
        if self.sort == "time":
            zone = getattr(target, "tz", None)
            return pa.array(values.astype(np.int64) * self.step, pa.timestamp(self.unit, zone), mask=missing).cast(target)
        if pa.types.is_integer(target):
            whole = values if self.sort == "float" else values // 10**self.digits
            return pa.array(whole.astype(np.int64), pa.int64(), mask=missing).cast(target)
        numbers = values / 10.0**self.digits if self.sort == "whole" else values
        if pa.types.is_decimal(target):
            return pa.array(numbers, pa.float64(), mask=missing).cast(pa.decimal128(38, target.scale)).cast(target)
        return pa.array(numbers, pa.float64(), mask=missing).cast(target, safe=False)


def _sort(columns: Sequence[Column]) -> tuple[str, int]:
    if columns[0].kind == "datetime":
        return "time", 0
    digits = [0 if _is_whole(column) else column.decimals for column in columns]
    bounds = [abs(float(b)) for column in columns for b in (column.low, column.high) if b is not None]
    known = [d for d in digits if d is not None]
    if len(known) < len(digits) or max(bounds, default=0.0) * 10.0 ** max(known) > 2**52:
        return "float", 0
    return "whole", max(known)


def _is_whole(column: Column) -> bool:
    return pa.types.is_integer(arrow_type(column.dtype)) or column.kind == "integer"


def _blank(column: Column, sort: str, digits: int, unit: str, step: int) -> Link:
    """The column in steps, before anything is known of its values."""
    kind = arrow_type(column.dtype)
    own = 0 if _is_whole(column) else column.decimals
    grain = 10 ** (digits - own) if sort == "whole" and own is not None else 1
    if sort == "time":
        least = DAY if pa.types.is_date(kind) else _SECONDS.get(kind.unit, 1)
        grain = max(least * (1000 if unit == "ns" and getattr(kind, "unit", "") != "ns" else 1) // step, 1)
    return Link(column.name, column.dtype, grain, own if sort == "float" else None, "", "", 0.0, 0.0, True)


def _common_step(rows: pa.Table, names: Sequence[str], unit: str) -> int:
    """The longest of day, hour, minute, second, ... that every value is a multiple of, in units of time."""
    a_second = SECOND * (1000 if unit == "ns" else 1)
    values = [measure(rows.column(name), "ns" if unit == "ns" else "us") for name in names]
    there = np.concatenate([numbers[~missing] for numbers, missing in values])
    candidates = [a_second * 86400, a_second * 3600, a_second * 60, a_second, a_second // 1000, a_second // 1_000_000, 1]
    return next(step for step in candidates if step >= 1 and not (there % step).any())


def _to_grain(values: Array, link: Link, up: bool) -> Array:
    """Onto the values that the column can hold, away from the anchor, so that the order stays."""
    if link.decimals is not None:
        unit = 10.0**link.decimals
        # A sum that is meant to be 0.3 may lie a hair above it.
        return np.asarray((np.ceil(values * unit - 1e-6) if up else np.floor(values * unit + 1e-6)) / unit)
    if link.grain == 1:
        return values
    return np.asarray(-(-values // link.grain) * link.grain if up else values // link.grain * link.grain)


def _gap_column(name: str, chain: Chain, *, nullable: bool) -> Column:
    if chain.sort == "float":
        return Column(name=name, kind="numeric", dtype="double", nullable=nullable)
    return Column(name=name, kind="integer", dtype="int64", nullable=nullable)


def _fresh(name: str, schema: Schema) -> str:
    while name in schema:
        name += "'"
    return name


def one(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column in one piece, of its own type."""
    if not isinstance(values, pa.ChunkedArray):
        return values
    return values.chunk(0) if values.num_chunks == 1 else pa.concat_arrays(values.chunks)
