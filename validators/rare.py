"""Do rare combinations of quasi-identifiers come out more often than unseen people show them?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from data.dataset import Dataset
from data.schema import Column
from validators._privacy_roles import Roles
from validators._privacy_space import column_keys, numbers
from validators.base import Culprit, Evidence, Finding, Privacy, Verdict
from validators.sides import sides
from validators.stats import Array, hypergeometric_excess, listed, percent, rate_ratio

CHECK = "rare"
#: Odds of a rare combination, synthetic against holdout, from which a significant excess blocks or warns.
TOLERANCE, WARNS = 1.25, 1.1
#: Numbers of more distinct values than this are cut into so many bins of equal counts.
DISTINCT, BINS = 100, 20
LEAST = 50
#: An excess is one of training rows when their combinations come out rather than those of unseen rows with a p below this.
SPREAD_ALPHA = 0.01


@dataclass(frozen=True)
class _Rare:
    """Rows in combinations that `low` to `high` training rows hold: among synthetic and among holdout rows. rather: how
    surprising it is, if training rows meant no more to the generator than unseen ones, that so many combinations of theirs and
    so few of the others come out."""

    low: int
    high: int
    hits: int
    rows: int
    base_hits: int
    base_rows: int
    rather: float = 0.0

    @property
    def p(self) -> float:
        return hypergeometric_excess(self.hits, self.rows, self.base_hits, self.base_rows)

    @property
    def odds(self) -> float:
        """Odds ratio synthetic : holdout; infinite where the holdout has none."""
        above, below = self.hits * (self.base_rows - self.base_hits), self.base_hits * (self.rows - self.hits)
        return above / below if below else math.inf if above else 1.0

    @property
    def what(self) -> str:
        return "one training row holds" if self.high == 1 else f"fewer than {self.high + 1} training rows hold"

    def verdict(self, alpha: float) -> Verdict:
        if self.p > alpha or self.odds <= WARNS or self.rather > SPREAD_ALPHA:
            return "PASS"
        return "BLOCK" if self.odds > TOLERANCE else "WARN"


@dataclass(frozen=True)
class RareCheck:
    """The share of synthetic rows whose quasi-identifiers together are held by fewer than k training rows, and by one alone,
    against the same share of holdout rows (Fisher's exact test, at half of this check's share of alpha each).

    Unseen people of the same kind fall into such combinations by chance, as often as a generator that learned the law and not
    the people; who repeats training rows falls into them more often. Blocks where the excess is significant and its odds are
    above 1.25, warns from 1.1. Numbers of more than 100 distinct values are cut into twenty bins. Where an intended class mix
    differs from the real one, synthetic rows are thinned to the real mix first.

    Source: k-anonymity, Sweeney 2002; that seen and unseen rows have one law here: Good 1953."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises DataError for quasi-identifiers that are not there; too few rows give SKIPPED."""
        roles = Roles.of(evidence.reference.schema, evidence.intent.privacy or Privacy())
        at = sides(evidence)
        if min(len(at.h), len(at.whole)) < LEAST:
            return Finding(
                CHECK, "SKIPPED", summary=f"{LEAST} holdout and synthetic rows are needed to judge rare combinations"
            )
        columns = [column for column in roles.columns if column.name in roles.identifying]
        cells = [_cells(rows, columns, at.reference) for rows in (at.train, at.holdout.take(at.h), at.sample.take(at.whole))]
        known, counts = np.unique(cells[0], return_counts=True)
        held = [_held(some, known, counts) for some in cells[1:]]
        tests = [_count(low, high, *held) for low, high in dict.fromkeys(((1, roles.k - 1), (1, 1)))]
        rng = np.random.default_rng([at.intent.seed, 13])
        tests = [replace(t, rather=_rather(t.high, cells, rng)) if t.verdict(1.0) != "PASS" else t for t in tests]
        return _finding(tests, evidence.intent.level(CHECK) / len(tests), columns, int((counts < roles.k).sum()))


