"""Are there training pictures among the synthetic ones, as they are or a little changed?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from validators._pictures_features import Measured, judged_rows
from validators._pictures_words import in_pictures
from validators.base import Culprit, Evidence, Finding
from validators.copies import CHECK, EXACT_PART, LEAST_ROWS, CopiesCheck, closeness
from validators.points import MOST, Scaled
from validators.sides import sides
from validators.stats import percent

Array = np.ndarray[Any, Any]

#: Where `prepare_pictures` leaves the evidence by which copies are judged.
MEMO = "traces"
#: Where it is said how many holdout pictures were left out for being training pictures too.
TWINS = "twins"
#: Pairs of a synthetic picture and the training picture nearest to it that are told.
TOLD = 24
#: What to do where copied defects lie on good pictures.
ADVICE = (
    "let pasted defects vary more (generator.vary: 2), add learned ones (generator.patches: gan), or paint them "
    "(generator.use: image.finetune), then judge a new attempt"
)


@dataclass(frozen=True)
class Pair:
    """A synthetic picture and the training picture nearest to it. synthetic, train: their positions; distance: over that
    training picture's own distance to its nearest other; nearer: share of unseen real pictures that are nearer still."""

    synthetic: int
    train: int
    distance: float
    nearer: float

    def plain(self) -> dict[str, float]:
        return {"synthetic": self.synthetic, "train": self.train, "distance": self.distance, "holdout_nearer": self.nearer}


@dataclass(frozen=True)
class Nearest:
    """Distances to train. holdout: (n,), ascending; holdout_pairs: its nearest; pairs: the nearest synthetic pictures;
    synthetic: (m,) of those that may be compared."""

    holdout: Array
    synthetic: Array
    pairs: tuple[Pair, ...]
    holdout_pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class PictureCopiesCheck:
    """The check of copies on traces, which stay when a picture is mirrored, shifted a little or lit otherwise; and two
    questions more.

    Exact: a picture that has many grays and changes from pixel to pixel does not come twice by chance. Where no real one
    does, a single synthetic picture of equal pixels is a copy beyond doubt, and blocks. Few: with fewer than 50 holdout
    pictures, too few for the test of near copies, the synthetic pictures that lie nearer to train than every unseen one
    are counted; were nothing copied, so many would come before the first unseen one with the chance that `first_rank`
    gives. It spends the alpha which near copies have."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises KeyError for evidence that `prepare_pictures` did not make."""
        near: Evidence = evidence.memo[MEMO]
        found = CopiesCheck().evaluate(near)
        nearest = nearest_pairs(evidence)
        if nearest is not None:
            told = {"nearest": [pair.plain() for pair in nearest.pairs]}
            found = replace(found, details={**found.details, **told})
            found = _few(found, near, nearest)
        return in_pictures(_advised(_exact(found, evidence), evidence), evidence)


def nearest_pairs(evidence: Evidence) -> Nearest | None:
    """Which synthetic pictures lie nearest to a training picture, and how near unseen real ones come; None where nothing
    can be measured. Kept in the evidence's memo, for the gallery asks for it too."""
    if "nearest" not in evidence.memo:
        evidence.memo["nearest"] = _measured(evidence.memo[MEMO])
    found: Nearest | None = evidence.memo["nearest"]
    return found


def _measured(near: Evidence) -> Nearest | None:
    at = sides(near)
    if at.train.num_rows < 3 or not len(at.h) or not len(at.whole):
        return None
    space = Scaled.fit(at.reference, with_target=True)
    points = space.points(at.train, np.arange(at.train.num_rows))
    base, first = np.unique(points, axis=0, return_index=True)
    if len(base) < 2:
        return None
    rng = np.random.default_rng([at.intent.seed, 59])
    h, s = (np.sort(rng.permutation(side)[:MOST]) for side in (at.h, at.whole))
    far_h, at_h = closeness(space.points(at.holdout, h), base)
    far_s, at_s = closeness(space.points(at.sample, s), base)
    ordered = np.sort(far_h)

    trained, unseen = (judged_rows(near, rows) for rows in (near.train, near.holdout))

    def pairs(far: Array, place: Array, rows: Array) -> tuple[Pair, ...]:
        some = np.argsort(far, kind="stable")[:TOLD]
        below = np.searchsorted(ordered, far[some], side="left") / len(ordered)
        return tuple(
            Pair(int(rows[i]), int(trained[first[place[i]]]), float(far[i]), float(b)) for i, b in zip(some, below, strict=True)
        )

    return Nearest(ordered, far_s, pairs(far_s, at_s, at.places[s]), pairs(far_h, at_h, unseen[h]))


