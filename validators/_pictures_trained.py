"""What does the fixed net become when it learns the classes of the real training pictures? A second opinion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from data.images import Pictures
from validators import _pictures_nets as nets

Array = np.ndarray[Any, Any]

STEPS, BATCH, RATE = 150, 32, 1e-3
#: Pixels that a picture is shifted by, at most, each time it is looked at.
SHIFT = 3


def trained(layers: Sequence[nets.Layer], train: Pictures, canvas: int, seed: int) -> list[nets.Layer]:
    """The layers after STEPS updates: they learn to tell the classes, or, where there is one class only, by which quarter a
    picture was turned (Gidaris et al. 2018). Ten seconds or so on one core; the same seed gives the same weights.

    Every class is drawn equally often. The holdout and the synthetic pictures take no part."""
    rng = np.random.default_rng([seed % 2**63, 53])
    x, marks, whole = nets.canvases(train.pixels, train.masks, canvas)
    kinds = np.unique(train.labels)
    weights = [part.clone().requires_grad_() for layer in layers for part in (layer.weight, layer.bias)]
    net = [nets.Layer(weights[i], weights[i + 1]) for i in range(0, len(weights), 2)]
    with torch.no_grad():
        scale = _scale(nets.looks(net, x[: 4 * BATCH], marks[: 4 * BATCH], whole[: 4 * BATCH]))
    head = torch.zeros(len(scale[0]), max(len(kinds), 4), requires_grad=True)
    optimizer = torch.optim.Adam([{"params": weights, "lr": RATE}, {"params": [head], "lr": 10 * RATE}], weight_decay=1e-4)
    chances = _chances(train.labels)
    for _ in range(STEPS):
        rows = torch.from_numpy(rng.choice(len(train), size=BATCH, p=chances))
        if len(kinds) > 1:
            seen, masks = _shifted(x[rows], marks[rows], rng)
            target = torch.from_numpy(np.searchsorted(kinds, train.labels[rows.numpy()]))
        else:
            seen, masks, target = _turned(x[rows], marks[rows], rng)
        found = (nets.looks(net, seen, masks, whole[rows]) - scale[0]) / scale[1]
        loss = functional.cross_entropy(found @ head / len(head) ** 0.5, target, label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return [nets.Layer(layer.weight.detach(), layer.bias.detach()) for layer in net]


def _scale(found: Tensor) -> tuple[Tensor, Tensor]:
    return found.mean(dim=0), found.std(dim=0, correction=0).clamp(min=1e-3)


def _chances(labels: Array) -> Array:
    counts = np.bincount(labels)
    shares = 1.0 / counts[labels]
    return np.asarray(shares / shares.sum())


def _shifted(x: Tensor, marks: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    by = (int(rng.integers(-SHIFT, SHIFT + 1)), int(rng.integers(-SHIFT, SHIFT + 1)))
    return torch.roll(x, by, dims=(2, 3)), torch.roll(marks, by, dims=(2, 3))


def _turned(x: Tensor, marks: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Each picture turned by some quarter, and by which."""
    quarters = rng.integers(4, size=len(x))
    turned = [torch.stack([torch.rot90(one, int(k), (1, 2)) for one, k in zip(side, quarters, strict=True)])
              for side in (x, marks)]  # fmt: skip
    return turned[0], turned[1], torch.from_numpy(quarters)
