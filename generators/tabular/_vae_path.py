"""Which rows lead from one row to another? A path through the latent space, and one set of chances along it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from generators.tabular._vae_net import Net

Array = np.ndarray


@torch.no_grad()
def path(net: Net, ends: Array, labels: tuple[int, int], steps: int) -> tuple[Array, Array]:
    """Local tokens of `steps` rows from one to another, (steps, fields), and their classes, (steps,).

    ends: (2, fields) local tokens, below 0 for what train did not hold. The points go along a great circle where the prior is
    normal, so that all of them are as likely as the ends; the class changes half-way. A row stands where it does in what the
    decoder says of its point: halfway up its own token's share of the distribution. That place goes from one end's to the
    other's, so that the ends are met exactly and a token changes only where what is likely changes."""
    places = torch.from_numpy(np.where(ends < 0, -1, ends + np.array(net.shape.starts[:-1])))
    of = torch.tensor(labels)
    mean, _ = net.encode(places, of)
    normal, _ = net.prior.flatten(mean, of)
    along = torch.linspace(0, 1, steps)
    label = torch.where(along < 0.5, of[0], of[1])
    z = net.prior.bend(_circle(normal[0], normal[1], along), label)
    hidden, heads = net.hidden(z, label), net.heads()
    out = torch.zeros(steps, len(net.shape.sizes), dtype=torch.long)
    ranks = np.array(net.shape.ranks)
    for field in range(out.shape[1]):
        outer = out[:, net.outer[field]] if field in net.outer else None
        chance = torch.softmax(net.logits(field, hidden, label, heads, outer).double(), dim=1)
        first, end = net.shape.starts[field], net.shape.starts[field + 1]
        # Numbers in their order, null last; levels as they are, the most frequent first.
        order = torch.from_numpy(np.argsort(ranks[first:end], kind="stable"))
        upto = torch.cumsum(chance[:, order], dim=1)
        start, stop = (_place(upto[k], order, int(ends[side, field])) for side, k in ((0, 0), (1, -1)))
        at = (start + (stop - start) * along.double()) * upto[:, -1]
        out[:, field] = order[(upto[:, :-1] <= at[:, None]).sum(dim=1)]
    return out.numpy(), label.numpy()


def _place(upto: Tensor, order: Tensor, token: int) -> float:
    """Half-way up the share of a token in a distribution: 0 to 1; the middle of all where it is unknown."""
    if token < 0:
        return 0.5
    k = int((order == token).nonzero())
    return float((upto[k] + (upto[k - 1] if k else 0.0)) / 2 / upto[-1])


def _circle(a: Tensor, b: Tensor, along: Tensor) -> Tensor:
    """Points from a to b, (latent,) each, that keep their distance from the origin: (steps, latent).

    Source: spherical interpolation as in White 2016 (arXiv 1609.04468), section 2.1."""
    long = torch.lerp(a.norm(), b.norm(), along)
    turn = torch.arccos((a @ b / (a.norm() * b.norm()).clamp(min=1e-12)).clamp(-1, 1))
    if not 1e-3 < float(turn) < np.pi - 1e-3:
        return torch.lerp(a, b, along[:, None])
    first, second = torch.sin((1 - along) * turn), torch.sin(along * turn)
    unit: Tensor = (first[:, None] * a / a.norm() + second[:, None] * b / b.norm()) / torch.sin(turn)
    return unit * long[:, None]
