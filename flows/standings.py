"""What came of the trials of families on the same rows, and which of them is better?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

Array = np.ndarray
#: What leads, by what the rows are for, and how it is called. Where nothing can be asked of a class, coverage leads.
LEADS: Mapping[str, str] = {"augment": "utility", "scores": "coverage"}
WORDS: Mapping[str, str] = {
    "utility": "average precision that its rows add for the scarce classes",
    "coverage": "share of reference rows that its rows reach",
    "fidelity": "nearness to .5 of the AUC that tells its rows from reference rows",
}
#: What of several trials their mean is of.
MEANT = ("fit_seconds", "seconds_per_1000", "peak_mb", "coverage", "auc", "utility", "without", "cost")


@dataclass(frozen=True)
class Trial:
    """What came of one family on one rung. failed: why there are no figures.

    turn: on which part of train it was judged, 0 for the reference; turns: of how many such trials (parts) this is the mean;
    cost: seconds to fit, and to draw as many rows as the plan draws; draws: figure -> its values over resamples of the rows
    that it was judged by, the same for all trials."""

    family: str
    rung: int
    turn: int = 0
    turns: int = 1
    rows: int = 0
    seconds: float = 0.0
    failed: str = ""
    fit_seconds: float = math.nan
    seconds_per_1000: float = math.nan
    peak_mb: float = math.nan
    coverage: float = math.nan
    auc: float = math.nan
    utility: float | None = None
    without: float | None = None
    cost: float = math.inf
    draws: Mapping[str, Sequence[float]] = field(default_factory=dict, repr=False)
    parts: tuple[Trial, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, family: str, rung: int, record: Mapping[str, Any], drawn: int, turn: int = 0) -> Trial:
        """A trial by its record. drawn: rows that the plan draws."""
        known = {f.name for f in fields(cls)}
        found = {name: value for name, value in record.items() if name in known and value is not None}
        cost = record.get("fit_seconds", math.inf) + record.get("seconds_per_1000", 0.0) * drawn / 1000
        return cls(family, rung, turn, **found, cost=round(cost, 3))

    @classmethod
    def mean(cls, trials: Sequence[Trial]) -> Trial:
        """The mean of one family's trials over turns, in their order.

        Its draws take turns anew, and within each turn its draws, so that both what rows it was judged by and what it happened
        to learn from are in an interval."""
        if len(trials) == 1:
            return trials[0]
        n, count = len(trials), len(next(iter(trials[0].draws.values())))
        # The same turns and draws for every family that has as many: differences are paired.
        rng = np.random.default_rng([n, 41])
        turns, places = rng.integers(0, n, (count, n)), rng.integers(0, count, (count, n))
        shared = [name for name in trials[0].draws if all(name in t.draws for t in trials)]
        draws = {name: np.array([t.draws[name] for t in trials])[turns, places].mean(axis=1).tolist() for name in shared}
        means: dict[str, Any] = {name: _mean([getattr(t, name) for t in trials]) for name in MEANT}
        return replace(trials[0], turns=n, parts=tuple(trials), draws=draws, **means, seconds=sum(t.seconds for t in trials))

    def over_first(self, turns: int) -> Trial:
        """The mean of the first turns alone."""
        return self if turns == self.turns else Trial.mean(self.parts[:turns])

    @property
    def fidelity(self) -> float:
        """How near the AUC is to .5, at most 0."""
        return -abs(self.auc - 0.5)

    def over(self, figure: str) -> Array:
        """A figure, and its values over resamples: (1 + draws,)."""
        if figure == "fidelity":
            return np.asarray(-np.abs(np.r_[self.auc, self.draws["auc"]] - 0.5))
        return np.asarray(np.r_[getattr(self, figure), self.draws[figure]])

    def plain(self) -> dict[str, Any]:
        """JSON values; figures alone where there are any."""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("draws", "parts")}
        return {k: v for k, v in kept.items() if v not in (None, "") and not (isinstance(v, float) and not math.isfinite(v))}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def front(trials: Sequence[Trial]) -> list[Trial]:
    """Those that no other beats or equals in everything: utility, coverage and fidelity up, cost down (Pareto)."""
    at = {t.family: (t.utility or 0.0, t.coverage, t.fidelity, -t.cost) for t in trials}

    def beaten(t: Trial) -> bool:
        own = at[t.family]
        return any(all(a >= b for a, b in zip(o, own, strict=True)) and o != own for o in at.values())

    return [t for t in trials if not beaten(t)]


def ordered(trials: Sequence[Trial], lead: str) -> list[Trial]:
    """Best first: the front before those that it beats, and so on; among equals by the leading figure, then coverage."""
    left, out = [t for t in trials if not t.failed], []
    while left:
        best = front(left)
        out += sorted(best, key=lambda t: (-float(t.over(lead)[0]), -t.coverage))
        left = [t for t in left if t not in best]
    return out


def lead_of(use: str, trials: Sequence[Trial]) -> str:
    """The figure that the use asks for, among those that there are."""
    lead = LEADS.get(use, "fidelity")
    return lead if lead != "utility" or all(t.utility is not None for t in trials) else "coverage"


def margin(best: Trial, second: Trial, lead: str, sure: float = 95.0) -> dict[str, Any]:
    """By how much the leading figure is better over the turns that both have, with an interval that is so sure, in percent: the
    paired bootstrap over turns and reference rows."""
    turns = min(best.turns, second.turns)
    gap = best.over_first(turns).over(lead) - second.over_first(turns).over(lead)
    low, high = np.percentile(gap[1:], [50 - sure / 2, 50 + sure / 2])
    value = float(gap[0])
    low, high = min(float(low), value), max(float(high), value)
    return {"figure": lead, "value": value, "low": low, "high": high, "of": best.family, "over": second.family}


def standings(trials: Sequence[Trial]) -> list[Trial]:
    """The mean of each family's trials on one rung, in the order of the families; those that failed once are out."""
    each: dict[str, list[Trial]] = {}
    for trial in trials:
        each.setdefault(trial.family, []).append(trial)
    return [Trial.mean(own) for own in each.values() if not any(t.failed for t in own)]
