"""Which turns and mirrorings of a picture could have been photographed as well?

A surface of slanted grooves looks the same upside down, but not in a mirror. A turn is used to make more of a few pictures
only where the pictures do not tell it from themselves."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray
#: The eight symmetries of a square: quarter turns 0 to 3, then the same after a mirroring left to right.
ALL = tuple(range(8))
CELLS = 4
#: Largest standardised shift of any figure of a picture that passes for chance, beyond what few pictures show anyway.
SHIFT = 0.25
MOST = 512


def turned(pictures: Tensor, which: int) -> Tensor:
    """(..., h, w) turned by the `which`-th of the eight symmetries."""
    mirrored = pictures.flip(-1) if which >= 4 else pictures
    return torch.rot90(mirrored, which % 4, (-2, -1))


def turned_by(pictures: Tensor, which: Tensor) -> Tensor:
    """Each of (n, c, s, s) turned by its own symmetry; which: (n,) int64."""
    out = pictures
    for g in set(which.tolist()):
        if g:
            out = torch.where((which == g)[:, None, None, None], turned(pictures, g), out)
    return out


def symmetries(pixels: Array) -> tuple[int, ...]:
    """The symmetries under which these pictures keep their look: (n, s, s, c) uint8 -> 0 and some of 1 to 7.

    Compares brightness and the direction of edges, cell by cell, between each picture and its turned self: a symmetry is
    kept when no figure shifts by more than a quarter of its own spread, beyond what as few pictures do by chance."""
    few = pixels[:: -(-len(pixels) // MOST)]
    if len(few) < 2:
        return (0,)
    pictures = torch.from_numpy(few.mean(axis=3, dtype=np.float32) / 255.0)
    own = _figures(pictures)
    limit = SHIFT + 3.0 / np.sqrt(len(few))
    kept = [0]
    for g in ALL[1:]:
        shift = own - _figures(turned(pictures, g))
        spread = torch.cat([own - own.mean(0), own - own.mean(0)]).std(0) + 1e-3
        if float((shift.mean(0).abs() / spread).max()) <= limit:
            kept.append(g)
    return tuple(kept)


def _figures(pictures: Tensor) -> Tensor:
    """(n, s, s) -> (n, f): mean of each of 4 x 4 cells, and over the picture how strongly edges run in four directions."""
    cells = torch.nn.functional.adaptive_avg_pool2d(pictures[:, None], CELLS).flatten(1)
    dy, dx = pictures.diff(dim=1)[:, :, :-1], pictures.diff(dim=2)[:, :-1]
    energy = (dx.square() + dy.square()).flatten(1).mean(1) + 1e-6
    along = (dx.square() - dy.square()).flatten(1).mean(1) / energy
    across = (2 * dx * dy).flatten(1).mean(1) / energy
    return torch.cat([cells, along[:, None], across[:, None]], dim=1)
