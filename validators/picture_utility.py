"""Do synthetic pictures help the detector they are for, more than what is cheaper?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from data.images import Pictures, is_pictures, pictures
from validators._picture_answer import Answer, finding_of, nothing_to_gain
from validators._picture_arms import Arm, Scores, Test, figures, of, overlap, rare, scores
from validators._picture_changes import Changes, changes_of
from validators._picture_nets import Course
from validators._picture_sweep import DRAWS, FOLDS, RATIOS, Choice, Comparison, choose, compare
from validators._picture_turns import Tell, Told, Turns, joined, small
from validators._utility_rows import CannotJudgeError, share_out
from validators.base import Evidence, Finding
from validators.utility import CHECK, check_limits

__all__ = [
    "RATIOS", "Arm", "Changes", "Choice", "Comparison", "Course", "PictureUtilityCheck", "Scores", "Test", "changes_of",
    "cheap_arms", "choose", "compare", "figures", "overlap", "ratio_arms", "rare", "scores",
]  # fmt: skip

NOTHING, BALANCED, CLASSICAL = "nothing", "balanced sampling", "balanced + classical"
#: Test pictures that a class needs, and that are looked at; and ratios of a quick look.
LEAST_TESTED, TESTED, QUICK_RATIOS = 5, 2000, (1.0, 5.0)
Depth = Literal["quick", "full"]


@dataclass(frozen=True, kw_only=True)
class PictureUtilityCheck:
    """A small CNN trained on real pictures in cheap ways, and on real and synthetic ones; tested on the holdout.

    The cheap ways: nothing, classes drawn equally often (which beat every generator in a published comparison of 53 classes
    of steel), and with classical augmentation besides. Synthetic pictures are added to the last of these, at 0.5 to 10 to
    each real picture of the classes that are filled up. The ratio is chosen on other pictures than the holdout's and may be
    none at all; the gain is claimed on the holdout, with intervals over its groups and seeds.

    quick: two ratios, one cheap way besides nothing, two seeds. full: all, five seeds, and where masks are known a small
    U-Net and the overlap (IoU) of what it marks. It reports; it blocks where a limit of the plan is crossed and the 95 %
    interval excludes it, and warns where the interval does not: limits["utility"] may hold a least `gain` in average
    precision and a least `iou_gain`, which makes any depth full.

    Where a cheap way is perfect in every score and seed, and the plan sets no limit, nothing can be gained and nothing more
    is trained. precision: at which the recall of a class is reported; course: how long each network learns; tell: hears of
    each training."""

    name: ClassVar[str] = CHECK

    depth: Depth = "quick"
    precision: float = 0.9
    seeds: int | None = None
    course: Course | None = None
    tell: Tell | None = None

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises DataError for a limit on a figure that does not exist; pictures that no detector can be compared on give
        SKIPPED. Reads `data.images.Pictures` from memo["pictures"] under train, holdout, synthetic and, if known,
        reference."""
        limits = check_limits(evidence.intent.limits.get(CHECK, {}))
        depth: Depth = "full" if "iou_gain" in limits else self.depth
        try:
            answer = self._answer(_held(evidence), depth, evidence.intent.seed, stop=not limits)
        except CannotJudgeError as why:
            return Finding(CHECK, "SKIPPED", summary=str(why))
        return finding_of(answer, limits) if answer.mixed else nothing_to_gain(answer)

    def _answer(self, held: Mapping[str, Pictures], depth: Depth, seed: int, *, stop: bool) -> Answer:
        """stop: go no further where a cheap way is perfect already; a limit of the plan asks for the figure all the same."""
        quick, filled = depth == "quick", _filled(held["train"], held["synthetic"], held["holdout"])
        if segmenter := not quick and _has_masks(held, filled):
            stop = False
        else:
            held = {name: small(each) for name, each in held.items()}
        train, made = held["train"], held["synthetic"]
        cheap, mixed = self._arms(train, made, filled, quick, seed)
        chosen_of = [*(cheap[1:] if quick else cheap), *mixed]
        seeds, folds = range(seed, seed + (self.seeds or (2 if quick else 5))), 2 if quick else FOLDS
        turns = Turns(self.tell, len(seeds) * len([*cheap, *mixed]) + folds * len(chosen_of))
        options: dict[str, Any] = {"filled": filled, "course": self.course or Course(steps=250 if quick else 600)}
        told, how = Told(turns, seeds, options), {"precision": self.precision, "segmenter": segmenter}
        test = Test.of(_cut(held["holdout"], seed), draws=DRAWS, seed=seed)
        found, ended = told.first_perfect(cheap, test, stop=stop, **how)
        sizes = (self.precision, len(test.pictures), len(train), len(made))
        if ended is not None:
            known = tuple(arm for arm in cheap if arm.name in found.values)
            return Answer(depth, filled, known, (), found, Choice(ended, {}, ""), *sizes)
        choice = told.choose(chosen_of, seed, folds, held.get("reference"))
        found = joined([found, told.compare(mixed, test, **how)])
        return Answer(depth, filled, tuple(cheap), tuple(mixed), found, choice, *sizes)

    def _arms(
        self, train: Pictures, made: Pictures, filled: tuple[str, ...], quick: bool, seed: int
    ) -> tuple[list[Arm], list[Arm]]:
        """The ways without synthetic pictures, the cheapest first, and those with them."""
        changes = changes_of(train.pixels, train.labels, seed)
        cheap, mixed = cheap_arms(train, changes), ratio_arms(train, made, filled, changes, QUICK_RATIOS if quick else RATIOS)
        return [cheap[0], cheap[-1]] if quick else cheap, mixed


