"""Which windows can be set aside so that none of the others overlaps them, and what share of fresh ones lies beyond a score?"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from data.windows import Windows
from generators.base import GeneratorError

Array = np.ndarray
#: Stretches of one entity's windows that overlap one another are cut into so many parts.
PARTS = 20
#: Windows that are there, at least, for any to be set aside.
LEAST = 20


def aside(held: Windows, eligible: Array, share: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Positions of the windows that are learned, and of those that are set aside, both in order.

    eligible: (n,) bool, from which `share` is set aside. Windows of one entity that overlap in time, or would if they were
    as long as the longest, go together, a part of a long stretch at a time; those that overlap both sides are on neither."""
    n = len(held)
    want = math.floor(share * int(eligible.sum()))
    if not want or int(eligible.sum()) < LEAST:
        return np.arange(n), np.zeros(0, dtype=np.int64)
    first, last = _spans(held)
    out = np.zeros(n, dtype=bool)
    groups = [g for g in _groups(held, first, last) if eligible[g].any()]
    for i in rng.permutation(len(groups)):
        if out.sum() >= want:
            break
        out[groups[i][eligible[groups[i]]]] = True
    kept = ~out
    for own in _entities(held):
        kept[own] &= ~_touched(first[own], last[own], out[own])
    if not (kept & eligible).any():  # one stretch that all of them overlap
        return np.arange(n), np.zeros(0, dtype=np.int64)
    return np.flatnonzero(kept), np.flatnonzero(out)


def p_values(calibration: Array, scores: Array) -> Array:
    """The chance that a window like those of the calibration scores as high, each with itself counted in: (n,).

    Source: Vovk et al. 2005, section 2.2; valid for any score, and any number of windows that are exchangeable."""
    ordered = np.sort(calibration)
    beyond = len(ordered) - np.searchsorted(ordered, scores, side="left")
    return np.asarray((beyond + 1) / (len(ordered) + 1))


def threshold(calibration: Array, false_alarm: float) -> float:
    """The score beyond which a fresh window lies with a chance of at most `false_alarm`: the conformal quantile.

    Raises GeneratorError where there are too few windows to promise that."""
    if not 0 < false_alarm < 1:
        raise GeneratorError(f"a false alarm of {false_alarm} is no share; give one between 0 and 1, such as 0.01")
    n = len(calibration)
    place = math.ceil((n + 1) * (1 - false_alarm) - 1e-9)
    if place > n:
        need = math.ceil(1 / false_alarm - 1e-9) - 1
        raise GeneratorError(
            f"false alarms of {false_alarm:g} need {need} normal windows set aside, and {n} are; "
            + (f"ask for {1 / (n + 1):.3g} or more, or give more windows" if n else "give more normal windows")
        )
    return float(np.sort(calibration)[place - 1])


def _spans(held: Windows) -> tuple[Array, Array]:
    """When each window begins and ends, in seconds or, where there is no period, as if windows did not last; NaN unknown."""
    lasts = held.lengths * held.period if held.period else np.zeros(len(held))
    return held.starts, held.starts + lasts


def _entities(held: Windows) -> list[Array]:
    found: dict[str | None, list[int]] = defaultdict(list)
    for i, (name, start) in enumerate(zip(held.entities, held.starts, strict=True)):
        if np.isfinite(start):
            found[name].append(i)
    return [np.array(own) for own in found.values()]


def _groups(held: Windows, first: Array, last: Array) -> list[Array]:
    """Positions of windows that go together: alone where nothing overlaps."""
    groups, done = [], np.zeros(len(held), dtype=bool)
    for own in _entities(held):
        done[own] = True
        order = own[np.argsort(first[own], kind="stable")]
        ends = np.maximum.accumulate(last[order])
        cuts = np.flatnonzero(first[order][1:] >= ends[:-1]) + 1
        for run in np.split(order, cuts):
            parts = min(PARTS, len(run)) if len(run) > 1 else 1
            groups += list(np.array_split(run, parts))
    return groups + [np.array([i]) for i in np.flatnonzero(~done)]


def _touched(first: Array, last: Array, out: Array) -> Array:
    """Which windows are set aside or overlap one that is: (n,) bool."""
    if not out.any():
        return out
    order = np.argsort(first[out], kind="stable")
    begin, reach = first[out][order], np.maximum.accumulate(last[out][order])
    before = np.searchsorted(begin, last, side="left")
    return np.asarray(out | ((before > 0) & (reach[np.maximum(before - 1, 0)] > first)))
