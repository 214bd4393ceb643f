"""How well does a detector do that is trained in one way? Arms of an experiment on pictures, and their figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from data.images import Pictures, normal_class
from validators._picture_changes import Changes
from validators._picture_nets import Course, Lesson, Scale, classify, segment
from validators._utility_scores import ranked, recalls
from validators.stats import Array

AP, RECALL, ACCURACY, IOU = "average_precision", "recall_at_precision", "balanced_accuracy", "iou"
METRICS = (AP, RECALL, ACCURACY)
#: A class with less than this share of the largest one's pictures is rare.
RARE = 0.5


@dataclass(frozen=True)
class Arm:
    """One way to train a detector.

    train: real pictures; synthetic: pictures to choose from; ratio: synthetic pictures to each real one of the classes that
    are filled up; balanced: classes are drawn equally often, and of a class at most the share `most` from synthetic pictures,
    so that many of them bring variety but do not drown the real ones (of five real pictures and fifty fine-tuned ones a
    detector reached 0.73 so, 0.47 with all drawn alike); classical: pictures are changed by chance, by `changes`."""

    name: str
    train: Pictures
    synthetic: Pictures | None = None
    ratio: float = 0.0
    balanced: bool = True
    classical: bool = True
    most: float = 0.5
    changes: Changes = field(default_factory=Changes)

    def lesson(self, filled: Sequence[str], seed: int) -> Lesson:
        """What this way learns from; of the synthetic pictures a random part of each class in `filled`."""
        real = self.train
        pixels, labels, masks = [real.pixels], [real.labels], [real.masks]
        if self.synthetic is not None and self.ratio > 0:
            made = self.synthetic.take(self._places(filled, np.random.default_rng([seed, 101])))
            pixels.append(made.pixels)
            masks.append(made.masks)
            labels.append(np.array([real.classes.index(made.classes[k]) for k in made.labels], dtype=np.int64))
        y = np.concatenate(labels)
        chances = self._chances(y, np.arange(len(y)) >= len(real)) if self.balanced else np.ones(len(y))
        return Lesson(np.concatenate(pixels), y, np.concatenate(masks), chances)

    def _chances(self, y: Array, drawn: Array) -> Array:
        """(n,) of pictures of classes `y`, of which some are synthetic; each class weighs the same."""
        k = len(self.train.classes)
        whole, made = np.bincount(y, minlength=k), np.bincount(y[drawn], minlength=k)
        share = np.minimum(made / np.maximum(whole, 1), self.most)
        return np.where(drawn, share[y] / np.maximum(made[y], 1), (1 - share[y]) / np.maximum(whole - made, 1)[y])

    def _places(self, filled: Sequence[str], rng: np.random.Generator) -> Array:
        """Positions of `ratio` synthetic pictures to each real one of a class, of all where there are fewer."""
        assert self.synthetic is not None  # noqa: S101 - for the types: `lesson` has looked
        parts = [np.zeros(0, dtype=np.int64)]
        for name in filled:
            wanted = int(np.ceil(self.ratio * of(self.train, name).sum()))
            own = np.flatnonzero(of(self.synthetic, name))
            parts.append(own if wanted >= len(own) else np.sort(rng.choice(own, wanted, replace=False)))
        return np.concatenate(parts)


def of(held: Pictures, name: str) -> Array:
    """(n,) bool, which pictures are of a class; none of a class that is unknown."""
    return np.asarray(held.labels == held.classes.index(name)) if name in held.classes else np.zeros(len(held), dtype=bool)


def rare(train: Pictures, made: Pictures | None = None, normal: str | None = None) -> tuple[str, ...]:
    """The classes that are to be filled up: those that `made` holds (all, without it), but for good parts, and of these the
    ones with less than RARE of the largest class's pictures, where there are such."""
    normal = normal_class(train, normal)
    counts = {name: int(of(train, name).sum()) for name in train.classes}
    known = [n for n, count in counts.items() if count and n != normal and (made is None or of(made, n).any())]
    few = [n for n in known if counts[n] < RARE * max(counts.values())]
    return tuple(few or known)


@dataclass(frozen=True)
class Test:
    """Real pictures that arms are tested on, group-disjoint from train.

    weights: (n, 1 + draws), the first column for the estimate itself, the others bootstrap draws of whole groups."""

    pictures: Pictures
    weights: Array

    @classmethod
    def of(cls, held: Pictures, *, draws: int = 0, seed: int = 0) -> Test:
        """The draws keep the number of groups that hold each class as their rarest."""
        weights = np.ones((len(held), 1 + draws))
        if draws:
            weights[:, 1:] = _drawn(held, draws, np.random.default_rng([seed, 103]))
        return cls(held, weights)


