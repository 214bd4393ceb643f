"""Which point of a latent space does a window come from, and which window does a point become?"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.series._planes import Layout, Told
from generators.tabular._density_train import Density

#: Least log of the noise, in deviations of a channel; how far (nats) it may depart from what is usual of the class.
QUIET, SWAY = -5.0, 2.0
#: Least and greatest log of a point's standard deviation.
NARROW, WIDE = -6.0, 1.0
#: Share of windows some of whose readings are hidden from the encoder while training, and of these readings at most.
BLIND, HIDDEN = 0.5, 0.3
NORMAL = 0.5 * math.log(2 * math.pi)


class Block(nn.Module):
    """(n, width, t) -> (n, width, t): a residual layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(width, width, 3, padding=1), nn.Conv1d(width, width, 3, padding=1)
        with torch.no_grad():
            self.last.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.last(F.silu(self.first(F.silu(x))))
        return out


class Encoder(nn.Module):
    """Planes and which are known -> mean and log deviation of a point: convolutions, each of which halves the readings."""

    def __init__(self, layout: Layout, width: int, latent: int) -> None:
        super().__init__()
        wide = [width, *[2 * width] * layout.halvings]
        self.enter = nn.Conv1d(layout.planes + len(layout.counts), width, 5, padding=2)
        self.halve = nn.ModuleList(nn.Conv1d(a, b, 4, 2, 1) for a, b in zip(wide, wide[1:], strict=False))
        self.blocks = nn.ModuleList(Block(b) for b in wide[1:])
        self.told = Told(layout.about, 4 * width)
        self.flat = nn.Linear(wide[-1] * (layout.side >> layout.halvings), 4 * width)
        self.point = nn.Linear(4 * width, 2 * latent)
        self.first = layout.first

    def forward(self, x: Tensor, known: Tensor, about: Tensor) -> tuple[Tensor, Tensor]:
        """(n, planes, side), the same bool, (n, d) -> two of (n, latent)."""
        h = self.enter(torch.cat([x, known[:, self.first].float()], dim=1))
        for halve, block in zip(self.halve, self.blocks, strict=True):
            h = block(halve(F.silu(h)))
        h = F.silu(self.flat(F.silu(h).flatten(1)) + self.told(about))
        mean, spread = self.point(h).chunk(2, dim=1)
        return mean, spread.clamp(NARROW, WIDE)


class Decoder(nn.Module):
    """A point -> what is expected of each plane (logits of levels), and the log of the noise around each number."""

    def __init__(self, layout: Layout, width: int, latent: int) -> None:
        super().__init__()
        wide = [width, *[2 * width] * layout.halvings]
        self.layout, self.start = layout, (wide[-1], layout.side >> layout.halvings)
        self.told, self.enter = Told(layout.about, 4 * width), nn.Linear(latent, 4 * width)
        self.flat = nn.Linear(4 * width, self.start[0] * self.start[1])
        self.blocks = nn.ModuleList(Block(b) for b in wide[:0:-1])
        self.finer = nn.ModuleList(nn.Conv1d(b, a, 5, padding=2) for b, a in zip(wide[:0:-1], wide[-2::-1], strict=True))
        self.last = Block(width)
        self.mean, self.noise = (
            nn.Conv1d(width, layout.planes, 5, padding=2),
            nn.Conv1d(width, max(len(layout.numbers), 1), 5, padding=2),
        )
        self.usual = Told(layout.about, len(layout.numbers)) if layout.numbers else None
        nn.init.zeros_(self.noise.weight)
        if self.usual is not None:
            nn.init.zeros_(self.usual.enter.weight)
            nn.init.zeros_(self.usual.enter.bias)

    def forward(self, z: Tensor, about: Tensor) -> tuple[Tensor, Tensor]:
        """(n, latent), (n, d) -> (n, planes, side), (n, planes of numbers, side)."""
        h = self.flat(F.silu(self.enter(z) + self.told(about))).view(len(z), *self.start)
        for block, finer in zip(self.blocks, self.finer, strict=True):
            h = finer(F.interpolate(block(h), scale_factor=2.0, mode="nearest"))
        h = F.silu(self.last(h))
        mean: Tensor = self.mean(h)
        if self.usual is None:
            return mean, mean[:, :0]
        sway = SWAY * torch.tanh(self.noise(h) / SWAY)
        return mean, QUIET + F.softplus(self.usual(about)[:, :, None] + sway - QUIET)


class Net(Density):
    """Encoder and decoder, trained by the bound on the log of p(window | class, attributes).

    Sources: Kingma and Welling 2014; Rybkin et al. 2021 (sigma-VAE: the noise is learned with the rest, which settles how the
    two parts of the bound weigh); Kingma et al. 2016 (free bits, appendix C.8)."""

    def __init__(self, layout: Layout, width: int, latent: int, beta: float, free: float, warmup: float) -> None:
        super().__init__()
        self.layout, self.beta, self.free, self.warmup = layout, beta, free, warmup
        self.encoder, self.decoder = Encoder(layout, width, latent), Decoder(layout, width, latent)

    def losses(self, *rows: Tensor, done: float) -> Tensor:
        """Nats of each window by the number of readings that windows have: (n,).

        rows: (n, planes, side), the same bool, (n, d)."""
        x, known, about = rows
        seen = known if done == 1.0 else known & ~hidden(known)
        mean, spread = self.encoder(x * seen, seen, about)
        z = mean + spread.exp() * torch.randn_like(mean)
        apart = 0.5 * (mean.square() + (2 * spread).exp() - 1) - spread
        weight = self.beta * min(1.0, done / self.warmup) if self.warmup else self.beta
        told = self.told(z, x, known, about).sum(dim=(1, 2))
        nats: Tensor = weight * apart.clamp(min=self.free).sum(dim=1) - told
        return nats / (len(self.layout.counts) * self.layout.longest)

    def told(self, z: Tensor, x: Tensor, known: Tensor, about: Tensor) -> Tensor:
        """The log of p(reading | point) for each channel and place, 0 where unknown: (n, channels, side)."""
        mean, noise = self.decoder(z, about)
        return told(self.layout, mean, noise, x, known)


def told(layout: Layout, mean: Tensor, noise: Tensor, x: Tensor, known: Tensor) -> Tensor:
    """The log of p(reading) under what the decoder says: (n, channels, side)."""
    parts, numbers, levels = [], 0, iter(layout.levels)
    for count, first in zip(layout.counts, layout.first, strict=True):
        if count:
            a, b = next(levels)
            own = (F.log_softmax(mean[:, a:b], dim=1) * x[:, a:b]).sum(dim=1)
        else:
            own = -(0.5 * ((x[:, first] - mean[:, first]) * (-noise[:, numbers]).exp()).square() + noise[:, numbers] + NORMAL)
            numbers += 1
        parts.append(own * known[:, first])
    return torch.stack(parts, dim=1)


def hidden(known: Tensor) -> Tensor:
    """Readings that the encoder is not shown, a stretch of some windows: (n, 1, side) bool."""
    n, side = len(known), known.shape[2]
    some, wide, start = (torch.rand(n, 1, 1, device=known.device) for _ in range(3))
    at = torch.arange(side, device=known.device)[None, None] / side
    return (some < BLIND) & (at >= start * (1 - wide * HIDDEN)) & (at < start * (1 - wide * HIDDEN) + wide * HIDDEN)
