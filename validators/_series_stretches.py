"""Which parts of a window are parts of training windows, however much they were lifted or stretched in strength?

A matrix profile between two sets of windows: of each stretch of a window the nearest stretch, at any place, of any training
window, each channel about its own mean and in its own deviation. Yeh et al. 2016, Matrix Profile I (all-pairs similarity
joins); Mueen et al. 2015 (distances of z-normalised stretches by products). Stretches are short and windows many, so that one
product of matrices gives all of them sooner than a Fourier transform for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from data.windows import Windows
from validators._series_features import Planes

Array = np.ndarray[Any, Any]

#: Stretches into which a window is cut, at least so many readings and at most; windows of fewer than two are not judged.
CUT, LEAST, MOST = 8, 8, 24
#: A channel stands still in a stretch where it deviates by less than this share of its own deviation over all windows.
STILL = 1e-3
#: Distances this small are those of rounding: the same stretch, as windows that overlap hold it twice.
SAME = 2e-3
#: A stretch is copied where it is nearer than this share of the distance between that training stretch and the nearest one
#: of another training window.
COPIED = 0.5
#: Products of numbers that the search may cost, numbers of training stretches that are held, stretches asked at a time, and
#: windows of each side that are asked whatever it costs.
PRODUCTS, HELD, ASKED, LEAST_WINDOWS = 2.5e10, 4e7, 256, 40


@dataclass(frozen=True)
class Stretches:
    """Stretches of windows. vectors: (n, planes * length) float32, each channel of unit length or 0 where it stands still, over
    the root of how many channels move; window, begin: (n,) which window each is of, and at which of its readings it begins."""

    vectors: Array
    window: Array
    begin: Array

    def __len__(self) -> int:
        return len(self.window)


@dataclass(frozen=True)
class Copied:
    """Of each asked window the share of its stretches that are copied, NaN where it has none that moves: (n,); and of the
    copied stretches, nearest first: positions (asked window, its reading, training window, its reading) and closeness."""

    shares: Array
    pairs: tuple[tuple[int, int, int, int, float], ...]


class Known:
    """Every stretch of some training windows, in which others are looked up."""

    def __init__(self, train: Windows, planes: Planes, *, seed: int) -> None:
        """train: of which, seeded, as many are held as HELD allows."""
        self.planes = planes
        self.length = int(np.clip(int(np.median(train.lengths)) // CUT, LEAST, MOST))
        wide = self.length * planes(train.take([0])).shape[1]
        most = max(int(HELD / wide / max(float(train.lengths.mean()), 1.0)), 2)
        self.kept = np.sort(np.random.default_rng([seed, 83]).permutation(len(train))[:most])
        self.base = stretches(planes(train.take(self.kept)), train.lengths[self.kept], self.length, step=1)

    def affordable(self, readings: float) -> int:
        """How many windows of so many readings may be asked about."""
        each = max(readings / self.length, 1.0) * self.base.vectors.size
        return max(int(PRODUCTS / max(each, 1.0)), LEAST_WINDOWS)

    def copied(self, held: Windows) -> Copied:
        """What of these windows is copied."""
        asked = stretches(self.planes(held), held.lengths, self.length, step=self.length)
        if not len(asked) or not len(self.base):
            return Copied(np.full(len(held), np.nan), ())
        far, place = self._nearest(asked.vectors)
        some, back = np.unique(place, return_inverse=True)
        apart, _ = self._nearest(self.base.vectors[some], without=self.base.window[some])
        near = np.where(far <= SAME, 0.0, far / np.maximum(apart, SAME)[back])
        hit = near < COPIED
        total = np.bincount(asked.window, minlength=len(held))
        hits = np.bincount(asked.window[hit], minlength=len(held))
        shares = np.where(total > 0, hits / np.maximum(total, 1), np.nan)
        first = np.flatnonzero(hit)[np.argsort(near[hit], kind="stable")]
        pairs = tuple(
            (int(asked.window[i]), int(asked.begin[i]), int(self.kept[self.base.window[place[i]]]),
             int(self.base.begin[place[i]]), float(near[i])) for i in first
        )  # fmt: skip
        return Copied(shares, pairs)

    def _nearest(self, vectors: Array, without: Array | None = None) -> tuple[Array, Array]:
        """Distance to the nearest training stretch and its position: (n,), (n,); without: a training window for each that is
        left out, and so are then stretches that are the same."""
        far, place = np.empty(len(vectors)), np.empty(len(vectors), dtype=np.int64)
        for first in range(0, len(vectors), ASKED):
            part = slice(first, first + ASKED)
            alike = vectors[part] @ self.base.vectors.T
            if without is not None:
                alike[(self.base.window[None, :] == without[part, None]) | (alike > 1 - SAME**2)] = -1.0
            place[part] = alike.argmax(axis=1)
            far[part] = np.sqrt(np.maximum(1.0 - alike[np.arange(len(alike)), place[part]], 0.0))
        return far, place


def stretches(laid: Array, lengths: Array, length: int, *, step: int) -> Stretches:
    """The stretches of so many readings, one each `step` readings, of planes (n, p, t): those in which any channel moves.

    A stretch that goes beyond the end of its window is none."""
    n, p, t = laid.shape
    if t < length:
        return Stretches(np.zeros((0, p * length), dtype=np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64))
    begins = np.arange(0, t - length + 1, step)
    window, at = (each.ravel() for each in np.meshgrid(np.arange(n), np.arange(len(begins)), indexing="ij"))
    inside = begins[at] + length <= lengths[window]
    window, begin = window[inside], begins[at[inside]]
    cut = np.lib.stride_tricks.sliding_window_view(laid, length, axis=2)[window, :, begin]  # (k, p, length)
    cut = cut - cut.mean(axis=2, keepdims=True)
    size = np.sqrt((cut**2).sum(axis=2, keepdims=True))
    moves = size > STILL * np.sqrt(length)
    cut = np.where(moves, cut / np.where(moves, size, 1.0), 0.0)
    many = moves.sum(axis=(1, 2))
    some = many > 0
    vectors = (cut[some] / np.sqrt(many[some])[:, None, None]).reshape(int(some.sum()), -1).astype(np.float32)
    return Stretches(vectors, window[some], begin[some])
