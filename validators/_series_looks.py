"""Can every synthetic window be used as it is: does it have the channels, lengths and levels, and readings that can be?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.errors import DataError
from data.schema import Column
from data.windows import CLASS, SERIES, Windows, windows
from validators.base import Culprit, Evidence, Finding
from validators.stats import clopper_pearson

Array = np.ndarray[Any, Any]

CHECK = "schema"
#: Where `prepare_series` leaves what was found.
MEMO = "looks"
#: Part of the check's alpha for each rule that real windows may break.
RULE_ALPHA = 0.05
#: Shares of a channel's range by which a reading may lie beyond it and still be of its kind.
BEYOND = 0.5
SHOWN = 5

#: Rule -> what a window that breaks it is.
RULES: Mapping[str, str] = {
    "channels": "windows with another number of channels, or without readings",
    "even": "windows whose channels are of several lengths",
    "class": "windows of a class that is none",
    "length": "windows of a length that no real one has",
    "finite": "windows with infinite readings",
    "missing": "windows that miss readings in a channel that never misses one",
    "levels": "windows with a level that is none",
    "sign": "windows with readings below zero (or above it) where no real one is",
    "attributes": "windows with an attribute that is none, or lacks",
    "range": "windows with readings far outside of the real ones",
    "frozen": "windows with a channel that stands still",
}
#: Rules that a real window may break by chance.
SOFT = ("range", "frozen")
#: Rules for whose breach a window cannot be judged at all.
UNFIT = ("channels", "even", "class")


@dataclass(frozen=True)
class Looked:
    """Synthetic windows as they were found. windows: those that can be judged; places: (k,) their positions in the set; rows:
    how many were looked at; broken: rule -> positions of the windows that break it; real: rule -> how many real windows break
    it, and of how many, where some may; told: rule -> the channel or attribute that is most often at fault."""

    windows: Windows
    places: Array
    rows: int
    broken: Mapping[str, Array]
    real: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What a synthetic window must be like. low, high: (channels,) least and greatest reading of the real windows; missing:
    (channels,) bool, whether real windows miss readings there; lengths: shortest and longest; attributes: their columns, and
    which of them real windows lack at times."""

    channels: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    low: Array
    high: Array
    missing: Array
    lengths: tuple[int, int]
    attributes: tuple[Column, ...]
    lacking: frozenset[str]
    real: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, real: Sequence[Windows], attributes: Sequence[Column]) -> Wanted:
        """What the real windows are like."""
        first = real[0]
        with np.errstate(invalid="ignore"):
            low = np.min([np.fmin.reduce(side.values, axis=(0, 2), initial=np.inf) for side in real], axis=0)
            high = np.max([np.fmax.reduce(side.values, axis=(0, 2), initial=-np.inf) for side in real], axis=0)
        gone = np.any([(np.isnan(side.values) & side.inside[:, None, :]).any(axis=(0, 2)) for side in real], axis=0)
        lengths = min(int(side.lengths.min()) for side in real), max(int(side.lengths.max()) for side in real)
        lacking = frozenset(c.name for c in attributes if any(side.attributes.column(c.name).null_count for side in real))
        known = cls(first.channels, first.levels, low, high, gone, lengths, tuple(attributes), lacking)
        rows = sum(len(side) for side in real)
        still = sum(int(known.frozen(side).any(axis=1).sum()) for side in real)
        return replace(known, real={"range": (0, rows), "frozen": (still, rows)})

    def frozen(self, held: Windows) -> Array:
        """Whether a channel of numbers keeps one value throughout a window: (n, channels) bool."""
        numbers = np.array([not levels for levels in self.levels])
        with np.errstate(invalid="ignore"):
            low = np.fmin.reduce(held.values, axis=2, initial=np.inf)
            high = np.fmax.reduce(held.values, axis=2, initial=-np.inf)
        # A channel that never moves in the real windows, as a set point may not, is no fault.
        moves = self.high > self.low
        return np.asarray((high <= low) & numbers & moves & (held.lengths > 2)[:, None])


def look(rows: Dataset, wanted: Wanted) -> Looked:
    """Every synthetic window held against what is wanted.

    Raises DataError when there is no window, or none that could be judged at all."""
    total = rows.num_rows
    if not total:
        raise DataError("there are no synthetic windows to judge")
    table = rows.table
    broken = _unfit(table, rows, len(wanted.channels))
    fit = np.ones(total, dtype=bool)
    for rule in UNFIT:
        fit[broken[rule]] = False
    if not fit.any():
        rule = max(UNFIT, key=lambda name: len(broken[name]))
        raise DataError(f"none of {total} synthetic windows can be judged: all are {RULES[rule]}")
    places = np.flatnonzero(fit)
    held = windows(Dataset(table.take(pa.array(places)), rows.schema))
    told: dict[str, str] = {}
    for rule, faults in _faults(held, wanted).items():
        broken[rule] = places[faults.any(axis=1)]
        if faults.any():
            told[rule] = wanted.channels[int(faults.sum(axis=0).argmax())]
    strange = _strange(held, wanted)
    broken["attributes"] = places[np.any(list(strange.values()), axis=0)] if strange else places[:0]
    if len(broken["attributes"]):
        told["attributes"] = max(strange, key=lambda name: int(strange[name].sum()))
    shortest, longest = wanted.lengths
    broken["length"] = places[(held.lengths < shortest) | (held.lengths > longest)]
    return Looked(_finite(held), places, total, {rule: broken[rule] for rule in RULES}, wanted.real, told)


