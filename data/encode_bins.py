"""Where are the bins of a column of numbers cut, and what stands alone?"""

from __future__ import annotations

import numpy as np

Array = np.ndarray
#: A number stands alone, as a level does, when a column has at most so many and so many rows for each of them ...
ALONE, ALONE_ROWS = 192, 20
#: ... or when a bin's worth of rows hold it, SPIKE_ROWS at least. Other numbers are cut into at most BINS bins of equal mass,
#: of BIN_ROWS rows each.
BINS, BIN_ROWS, SPIKE_ROWS = 64, 20, 5
#: A bin is told more finely by a second token: so many parts at most, of FINE_ROWS rows each.
FINE, FINE_ROWS = 16, 8
#: Tables of more than WIDE columns do with fewer bins, of WIDE_ROWS rows, and without parts: it is their many columns that tell
#: rows apart, not where in a bin a number lies.
WIDE, WIDE_ROWS = 300, 60
#: A class that is not the most frequent cuts bins at these quantiles of its own, as a rare one may live within a bin of others;
#: at most so many classes do, and no bin of fewer rows comes of it.
OWN_CUTS, OWN_CLASSES, OWN_ROWS = (0.0, 0.25, 0.5, 0.75, 1.0), 12, 3
#: Numbers lie on a grid when this share of the rows hold a value that at least so many rows hold.
GRID_SHARE, GRID_ROWS = 0.95, 3
#: Values kept to draw from within bins; more are thinned out by their ranks.
ATOMS = 16_384


def thinned(values: Array, counts: Array) -> tuple[Array, Array]:
    """At most ATOMS ascending values with their rows: of more, such as lie at even ranks, and both ends."""
    mass = counts.astype(np.float64)
    if len(values) <= ATOMS:
        return values, mass
    upto = np.cumsum(mass) - mass / 2
    keep = np.unique(np.concatenate([[0], np.searchsorted(upto, np.linspace(0, upto[-1], ATOMS)), [len(values) - 1]]))
    keep = keep.clip(0, len(values) - 1)
    edges = np.concatenate([[0], (keep[1:] + keep[:-1] + 1) // 2, [len(values)]])
    return values[keep], np.add.reduceat(mass, edges[:-1])


def by_frequency(labels: Array) -> Array:
    """Labels renamed so that 0 is the most frequent; below 0 stays."""
    counts = np.bincount(labels[labels >= 0], minlength=1)
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.where(labels >= 0, rank[labels], -1)


def own_cuts(atoms: Array, seen: Array, classes: Array | None) -> Array:
    """Places between atoms where rare classes begin, end, and have their quartiles: (k,) int64."""
    out: list[Array] = []
    for k in range(1, min(int(classes.max(initial=0)), OWN_CLASSES) + 1) if classes is not None and len(atoms) else ():
        own = seen[(classes == k) & ~np.isnan(seen)]
        if len(own) >= OWN_ROWS:
            edges = np.quantile(own, OWN_CUTS, method="inverted_cdf")
            out.append(np.concatenate([np.searchsorted(atoms, edges[:-1]), np.searchsorted(atoms, edges[-1:], side="right")]))
    return np.concatenate(out) if out else np.empty(0, dtype=np.int64)


def cut(mass: Array, spikes: Array, own: Array, rows: int = BIN_ROWS, most: int = BINS) -> Array:
    """Where bins of about equal mass begin: (bins + 1,) int64, [0] where there is nothing to cut.

    most: bins, before other cuts. spikes, own: places between atoms where a bin is cut too, if that leaves `rows`, the least of
    a bin, or OWN_ROWS on both sides."""
    if not len(mass):
        return np.zeros(1, dtype=np.int64)
    total = mass.sum()
    bins = int(min(most, max(total // rows, 1)))
    upto = np.cumsum(mass)
    ends = np.searchsorted(upto, total * np.arange(1, bins) / bins, side="left") + 1
    out = np.unique(np.concatenate([[0], ends, [len(mass)]])).astype(np.int64)
    below = np.concatenate([[0.0], upto])
    for places, least in ((spikes, rows), (own, OWN_ROWS)):
        for place in np.unique(places):
            k = int(np.searchsorted(out, place))
            if 0 < k < len(out) and min(below[place] - below[out[k - 1]], below[out[k]] - below[place]) >= least:
                out = np.insert(out, k, place)
    return out


def parts(mass: Array, bins: Array, fine: int) -> tuple[Array, Array]:
    """Where the parts of about equal mass begin that bins are cut into, and the first part of each bin."""
    starts, first = [0], [0]
    for a, b in zip(bins, bins[1:], strict=False):
        upto = np.cumsum(mass[a:b])
        parts = int(min(fine, max(upto[-1] // FINE_ROWS, 1)))
        ends = a + np.searchsorted(upto, upto[-1] * np.arange(1, parts) / parts, side="left") + 1
        starts += np.unique(np.concatenate([ends, [b]]).clip(max=b)).tolist()
        first.append(len(starts) - 1)
    return np.array(starts, dtype=np.int64), np.array(first, dtype=np.int64)


def nearest(ascending: Array, values: Array) -> Array:
    """Position of the nearest of some ascending numbers for each value; NaN gets the last."""
    right = np.searchsorted(ascending, values).clip(0, len(ascending) - 1)
    left = (right - 1).clip(0)
    return np.where(np.abs(ascending[left] - values) <= np.abs(ascending[right] - values), left, right)
