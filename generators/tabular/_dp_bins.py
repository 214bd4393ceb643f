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
#: Bins of the first look at a column of numbers, parts that a heavy one is cut into at most at each later look, and looks.
FIRST, CUT, LOOKS = 64, 40, 3
#: Bins and atoms of a column at most; noise that a bin must stand above, and what is told of an end or of nulls, in standard
#: deviations.
BINS, CLEAR, SURE = 32, 2.5, 3.0
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


def without(first: Array, last: Array, u: Array, atoms: Sequence[float]) -> Array:
    """Whole numbers from first to last, each as likely; none is an atom unless all are. atoms: ascending; u: in [0, 1)."""
    inside = np.searchsorted(atoms, last, side="right") - np.searchsorted(atoms, first)
    others = last - first + 1 - inside
    x: Array = np.floor(first + u * np.where(others > 0, others, last - first + 1))
    for atom in atoms:
        x += (others > 0) & (first <= atom) & (atom <= x)
    return x


def divided(
    train: Dataset, scales: Mapping[str, Scale], noise: float, delta: float, source: Noise, k: int = 1
) -> dict[str, Divided]:
    """How the numbers of each column are divided. Atoms are found by one noisy count of distinct values, bins of the others by
    LOOKS noisy counts of all these columns, each finer where the one before showed many rows.

    noise: multiplier of each look; delta: how likely a value that fewer than k rows hold may be told."""
    deviation = noise * math.sqrt(len(scales))
    read = {name: scale.read(train.column(name), name) for name, scale in scales.items()}
    read = {name: x[~np.isnan(x)] for name, x in read.items()}
    atoms: dict[str, tuple[float, ...]] = {}
    least = hidden(deviation, delta, len(scales)) + k - 1
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
            bins[name] = _trimmed(_known(bins[name], new), bins[name].edges) if look else _trimmed(new, edges[[0, -1]])
            read[name] = read[name][(read[name] >= bins[name].edges[0]) & (read[name] < bins[name].edges[-1])]
    ends = {name: _first(scale)[[0, -1]] for name, scale in scales.items()}
    return {name: _divided(bins[name], atoms[name], ends[name], most[name]) for name in scales}


@dataclass(frozen=True)
class Divided:
    """Edges of bins, ascending; atoms, ascending; and of the first and the last bin, where it is a tail beyond which hardly any
    rows lie, how far its rows lie from its inner edge on average, else 0."""

    edges: tuple[float, ...]
    atoms: tuple[float, ...]
    tails: tuple[float, float]


@dataclass(frozen=True)
class _Bins:
    """Edges (k + 1,), noisy counts (k,), and the variance of their noise (k,); below, above: noisy count and variance of what
    lies beyond the ends."""

    edges: Array
    counts: Array
    variances: Array
    below: tuple[float, float] = (0.0, 0.0)
    above: tuple[float, float] = (0.0, 0.0)


def _divided(bins: _Bins, atoms: tuple[float, ...], ends: Array, most: int) -> Divided:
    """Bins of enough rows, and a tail at each end beyond which some were counted. A tail's rows grow fewer outwards, from as
    many as the bin beside it holds at each place."""
    edges = _merged(bins, most)
    counts = np.add.reduceat(bins.counts, np.searchsorted(bins.edges, edges[:-1]))
    tails = []
    for (rows, variance), beside, width, room in (
        (bins.below, counts[0], edges[1] - edges[0], edges[0] - ends[0]),
        (bins.above, counts[-1], edges[-1] - edges[-2], ends[1] - edges[-1]),
    ):
        # What noise hides may be some rows all the same: as many as it would hide.
        rows = max(rows, math.sqrt(variance))
        tails.append(float(min(rows * width / beside, room)) if room > 0 and beside > 0 else 0.0)
    first, last = (tuple(ends[i : i + 1].tolist()) if tail else () for i, tail in enumerate(tails))
    return Divided((*first, *edges, *last), atoms, (tails[0], tails[1]))


