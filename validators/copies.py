"""Are there rows of the training data in the synthetic set?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from validators.base import Culprit, Evidence, Finding, Verdict
from validators.points import MOST, Scaled, batch_keys, drawn, keys, nearest
from validators.sides import Sides, sides
from validators.stats import Array, hypergeometric_excess, percent
from validators.yardstick import leaked, overlap

CHECK = "copies"
#: Part of the check's alpha for exact copies; near ones leave less evidence and get the rest.
EXACT_PART = 0.25
#: Share of all rows of both sets that count as near, and the least number of them that can tell anything.
TAIL, LEAST_HITS = 0.01, 10
#: A wider share, which sees copies better where real rows have near neighbours too; tested where the first share holds
#: so many rows that half of the alpha is enough for it, or synthetic rows outnumber the holdout more than twice.
WIDE_TAIL, WIDE_HITS = 0.02, 20
#: Where they do: the rows nearer than all but so many holdout rows, in place of the first share.
SPARED = 2
#: Synthetic rows for each holdout row that near copies are looked for in, at most.
TIMES = 10
#: Odds of a copy, synthetic against holdout, from which a significant excess blocks or warns.
TOLERANCE, WARNS = 2.0, 1.25
#: Near copies are no news where the same test asked the other way round is as surprising as this, with odds above those over
#: this; odds above the last say no more.
ALIKE_ALPHA, ALIKE, MOST_ODDS = 0.01, 2.0, 50.0
#: Synthetic rows that lie nearest, as a share of all and at least so many, are asked which side's points they lie at.
RATHER, RATHER_LEAST = 0.05, 50
#: Points this near are the same, up to rounding.
SAME = 1e-6
LEAST_ROWS = 50
MOST_TRAIN = 100_000
SHOWN = 10


@dataclass(frozen=True)
class Excess:
    """Hits among synthetic and holdout rows, how surprising their difference is, and the alpha it may spend.

    what: "exact" copies, those of rows that stand "once" in train, or "near" ones; tail: share of all rows that count as
    near; alike: whether synthetic rows lie as near to rows of the holdout, whom the generator never saw."""

    hits: int
    rows: int
    base_hits: int
    base_rows: int
    alpha: float
    what: str = "exact"
    tail: float = 0.0
    alike: bool = False

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

    @property
    def verdict(self) -> Verdict:
        if self.p > self.alpha or self.odds <= WARNS:
            return "PASS"
        return "BLOCK" if self.odds > TOLERANCE and not self.alike else "WARN"


@dataclass(frozen=True)
class CopiesCheck:
    """Exact and near copies of training rows, more of them than unseen real rows give by chance.

    Exact: rows whose learned columns all equal a training row's, over all rows, synthetic against holdout (Fisher's exact
    test); and apart from that, a row that stands once in train, as in a table whose rows often repeat only those tell
    a copy. Near: the exact ones put aside, the share of synthetic rows among the 1 % of all rows that lie nearest to a
    training row, measured by that row's own distance to its nearest other training row (hypergeometric: given the
    training rows, both sides are exchangeable if nothing was copied); among the nearest 2 % too, where there are rows
    enough; and where synthetic rows outnumber the holdout, among those nearer than the third nearest holdout row, whose
    rank is the statistic, in place of the first. So a
    generator that keeps to dense regions, where every row has near neighbours, is no copier, and a copy is one however
    far apart the rows of its region lie. An excess blocks when its odds are above 2, so that a table of few distinct rows
    is not blamed for being one. An excess of near copies is asked the other way round as well, how near synthetic rows lie to
    holdout rows, against training rows: where they do as much, numbers of a grid were drawn beside it, or the generator saw
    the holdout too, and that warns.

    Source: the ratio is that of authenticity, Alaa et al. 2022, How faithful is your synthetic data?, section 3."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises nothing: empty sides give SKIPPED."""
        at = sides(evidence)
        if not len(at.h) or not at.rows or not at.train.num_rows:
            return Finding(CHECK, "SKIPPED", summary="there are no rows to compare in the classes under judgement")
        alpha = at.intent.level(CHECK)
        train = keys(at.train)
        known, counts = np.unique(train, return_counts=True)
        once = known[counts == 1]
        unseen = keys(at.holdout)[at.h]
        made = _copied(at, known, once, np.unique(unseen))
        hits_h = int(_within(unseen, known).sum()), int(_within(unseen, once).sum())
        exact = [
            Excess(hits, at.rows, base, len(at.h), EXACT_PART * alpha / 2, what)
            for what, hits, base in zip(("exact", "once"), (made.hits, made.once), hits_h, strict=True)
        ]
        near, pairs = _near(at, at.h[~_within(unseen, known)], known, (1 - EXACT_PART) * alpha)
        found = _finding(at, exact, near, made, pairs, train)
        shared = overlap(at.train, at.holdout)
        if not shared.chance:
            return _blind(found, f"{int(shared.same.sum())} of {len(shared.same)} holdout rows are training rows")
        if stolen := leaked(unseen, made.unseen, at.rows, train):
            return _blind(
                found, f"{stolen} of {at.rows} synthetic rows are holdout rows: the generator saw them, or they are real"
            )
        return found


