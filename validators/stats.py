"""Which statistics do the checks share? Exact tests of counts, their adjustment, and their power."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special, stats

Array = np.ndarray[Any, Any]
POWER = 0.95


def log_binomial_tail(seen: Array, trials: Array, chance: Array | float) -> Array:
    """Log P(Bin(trials, chance) <= seen), finite where the probability itself underflows. Shapes broadcast, natural log."""
    seen, trials, chance = np.broadcast_arrays(np.asarray(seen, float), np.asarray(trials, float), np.asarray(chance, float))
    chance = np.clip(chance, 1e-15, 1 - 1e-15)
    with np.errstate(divide="ignore"):
        exact = np.log(np.minimum(special.bdtr(seen, trials.astype(np.int64), chance), 1.0))
    # Chernoff's bound keeps the order of tails that are too small for a float.
    share = np.clip(np.divide(seen, np.maximum(trials, 1)), 0, 1)
    bound = -trials * (special.rel_entr(share, chance) + special.rel_entr(1 - share, 1 - chance))
    none = trials * np.log1p(-chance)
    out = np.where(seen == 0, none, np.where(np.isfinite(exact) & (exact > -700), exact, bound))
    return np.asarray(np.minimum(np.where(trials == 0, 0.0, out), 0.0))


def tarone(log_least: Array, alpha: float) -> tuple[Array, int]:
    """Which tests could reject at all, and by how many the level must be shared.

    log_least: (k,) log of the smallest p each test can reach, given its total alone.
    Source: Tarone 1990, A modified Bonferroni method for discrete data."""
    ordered = np.sort(log_least)
    for factor in range(1, len(ordered) + 1):
        count = int(np.searchsorted(ordered, math.log(alpha / factor), side="right"))
        if count <= factor:
            return log_least <= math.log(alpha / factor), max(factor, 1)
    return np.ones(len(log_least), dtype=bool), max(len(log_least), 1)


def holm(log_p: Array) -> Array:
    """Holm's step-down adjustment: (k,) log p -> (k,) adjusted log p, in the given order."""
    k = len(log_p)
    order = np.argsort(log_p, kind="stable")
    stepped = np.maximum.accumulate(log_p[order] + np.log(np.arange(k, 0, -1)))
    out = np.empty(k)
    out[order] = np.minimum(stepped, 0.0)
    return out


def clopper_pearson(hits: float, trials: float, alpha: float) -> tuple[float, float]:
    """Exact two-sided interval of a share at level 1 - alpha."""
    low = 0.0 if hits <= 0 else float(special.betaincinv(hits, trials - hits + 1, alpha / 2))
    high = 1.0 if hits >= trials else float(special.betaincinv(hits + 1, trials - hits, 1 - alpha / 2))
    return low, high


def rate_ratio(hits: float, trials: float, base: float, base_trials: float, alpha: float) -> tuple[float, tuple[float, float]]:
    """(hits/trials) / (base/base_trials) with its exact conditional interval; infinite where the base is empty."""
    scale = base_trials / max(trials, 1)
    odds = math.inf if base == 0 else hits / base
    low, high = clopper_pearson(hits, hits + base, alpha) if hits + base else (0.0, 1.0)
    return odds * scale, (low / max(1 - low, 1e-300) * scale, math.inf if high >= 1 else high / (1 - high) * scale)


def least_holdout_count(alpha: float, tests: int, chance: float) -> int:
    """h_min: the holdout rows a cell needs so that its complete loss is flagged among `tests` tests.

    chance: probability that a row of the pooled cell is synthetic under the null hypothesis."""
    if not 0 < chance < 1:
        return 10**9
    return max(1, math.ceil(math.log(alpha / max(tests, 1)) / math.log1p(-chance)))


def smallest_mode(rows: int, least: int, power: float = POWER) -> float | None:
    """Smallest mass p with P(Bin(rows, p) >= least) >= power; None when even p = 1 does not reach it."""
    if rows < least:
        return None
    # P(Bin(n, p) >= h) is the regularised incomplete beta I_p(h, n - h + 1).
    return float(special.betaincinv(least, rows - least + 1, power))


def rows_for_mode(mass: float, least: int, power: float = POWER) -> int:
    """Smallest number of rows of which at least `least` fall into a mode of this mass with probability `power`."""
    low, high = least, max(2 * least, 2)
    while stats.binom.sf(least - 1, high, mass) < power:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        if stats.binom.sf(least - 1, middle, mass) >= power:
            high = middle
        else:
            low = middle + 1
    return high


def hypergeometric_excess(hits: int, trials: int, base: int, base_trials: int) -> float:
    """P(at least `hits` of all hits fall among the `trials`) when both sides share one rate (Fisher's exact test)."""
    return float(stats.hypergeom.sf(hits - 1, trials + base_trials, hits + base, trials))


def percent(share: float) -> str:
    """A share as people read it: 3.2 %."""
    return f"{100 * share:.2g} %" if abs(share) < 0.1 else f"{100 * share:.0f} %"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: a, b and c."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
