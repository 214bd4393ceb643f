"""How do dates and times become whole numbers that tell weekdays and hours, and how do these become moments again?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from data.encode_bins import BIN_ROWS, BINS, GRID_ROWS, GRID_SHARE, cut
from data.encode_columns import NumberTokens
from data.encode_values import Scale, Values, cast_whole, whole_numbers
from data.schema import Column, arrow_type

Array: TypeAlias = np.ndarray
#: Most tokens for the week within a bin of days; longer bins have several weeks for each.
WEEKS = 16
#: Units of a day by the unit of a timestamp; dates count days.
DAY_UNITS = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


@dataclass(frozen=True)
class MomentTokens:
    """A column of dates or times. Tokens of the first field are bins of days of about equal mass, then null; of the second the
    weekday; of the third the week within the bin; those of the others are the time of day, as a number has them.

    So what depends on the weekday or the hour can be learned, and moments that are drawn keep to the weekdays and hours that
    train has. Within a week of a bin a day is drawn from train's own ones where days repeat, else any of that weekday.

    Fields:
        scale: the whole moments, in the column's own type. units: of a day.
        days: (m,) ascending days since 1970-01-01 that train holds; mass: (m,) rows of each.
        first: (bins + 1,) where each bin begins among the days. grid: whether train's days alone are drawn.
        clock: the time of day, None where all moments are midnight."""

    name: str
    scale: Scale
    units: int
    days: Array
    mass: Array
    first: Array
    grid: bool
    nulls: bool
    clock: NumberTokens | None

    @classmethod
    def fit(cls, values: Values, column: Column) -> MomentTokens:
        """values: dates or timestamps, one at least."""
        scale = Scale.fit(values, column)
        units = units_of(arrow_type(column.dtype))
        raw = whole_numbers(values, column.name)
        missing = np.asarray(raw.is_null().to_numpy(zero_copy_only=False))
        seen = raw.drop_null().to_numpy(zero_copy_only=False)
        days, counts = np.unique(seen // units, return_counts=True)
        rest = seen % units
        clock = None
        if rest.any():
            number = Column(name=column.name, kind="integer", dtype="int64")
            clock = NumberTokens.fit(pa.array(rest), number)
        often = np.flatnonzero(counts >= len(seen) / BINS)
        first = cut(counts.astype(np.float64), np.concatenate([often, often + 1]), np.empty(0, dtype=np.int64), BIN_ROWS)
        grid = bool(counts[counts >= GRID_ROWS].sum() >= GRID_SHARE * len(seen))
        return cls(column.name, scale, units, days, counts.astype(np.float64), first, grid, bool(missing.any()), clock)

    @property
    def bins(self) -> int:
        return len(self.first) - 1

    @property
    def sizes(self) -> tuple[int, ...]:
        return (
            self.bins + self.nulls,
            len(self._weekdays()),
            int(self._weeks().max()),
            *(self.clock.sizes if self.clock else ()),
        )

    def _weekdays(self) -> Array:
        """The weekdays that train has, Monday 0: one that it has not is never drawn."""
        return np.unique((self.days + 3) % 7)

    def _monday(self) -> Array:
        """The Monday on or before the first day of each bin: (bins,) days."""
        begins = self.days[self.first[:-1]]
        return np.asarray(begins - (begins + 3) % 7)

    def _span(self) -> Array:
        """Weeks that each bin touches: (bins,)."""
        return np.asarray((self.days[self.first[1:] - 1] - self._monday()) // 7 + 1)

    def _group(self) -> Array:
        """Weeks that one token stands for, in each bin: (bins,)."""
        return np.asarray(-(-self._span() // WEEKS))

    def _weeks(self) -> Array:
        """Tokens of weeks that each bin has: (bins,)."""
        return np.asarray(-(-self._span() // self._group()))

    def encode(self, values: Values) -> Array:
        """(n, fields) int64. A moment never seen gets the bin and week that are nearest; a null never seen -1."""
        raw = whole_numbers(values, self.name)
        missing = np.asarray(raw.is_null().to_numpy(zero_copy_only=False))
        return self._split(np.asarray(raw.fill_null(0).to_numpy(zero_copy_only=False)), missing)

    def _split(self, raw: Array, missing: Array) -> Array:
        day = raw // self.units
        place = np.searchsorted(self.days[self.first[1:-1]], day, side="right")
        week = np.clip((day - self._monday()[place]) // 7 // self._group()[place], 0, self._weeks()[place] - 1)
        null = self.bins if self.nulls else -1
        weekday = np.full(7, -1)
        weekday[self._weekdays()] = np.arange(len(self._weekdays()))
        parts = [np.where(missing, null, place), np.where(missing, 0, weekday[(day + 3) % 7]), np.where(missing, 0, week)]
        out = np.stack(parts, axis=1).astype(np.int64)
        if self.clock is None:
            return out
        clock = self.clock.encode(pa.array(raw % self.units))
        return np.concatenate([out, np.where(missing[:, None], 0, clock)], axis=1)

    def decode(self, tokens: Array, rng: np.random.Generator) -> pa.Array:
        """(n, fields) tokens to moments of the column's own type."""
        missing = tokens[:, 0] >= self.bins
        place = np.minimum(tokens[:, 0], self.bins - 1)
        raw = self._days(place, self._weekdays()[tokens[:, 1]], tokens[:, 2], rng) * self.units
        if self.clock is not None:
            raw = raw + self.clock.decode(tokens[:, 3:], rng).to_numpy(zero_copy_only=False).astype(np.int64)
        # The least and the greatest moment of train bound what is drawn; both lie on the steps of its clock.
        low, high = (int(round(end)) * self.scale.step + self.scale.base for end in (self.scale.low, self.scale.high))
        return cast_whole(pa.array(np.clip(raw, low, high), mask=missing), arrow_type(self.scale.dtype))

    def _days(self, place: Array, weekday: Array, week: Array, rng: np.random.Generator) -> Array:
        """A day for each row: of train's days in that bin, week and of that weekday one by its rows; where train has none, or
        its days hardly repeat, any day there is."""
        monday, group, weeks = self._monday()[place], self._group()[place], self._weeks()[place]
        week = np.minimum(week, weeks - 1)
        pick = np.floor(rng.random(len(place)) * group).astype(np.int64)
        any_day = monday + 7 * (week * group + pick) + weekday
        low, high = self.days[self.first[place]], self.days[self.first[place + 1] - 1]
        # Weekdays are kept at the ends of a bin where it is a week long at least.
        any_day = np.where(any_day < low, any_day + 7 * -((any_day - low) // 7), any_day)
        any_day = np.where(any_day > high, any_day - 7 * -((high - any_day) // 7), any_day)
        any_day = np.clip(any_day, low, high)
        bins = np.repeat(np.arange(self.bins), np.diff(self.first))
        own_week = (self.days - self._monday()[bins]) // 7 // self._group()[bins]
        cell = (bins * 7 + (self.days + 3) % 7) * WEEKS + own_week
        order = np.argsort(cell, kind="stable")
        cells, upto = cell[order], np.concatenate([[0.0], np.cumsum(self.mass[order])])
        wanted = (place * 7 + weekday) * WEEKS + week
        start, end = np.searchsorted(cells, wanted, side="left"), np.searchsorted(cells, wanted, side="right")
        at = upto[start] + rng.random(len(place)) * (upto[end] - upto[start])
        found = np.clip(np.searchsorted(upto, at, side="right") - 1, start, np.maximum(end - 1, start)).clip(max=len(order) - 1)
        return np.asarray(np.where((end > start) & (self.grid | (group == 1)), self.days[order[found]], any_day))

    def given(self, value: float | None) -> tuple[int, ...]:
        """The tokens of a moment in the scale's units, or of null.

        Raises KeyError for a moment outside train's range or on a weekday that train has not, or null where it has none."""
        known = self.nulls if value is None else self.scale.low <= value <= self.scale.high
        if not known:
            raise KeyError(value)
        raw = 0 if value is None else int(round(value)) * self.scale.step + self.scale.base
        tokens = self._split(np.array([raw]), np.array([value is None]))[0]
        if (tokens < 0).any():
            raise KeyError(value)
        return tuple(int(token) for token in tokens)

    def outside(self, values: Values) -> Array:
        """Which moments lie beyond train's first and last: (n,) bool."""
        seen = self.scale.read(values, self.name)
        return np.asarray((seen < self.scale.low) | (seen > self.scale.high))

    def ranks(self) -> Array:
        """The place of each token along time, of a week in its bin and of the clock in the day; NaN for weekdays and null."""
        bins, weeks = self.bins, self.sizes[2]
        parts = [
            (np.arange(bins) + 0.5) / bins,
            np.full(int(self.nulls) + self.sizes[1], np.nan),
            (np.arange(weeks) + 0.5) / weeks,
        ]
        return np.concatenate([*parts, *([self.clock.ranks()] if self.clock else [])])

    def to_state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"name": self.name, "scale": vars(self.scale), "units": self.units, "grid": self.grid}
        state |= {"nulls": self.nulls, "clock": self.clock.to_state() if self.clock else None}
        return state | {name: getattr(self, name).tolist() for name in ("days", "mass", "first")}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> MomentTokens:
        clock = NumberTokens.from_state(state["clock"]) if state["clock"] else None
        days, first = (np.array(state[name], dtype=np.int64) for name in ("days", "first"))
        mass = np.array(state["mass"], dtype=np.float64)
        scale = Scale(**state["scale"])
        return cls(state["name"], scale, state["units"], days, mass, first, state["grid"], state["nulls"], clock)


def units_of(kind: pa.DataType) -> int:
    """Units of a day in which moments of an Arrow type count; 0 for a type without days."""
    if pa.types.is_timestamp(kind):
        return DAY_UNITS[kind.unit]
    if pa.types.is_date64(kind):
        return DAY_UNITS["ms"]
    return 1 if pa.types.is_date32(kind) else 0
