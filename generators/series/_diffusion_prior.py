"""What can be said of a noisy window without any network?

To each class a normal distribution of the windows' principal components is fitted, and the rest is taken for white noise of one
size for each plane; under both the best guess of the clean window is a formula. The network corrects the guess by as much as it
can be wrong, so it starts where a linear filter ends, which for series is far: levels, trends and how channels move together.

Sources of the ideas: Karras et al. 2022 (EDM), section 5, what a network corrects and by how much; Wang and Vastola 2024 (arXiv
2412.09726), the early part of sampling is that of a normal distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from generators.image._normals import class_normals

#: Principal components at most, of windows at most.
COMPONENTS, ROWS = 32, 2000
#: Least size of what is no component, and of how far off a guess is; in spreads of a plane.
LEAST, SURE = 0.02, 0.01
#: Windows of all classes that weigh as much as those of one class.
SHRINK = 4.0
#: Levels of noise at which it is measured how far off the guess is, and windows by which.
LEVELS, MEASURED = 24, 256


def rates(t: Tensor) -> tuple[Tensor, Tensor]:
    """How much of the window and of noise there is at times t in (0, 1): a cosine schedule (Nichol and Dhariwal 2021)."""
    return torch.cos(0.5 * math.pi * t), torch.sin(0.5 * math.pi * t)


class Prior(nn.Module):
    """What is known of the windows before any training; it holds no window.

    centre, scale (planes, 1): what makes each plane 0 in the mean with spread 1; basis (planes * side, c) orthonormal columns;
    means (k + 1, c), factors (k + 1, c, c), rest (k + 1, planes): of each class and of all windows; off (planes, LEVELS)."""

    centre: Tensor
    scale: Tensor
    basis: Tensor
    means: Tensor
    factors: Tensor
    rest: Tensor
    off: Tensor

    def __init__(self, planes: int, side: int, classes: int) -> None:
        super().__init__()
        many = min(COMPONENTS, planes * side)
        self.register_buffer("centre", torch.zeros(planes, 1))
        self.register_buffer("scale", torch.ones(planes, 1))
        self.register_buffer("basis", torch.zeros(planes * side, many))
        self.register_buffer("means", torch.zeros(classes + 1, many))
        self.register_buffer("factors", torch.zeros(classes + 1, many, many))
        self.register_buffer("rest", torch.ones(classes + 1, planes))
        self.register_buffer("off", torch.ones(planes, LEVELS))

    def learn(self, x: Tensor, there: Tensor, labels: Tensor) -> None:
        """From planes (n, planes, side), the places that are known, bool, and labels (n,)."""
        many = there.sum(dim=(0, 2)).clamp(min=1)
        self.centre[:, 0] = (x * there).sum(dim=(0, 2)) / many
        off = (x - self.centre) * there
        self.scale[:, 0] = (off.square().sum(dim=(0, 2)) / many).sqrt().clamp(min=LEAST)
        rows = self.scaled(x, there)
        kept = rows[:: -(-len(rows) // ROWS)].flatten(1)
        _, _, right = torch.linalg.svd(kept.double(), full_matrices=False)
        # A component for each few windows; with more, single windows would be learned.
        held = right[: max(1, min(COMPONENTS, len(kept) // 8, len(right)))].T.float()
        self.basis.zero_()
        self.basis[:, : held.shape[1]] = held
        slow = rows.flatten(1) @ self.basis
        zeros = torch.zeros_like(labels)
        fitted = [class_normals(slow, labels, len(self.means) - 1), class_normals(slow, zeros, 1)]
        self.means.copy_(torch.cat([means for means, _ in fitted]))
        self.factors.copy_(torch.cat([factors for _, factors in fitted]))
        self._learn_rest((rows - (slow @ self.basis.T).view_as(rows)) * there, there, labels)
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
        rest = self.rest[which][:, :, None]
        slow = noisy.flatten(1) @ self.basis
        kept = alpha * rest.square() / ((alpha * rest).square() + sigma.square())
        faster = kept * (noisy - (slow @ self.basis.T).view_as(noisy))
        means, factors = self.means[which], self.factors[which]
        along = torch.einsum("nde,nd->ne", factors, slow / alpha[:, 0] - means)
        spread = factors.square().sum(dim=1) + (sigma / alpha)[:, 0].square()
        clear = means + torch.einsum("nde,ne->nd", factors, along / spread)
        return (clear @ self.basis.T).view_as(noisy) + faster, self._unsure(t)

    def _unsure(self, t: Tensor) -> Tensor:
        place = (t * LEVELS - 0.5).clamp(0, LEVELS - 1)
        low = place.floor().long().clamp(max=LEVELS - 2)
        part = (place - low)[:, None]
        return (self.off[:, low].T * (1 - part) + self.off[:, low + 1].T * part)[:, :, None]

    def _learn_rest(self, left: Tensor, there: Tensor, labels: Tensor) -> None:
        size, many = left.square().sum(dim=2), there.sum(dim=2).double()
        share = SHRINK / len(left)
        for k in range(len(self.rest)):
            own = labels == k if k < len(self.rest) - 1 else torch.ones_like(labels, dtype=torch.bool)
            total = size[own].sum(dim=0) + share * size.sum(dim=0)
            self.rest[k] = (total / (many[own].sum(dim=0) + share * many.sum(dim=0)).clamp(min=1)).sqrt().clamp(min=LEAST)

    def _learn_off(self, rows: Tensor, there: Tensor, labels: Tensor) -> None:
        """How far off guesses are at each level of noise, by trying."""
        chance = torch.Generator(rows.device).manual_seed(0)
        many = there.sum(dim=(0, 2)).clamp(min=1)
        for i in range(LEVELS):
            t = torch.full((len(rows),), (i + 0.5) / LEVELS, device=rows.device)
            alpha, sigma = rates(t[0])
            noise = torch.randn(rows.shape, generator=chance, device=rows.device) * there
            found = self.guess(alpha * rows + sigma * noise, t, labels)[0]
            self.off[:, i] = (((found - rows) * there).square().sum(dim=(0, 2)) / many).sqrt().clamp(min=SURE)