def _within(some: Array, known: Array) -> Array:
    """Whether each key is among the known ones, which are ascending: (n,) bool."""
    if not len(known):
        return np.zeros(len(some), dtype=bool)
    return np.asarray(known[np.clip(np.searchsorted(known, some), 0, len(known) - 1)] == some)


@dataclass(frozen=True)
class Copied:
    """Exact copies among all synthetic rows: how many; how many among the compared rows, and of these, of rows that stand
    once in train, and of rows of the holdout; and the first ones."""

    total: int
    hits: int
    once: int
    unseen: int
    first: tuple[tuple[int, int], ...]  # position, key


def _copied(at: Sides, known: Array, once: Array, unseen: Array) -> Copied:
    columns = at.synthetic.schema.learned

    def work(batch: pa.RecordBatch, start: int) -> Copied:
        made = batch_keys(batch, columns)
        hit = _within(made, known)
        inside = np.ones(len(hit), dtype=bool) if at.s is None else at.s[start : start + len(hit)]
        compared, single, stolen = (int((inside & _within(made, some)).sum()) for some in (known, once, unseen))
        first = tuple((start + int(i), int(made[i])) for i in np.flatnonzero(hit)[:SHOWN])
        return Copied(int(hit.sum()), compared, single, stolen, first)

    parts = list(at.synthetic.scan(work, columns=[column.name for column in columns]))
    total, hits, single, stolen = (sum(getattr(part, name) for part in parts) for name in ("total", "hits", "once", "unseen"))
    return Copied(total, hits, single, stolen, tuple([each for part in parts for each in part.first][:SHOWN]))


def _blind(found: Finding, why: str) -> Finding:
    said = f"{why}, so nothing can be told by them; give a holdout that the generator never saw"
    told = {"yardstick": "overlap", "advice": "keep the holdout apart from train and from the generator, then judge again"}
    return replace(found, verdict="INCONCLUSIVE", summary=said, details={**found.details, **told})


Pairs = list[tuple[int, int, float]]


def _near(at: Sides, h: Array, known: Array, alpha: float) -> tuple[list[Excess], Pairs]:
    """Near copies at each tail, and the nearest synthetic rows: (row, training row, closeness)."""
    whole = at.whole[~_within(keys(at.sample.take(at.whole)), known)]
    if min(len(h), len(whole)) < LEAST_ROWS:
        return [], []
    rng = np.random.default_rng([at.intent.seed, 11])
    h = rng.permutation(h)[:MOST]
    s = rng.permutation(whole)[: min(TIMES * len(h), 2 * MOST) if len(whole) > 2 * len(h) else len(h)]
    space = Scaled.fit(at.reference, with_target=True)
    kept = np.sort(drawn(at.train.num_rows, MOST_TRAIN, rng))
    # Rows of train that repeat each other are one point, or the distance to its nearest other would be none.
    base, first = np.unique(space.points(at.train, kept), axis=0, return_index=True)
    if len(base) < 2:
        return [], []
    close_h, _ = closeness(space.points(at.holdout, h), base)
    made = space.points(at.sample, s)
    close_s, place = closeness(made, base)
    cuts = _cuts(close_h, close_s)
    found = [_excess(close_s, close_h, cut, alpha / len(cuts)) for cut in cuts]
    if any(e.verdict != "PASS" for e in found):
        unseen = rng.permutation(at.h)[:MOST_TRAIN]
        train = space.points(at.train, rng.permutation(kept)[: len(unseen)])
        found = _alike(found, made, space.points(at.holdout, unseen), train)
    order = np.argsort(close_s, kind="stable")[:SHOWN]
    pairs = [(int(at.places[s[i]]), int(kept[first[place[i]]]), float(close_s[i])) for i in order if close_s[i] <= max(cuts)]
    return found, pairs


