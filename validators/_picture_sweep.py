"""Which of several ways to train a detector is best, how sure is that, and which would be chosen without the test?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data.images import Pictures
from validators._picture_arms import AP, IOU, METRICS, Arm, Test, of, overlap, rare, scores
from validators._picture_nets import Course
from validators._utility_scores import interval, over_seeds
from validators.stats import Array

#: Synthetic pictures to a real one of the class that is filled up; and bootstrap draws of the test.
RATIOS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
DRAWS, FOLDS = 400, 3
#: Reference pictures of a class by which a ratio is chosen; of fewer, folds of train tell more.
LEAST_HELD = 5
#: Told before each training: how many are done.
Told = Callable[[int], None]


@dataclass(frozen=True)
class Comparison:
    """All arms on the test: name -> metric -> (seeds, 1 + draws).

    picks: (1, draws) the seed of each bootstrap draw, the same for all arms."""

    values: Mapping[str, Mapping[str, Array]]
    picks: Array

    def figure(self, name: str, metric: str = AP) -> tuple[float, float, float]:
        """Estimate and 95 % interval over test pictures and seeds."""
        return interval(over_seeds(self.values[name][metric], self.picks))

    def gain(self, better: str, than: str, metric: str = AP) -> tuple[float, float, float]:
        """The paired difference over the same test pictures and seeds, with its 95 % interval."""
        a, b = (over_seeds(self.values[name][metric], self.picks) for name in (better, than))
        return interval(a - b)

    def seeds(self, name: str, metric: str = AP) -> list[float]:
        """The estimate of each seed."""
        return [float(value) for value in self.values[name][metric][:, 0]]


@dataclass(frozen=True)
class Choice:
    """The arm that would be chosen without the test.

    figures: each arm's average precision, or overlap, on the pictures set aside, (folds,) each; on: which those are, empty
    where there were none to choose on and the cheapest is taken."""

    name: str
    figures: Mapping[str, Array]
    on: str


def compare(
    arms: Sequence[Arm],
    test: Pictures | Test,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    filled: Sequence[str] | None = None,
    course: Course | None = None,
    precision: float = 0.9,
    segmenter: bool = False,
    told: Told | None = None,
) -> Comparison:
    """Every arm with every seed on the same test pictures; a seed draws first weights, batches and synthetic pictures.

    Raises ValueError without arms or seeds, or when no test picture is of a class in `filled`."""
    if not arms or not seeds:
        raise ValueError("give at least one arm and one seed")
    at = test if isinstance(test, Test) else Test.of(test, draws=DRAWS)
    filled = _filled(arms) if filled is None else filled
    found: dict[str, list[Mapping[str, Array]]] = {arm.name: [] for arm in arms}
    for seed in seeds:
        for arm in arms:
            one = scores(arm, at, seed=seed, filled=filled, course=course, precision=precision, segmenter=segmenter)
            found[arm.name].append(one.draws)
            if told is not None:
                told(sum(map(len, found.values())))
    metrics = (*METRICS, IOU) if segmenter else METRICS
    values = {name: {m: np.stack([one[m] for one in done]) for m in metrics} for name, done in found.items()}
    return Comparison(values, picks_of(len(seeds), at.weights.shape[1] - 1))


def picks_of(seeds: int, draws: int) -> Array:
    """Which seed each bootstrap draw takes: (1, draws). One, not the mean of all: what is claimed must hold for a detector
    that is trained once."""
    return np.random.default_rng(109).integers(0, seeds, size=(1, draws))


def _filled(arms: Sequence[Arm]) -> tuple[str, ...]:
    made = next((arm.synthetic for arm in arms if arm.synthetic is not None), None)
    return rare(arms[0].train, made)


def choose(
    arms: Sequence[Arm],
    *,
    reference: Pictures | None = None,
    filled: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    course: Course | None = None,
    folds: int = FOLDS,
    segmenter: bool = False,
    told: Told | None = None,
) -> Choice:
    """Choose among arms, given from the cheapest on, without a look at the test.

    reference: real pictures that no generator has seen; without them (or LEAST_HELD of a class) train is divided into folds
    of whole groups. The generator has seen those, so that the choice leans towards copies: the best arm is therefore taken
    only where it beats the cheapest of those that come within one standard error of it (Breiman et al. 1984). Without two
    groups of any class to divide, the cheapest arm is taken. segmenter: choose by the overlap of a segmenter's marks."""
    filled = _filled(arms) if filled is None else tuple(filled)
    parts = _parts(arms[0].train, reference, filled, folds)
    scored: dict[str, list[float]] = {arm.name: [] for arm in arms}
    for part in parts:
        # A single measurement has no error to be within: as many seeds as there would be folds.
        for seed in seeds if part.fit is not None or len(seeds) > 1 else range(seeds[0], seeds[0] + folds):
            for arm in arms:
                cut = arm if part.fit is None else replace(arm, train=arm.train.take(part.fit))
                scored[arm.name].append(_figure(cut, part, seed, course, segmenter))
                if told is not None:
                    told(sum(map(len, scored.values())))
    if not parts:
        return Choice(arms[0].name, {}, "")
    figures = {name: np.array(values) for name, values in scored.items()}
    on = "the reference pictures" if parts[0].fit is None else f"{len(parts)} folds of train"
    return Choice(_cheapest(figures), figures, on)


