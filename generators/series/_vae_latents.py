"""Where do the points of a class lie? A kernel density over those of its training windows, which ends as a normal distribution.

Points of few windows tell no more than a mean and a spread; those of many may lie in groups (the modes of the class) between
which there is nothing. How wide the kernels are decides, and is decided by how likely each point is under those of the others.

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
    (k, KEPT, d): points in the coordinates of their class's root; counts (k,), widths (k,)."""

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
        self.register_buffer("widths", torch.ones(classes))

    def learn(self, points: Tensor, labels: Tensor) -> None:
        """From points (n, d) and labels (n,)."""
        means, roots = class_normals(points, labels, len(self.means))
        self.means.copy_(means)
        self.roots.copy_(roots)
        for k in range(len(means)):
            own = points[labels == k]
            own = own[:: -(-len(own) // KEPT)] if len(own) else means[k : k + 1]
            flat = self._flat(own, k)
            self.counts[k] = len(flat)
            self.anchors[k, : len(flat)] = flat
            if len(flat) >= LEAST:
                self.widths[k] = max(WIDTHS, key=lambda width: self._told(flat, flat, width, alone=True).sum().item())

    def drawn(self, labels: Tensor, chance: torch.Generator) -> Tensor:
        """Points of classes: (n,) -> (n, d)."""
        counts, width = self.counts[labels], self.widths[labels][:, None]
        which = (torch.rand(len(labels), generator=chance, dtype=torch.float64) * counts).long()
        flat = self.anchors[labels, which] * (1 - width.square()).clamp(min=0).sqrt()
        flat = flat + width * torch.randn(flat.shape, generator=chance)
        return self.means[labels] + torch.einsum("nde,ne->nd", self.roots[labels], flat)

    def nats(self, points: Tensor, label: int) -> Tensor:
        """The log of the density of a class at points: (n, d) -> (n,)."""
        flat = self._flat(points, label)
        anchors = self.anchors[label, : int(self.counts[label])]
        return self._told(flat, anchors, float(self.widths[label])) - self._stretch(label).log().sum()

    def _flat(self, points: Tensor, k: int) -> Tensor:
        """Points in the coordinates of a class: (n, d)."""
        stretch = self._stretch(k)
        flat: Tensor = (points - self.means[k]) @ (self.roots[k] / stretch.square())
        return flat

    def _stretch(self, k: int) -> Tensor:
        return self.roots[k].square().sum(dim=0).sqrt().clamp(min=1e-4)

    def _told(self, flat: Tensor, anchors: Tensor, width: float, *, alone: bool = False) -> Tensor:
        """alone: whether `flat` are the anchors themselves, each to be told by the others."""
        apart = torch.cdist(flat.double(), anchors.double() * math.sqrt(max(0.0, 1 - width**2))).square()
        each = -0.5 * apart / width**2
        if alone:
            each.fill_diagonal_(-math.inf)
        many = len(anchors) - int(alone)
        out: Tensor = each.logsumexp(dim=1) - math.log(many) - flat.shape[1] * (math.log(width) + NORMAL)
        return out
