"""How do windows become vectors by which kinds of course can be told apart?

MiniRocket (Dempster, Schmidt and Webb 2021): dilated convolutions with the 84 kernels of nine weights of which three are 2
and six are -1; of each the share of readings at which it exceeds a bias. Biases are quantiles of what the kernels give on the
windows it is fitted on. Of several channels each kernel adds up a few, drawn at random with a fixed seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

TAPS = 9
#: The three places at which each kernel weighs 2.
KERNELS = tuple(combinations(range(TAPS), 3))
#: Features, about; channels that a kernel adds up, at most; dilations, at most.
FEATURES, MIXED, DILATIONS = 1680, 9, 8
#: Windows that the biases are taken from, and windows that are gone through at a time.
FITTED, ROWS = 256, 256


@dataclass(frozen=True)
class Rocket:
    """dilations: (d,); mixes: (d * 84, planes) bool, which planes each kernel adds up; biases: (d * 84, q) float32."""

    dilations: Array
    mixes: Array
    biases: Array

    @classmethod
    def fit(cls, planes: Array, lengths: Array, *, seed: int) -> Rocket:
        """Of planes (n, p, t) float32, one for each channel, in deviations; lengths: (n,) readings of each window."""
        rng = np.random.default_rng([seed, 71])
        dilations = _dilations(int(np.median(lengths)))
        count = len(dilations) * len(KERNELS)
        mixes = np.zeros((count, planes.shape[1]), dtype=bool)
        most = min(planes.shape[1], MIXED)
        for i in range(count):
            many = int(2 ** rng.uniform(0, np.log2(most + 1)))
            mixes[i, rng.permutation(planes.shape[1])[:many]] = True
        q = max(FEATURES // count, 1)
        # A low-discrepancy sequence, as the paper has it: quantiles of neighbouring kernels are spread.
        quantiles = ((np.arange(1, count * q + 1) * (np.sqrt(5) + 1) / 2) % 1).reshape(count, q)
        some = np.sort(rng.permutation(len(planes))[:FITTED])
        inside = np.arange(planes.shape[2])[None, :] < lengths[some, None]
        blank = cls(dilations, mixes, np.zeros((count, q), dtype=np.float32))
        biases = [np.quantile(given[inside], quantiles[i]) for i, given in enumerate(blank._convolved(planes[some]))]
        return cls(dilations, mixes, np.array(biases, dtype=np.float32))

    def __call__(self, planes: Array, lengths: Array) -> Array:
        """(n, p, t) float32, (n,) -> (n, features) float32: shares of the readings of each window, those behind its end left
        out."""
        out = np.empty((len(planes), self.biases.size), dtype=np.float32)
        q = self.biases.shape[1]
        for first in range(0, len(planes), ROWS):
            some, long = planes[first : first + ROWS], lengths[first : first + ROWS]
            behind = None if (long == planes.shape[2]).all() else np.arange(planes.shape[2])[None, :] >= long[:, None]
            for i, given in enumerate(self._convolved(some)):
                if behind is not None:
                    given = np.where(behind, -np.inf, given)
                for k in range(q):
                    above = np.count_nonzero(given > self.biases[i, k], axis=1)
                    out[first : first + ROWS, i * q + k] = above / long
        return out

    def _convolved(self, planes: Array) -> Iterator[Array]:
        """What each kernel gives, (n, t) float32: three times the readings at its places, less those at all nine."""
        t = planes.shape[2]
        for d, dilation in enumerate(self.dilations):
            reach = int(dilation) * (TAPS // 2)
            wide = np.pad(planes, ((0, 0), (0, 0), (reach, reach)))
            taps = [wide[:, :, k * dilation : k * dilation + t] for k in range(TAPS)]
            every: Array = np.stack(taps).sum(axis=0, dtype=np.float32)
            for j, places in enumerate(KERNELS):
                some = np.flatnonzero(self.mixes[d * len(KERNELS) + j])
                given = -every[:, some].sum(axis=1)
                for place in places:
                    given += 3 * taps[place][:, some].sum(axis=1)
                yield given


def _dilations(length: int) -> Array:
    """Steps between taps, each about twice the last, as far as a kernel fits in a window: (d,) int."""
    most = max((length - 1) // (TAPS - 1), 1)
    count = min(int(np.log2(most)) + 1, DILATIONS)
    return np.unique(np.logspace(0, np.log2(most), count, base=2).astype(np.int64))