def in_tail(length: Array, mean: float, u: Array) -> Array:
    """Distances from a tail's inner edge: exponential, of this mean if it had no end. length: of the tail; u: in [0, 1)."""
    return np.asarray(-mean * np.log1p(-u * -np.expm1(-length / mean)))


def _known(old: _Bins, new: _Bins) -> _Bins:
    """The new bins, those that stood before as well counted by all looks together."""
    at = np.clip(np.searchsorted(old.edges, new.edges[:-1]), 0, len(old.counts) - 1)
    same = (old.edges[at] == new.edges[:-1]) & (old.edges[at + 1] == new.edges[1:])
    other = np.where(same, 1 / old.variances[at], 0.0)
    both = other + 1 / new.variances
    counts = (other * old.counts[at] + new.counts / new.variances) / both
    return _Bins(new.edges, counts, 1 / both, old.below, old.above)


def _atoms(x: Array, scale: Scale, deviation: float, least: float, source: Noise) -> tuple[float, ...]:
    """Values whose noisy counts are at least `least`, the heaviest of them, ascending."""
    values, counts = np.unique(x[(x >= scale.low) & (x <= scale.high)], return_counts=True)
    noisy = counts + deviation * source.normal(len(values))
    heavy = np.flatnonzero(noisy >= least)
    heavy = np.sort(heavy[np.argsort(-noisy[heavy], kind="stable")[:ATOMS]])
    return tuple(float(v) for v in values[heavy])


def _trimmed(bins: _Bins, before: Array) -> _Bins:
    """Without ends that hold hardly any rows, as far as noisy counts tell: numbers drawn evenly over a wide empty bin would be
    far from any real one. before: edges of the look before, whose first and last bin alone are trimmed now: the noise of many
    narrow bins hides what one wide one showed."""
    share = TRIMMED * max(float(bins.counts.sum()), 0.0)
    low, high = (int(np.searchsorted(bins.edges, end)) for end in (before[1], before[-2]))
    first = _first_shown(bins.counts[:low], bins.variances[:low], share)
    last = len(bins.counts) - _first_shown(bins.counts[high:][::-1], bins.variances[high:][::-1], share)
    if first >= last:
        return bins
    below, above = (
        (known[0] + float(bins.counts[part].sum()), known[1] + float(bins.variances[part].sum()))
        for known, part in ((bins.below, slice(0, first)), (bins.above, slice(last, None)))
    )
    return _Bins(bins.edges[first : last + 1], bins.counts[first:last], bins.variances[first:last], below, above)


def _first_shown(counts: Array, variances: Array, share: float) -> int:
    """Where the first bins begin that together hold `share` rows and stand clear of their noise: bins that show nothing alone
    may do so together. 0 where none do."""
    rows, noise = np.r_[0.0, np.cumsum(counts)], np.r_[0.0, np.cumsum(variances)]
    for end in range(1, len(rows)):
        held, unsure = rows[end] - rows[:end], noise[end] - noise[:end]
        shown = np.flatnonzero(held > np.maximum(share, SURE * np.sqrt(unsure)))
        if len(shown):
            return int(shown[-1])
    return 0


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
    """Edges: bins that hold more than one in `most` rows are cut, into no more parts than would each stand clear of the noise
    if they held as many."""
    clear = CLEAR * np.sqrt(bins.variances)
    parts = np.clip(bins.counts // clear, 1, CUT).astype(int)
    parts[bins.counts <= bins.counts.sum() / most] = 1
    least = 1.0 if scale.whole else 10.0**-scale.decimals if scale.decimals is not None else 0.0
    out = [bins.edges[:1]]
    for i, cut in enumerate(parts):
        a, b = bins.edges[i], bins.edges[i + 1]
        inner = np.linspace(a, b, cut + 1)[1:] if cut > 1 and b - a > 1.5 * least else np.array([b])
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
