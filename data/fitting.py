"""Where do a picture, its mask and its boxes come to lie when the picture is brought to a square of the plan's size?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Array = np.ndarray
Fit = Literal["letterbox", "crop", "stretch"]


@dataclass(frozen=True)
class Place:
    """How a picture comes into a square: what is cut from it, what that is scaled to, and where it is laid; in pixels.

    cut: left, top, width, height in the picture; scaled: width, height; corner: left, top in the square."""

    cut: tuple[int, int, int, int]
    scaled: tuple[int, int]
    corner: tuple[int, int]

    @classmethod
    def of(cls, h: int, w: int, size: int, how: Fit) -> Place:
        """The way of a picture of h x w into size x size."""
        if how == "crop":
            side = min(h, w)
            return cls(((w - side) // 2, (h - side) // 2, side, side), (size, size), (0, 0))
        if how == "stretch":
            return cls((0, 0, w, h), (size, size), (0, 0))
        scale = size / max(h, w)
        scaled = max(1, round(w * scale)), max(1, round(h * scale))
        return cls((0, 0, w, h), scaled, ((size - scaled[0]) // 2, (size - scaled[1]) // 2))


def fitted(pixels: Array, size: int, how: Fit) -> Array:
    """(h, w, c) uint8 -> (size, size, c): letterbox (whole picture, edges filled with its border's mean), crop (middle
    square) or stretch. Shrinking and growing by Lanczos; a picture of the size already is left as it is."""
    from PIL import Image

    place = Place.of(pixels.shape[0], pixels.shape[1], size, how)
    inner = _cut(pixels, place)
    if inner.shape[:2] != place.scaled[::-1]:
        image = Image.fromarray(inner[:, :, 0] if inner.shape[2] == 1 else inner)
        inner = np.asarray(image.resize(place.scaled, Image.Resampling.LANCZOS)).reshape(*place.scaled[::-1], -1)
    return _laid(inner, size, place, _border(inner))


def fitted_mask(mask: Array, size: int, how: Fit) -> Array:
    """(h, w) bool -> (size, size) bool, moved as `fitted` moves the picture. A pixel is marked when at least a quarter
    of what it covers was; a connected part of which nothing would be left keeps what holds most of it."""
    from PIL import Image

    place = Place.of(mask.shape[0], mask.shape[1], size, how)
    inner = _cut(mask, place)
    if not inner.any():
        return np.zeros((size, size), dtype=bool)
    if inner.shape != place.scaled[::-1]:
        soft = Image.fromarray(inner.astype(np.uint8) * 255).resize(place.scaled, Image.Resampling.BOX)
        inner = _with_small_parts(inner, np.asarray(soft) >= 64)
    return _laid(inner, size, place, np.False_)


def fitted_boxes(boxes: Sequence[Sequence[float]], h: int, w: int, size: int, how: Fit) -> list[list[float] | None]:
    """x, y, width, height in a picture of h x w -> in its square, moved as `fitted` moves it; None for one cut away."""
    place = Place.of(h, w, size, how)
    scale = np.array(place.scaled) / np.array(place.cut[2:])
    out: list[list[float] | None] = []
    for x, y, width, height in boxes:
        ends = np.array([[x, y], [x + width, y + height]]) - place.cut[:2]
        low, high = np.clip(ends, 0, place.cut[2:]) * scale + place.corner
        out.append([round(float(v), 4) for v in (*low, *(high - low))] if (high > low).all() else None)
    return out


def _cut(pixels: Array, place: Place) -> Array:
    left, top, width, height = place.cut
    return pixels[top : top + height, left : left + width]


def _laid(inner: Array, size: int, place: Place, around: Array | np.bool) -> Array:
    if inner.shape[:2] == (size, size):
        return inner
    out = np.empty((size, size, *inner.shape[2:]), dtype=inner.dtype)
    out[:] = around
    left, top = place.corner
    out[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return out


def _border(pixels: Array) -> Array:
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return np.asarray(np.round(edge.mean(axis=0)), dtype=np.uint8)


def _with_small_parts(mask: Array, small: Array) -> Array:
    """The scaled mask, with the strongest pixels of each connected part of the mask that is not in it. Both bool."""
    from PIL import Image
    from scipy import ndimage

    # All marks lie in a box that is often small beside the picture.
    (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis=axis))[[0, -1]] for axis in (1, 0))
    marked, count = ndimage.label(mask[top : bottom + 1, left : right + 1], structure=np.ones((3, 3), dtype=int))
    ys, xs = np.nonzero(marked)
    there = small[(ys + top) * small.shape[0] // mask.shape[0], (xs + left) * small.shape[1] // mask.shape[1]]
    out = small.copy()
    for part in np.setdiff1d(np.arange(1, count + 1), marked[ys, xs][there]):
        alone = np.zeros(mask.shape, dtype=np.float32)
        alone[top : bottom + 1, left : right + 1] = marked == part
        strength = np.asarray(Image.fromarray(alone).resize(small.shape[::-1], Image.Resampling.BOX))
        out |= strength >= 0.999 * strength.max()
    return out