def _cells(rows: Dataset, columns: Sequence[Column], reference: Dataset) -> Array:
    """One key a row over these columns: (n,) uint64."""
    key = np.zeros(rows.num_rows, dtype=np.uint64)
    for column in columns:
        part = column_keys(rows, column)
        if not column.discrete and (edges := _edges(numbers(reference, column))) is not None:
            seen = numbers(rows, column)
            part = np.where(np.isnan(seen), len(edges) + 1, np.searchsorted(edges, seen, side="right")).astype(np.uint64)
        with np.errstate(over="ignore"):
            key = (key ^ part) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(29)
    return key


def _edges(values: Array) -> Array | None:
    """Edges of bins of equal counts; None for numbers of few distinct values, which stand for themselves."""
    known = values[np.isfinite(values)]
    if len(np.unique(known)) <= DISTINCT:
        return None
    return np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))


def _held(cells: Array, known: Array, counts: Array) -> Array:
    """Training rows that hold each row's combination: (n,) int."""
    place = np.searchsorted(known, cells).clip(0, len(known) - 1)
    return np.where(known[place] == cells, counts[place], 0)


def _count(low: int, high: int, holdout: Array, made: Array) -> _Rare:
    hits = [int(((some >= low) & (some <= high)).sum()) for some in (made, holdout)]
    return _Rare(low, high, hits[0], len(made), hits[1], len(holdout))


def _rather(high: int, cells: Sequence[Array], rng: np.random.Generator) -> float:
    """How surprising it is that synthetic rows have so many of the rare combinations of training rows that no unseen row
    holds, and so few of those the other way round. cells: keys of training, unseen and synthetic rows, (n,) each."""
    train, unseen, made = cells
    many = min(len(train), len(unseen))
    sides = [np.unique(rng.permutation(side)[:many], return_counts=True) for side in (train, unseen)]
    rare = [keys[counts <= high] for keys, counts in sides]
    alone = [np.setdiff1d(some, other) for some, (other, _) in zip(rare, reversed(sides), strict=True)]
    hits = [int(np.isin(some, made).sum()) for some in alone]
    if not sum(hits):
        return 1.0
    from scipy.stats import binom

    return float(binom.sf(hits[0] - 1, sum(hits), len(alone[0]) / sum(map(len, alone))))


def _finding(tests: list[_Rare], alpha: float, columns: Sequence[Column], cells: int) -> Finding:
    lead = min(tests, key=lambda t: (("BLOCK", "WARN", "PASS").index(t.verdict(alpha)), t.p))
    verdict, names = lead.verdict(alpha), [column.name for column in columns]
    of = listed(names) if len(names) <= 4 else f"{len(names)} columns"
    share, base = lead.hits / lead.rows, lead.base_hits / lead.base_rows
    return Finding(
        CHECK,
        verdict,
        value=None if math.isinf(lead.odds) else lead.odds,
        limit=TOLERANCE,
        reference=1.0,
        p_value=min(1.0, len(tests) * min(t.p for t in tests)),
        summary=f"{percent(share)} of synthetic rows have a combination of {of} that {lead.what}, "
        f"against {percent(base)} of unseen real rows",
        culprits=tuple(_culprit(t, of, len(tests)) for t in tests if t.verdict(alpha) != "PASS"),
        details={"columns": names, "rare_cells": cells, "warn_limit": WARNS, "tests": [_plain(t) for t in tests]},
    )


def _culprit(test: _Rare, of: str, tests: int) -> Culprit:
    ratio, interval = rate_ratio(test.hits, test.rows, test.base_hits, test.base_rows, 0.05)
    return Culprit(
        cell=f"combinations of {of} that {test.what}",
        expected=test.base_hits * test.rows / test.base_rows,
        observed=test.hits,
        ratio=None if math.isinf(ratio) else ratio,
        ratio_ci=None if math.isinf(ratio) else interval,
        p_adjusted=min(1.0, tests * test.p),
    )


def _plain(test: _Rare) -> dict[str, Any]:
    odds = None if math.isinf(test.odds) else test.odds
    return {
        "held_by_at_most": test.high,
        "hits": test.hits,
        "rows": test.rows,
        "holdout_hits": test.base_hits,
        "holdout_rows": test.base_rows,
        "odds": odds,
        "p": test.p,
        "rather": test.rather,
    }
