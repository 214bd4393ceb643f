"""Which changes of a picture leave it what it is? Classical augmentation of a whole batch at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from validators.stats import Array

Turns = Literal["none", "mirror", "all"]


@dataclass(frozen=True, kw_only=True)
class Changes:
    """How far pictures are changed.

    turns: "all" mirrors and turns by quarters, "mirror" mirrors left and right alone; shift: of a side, either way; zoom:
    of the scale, either way, for half of the pictures, since sampling between pixels softens them; light, contrast: in
    standard deviations of the pixels and as a factor, either way; noise: greatest standard deviation that is added."""

    turns: Turns = "all"
    shift: float = 0.08
    zoom: float = 0.12
    light: float = 0.2
    contrast: float = 0.2
    noise: float = 0.1


def changed(x: Tensor, marks: Tensor | None, how: Changes, rng: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """NCHW pictures in standard deviations, each changed by chance, and their (n, 1, h, w) marks moved with them."""
    where = _grid(x, how, rng)
    moved = functional.grid_sample(x, where, padding_mode="reflection", align_corners=False)
    n = len(x)
    factor = 1 + how.contrast * _either(n, rng)
    light = how.light * _either(n, rng)
    grain = how.noise * torch.rand(n, 1, 1, 1, generator=rng) * torch.randn(moved.shape, generator=rng)
    moved = moved * factor + light + grain
    if marks is not None:
        marks = functional.grid_sample(marks, where, padding_mode="reflection", align_corners=False)
    return moved.contiguous(memory_format=torch.channels_last), marks


def _either(n: int, rng: torch.Generator) -> Tensor:
    return torch.rand(n, 1, 1, 1, generator=rng) * 2 - 1


def _grid(x: Tensor, how: Changes, rng: torch.Generator) -> Tensor:
    """Where each pixel is taken from: whole pixels, but for the half that is zoomed."""
    n, side = len(x), x.shape[-1]
    quarter = torch.randint(4, (n,), generator=rng) if how.turns == "all" else torch.zeros(n, dtype=torch.int64)
    flip = torch.randint(2, (n,), generator=rng) * 2.0 - 1 if how.turns != "none" else torch.ones(n)
    scale = 1 + how.zoom * _either(n, rng)[:, 0, 0, 0] * (torch.rand(n, generator=rng) < 0.5)
    reach = int(how.shift * side)
    # A pixel is 2 / side wide in the coordinates of a grid.
    shift = torch.randint(-reach, reach + 1, (n, 2), generator=rng) * (2.0 / side)
    cos, sin = torch.tensor([1.0, 0.0, -1.0, 0.0])[quarter], torch.tensor([0.0, 1.0, 0.0, -1.0])[quarter]
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = cos * flip * scale, -sin * scale
    theta[:, 1, 0], theta[:, 1, 1] = sin * flip * scale, cos * scale
    theta[:, :, 2] = shift
    return functional.affine_grid(theta, list(x.shape), align_corners=False)


#: Pictures that the probe of `harmless` looks at, pixels a side that it sees, and the loss of accuracy it forgives.
PROBED, SIDE, FORGIVEN = 800, 16, 0.05


def harmless(pixels: Array, labels: Array, seed: int = 0) -> Turns:
    """The widest turns that do not make a picture look like one of another class: (n, h, w, c) uint8, (n,) int64.

    A linear probe is trained on half of the pictures and asked about the other half as they are and turned: a six on its
    head is called a nine, while a scratch stays a scratch. A difference within two standard errors is forgiven."""
    rng = np.random.default_rng([seed, 107])
    kept = rng.permutation(len(labels))[:PROBED]
    x, y = torch.from_numpy(pixels[kept]).permute(0, 3, 1, 2).float(), labels[kept]
    x = functional.adaptive_avg_pool2d(x, SIDE).mean(dim=1)
    if len(np.unique(y)) < 2:
        return "all"
    upright = _recognised(x, [x], y)[0]
    wide = [torch.rot90(x, k, (1, 2)) for k in (1, 2, 3)] + [x.flip(1)]
    if not _worse(upright, _recognised(x, [*wide, x.flip(2)], y), y):
        return "all"
    return "none" if _worse(upright, _recognised(x, [x.flip(2)], y), y) else "mirror"


def _recognised(x: Tensor, turned: Sequence[Tensor], y: Array) -> Array:
    """(t, n) bool: whether a probe trained on the other half knows each of these for what it is."""
    half = np.arange(len(y)) % 2
    out = np.zeros((len(turned), len(y)), dtype=bool)
    for h in (0, 1):
        fit, ask = half != h, half == h
        classes = np.unique(y[fit])
        if len(classes) < 2:
            continue
        told = _probe(_flat(x)[fit], y[fit], classes)
        for t, one in enumerate(turned):
            out[t, ask] = told(_flat(one)[ask]) == y[ask]
    return out


def _flat(x: Tensor) -> Array:
    flat = x.reshape(len(x), -1).double().numpy()
    centred = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(centred / (centred.std(axis=1, keepdims=True) + 4.0))


def _probe(x: Array, y: Array, classes: Array) -> Callable[[Array], Array]:
    """Ridge regression on the classes, each weighing the same."""
    weights = (1.0 / np.bincount(np.searchsorted(classes, y)))[np.searchsorted(classes, y)]
    root = np.sqrt(weights / weights.mean())[:, None]
    hot = (y[:, None] == classes) - 1.0 / len(classes)
    beta = np.linalg.solve((x * root).T @ (x * root) + 0.1 * len(x) * np.eye(x.shape[1]), (x * root).T @ (hot * root))
    return lambda asked: np.asarray(classes[(asked @ beta).argmax(axis=1)])


def _worse(upright: Array, turned: Array, y: Array) -> bool:
    """Whether balanced accuracy falls by more than is forgiven, for the worst of the turns."""
    kinds = [y == k for k in np.unique(y)]
    for one in turned:
        change = upright.astype(float) - one
        drop = float(np.mean([change[k].mean() for k in kinds]))
        error = float(np.sqrt(np.sum([change[k].var() / k.sum() for k in kinds]))) / len(kinds)
        if drop > FORGIVEN + 2 * error:
            return True
    return False
