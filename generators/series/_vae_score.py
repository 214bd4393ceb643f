"""How unusual is a window beside the normal ones?

A likelihood alone takes a flat line for the most normal of all windows, and drowns one wrong reading among many right ones
(Nalisnick et al. 2019, arXiv 1810.09136). So it is one of several things that are measured: the bound on the likelihood, how
likely the point is among those of the normal class, how much of each channel the decoder leaves, in the whole and where it is
most, before and after what its noise remembers is taken off, and where too little is left."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.series._planes import Layout
from generators.series._vae_latents import Latents
from generators.series._vae_net import NORMAL, Net
from generators.series._vae_noise import Noise

#: Points by which the bound on the likelihood is weighed.
DRAWS = 8
#: Readings over which the loudest place of a window is looked for, and the stillest.
LOUD, STILL = 5, 15
#: Added before logarithms.
LITTLE = 1e-4
#: Deviations in the median of how far off a normal number is.
MAD = 1.4826
#: Nats that a part adds at most.
MOST = 100.0


class Scorer(nn.Module):
    """centre, spread (parts,): median and usual size of what is measured of normal windows, by medians too: some of the windows
    that are taken as normal may not be."""

    centre: Tensor
    spread: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        many = 2 + 5 * len(layout.numbers) + len(layout.levels)
        self.register_buffer("centre", torch.zeros(many, dtype=torch.float64))
        self.register_buffer("spread", torch.ones(many, dtype=torch.float64))

    def learn(self, found: Tensor) -> None:
        """From what was measured of normal windows: (n, parts)."""
        self.centre.copy_(found.median(dim=0).values)
        self.spread.copy_(((found - self.centre).abs().median(dim=0).values * MAD).clamp(min=LITTLE))

    def together(self, found: Tensor) -> Tensor:
        """(n, parts) -> (n,): minus the logarithm of how rare so high a part is where a normal distribution holds, the mean
        over all parts.  Source: Fisher 1932, section 21.1, how chances are put together."""
        nats = -torch.special.log_ndtr(-((found - self.centre) / self.spread).clamp(min=0)) - math.log(2)
        out: Tensor = nats.clamp(max=MOST).mean(dim=1)
        return out


def measured(net: Net, latents: Latents, noise: Noise, label: int, *rows: Tensor) -> Tensor:
    """What is measured of windows taken as of one class, rows (n, planes, side), the same bool, (n, d): (n, parts) float64."""
    layout, device = net.layout, next(net.parameters()).device
    x, known, about = (row.to(device) for row in rows)
    mean, spread = net.encoder(x, known, about)
    guess, around = (part.cpu() for part in net.decoder(mean, about))
    out = [-latents.nats(mean.cpu(), label)[:, None], _bound(net, latents, label, mean, spread, (x, known, about))]
    x, known = rows[0], rows[1]
    if layout.numbers:
        there = known[:, layout.numbers]
        left = ((x[:, layout.numbers] - guess[:, layout.numbers]) * (-around).exp()).double() * there
        labels = torch.full((len(x),), label)
        fresh = noise.innovations(left, labels) / noise.spreads[label][:, None] * there
        out += [_whole(left, there), _loudest(left), _whole(fresh, there), _loudest(fresh), _stillest(fresh, there)]
    for a, b in layout.levels:
        own = -(F.log_softmax(guess[:, a:b], dim=1) * x[:, a:b]).sum(dim=1) * known[:, a]
        out.append((own.sum(dim=1) / known[:, a].sum(dim=1).clamp(min=1) + LITTLE).log()[:, None])
    return torch.cat([part.double() for part in out], dim=1)


def _bound(net: Net, latents: Latents, label: int, mean: Tensor, spread: Tensor, rows: tuple[Tensor, ...]) -> Tensor:
    """Nats of each reading by the importance-weighted bound, points as likely as they are in the class: (n, 1).

    Source: Burda et al. 2016 (arXiv 1509.00519), section 3."""
    x, known, about = rows
    fixed = torch.randn(DRAWS, mean.shape[1], generator=torch.Generator().manual_seed(0)).to(mean)
    weights = []
    for row in fixed:
        z = mean + spread.exp() * row
        own = net.told(z, x, known, about).sum(dim=(1, 2))
        likely = own + (0.5 * row.square() + spread + NORMAL).sum(dim=1)
        weights.append(likely.double().cpu() + latents.nats(z.cpu(), label))
    whole = math.log(DRAWS) - torch.stack(weights).logsumexp(dim=0)
    return (whole / known[:, net.layout.first].sum(dim=(1, 2)).clamp(min=1).cpu())[:, None]


def _whole(left: Tensor, there: Tensor) -> Tensor:
    """How large what is left is in a whole window: (n, channels, t) -> (n, channels), a logarithm as those below."""
    return (left.square().sum(dim=2) / there.sum(dim=2).clamp(min=1) + LITTLE).log()


def _loudest(left: Tensor) -> Tensor:
    """How large it is where it is largest."""
    size = left.square()
    near = F.avg_pool1d(size, LOUD, 1, LOUD // 2) if size.shape[2] >= LOUD else size
    return (near.amax(dim=2) + LITTLE).log()


def _stillest(left: Tensor, there: Tensor) -> Tensor:
    """How small it is where it is smallest, higher where smaller: a sensor that is stuck, a flat line. Missing readings
    count as usual ones."""
    size = torch.where(there, left.square(), 1.0)
    near = F.avg_pool1d(size, STILL, 1) if size.shape[2] >= STILL else size.mean(dim=2, keepdim=True)
    return -(near.amin(dim=2) + LITTLE).log()
