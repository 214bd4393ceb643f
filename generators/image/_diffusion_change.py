"""How are a few pictures made to teach as many, without a single changed one among the samples?

A picture is flipped, turned, moved or scaled at random while training, and the network is told how. Samples are asked for
with "not at all", so the changes do not leak into them.  Source: Karras et al. 2022 (EDM), appendix F.2."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

WAYS = ("flip", "turn", "move", "scale")
#: Numbers that tell how a picture was changed: two flips, cosine and sine of the turn, two moves, the scale.
TOLD = 7
#: Largest move as a share of the side, and the spread of the scale's logarithm to base 2.
MOVE, SCALE = 0.125, 0.2


class Hand(Protocol):
    """Where random numbers come from, as the training loop has them."""

    device: torch.device

    def rand(self, *shape: int) -> Tensor:
        """Uniform in [0, 1)."""

    def randn(self, *shape: int) -> Tensor:
        """Standard normal."""

    def randint(self, high: int, *shape: int) -> Tensor:
        """Whole numbers in [0, high)."""


class Dice:
    """Random numbers outside of a training, from a stream of their own."""

    device = torch.device("cpu")

    def __init__(self, stream: torch.Generator) -> None:
        self.stream = stream

    def rand(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.stream)

    def randn(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.stream)

    def randint(self, high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=self.stream)


def changed(pictures: Tensor, ways: tuple[str, ...], chance: float, hand: Hand) -> tuple[Tensor, Tensor]:
    """Each of (n, c, s, s) changed in some of `ways`, each with `chance`; and what the network is told: (n, TOLD).

    Flips, quarter turns and moves by whole pixels keep every value; what comes in at the border is mirrored."""
    n, side = len(pictures), pictures.shape[-1]
    flips, turns, moves, scales = _drawn(n, side, ways, chance, hand)
    told = torch.stack(
        [flips[:, 0], flips[:, 1], torch.cos(turns) - 1, torch.sin(turns), moves[:, 0], moves[:, 1], torch.log2(scales)], dim=1
    )
    if not told.any():
        return pictures, told
    # From places in the new picture to places in the old one, in units of half a side.
    mirror = 1 - 2 * flips
    cos, sin = torch.cos(turns) / scales, torch.sin(turns) / scales
    matrix = torch.stack(
        [mirror[:, 0] * cos, -mirror[:, 0] * sin, 2 * moves[:, 0], mirror[:, 1] * sin, mirror[:, 1] * cos, 2 * moves[:, 1]],
        dim=1,
    ).view(n, 2, 3)
    places = F.affine_grid(matrix, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, places, mode="bilinear", padding_mode="reflection", align_corners=False), told


def _drawn(n: int, side: int, ways: tuple[str, ...], chance: float, hand: Hand) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Flips (n, 2) of 0 or 1, turns (n,) in radians, moves (n, 2) in sides, scales (n,)."""
    taken = (hand.rand(n, len(WAYS)) < chance) & torch.tensor([way in ways for way in WAYS], device=hand.device)
    flip, turn, move, scale = taken.unbind(1)
    flips = hand.randint(2, n, 2) * flip[:, None]
    turns = hand.randint(4, n) * turn * (math.pi / 2)
    moves = torch.round((2 * hand.rand(n, 2) - 1) * MOVE * side) / side * move[:, None]
    scales = torch.exp2(hand.randn(n) * SCALE * scale)
    return flips.float(), turns, moves, scales
