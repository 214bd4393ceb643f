"""Where does the noise of a private fit come from? From the system's source of secrets, or from a seed where tests need it."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence

import numpy as np

Array = np.ndarray
#: Bits of a uniform number in [0, 1).
BITS = 53
#: Normal numbers that make one: a single one betrays, by which of its floating-point neighbours cannot be reached, what it was
#: added to.
#: Source: Holohan and Braghin 2021 (arXiv 2107.10138), section 4, as in Opacus's secure mode.
SUMMED = 4


class Noise:
    """Randomness that an attacker must not know. With a seed it is the same each time, and then it protects nothing."""

    def __init__(self, seed: int | None = None) -> None:
        self._rng = None if seed is None else np.random.default_rng([seed, 71])

    def uniform(self, shape: Sequence[int] | int) -> Array:
        """Numbers in (0, 1)."""
        size = int(np.prod(shape))
        if self._rng is not None:
            whole = self._rng.integers(0, 2**BITS, size, dtype=np.uint64)
        else:
            whole = np.frombuffer(secrets.token_bytes(8 * size), dtype=np.uint64) >> np.uint64(64 - BITS)
        return ((whole.astype(np.float64) + 0.5) / 2.0**BITS).reshape(shape)

    def normal(self, shape: Sequence[int] | int) -> Array:
        """Standard normal numbers, float64."""
        from scipy.special import ndtri

        several = (SUMMED, int(np.prod(shape)))
        return np.asarray(ndtri(self.uniform(several)).sum(axis=0) / math.sqrt(SUMMED)).reshape(shape)

    def gumbel(self, shape: Sequence[int] | int) -> Array:
        """Standard Gumbel numbers: the largest of scores with these added is an exponential mechanism's choice."""
        return np.asarray(-np.log(-np.log(self.uniform(shape))))

    def chosen(self, n: int, rate: float) -> Array:
        """Places of a Poisson sample of n rows: each is in it with this chance, whatever the others."""
        return np.flatnonzero(self.uniform(n) < rate)
