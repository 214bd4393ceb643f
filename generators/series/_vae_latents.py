"""Where do the points of a class lie? A kernel density over those of its training windows, which ends as a normal distribution.

Points of few windows tell no more than a mean and a spread; those of many may lie in groups (the modes of the class) between
which there is nothing. How wide the kernels are decides, and is decided by how likely each point is under those of the others.
Where a latent number says little of a window, most of its spread is that of the encoder's doubt: kernels are as wide there, and
groups are told by the numbers that say something.

How unusual a point is, is told by the normal distribution alone: where some training windows are anomalies that nobody marked,
kernels around them would call others of their kind usual.

Sources: Ghosh et al. 2020 (arXiv 1903.12436), section 4: a density fitted to the points after training; Silverman 1986,
section 6.4.1: the smoothed bootstrap that keeps the variance; Duin 1976: widths by leaving one out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from generators.image._normals import class_normals

#: Widths of the kernels that are tried, as shares of the class's own spread; 1 is a normal distribution.
WIDTHS = (0.3, 0.45, 0.6, 0.8, 1.0)
#: Points of a class that are kept, at most; and of fewer than LEAST no groups are told.
KEPT, LEAST = 400, 8
NORMAL = 0.5 * math.log(2 * math.pi)


class Latents(nn.Module):
    """means (k, d), roots (k, d, d): of each class, with roots @ roots.T the covariance, columns at right angles; anchors
    (k, KEPT, d): points in the coordinates of their class's root; counts (k,); widths (k, d) of the kernels."""

    means: Tensor
    roots: Tensor
    anchors: Tensor
    counts: Tensor
    widths: Tensor

    def __init__(self, classes: int, latent: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(classes, latent))
        self.register_buffer("roots", torch.zeros(classes, latent, latent))
        self.register_buffer("anchors", torch.zeros(classes, KEPT, latent))
        self.register_buffer("counts", torch.ones(classes, dtype=torch.long))
        self.register_buffer("widths", torch.ones(classes, latent))

    def learn(self, centres: Tensor, spreads: Tensor, labels: Tensor, chance: torch.Generator) -> None:
        """From means and log deviations of the points of windows, (n, d) each, and labels (n,)."""
        points = centres + spreads.exp() * torch.randn(centres.shape, generator=chance)
        means, roots = class_normals(points, labels, len(self.means))
        self.means.copy_(means)
        self.roots.copy_(roots)
        for k in range(len(means)):
            own = (labels == k).nonzero()[:, 0]
            own = own[:: -(-len(own) // KEPT)] if len(own) else own
            if len(own) < LEAST:
                continue
            self.counts[k] = len(own)
            flat = self._flat(points[own], k)
            doubt = ((2 * spreads[own]).exp().mean(dim=0)[:, None] * (roots[k] / self._stretch(k).square()).square()).sum(dim=0)
            tried = [torch.maximum(torch.full_like(doubt, width), doubt.sqrt().clamp(max=1.0)) for width in WIDTHS]
            self.widths[k] = max(tried, key=lambda width: _alone(flat, width))
            self.anchors[k, : len(own)] = flat

    def drawn(self, labels: Tensor, chance: torch.Generator) -> Tensor:
        """Points of classes: (n,) -> (n, d)."""
        counts, width = self.counts[labels], self.widths[labels]
        which = (torch.rand(len(labels), generator=chance, dtype=torch.float64) * counts).long()
        flat = self.anchors[labels, which] * (1 - width.square()).clamp(min=0).sqrt()
        flat = flat + width * torch.randn(flat.shape, generator=chance)
        return self.means[labels] + torch.einsum("nde,ne->nd", self.roots[labels], flat)

    def nats(self, points: Tensor, label: int) -> Tensor:
        """The log of the normal density of a class at points: (n, d) -> (n,)."""
        flat = self._flat(points, label).double()
        return -(0.5 * flat.square() + NORMAL).sum(dim=1) - self._stretch(label).double().log().sum()

    def _flat(self, points: Tensor, k: int) -> Tensor:
        """Points in the coordinates of a class: (n, d)."""
        flat: Tensor = (points - self.means[k]) @ (self.roots[k] / self._stretch(k).square())
        return flat

    def _stretch(self, k: int) -> Tensor:
        return self.roots[k].square().sum(dim=0).sqrt().clamp(min=1e-4)


def _alone(flat: Tensor, width: Tensor) -> float:
    """The log density of points (n, d) under kernels around the others, the mean."""
    wide = width.double()
    own = flat.double() / wide
    apart = torch.cdist(own, own * (1 - wide.square()).clamp(min=0).sqrt()).square()
    each = (-0.5 * apart).fill_diagonal_(-math.inf)
    return float(each.logsumexp(dim=1).mean() - wide.log().sum())
