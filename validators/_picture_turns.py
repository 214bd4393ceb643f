"""In which order are detectors trained, who is told of it, and when is there nothing left to gain?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from data.images import Pictures
from validators._picture_arms import METRICS, Arm
from validators._picture_nets import MOST_SIZE, shrunk
from validators._picture_sweep import Choice, Comparison, choose, compare
from validators.stats import Array

#: Pictures that are made smaller at once: a large one takes megabytes as floats.
ROWS = 64


class Tell(Protocol):
    """Told where the trainings stand."""

    def advance(self, done: int, total: int, what: str, **figures: float) -> None: ...


class Turns:
    """Tells of each training before it begins: of which way, with which seed, and how many are left."""

    def __init__(self, tell: Tell | None, total: int) -> None:
        self.tell, self.total, self.done = tell, total, 0

    def through(self, plan: Sequence[tuple[str, int]]) -> Callable[[int], None]:
        """What is to hear how many of `plan`, (way, seed) in the order of training, are done; the first is told at once."""
        before = self.done
        self._say(*plan[0])

        def told(count: int) -> None:
            self.done = before + count
            if count < len(plan):
                self._say(*plan[count])

        return told

    def drop(self, count: int) -> None:
        """Trainings that were counted and need not be done."""
        self.total -= count

    def _say(self, way: str, seed: int) -> None:
        if self.tell is not None:
            left = self.total - self.done
            self.tell.advance(self.done, self.total, f"utility: {way}, seed {seed}, {left} left; trained")


@dataclass(frozen=True)
class Told:
    """Compares and chooses as `_picture_sweep` does, and tells of it. options: what each comparison is given."""

    turns: Turns
    seeds: Sequence[int]
    options: Mapping[str, Any]

    def first_perfect(self, arms: Sequence[Arm], test: Any, *, stop: bool, **how: Any) -> tuple[Comparison, str | None]:
        """The arms on the test, from the cheapest on, and with `stop` the first that is perfect, after which none is
        trained."""
        parts: list[Comparison] = []
        for arm in arms:
            parts.append(self.compare([arm], test, **how))
            if stop and perfect(parts[-1], arm.name):
                return joined(parts), arm.name
        return joined(parts), None

    def compare(self, arms: Sequence[Arm], test: Any, **how: Any) -> Comparison:
        plan = [(arm.name, seed) for seed in self.seeds for arm in arms]
        return compare(arms, test, seeds=self.seeds, told=self.turns.through(plan), **how, **self.options)

    def choose(self, arms: Sequence[Arm], seed: int, folds: int, reference: Pictures | None) -> Choice:
        """What was counted for it and not done, as there are fewer folds, is dropped."""
        plan = [(f"{arm.name} (choice)", seed) for _ in range(folds) for arm in arms]
        before = self.turns.done
        told = self.turns.through(plan)
        chosen = choose(arms, reference=reference, folds=folds, seeds=(seed,), told=told, **self.options)
        self.turns.drop(len(plan) - (self.turns.done - before))
        return chosen


def perfect(found: Comparison, name: str) -> bool:
    """Whether an arm has every score, with every seed, at its most, so that no other can gain on it."""
    return all(float(found.values[name][metric].min()) >= 1.0 - 1e-12 for metric in METRICS)


def joined(parts: Sequence[Comparison]) -> Comparison:
    """Arms that were compared one after another on the same test with the same seeds."""
    return Comparison({name: values for part in parts for name, values in part.values.items()}, parts[0].picks)


def small(held: Pictures) -> Pictures:
    """The pictures as small as a detector sees them, masks with them. Averaged once, they need not be at every step:
    of pictures of 512 pixels a side that took most of a training."""
    by = -(-held.size // MOST_SIZE)
    if by == 1 or not len(held):
        return held
    pixels = np.concatenate(list(_blocks(held.pixels)))
    side = pixels.shape[1]
    blocks = held.masks[:, : side * by, : side * by].reshape(len(held), side, by, side, by)
    return replace(held, pixels=pixels, masks=np.asarray(blocks.any(axis=(2, 4))))


def _blocks(pixels: Array) -> Iterator[Array]:
    for start in range(0, len(pixels), ROWS):
        x = torch.from_numpy(pixels[start : start + ROWS]).permute(0, 3, 1, 2).float()
        yield shrunk(x).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
