"""Drawn shapes for tests of the families of pictures: gray or RGB, three classes, exact masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.images import batch, schema

CLASSES = ("normal", "dot", "line")


def shapes(
    counts: Sequence[int] = (12, 8, 6),
    *,
    size: int = 16,
    channels: int = 1,
    masks: bool = True,
    classes: Sequence[str] = CLASSES,
    seed: int = 0,
) -> Dataset:
    """Gray grounds; a class named dot has a bright square on them, one named line a dark row; masks mark them exactly.

    counts: pictures of each class; masks: False leaves them out."""
    rng = np.random.default_rng(seed)
    pixels, marks, names = [], [], []
    for name, count in zip(classes, counts, strict=True):
        for _ in range(count):
            picture, mask = drawn(name, size, channels, rng)
            pixels.append(picture)
            marks.append(mask)
            names.append(name)
    return as_dataset(np.stack(pixels), names, marks if masks else None, classes)


def drawn(name: str, size: int, channels: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One picture (size, size, channels) uint8 and its mask (size, size) bool."""
    picture = rng.normal(110.0, 6.0, (size, size, channels)) + np.arange(channels) * 20
    mask = np.zeros((size, size), dtype=bool)
    top, left = rng.integers(1, size - size // 4 - 1, 2)
    if name == "dot":
        mask[top : top + size // 4, left : left + size // 4] = True
        picture[mask] = 225
    elif name == "line":
        mask[top, 2 : size - 2] = True
        picture[mask] = 20
    return np.clip(np.round(picture), 0, 255).astype(np.uint8), mask


def as_dataset(
    pixels: np.ndarray, names: Sequence[str], masks: Sequence[np.ndarray | None] | None, classes: Sequence[str]
) -> Dataset:
    """(n, h, w, c) uint8 pictures of these classes as a dataset; each a group of its own."""
    keys = [f"{name}/{i:03d}" for i, name in enumerate(names)]
    rows = batch(pixels, names, masks=masks, names=keys, groups=keys, sources=keys)
    return Dataset(pa.Table.from_batches([rows]), schema(classes))
