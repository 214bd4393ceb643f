"""Which networks put a picture into a few numbers, and read it back for a class?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Cells a side at the coarsest stage, at most; features of one picture lie on as many.
COARSE = 6
#: Times that stages are at most as wide as the finest.
WIDEST = 4
#: Pictures from this many pixels a side are gathered to cells of 2 x 2 pixels first.
GATHERED = 32


@dataclass(frozen=True)
class Layout:
    """What the networks work on. size: of the pictures in pixels; channels: 1 or 3; masked: whether a mask is read back as
    well; classes: how many; width: channels of the finest stage; latent: numbers a picture."""

    size: int
    channels: int
    masked: bool
    classes: int
    width: int
    latent: int

    @property
    def planes(self) -> int:
        """Channels of picture and mask."""
        return self.channels + int(self.masked)

    @property
    def cell(self) -> int:
        """Pixels a side that make one cell of the finest stage."""
        return 2 if self.size >= GATHERED else 1

    @property
    def stages(self) -> int:
        """How often the cells are halved."""
        return max(1, math.ceil(math.log2(self.size / self.cell / COARSE)))

    @property
    def side(self) -> int:
        """The size up to which pictures are padded, so that every stage divides it."""
        whole = self.cell << self.stages
        return -(-self.size // whole) * whole

    @property
    def coarse(self) -> int:
        """Cells a side at the coarsest stage."""
        return self.side // (self.cell << self.stages)

    def widths(self) -> list[int]:
        """Channels, finest stage first; one more than there are halvings."""
        return [self.width * min(WIDEST, 1 << i) for i in range(self.stages + 1)]

    def padded(self, pictures: Tensor) -> Tensor:
        """(n, c, size, size) -> (n, c, side, side), the last row and column repeated."""
        more = self.side - self.size
        return F.pad(pictures, (0, more, 0, more), mode="replicate") if more else pictures


class Block(nn.Module):
    """Two convolutions beside the identity; with `told`, numbers that scale and shift what lies between."""

    def __init__(self, width: int, told: int = 0) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(math.gcd(8, width), width) for _ in range(2)])
        self.told = nn.Linear(told, 2 * width) if told else None

    def forward(self, x: Tensor, told: Tensor | None = None) -> Tensor:
        """(n, width, h, w), (n, told) -> (n, width, h, w)."""
        y = self.norms[1](self.first(F.silu(self.norms[0](x))))
        if self.told is not None and told is not None:
            scale, shift = self.told(told)[:, :, None, None].chunk(2, dim=1)
            y = y * (1 + scale) + shift
        out: Tensor = x + self.second(F.silu(y))
        return out


class Encoder(nn.Module):
    """Pictures (n, channels, side, side) in [-1, 1] to the mean and the log variance of their latents, (n, latent) each."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        widths = layout.widths()
        self.cell = layout.cell
        parts: list[nn.Module] = [nn.Conv2d(layout.channels * layout.cell**2, widths[0], 3, padding=1)]
        for fine, rough in zip(widths[:-1], widths[1:], strict=True):
            parts += [Block(fine), nn.Conv2d(fine, rough, 4, stride=2, padding=1)]
        self.body = nn.Sequential(*parts, Block(widths[-1]), nn.GroupNorm(math.gcd(8, widths[-1]), widths[-1]), nn.SiLU())
        self.out = nn.Linear(widths[-1] * layout.coarse**2, 2 * layout.latent)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        mean, spread = self.out(self.body(F.pixel_unshuffle(pictures, self.cell)).flatten(1)).chunk(2, dim=1)
        # Bounded: an early step must not make a variance that no exponent can hold.
        return mean, 6 * torch.tanh(spread / 6) - 1


class Decoder(nn.Module):
    """Latents (n, latent) and class weights (n, classes) to pictures (n, planes, side, side): the picture in [-1, 1] or a
    little beyond, the mask as a logit."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        widths = layout.widths()[::-1]
        told = 2 * layout.width
        self.layout = layout
        self.classes = nn.Linear(layout.classes, told, bias=False)
        self.enter = nn.Linear(layout.latent + told, widths[0] * layout.coarse**2)
        self.blocks = nn.ModuleList([Block(width, told + layout.latent) for width in widths])
        self.ups = nn.ModuleList([nn.Conv2d(a, b, 3, padding=1) for a, b in zip(widths[:-1], widths[1:], strict=True)])
        self.norm = nn.GroupNorm(math.gcd(8, widths[-1]), widths[-1])
        self.out = nn.Conv2d(widths[-1], layout.planes * layout.cell**2, 3, padding=1)

    def forward(self, latents: Tensor, classes: Tensor) -> Tensor:
        told = torch.cat([latents, self.classes(classes)], dim=1)
        x = self.enter(told).view(len(latents), -1, self.layout.coarse, self.layout.coarse)
        x = self.blocks[0](x, told)
        for up, block in zip(self.ups, list(self.blocks)[1:], strict=True):
            x = block(up(F.interpolate(x, scale_factor=2.0, mode="nearest")), told)
        return F.pixel_shuffle(self.out(F.silu(self.norm(x))), self.layout.cell)


class Pair(nn.Module):
    """Encoder, decoder, and the prior of each class: a mean and a log variance, (classes, latent)."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.encoder, self.decoder = Encoder(layout), Decoder(layout)
        self.prior = nn.Parameter(torch.randn(layout.classes, layout.latent) * 0.1)
        self.width = nn.Parameter(torch.zeros(layout.classes, layout.latent))

    def forward(self, pictures: Tensor, labels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (n, channels, side, side), labels (n,), noise (n, latent) -> what is read back (n, planes, side, side),
        and how far each latent lies from its class's prior: (n, latent), in nats."""
        mean, spread = self.encoder(pictures)
        back = self.decoder(mean + noise * torch.exp(spread / 2), F.one_hot(labels, self.layout.classes).to(mean.dtype))
        return back, divergence(mean, spread, self.prior[labels], self.width[labels])


def divergence(mean: Tensor, spread: Tensor, to: Tensor, width: Tensor) -> Tensor:
    """Kullback-Leibler divergence of normal distributions, number by number; `spread` and `width` are log variances."""
    return 0.5 * (width - spread + (spread - width).exp() + (mean - to).square() * (-width).exp() - 1)
