"""How likely is a point of the unit cube, one coordinate after another? An autoregressive spline flow that is told states."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Transform
from zuko.distributions import DiagNormal, NormalizingFlow
from zuko.nn import MaskedMLP
from zuko.transforms import AutoregressiveTransform, DependentTransform, MonotonicRQSTransform
from zuko.utils import unpack

from generators.tabular._density_train import Density

#: Points stay so far from the ends of the unit interval, which keeps them within the reach of splines, 5.
EDGE = 1e-6
#: Hidden units in all, at least and at most.
LEAST, MOST = 128, 1024


class Splines(nn.Module):
    """A monotonic spline for each coordinate, given those before it, their states and the class.

    Sources: Durkan et al. 2019 (Neural Spline Flows, arXiv 1906.04032), section 3; Papamakarios et al. 2017 (MAF, arXiv
    1705.07057), section 3. What is different: besides a coordinate, those after it are told its state (a level, an exact
    number, a bin), so that a network need not find out where along an axis one level ends and the next begins."""

    bounds: Tensor
    starts: Tensor

    def __init__(self, bounds: Sequence[np.ndarray], classes: int, bins: int, width: int) -> None:
        super().__init__()
        count, sizes = len(bounds), [len(inner) + 1 for inner in bounds]
        self.count, self.sizes = count, sizes
        self.shapes = [(bins,), (bins,), (bins - 1,)]
        self.total = 3 * bins - 1
        padded = np.full((count, max(sizes) - 1), np.inf)
        for row, inner in zip(padded, bounds, strict=True):
            row[: len(inner)] = inner
        self.register_buffer("bounds", torch.from_numpy(padded), persistent=False)
        self.register_buffer("starts", torch.tensor([0, *np.cumsum(sizes)[:-1].tolist()]), persistent=False)
        place, owner = np.arange(count), np.repeat(np.arange(count), sizes)
        seen = np.hstack([place[:, None] > owner, place[:, None] > place, np.ones((count, classes), dtype=bool)])
        hidden = min(max(width * count, LEAST), MOST)
        self.hyper = MaskedMLP(torch.from_numpy(np.repeat(seen, self.total, axis=0)), [hidden, hidden], residual=True)

    def forward(self, c: Tensor) -> Transform:
        out: Transform = AutoregressiveTransform(partial(self.meta, c), self.count)
        return out

    def meta(self, c: Tensor, x: Tensor) -> Transform:
        """The splines of points x (n, coordinates), as wholes, of classes c (n, classes) one-hot."""
        states = (self.bounds <= torch.special.ndtr(x.double())[..., None]).sum(dim=-1)
        hot = x.new_zeros(len(x), sum(self.sizes)).scatter_(1, states + self.starts, 1.0)
        phi = self.hyper(torch.cat([hot, x, c], dim=1)).unflatten(-1, (-1, self.total))
        out: Transform = DependentTransform(self._spline(phi), 1)
        return out

    @torch.no_grad()
    def inverse(self, z: Tensor, c: Tensor) -> Tensor:
        """Where normal points z come from: (n, coordinates), the same as the inverse of `forward`.

        A coordinate at a time: the first layer's sums grow by what is new, and only its own spline is worked out."""
        first, last = self.hyper[0], self.hyper[-1]
        into, out = (first.mask * first.weight).T, last.mask * last.weight
        states = sum(self.sizes)
        known = first.bias + c @ into[states + self.count :]
        x = torch.empty_like(z)
        for i in range(self.count):
            hidden = known
            for layer in list(self.hyper)[1:-1]:
                hidden = layer(hidden)
            own = slice(i * self.total, (i + 1) * self.total)
            x[:, i] = self._spline(F.linear(hidden, out[own], last.bias[own])).inv(z[:, i])
            state = (self.bounds[i] <= torch.special.ndtr(x[:, i : i + 1].double())).sum(dim=1)
            known = known + F.embedding(state + self.starts[i], into[:states]) + x[:, i : i + 1] * into[states + i]
        return x

    def _spline(self, phi: Tensor) -> MonotonicRQSTransform:
        return MonotonicRQSTransform(*unpack(phi, self.shapes))


class Net(Density):
    """The density of points of the unit cube, given a class.

    Rows are where each column's interval begins and ends, (n, columns) float64 each, and the class, (n,) int64.

    bounds: for each column where states change along the interval."""

    def __init__(self, bounds: Sequence[np.ndarray], classes: int, bins: int, width: int) -> None:
        super().__init__()
        self.classes = classes
        self.splines = Splines(bounds, classes, bins, width)

    def losses(self, *rows: Tensor, done: float) -> Tensor:
        """The negative log-density at a random point of each row's intervals: (n,) nats.

        Source: uniform dequantisation, Theis et al. 2016 (arXiv 1511.01844), section 3.1."""
        start, end, label = rows
        return -self.nats(start + (end - start) * torch.rand_like(start), label)

    def nats(self, u: Tensor, label: Tensor) -> Tensor:
        """The log-density at points of the unit cube: (n, columns) float64, (n,) -> (n,)."""
        x = torch.special.ndtri(u.clamp(EDGE, 1 - EDGE)).float()
        of, zero = F.one_hot(label, self.classes).float(), x.new_zeros(x.shape[1])
        base = DiagNormal(zero, zero + 1)
        flow = NormalizingFlow(self.splines(of), base)
        # Coordinates are stretched to normal ones, so a row that follows no pattern has a density of one.
        out: Tensor = flow.log_prob(x) - base.log_prob(x)
        return out

    @torch.no_grad()
    def draw(self, label: Tensor, chance: torch.Generator) -> Tensor:
        """A point of the unit cube for each class: (n,) -> (n, columns) float64."""
        z = torch.randn(len(label), self.splines.count, generator=chance)
        x = self.splines.inverse(z, F.one_hot(label, self.classes).float())
        return torch.as_tensor(torch.special.ndtr(x.double()).clamp(0, 1 - EDGE))