def cheap_arms(train: Pictures, changes: Changes | None = None) -> list[Arm]:
    """What costs nothing, the cheapest first: nothing, balanced sampling, and classical augmentation besides."""
    changes = changes or Changes()
    return [
        Arm(NOTHING, train, balanced=False, classical=False),
        Arm(BALANCED, train, classical=False),
        Arm(CLASSICAL, train, changes=changes),
    ]


def ratio_arms(
    train: Pictures,
    made: Pictures,
    filled: tuple[str, ...],
    changes: Changes | None = None,
    ratios: tuple[float, ...] = RATIOS,
) -> list[Arm]:
    """Synthetic pictures beside balanced sampling and classical augmentation, at each ratio above nought that they are
    enough for; where not even for the least, at the one that takes them all."""
    most = min(of(made, name).sum() / max(of(train, name).sum(), 1) for name in filled)
    known = [r for r in ratios if 0 < r <= most] or [float(most)]
    return [Arm(f"{r:.3g} synthetic", train, made, r, changes=changes or Changes()) for r in known]


def _held(evidence: Evidence) -> dict[str, Pictures]:
    """The pictures of each part. Raises CannotJudgeError for rows of a table, and for parts of two sizes."""
    held = dict(evidence.memo.get("pictures") or {})
    if not held:
        if not is_pictures(evidence.train.schema):
            raise CannotJudgeError("these are rows of a table, so no detector of pictures is compared")
        parts = {"train": evidence.train, "holdout": evidence.holdout, "synthetic": evidence.synthetic}
        if evidence.reference is not evidence.train:
            parts["reference"] = evidence.reference
        held = {name: pictures(rows) for name, rows in parts.items()}
    if held.get("reference") is held["train"]:
        del held["reference"]
    if empty := [name for name, each in held.items() if not len(each)]:
        raise CannotJudgeError(f"there are no {empty[0]} pictures")
    shape = held["train"].pixels.shape[1:]
    if other := [name for name, each in held.items() if each.pixels.shape[1:] != shape]:
        raise CannotJudgeError(
            f"the {other[0]} pictures have another size or mode than the train pictures, so no detector is trained on both"
        )
    return held


def _filled(train: Pictures, made: Pictures, held: Pictures) -> tuple[str, ...]:
    """The classes by which arms are judged. Raises CannotJudgeError when none of them can be."""
    if len(np.unique(train.labels)) < 2:
        raise CannotJudgeError("train holds pictures of one class alone, so there is nothing to detect")
    filled = rare(train, made)
    if not filled:
        raise CannotJudgeError("the synthetic pictures are of no defect that train holds, so they can fill nothing up")
    counts = {name: int(of(held, name).sum()) for name in filled}
    tested = tuple(name for name, count in counts.items() if count >= LEAST_TESTED and count < len(held))
    if not tested:
        name = max(counts, key=lambda each: counts[each])
        raise CannotJudgeError(
            f"class {name!r} has {counts[name]} of {len(held)} holdout pictures, and {LEAST_TESTED} beside some of other "
            "classes are needed to compare detectors"
        )
    return tested


def _has_masks(held: Mapping[str, Pictures], filled: tuple[str, ...]) -> bool:
    """Whether marks are known in train, holdout and the synthetic pictures, for a segmenter to be trained and tested."""
    parts = [held[name] for name in ("train", "holdout", "synthetic")]
    return all(any(part.masks[of(part, name)].any() for name in filled) for part in parts)


def _cut(held: Pictures, seed: int) -> Pictures:
    """At most TESTED pictures; the common classes are cut."""
    if len(held) <= TESTED:
        return held
    rng = np.random.default_rng([seed, 127])
    counts = share_out(np.bincount(held.labels, minlength=len(held.classes)), TESTED)
    parts = [rng.permutation(np.flatnonzero(held.labels == k))[:n] for k, n in enumerate(counts)]
    return held.take(np.sort(np.concatenate(parts)))
