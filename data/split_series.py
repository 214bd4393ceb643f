"""Which windows does the generator see, so that none of them shares a moment with one that it is judged by?"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from data.dataset import Dataset
from data.errors import DataError
from data.split import HOLDOUT, REFERENCE, TRAIN, Split, _assemble, _by_groups, _check_filled, _check_shares, _groups, _strata
from data.windows import ENTITY, START, windows

Array = np.ndarray
How = Literal["auto", "entity", "time", "last"]
#: Entities for each part from which on whole ones are dealt; stretches of time that are dealt for each part, and at least.
ENTITIES, STRETCHES, FEWEST = 4, 12, 3
#: Windows of a stretch, at least, for each that shares a moment with a window.
LEAST = 4
OVERLAP = "they share moments with windows that are kept for judging"


def split_windows(dataset: Dataset, *, reference: float, holdout: float, seed: int, how: How = "auto") -> Split:
    """Cut windows into train, reference and holdout, by shares, so that no window of one part overlaps in time a window of the
    same entity in another part.

    how: "entity", whole entities to one part; "time", stretches of each entity's time, in which an event (neighbouring windows
    of one class that is not the most frequent) stays whole, dealt so that every part has its share of each class as nearly
    as stretches allow; "last", of each entity the end is the holdout and what comes before it the reference; "auto", by entity
    where there are ENTITIES for each part, else by time. Windows that overlap such of another part are left out: those of train
    first. A window without a begin or entity overlaps none. The same seed gives the same split.

    Raises DataError as `data.split.split` does, and where a part would have no window."""
    _check_shares(reference, holdout)
    strata, unlabelled = _strata(dataset)
    shares = np.array([1 - reference - holdout, reference, holdout])
    rng = np.random.default_rng(seed)
    parts = int((shares > 0).sum())
    if int((strata >= 0).sum()) < parts:
        raise DataError(f"{int((strata >= 0).sum())} windows cannot be cut into {parts} parts; give more")
    held = windows(dataset)
    entities = _groups(dataset, ENTITY)
    begin = np.asarray(held.starts, dtype=np.float64)
    step = held.period or 0.0
    end = begin + np.maximum(held.lengths * step, 0.0)
    if how == "auto":
        how = "entity" if len(np.unique(entities)) >= ENTITIES * parts else "time"
    known = strata >= 0
    where = np.full(len(strata), -1)
    if how == "last":
        where[known] = _last(begin[known], entities[known], shares)
    else:
        groups = entities if how == "entity" else _stretches(strata, begin, entities, _long(begin, end, entities, parts))
        where[known] = _by_groups(strata[known], groups[known], shares, rng, ENTITY if how == "entity" else START)
    cut = _overlapping(where, begin, end, entities)
    where[cut] = -1
    rows = [np.flatnonzero(where == part) for part in range(3)]
    _check_filled(rows, shares)
    found = _assemble(dataset, rows, unlabelled, reference)
    return replace(found, left=int(cut.sum()), why=OVERLAP)


def _last(begin: Array, entities: Array, shares: Array) -> Array:
    """Of each entity the last windows by their begin are the holdout, those before them the reference: (n,) parts."""
    part = np.zeros(len(begin), dtype=np.int64)
    for entity in np.unique(entities):
        own = np.flatnonzero(entities == entity)
        own = own[np.argsort(begin[own], kind="stable")]
        n = len(own)
        first, second = round(n * shares[TRAIN]), round(n * (shares[TRAIN] + shares[REFERENCE]))
        part[own[first:second]], part[own[second:]] = REFERENCE, HOLDOUT
    return part


def _long(begin: Array, end: Array, entities: Array, parts: int) -> int:
    """Windows of a stretch: so many that what overlaps at its ends is a small part of it."""
    over = [1]
    for entity in np.unique(entities):
        own = np.sort(begin[(entities == entity) & np.isfinite(begin)])
        lasts = end[(entities == entity) & np.isfinite(begin)] - begin[(entities == entity) & np.isfinite(begin)]
        if len(own):
            over += (np.searchsorted(own, own + np.median(lasts)) - np.arange(len(own))).tolist()
    n = len(begin)
    return max(n // (STRETCHES * parts), min(LEAST * int(np.median(over)), n // (FEWEST * parts)), 1)


def _stretches(strata: Array, begin: Array, entities: Array, most: int) -> Array:
    """A number for each window, the same for windows of one stretch of one entity's time: (n,). most: where one has grown long.

    An event lies in one stretch; stretches end between two events, and where they have grown long."""
    common = int(np.bincount(strata[strata >= 0]).argmax())
    out, number = np.zeros(len(strata), dtype=np.int64), 0
    for entity in np.unique(entities):
        own = np.flatnonzero(entities == entity)
        own = own[np.argsort(begin[own], kind="stable")]
        size = 0
        for i, at in enumerate(own):
            within = i > 0 and strata[at] == strata[own[i - 1]] and strata[at] != common
            if i > 0 and not within and (size >= most or (strata[at] != common and _begun(strata, own[:i], size, common))):
                number, size = number + 1, 0
            out[at] = number
            size += 1
        number += 1
    return out


def _begun(strata: Array, before: Array, size: int, common: int) -> bool:
    """Whether the stretch so far has an event, so that another one begins a new stretch."""
    return bool((strata[before[len(before) - size :]] != common).any())


def _overlapping(where: Array, begin: Array, end: Array, entities: Array) -> Array:
    """Windows that overlap in time one of the same entity in a later part (train, reference, holdout): (n,) bool."""
    cut = np.zeros(len(where), dtype=bool)
    timed = np.isfinite(begin) & (where >= 0)
    for entity in np.unique(entities[timed]):
        own = timed & (entities == entity)
        for part in (TRAIN, REFERENCE):
            mine, later = np.flatnonzero(own & (where == part)), np.flatnonzero(own & (where > part) & ~cut)
            cut[mine] |= _touch(begin[mine], end[mine], begin[later], end[later])
    return cut


def _touch(begin: Array, end: Array, others: Array, ends: Array) -> Array:
    """Which spans share a moment with one of the others: (n,) bool. Spans hold their begin and not their end, but for those
    without any length, which hold their begin alone."""
    if not len(others):
        return np.zeros(len(begin), dtype=bool)
    order = np.argsort(others, kind="stable")
    latest = np.maximum.accumulate(np.maximum(ends[order], np.nextafter(others[order], np.inf)))
    # Of all that begin before this one ends, does the one that ends last end after it begins?
    before = np.searchsorted(others[order], np.maximum(end, np.nextafter(begin, np.inf)), side="left")
    return np.asarray((before > 0) & (latest[np.maximum(before - 1, 0)] > begin))
