"""Do the synthetic pictures look like none of the real ones, where these are too few to ask how many are reached?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from validators._pictures_features import Measured, judged_rows
from validators.base import Culprit, Evidence, Finding
from validators.looks import spared
from validators.points import nearest
from validators.sides import sides

Array = np.ndarray[Any, Any]

#: Unseen real pictures of a class, and synthetic ones, at least; at most so many are compared.
LEAST, MOST = 3, 300
#: The synthetic pictures' distance from the reference, over the unseen real ones', above which they stand apart. Real against
#: real, of single parts, light was 1.6 times as far off at the most; pictures that show nothing of the class are 3 to 60 times.
APART = {"looks": 1.5, "light": 2.5}
#: Until so many pairs of pictures the distribution of the rank sum is counted out.
EXACT = 20_000
#: What to do where they stand apart.
ADVICE = (
    "look at them beside real ones in the report: where pasted defects are lit or shaped wrongly, paste them as they are "
    "(generator.vary: 0); where pictures are blurred or noisy, train longer or try another family; then judge a new attempt"
)
#: What is least told apart, as a share of the middle value: a class of equal light has no spread of its own.
FINEST = 0.02


@dataclass(frozen=True)
class Distant:
    """How far the pictures of a class lie from the reference. by: "looks" or "light"; ratio: median distance, synthetic over
    unseen real; p: of distances so much larger (Mann-Whitney, one-sided); pictures: unseen real ones, or their groups."""

    name: str
    by: str
    ratio: float
    p: float
    pictures: int


def distances(evidence: Evidence) -> list[Distant]:
    """Of each class, and of all classes together, each picture compared with those of its own class (van Elteren 1960): by
    looks, the distance to the nearest reference picture, and by light, how far brightness, contrast or grain is off.

    Were synthetic pictures drawn like the unseen real ones, all orders of their distances would be as likely, however few
    there are."""
    found: list[Distant] = []
    for by in ("looks", "light"):
        ranks = []
        for name, unseen, made in _classes(evidence, by):
            middle = float(np.median(unseen)) or 1e-12
            found.append(Distant(name, by, float(np.median(made)) / middle, _p(unseen, made), len(unseen)))
            ranks.append((unseen / middle, made / middle))
        if len(ranks) > 1:
            ratio = float(np.median(np.concatenate([made for _, made in ranks])))
            found.append(Distant("the whole set", by, ratio, _stratified(ranks), sum(len(unseen) for unseen, _ in ranks)))
    return found


def _classes(evidence: Evidence, by: str) -> Iterator[tuple[str, Array, Array]]:
    """The distances from the reference pictures of their class, of unseen real and of synthetic pictures."""
    at = sides(evidence)
    held: dict[str, Measured] = evidence.memo["features"]
    rows = {role: held[role].take(judged_rows(evidence, getattr(evidence, role))) for role in ("reference", "holdout")}
    scopes = at.scopes()
    for place, (name, r, h, s) in enumerate(scopes[1:] or scopes[:1]):
        rng = np.random.default_rng([evidence.intent.seed, 89, place])
        r, h, s = (rng.permutation(part) for part in (r, h, s))
        if min(len(r), len(h), len(s)) < LEAST:
            continue
        known = rows["reference"].take(r[:MOST])
        unseen, made = (_witnesses(each) for each in (rows["holdout"].take(h), held["synthetic"].take(at.places[s])))
        if len(unseen) >= LEAST:
            off = _by_looks(held["train"], known) if by == "looks" else _by_light(known)
            yield name, off(unseen), off(made)


def _witnesses(some: Measured) -> Measured:
    """The first picture of each group: several of one part are no witnesses of their own. The order is to be a random one."""
    return some.take(np.sort(np.unique(some.groups, return_index=True)[1])[:MOST])


def _by_looks(train: Measured, known: Measured) -> Callable[[Measured], Array]:
    """Distance to the nearest known picture, all features taken, each in deviations of the training pictures."""
    width = train.widths
    return lambda some: nearest(some.looks / width, known.looks / width)[0][:, 0]


def _by_light(known: Measured) -> Callable[[Measured], Array]:
    """The largest of how far brightness, contrast and grain lie from those of the known pictures, in their deviations."""

    def table(some: Measured) -> Array:
        return np.column_stack([some.light, some.grain])

    middle = np.median(table(known), axis=0)
    width = np.maximum(table(known).std(axis=0), FINEST * middle + 1e-9)
    return lambda some: np.asarray((np.abs(table(some) - middle) / width).max(axis=1))


def _p(unseen: Array, made: Array) -> float:
    from scipy.stats import mannwhitneyu

    exact = len(unseen) * len(made) <= EXACT and len(np.unique(np.concatenate([unseen, made]))) == len(unseen) + len(made)
    return float(mannwhitneyu(made, unseen, alternative="greater", method="exact" if exact else "asymptotic").pvalue)


def _stratified(ranks: list[tuple[Array, Array]]) -> float:
    """Of the classes' rank sums together, each by one over its pictures, in the normal limit."""
    from scipy.special import ndtr

    gap = spread = 0.0
    for unseen, made in ranks:
        ordered = np.sort(unseen)
        above = sum(float(np.searchsorted(ordered, made, side=side).sum()) for side in ("left", "right")) / 2
        n, m = len(unseen), len(made)
        weight = 1 / (n + m + 1)
        gap += weight * (above - n * m / 2)
        spread += weight**2 * n * m * (n + m + 1) / 12
    return float(ndtr(-gap / np.sqrt(spread)))


def judged(found: Finding, evidence: Evidence) -> Finding:
    """A finding on coverage with what the distances add: BLOCK where pictures stand apart from all real ones."""
    told = distances(evidence)
    if not told:
        return found
    alpha = spared(evidence.intent)
    found = replace(found, details={**found.details, "distances": [vars(each) for each in told]})
    far = sorted(
        (each for each in told if each.ratio > APART[each.by] and each.p <= alpha / len(told)), key=lambda each: -each.ratio
    )
    if far and found.verdict != "BLOCK":
        return _blocked(found, far, len(told))
    if found.verdict == "SKIPPED":
        most = max(told, key=lambda each: each.ratio)
        return replace(found, summary=f"{found.summary}; but {_said(most)}")
    return found


def _said(each: Distant) -> str:
    which = "synthetic rows" if each.name == "the whole set" else f"synthetic rows of {each.name}"
    if each.by == "looks":
        return f"{which} lie {each.ratio:.2g} times as far from the nearest training row as unseen real ones do"
    return f"{which} are {each.ratio:.2g} times as far off in brightness, contrast or grain as unseen real ones are"


def _blocked(found: Finding, far: list[Distant], tests: int) -> Finding:
    worst = far[0]
    what = {"looks": "distance to the nearest training row", "light": "brightness, contrast or grain"}
    culprits = tuple(
        Culprit(cell=f"{each.name}: {what[each.by]}", expected=1.0, observed=each.ratio, ratio=each.ratio,
                p_adjusted=min(1.0, each.p * tests)) for each in far
    )  # fmt: skip
    return replace(
        found, verdict="BLOCK", value=worst.ratio, limit=APART[worst.by], reference=1.0, p_value=min(1.0, worst.p * tests),
        summary=f"{_said(worst)}: they look like none of them", culprits=culprits,
        details={**found.details, "figure": "distance", "advice": ADVICE},
    )  # fmt: skip
