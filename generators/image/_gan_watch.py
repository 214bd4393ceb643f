"""Does the generator collapse, class by class, and which of its weights were the best?

Pictures are compared by features of a small convolutional net whose weights are drawn once from a fixed seed and never
trained: a class's samples against its training pictures, by distances alone, so that five pictures of a class will do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Height and width to which larger pictures are brought.
FAR = 64
#: At most so many pictures of a class are compared.
MOST = 64
#: A class's spread below this share of the real one is a collapse; so many looks of it in a row end the training.
COLLAPSED, IN_A_ROW = 0.35, 3
#: Below this share the spread, or the distance to the training pictures, counts against the weights.
WANTED = 0.8


class Eye(nn.Module):
    """(n, planes, h, w) in [-1, 1] -> (n, d): means and deviations of random filters' answers at three sizes, and what the
    picture looks like at 4 x 4."""

    def __init__(self, planes: int, width: int = 32) -> None:
        super().__init__()
        drawn = torch.Generator().manual_seed(20_240_117)
        self.filters = nn.ParameterList()
        inputs = planes
        for _ in range(3):
            weight = torch.randn(width, inputs, 3, 3, generator=drawn)
            weight -= weight.mean(dim=(2, 3), keepdim=True) * 0.5  # edges more than light
            self.filters.append(nn.Parameter(weight / weight.flatten(1).norm(dim=1)[:, None, None, None], requires_grad=False))
            inputs = width

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Features as they are; `Watch` brings them to one scale. Large pictures are looked at from further away."""
        if x.shape[-1] > FAR:
            x = F.adaptive_avg_pool2d(x, FAR)
        parts = [F.adaptive_avg_pool2d(x, 4).flatten(1)]
        for weight in self.filters:
            x = F.relu(F.conv2d(x, weight, padding=1))
            parts += [x.mean(dim=(2, 3)), x.std(dim=(2, 3), correction=0)]
            if min(x.shape[2:]) >= 4:
                x = F.avg_pool2d(x, 2)
        return torch.cat(parts, dim=1)


@dataclass(frozen=True)
class Seen:
    """One class at one look. spread: mean distance, and distance to the nearest, between its samples as a share of the real
    one, whichever is less (None for one real picture); near: distance of samples to the nearest real picture as a share of
    what real ones have (None for one); distance: energy distance, 0 where samples and real pictures agree."""

    spread: float | None
    near: float | None
    distance: float


@dataclass
class Watch:
    """Remembers real features and the best weights, and says when to stop.

    patience: looks without better weights that end the training; warm: looks before a collapse or patience count; best: the
    least score so far, whole: whether no class had collapsed there; weights: those of that look; stale: looks since; low: looks
    in a row in which a class was collapsed; collapsed: the class that ended the training, -1 for none."""

    real: list[Tensor]
    centre: Tensor
    scale: Tensor
    patience: int
    warm: int
    best: float = float("inf")
    whole: bool = False
    best_step: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    looks: int = 0
    stale: int = 0
    low: list[int] = field(default_factory=list)
    collapsed: int = -1

    @classmethod
    def on(cls, features: Tensor, labels: Tensor, classes: int, *, patience: int, warm: int) -> Watch:
        """A watch on the features (n, d) of the training pictures with these labels."""
        centre = features.mean(dim=0)
        scale = features.std(dim=0, correction=0).clamp(min=1e-3)
        whole = (features - centre) / scale
        real = [whole[labels == k] for k in range(classes)]
        return cls(real, centre, scale, patience, warm, low=[0] * classes)

    def judge(self, features: list[Tensor]) -> list[Seen | None]:
        """Features of samples of each class -> what is seen; None for classes without real pictures."""
        pairs = zip(self.real, features, strict=True)
        return [compared(real, (drawn - self.centre) / self.scale) if len(real) else None for real, drawn in pairs]

    def note(self, step: int, seen: list[Seen | None], weights: dict[str, Tensor]) -> bool:
        """Keep the weights when they are the best so far; whether training shall end."""
        self.looks += 1
        score, whole = scored(seen), not any(_low(one) for one in seen)
        # Collapsed weights never replace others: a mean picture can be nearer to the real ones than an unfinished one.
        if (not whole, score) < (not self.whole, self.best):
            self.best, self.whole, self.best_step, self.stale = score, whole, step, 0
            self.weights = {name: value.detach().cpu().clone() for name, value in weights.items()}
        elif self.looks > self.warm:
            self.stale += 1
        for k, one in enumerate(seen):
            self.low[k] = self.low[k] + 1 if _low(one) and self.looks > self.warm else 0
            if self.low[k] >= IN_A_ROW:
                self.collapsed = k
        return self.collapsed >= 0 or self.stale >= self.patience

    def memory(self) -> dict[str, Any]:
        """What a checkpoint holds of the watch."""
        names = ("best", "whole", "best_step", "weights", "looks", "stale", "low", "collapsed")
        return {name: getattr(self, name) for name in names}

    def recall(self, memory: dict[str, Any]) -> None:
        for name, value in memory.items():
            setattr(self, name, value)


