"""What can a person read of a window: how high, how rough, how periodic each channel is, and which move together?"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from data.windows import Windows

Array = np.ndarray[Any, Any]

#: Columns of channels and of pairs of channels, at most: with more, each would have to miss more before it is noticed.
COLUMNS, PAIRS = 48, 10
#: Measures of a channel of numbers, the most telling first; with many channels each has but the first of them.
MEASURES = (
    "mean of {}", "deviation of {}", "roughness of {}", "trend of {}", "level shift of {}", "autocorrelation of {}",
    "greatest {}", "least {}", "period of {}", "periodic share of {}",
)  # fmt: skip
#: Level shifts are those between the means of parts of a window of this share of it.
SHIFT = 8
#: Readings that a window needs for its spectrum to be told.
LEAST_SPECTRUM = 8
#: Deviations below this share of the largest reading are those of rounding.
FLAT = 1e-6


@dataclass(frozen=True)
class Readable:
    """Which measures are taken; fixed by the real windows alone, so that all sides have the same columns.

    measures: names of `MEASURES` that each channel of numbers has; pairs: channels whose correlation is told; missing:
    channels of which readings are missing; lengths: whether windows are of several lengths; levels: of each channel of
    levels those whose share is told, by position."""

    channels: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    period: float | None
    measures: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    missing: tuple[int, ...]
    lengths: bool

    @classmethod
    def of(cls, train: Windows) -> Readable:
        """What of these windows is worth telling."""
        numbers = [c for c, levels in enumerate(train.levels) if not levels]
        levels = sum(len(each) for each in train.levels)
        room = max(COLUMNS - levels, COLUMNS // 2)
        measures = MEASURES[: int(np.clip(room // max(len(numbers), 1), 1, len(MEASURES)))]
        pairs = list(combinations(numbers, 2))
        if len(pairs) > PAIRS:
            strength = np.nan_to_num(np.abs(_correlations(train.values, pairs)))
            order = np.argsort(-np.median(strength, axis=0), kind="stable")[:PAIRS]
            pairs = [pairs[i] for i in np.sort(order)]
        gone = np.isnan(train.values) & train.inside[:, None, :]
        missing = tuple(int(c) for c in np.flatnonzero(gone.any(axis=(0, 2))))
        several = len(np.unique(train.lengths)) > 1
        return cls(train.channels, train.levels, train.period, measures, tuple(pairs), missing, several)

    def __call__(self, held: Windows) -> dict[str, Array]:
        """Column -> (n,) values, NaN where a window does not have it."""
        out: dict[str, Array] = {}
        spectra = _spectra(held, [c for c, levels in enumerate(self.levels) if not levels], self.period)
        for c, name in enumerate(self.channels):
            if self.levels[c]:
                out |= _of_levels(held, c, name, self.levels[c])
            else:
                found = _of_numbers(held.values[:, c, :].astype(np.float64), held.lengths, name) | spectra[c](name)
                out |= {measure.format(name): found[measure.format(name)] for measure in self.measures}
            if c in self.missing:
                gone = np.isnan(held.values[:, c, :]) & held.inside
                out[f"share missing of {name}"] = gone.sum(axis=1) / held.lengths
        together = _correlations(held.values, list(self.pairs))
        for i, (a, b) in enumerate(self.pairs):
            out[f"correlation of {self.channels[a]} and {self.channels[b]}"] = together[:, i]
        if self.lengths:
            out["length"] = held.lengths.astype(np.float64)
        return out


def _of_levels(held: Windows, c: int, name: str, levels: tuple[str, ...]) -> dict[str, Array]:
    """Share of the readings at each level, and how often they change: the last level's share follows from the others."""
    read = held.values[:, c, :]
    known = np.isfinite(read)
    count = np.maximum(known.sum(axis=1), 1)
    told = range(len(levels) if len(levels) > 2 else 1)
    out = {f"share of {name}={levels[k]}": ((read == k) & known).sum(axis=1) / count for k in told}
    with np.errstate(invalid="ignore"):
        steps = np.diff(read, axis=1)
    return out | {f"changes of {name}": (np.isfinite(steps) & (steps != 0)).sum(axis=1).astype(np.float64)}


def _of_numbers(read: Array, lengths: Array, name: str) -> dict[str, Array]:
    """Measures of one channel that need no spectrum; read: (n, t), NaN behind the end."""
    known = np.isfinite(read)
    some, count = known.any(axis=1), np.maximum(known.sum(axis=1), 1)
    mean = np.where(known, read, 0).sum(axis=1) / count
    apart = np.where(known, read - mean[:, None], 0)
    deviation = np.sqrt((apart**2).sum(axis=1) / count)
    t = np.arange(read.shape[1])[None, :]
    middle = (known * t).sum(axis=1) / count
    offset = np.where(known, t - middle[:, None], 0)
    slope = (offset * apart).sum(axis=1) / np.maximum((offset**2).sum(axis=1), 1e-12)
    both = known[:, 1:] & known[:, :-1]
    step = np.abs(np.where(both, read[:, 1:] - read[:, :-1], 0)).sum(axis=1) / np.maximum(both.sum(axis=1), 1)
    lagged = np.where(both, apart[:, 1:] * apart[:, :-1], 0).sum(axis=1)
    whole = (apart**2).sum(axis=1)
    # The deviation of a constant is that of rounding, and its shape says nothing.
    flat = deviation <= FLAT * np.maximum(np.abs(mean), 1e-300)
    found = {
        f"mean of {name}": mean,
        f"deviation of {name}": deviation,
        f"least {name}": np.where(known, read, np.inf).min(axis=1, initial=np.inf),
        f"greatest {name}": np.where(known, read, -np.inf).max(axis=1, initial=-np.inf),
        f"trend of {name}": slope * lengths,
        f"level shift of {name}": _shift(np.where(known, apart, 0), known, lengths),
        f"roughness of {name}": step,
        f"autocorrelation of {name}": np.where(flat, 0.0, lagged / np.maximum(whole, 1e-300)),
    }
    return {key: np.where(some, values, np.nan) for key, values in found.items()}