def _figure(arm: Arm, part: _Part, seed: int, course: Course | None, segmenter: bool) -> float:
    if segmenter:
        return float(overlap(arm, Test.of(part.held), seed=seed, filled=part.filled, course=course)[0])
    return scores(arm, part.held, seed=seed, filled=part.filled, course=course).macro_ap


def best(choice: Choice, names: Sequence[str]) -> str:
    """Of these arms the one that did best on the pictures set aside; of equal ones, and without such, the first."""
    if not choice.figures:
        return names[0]
    return max(names, key=lambda name: float(choice.figures[name].mean()))


def _cheapest(figures: Mapping[str, Array]) -> str:
    """The first arm whose paired distance to the best is within one standard error."""
    names = list(figures)
    top = max(names, key=lambda name: float(figures[name].mean()))
    for name in names:
        behind = figures[top] - figures[name]
        error = float(behind.std(ddof=1) / np.sqrt(len(behind))) if len(behind) > 1 else 0.0
        if behind.mean() <= error:
            return name
    return top


@dataclass(frozen=True)
class _Part:
    """Pictures to choose on. fit: positions in train to learn from, None for all of it."""

    held: Pictures
    fit: Array | None
    filled: tuple[str, ...]


def _parts(train: Pictures, reference: Pictures | None, filled: Sequence[str], folds: int) -> list[_Part]:
    if reference is not None and (known := tuple(n for n in filled if of(reference, n).sum() >= LEAST_HELD)):
        return [_Part(reference, None, known)]
    fold = folds_of(train, filled, folds)
    out = []
    for f in range(folds):
        held, fit = np.flatnonzero(fold == f), np.flatnonzero(fold != f)
        both = tuple(n for n in filled if of(train, n)[held].any() and of(train, n)[fit].any())
        if both and len(np.unique(train.labels[fit])) > 1:
            out.append(_Part(train.take(held), fit, both))
    return out


def folds_of(train: Pictures, filled: Sequence[str], count: int) -> Array:
    """(n,) fold of each picture; pictures of one group share it, and groups of the rarest class are dealt first."""
    names = [None] * len(train) if not train.groups else list(train.groups)
    known: dict[str, int] = {}
    group = np.array([known.setdefault(f"#{i}" if name is None else f"={name}", len(known)) for i, name in enumerate(names)])
    rng = np.random.default_rng(113)
    dealt = np.full(len(known), -1)
    sizes = {name: int(of(train, name).sum()) for name in train.classes}
    for name in sorted(train.classes, key=lambda n: (n not in filled, sizes[n])):
        own = np.unique(group[of(train, name)])
        # A group of two classes was dealt with the rarer one; the rest goes where the class has least so far.
        for g in rng.permutation(own[dealt[own] < 0]):
            held = np.bincount(dealt[own][dealt[own] >= 0], minlength=count)
            dealt[g] = int(np.argmin(held))
    return np.asarray(dealt[group])