def _drawn(held: Pictures, draws: int, rng: np.random.Generator) -> Array:
    """(n, draws) how often each picture comes. Pictures of one group come together, as they are alike."""
    names = [None] * len(held) if not held.groups else list(held.groups)
    known: dict[str, int] = {}
    group = np.array([known.setdefault(f"#{i}" if name is None else f"={name}", len(known)) for i, name in enumerate(names)])
    counts = np.bincount(held.labels, minlength=len(held.classes))
    kind = np.full(len(known), -1)
    for k in np.argsort(-counts, kind="stable"):  # the rarest class of a group is written last
        kind[group[held.labels == k]] = k
    out = np.zeros((len(known), draws))
    for k in np.unique(kind):
        own = np.flatnonzero(kind == k)
        picks = rng.integers(0, len(own), size=(draws, len(own)))
        for draw in range(draws):
            out[own, draw] = np.bincount(picks[draw], minlength=len(own))
    return np.asarray(out[group])


@dataclass(frozen=True)
class Scores:
    """Figures of one trained detector on real pictures.

    ap, recall: of each tested class against the rest; balanced_accuracy: mean share of each class that is recognised; iou:
    of the marked pixels of all pictures together, None without a segmenter; draws: (1 + draws,) of each metric, averaged
    over the classes that are filled up."""

    ap: Mapping[str, float]
    recall: Mapping[str, float]
    balanced_accuracy: float
    iou: float | None
    draws: Mapping[str, Array]

    @property
    def macro_ap(self) -> float:
        return float(self.draws[AP][0])


def scores(
    arm: Arm,
    test: Pictures | Test,
    *,
    seed: int,
    filled: Sequence[str] | None = None,
    course: Course | None = None,
    precision: float = 0.9,
    segmenter: bool = False,
) -> Scores:
    """Train one arm and test it: a small CNN, and with `segmenter` a small U-Net on the pictures whose mask is known.

    filled: the classes whose figures are averaged, `rare` by default; recall is the greatest at `precision`. Raises
    ValueError when no picture of a class in `filled` is in the test."""
    at = test if isinstance(test, Test) else Test.of(test)
    filled = rare(arm.train, arm.synthetic) if filled is None else tuple(filled)
    course = course or Course()
    if missing := [name for name in filled if not of(at.pictures, name).any()]:
        raise ValueError(f"no test picture is of class {missing[0]!r}")
    lesson, scale = arm.lesson(filled, seed), Scale.of(arm.train.pixels)
    changes = arm.changes if arm.classical else None
    k = len(arm.train.classes)
    chances = classify(lesson, scale, [at.pictures.pixels], classes=k, changes=changes, seed=seed, course=course)[0]
    found = figures(chances, arm.train.classes, at, filled, precision)
    if not segmenter:
        return found
    iou = overlap(arm, at, seed=seed, filled=filled, course=course)
    return replace(found, iou=float(iou[0]), draws={**found.draws, IOU: iou})


def figures(chances: Array, classes: tuple[str, ...], test: Test, filled: Sequence[str], precision: float = 0.9) -> Scores:
    """Figures of (n, k) chances of `classes` for the test pictures."""
    tested = [name for name in classes if of(test.pictures, name).any()]
    each = {name: ranked(chances[:, classes.index(name)], of(test.pictures, name), test.weights, precision) for name in tested}
    place = np.array([classes.index(name) if name in classes else -1 for name in test.pictures.classes])
    y = place[test.pictures.labels]
    right = recalls(chances.argmax(axis=1), y, test.weights, np.array([classes.index(name) for name in tested]))
    draws = {metric: np.mean([each[name][metric] for name in filled], axis=0) for metric in (AP, RECALL)}
    return Scores(
        ap={name: float(each[name][AP][0]) for name in tested},
        recall={name: float(each[name][RECALL][0]) for name in tested},
        balanced_accuracy=float(right.mean(axis=0)[0]),
        iou=None,
        draws=draws | {ACCURACY: right.mean(axis=0)},
    )


def overlap(arm: Arm, test: Test, *, seed: int, filled: Sequence[str] | None = None, course: Course | None = None) -> Array:
    """Train a small U-Net in the way of `arm`, and count marked pixels found over marked or found, of all test pictures with
    a known mask together: (1 + draws,).

    Raises ValueError when no mask is known in train or test."""
    filled = rare(arm.train, arm.synthetic) if filled is None else tuple(filled)
    held = np.flatnonzero(test.pictures.masked)
    if not len(held) or not arm.train.masked.any():
        raise ValueError("no mask is known in train or test, so no segmenter can be compared")
    known = replace(
        arm,
        train=arm.train.take(np.flatnonzero(arm.train.masked)),
        synthetic=None if arm.synthetic is None else arm.synthetic.take(np.flatnonzero(arm.synthetic.masked)),
    )
    changes = replace(arm.changes, turns=arm.changes.mask_turns) if arm.classical else None
    lesson, scale = known.lesson(filled, seed), Scale.of(known.train.pixels)
    chance = segment(lesson, scale, [test.pictures.pixels[held]], changes=changes, seed=seed, course=course or Course())[0]
    said, truth, weights = chance >= 0.5, test.pictures.masks[held], test.weights[held]
    both, either = (a.sum(axis=(1, 2)).astype(float) for a in (said & truth, said | truth))
    return np.asarray((both @ weights) / np.maximum(either @ weights, 1.0))
