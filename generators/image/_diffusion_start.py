"""Where does the way from noise to picture begin, so that light and layout need not be learned from pure noise?

Where there is much noise a picture can be told from others by its coarse features alone, and of those a normal
distribution says all that the noise leaves to see. So the way begins there: at a thumbnail drawn from the normal
distribution of its class, under as much noise as hides what the thumbnail lacks. The steps that would have led there are
saved, and the network need not learn them.  Source of the idea: Wang and Vastola 2024 (arXiv 2412.09726), of the linear
score in the early part of sampling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generators.image._normals import class_normals, draws

#: Cells a side of a thumbnail, at most.
CELLS = 8
#: Spread of a channel below which it is not stretched any further, of the range -1 to 1.
LEAST = 0.02


class Start(nn.Module):
    """The scale of the pictures, and a normal distribution of thumbnails for each class. It holds no picture.

    centre, scale: (planes,), what makes the pictures' channels 0 in the mean with spread 1 (masks stay -1 and 1);
    means: (k, d), factors: (k, d, d) with factors @ factors.T the covariance, d = planes * cells^2."""

    centre: Tensor
    scale: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, planes: int, classes: int, side: int) -> None:
        super().__init__()
        self.cells, self.side = min(CELLS, side), side
        d = planes * self.cells**2
        self.register_buffer("centre", torch.zeros(planes))
        self.register_buffer("scale", torch.ones(planes))
        self.register_buffer("means", torch.zeros(classes, d))
        self.register_buffer("factors", torch.zeros(classes, d, d))

    def learn(self, pictures: Tensor, labels: Tensor, channels: int) -> None:
        """From (n, planes, side, side) in [-1, 1], the first `channels` planes the picture, and labels (n,)."""
        shown = pictures[:, :channels].transpose(0, 1).flatten(1)
        self.centre[:channels] = shown.mean(dim=1)
        self.scale[:channels] = shown.std(dim=1, unbiased=False).clamp(min=LEAST)
        small = F.adaptive_avg_pool2d(self.scaled(pictures), self.cells).flatten(1)
        means, factors = class_normals(small, labels, len(self.means))
        self.means.copy_(means)
        self.factors.copy_(factors)

    def scaled(self, pictures: Tensor) -> Tensor:
        """From [-1, 1] to the scale that the network works in."""
        return (pictures - self.centre.view(-1, 1, 1)) / self.scale.view(-1, 1, 1)

    def unscaled(self, pictures: Tensor) -> Tensor:
        """Back to [-1, 1]."""
        return pictures * self.scale.view(-1, 1, 1) + self.centre.view(-1, 1, 1)

    def clipped(self, pictures: Tensor) -> Tensor:
        """No darker than black, no brighter than white, in the network's scale."""
        ends = [((end - self.centre) / self.scale).view(1, -1, 1, 1) for end in (-1.0, 1.0)]
        return torch.minimum(torch.maximum(pictures, ends[0]), ends[1])

    def drawn(self, labels: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Thumbnails at full size in the network's scale: labels (n,) -> (n, planes, side, side)."""
        d = self.means.shape[1]
        noise = torch.stack([torch.randn(d, generator=generator) for generator in generators]).to(self.means.device)
        small = draws(self.means, self.factors, labels, noise)
        cells = small.view(len(labels), -1, self.cells, self.cells)
        return F.interpolate(cells, size=(self.side, self.side), mode="bilinear", align_corners=False)
