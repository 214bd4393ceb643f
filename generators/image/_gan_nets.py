"""What networks play a GAN on few, small pictures, fast enough on a CPU?

Residual blocks without normalisation, started so that each is the identity: Huang et al. 2024 (R3GAN, arXiv 2501.05441),
Zhang et al. 2019 (Fixup). The critic knows classes by projection: Miyato and Koyama 2018 (arXiv 1802.05637)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Channels that a grouped convolution mixes.
GROUP = 16
#: Height and width of the thumbnails that the start knows, and how many directions it varies them in.
THUMB, DIRECTIONS = 8, 24
#: Pictures' worth of trust in the spread of all classes together, where a class has few of its own.
TRUST = 8.0


@dataclass(frozen=True)
class Layout:
    """Sizes of both networks.

    size: of the pictures, any from 8 up; channels: of a picture; masked: whether a mask comes as one more channel; width:
    channels of the finest stage, doubled from stage to stage down to the coarsest, at most eight times; depth: blocks in each
    stage; latent: length of the noise that the whole picture has in common."""

    size: int
    channels: int
    masked: bool
    classes: int
    width: int
    latent: int
    depth: int = 2

    @property
    def planes(self) -> int:
        return self.channels + self.masked

    @property
    def patch(self) -> int:
        """Pixels on a side that the finest stage takes as one: convolutions at full size would take most of the time."""
        return 2 if self.size <= 128 else 4

    @property
    def stages(self) -> int:
        return int(math.log2(max(1.0, math.ceil(self.size / self.patch) / 4))) + 1

    @property
    def grid(self) -> int:
        """Height and width of the coarsest stage, 4 to 8."""
        return int(math.ceil(math.ceil(self.size / self.patch) / 2 ** (self.stages - 1)))

    @property
    def inner(self) -> int:
        """The size the networks work at: `size`, rounded up to what halves evenly."""
        return int(self.grid * 2 ** (self.stages - 1) * self.patch)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage, coarsest first."""
        return tuple(min(self.width * 2 ** (self.stages - 1 - i), 8 * self.width) for i in range(self.stages))

    @property
    def sides(self) -> tuple[int, ...]:
        """Height and width of each stage, coarsest first."""
        return tuple(self.grid * 2**i for i in range(self.stages))

    @property
    def pieces(self) -> tuple[int, ...]:
        """Lengths of the parts of a noise vector: for the whole picture, for its thumbnail, for each stage."""
        return (self.latent, DIRECTIONS, *(side**2 for side in self.sides))

    @property
    def noise(self) -> int:
        """Length of the noise vector of one picture."""
        return sum(self.pieces)


class Start(nn.Module):
    """A normal distribution over thumbnails for each class: what a linear model knows of light and layout.

    mean: (classes, d); root: (classes, DIRECTIONS, d), so that mean + z @ root has the class's mean and covariance."""

    mean: Tensor
    root: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.shape = (layout.channels, THUMB, THUMB)
        d = math.prod(self.shape)
        self.register_buffer("mean", torch.zeros(layout.classes, d))
        self.register_buffer("root", torch.zeros(layout.classes, DIRECTIONS, d))

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """(n, DIRECTIONS) normal, (n,) -> (n, channels, THUMB, THUMB)."""
        flat = self.mean[labels] + torch.einsum("nk,nkd->nd", z, self.root[labels])
        return flat.view(-1, *self.shape)

    @torch.no_grad()
    def learn(self, pictures: Tensor, labels: Tensor) -> None:
        """Mean and covariance of the thumbnails of (n, channels, h, w) in [-1, 1]; a class of few borrows from all."""
        flat = F.adaptive_avg_pool2d(pictures, THUMB).flatten(1).double().cpu().numpy()
        where = labels.cpu().numpy()
        means = {int(k): flat[where == k].mean(axis=0) for k in np.unique(where)}
        centred = flat - np.stack([means[int(k)] for k in where])
        pooled = centred.T @ centred / max(1, len(flat) - len(means))
        for k, mean in means.items():
            own = centred[where == k]
            cov = (own.T @ own + TRUST * pooled) / (len(own) - 1 + TRUST)
            values, vectors = np.linalg.eigh(cov)
            keep = slice(-1, -1 - min(DIRECTIONS, len(values)), -1)
            root = np.sqrt(np.maximum(values[keep], 0))[:, None] * vectors[:, keep].T
            self.mean[k] = torch.from_numpy(mean).float()
            self.root[k, : len(root)] = torch.from_numpy(root).float()


