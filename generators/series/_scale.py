"""How do readings become numbers that a network learns well, and how do they come back?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from data.windows import Windows
from generators.base import GeneratorError

Array = np.ndarray


@dataclass(frozen=True)
class Scale:
    """Numbers of a channel in deviations from its mean; levels as zeros and a one, a plane for each.

    middle, width: of each channel of numbers, (channels,), 0 and 1 for one of levels; counts: levels of each channel, 0 for
    numbers; decimals: digits behind the point of what was read, None where it needs more than six; low, high: least and
    greatest reading of each channel of numbers."""

    middle: tuple[float, ...]
    width: tuple[float, ...]
    counts: tuple[int, ...]
    decimals: tuple[int | None, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, train: Windows) -> Scale:
        """Of the training windows. Raises GeneratorError for a channel without a single reading, or with infinite ones."""
        middle, width, decimals, low, high = [], [], [], [], []
        for c, name in enumerate(train.channels):
            read = train.values[:, c, :].astype(np.float64)
            read = read[np.isfinite(read) | np.isinf(read)]
            if not len(read):
                raise GeneratorError(f"the channel {name!r} has no reading in any training window; leave it out")
            if np.isinf(read).any():
                raise GeneratorError(f"the channel {name!r} holds infinite readings; write them as missing")
            numbers = not train.levels[c]
            middle.append(float(read.mean()) if numbers else 0.0)
            width.append((float(read.std()) or 1.0) if numbers else 1.0)
            decimals.append(_decimals(read) if numbers else 0)
            low.append(float(read.min()))
            high.append(float(read.max()))
        counts = tuple(len(levels) for levels in train.levels)
        return cls(tuple(middle), tuple(width), counts, tuple(decimals), tuple(low), tuple(high))

    @property
    def planes(self) -> int:
        """Planes of a window: one for each channel of numbers, one for each level of the others."""
        return sum(count or 1 for count in self.counts)

    def places(self) -> list[tuple[int, int, int]]:
        """(channel, first plane, behind its last) of each channel."""
        out, first = [], 0
        for c, count in enumerate(self.counts):
            out.append((c, first, first + (count or 1)))
            first += count or 1
        return out

    def forward(self, values: Array) -> tuple[Array, Array]:
        """(n, channels, t) with NaN for what is missing -> planes (n, planes, t) float32, 0 there; and which are known,
        (n, planes, t) bool."""
        n, _, t = values.shape
        out, known = np.zeros((n, self.planes, t), dtype=np.float32), np.zeros((n, self.planes, t), dtype=bool)
        for c, a, b in self.places():
            there = np.isfinite(values[:, c])
            known[:, a:b] = there[:, None]
            if self.counts[c]:
                at = np.where(there, values[:, c], 0).astype(np.int64)
                out[:, a:b] = np.moveaxis(np.eye(self.counts[c], dtype=np.float32)[at], 2, 1) * there[:, None]
            else:
                out[:, a] = np.where(there, (values[:, c] - self.middle[c]) / self.width[c], 0)
        return out, known

    def back(self, planes: Array) -> Array:
        """(n, planes, t) -> (n, channels, t) float32: of levels the one with the greatest plane, numbers rounded as they were
        read, beyond zero only where some were, and constant where all were."""
        out = np.zeros((len(planes), len(self.counts), planes.shape[2]), dtype=np.float32)
        for c, a, b in self.places():
            if self.counts[c]:
                out[:, c] = planes[:, a:b].argmax(axis=1)
                continue
            read = np.clip(planes[:, a].astype(np.float64) * self.width[c] + self.middle[c], *self._limits(c))
            digits = self.decimals[c]
            out[:, c] = read if digits is None else np.round(read, digits)
        return out

    def _limits(self, c: int) -> tuple[float, float]:
        """Between which a channel of numbers stays: where it never changed its value, at zero where it never passed it."""
        if self.low[c] == self.high[c]:
            return self.low[c], self.high[c]
        return (0.0 if self.low[c] >= 0 else -np.inf), (0.0 if self.high[c] <= 0 else np.inf)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Scale:
        return cls(**{name: tuple(held) for name, held in value.items()})


def _decimals(read: Array) -> int | None:
    """Digits after the point that every reading fits in, in the precision that readings have; None for more than six."""
    for digits in range(7):
        if np.array_equal(np.round(read, digits).astype(np.float32), read.astype(np.float32)):
            return digits
    return None
