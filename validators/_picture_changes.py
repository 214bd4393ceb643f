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

    turns: "all" mirrors and turns by quarters, "mirror" mirrors left and right alone; mask_turns: those of a segmenter;
    shift: of a side, either way; zoom: of the scale, either way, for half of the pictures, since sampling between pixels
    softens them; light, contrast: in standard deviations of the pixels and as a factor, either way; noise: greatest standard
    deviation that is added."""

    turns: Turns = "all"
    mask_turns: Turns = "all"
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


#: Pictures that the probes look at, and pixels a side that they see.
PROBED, SIDE = 800, 16
#: The loss of accuracy by a turn that is forgiven, and how surely turned pictures may be told from upright ones.
FORGIVEN, TOLD = 0.2, 0.6
#: Pictures of a class without which it takes no part in judging a turn.
LEAST_KIND = 8


def changes_of(pixels: Array, labels: Array, seed: int = 0) -> Changes:
    """Changes with the turns that suit real training pictures: (n, h, w, c) uint8, (n,) int64.

    Few defects gain by turns that no real picture shows, as long as they stay what they are (`harmless`). A segmenter has
    thousands of pixels to learn from in each picture and only loses by them: measured on ball screws, whose threads lie one
    way, its overlap was 0.69 with all turns and 0.77 without. So its turns are those that are `usual` besides."""
    wide = harmless(pixels, labels, seed)
    known = min((wide, usual(pixels, seed)), key=_WIDTH.index)
    return Changes(turns=wide, mask_turns=known)


_WIDTH: tuple[Turns, ...] = ("none", "mirror", "all")


def harmless(pixels: Array, labels: Array, seed: int = 0) -> Turns:
    """The widest turns that do not make a picture look like one of another class: (n, h, w, c) uint8, (n,) int64.

    A linear probe is trained on half of the pictures and asked about the other half as they are and turned: a six on its
    head is called a nine, while a scratch stays a scratch. A difference within two standard errors is forgiven."""
    names, counts = np.unique(labels, return_counts=True)
    known = np.isin(labels, names[counts >= LEAST_KIND])  # of a handful nothing can be said
    x, kept = _small(pixels[known], seed)
    y = labels[known][kept]
    if len(np.unique(y)) < 2:
        return "all"
    upright = _recognised(x, [x], y)[0]
    if not _worse(upright, _recognised(x, [*_quarters(x), _mirrored(x)], y), y):
        return "all"
    return "none" if _worse(upright, _recognised(x, [_mirrored(x)], y), y) else "mirror"


def usual(pixels: Array, seed: int = 0) -> Turns:
    """The widest turns that leave pictures such as they are taken: a linear probe cannot tell them from upright ones.

    (n, h, w, c) uint8. TOLD and two standard errors more are allowed."""
    x, kept = _small(pixels, seed)
    most = TOLD + 1.0 / np.sqrt(len(kept))
    if max(_told(x, turned) for turned in [*_quarters(x), _mirrored(x)]) <= most:
        return "all"
    return "mirror" if _told(x, _mirrored(x)) <= most else "none"


def _small(pixels: Array, seed: int) -> tuple[Tensor, Array]:
    """At most PROBED pictures, gray and small, and which they are: (n, SIDE, SIDE), (n,)."""
    kept = np.random.default_rng([seed, 107]).permutation(len(pixels))[:PROBED]
    x = torch.from_numpy(pixels[kept]).permute(0, 3, 1, 2).float()
    return functional.adaptive_avg_pool2d(x, SIDE).mean(dim=1), kept


def _quarters(x: Tensor) -> list[Tensor]:
    return [torch.rot90(x, k, (1, 2)) for k in (1, 2, 3)] + [x.flip(1)]


def _mirrored(x: Tensor) -> Tensor:
    return x.flip(2)


def _told(x: Tensor, turned: Tensor) -> float:
    """Share of pictures of the other half, upright and turned, that a probe tells for what they are."""
    half, both = np.arange(len(x)) % 2, [_flat(x), _flat(turned)]
    right = []
    for h in (0, 1):
        fit = np.concatenate([one[half != h] for one in both])
        told = _probe(fit, np.repeat([0, 1], len(fit) // 2), np.array([0, 1]))
        right += [told(one[half == h]) == k for k, one in enumerate(both)]
    return float(np.mean(np.concatenate(right)))


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