class Block(nn.Module):
    """x + narrow(mix(widen(x))): pointwise, grouped 3 x 3, pointwise. blocks: how many the network has."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        groups = width // GROUP if width % GROUP == 0 else 1
        self.first = nn.Conv2d(width, width, 1)
        self.mix = nn.Conv2d(width, width, 3, padding=1, groups=groups)
        self.last = nn.Conv2d(width, width, 1, bias=False)
        gain = blocks**-0.25
        for conv in (self.first, self.mix):
            scaled(conv, gain * math.sqrt(2))
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        inside = act(self.mix(act(self.first(x))))
        return torch.add(x, self.last(inside))


def act(x: Tensor) -> Tensor:
    """The one non-linearity."""
    return F.leaky_relu(x, 0.2)


def scaled(layer: nn.Module, gain: float) -> None:
    """Normal weights that keep the variance of what comes in, times gain squared; no bias."""
    weight = layer.weight
    assert isinstance(weight, Tensor)  # noqa: S101 - convolutions and linear maps alone
    nn.init.normal_(weight, std=gain / math.sqrt(math.prod(weight.shape[1:])))
    if isinstance(layer.bias, Tensor):
        nn.init.zeros_(layer.bias)


class Maker(nn.Module):
    """The generator: noise and class -> a picture, in [-1, 1] where it is well trained, and its mask.

    It begins with a thumbnail drawn from the start, shown to every stage and laid under the picture, so that what is
    learned is the rest. Every stage is scaled and shifted by a map of noise and class, and has noise of its own."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout, widths = layout, layout.widths
        style = max(32, 2 * layout.latent)
        self.start = Start(layout)
        self.embed = nn.Embedding(layout.classes, layout.latent)
        self.map = nn.Sequential(nn.Linear(2 * layout.latent, style), nn.LeakyReLU(0.2), nn.Linear(style, style))
        self.basis = nn.Parameter(torch.randn(widths[0], layout.grid, layout.grid))
        self.fill = nn.Linear(style, widths[0])
        self.read = nn.ModuleList(nn.Conv2d(layout.channels, width, 1, bias=False) for width in widths)
        pairs = zip((widths[0], *widths[:-1]), widths, strict=True)
        self.widen = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) if a != b else nn.Identity() for a, b in pairs)
        self.styles = nn.ModuleList(nn.Linear(style, 2 * width) for width in widths)
        self.grain = nn.ParameterList(nn.Parameter(torch.zeros(width)) for width in widths)
        total = layout.depth * layout.stages
        self.blocks = nn.ModuleList(nn.Sequential(*(Block(w, total) for _ in range(layout.depth))) for w in widths)
        self.paint = nn.Conv2d(widths[-1], layout.planes * layout.patch**2, 3, padding=1)
        self._begin()

    def _begin(self) -> None:
        for layer in (self.map[0], self.map[2], self.fill, *self.read, *self.widen):
            if not isinstance(layer, nn.Identity):
                scaled(layer, 1.0)
        for style in self.styles:
            scaled(style, 0.1)
        scaled(self.paint, 0.2)
        # All pixels of a patch begin alike, or a grid of patches shows for long (Aitken et al. 2017, arXiv 1707.02937).
        alike = self.paint.weight.data[:: self.layout.patch**2]
        self.paint.weight.data.copy_(alike.repeat_interleave(self.layout.patch**2, dim=0))

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """(n, noise) standard normal, (n,) -> (n, planes, size, size); the mask is the last plane, marked above 0."""
        layout = self.layout
        grains = torch.split(noise, list(layout.pieces), dim=1)
        thumb = self.start(grains[1], labels)
        style = act(self.map(torch.cat([grains[0], self.embed(labels)], dim=1)))
        x = self.basis * self.fill(style)[:, :, None, None]
        for i, side in enumerate(layout.sides):
            x = self.widen[i](x)
            if i:
                x = F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
            scale, shift = self.styles[i](style)[:, :, None, None].chunk(2, dim=1)
            x = x * (1 + scale) + shift + self.grain[i][:, None, None] * grains[2 + i].view(-1, 1, side, side)
            x = x + self.read[i](_resized(thumb, side))
            x = self.blocks[i](x)
        return self._finish(F.pixel_shuffle(self.paint(act(x)), layout.patch), thumb)

    def _finish(self, painted: Tensor, thumb: Tensor) -> Tensor:
        layout = self.layout
        edge = (layout.inner - layout.size) // 2
        painted = painted[:, :, edge : edge + layout.size, edge : edge + layout.size].float()
        picture = painted[:, : layout.channels] + _resized(thumb.float(), layout.size)
        if not layout.masked:
            return picture
        # Most pixels of most masks are not marked: begin there.
        return torch.cat([picture, torch.tanh(2 * painted[:, layout.channels :] - 1)], dim=1)


def _resized(thumb: Tensor, side: int) -> Tensor:
    if side < thumb.shape[-1]:
        return F.adaptive_avg_pool2d(thumb, side)
    return F.interpolate(thumb, size=(side, side), mode="bilinear", align_corners=False)


class Critic(nn.Module):
    """The discriminator: a picture with its mask, and a class -> how real it is."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        widths = layout.widths[::-1]
        total = layout.depth * layout.stages
        self.see = nn.Conv2d(layout.planes * layout.patch**2, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(nn.Sequential(*(Block(w, total) for _ in range(layout.depth))) for w in widths)
        pairs = zip(widths, (*widths[1:], widths[-1]), strict=True)
        self.widen = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) if a != b else nn.Identity() for a, b in pairs)
        self.gather = nn.Conv2d(widths[-1], widths[-1], layout.grid, groups=widths[-1], bias=False)
        self.judge, self.embed = nn.Linear(widths[-1], 1), nn.Embedding(layout.classes, widths[-1])
        for layer in (self.see, self.gather, *self.widen):
            if not isinstance(layer, nn.Identity):
                scaled(layer, 1.0)
        for weight in (self.judge.weight, self.embed.weight):
            nn.init.normal_(weight, std=widths[-1] ** -0.5)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(n, planes, size, size), (n,) -> (n,)."""
        layout = self.layout
        if extra := layout.inner - layout.size:
            x = F.pad(x, (extra // 2, extra - extra // 2) * 2, mode="replicate")
        x = self.see(F.pixel_unshuffle(x, layout.patch))
        for i in range(layout.stages):
            x = self.blocks[i](x)
            if i + 1 < layout.stages:
                x = self.widen[i](F.avg_pool2d(x, 2))
        seen = self.gather(act(x)).flatten(1)
        # Both terms see the same features: what is real at all, and what is real for this class.
        return torch.add(self.judge(seen).squeeze(1), (self.embed(labels) * seen).sum(dim=1)).float()