def _shift(apart: Array, known: Array, lengths: Array) -> Array:
    """The largest difference between the means of an eighth of a window and of the eighth before it, which tells what broke
    from what crept: (n, t), (n, t) bool, (n,) -> (n,). The level shift of Hyndman, Wang and Laptev 2015, at this width."""
    n, t = apart.shape
    total, count = (np.concatenate([np.zeros((n, 1)), np.cumsum(side, axis=1)], axis=1) for side in (apart, known))
    out = np.zeros(n)
    for width in np.unique(np.maximum(lengths // SHIFT, 1)):
        rows = np.flatnonzero(np.maximum(lengths // SHIFT, 1) == width)
        if t < 2 * width:
            continue
        sums, many = (side[rows, width:] - side[rows, :-width] for side in (total, count))
        means = np.divide(sums, many, out=np.full_like(sums, np.nan), where=many > 0)
        apart_by = np.abs(means[:, width:] - means[:, :-width])
        ends = np.arange(apart_by.shape[1])[None, :] + 2 * width
        out[rows] = np.where(np.isfinite(apart_by) & (ends <= lengths[rows, None]), apart_by, 0).max(axis=1)
    return out


@dataclass(frozen=True)
class _Spectrum:
    """The strongest period of each window, in seconds or readings, and its share of the power: (n,) each."""

    period: Array
    share: Array

    def __call__(self, name: str) -> dict[str, Array]:
        return {f"period of {name}": self.period, f"periodic share of {name}": self.share}


def _spectra(held: Windows, numbers: list[int], seconds: float | None) -> dict[int, _Spectrum]:
    out = {c: _Spectrum(np.full(len(held), np.nan), np.full(len(held), np.nan)) for c in numbers}
    filled = gapless(held.values, held.lengths)
    for length in np.unique(held.lengths):
        rows = np.flatnonzero(held.lengths == length)
        if length < LEAST_SPECTRUM:
            continue
        for c in numbers:
            power = power_of(filled[rows, c, :length])
            whole = power.sum(axis=1)
            best = power.argmax(axis=1)
            flat = whole <= (FLAT * np.abs(filled[rows, c, :length]).max(axis=1)) ** 2 * length
            seen = np.isfinite(held.values[rows, c, :length]).any(axis=1) & ~flat
            out[c].period[rows] = np.where(seen, length / (best + 1.0) * (seconds or 1.0), np.nan)
            out[c].share[rows] = np.where(seen, power[np.arange(len(rows)), best] / np.maximum(whole, 1e-300), np.nan)
    return out


def power_of(read: Array) -> Array:
    """Power at each frequency but 0 of readings without gaps, their straight line taken off: (n, t) -> (n, t // 2)."""
    t = np.arange(read.shape[1]) - (read.shape[1] - 1) / 2
    apart = read - read.mean(axis=1, keepdims=True)
    apart = apart - (apart @ t / max(float(t @ t), 1e-12))[:, None] * t
    return np.asarray(np.abs(np.fft.rfft(apart, axis=1)[:, 1:]) ** 2)


def gapless(values: Array, lengths: Array) -> Array:
    """Readings with gaps filled on straight lines, the last one held behind the end; channels without a reading are 0.

    values: (n, channels, t), NaN for what is missing; gives float64 of the same shape."""
    out = values.astype(np.float64)
    inside = np.arange(values.shape[2])[None, :] < lengths[:, None]
    known = np.isfinite(out) & inside[:, None, :]
    whole = known.all(axis=2)
    t = np.arange(values.shape[2])
    for i, c in zip(*np.nonzero(~whole), strict=True):
        some = np.flatnonzero(known[i, c])
        out[i, c] = np.interp(t, some, out[i, c, some]) if len(some) else 0.0
    return out


def _correlations(values: Array, pairs: list[tuple[int, int]]) -> Array:
    """Correlation of the channels of each pair within each window, 0 where one is constant: (n, pairs)."""
    out = np.zeros((len(values), len(pairs)))
    for i, (a, b) in enumerate(pairs):
        x, y = values[:, a].astype(np.float64), values[:, b].astype(np.float64)
        both = np.isfinite(x) & np.isfinite(y)
        count = np.maximum(both.sum(axis=1), 1)
        middles = [np.where(both, side, 0).sum(axis=1) / count for side in (x, y)]
        x, y = (np.where(both, side - middle[:, None], 0) for side, middle in zip((x, y), middles, strict=True))
        sizes = [np.sqrt((side**2).sum(axis=1)) for side in (x, y)]
        told = [size > FLAT * np.sqrt(count) * np.abs(middle) for size, middle in zip(sizes, middles, strict=True)]
        product = np.maximum(sizes[0] * sizes[1], 1e-300)
        out[:, i] = np.where(told[0] & told[1], (x * y).sum(axis=1) / product, 0.0)
    return out