def _unfit(table: pa.Table, rows: Dataset, channels: int) -> dict[str, Array]:
    """Positions of the windows that break a rule for which they cannot be judged."""
    column = table.column(SERIES).combine_chunks()
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    here = np.asarray(whole.is_valid().to_numpy(zero_copy_only=False), dtype=bool)
    lists = [each if ok else None for each, ok in zip(whole, here, strict=True)]
    sizes = [None if each is None or each.values is None else [len(part.values) if part.is_valid else -1 for part in each]
             for each in lists]  # fmt: skip
    wrong = [i for i, size in enumerate(sizes) if size is None or len(size) != channels or max(size, default=0) < 1]
    uneven = [i for i, size in enumerate(sizes) if size is not None and len(size) == channels and len(set(size)) > 1]
    uneven = [i for i in uneven if i not in set(wrong)]
    none = np.flatnonzero(rows.labels() < 0) if CLASS in rows.schema else np.zeros(0, dtype=np.int64)
    return {"channels": np.array(wrong, dtype=np.int64), "even": np.array(uneven, dtype=np.int64), "class": none}


def _faults(held: Windows, wanted: Wanted) -> dict[str, Array]:
    """Rule -> (n, channels) bool, which channel of which window breaks it."""
    read = held.values
    numbers = np.array([not levels for levels in wanted.levels])
    counts = np.array([len(levels) for levels in wanted.levels])
    with np.errstate(invalid="ignore"):
        low = np.fmin.reduce(read, axis=2, initial=np.inf)
        high = np.fmax.reduce(read, axis=2, initial=-np.inf)
        room = BEYOND * np.maximum(wanted.high - wanted.low, 1e-6 * np.abs(wanted.high))
        outside = (np.where(np.isfinite(low), low, np.inf) < wanted.low - room) | (
            np.where(np.isfinite(high), high, -np.inf) > wanted.high + room
        )
        no_level = (read != np.floor(read)) & ~np.isnan(read) | (read < 0) | (read >= counts[None, :, None])
    gone = (np.isnan(read) & held.inside[:, None, :]).any(axis=2)
    return {
        "finite": np.isinf(read).any(axis=2),
        "missing": gone & ~wanted.missing,
        "levels": no_level.any(axis=2) & ~numbers,
        "sign": (((low < 0) & (wanted.low >= 0)) | ((high > 0) & (wanted.high <= 0))) & numbers,
        "range": outside & numbers,
        "frozen": wanted.frozen(held),
    }


def _strange(held: Windows, wanted: Wanted) -> dict[str, Array]:
    """Attribute -> (n,) bool, whether its value is none that it can have, or lacks."""
    out = {}
    for column in wanted.attributes:
        values = held.attributes.column(column.name)
        missing = np.asarray(values.is_null(nan_is_null=True).to_numpy(zero_copy_only=False), dtype=bool)
        wrong = missing if column.name not in wanted.lacking else np.zeros(len(held), dtype=bool)
        if column.discrete:
            known = set(column.categories)
            wrong = wrong | np.array([value is not None and value not in known for value in values.to_pylist()], dtype=bool)
        out[column.name] = wrong
    return out


def _finite(held: Windows) -> Windows:
    """Infinite readings are missing for the other checks, as this one blocks for them."""
    return replace(held, values=np.where(np.isinf(held.values), np.float32(np.nan), held.values))


@dataclass(frozen=True)
class SeriesLooksCheck:
    """Every synthetic window has the channels, a length and attributes that occur, finite readings, levels that exist, no
    reading on the side of zero where no real one is, none missing where none ever is, and readings about where real ones are.

    Each rule is hard but two: readings far outside of the real ones, and channels that stand still, may be in as many windows
    as the real ones explain (Clopper-Pearson, at a small part of the check's alpha)."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises KeyError for evidence that `prepare_series` did not make."""
        looked: Looked = evidence.memo[MEMO]
        alpha = evidence.intent.level(CHECK) * RULE_ALPHA
        allowed = dict.fromkeys(RULES, 0) | {rule: _allowed(*known, looked.rows, alpha) for rule, known in looked.real.items()}
        failed = [rule for rule, places in looked.broken.items() if len(places) > allowed[rule]]
        failed.sort(key=lambda rule: -len(looked.broken[rule]))
        return Finding(
            CHECK,
            "BLOCK" if failed else "PASS",
            value=float(len(failed)),
            limit=0.0,
            reference=0.0,
            summary=_summary(looked, failed),
            culprits=tuple(
                Culprit(cell=_said(looked, rule), expected=allowed[rule], observed=len(looked.broken[rule])) for rule in failed
            ),
            details={
                "expectations": len(RULES),
                "failed": [
                    {"column": looked.told.get(rule, ""), "rule": RULES[rule], "broken": len(looked.broken[rule]),
                     "rows": looked.rows, "allowed": allowed[rule]} for rule in failed
                ],
                **({"advice": ADVICE} if failed else {}),
            },
        )  # fmt: skip


ADVICE = "correct what the generator writes: the summary names the windows; then draw and judge anew"


def _allowed(broken: int, real: int, rows: int, alpha: float) -> int:
    """How many of `rows` synthetic windows may break a rule that `broken` of `real` ones break."""
    return int(np.ceil(clopper_pearson(broken, real, 2 * alpha)[1] * rows))


def _said(looked: Looked, rule: str) -> str:
    return f"{RULES[rule]} ({looked.told[rule]})" if rule in looked.told else RULES[rule]


def _summary(looked: Looked, failed: Sequence[str]) -> str:
    if not failed:
        return f"every one of {looked.rows} windows has the channels, a length and readings that can be"
    places = looked.broken[failed[0]]
    named = ", ".join(str(place) for place in places[:SHOWN]) + (" and others" if len(places) > SHOWN else "")
    more = f", and {len(failed) - 1} more rules are broken" if len(failed) > 1 else ""
    return f"{len(places)} of {looked.rows} are {_said(looked, failed[0])} (numbers {named}){more}"
