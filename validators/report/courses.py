"""How does a channel run, really and synthetically: its course, its spectrum, its memory?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from data.windows import Windows
from validators._series_measures import LEAST_SPECTRUM, gapless, power_of
from validators.report import svg
from validators.report.text import crop, figure, share, tick

Array = np.ndarray[Any, Any]

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 260.0, 134.0, 46.0, 6.0, 112.0
#: Room above the highest and below the lowest reading of a scale.
ROOM = 3.0
#: Ends of the band over time, in percent, and windows for which one is drawn.
BAND, FOR_BAND = (10.0, 90.0), 5
#: Windows that spectra and memory are taken of, at most; places on their axes; lags as a share of the length.
MEASURED, PLACES, LAGS = 400, 32, 0.5
#: Power below this share of the greatest is that of rounding.
FAINT = 1e-8


@dataclass(frozen=True)
class Axis:
    """Where readings stand in a panel. low, high: the ends of the scale; steps: readings of the longest window; period:
    seconds between readings, None where they come as they come."""

    low: float
    high: float
    steps: int
    period: float | None

    def x(self, at: Any) -> Any:
        """Of a position in the window."""
        return LEFT + np.asarray(at, dtype=np.float64) / max(self.steps - 1, 1) * (WIDTH - LEFT - 2)

    def y(self, value: Any) -> Any:
        """Of a reading, held inside the panel."""
        part = (np.asarray(value, dtype=np.float64) - self.low) / (self.high - self.low)
        return BOTTOM - ROOM - np.clip(part, 0, 1) * (BOTTOM - TOP - 2 * ROOM)


def axis_of(sides: Sequence[Array], steps: int, period: float | None) -> Axis:
    """The axis that holds all but the outermost readings of both sides; sides: (n, t) each, NaN where there is none."""
    seen = [side[np.isfinite(side)] for side in sides]
    ends = [np.quantile(some, [0.002, 0.998]) for some in seen if len(some)]
    low = float(min((end[0] for end in ends), default=0.0))
    high = float(max((end[1] for end in ends), default=1.0))
    room = 0.0 if high > low else 0.05 * max(abs(high), 1.0)
    return Axis(low - room, high + room, steps, period)


def panel(read: Array, shown: Sequence[int], axis: Axis, css: str, label: str, points: int, beside: Array | None,
          fewest: int = 1) -> Markup:  # fmt: skip
    """A channel of numbers over time: (n, t) readings as band and mean, a few windows, and the mean of `beside`, dashed.

    fewest: windows that must lie on each side of the band and in a mean."""
    parts = [*_grid([_end(axis.low, axis), _end(axis.high, axis)], axis), *_band(read, axis, css, points, fewest)]
    parts += [piece for i in shown for piece in _pieces(read[i], axis, f"course {css}", points)]
    if beside is not None:
        parts += _pieces(mean_of(beside, fewest), axis, "course mean real", points)
    parts += _pieces(mean_of(read, fewest), axis, f"course mean {css}", points)
    return svg.chart(WIDTH, HEIGHT, label, parts)


def steps(read: Array, shown: Sequence[int], axis: Axis, levels: Sequence[str], css: str, label: str) -> Markup:
    """A channel of levels over time: each of a few windows as a line of steps, one a little above the other."""
    parts: list[Markup | str] = list(_times(axis))
    for k, name in enumerate(levels):
        y = float(axis.y(k))
        parts += [svg.line(LEFT, y, WIDTH, y, "grid"), svg.words(LEFT - 5, y + 4, crop(name, 6), anchor="end", full=name)]
    for place, i in enumerate(shown):
        parts.append(svg.path(_stairs(read[i], axis, 3.0 * (place - (len(shown) - 1) / 2)), f"course {css}"))
    return svg.chart(WIDTH, HEIGHT, label, parts)


def bars(real: Array, made: Array, levels: Sequence[str], label: str) -> Markup:
    """Shares of the levels of a channel, real above synthetic."""
    parts: list[Markup | str] = []
    room = (BOTTOM + 14 - TOP) / len(levels)
    thick = min(room * 0.36, 12.0)
    for k, name in enumerate(levels):
        middle = TOP + (k + 0.5) * room
        parts.append(svg.words(LEFT + 16, middle + 4, crop(name, 9), anchor="end", full=name))
        for side, css, y in ((real, "solid real", middle - thick), (made, "solid fake", middle)):
            if np.isfinite(side[k]):
                parts.append(svg.rect(LEFT + 22, y, (WIDTH - LEFT - 62) * side[k], thick, css, tip=f"{name}: {share(side[k])}"))
        parts.append(svg.words(WIDTH, middle + 4, f"{share(real[k])} | {share(made[k])}", "tick small", anchor="end"))
    return svg.chart(WIDTH, HEIGHT, label, parts)


def curves(lines: Sequence[tuple[Array, Array, str]], ends: tuple[str, str], label: str, floor: float | None = None) -> Markup:
    """Curves on one scale: (x in [0, 1], y, css) each; floor: the lowest end that the scale has at least."""
    seen = np.concatenate([y[np.isfinite(y)] for _, y, _ in lines] or [np.zeros(0)])
    if not len(seen):
        return svg.chart(WIDTH, HEIGHT, f"{label}: nothing to draw", [svg.words(WIDTH / 2, 60, "constant", anchor="middle")])
    low, high = float(seen.min()), float(seen.max())
    low, high = (min(low, floor), 1.0) if floor is not None else (low, max(high, low + 1.0))
    axis = Axis(low, high, 2, None)
    parts: list[Markup | str] = []
    for level in (low, (low + high) / 2, high):
        y = float(axis.y(level))
        words = figure(level, 2) if floor is not None else f"{level:.1f}"
        parts += [svg.line(LEFT, y, WIDTH, y, "grid"), svg.words(LEFT - 5, y + 4, words, anchor="end")]
    for x, values, css in lines:
        known = np.isfinite(values)
        parts.append(svg.path(list(zip(axis.x(x[known]), axis.y(values[known]), strict=True)), css))
    parts += [svg.words(LEFT, HEIGHT - 4, ends[0]), svg.words(WIDTH, HEIGHT - 4, ends[1], anchor="end")]
    return svg.chart(WIDTH, HEIGHT, label, parts)


def mean_of(read: Array, fewest: int = 1) -> Array:
    """Mean over the windows that have a reading there: (n, t) -> (t,), NaN where these are fewer than `fewest`."""
    known = np.isfinite(read)
    count = known.sum(axis=0)
    return np.where(count >= max(fewest, 1), np.where(known, read, 0).sum(axis=0) / np.maximum(count, 1), np.nan)


def spectrum(held: Windows, c: int) -> tuple[Array, Array]:
    """Mean power of a channel at PLACES frequencies, from 0 to half a turn a reading, as a logarithm to 10; NaN for constants.

    Gives (places in [0, 1], power); windows of several lengths are brought to one axis of frequencies."""
    at = np.linspace(0, 1, PLACES + 1)[1:]
    total, count = np.zeros(PLACES), 0
    for read in _of_each_length(held, c):
        power = power_of(read) / read.shape[1]
        own = np.arange(1, power.shape[1] + 1) / (read.shape[1] / 2)
        edges = np.searchsorted(own, at - 1 / PLACES, side="right"), np.searchsorted(own, at, side="right")
        mean = power.mean(axis=0)
        binned = [mean[a:b].mean() if b > a else np.interp(x, own, mean) for a, b, x in zip(*edges, at, strict=True)]
        total, count = total + np.array(binned) * len(read), count + len(read)
    if not count or total.max() <= 0:
        return at, np.full(PLACES, np.nan)
    return at, np.log10(np.maximum(total, FAINT * total.max()) / count)


def memory(held: Windows, c: int, lags: int, levels: bool) -> Array:
    """Autocorrelation at 0 to `lags` readings, or of levels the share of readings that stand where they stood: (lags + 1,).

    The mean over the windows that vary; NaN for lags that none has."""
    total, count = np.zeros(lags + 1), np.zeros(lags + 1)
    for read in _of_each_length(held, c):
        apart = read - read.mean(axis=1, keepdims=True)
        whole = (apart**2).sum(axis=1)
        some = np.ones(len(read), dtype=bool) if levels else whole > 1e-12 * np.maximum((read**2).sum(axis=1), 1e-300)
        t = read.shape[1]
        for lag in range(min(lags, t - 1) + 1):
            if levels:
                found = (np.rint(read[:, lag:]) == np.rint(read[:, : t - lag])).mean(axis=1)
            else:
                found = (apart[some, lag:] * apart[some, : t - lag]).sum(axis=1) / whole[some]
            total[lag] += found.sum()
            count[lag] += some.sum()
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def shares_of(read: Array, levels: int) -> Array:
    """Share of the readings at each level: (n, t) -> (levels,)."""
    seen = np.rint(read[np.isfinite(read)])
    return np.array([np.mean(seen == k) if len(seen) else np.nan for k in range(levels)])


def span(readings: float, period: float | None) -> str:
    """So many readings as a time: 96 readings once a second -> "96 s"."""
    if period is None:
        return f"{figure(readings)} readings"
    seconds = readings * period
    for unit, name in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= 3 * unit:
            return f"{figure(seconds / unit)} {name}"
    return f"{figure(seconds)} s" if seconds >= 0.1 else f"{figure(1000 * seconds)} ms"


def _of_each_length(held: Windows, c: int) -> list[Array]:
    """Readings of a channel without gaps, (n, t) for each length t; windows without a reading of it are left out."""
    some = held.take(np.arange(len(held))[:: max(1, -(-len(held) // MEASURED))])
    seen = some.take(np.flatnonzero(np.isfinite(some.values[:, c]).any(axis=1)))
    read = gapless(seen.values[:, c : c + 1], seen.lengths)[:, 0]
    kinds = [int(length) for length in np.unique(seen.lengths) if length >= LEAST_SPECTRUM]
    return [read[seen.lengths == length, :length] for length in kinds]


def _grid(names: Sequence[str], axis: Axis) -> list[Markup | str]:
    parts: list[Markup | str] = [svg.line(LEFT, y, WIDTH, y, "grid") for y in (TOP, (TOP + BOTTOM) / 2, BOTTOM)]
    marks = [svg.words(LEFT - 5, y, text, anchor="end") for text, y in zip(names, (BOTTOM, TOP + 8), strict=True)]
    return [*parts, *marks, *_times(axis)]


def _end(value: float, axis: Axis) -> str:
    """The end of a scale in words; what is next to nothing on it is nothing."""
    return tick(value) if abs(value) > 1e-3 * (axis.high - axis.low) else "0"


def _times(axis: Axis) -> list[Markup | str]:
    return [svg.words(LEFT, HEIGHT - 4, "0"), svg.words(WIDTH, HEIGHT - 4, span(axis.steps, axis.period), anchor="end")]


def _band(read: Array, axis: Axis, css: str, points: int, fewest: int) -> list[Markup | str]:
    enough = np.isfinite(read).sum(axis=0) >= (FOR_BAND if fewest == 1 else fewest * 100 / BAND[0])
    if not enough.any():
        return []
    at = np.flatnonzero(enough)
    at = at[np.unique(np.linspace(0, len(at) - 1, min(points, len(at))).astype(int))]
    low, high = np.nanpercentile(read[:, at], BAND, axis=0)
    there = list(zip(axis.x(at), axis.y(high), strict=True))
    back = list(zip(axis.x(at[::-1]), axis.y(low[::-1]), strict=True))
    return [svg.path(there + back, f"band {css}", close=True)]


def _pieces(line: Array, axis: Axis, css: str, points: int) -> list[Markup | str]:
    """A course as one path for each stretch without a gap."""
    at = _thinned(line, points)
    known = np.isfinite(line[at])
    cuts = np.flatnonzero(np.diff(np.concatenate([[0], known.astype(int), [0]])))
    runs = [at[a:b] for a, b in cuts.reshape(-1, 2)]
    # A reading alone is a dot.
    return [
        svg.path(list(zip(axis.x(run), axis.y(line[run]), strict=True)), css)
        if len(run) > 1
        else svg.dots([(float(axis.x(run[0])), float(axis.y(line[run[0]])))], css)
        for run in runs
    ]


def _thinned(line: Array, points: int) -> Array:
    """Positions of at most so many readings, the least and the greatest of each stretch: a spike stays."""
    if len(line) <= points:
        return np.arange(len(line))
    kept = []
    for part in np.array_split(np.arange(len(line)), max(points // 2, 1)):
        read = line[part]
        if not np.isfinite(read).any():
            kept.append(part[:1])
            continue
        kept.append(part[np.unique([np.nanargmin(read), np.nanargmax(read)])])
    return np.concatenate(kept)


def _stairs(line: Array, axis: Axis, lift: float) -> list[tuple[float, float]]:
    """Corners of the steps of one window, moved by `lift`, so that windows at one level are told apart."""
    known = np.flatnonzero(np.isfinite(line))
    if not len(known):
        return []
    turns = [known[0], *(known[i] for i in range(1, len(known)) if line[known[i]] != line[known[i - 1]])]
    out: list[tuple[float, float]] = []
    for i, at in enumerate(turns):
        y, end = float(axis.y(line[at])) - lift, turns[i + 1] if i + 1 < len(turns) else known[-1]
        out += [(float(axis.x(at)), y), (float(axis.x(end)), y)]
    return out
