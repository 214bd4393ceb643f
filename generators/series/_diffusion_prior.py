"""What can be said of a noisy window without any network?

To each class a normal distribution of the slowest waves of all planes is fitted, and each faster wave is taken for a number of
its own, as large as waves of its length are in that class; under both the best guess of the clean window is a formula. The
network corrects the guess by as much as it is usually wrong, so it starts where a linear filter ends, which for series is far:
levels, trends and roughness.

Sources of the ideas: Karras et al. 2022 (EDM), section 5, what a network corrects and by how much; Wang and Vastola 2024 (arXiv
2412.09726), the early part of sampling is that of a normal distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from generators.image._normals import class_normals

#: Waves of a plane, the slowest cosines.
WAVES = 4
#: Least size of what is no slow wave, and of how far off a guess is; in spreads of a plane.
LEAST, SURE = 0.02, 0.01
#: Waves share their power with one in so many of their neighbours, and with so many that of FEW numbers a mean is taken.
BAND, FEW = 8, 50
#: Windows of all classes that weigh as much as those of one class.
SHRINK = 2.0
#: Levels of noise at which it is measured how far off the guess is, and windows by which.
LEVELS, MEASURED = 24, 256


def rates(t: Tensor) -> tuple[Tensor, Tensor]:
    """How much of the window and of noise there is at times t in (0, 1): a cosine schedule (Nichol and Dhariwal 2021)."""
    return torch.cos(0.5 * math.pi * t), torch.sin(0.5 * math.pi * t)


class Prior(nn.Module):
    """What is known of the windows before any training; it holds no window.

    centre, scale (planes, 1): what makes each plane 0 in the mean with spread 1; waves (side, WAVES) orthonormal columns;
    means (k + 1, c), factors (k + 1, c, c), powers (k + 1, planes, side + 1) of each length of a wave, off (k + 1,
    planes, LEVELS): of each class, and of all windows."""

    centre: Tensor
    scale: Tensor
    waves: Tensor
    means: Tensor
    factors: Tensor
    powers: Tensor
    off: Tensor

    def __init__(self, planes: int, side: int, classes: int) -> None:
        super().__init__()
        slow = min(WAVES, side)
        many = planes * slow
        self.register_buffer("centre", torch.zeros(planes, 1))
        self.register_buffer("scale", torch.ones(planes, 1))
        self.register_buffer("waves", _waves(side, slow), persistent=False)
        self.register_buffer("means", torch.zeros(classes + 1, many))
        self.register_buffer("factors", torch.zeros(classes + 1, many, many))
        self.register_buffer("powers", torch.zeros(classes + 1, planes, side + 1))
        self.register_buffer("off", torch.ones(classes + 1, planes, LEVELS))

    def learn(self, x: Tensor, there: Tensor, labels: Tensor) -> None:
        """From planes (n, planes, side), the places that are known, bool, and labels (n,)."""
        many = there.sum(dim=(0, 2)).clamp(min=1)
        self.centre[:, 0] = (x * there).sum(dim=(0, 2)) / many
        off = (x - self.centre) * there
        self.scale[:, 0] = (off.square().sum(dim=(0, 2)) / many).sqrt().clamp(min=LEAST)
        rows = self.scaled(x, there)
        slow = self._slow(rows)
        zeros = torch.zeros_like(labels)
        fitted = [class_normals(slow, labels, len(self.means) - 1), class_normals(slow, zeros, 1)]
        self.means.copy_(torch.cat([means for means, _ in fitted]))
        self.factors.copy_(torch.cat([factors for _, factors in fitted]))
        self._learn_powers(rows, labels)
        some = slice(None, None, -(-len(rows) // MEASURED))
        self._learn_off(rows[some], there[some], labels[some])

    def scaled(self, x: Tensor, there: Tensor) -> Tensor:
        """Planes as the network sees them, 0 where nothing is known."""
        return (x - self.centre) / self.scale * there

    def unscaled(self, x: Tensor) -> Tensor:
        """Back to planes as they are read."""
        return x * self.scale + self.centre

    def guess(self, noisy: Tensor, t: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """The clean planes of noisy ones, (n, planes, side), and how far off they usually are, (n, planes, 1).

        t: (n,) times in (0, 1); which: (n,) rows of `means`."""
        alpha, sigma = (rate[:, None, None] for rate in rates(t))
        slow, powers = self._slow(noisy), self.powers[which]
        faster = _filtered(noisy, alpha * powers / (alpha.square() * powers + sigma.square()))
        means, factors = self.means[which], self.factors[which]
        along = torch.einsum("nde,nd->ne", factors, slow / alpha[:, 0] - means)
        spread = factors.square().sum(dim=1) + (sigma / alpha)[:, 0].square()
        clear = means + torch.einsum("nde,ne->nd", factors, along / spread)
        return self._whole(clear) + faster, self._unsure(t, which)

    def _slow(self, x: Tensor) -> Tensor:
        """Amplitudes of the slow waves: (n, planes, side) -> (n, c)."""
        return (x @ self.waves).flatten(1)

    def _whole(self, slow: Tensor) -> Tensor:
        """What slow waves make: (n, c) -> (n, planes, side)."""
        whole: Tensor = slow.view(len(slow), len(self.scale), -1) @ self.waves.T
        return whole

    def _unsure(self, t: Tensor, which: Tensor) -> Tensor:
        place = (t * LEVELS - 0.5).clamp(0, LEVELS - 1)
        low = place.floor().long().clamp(max=LEVELS - 2)
        part, table = (place - low)[:, None], self.off[which]
        at = low[:, None, None].expand(-1, table.shape[1], 1)
        a, b = table.gather(2, at), table.gather(2, at + 1)
        off: Tensor = a + (b - a) * part[:, :, None]
        return off

    def _learn_powers(self, rows: Tensor, labels: Tensor) -> None:
        found = torch.cat([_spectrum(part).abs().square() for part in torch.split(rows, 256)]).double()
        side = rows.shape[2]
        for k, own in enumerate(self._owns(labels)):
            mean, first = found[own].mean(dim=0), self.waves.shape[1]
            while first <= side:  # neighbours are alike, the more so the faster they are
                end = min(first + max(1, first // BAND, FEW // max(len(own), 1)), side + 1)
                self.powers[k, :, first:end] = mean[:, first:end].mean(dim=1, keepdim=True).float()
                first = end
        self._shrink(self.powers, labels, LEAST**4)

    def _learn_off(self, rows: Tensor, there: Tensor, labels: Tensor) -> None:
        """How far off guesses are at each level of noise, by trying."""
        chance = torch.Generator(rows.device).manual_seed(0)
        for i in range(LEVELS):
            t = torch.full((len(rows),), (i + 0.5) / LEVELS, device=rows.device)
            alpha, sigma = rates(t[0])
            noise = torch.randn(rows.shape, generator=chance, device=rows.device) * there
            found = self.guess(alpha * rows + sigma * noise, t, labels)[0]
            size = ((found - rows) * there).square().sum(dim=2)
            for k, own in enumerate(self._owns(labels)):
                self.off[k, :, i] = (size[own].sum(dim=0) / there[own].sum(dim=(0, 2)).clamp(min=1)).sqrt()
        self._shrink(self.off, labels, SURE)

    def _owns(self, labels: Tensor) -> list[Tensor]:
        """Places of the rows of each class, and of all."""
        classes = range(len(self.means) - 1)
        return [*((labels == k).nonzero()[:, 0] for k in classes), torch.arange(len(labels), device=labels.device)]

    def _shrink(self, found: Tensor, labels: Tensor, least: float) -> None:
        """Draw what was found of each class towards what was of all, more where it has few rows; by ratios, since one loud
        class says little of how loud a quiet one is."""
        whole = found[-1].clamp(min=least).log()
        for k, own in enumerate(self._owns(labels)):
            mine = found[k].clamp(min=least).log() if len(own) else whole
            found[k] = ((len(own) * mine + SHRINK * whole) / (len(own) + SHRINK)).exp()


def _spectrum(x: Tensor) -> Tensor:
    """Amplitudes of the cosine waves, 0 to side times a half turn: (n, planes, side) -> (n, planes, side + 1) complex."""
    out: Tensor = torch.fft.rfft(torch.cat([x, x.flip(2)], dim=2), norm="ortho")
    return out


def _filtered(x: Tensor, gain: Tensor) -> Tensor:
    """Each cosine wave of x by its gain, (n, planes, side + 1): (n, planes, side) -> the same."""
    out: Tensor = torch.fft.irfft(_spectrum(x) * gain, n=2 * x.shape[2], norm="ortho")[:, :, : x.shape[2]]
    return out


def _waves(side: int, many: int) -> Tensor:
    """The slowest `many` cosine waves on `side` points as orthonormal columns: (side, many)."""
    points = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    columns = torch.cos(math.pi * points[:, None] * torch.arange(many, dtype=torch.float64))
    return (columns / columns.square().sum(dim=0).sqrt()).float()
