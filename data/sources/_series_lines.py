"""How do readings of one thing, in whatever order and rate they came, become stretches of even steps without holes?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from data.errors import DataError

Array = np.ndarray
How = Literal["auto", "mean", "last", "majority"]

#: Seconds of the units that spans are written in.
UNITS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
#: Steps this near to the usual one are it, as a share; the share of all steps that must be, for even readings.
NEAR, EVEN = 0.1, 0.8
#: Readings that a hole may lack at most to be filled in, where nothing is stated.
HOLE = 3


@dataclass(frozen=True)
class Line:
    """What was read of one entity, moment by moment.

    times: (n,) float64 seconds since 1970; values: (channels, n) float64, NaN where nothing was read, positions among its
    levels for a channel that has some; labels: (n,) int64 positions among the classes of the readings, -1 for none;
    attributes: what does not change; level: the class of every window of it, None where events name them."""

    entity: str
    times: Array
    values: Array
    labels: Array | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    level: str | None = None

    def take(self, places: Array) -> Line:
        """The readings at these positions."""
        labels = None if self.labels is None else self.labels[places]
        return replace(self, times=self.times[places], values=self.values[:, places], labels=labels)

    @property
    def usual(self) -> float:
        """The usual step in seconds; NaN for one reading."""
        return float(np.median(np.diff(self.times))) if len(self.times) > 1 else float("nan")


def seconds(text: str | int | float, what: str) -> float:
    """Seconds of a span as it is written, 8h -> 28800.0. Raises DataError, naming `what`, for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", str(text).lower())
    if match is None or match[2] not in UNITS or not float(match[1]):
        raise DataError(f"{what}: {text!r} is no span of time; write a number and one of {', '.join(UNITS)}, as in 5min")
    return float(match[1]) * UNITS[match[2]]


def is_count(value: str | int | float) -> bool:
    """Whether a stated span counts readings rather than time: 96 or "96"."""
    return isinstance(value, int) or (isinstance(value, str) and value.strip().isdigit())


def spelled(span: float) -> str:
    """Seconds as people say them: 300.0 -> "5 min"."""
    for unit in ("w", "d", "h", "min", "s", "ms"):
        count = span / UNITS[unit]
        if count >= 1:
            return f"{count:.4g} {unit}"
    return f"{span:.4g} s"


def ordered(lines: Sequence[Line], numbers: Sequence[bool], said: list[str]) -> list[Line]:
    """Each line in the order of time, what was read at one moment as one reading: the mean of numbers, the last of levels.

    said: what was repaired is added to it, a sentence each."""
    out, back, twice = [], 0, 0
    for line in lines:
        back += int((np.diff(line.times) < 0).sum())
        line = line.take(np.argsort(line.times, kind="stable"))
        first = np.flatnonzero(np.diff(line.times, prepend=-np.inf) > 0)
        twice += len(line.times) - len(first)
        out.append(line if len(first) == len(line.times) else _merged(line, first, numbers))
    if back:
        said.append(f"{_times(back)} time goes backward from one row to the next; rows are sorted by time.")
    if twice:
        said.append(f"{_rows(twice)} of a moment that was read before: merged, numbers by their mean, levels by the last.")
    return out


def _times(count: int) -> str:
    return "Once" if count == 1 else f"{count} times"


def _rows(count: int) -> str:
    return "1 row is" if count == 1 else f"{count} rows are"


def _merged(line: Line, first: Array, numbers: Sequence[bool]) -> Line:
    """Readings of one moment as one; a label is the last that is there."""
    groups = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(line.times))))
    values = _gathered(line.values, groups, ["mean" if number else "last" for number in numbers])
    labels = None if line.labels is None else _most(line.labels, groups)
    return replace(line, times=line.times[first], values=values, labels=labels)


