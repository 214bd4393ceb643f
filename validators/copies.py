"""Are there rows of the training data in the synthetic set?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from data.dataset import Dataset
from data.encode import Geometry
from data.encode_values import floats
from validators.base import Culprit, Evidence, Finding, Verdict
from validators.mix import classes, compared, restrict
from validators.points import MOST, drawn, keys, nearest
from validators.stats import Array, hypergeometric_excess, percent

CHECK = "copies"
#: Share of all rows of both sets that count as near, and the least number of them that can tell anything.
TAIL, LEAST_HITS = 0.01, 10
#: Odds of a copy, synthetic against holdout, from which a significant excess blocks or warns.
TOLERANCE, WARNS = 2.0, 1.25
LEAST_ROWS = 50
#: Share of holdout rows found in train from which the two may overlap.
OVERLAP = 0.05
#: Deviation of even ranks: numbers weigh against levels as they do in the geometry of ranks.
EVEN = 12**-0.5
MOST_TRAIN = 100_000
SHOWN = 10


@dataclass(frozen=True)
class Excess:
    """Hits among synthetic and holdout rows and how surprising their difference is."""

    hits: int
    rows: int
    base_hits: int
    base_rows: int

    @property
    def p(self) -> float:
        return hypergeometric_excess(self.hits, self.rows, self.base_hits, self.base_rows)

    @property
    def share(self) -> float:
        return self.hits / max(self.rows, 1)

    @property
    def base(self) -> float:
        return self.base_hits / max(self.base_rows, 1)

    @property
    def odds(self) -> float:
        """Odds ratio synthetic : holdout; infinite where the holdout has none, or all synthetic rows are hits."""
        above = self.hits * (self.base_rows - self.base_hits)
        below = self.base_hits * (self.rows - self.hits)
        return above / below if below else math.inf if above else 1.0

    def verdict(self, alpha: float) -> Verdict:
        if self.p > alpha or self.odds <= WARNS:
            return "PASS"
        return "BLOCK" if self.odds > TOLERANCE else "WARN"


@dataclass(frozen=True)
class CopiesCheck:
    """Exact and near copies of training rows, more of them than unseen real rows give by chance.

    Exact: rows whose learned columns all equal a training row's, synthetic against holdout (Fisher's exact test).
    Near: the exact ones put aside and both sides cut to equal size, the share of synthetic rows among the 1 % of all
    rows that lie nearest to a training row, measured by that row's own distance to its nearest other training row
    (hypergeometric). So a generator that keeps to dense regions, where every row has near neighbours, is no copier,
    and a copy is one however far apart the rows of its region lie. Each test spends half of the alpha; an excess blocks
    when its odds are above 2, so that a table of few distinct rows is not blamed for being one.

    Source: the ratio is that of authenticity, Alaa et al. 2022, How faithful is your synthetic data?, section 3."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises nothing: empty sides give SKIPPED."""
        evidence = restrict(evidence)
        h, s = compared(evidence, classes(evidence))
        if not len(h) or not len(s) or not evidence.train.num_rows:
            return Finding(CHECK, "SKIPPED", summary="there are no rows to compare in the classes under judgement")
        known, counts = np.unique(keys(evidence.train), return_counts=True)
        copied, copied_h = np.isin(keys(evidence.synthetic), known), np.isin(keys(evidence.holdout), known)
        exact = Excess(int(copied[s].sum()), len(s), int(copied_h[h].sum()), len(h))
        near, pairs = _near(evidence, h[~copied_h[h]], s[~copied[s]])
        found = _finding(evidence, exact, near, np.flatnonzero(copied), pairs)
        twins = Excess(exact.base_hits, exact.base_rows, int(counts[counts > 1].sum()), int(counts.sum()))
        return found if found.verdict == "BLOCK" or not _overlap(twins, evidence.intent.spent) else _blind(found, twins)


def _overlap(twins: Excess, alpha: float) -> bool:
    """Whether the holdout was taken from train: unseen rows match training rows about as often as those match each other."""
    return twins.share > OVERLAP and twins.p <= alpha and twins.odds > TOLERANCE


def _blind(found: Finding, twins: Excess) -> Finding:
    said = (
        f"{twins.hits} of {twins.rows} holdout rows are training rows, so copies cannot be told from chance; "
        "give a holdout that the generator never saw"
    )
    advice = {"advice": "keep the holdout apart from train, then judge again"}
    return replace(found, verdict="INCONCLUSIVE", summary=said, details={**found.details, **advice})


