"""Where around a mask does a denoiser look, and how does what it painted come back without touching anything else?

A window is a square around a mask, at least as wide as the network works at, so that a small mark on a large picture is
painted at its own scale. What is painted goes back inside the mask alone: every other pixel stays as it was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.images import box, fitted, fitted_mask
from generators.image._blend import feathered, laid

Array = np.ndarray
#: A window's side is a multiple of this: two halvings of cells of two pixels.
STEP = 8
LEAST = 32
#: How much wider than the mark a window is: what it is painted into must be seen.
ROOM = 1.5


@dataclass(frozen=True)
class Window:
    """A square of a picture: its first row and column and its side, in pixels."""

    top: int
    left: int
    side: int

    def of(self, pixels: Array) -> Array:
        """The part of (h, w, ...) that the window shows: (side, side, ...)."""
        return pixels[self.top : self.top + self.side, self.left : self.left + self.side]


def working_side(masks: Array, size: int, most: int) -> int:
    """The side at which marks are painted: (n, size, size) bool -> a multiple of 8, at most `most` and the picture.

    Nine of ten marks fit it with room around them; larger ones are painted smaller and brought back to their size."""
    sides = [max(found[2:]) for mask in masks if (found := box(mask)) is not None]
    wanted = float(np.quantile(sides, 0.9)) * ROOM if sides else float(size)
    side = int(np.ceil(wanted / STEP)) * STEP
    return max(STEP, min(max(side, LEAST), most, size // STEP * STEP))


def around(mask: Array, side: int) -> Window:
    """The window around a mask of (size, size) bool: at least `side` wide, never wider than the picture.

    A mask without a mark is looked at from the middle of the picture."""
    size = mask.shape[0]
    x, y, w, h = box(mask) or (size // 2, size // 2, 1, 1)
    wide = min(size, max(side, int(np.ceil(max(w, h) * ROOM))))
    if max(w, h) * ROOM > side:
        wide = min(size, -(-wide // STEP) * STEP)
    top, left = (int(np.clip(start + (length - wide) // 2, 0, size - wide)) for start, length in ((y, h), (x, w)))
    return Window(top, left, wide)


def cut(pixels: Array, mask: Array, window: Window, side: int) -> tuple[Array, Array]:
    """What the window shows, at the network's side: (side, side, c) uint8 and (side, side) bool."""
    return fitted(window.of(pixels), side, "stretch"), fitted_mask(window.of(mask), side, "stretch")


def pasted(pixels: Array, mask: Array, window: Window, painted: Array, *, soft: float = 0) -> Array:
    """The picture with the painted window laid in, inside the mask alone: (size, size, c) uint8.

    soft: pixels over which the painted one fades into what was there, inwards from the mask's edge: outside the mask every
    pixel is exactly what it was."""
    out = pixels.copy()
    back = fitted(painted, window.side, "stretch")
    part, inside = window.of(out), window.of(mask)
    part[:] = feathered(part, back, inside, soft) if soft else laid(part, back, inside)
    return out


def changed(before: Array, after: Array, mask: Array, levels: int = 10) -> Array:
    """The part of the mask where a picture changed by more than `levels` of 255 in any channel, its holes filled.

    The whole mask where hardly anything did: a mark of no pixels would be no mark."""
    from scipy import ndimage

    moved = (np.abs(after.astype(np.int16) - before.astype(np.int16)).max(axis=2) > levels) & mask
    closed = ndimage.binary_closing(moved, structure=np.ones((3, 3), dtype=bool)) & mask
    filled = ndimage.binary_fill_holes(closed | moved) & mask
    return np.asarray(filled if filled.sum() >= max(1, 0.1 * mask.sum()) else mask)
