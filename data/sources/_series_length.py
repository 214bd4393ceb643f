"""How long should a window be, where nobody says? As long as what repeats itself in the series."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.sources._series_lines import Line

Array = np.ndarray
#: Readings a window has where nothing repeats itself, and at least and at most.
USUAL, LEAST, MOST = 96, 16, 512
#: Windows there should be, where there are readings for them; least height of a peak of autocorrelation.
WINDOWS, PEAK = 100, 0.2
#: Readings looked at.
SEEN = 50_000


def dominant(values: Array) -> int | None:
    """The lag, in readings, at which a series is most like itself: (n,) with NaN -> lag; None where it repeats nothing.

    The highest peak of the autocorrelation of what is left without a linear trend, behind its first zero."""
    known = np.isfinite(values)
    n = len(values)
    if n < 16 or known.sum() < 0.5 * n:
        return None
    at = np.arange(n)
    read = np.interp(at, at[known], values[known])
    read = read - np.polyval(np.polyfit(at, read, 1), at)
    if read.std() <= 1e-12 * max(np.abs(values[known]).max(), 1e-12):
        return None
    power = np.abs(np.fft.rfft(read, 2 * n)) ** 2
    like = np.fft.irfft(power)[: n // 2] / (n - np.arange(n // 2))
    like = like / like[0]
    below = np.flatnonzero(like < 0)
    if not len(below):
        return None
    tail = like[below[0] :]
    peaks = np.flatnonzero((tail[1:-1] >= tail[:-2]) & (tail[1:-1] > tail[2:])) + 1
    peaks = peaks[tail[peaks] >= PEAK]
    if not len(peaks):
        return None
    # Of peaks about as high, the first: the others are its multiples.
    first = peaks[tail[peaks] >= 0.8 * tail[peaks].max()][0]
    return int(first + below[0])


def usual_length(lines: Sequence[Line], numbers: Sequence[bool]) -> int:
    """Readings a window should have: a period of the series, or several short ones; so few that there are WINDOWS of them at a
    stride of half a window, if there are readings enough; and no more than the longest stretch has."""
    longest = max(lines, key=lambda line: len(line.times))
    seen = longest.values[:, :SEEN]
    lags = [lag for c, number in enumerate(numbers) if number and (lag := dominant(seen[c])) is not None]
    readings = sum(len(line.times) for line in lines)
    bound = int(np.clip(2 * readings // WINDOWS, LEAST, MOST))
    lag = int(np.median(lags)) if lags else USUAL
    if lag < LEAST:
        lag *= -(-LEAST // lag)
    return max(min(lag, bound, len(longest.times)), 2)