def _near(evidence: Evidence, h: Array, s: Array) -> tuple[Excess | None, list[tuple[int, int, float]]]:
    """Near copies on equal sizes, and the nearest synthetic rows: (row, training row, closeness)."""
    size = min(len(h), len(s), MOST)
    if size < LEAST_ROWS:
        return None, []
    rng = np.random.default_rng([evidence.intent.seed, 11])
    h, s = rng.permutation(h)[:size], rng.permutation(s)[:size]
    geometry = Geometry.fit(evidence.reference, with_target=True)
    known = np.sort(drawn(evidence.train.num_rows, MOST_TRAIN, rng))
    # Rows of train that repeat each other are one point, or the distance to its nearest other would be none.
    base, first = np.unique(_scaled(geometry, evidence, evidence.train, known), axis=0, return_index=True)
    if len(base) < 2:
        return None, []
    close_h, _ = closeness(_scaled(geometry, evidence, evidence.holdout, h), base)
    close_s, place = closeness(_scaled(geometry, evidence, evidence.synthetic, s), base)
    pooled = np.sort(np.concatenate([close_h, close_s]))
    # Ties at the threshold all count, on both sides; equal distances differ in the last digits.
    limit = pooled[max(int(TAIL * len(pooled)), LEAST_HITS) - 1] + 1e-7
    order = np.argsort(close_s, kind="stable")[:SHOWN]
    pairs = [(int(s[i]), int(known[first[place[i]]]), float(close_s[i])) for i in order if close_s[i] <= limit]
    return Excess(int((close_s <= limit).sum()), size, int((close_h <= limit).sum()), size), pairs


def _scaled(geometry: Geometry, evidence: Evidence, rows: Dataset, places: Array) -> Array:
    """Rows as points whose numbers are in units of the reference's deviation, not in ranks: (k, d) float64.

    A little noise on a heavy value (the zeros of a capital gain) is a long way in ranks and would hide a copy."""
    some = rows.take(places)
    out = geometry.transform(some).astype(np.float64)
    for part in geometry.parts:
        if part.ranks is not None:
            known = floats(evidence.reference.column(part.name), part.name)
            known = known[~np.isnan(known)]
            middle, width = (float(known.mean()), float(known.std())) if len(known) else (0.0, 0.0)
            values = (floats(some.column(part.name), part.name) - middle) * (EVEN / (width or 1.0))
            out[:, part.start] = np.nan_to_num(values)
    return out


def closeness(query: Array, base: Array) -> tuple[Array, Array]:
    """Distance to the nearest base point over that point's distance to its own nearest other, and its position.

    query: (n, d); base: (m, d), distinct, m > 1; gives (n,) from 0 (a copy) and (n,). Source: Alaa et al. 2022, section 3."""
    far, place = (found[:, 0] for found in nearest(query, base))
    asked, back = np.unique(place, return_inverse=True)
    apart = nearest(base[asked], base, 2)[0][:, 1]
    return far / np.maximum(apart, np.finfo(np.float32).tiny)[back], place


def _finding(
    evidence: Evidence, exact: Excess, near: Excess | None, copied: Array, pairs: list[tuple[int, int, float]]
) -> Finding:
    alpha = evidence.intent.spent / 2
    judged: list[tuple[str, Excess]] = [("exact", exact)] + ([("near", near)] if near else [])
    worst = min(judged, key=lambda item: (("BLOCK", "WARN", "PASS").index(item[1].verdict(alpha)), item[1].p))
    kind, lead = worst
    verdict = lead.verdict(alpha)
    culprits = () if verdict == "PASS" else _culprits(kind, evidence, copied, pairs)
    return Finding(
        CHECK,
        verdict,
        value=lead.share,
        limit=min(TOLERANCE * lead.base, 1.0),
        reference=lead.base,
        p_value=min(1.0, min(e.p for _, e in judged) * len(judged)),
        summary=_summary(kind, lead, verdict, exact, near),
        culprits=culprits,
        details={
            "exact_copies": int(len(copied)),
            "synthetic_rows": evidence.synthetic.num_rows,
            "exact_share": exact.share,
            "exact_share_holdout": exact.base,
            "near_share": near.share if near else None,
            "near_share_holdout": near.base if near else None,
            "near_rows": near.rows if near else 0,
        },
    )


def _summary(kind: str, lead: Excess, verdict: str, exact: Excess, near: Excess | None) -> str:
    if verdict != "PASS":
        what = "are exact copies of" if kind == "exact" else "are among the 1 % that lie nearest, for their region, to"
        return (
            f"{lead.hits} of {lead.rows} synthetic rows {what} training rows, "
            f"against {lead.base_hits} of {lead.base_rows} unseen real rows"
        )
    said = f"{percent(exact.share)} exact copies of training rows, {percent(exact.base)} among unseen real rows"
    return said if near else f"{said}; too few rows to look for near copies ({LEAST_ROWS} a side are needed)"


def _culprits(kind: str, evidence: Evidence, copied: Array, pairs: list[tuple[int, int, float]]) -> tuple[Culprit, ...]:
    """The worst pairs by position; values of real rows stay out of reports."""
    if kind == "near":
        return tuple(
            Culprit(
                cell=f"synthetic row {i} & training row {j}, at {far:.2g} of its distance to other training rows",
                expected=0,
                observed=1,
            )
            for i, j, far in pairs
        )
    first = copied[:SHOWN]
    train, made = keys(evidence.train), keys(evidence.synthetic)[first]
    order = np.argsort(train, kind="stable")
    twins = order[np.searchsorted(train[order], made)]
    return tuple(
        Culprit(cell=f"synthetic row {i} = training row {j}", expected=0, observed=1) for i, j in zip(first, twins, strict=True)
    )