def first_rank(before: int, made: int, real: int) -> float:
    """P(at least `before` of `made` synthetic pictures lie nearer than the nearest of `real`), were both alike:
    C(made + real - before, real) / C(made + real, real)."""
    parts = [math.lgamma(total + 1) - math.lgamma(total - real + 1) for total in (made + real - before, made + real)]
    return math.exp(parts[0] - parts[1])


def _few(found: Finding, near: Evidence, nearest: Nearest) -> Finding:
    """What can be told of near copies by a few holdout pictures: the memoriser whose pictures are nearly all nearer."""
    if found.verdict != "PASS" or found.details.get("near_rows") or len(nearest.holdout) >= LEAST_ROWS:
        return found
    alpha = (1 - EXACT_PART) * near.intent.level(CHECK)
    made, real = len(nearest.synthetic), len(nearest.holdout)
    before = int((nearest.synthetic < nearest.holdout[0]).sum())
    p = first_rank(before, made, real)
    least = next((c for c in range(made + 1) if first_rank(c, made, real) <= alpha), None)
    told = {"near_share": before / made, "near_share_holdout": 0.0, "near_rows": made, "first_rank_p": p}
    sees = f"with {real} unseen real pictures a memoriser is seen only if " + (
        f"{percent(least / made)} of its pictures are copies" if least is not None else "there are more of them"
    )
    if p > alpha:
        exact = found.summary.partition("; too few")[0]
        said = f"{exact}; {before} of {made} lie nearer to a training picture than every unseen real one; {sees}"
        return replace(found, summary=said, details={**found.details, **told})
    return replace(
        found,
        verdict="BLOCK",
        value=before / made,
        limit=None if least is None else least / made,
        reference=0.0,
        p_value=min(1.0, p / (1 - EXACT_PART)),
        summary=f"{before} of {made} synthetic rows lie nearer to a training row than any of {real} unseen real rows does",
        culprits=tuple(_culprit(pair) for pair in nearest.pairs[:10]),
        details={**found.details, **told},
    )


def _advised(found: Finding, evidence: Evidence) -> Finding:
    """What to do where the copies were made on real good pictures: those are of defects, and no training makes them."""
    held = evidence.memo.get("pictures", {}).get("synthetic")
    if found.verdict != "BLOCK" or found.details.get("advice") or held is None or not any(held.sources or ()):
        return found
    return replace(found, details={**found.details, "advice": ADVICE})


def _culprit(pair: Pair) -> Culprit:
    cell = f"synthetic row {pair.synthetic} & training row {pair.train}, at {pair.distance:.2g} of its distance to other rows"
    return Culprit(cell=cell, expected=0, observed=1)


def _exact(found: Finding, evidence: Evidence) -> Finding:
    """One copy of equal pixels is one too many, where pictures are detailed and real ones have no twins."""
    sets: dict[str, Measured] = evidence.memo["features"]
    train, holdout, made = (sets[name] for name in ("train", "holdout", "synthetic"))
    known = train.keys[train.detailed]
    unseen = holdout.keys[holdout.detailed]
    alike = len(known) - len(np.unique(known)) + len(unseen) - len(np.unique(unseen)) + int(np.isin(unseen, known).sum())
    alike += int(evidence.memo.get(TWINS, 0))  # those of the holdout that were left out for being training pictures too
    copied = np.flatnonzero(np.isin(made.keys, known))
    if not len(copied) or alike:
        return replace(found, details={**found.details, "exact_pictures": len(copied)})
    first = [(int(i), int(np.flatnonzero(train.keys == made.keys[i])[0])) for i in copied[:10]]
    said = (
        f"{len(copied)} of {len(made)} synthetic rows are training rows, pixel by pixel, "
        f"while no two of {len(known) + len(unseen)} real rows are alike"
    )
    if found.verdict == "BLOCK":
        said = f"{found.summary}; {said}"
    return replace(
        found,
        verdict=found.verdict if found.details.get("yardstick") else "BLOCK",
        value=len(copied) / len(made) if found.verdict != "BLOCK" else found.value,
        limit=0.0 if found.verdict != "BLOCK" else found.limit,
        reference=0.0 if found.verdict != "BLOCK" else found.reference,
        summary=said,
        culprits=tuple(_same(first)) + found.culprits[: 10 - len(first)],
        details={**found.details, "exact_pictures": len(copied)},
    )


def _same(pairs: Sequence[tuple[int, int]]) -> list[Culprit]:
    return [Culprit(cell=f"synthetic row {i} = training row {j}", expected=0, observed=1) for i, j in pairs]