def _alike(found: list[Excess], made: Array, unseen: Array, train: Array) -> list[Excess]:
    """The tests, marked where synthetic rows lie as near to unseen rows, against training rows, as the other way round, and do
    not lie near to more training rows that nobody else is.

    made, unseen, train: points (n, d)."""
    base = np.unique(unseen, axis=0)
    if len(base) < 2 or _rather(made, np.unique(train, axis=0), base) <= ALIKE_ALPHA:
        return found
    close_s, close_t = (closeness(_without(points, base), base)[0] for points in (made, train))
    if min(len(close_s), len(close_t)) < LEAST_ROWS:
        return found
    out = []
    for test in found:
        cut = float(np.quantile(np.concatenate([close_s, close_t]), test.tail)) + 1e-7
        back = _excess(close_s, close_t, cut, ALIKE_ALPHA)
        alike = back.p <= ALIKE_ALPHA and min(back.odds, MOST_ODDS) >= min(test.odds, MOST_ODDS) / ALIKE
        out.append(replace(test, alike=alike))
    return out


def _rather(made: Array, train: Array, unseen: Array) -> float:
    """How surprising it is that the nearest synthetic rows lie at so many points of train and so few of the holdout, points of
    both left out: the one-sided p of a sign test over the points that are hit, as many of each side being there to be hit."""
    alone = _without(train, unseen), _without(unseen, train)
    many = min(map(len, alone))
    if many < 2:
        return 1.0
    rng = np.random.default_rng(many)  # np.unique has sorted them
    both = np.concatenate([side[rng.permutation(len(side))[:many]] for side in alone])
    close, place = closeness(made, both)
    hit = np.unique(place[np.argsort(close, kind="stable")[: max(RATHER_LEAST, int(RATHER * len(made)))]])
    from scipy.stats import binom

    return float(binom.sf((hit < many).sum() - 1, len(hit), 0.5))


def _without(points: Array, base: Array) -> Array:
    """The points that are none of the base's: exact ones are put aside."""
    far = nearest(points, base)[0][:, 0]
    return points[far > SAME]


def _cuts(close_h: Array, close_s: Array) -> list[float]:
    """How near is near: one limit for each test."""
    pooled, many = np.concatenate([close_h, close_s]), len(close_s) > 2 * len(close_h)
    cuts = [] if many else [_limit(pooled, TAIL)]
    if many or int(TAIL * len(pooled)) >= WIDE_HITS:
        cuts.append(_limit(pooled, WIDE_TAIL))
    if many:
        # Just below the next holdout row: P(its rank is as high) = P(so few holdout rows among those before it).
        cuts.append(float(np.nextafter(np.sort(close_h)[SPARED], -np.inf)))
    return cuts


def _excess(close_s: Array, close_h: Array, cut: float, alpha: float) -> Excess:
    near_s, near_h = int((close_s <= cut).sum()), int((close_h <= cut).sum())
    tail = (near_s + near_h) / (len(close_s) + len(close_h))
    return Excess(near_s, len(close_s), near_h, len(close_h), alpha, "near", tail)


def _limit(pooled: Array, tail: float) -> float:
    # Ties at the threshold all count, on both sides; equal distances differ in the last digits.
    return float(np.sort(pooled)[max(int(tail * len(pooled)), LEAST_HITS) - 1]) + 1e-7


