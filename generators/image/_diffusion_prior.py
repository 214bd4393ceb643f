"""What can be said of a noisy picture without any network, and where does the way from noise to picture begin?

The light and the layout of a picture are its slowest waves. To each class a normal distribution of these is fitted, and the
rest is taken for noise of one spread; under both, the best guess of the clean picture is a formula. The network corrects
the guess by as much as it can be wrong, so it starts where a linear filter ends.

Where there is much noise the slow waves are all that it leaves to see, and there the normal distribution is right. So the way
from noise to picture begins late: at slow waves drawn for the class, under as much noise as hides all the others.

Sources of the ideas: Karras et al. 2022 (EDM), section 5, what a network corrects and by how much; Wang and Vastola 2024 (arXiv
2412.09726), the early part of sampling is that of a normal distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from generators.image._noise import rates
from generators.image._normals import class_normals, draws

#: Waves along each side, at most.
WAVES = 8
#: Spread of a channel below which it is not stretched any further, of the range -1 to 1.
LEAST = 0.02


class Prior(nn.Module):
    """The scale of the pictures, and the normal distributions of their slow waves. It holds no picture.

    centre, scale: (planes,), what makes the picture's channels 0 in the mean with spread 1 (masks stay -1 and 1);
    means (k + 2, d), factors (k + 2, d, d): of each class, of all pictures, and of changed ones, d = planes * waves^2; rest:
    (planes,), spread of what is no slow wave."""

    centre: Tensor
    scale: Tensor
    means: Tensor
    factors: Tensor
    rest: Tensor
    waves: Tensor

    def __init__(self, planes: int, classes: int, side: int) -> None:
        super().__init__()
        many = min(WAVES, side)
        d = planes * many**2
        self.register_buffer("centre", torch.zeros(planes))
        self.register_buffer("scale", torch.ones(planes))
        self.register_buffer("means", torch.zeros(classes + 2, d))
        self.register_buffer("factors", torch.zeros(classes + 2, d, d))
        self.register_buffer("rest", torch.ones(planes))
        self.register_buffer("waves", _waves(side, many), persistent=False)

    def learn(self, pictures: Tensor, changed: Tensor, labels: Tensor, channels: int) -> None:
        """From pictures (n, planes, side, side) in [-1, 1], the first `channels` planes shown, their labels (n,), and the
        same pictures changed at random."""
        shown = pictures[:, :channels].transpose(0, 1).flatten(1)
        self.centre[:channels] = shown.mean(dim=1)
        self.scale[:channels] = shown.std(dim=1, unbiased=False).clamp(min=LEAST)
        own, other = (self.slow(self.scaled(some)) for some in (pictures, changed))
        one = torch.zeros_like(labels)
        fitted = [class_normals(own, labels, len(self.means) - 2), class_normals(own, one, 1), class_normals(other, one, 1)]
        self.means.copy_(torch.cat([means for means, _ in fitted]))
        self.factors.copy_(torch.cat([factors for _, factors in fitted]))
        left = self.scaled(pictures) - self.at_full_size(own)
        self.rest.copy_(left.transpose(0, 1).flatten(1).std(dim=1, unbiased=False).clamp(min=0.05))

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

    def slow(self, pictures: Tensor) -> Tensor:
        """Amplitudes of the slow waves: (n, planes, side, side) -> (n, d)."""
        return (self.waves.T @ pictures @ self.waves).flatten(1)

    def at_full_size(self, amplitudes: Tensor) -> Tensor:
        """The picture that slow waves make: (n, d) -> (n, planes, side, side)."""
        many = self.waves.shape[1]
        grid: Tensor = self.waves @ amplitudes.view(len(amplitudes), -1, many, many) @ self.waves.T
        return grid

    def drawn(self, labels: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Pictures of slow waves alone, as the classes have them: labels (n,) -> (n, planes, side, side)."""
        d = self.means.shape[1]
        noise = torch.stack([torch.randn(d, generator=generator) for generator in generators]).to(self.means.device)
        return self.at_full_size(draws(self.means, self.factors, labels, noise))

    def guess(self, noisy: Tensor, level: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """The clean pictures as the normal distributions have them, and how far off they may be in what is no slow wave.

        noisy: (n, planes, side, side); level: (n,); which: (n,) rows of `means`. Returns pictures, and (n, planes, 1, 1)."""
        with torch.autocast(noisy.device.type, enabled=False):
            noisy = noisy.float()
            alpha, sigma = rates(level.float())
            rest = self.rest.view(1, -1, 1, 1)
            total = (alpha * rest).square() + sigma.square()
            slow = self.slow(noisy)
            kept = alpha * rest.square() / total
            faster = kept * (noisy - self.at_full_size(slow))
            clear = self._cleared(slow / alpha.flatten(1), (sigma / alpha).flatten(1), which)
            return self.at_full_size(clear) + faster, rest * sigma / total.sqrt()

    def _cleared(self, slow: Tensor, ratio: Tensor, which: Tensor) -> Tensor:
        """The expected amplitudes (n, d) where (n, d) are seen under `ratio` (n, 1) times as much noise."""
        means, factors = self.means[which], self.factors[which]
        spread = factors.square().sum(dim=1)
        along = torch.einsum("nde,nd->ne", factors, slow - means)
        return means + torch.einsum("nde,ne->nd", factors, along / (spread + ratio.square()))


def _waves(side: int, many: int) -> Tensor:
    """The slowest `many` cosine waves on `side` points as orthonormal columns: (side, many)."""
    points = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    columns = torch.cos(math.pi * points[:, None] * torch.arange(many, dtype=torch.float64))
    return (columns / columns.square().sum(dim=0).sqrt()).float()
