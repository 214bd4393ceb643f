"""How unusual is a window beside the normal ones?"""

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
#: Readings over which the worst place of a window is looked for.
NEAR = 5
#: Added before logarithms.
LITTLE = 1e-4


class Scorer(nn.Module):
    """centre, spread (parts,): of what is measured of normal windows."""

    centre: Tensor
    spread: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        many = 2 + 4 * len(layout.numbers) + len(layout.levels)
        self.register_buffer("centre", torch.zeros(many, dtype=torch.float64))
        self.register_buffer("spread", torch.ones(many, dtype=torch.float64))

    def learn(self, found: Tensor) -> None:
        """From what was measured of normal windows: (n, parts)."""
        self.centre.copy_(found.median(dim=0).values)
        self.spread.copy_((found - self.centre).abs().mean(dim=0).clamp(min=1e-3))

    def together(self, found: Tensor) -> Tensor:
        """(n, parts) -> (n,)."""
        out: Tensor = ((found - self.centre) / self.spread).abs().mean(dim=1)
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
        for each in (left, noise.innovations(left, labels) / noise.spreads[label][:, None]):
            out += _sizes(each * there, there)
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


def _sizes(left: Tensor, there: Tensor) -> list[Tensor]:
    """How large what is left is in a whole window, and where it is largest: two of (n, channels), logarithms."""
    size = left.square()
    near = F.avg_pool1d(size, NEAR, 1, NEAR // 2) if size.shape[2] >= NEAR else size
    return [(size.sum(dim=2) / there.sum(dim=2).clamp(min=1) + LITTLE).log(), (near.amax(dim=2) + LITTLE).log()]