def closeness(query: Array, base: Array) -> tuple[Array, Array]:
    """Distance to the nearest base point over that point's distance to its own nearest other, and its position.

    query: (n, d); base: (m, d), distinct, m > 1; gives (n,) from 0 (a copy) and (n,). Source: Alaa et al. 2022, section 3."""
    far, place = (found[:, 0] for found in nearest(query, base))
    asked, back = np.unique(place, return_inverse=True)
    apart = nearest(base[asked], base, 2)[0][:, 1]
    return far / np.maximum(apart, np.finfo(np.float32).tiny)[back], place


def _finding(at: Sides, exact: list[Excess], near: list[Excess], made: Copied, pairs: Pairs, train: Array) -> Finding:
    judged = [*exact, *near]
    lead = min(judged, key=lambda e: (("BLOCK", "WARN", "PASS").index(e.verdict), e.p / e.alpha))
    verdict = lead.verdict
    culprits = () if verdict == "PASS" else _near_culprits(pairs) if lead.what == "near" else _exact_culprits(made, train)
    widest = near[0] if near else None
    return Finding(
        CHECK,
        verdict,
        value=lead.share,
        limit=min(TOLERANCE * lead.base, 1.0),
        reference=lead.base,
        # Each test by its part of the alpha: the smallest p weighed as if it had the whole.
        p_value=min(1.0, min(e.p / e.alpha for e in judged) * at.intent.level(CHECK)),
        summary=_summary(lead, verdict, exact[0], near),
        culprits=culprits,
        details={
            "exact_copies": made.total,
            "synthetic_rows": at.synthetic.num_rows,
            "exact_share": exact[0].share,
            "exact_share_holdout": exact[0].base,
            "near_share": widest.share if widest else None,
            "near_share_holdout": widest.base if widest else None,
            "near_rows": widest.rows if widest else 0,
            "tests": [_told(e) for e in judged],
        },
    )


def _told(excess: Excess) -> dict[str, Any]:
    return {
        "what": excess.what,
        "tail": excess.tail,
        "hits": excess.hits,
        "rows": excess.rows,
        "holdout_hits": excess.base_hits,
        "holdout_rows": excess.base_rows,
        "p": excess.p,
        "alpha": excess.alpha,
        "alike": excess.alike,
    }


def _summary(lead: Excess, verdict: str, exact: Excess, near: list[Excess]) -> str:
    if verdict != "PASS":
        nearly = f"are among the {percent(lead.tail)} that lie nearest, for their region, to"
        what = nearly if lead.what == "near" else "are exact copies of"
        which = "training rows that stand once in train" if lead.what == "once" else "training rows"
        why = "; they lie as near to unseen rows: they stand beside a grid of values, or the generator saw those rows too"
        return (
            f"{lead.hits} of {lead.rows} synthetic rows {what} {which}, "
            f"against {lead.base_hits} of {lead.base_rows} unseen real rows{why if lead.alike else ''}"
        )
    said = f"{percent(exact.share)} exact copies of training rows, {percent(exact.base)} among unseen real rows"
    if not near:
        return f"{said}; too few rows to look for near copies ({LEAST_ROWS} a side are needed)"
    return f"{said}; {percent(near[0].share)} and {percent(near[0].base)} lie as near as the nearest {percent(near[0].tail)}"


def _near_culprits(pairs: Pairs) -> tuple[Culprit, ...]:
    """The worst pairs by position; values of real rows stay out of reports."""
    cell = "synthetic row {} & training row {}, at {:.2g} of its distance to other training rows"
    return tuple(Culprit(cell=cell.format(*pair), expected=0, observed=1) for pair in pairs)


def _exact_culprits(made: Copied, train: Array) -> tuple[Culprit, ...]:
    order = np.argsort(train, kind="stable")
    twins = order[np.searchsorted(train[order], np.array([key for _, key in made.first], dtype=np.uint64))]
    return tuple(
        Culprit(cell=f"synthetic row {i} = training row {j}", expected=0, observed=1)
        for (i, _), j in zip(made.first, twins, strict=True)
    )
