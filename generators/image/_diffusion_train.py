"""How does a denoiser learn one step, and how are pictures drawn with it?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data.images import Pictures
from generators.image._diffusion_change import Dice, changed
from generators.image._diffusion_net import Denoiser, Layout
from generators.image._loop import Hand, Look, grid
from generators.image._noise import (
    Objective,
    Sampler,
    level_of,
    min_snr,
    noised,
    sampled,
    snr,
    spread_levels,
    terms,
    walk,
)
from generators.image._pictures import to_bytes, to_unit

Array = np.ndarray
NET = "denoiser"
#: Noise as a multiple of the pictures' spread, where the way begins and where it ends.
MOST, LEAST = 20.0, 0.02
#: Noise between which guidance is asked for. Source: Kynkaanniemi et al. 2024 (arXiv 2404.07724), their best interval.
GUIDED = (0.4, 6.0)
#: Share of the labels that are left out while training, for guidance.
DROPPED = 0.1
#: Pixels of all planes that go through the network at once while sampling.
AT_ONCE = 2**19
#: Classes, and pictures of each, on a grid.
GRID_CLASSES, GRID_COLUMNS = 6, 8


@dataclass(frozen=True)
class Lesson:
    """Settings of a training; as in `Diffusion`."""

    objective: Objective
    learning_rate: float
    steps: int
    gamma: float | None
    ways: tuple[str, ...]
    chance: float
    compiled: bool = False


def resident(known: Pictures) -> dict[str, Tensor]:
    """What stays on the device: pixels and masks as bytes, labels, and whether the mask of each is known."""
    return {
        "pixels": torch.from_numpy(known.pixels),
        "masks": torch.from_numpy(known.masks),
        "labels": torch.from_numpy(known.labels),
        "known": torch.from_numpy(known.masked),
    }


def planes(batch: dict[str, Tensor], layout: Layout) -> Tensor:
    """Pictures with their masks as one more channel of -1 and 1, padded: (n, planes, side, side) in [-1, 1].

    The mask of a picture without a known one is 0 throughout."""
    shown = to_unit(batch["pixels"])
    if layout.masked:
        mask = (batch["masks"][:, None].float() * 2 - 1) * batch["known"].view(-1, 1, 1, 1)
        shown = torch.cat([shown, mask], dim=1)
    return layout.padded(shown)


def prepare(net: Denoiser, data: dict[str, Tensor], ways: tuple[str, ...], seed: int) -> None:
    """Teach the prior of the network what `resident` holds."""
    whole = planes(data, net.layout)
    stream = torch.Generator().manual_seed(seed % 2**63)
    net.prior.learn(whole, changed(whole, ways, 1.0, Dice(stream))[0], data["labels"], net.layout.channels)


class Lessons:
    """The trainee of the loop."""

    averaged: tuple[str, ...] = (NET,)

    def __init__(self, net: Denoiser, lesson: Lesson, show: Callable[[nn.Module, torch.device], Array] | None) -> None:
        self.lesson, self.show, self.prior = lesson, show, net.prior
        self.layout = net.layout
        self.parts: dict[str, nn.Module] = {NET: net}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            NET: torch.optim.AdamW(net.parameters(), lesson.learning_rate, betas=(0.9, 0.99), weight_decay=0.01)
        }
        self.ask: Callable[..., Tensor] = torch.compile(net) if lesson.compiled else net

    def step(self, batch: dict[str, Tensor], hand: Hand) -> dict[str, Tensor]:
        """One update on noisy pictures."""
        self._schedule(hand.steps)
        clean, told = changed(planes(batch, self.layout), self.lesson.ways, self.lesson.chance, hand)
        clean = self.prior.scaled(clean)
        labels = torch.where(hand.rand(len(clean)) < DROPPED, self.layout.classes, batch["labels"])
        level = spread_levels(hand.rand(len(clean)), self.lesson.objective, level_of(LEAST), level_of(MOST))
        noise = hand.randn(*clean.shape)
        with hand.autocast():
            guess = self.ask(noised(clean, noise, level), level, labels, told)
        off = ((guess - clean) * terms(self.lesson.objective, level)).square().mean(dim=(2, 3))
        if self.layout.masked:
            off = torch.cat([off[:, :-1], off[:, -1:] * batch["known"][:, None]], dim=1)
        loss = (off.mean(dim=1) * self._weight(level)).mean()
        hand.update(NET, loss, clip=1.0)
        return {"loss": loss.detach()}

    def _weight(self, level: Tensor) -> Tensor:
        if self.lesson.gamma is None:
            return torch.ones_like(level)
        return min_snr(snr(level), self.lesson.objective, self.lesson.gamma)

    def look(self, step: int, hand: Hand) -> Look:
        return Look(grid=self.show(hand.average[NET], hand.device)) if self.show else Look()

    def memory(self) -> dict[str, Any]:
        return {}

    def recall(self, memory: dict[str, Any]) -> None:
        return None

    def _schedule(self, done: int) -> None:
        """The learning rate: a short rise, then half a cosine to almost nothing."""
        rise = min(1.0, (done + 1) / max(1, min(100, self.lesson.steps // 10)))
        fall = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done / self.lesson.steps)))
        for group in self.optimizers[NET].param_groups:
            group["lr"] = self.lesson.learning_rate * rise * fall


@dataclass(frozen=True)
class Way:
    """How pictures are drawn; as in `Diffusion`."""

    sampler: Sampler
    guidance: float
    evaluations: int

    def levels(self) -> list[float]:
        """The levels that are walked: as many as the evaluations pay for, guided ones twice."""
        for steps in range(self.evaluations, 0, -1):
            levels = walk(steps, level_of(LEAST), level_of(MOST))
            if steps + sum(self.guided(level) for level in levels) <= self.evaluations:
                return levels
        raise ValueError("at least two evaluations are needed where guidance is asked for")

    def guided(self, level: float) -> bool:
        """Whether guidance is asked for at a level."""
        return self.guidance != 1 and level_of(GUIDED[0]) <= level <= level_of(GUIDED[1])


@torch.no_grad()
def drawings(net: Any, way: Way, labels: Array, seeds: Sequence[int], device: torch.device) -> Tensor:
    """Pictures in [-1, 1] on the CPU, each from the stream of its own seed alone: (n, planes, size, size)."""
    layout: Layout = net.layout
    at_once = max(1, AT_ONCE // (layout.planes * layout.side**2))
    parts = [
        _some(net, way, torch.from_numpy(labels[i : i + at_once]).to(device), seeds[i : i + at_once], device)
        for i in range(0, len(labels), at_once)
    ]
    return torch.cat(parts) if parts else torch.zeros(0, layout.planes, layout.size, layout.size)


def _some(net: Any, way: Way, labels: Tensor, seeds: Sequence[int], device: torch.device) -> Tensor:
    layout: Layout = net.layout
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    levels = way.levels()
    coarse = net.prior.drawn(labels, generators)
    noise = torch.stack([torch.randn(coarse.shape[1:], generator=generator) for generator in generators]).to(device)
    nothing = torch.full_like(labels, layout.classes)

    def denoise(noisy: Tensor, level: float) -> Tensor:
        at = torch.full((len(labels),), level, device=device)
        clean = net(noisy, at, labels)
        if way.guided(level):
            without = net(noisy, at, nothing)
            clean = without + way.guidance * (clean - without)
        clipped: Tensor = net.prior.clipped(clean)
        return clipped

    first = torch.full((len(labels),), levels[0], device=device)
    made = sampled(denoise, noised(coarse, noise, first), levels, way.sampler, generators)
    return layout.cropped(net.prior.unscaled(made)).cpu()


def shown(net: Any, way: Way, present: Sequence[int], device: torch.device) -> Array:
    """A grid of samples, a row for each class, masks under them."""
    channels, rows = net.layout.channels, []
    for k in list(present)[:GRID_CLASSES]:
        images = drawings(net, way, np.full(GRID_COLUMNS, k), range(GRID_COLUMNS), device)
        rows.append(to_bytes(images[:, :channels]))
        if net.layout.masked:
            rows.append(np.repeat(to_bytes(images[:, -1:]), channels, axis=3))
    return grid(np.concatenate(rows), columns=GRID_COLUMNS)