def _gathered(values: Array, groups: Array, how: Sequence[str]) -> Array:
    """(channels, n) and (n,) ascending groups 0.. -> (channels, groups), NaN where a group holds no reading."""
    out = np.full((len(values), int(groups[-1]) + 1), np.nan)
    for c, rule in enumerate(how):
        known = np.flatnonzero(np.isfinite(values[c]))
        if not len(known):
            continue
        read, of = values[c, known], groups[known]
        if rule == "mean":
            counts = np.bincount(of, minlength=out.shape[1])
            sums = np.bincount(of, weights=read, minlength=out.shape[1])
            out[c] = np.divide(sums, counts, out=np.full(out.shape[1], np.nan), where=counts > 0)
        elif rule == "last":
            out[c, of] = read  # of several the last one stays
        else:
            levels, codes = np.unique(read, return_inverse=True)
            pairs, counts = np.unique(of * len(levels) + codes, return_counts=True)
            order = np.lexsort((-pairs, counts))  # the most frequent comes last, of two the smaller
            out[c, pairs[order] // len(levels)] = levels[pairs[order] % len(levels)]
    return out


def _most(labels: Array, groups: Array) -> Array:
    """Of each group the last label that is one, -1 where there is none."""
    out = np.full(int(groups[-1]) + 1, -1, dtype=np.int64)
    known = np.flatnonzero(labels >= 0)
    out[groups[known]] = labels[known]
    return out


def resampled(line: Line, period: float, numbers: Sequence[bool], how: How) -> Line:
    """One reading every `period` seconds, of what was read from then on until the next; none where nothing was.

    Moments are multiples of the period since 1970. how: auto takes the mean of numbers and the majority of levels."""
    slots = np.floor(line.times / period + 1e-9).astype(np.int64)
    found, groups = np.unique(slots, return_inverse=True)
    rules = [
        ("mean" if number else "majority") if how == "auto" or (how == "mean" and not number) else how for number in numbers
    ]
    return replace(line, times=found * period, values=_gathered(line.values, groups, rules), labels=None)


def rate(lines: Sequence[Line]) -> float | None:
    """Seconds from one reading to the next, where most steps are that long; None where they come as they come.

    Lines may differ in their rates: then it is that of the first."""
    steps = [np.diff(line.times) / line.usual for line in lines if len(line.times) > 1]
    if not steps:
        return None
    of_all = np.concatenate(steps)
    if np.mean(np.abs(of_all - 1) <= NEAR) < EVEN:
        return None
    return _round(next(line for line in lines if len(line.times) > 1))


def _round(line: Line) -> float:
    """The usual step; jitter is averaged out."""
    steps = np.diff(line.times)
    near = steps[np.abs(steps / line.usual - 1) <= NEAR]
    middle = float(np.median(near))
    return middle if np.mean(np.abs(near / middle - 1) < 1e-6) > 0.5 else float(near.mean())


def common(lines: Sequence[Line]) -> float | None:
    """The coarsest rate, in seconds, where lines were read at several; None where all were read at one.

    Raises DataError where one is no multiple of another: no rate is then common to all."""
    usual = {line.entity: line.usual for line in lines if len(line.times) > 1}
    if not usual:
        return None
    slow, fast = max(usual, key=lambda name: usual[name]), min(usual, key=lambda name: usual[name])
    coarse = usual[slow]
    if coarse / usual[fast] - 1 <= NEAR:
        return None
    for name, step in usual.items():
        if abs(coarse / step - round(coarse / step)) > NEAR:
            raise DataError(
                f"{slow!r} is read every {spelled(coarse)} and {name!r} every {spelled(step)}, which fit no common rate; state "
                "data.resample, as in 5min"
            )
    return coarse


def stretches(
    lines: Sequence[Line], period: float | None, numbers: Sequence[bool], gaps: float | None, said: list[str]
) -> list[Line]:
    """The lines without holes, cut where these are too long.

    period: of even readings, which are put on a grid; None: as they come. gaps: readings, with a period, else seconds, that a
    hole may last to be bridged: numbers by a straight line, levels by the last one; None: HOLE readings, and as long as it
    likes where readings come as they come. A channel that lacks more than that stays without readings there."""
    out: list[Line] = []
    holes = filled = longest = 0.0
    limit = int(gaps) if gaps is not None and period else HOLE
    for line in lines:
        steps = np.diff(line.times)
        jumps = np.maximum(np.rint(steps / period), 1) - 1 if period else steps
        most = limit if period else (gaps if gaps is not None else np.inf)
        cuts = np.flatnonzero(jumps > most) + 1
        holes += len(cuts)
        longest = max(longest, float(steps[cuts - 1].max(initial=0)))
        for some in np.split(np.arange(len(line.times)), cuts):
            piece = _on_grid(line.take(some), period) if period else line.take(some)
            values, count = _bridged(piece.values, numbers, limit)
            filled += count
            out.append(replace(piece, values=values))
    if filled:
        said.append(f"{int(filled)} missing readings in holes of at most {limit} are filled in between those around them.")
    if holes:
        many = "1 hole" if holes == 1 else f"{int(holes)} holes"
        said.append(f"{many} without readings, the longest of {spelled(longest)}, cut the series: no window lies across one.")
    return out


def _on_grid(line: Line, period: float) -> Line:
    """The line with a reading each period, NaN where there was none; small errors of time do not add up."""
    places = np.concatenate([[0], np.cumsum(np.maximum(np.rint(np.diff(line.times) / period), 1))]).astype(np.int64)
    count = int(places[-1]) + 1
    values = np.full((len(line.values), count), np.nan)
    values[:, places] = line.values
    times = np.interp(np.arange(count), places, line.times)
    return replace(line, times=times, values=values, labels=None)


def _bridged(values: Array, numbers: Sequence[bool], limit: int) -> tuple[Array, int]:
    """Runs of at most `limit` missing readings filled in; and how many readings that were."""
    out, count = values.copy(), 0
    if limit < 1:
        return out, 0
    for c, number in enumerate(numbers):
        known = np.flatnonzero(np.isfinite(values[c]))
        if len(known) < 2 or len(known) == values.shape[1]:
            continue
        gone = np.flatnonzero(~np.isfinite(values[c]))
        after = np.searchsorted(known, gone)
        gone, after = (kept[(after > 0) & (after < len(known))] for kept in (gone, after))
        short = known[after] - known[after - 1] - 1 <= limit
        gone, after = gone[short], after[short]
        out[c, gone] = np.interp(gone, known, values[c, known]) if number else values[c, known[after - 1]]
        count += len(gone)
    return out, count
