"""How do the two networks of a GAN on pictures play one step, and how is the game watched?

The relativistic loss pairs a real and a drawn picture of one class; zero-centred penalties hold the critic's slope at real
pictures (R1) and at drawn ones (R2): Huang et al. 2024 (arXiv 2501.05441)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.images import Pictures
from generators.image._gan_augment import Adaptive, Augment
from generators.image._gan_nets import Critic, Layout, Maker
from generators.image._gan_watch import MOST, Eye, Watch, evenly, figures, scored
from generators.image._loop import Hand, Look, grid
from generators.image._pictures import to_bytes, to_unit

MAKER, CRITIC = "maker", "critic"
#: The share of a batch at which the critic's slope is measured: it costs as much as the rest of a step.
SLOPES = 0.25
#: Learning rate and penalty at the end, as a share of the beginning.
LAST_RATE, LAST_PENALTY = 0.1, 0.1
#: Samples at one look, of all classes together, and pictures drawn at once.
LOOKED_AT, AT_ONCE = 512, 32
#: Classes, and pictures of each, on a grid.
GRID_CLASSES, GRID_COLUMNS = 8, 8


@dataclass(frozen=True)
class Play:
    """Settings of a game. penalty: weight of R1 and R2; pace: steps in which the chance of changes can go from none to
    its limit; steps: how long the game will be; the rest as in `GAN`."""

    learning_rate: float
    penalty: float
    ways: tuple[str, ...]
    augment_start: float
    augment_goal: float
    pace: int
    steps: int
    compiled: bool = False


class Game:
    """The trainee of the loop: the maker, the critic, their optimisers, the changes, the watch."""

    averaged: tuple[str, ...] = (MAKER,)

    def __init__(self, layout: Layout, maker: Maker, critic: Critic, play: Play, watch: Watch) -> None:
        self.layout, self.play, self.watch = layout, play, watch
        self.parts: dict[str, nn.Module] = {MAKER: maker, CRITIC: critic}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            name: torch.optim.Adam(part.parameters(), play.learning_rate, betas=(0.0, 0.99))
            for name, part in self.parts.items()
        }
        self.augment = Augment(play.ways, layout.channels)
        self.adaptive = Adaptive(layout.classes, play.augment_start, play.augment_goal, play.pace)
        self.eye = Eye(layout.planes)
        # The critic is not compiled: its slope is differentiated once more, which compiled graphs cannot be.
        self.make: Callable[[Tensor, Tensor], Tensor] = torch.compile(maker) if play.compiled else maker

    def step(self, batch: dict[str, Tensor], hand: Hand) -> dict[str, Tensor]:
        """The critic's update and the maker's, on one drawing."""
        weight = self._schedule(hand.steps)
        real, labels, known = planes(batch, self.layout.masked), batch["labels"], batch["known"]
        with hand.autocast():
            drawn = self.make(hand.randn(len(labels), self.layout.noise), labels)
        if self.layout.masked:  # what has no known mask is compared without
            drawn = torch.cat([drawn[:, :-1], drawn[:, -1:] * known.view(-1, 1, 1, 1)], dim=1)
        lost, of_real = self._teach_critic(real, drawn.detach(), labels, weight, hand)
        return lost | self._teach_maker(drawn, of_real, labels, hand)

    def _teach_critic(
        self, real: Tensor, drawn: Tensor, labels: Tensor, weight: float, hand: Hand
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Losses, and what the critic said of the real pictures."""
        critic, n = self.parts[CRITIC].requires_grad_(True), len(labels)
        seen = self.augment(torch.cat([real, drawn]), self.adaptive.p[labels.cpu()].repeat(2), hand)
        some = max(1, round(n * SLOPES))
        ends = torch.cat([torch.arange(some), n + torch.arange(some)]).to(labels.device)
        with hand.autocast():
            said = critic(seen, torch.cat([labels, labels]))
            at = seen[ends].requires_grad_(True)
            (slope,) = torch.autograd.grad(critic(at, labels[ends % n]).sum(), at, create_graph=True)
        steep = slope.square().sum(dim=(1, 2, 3)).view(2, some).mean(dim=1).sum()
        lead = said[:n] - said[n:]
        loss = F.softplus(-lead).mean()
        hand.update(CRITIC, loss + weight / 2 * steep)
        if hand.steps % 4 == 0:
            self.adaptive.see(said[:n], said[n:], labels, steps=4, total=hand.total)
        return {"critic": loss.detach(), "slope": steep.detach()}, said[:n].detach()

    def _teach_maker(self, drawn: Tensor, of_real: Tensor, labels: Tensor, hand: Hand) -> dict[str, Tensor]:
        critic = self.parts[CRITIC].requires_grad_(False)
        with hand.autocast():
            of_drawn = critic(self.augment(drawn, self.adaptive.p[labels.cpu()], hand), labels)
        # What was said of real pictures a moment ago will do: it weighs the pairs, no gradient goes through it.
        loss = F.softplus(of_real - of_drawn).mean()
        hand.update(MAKER, loss)
        return {"generator": loss.detach()}

    def _schedule(self, done: int) -> float:
        """Set the learning rates of this step; the penalty's weight. Both are held for half the game, then sink."""
        part = min(1.0, max(0.0, 2 * done / self.play.steps - 1))
        fall = 0.5 + 0.5 * math.cos(math.pi * part)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = self.play.learning_rate * (LAST_RATE + (1 - LAST_RATE) * fall)
        return self.play.penalty * (LAST_PENALTY + (1 - LAST_PENALTY) * fall)

    def look(self, step: int, hand: Hand) -> Look:
        maker = hand.average[MAKER]
        per_class = max(8, min(MOST, LOOKED_AT // self.layout.classes))
        # The same noise at every look: what differs between two looks is the weights.
        noise = torch.randn(per_class, self.layout.noise, generator=torch.Generator().manual_seed(11))
        eye = self.eye.to(hand.device)
        shown: list[np.ndarray] = []
        features: list[Tensor] = []
        for k in range(self.layout.classes):
            if not len(self.watch.real[k]):
                features.append(torch.zeros(0))
                continue
            images = drawings(maker, noise, torch.full((per_class,), k))
            features.append(eye(images.to(hand.device).clamp(-1, 1)).cpu())
            if len(shown) < GRID_CLASSES * (1 + self.layout.masked):
                shown += self._rows(images[:GRID_COLUMNS])
        seen = self.watch.judge(features)
        stop = self.watch.note(step, seen, maker.state_dict())
        numbers = figures(seen, scored(seen)) | {
            "augment": float(self.adaptive.p.max()),
            "best_step": float(self.watch.best_step),
        }
        return Look(numbers, stop=stop, grid=grid(np.concatenate(shown), columns=len(shown[0])))

    def _rows(self, images: Tensor) -> list[np.ndarray]:
        """Pictures, and their masks under them."""
        pixels = to_bytes(images[:, : self.layout.channels])
        if not self.layout.masked:
            return [pixels]
        return [pixels, np.repeat(to_bytes(images[:, -1:]), self.layout.channels, axis=3)]

    def memory(self) -> dict[str, Any]:
        return {"augment": self.adaptive.state(), "watch": self.watch.memory()}

    def recall(self, memory: dict[str, Any]) -> None:
        self.adaptive.back(memory["augment"])
        self.watch.recall(memory["watch"])


def resident(train: Pictures) -> dict[str, Tensor]:
    """What stays on the device: pictures and masks in uint8, whether a mask is known, labels."""
    return {
        "pixels": torch.from_numpy(np.ascontiguousarray(train.pixels)),
        "masks": torch.from_numpy(train.masks.astype(np.uint8)),
        "known": torch.from_numpy(train.masked.astype(np.float32)),
        "labels": torch.from_numpy(train.labels),
    }


def planes(batch: Mapping[str, Tensor], masked: bool) -> Tensor:
    """(n, channels + masked, h, w) in [-1, 1]; an unknown mask is 0 throughout."""
    pictures = to_unit(batch["pixels"])
    if not masked:
        return pictures
    mask = (batch["masks"].float() * 2 - 1) * batch["known"].view(-1, 1, 1)
    return torch.cat([pictures, mask[:, None]], dim=1)


def drawings(maker: nn.Module, noise: Tensor, labels: Tensor) -> Tensor:
    """The maker's (n, planes, size, size), a few at a time, on the CPU; the same whatever the number of cores."""
    device = next(maker.parameters()).device
    parts = list(zip(torch.split(noise, AT_ONCE), torch.split(labels, AT_ONCE), strict=True))

    def draw(part: tuple[Tensor, Tensor]) -> Tensor:
        with torch.inference_mode():  # holds for the thread that enters it
            made: Tensor = maker(part[0].to(device), part[1].to(device)).cpu()
            return made

    if device.type != "cpu":
        return torch.cat([draw(part) for part in parts])
    return torch.cat(_on_all_cores(draw, parts))


def _on_all_cores(work: Callable[[tuple[Tensor, Tensor]], Tensor], parts: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Each part on one core: cores that share one small part wait for each other, the longer the busier the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(work, parts))
    finally:
        torch.set_num_threads(threads)


def watch_on(train: Pictures, layout: Layout, *, patience: int, warm: int) -> Watch:
    """A watch on the training pictures, at most MOST of each class."""
    chosen = train.take(np.concatenate([where[evenly(len(where))] for where in _by_class(train.labels)]))
    eye, data = Eye(layout.planes), resident(chosen)
    pieces = torch.split(torch.arange(len(chosen)), AT_ONCE)
    features = torch.cat([eye(planes({k: v[i] for k, v in data.items()}, layout.masked)) for i in pieces])
    return Watch.on(features, data["labels"], layout.classes, patience=patience, warm=warm)


def _by_class(labels: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(labels == k) for k in np.unique(labels)]
