"""Do the synthetic pictures repeat each other, and did a class collapse of which there are only a few real pictures?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from validators._pictures_features import Measured, judged_rows
from validators._pictures_words import in_pictures
from validators.base import Culprit, Evidence, Finding
from validators.duplicates import DuplicatesCheck
from validators.looks import spared
from validators.points import nearest_others
from validators.sides import sides
from validators.stats import percent

Array = np.ndarray[Any, Any]

#: Real pictures of a class, at least, and at most so many are compared.
LEAST, MOST = 5, 200
#: The synthetic pictures' distance to their nearest other, as a share of the real ones', below which a class collapsed: real
#: against real it was 0.72 at the least (5 to 37 pictures, 213 comparisons), of one picture changed over and over 0.3 to 0.62.
COLLAPSED = 0.65
#: Subsets of synthetic pictures, each as many as there are real ones.
SUBSETS = 20


@dataclass(frozen=True)
class Crowd:
    """How near the pictures of a class lie to each other. ratio: median distance to the nearest other, synthetic over real;
    p: of distances so much smaller (Mann-Whitney); pictures: of each side."""

    name: str
    ratio: float
    p: float
    pictures: int


@dataclass(frozen=True)
class PictureDuplicatesCheck(DuplicatesCheck):
    """The check of repeats on the looks of pictures; and of each class, since few pictures are too few for it, whether its
    synthetic pictures lie less than two thirds as far from each other as as many real ones do.

    Distances are of all features, each in deviations of the training pictures, so that nothing is fitted that five pictures
    could not bear. A distance is shared by two pictures, so only half of the real ones count as witnesses (Mann and Whitney
    1947, one-sided, Bonferroni over the classes)."""

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises KeyError for evidence that `prepare_pictures` did not make."""
        found = super().evaluate(evidence)
        crowds = list(_crowds(evidence))
        if crowds:
            told = [{"name": c.name, "ratio": c.ratio, "p": c.p, "pictures": c.pictures} for c in crowds]
            found = replace(found, details={**found.details, "crowds": told})
        alpha = spared(evidence.intent) / max(len(crowds), 1)
        fallen = sorted((c for c in crowds if c.ratio < COLLAPSED and c.p <= alpha), key=lambda c: c.ratio)
        if fallen and found.verdict != "BLOCK":
            found = _collapsed(found, fallen, len(crowds))
        elif found.verdict == "SKIPPED" and crowds:
            found = _apart(found, min(crowds, key=lambda c: c.ratio))
        return in_pictures(found, evidence)


def _crowds(evidence: Evidence) -> Iterator[Crowd]:
    at = sides(evidence)
    held: dict[str, Measured] = evidence.memo["features"]
    train = held["reference"].take(judged_rows(evidence, evidence.reference))
    width = held["train"].widths
    scopes = at.scopes()
    for place, (name, r, _, s) in enumerate(scopes[1:] or scopes[:1]):
        rng = np.random.default_rng([evidence.intent.seed, 79, place])
        size = min(len(r), len(s), MOST)
        if size < LEAST:
            continue
        real = nearest_others(train.looks[rng.permutation(r)[:size]] / width)
        order = rng.permutation(at.places[s])
        parts = [order[i * size : (i + 1) * size] for i in range(min(SUBSETS, len(order) // size))]
        made = np.concatenate([nearest_others(held["synthetic"].looks[part] / width) for part in parts])
        middle = float(np.median(real))
        ratio = float(np.median(made)) / middle if middle else 1.0
        yield Crowd(name, ratio, _smaller(made, real), size)


def _smaller(made: Array, real: Array) -> float:
    """P of the synthetic distances being so much smaller, were both alike, half of the real ones counting."""
    from scipy.special import ndtr

    ordered = np.sort(made)
    below, upto = (np.searchsorted(ordered, real, side=side) for side in ("left", "right"))
    auc = float((below + upto).mean() / 2 / len(made))
    n, m = len(real) / 2, len(made) / 2
    return float(ndtr(-(auc - 0.5) / np.sqrt((n + m + 1) / (12 * n * m))))


def _collapsed(found: Finding, fallen: list[Crowd], classes: int) -> Finding:
    worst = fallen[0]
    said = (
        f"synthetic rows of {worst.name} lie at {percent(worst.ratio)} of the distance from each other that as many real ones "
        "do: they show nearly the same"
    )
    culprits = tuple(
        Culprit(cell=f"{c.name}: distance to the nearest other", expected=1.0, observed=c.ratio, ratio=c.ratio,
                p_adjusted=min(1.0, c.p * classes)) for c in fallen
    )  # fmt: skip
    return replace(
        found, verdict="BLOCK", value=1 / max(worst.ratio, 1e-3), limit=1 / COLLAPSED, reference=None,
        p_value=min(1.0, worst.p * classes), summary=said, culprits=culprits,
    )  # fmt: skip


def _apart(found: Finding, nearest: Crowd) -> Finding:
    """What can be said with few pictures: no repeats are counted, but nothing collapsed."""
    said = (
        f"{found.summary}; but synthetic rows of {nearest.name} lie at {percent(nearest.ratio)} of the distance from each "
        "other that as many real ones do"
    )
    return replace(found, summary=said)