def evenly(n: int) -> np.ndarray:
    """At most MOST places of n, evenly through their order: neighbours are often pictures of one part."""
    return np.linspace(0, n - 1, min(MOST, n)).round().astype(np.int64)


def compared(real: Tensor, drawn: Tensor) -> Seen:
    """(n, d), (m, d), both at least one row -> what of the drawn differs from the real.

    The energy distance is that of Szekely and Rizzo 2013, as a share of the mean distance between real pictures."""
    across = _apart(drawn, real)
    among = _mean(drawn, drawn)
    if len(real) < 2:
        return Seen(None, None, float((2 * across.mean() - among) / real.shape[1] ** 0.5))
    inside = _mean(real, real)
    floor = 1e-3 * real.shape[1] ** 0.5
    nearest = _nearest(real)
    group = min(len(real), len(drawn))
    # The nearest of many is nearer than the nearest of few: groups as large as the real one.
    parts = torch.split(drawn, group)
    own = torch.stack([_nearest(part) for part in parts if len(part) == group]).mean()
    spread = min(float((among + floor) / (inside + floor)), float((own + floor) / (nearest + floor)))
    near = float((across.min(dim=1).values.mean() + floor) / (nearest + floor))
    return Seen(spread, near, float((2 * across.mean() - among - inside) / (inside + floor)))


def _low(one: Seen | None) -> bool:
    return one is not None and one.spread is not None and one.spread < COLLAPSED


def _mean(a: Tensor, b: Tensor) -> Tensor:
    """Mean distance between different rows of one set."""
    n = len(a)
    return _apart(a, b).sum() / max(1, n * (n - 1))


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """Distances of all pairs; not by products, which would leave equal rows a little apart."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _nearest(rows: Tensor) -> Tensor:
    """Mean distance of a row to the nearest other."""
    apart = _apart(rows, rows)
    apart.fill_diagonal_(float("inf"))
    nearest = apart.min(dim=1).values
    return nearest[nearest.isfinite()].mean() if len(rows) > 1 else torch.zeros(())


def scored(seen: list[Seen | None]) -> float:
    """How bad: the mean over classes of distance, lost spread, and nearness to training pictures beyond what real ones have."""
    total, classes = 0.0, 0
    for one in seen:
        if one is None:
            continue
        lost = 0.0 if one.spread is None else max(0.0, WANTED - one.spread)
        copied = 0.0 if one.near is None else max(0.0, WANTED - one.near)
        total, classes = total + one.distance + lost + copied, classes + 1
    return total / max(1, classes)


def figures(seen: list[Seen | None], score: float) -> dict[str, float]:
    """What is shown of a look: the least spread of all classes, the mean distance, the score that chooses weights."""
    known = [one for one in seen if one is not None]
    spreads = [one.spread for one in known if one.spread is not None]
    nears = [one.near for one in known if one.near is not None]
    shown = {"distance": sum(one.distance for one in known) / max(1, len(known)), "score": score}
    return shown | ({"spread_min": min(spreads)} if spreads else {}) | ({"near_min": min(nears)} if nears else {})
