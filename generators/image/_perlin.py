"""What do clouds with soft edges at any scale look like? Noise of gradients on a lattice, for the shapes of drawn anomalies."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def perlin(size: int, cells: tuple[int, int], rng: np.random.Generator) -> Array:
    """Gradient noise of about -1 to 1: (size, size) float64, with `cells` lattice cells down and across.

    Source: Perlin 1985, An image synthesizer; the fade of Perlin 2002, 6 t^5 - 15 t^4 + 10 t^3."""
    angles = rng.uniform(0, 2 * np.pi, (cells[0] + 1, cells[1] + 1))
    lean = np.stack([np.sin(angles), np.cos(angles)], axis=2)
    y, x = ((np.arange(size) + 0.5) * n / size for n in cells)
    top, left = y.astype(int), x.astype(int)
    down, across = y - top, x - left
    corners = {}
    for dy in (0, 1):
        for dx in (0, 1):
            slope = lean[top + dy][:, left + dx]
            corners[dy, dx] = slope[:, :, 0] * (down - dy)[:, None] + slope[:, :, 1] * (across - dx)[None, :]
    fade_y, fade_x = (t**3 * (t * (6 * t - 15) + 10) for t in (down, across))
    upper, lower = (corners[dy, 0] + fade_x[None, :] * (corners[dy, 1] - corners[dy, 0]) for dy in (0, 1))
    return np.asarray(np.sqrt(2) * (upper + fade_y[:, None] * (lower - upper)))


def blot(size: int, area: int, middle: tuple[float, float], rng: np.random.Generator) -> Array:
    """A mask of `area` pixels around a middle (y, x) in pixels, cut out of noise by a threshold: (size, size) bool.

    As in DRAEM the noise's scale is drawn on each axis; it is drawn towards the middle, and the threshold meets the area."""
    from scipy import ndimage

    scales = [int(2 ** rng.integers(1, max(2, int(np.log2(size)) - 1))) for _ in range(2)]
    noise = perlin(size, (scales[0], scales[1]), rng)
    noise = ndimage.rotate(noise, float(rng.uniform(-90, 90)), reshape=False, order=1, mode="reflect")
    y, x = np.mgrid[:size, :size]
    reach = max(1.5, np.sqrt(area))
    noise -= ((y - middle[0]) ** 2 + (x - middle[1]) ** 2) / reach**2
    out = np.zeros(size * size, dtype=bool)
    out[np.argsort(-noise, axis=None, kind="stable")[: int(np.clip(area, 1, size * size))]] = True
    return out.reshape(size, size)


def strip(size: int, middle: tuple[float, float], rng: np.random.Generator) -> Array:
    """A thin rotated bar: (size, size) bool. Source: Li et al. 2021, CutPaste-Scar, its sizes in shares of the picture."""
    long, thin = size * rng.uniform(0.1, 0.3), max(1.0, size * rng.uniform(0.01, 0.06))
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[:size, :size]
    down, across = y - middle[0], x - middle[1]
    along = np.abs(np.cos(angle) * across + np.sin(angle) * down)
    beside = np.abs(np.cos(angle) * down - np.sin(angle) * across)
    out = (along <= long / 2) & (beside <= thin / 2)
    if not out.any():
        out[int(np.clip(middle[0], 0, size - 1)), int(np.clip(middle[1], 0, size - 1))] = True
    return np.asarray(out)


def rectangle(size: int, middle: tuple[float, float], rng: np.random.Generator) -> Array:
    """A rectangle of 2 to 15 percent of the picture, sides 0.3 to 3.3 of each other: (size, size) bool. Source: CutPaste."""
    area, ratio = rng.uniform(0.02, 0.15), np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
    h, w = (int(np.clip(round(size * side), 1, size)) for side in (np.sqrt(area * ratio), np.sqrt(area / ratio)))
    top, left = (int(np.clip(round(m - side / 2), 0, size - side)) for m, side in zip(middle, (h, w), strict=True))
    out = np.zeros((size, size), dtype=bool)
    out[top : top + h, left : left + w] = True
    return out
