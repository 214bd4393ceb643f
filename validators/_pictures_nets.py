"""What do convolutional nets of fixed random weights see of a picture, on its marks and around them?

Two nets, neither trained. The first tells looks apart: textures, shapes, their scale and direction. The second is made to
tell copies: mirroring a picture changes nothing for it, shifting or dimming it little. What a net answers is averaged over
the marked pixels, with its deviation there, and compared with what it answers around them; on a picture without marks it
is averaged over all of it. Source: random filters as features, Saxe et al. 2011, On random weights and unsupervised
feature learning; weights tied over mirrors, Cohen and Welling 2016, Group equivariant convolutional networks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Array = np.ndarray[Any, Any]

#: Pictures in one pass.
ROWS = 64
#: Deviation of the gray values, in levels, below which a picture's contrast is not raised any further: it would be noise.
FLOOR = 6.0
#: Share of a side over which an unmarked picture counts less and less towards its edge, where a shift changes most.
FADE = 0.35

LOOK_SEED, COPY_SEED = 20_251, 20_252
LOOK_WIDTHS, LOOK_KERNELS = (24, 48, 96, 128), (5, 3, 3, 3)
#: Filters that are each used in four ways: as it is, mirrored, turned upside down, and both.
COPY_ORBITS, COPY_KERNELS = (12, 24), (5, 3)
MIRRORS: tuple[tuple[int, ...], ...] = ((), (3,), (2,), (2, 3))


@dataclass(frozen=True)
class Layer:
    """weight: (out, in, k, k); bias: (out,)."""

    weight: Tensor
    bias: Tensor


def look_layers() -> list[Layer]:
    """The layers of the net that tells looks apart; the same on every machine."""
    rng = np.random.default_rng(LOOK_SEED)
    out, inputs = [], 3
    for depth, (width, kernel) in enumerate(zip(LOOK_WIDTHS, LOOK_KERNELS, strict=True)):
        # The first filters see edges and no light; the deeper ones keep half of it.
        weight = _unit(rng.standard_normal((width, inputs, kernel, kernel)), (2, 3), 1.0 if depth == 0 else 0.5)
        out.append(_layer(weight, 0.1 * rng.standard_normal(width)))
        inputs = width
    return out


def copy_layers() -> list[Layer]:
    """The layers of the net that tells copies: mirroring its input only swaps its channels within each four."""
    rng = np.random.default_rng(COPY_SEED)
    out, inputs, ways = [], 1, 1
    for depth, (orbits, kernel) in enumerate(zip(COPY_ORBITS, COPY_KERNELS, strict=True)):
        base = _unit(rng.standard_normal((orbits, inputs, ways, kernel, kernel)), (1, 2, 3, 4), 1.0 if depth == 0 else 0.5)
        weight = np.zeros((orbits, 4, inputs, ways, kernel, kernel))
        for mine, theirs in ((g, h) for g in range(4) for h in range(ways)):
            # Two mirrors after each other are the mirror of their exclusive or.
            turned = base[:, :, mine ^ theirs if ways == 4 else 0]
            weight[:, mine, :, theirs] = np.flip(turned, MIRRORS[mine]) if mine else turned
        bias = np.repeat(0.1 * rng.standard_normal(orbits), 4)
        out.append(_layer(weight.reshape(4 * orbits, inputs * ways, kernel, kernel), bias))
        inputs, ways = orbits, 4
    return out


def _unit(weight: Array, axes: tuple[int, ...], centred: float) -> Array:
    """Filters without (part of) their mean, scaled so that the answers keep their spread from layer to layer."""
    weight = weight - centred * weight.mean(axis=axes, keepdims=True)
    return np.asarray(weight * np.sqrt(2.0 / (weight**2).sum(axis=tuple(range(1, weight.ndim)), keepdims=True)))


def _layer(weight: Array, bias: Array) -> Layer:
    return Layer(*(torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32)) for part in (weight, bias)))


def digest(layers: Sequence[Layer]) -> str:
    """sha256 of all weights, as little-endian floats."""
    seal = hashlib.sha256()
    for layer in layers:
        for part in (layer.weight, layer.bias):
            seal.update(part.detach().numpy().astype("<f4").tobytes())
    return seal.hexdigest()


def looks(layers: Sequence[Layer], x: Tensor, marks: Tensor, whole: Tensor) -> Tensor:
    """Features of normalised pictures: (n, c, s, s), (n, 1, s, s) in 0..1, (n,) bool -> (n, 3 * channels)."""
    parts = []
    for depth, layer in enumerate(layers):
        weight = layer.weight.sum(dim=1, keepdim=True) if depth == 0 and x.shape[1] == 1 else layer.weight
        x = functional.relu(_conv(x, weight, layer.bias))
        if x.shape[-1] >= 4:
            x, marks = functional.avg_pool2d(x, 2), functional.avg_pool2d(marks, 2)
        parts += _pooled(x, marks, whole)
    return torch.cat(parts, dim=1)


def traces(layers: Sequence[Layer], x: Tensor, marks: Tensor, whole: Tensor) -> Tensor:
    """What is left of a picture however it is mirrored, and nearly so however it is shifted a little or lit.

    (n, 1, s, s), (n, 1, s, s), (n,) bool -> (n, 6 * orbits): of each four mirrored filters the mean and the deviation."""
    parts = []
    faded = _fading(x.shape[-1])
    marks = torch.where(whole[:, None, None, None], marks * faded, marks)
    x = torch.where(whole[:, None, None, None], _normal(x, faded), x)
    for depth, layer in enumerate(layers):
        x = functional.relu(_conv(x, layer.weight, layer.bias))
        for part in _pooled(x, marks, whole):
            fours = part.reshape(len(part), -1, 4)
            parts += [fours.mean(dim=2), fours.std(dim=2, correction=0)]
        if depth + 1 < len(layers):
            x, marks = _halved(x), functional.avg_pool2d(marks, 2)
    return torch.cat(parts, dim=1)


def _conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    pad = weight.shape[-1] // 2
    # Zeros around a picture would be its strongest edge.
    return functional.conv2d(functional.pad(x, (pad, pad, pad, pad), mode="replicate"), weight, bias)


def _pooled(x: Tensor, marks: Tensor, whole: Tensor) -> list[Tensor]:
    """Mean and deviation of each channel over the marked pixels, and how far its mean around them differs."""
    inside = marks / marks.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    mean = (x * inside).sum(dim=(2, 3))
    # A floor above 0, where the root of a trained net's answer would have no slope.
    spread = ((x * x * inside).sum(dim=(2, 3)) - mean**2).clamp(min=1e-8).sqrt()
    around = 1 - marks
    around = around / around.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    gap = torch.where(whole[:, None], torch.zeros_like(mean), (x * around).sum(dim=(2, 3)) - mean)
    return [mean, spread, gap]


def _halved(x: Tensor) -> Tensor:
    """Half the side, smoothed over four pixels, so that a shift by one does not change which pixels are kept."""
    x = functional.pad(x, (1, 1, 1, 1), mode="replicate")
    for _ in range(2):
        # One, three, three and one eighths of four rows; then the picture is laid on its side.
        x = ((x[:, :, 0:-3:2] + x[:, :, 3::2]) + 3 * (x[:, :, 1:-2:2] + x[:, :, 2:-1:2])).div_(8).transpose(2, 3)
    return x


def _fading(side: int) -> Tensor:
    """(1, 1, side, side): 1 in the middle, 0 at the edges."""
    at = (torch.arange(side) + 0.5) / side
    one = torch.sin((torch.minimum(at, 1 - at) / FADE).clamp(max=1) * (np.pi / 2)) ** 2
    return (one[:, None] * one)[None, None]


def _normal(x: Tensor, weights: Tensor | None = None) -> Tensor:
    """Each picture without its light and with one contrast: (n, c, s, s), of units of 255 levels or any others."""
    share = torch.ones_like(x[:1, :1]) if weights is None else weights
    share = share / share.sum() / x.shape[1]
    mean = (x * share).sum(dim=(1, 2, 3), keepdim=True)
    spread = (((x - mean) ** 2) * share).sum(dim=(1, 2, 3), keepdim=True).sqrt()
    return (x - mean) / spread.clamp(min=FLOOR if weights is None else 1e-3)


def canvases(pixels: Array, marks: Array, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures of one size and one contrast on a canvas: (n, h, w, c) uint8, (n, h, w) bool -> NCHW, n1hw, (n,) bool.

    An empty mask stands for the whole picture."""
    x = _normal(torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float())
    whole = torch.from_numpy(~marks.any(axis=(1, 2)))
    m = torch.from_numpy(marks[:, None].astype(np.float32))
    m[whole] = 1.0
    if x.shape[-1] != side:
        size = (side, side)
        x, m = (functional.interpolate(part, size=size, mode="bilinear", antialias=True) for part in (x, m))
    return x, m, whole


def batches(count: int) -> Iterator[slice]:
    """Slices of at most ROWS of `count` rows."""
    for start in range(0, count, ROWS):
        yield slice(start, min(start + ROWS, count))
