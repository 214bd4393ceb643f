"""What does a variational autoencoder learn in one step, so that what it reads back is no blurrier than it must be?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generators.image._loop import Hand, Look
from generators.image._pictures import to_unit
from generators.image._vae_net import Layout, Pair

PAIR = "pair"
#: Below this difference, of a range of 2, an error counts by its square.
SOFT = 0.02
#: Weight of the differences between neighbours, and of the picture at half and at a quarter of its size.
EDGES, COARSER = 0.5, (1.0, 1.0)
#: Weight of the mask against the picture.
MASK = 0.5


@dataclass(frozen=True)
class Lesson:
    """Settings of a training; as in `VAE`."""

    learning_rate: float
    steps: int
    beta: float
    free_nats: float
    warmup: float


def planes(batch: dict[str, Tensor], layout: Layout) -> Tensor:
    """The pictures, padded: (n, channels, side, side) in [-1, 1]."""
    return layout.padded(to_unit(batch["pixels"]))


class Lessons:
    """The trainee of the loop."""

    averaged: tuple[str, ...] = (PAIR,)

    def __init__(self, pair: Pair, lesson: Lesson, show: Callable[[nn.Module, torch.device], np.ndarray] | None) -> None:
        self.layout, self.lesson, self.show = pair.layout, lesson, show
        self.parts: dict[str, nn.Module] = {PAIR: pair}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            PAIR: torch.optim.AdamW(pair.parameters(), lesson.learning_rate, betas=(0.9, 0.99), weight_decay=0.01)
        }

    def step(self, batch: dict[str, Tensor], hand: Hand) -> dict[str, Tensor]:
        """One update."""
        self._schedule(hand.steps)
        real, labels = planes(batch, self.layout), batch["labels"]
        with hand.autocast():
            back, far = self.parts[PAIR](real, labels, hand.randn(len(real), self.layout.latent))
        back, far = back.float(), far.float()
        error = unlike(back[:, : self.layout.channels], real)
        # Under the width of error that fits best, its negative log likelihood is the number of values times log(error).
        values = self.layout.channels * self.layout.size**2
        kl = far.mean(dim=0).clamp(min=self.lesson.free_nats).sum()
        loss = torch.log(error + 1e-4) + self._beta(hand.steps) * kl / values
        told = {"error": error.detach(), "kl": far.sum(dim=1).mean().detach()}
        if self.layout.masked:
            wrong = self._mask_error(back[:, -1], batch)
            loss, told["mask"] = loss + MASK * wrong, wrong.detach()
        hand.update(PAIR, loss, clip=1.0)
        return told

    def _mask_error(self, said: Tensor, batch: dict[str, Tensor]) -> Tensor:
        mask = self.layout.padded(batch["masks"][:, None].float())[:, 0]
        each = F.binary_cross_entropy_with_logits(said, mask, reduction="none").mean(dim=(1, 2))
        overlap = (said.sigmoid() * mask).sum(dim=(1, 2)) * 2 + 1
        each = each + 0.2 * (1 - overlap / (said.sigmoid().sum(dim=(1, 2)) + mask.sum(dim=(1, 2)) + 1))
        known = batch["known"].float()
        return (each * known).sum() / known.sum().clamp(min=1)

    def look(self, step: int, hand: Hand) -> Look:
        return Look(grid=self.show(hand.average[PAIR], hand.device)) if self.show else Look()

    def memory(self) -> dict[str, Any]:
        return {}

    def recall(self, memory: dict[str, Any]) -> None:
        return None

    def _beta(self, done: int) -> float:
        """The weight of the divergence, rising from nothing over the warm-up."""
        return self.lesson.beta * min(1.0, (done + 1) / max(1.0, self.lesson.warmup * self.lesson.steps))

    def _schedule(self, done: int) -> None:
        rise = min(1.0, (done + 1) / max(1, min(100, self.lesson.steps // 10)))
        fall = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done / self.lesson.steps)))
        for group in self.optimizers[PAIR].param_groups:
            group["lr"] = self.lesson.learning_rate * rise * fall


def unlike(a: Tensor, b: Tensor) -> Tensor:
    """How far two stacks (n, c, s, s) are apart: their pixels, the differences between neighbours, and both at half and a
    quarter of the size. A square would be kindest to blur; this is nearer to the absolute value (Charbonnier et al. 1994)."""
    off = a - b
    total = _soft(off) + EDGES * (_soft(off.diff(dim=-1)) + _soft(off.diff(dim=-2)))
    for weight in COARSER:
        if off.shape[-1] < 4:
            break
        off = F.avg_pool2d(off, 2)
        total = total + weight * _soft(off)
    return total


def _soft(off: Tensor) -> Tensor:
    return (off.square() + SOFT**2).sqrt().sub(SOFT).mean()
