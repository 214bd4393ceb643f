"""How does a critic see few pictures in many ways, without the generator learning those ways?

Every change is made to real and drawn pictures alike, and each is left out with a chance of at least 1 - LIMIT: then what a
changed set of pictures was before can be told from it, and a generator that matches the changed ones matches the unchanged
(Karras et al. 2020, arXiv 2006.06676, section 2.2; they stop at .8, but in a short training quarter turns at .8 still leaked
for one seed of three, at .6 for none of six). How often changes are made follows from how far the critic overfits, class by
class: a class of five pictures is known by heart long before one of a thousand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from generators.image._loop import Hand

WAYS = ("flip", "rotate", "shift", "scale", "colour", "cutout")
#: No change is made more often than this, or it would leak.
LIMIT = 0.6
#: Over how many pairs of a class the critic's being right is followed.
REMEMBERED = 64
#: Shares of the side that a shift and a cut take, and the spread of the scale in powers of two.
SHIFT, SCALE, CUT = 0.125, 0.2, 0.4


class Augment:
    """Changes of place for pictures with their masks, of light for pictures alone.

    ways: which of WAYS; channels: how many planes are picture, the rest is its mask."""

    def __init__(self, ways: Sequence[str], channels: int) -> None:
        self.ways, self.channels = frozenset(ways), channels

    def __call__(self, x: Tensor, p: Tensor, hand: Hand) -> Tensor:
        """(n, planes, h, w), (n,) -> the same shape; each way is taken with chance `p`, for each picture on its own."""
        if not self.ways or not bool((p > 0).any()):
            return x
        p = p.clamp(max=LIMIT).to(x.device)
        x = self._moved(x, p, hand)
        if "colour" in self.ways:
            x = torch.cat([self._lit(x[:, : self.channels], p, hand), x[:, self.channels :]], dim=1)
        return self._cut(x, p, hand) if "cutout" in self.ways else x

    def _moved(self, x: Tensor, p: Tensor, hand: Hand) -> Tensor:
        if not self.ways & {"flip", "rotate", "shift", "scale"}:
            return x
        n, size = len(x), x.shape[-1]
        a, b = torch.ones(n, device=x.device), torch.zeros(n, device=x.device)
        flip, move = torch.ones(n, device=x.device), torch.zeros(n, 2, device=x.device)
        if "flip" in self.ways:
            flip = 1 - 2 * (_chosen(p, hand) * (hand.rand(n) < 0.5))
        if "rotate" in self.ways:
            quarter = _chosen(p, hand) * hand.randint(4, n)
            a, b = torch.cos(quarter * (math.pi / 2)).round(), torch.sin(quarter * (math.pi / 2)).round()
        if "scale" in self.ways:
            zoom = torch.exp2(SCALE * hand.randn(n) * _chosen(p, hand))
            a, b = a * zoom, b * zoom
        if "shift" in self.ways:  # by whole pixels, which blur nothing
            pixels = ((hand.rand(n, 2) * 2 - 1) * SHIFT * size).round()
            move = _chosen(p, hand)[:, None] * pixels * 2 / size
        rows = torch.stack([a * flip, -b, move[:, 0], b * flip, a, move[:, 1]], dim=1)
        where = F.affine_grid(rows.view(n, 2, 3), list(x.shape), align_corners=False)
        return F.grid_sample(x, where.to(x.dtype), mode="bilinear", padding_mode="reflection", align_corners=False)

    def _lit(self, x: Tensor, p: Tensor, hand: Hand) -> Tensor:
        n, chosen = len(x), _chosen(p, hand)
        bright = 0.3 * hand.randn(n) * chosen
        contrast = torch.exp2(0.4 * hand.randn(n) * chosen)
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        x = (x - mean) * contrast.view(-1, 1, 1, 1) + mean + bright.view(-1, 1, 1, 1)
        if x.shape[1] == 1:
            return x
        gray = x.mean(dim=1, keepdim=True)
        vivid = torch.exp2(0.5 * hand.randn(n) * chosen).view(-1, 1, 1, 1)
        return gray + (x - gray) * vivid

    def _cut(self, x: Tensor, p: Tensor, hand: Hand) -> Tensor:
        """A square of CUT of the side is grayed out, its mask with it."""
        n, size = len(x), x.shape[-1]
        at = torch.arange(size, device=x.device)
        middle = hand.rand(n, 2) * size
        near = [(at[None] - middle[:, i : i + 1]).abs() < CUT * size / 2 for i in (0, 1)]
        hidden = (near[0][:, :, None] & near[1][:, None, :]) & (_chosen(p, hand)[:, None, None] > 0)
        return x * (~hidden)[:, None]


def _chosen(p: Tensor, hand: Hand) -> Tensor:
    """1 for the pictures that are changed, 0 for the others: (n,) float."""
    return (hand.rand(len(p)) < p).float()


class Adaptive:
    """The chance of a change for each class, moved up while the critic overfits there and down while it does not.

    Overfitting shows where the critic puts a real picture above a drawn one of its class: hardly ever wrong means that it
    knows them by heart. start: the first chance; goal: the share of pairs, right less wrong, that is held; pace: steps
    from no changes to LIMIT. p, lead: (classes,)."""

    def __init__(self, classes: int, start: float, goal: float, pace: int) -> None:
        self.p, self.lead = torch.full((classes,), min(start, LIMIT)), torch.zeros(classes)
        self.goal, self.pace = goal, max(1, pace)

    def see(
        self, real: Tensor, drawn: Tensor, labels: Tensor, steps: int = 1, total: Callable[[Tensor], Tensor] = torch.clone
    ) -> None:
        """(n,) what the critic said of pairs of these classes; `steps` since it was last asked; total: sums over processes."""
        right = torch.sign(real.detach() - drawn.detach()).float().cpu()
        counted = torch.stack([torch.ones_like(right), right], dim=1)
        pairs, lead = total(torch.zeros(len(self.lead), 2).index_add_(0, labels.cpu(), counted)).unbind(dim=1)
        mean = lead / pairs.clamp(min=1)
        self.lead += (mean - self.lead) * (pairs / REMEMBERED).clamp(max=1)
        move = torch.sign(self.lead - self.goal) * (pairs > 0) * (steps * LIMIT / self.pace)
        self.p = (self.p + move).clamp(0.0, LIMIT)

    def state(self) -> list[Tensor]:
        return [self.p, self.lead]

    def back(self, state: Sequence[Tensor]) -> None:
        self.p, self.lead = state
