"""Which bins does a column of numbers have, and which single values, as far as noisy counts tell?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data.dataset import Dataset
from data.encode_values import Scale
from generators.tabular._dp_noise import Noise

Array = np.ndarray
#: Bins of the first look at a column of numbers, parts that a heavy one is cut into at each later look, and looks.
FIRST, CUT, LOOKS = 64, 40, 3
#: Bins and atoms of a column at most, and noise of a count that a bin must stand above, in standard deviations.
BINS, CLEAR = 32, 4.0
#: Share of the rows that an end must hold to be kept.
TRIMMED = 0.005
#: Atoms at most among them.
ATOMS = 16


def hidden(deviation: float, delta: float, columns: int) -> float:
    """The noisy count from which on a value may be told that only the rows show: that of a single row lies above it in any of
    so many columns with a chance below delta.

    Source: Korolova et al. 2009 (WWW), with Gaussian noise as in Gopi et al. 2020 (arXiv 2006.03684), section 4."""
    from scipy.stats import norm

    return 1 + deviation * float(norm.isf(delta / max(columns, 1)))


def place_among(x: Array, atoms: Sequence[float]) -> Array:
    """(n,) place of each number among ascending atoms, -1 where it is none of them."""
    if not len(atoms):
        return np.full(len(x), -1)
    known = np.asarray(atoms)
    at = np.clip(np.searchsorted(known, x), 0, len(known) - 1)
    return np.where(known[at] == x, at, -1)


def divided(
    train: Dataset, scales: Mapping[str, Scale], noise: float, delta: float, source: Noise
) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    """Edges of bins, and atoms, of each column. Atoms are found by one noisy count of distinct values, bins of the others by
    LOOKS noisy counts of all these columns, each finer where the one before showed many rows.

    noise: multiplier of each look; delta: how likely a value that a single row holds may be told."""
    deviation = noise * math.sqrt(len(scales))
    read = {name: scale.read(train.column(name), name) for name, scale in scales.items()}
    read = {name: x[~np.isnan(x)] for name, x in read.items()}
    atoms: dict[str, tuple[float, ...]] = {}
    least = hidden(deviation, delta, len(scales))
    for name, scale in scales.items():
        atoms[name] = _atoms(read[name], scale, deviation, least, source)
        read[name] = read[name][place_among(read[name], atoms[name]) < 0]
    most = {name: BINS - len(atoms[name]) for name in scales}
    bins: dict[str, _Bins] = {}
    for look in range(LOOKS):
        for name, scale in scales.items():
            edges = _finer(bins[name], scale, most[name]) if look else _first(scale)
            noisy = _counted(read[name], edges) + deviation * source.normal(len(edges) - 1)
            new = _Bins(edges, noisy, np.full(len(noisy), deviation**2))
            bins[name] = _known(bins[name], new) if look else new
    return {name: (_merged(_trimmed(bins[name]), most[name]), atoms[name]) for name in scales}


@dataclass(frozen=True)
class _Bins:
    """Edges (k + 1,), noisy counts (k,), and the variance of their noise (k,)."""

    edges: Array
    counts: Array
    variances: Array


def _known(old: _Bins, new: _Bins) -> _Bins:
    """The new bins, those that stood before as well counted by all looks together."""
    at = np.clip(np.searchsorted(old.edges, new.edges[:-1]), 0, len(old.counts) - 1)
    same = (old.edges[at] == new.edges[:-1]) & (old.edges[at + 1] == new.edges[1:])
    other = np.where(same, 1 / old.variances[at], 0.0)
    both = other + 1 / new.variances
    return _Bins(new.edges, (other * old.counts[at] + new.counts / new.variances) / both, 1 / both)


def _atoms(x: Array, scale: Scale, deviation: float, least: float, source: Noise) -> tuple[float, ...]:
    """Values whose noisy counts are at least `least`, the heaviest of them, ascending."""
    values, counts = np.unique(x[(x >= scale.low) & (x <= scale.high)], return_counts=True)
    noisy = counts + deviation * source.normal(len(values))
    heavy = np.flatnonzero(noisy >= least)
    heavy = np.sort(heavy[np.argsort(-noisy[heavy], kind="stable")[:ATOMS]])
    return tuple(float(v) for v in values[heavy])


def _trimmed(bins: _Bins) -> _Bins:
    """Without ends that hold hardly any rows, as far as noisy counts tell. Those few count as the last bin that is kept:
    numbers drawn evenly over a wide empty bin would be far from any real one."""
    share, k = TRIMMED * max(float(bins.counts.sum()), 0.0), len(bins.counts)
    shown, first, last = np.zeros(0, dtype=bool), k, 0
    # Neighbours together show what none shows alone; where a part of them shows, the rest is not asked.
    for size in [2**power for power in range(k.bit_length())]:
        starts = np.arange(0, k, size)
        counts, variances = (np.add.reduceat(x, starts) for x in (bins.counts, bins.variances))
        # Of the blocks half as large, two lie in each.
        inside = np.logical_or.reduceat(shown, np.arange(0, len(shown), 2)) if size > 1 else np.zeros(k, dtype=bool)
        new = np.flatnonzero((counts > np.maximum(share, CLEAR * np.sqrt(variances))) & ~inside)
        if len(new):
            first, last = min(first, int(starts[new[0]])), max(last, min(int(starts[new[-1]]) + size, k))
        shown = inside
        shown[new] = True
    if first >= last:
        return bins
    return _Bins(bins.edges[first : last + 1], bins.counts[first:last], bins.variances[first:last])


def _first(scale: Scale) -> Array:
    """Equal bins; of few whole numbers one for each."""
    low, high = scale.low, scale.high + (1.0 if scale.whole else 0.0)
    if scale.whole and high - low <= FIRST:
        return np.arange(low, high + 0.5)
    if high <= low:
        return np.array([low, np.nextafter(low, np.inf)])
    edges = np.linspace(low, high, FIRST + 1)
    return np.unique(np.ceil(edges)) if scale.whole else edges


def _finer(bins: _Bins, scale: Scale, most: int) -> Array:
    """Edges: bins that hold more than one in `most` rows are cut."""
    heavy = bins.counts > np.maximum(bins.counts.sum() / most, CLEAR * np.sqrt(bins.variances))
    least = 1.0 if scale.whole else 10.0**-scale.decimals if scale.decimals is not None else 0.0
    out = [bins.edges[:1]]
    for i, cut in enumerate(heavy):
        a, b = bins.edges[i], bins.edges[i + 1]
        inner = np.linspace(a, b, CUT + 1)[1:] if cut and b - a > 1.5 * least else np.array([b])
        out.append(np.unique(np.ceil(inner)) if scale.whole else inner)
    return np.unique(np.concatenate(out))


def _counted(x: Array, edges: Array) -> Array:
    """How many numbers lie in each bin; those beyond the ends count as the last one on their side."""
    at = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
    return np.bincount(at, minlength=len(edges) - 1).astype(float)


def _merged(bins: _Bins, most: int) -> tuple[float, ...]:
    """Edges: neighbours put together until each bin holds one in `most` rows and stands clear of the noise; a heavy one stays
    alone."""
    edges, counts = bins.edges, np.maximum(bins.counts, 0.0)
    share = counts.sum() / most
    out, held, noise = [float(edges[0])], 0.0, 0.0
    for i, (count, variance) in enumerate(zip(counts, bins.variances, strict=True)):
        if count >= max(share, CLEAR * math.sqrt(variance)) and held > 0 and out[-1] != edges[i]:
            out.append(float(edges[i]))  # what came before it ends here, however little it holds
            held = noise = 0.0
        held, noise = held + count, noise + variance
        if held >= max(share, CLEAR * math.sqrt(noise)):
            out.append(float(edges[i + 1]))
            held = noise = 0.0
    if out[-1] != edges[-1]:
        out.append(float(edges[-1]))
    return tuple(out)
