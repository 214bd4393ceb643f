"""What network tells noise from picture, given the class, how much noise there is, and how the picture was changed?

It corrects a guess that needs no network (see _diffusion_prior), by as much as the guess can be wrong: the guess knows the
light and the layout of each class from the first step on, and few steps of training are left for what makes a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generators.image._diffusion_prior import Prior

#: Channels at full size, before the pixels are gathered into cells.
FINE = 8
#: Cells a side on which the UNet works, at most, before pixels are gathered more coarsely.
CELLS = 48
#: Cells a side from which the UNet has three levels.
DEEP = 16


@dataclass(frozen=True)
class Layout:
    """What the network works on. size: of the pictures in pixels; channels: 1 or 3; masked: whether the mask is one more;
    classes: how many; width: channels of the finest level; changes: numbers that say how a picture was changed;
    patch: pixels a side that make one cell, None for as many as the size asks for; dropout: share of features left out."""

    size: int
    channels: int
    masked: bool
    classes: int
    width: int
    changes: int = 0
    patch: int | None = None
    dropout: float = 0.0

    @property
    def planes(self) -> int:
        """Channels of picture and mask."""
        return self.channels + int(self.masked)

    @property
    def cell(self) -> int:
        """Pixels a side that make one cell: 1 to 32 pixels a side, 2 to 96, 4 to 192, 8 above."""
        if self.patch is not None:
            return self.patch
        return 1 if self.size <= 32 else int(2 ** max(1, math.ceil(math.log2(self.size / CELLS))))

    @property
    def levels(self) -> int:
        """Levels of the UNet, each half as fine as the one above."""
        return 3 if self.size >= DEEP * self.cell else 2

    @property
    def side(self) -> int:
        """The size up to which pictures are padded, so that every level divides it."""
        whole = self.cell << (self.levels - 1)
        return -(-self.size // whole) * whole

    def padded(self, pictures: Tensor) -> Tensor:
        """(n, c, size, size) -> (n, c, side, side), the last row and column repeated."""
        more = self.side - self.size
        return F.pad(pictures, (0, more, 0, more), mode="replicate") if more else pictures

    def cropped(self, pictures: Tensor) -> Tensor:
        """(n, c, side, side) -> (n, c, size, size)."""
        return pictures[:, :, : self.size, : self.size]


class Denoiser(nn.Module):
    """A UNet of diffusers on cells of pixels, between a few layers at full size that keep edges sharp.

    Attention at the coarsest level alone. The class is an embedding that is added to that of the noise level; the last
    label, `layout.classes`, stands for no class (Ho and Salimans 2022). How a picture was changed is told in the same way
    (Karras et al. 2022, appendix F.2). The prior learns apart, before the training."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        import diffusers as library

        diffusers: Any = library  # its classes are untyped
        width, levels, cell = layout.width, layout.levels, layout.cell
        widths = (width, 2 * width, 2 * width) if levels == 3 else (width, 2 * width)
        seen = 2 * layout.planes
        self.layout, self.cell = layout, cell
        self.prior = Prior(layout.planes, layout.classes, layout.side)
        self.unet: Any = diffusers.UNet2DModel(
            sample_size=layout.side // cell, in_channels=FINE * cell**2, out_channels=FINE * cell**2,
            block_out_channels=widths, layers_per_block=1, norm_num_groups=math.gcd(8, width),
            attention_head_dim=math.gcd(32, 2 * width), dropout=layout.dropout, class_embed_type="identity",
            resnet_time_scale_shift="scale_shift",
            down_block_types=(*["DownBlock2D"] * (levels - 1), "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", *["UpBlock2D"] * (levels - 1)),
        )  # fmt: skip
        self.label = nn.Embedding(layout.classes + 1, 4 * width)
        self.change = nn.Linear(max(1, layout.changes), 4 * width, bias=False)
        self.stem = nn.Conv2d(seen, FINE, 3, padding=1)
        self.head = nn.Sequential(
            nn.Conv2d(FINE + seen, 2 * FINE, 3, padding=1), nn.SiLU(), nn.Conv2d(2 * FINE, layout.planes, 3, padding=1)
        )  # fmt: skip

    def forward(self, noisy: Tensor, level: Tensor, labels: Tensor, changes: Tensor | None = None) -> Tensor:
        """The clean pictures (n, planes, side, side) of noisy ones, in the prior's scale, float32.

        level: (n,) in (0, 1); labels: (n,) int64; changes: (n, k), None for none."""
        which, told = labels, self.label(labels)
        if changes is not None and self.layout.changes:
            told = told + self.change(changes)
            which = torch.where(changes.any(dim=1), self.layout.classes + 1, labels)
        guess, unsure = self.prior.guess(noisy, level, which)
        seen = torch.cat([noisy, guess], dim=1)
        cells = F.pixel_unshuffle(self.stem(seen), self.cell)
        said = F.pixel_shuffle(self.unet(cells, level * 1000, class_labels=told).sample, self.cell)
        out: Tensor = guess + unsure * self.head(torch.cat([said, seen], dim=1)).float()
        return out
