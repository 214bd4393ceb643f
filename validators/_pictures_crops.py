"""Where on a picture is what matters, and how do its marks lie?

A defect may fill a few pixels of a good part: seen as a whole, the picture is that part. So marked pictures are looked at
through a square around their marks, and what this leaves out, their area, place and shape, is measured apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from data.images import Pictures, box

Array = np.ndarray[Any, Any]

#: A square around the marks is larger than they are by this share, and has at least so many pixels a side.
MARGIN, LEAST_SIDE = 0.35, 16
#: Share of a class's real pictures that must be marked for its pictures to be seen by their marks.
MARKED_SHARE = 0.95
#: Share of its marked pictures whose masks are full rectangles from which a class is taken to have boxes, and no outlines.
BOXES_SHARE = 0.95

#: What is measured of the marks: names that a person reads.
GEOMETRY = (
    "area of the mark",
    "place of the mark across",
    "place of the mark down",
    "elongation of the mark",
    "parts of the mark",
)


@dataclass(frozen=True)
class Seen:
    """How pictures of each class are looked at. by_marks, as_boxes: names of the classes that are seen through a square
    around their marks, and of those whose masks count as the box around them."""

    by_marks: frozenset[str] = frozenset()
    as_boxes: frozenset[str] = frozenset()


def agreed(real: list[Pictures], made: Pictures) -> Seen:
    """How all sides can be looked at alike: by marks where the real pictures of a class are marked, and the synthetic too.

    Where real masks are boxes only the box of a synthetic mask counts, since an outline would tell it from real ones."""
    by_marks, boxes = set(), set()
    for k, name in enumerate(made.classes):
        masks = np.concatenate([side.masks[side.labels == k] for side in real])
        marked = masks.any(axis=(1, 2))
        mine = made.masks[made.labels == k].any(axis=(1, 2))
        if not len(masks) or marked.mean() < MARKED_SHARE or (len(mine) and mine.mean() < 0.5):
            continue
        by_marks.add(name)
        if np.mean([_full(mask) for mask in masks[marked]]) >= BOXES_SHARE:
            boxes.add(name)
    return Seen(frozenset(by_marks), frozenset(boxes))


def _full(mask: Array) -> bool:
    found = box(mask)
    return found is not None and int(mask.sum()) == found[2] * found[3]


def marks(held: Pictures, seen: Seen) -> Array:
    """The masks by which the pictures are looked at: (n, h, w) bool, empty where a picture is seen as a whole."""
    out = np.zeros_like(held.masks)
    for k, name in enumerate(held.classes):
        if name in seen.by_marks:
            mine = np.flatnonzero(held.labels == k)
            out[mine] = held.masks[mine]
            for i in mine if name in seen.as_boxes else ():
                out[i] = _boxed(held.masks[i])
    return out


def _boxed(mask: Array) -> Array:
    out, found = np.zeros_like(mask), box(mask)
    if found is not None:
        x, y, width, height = found
        out[y : y + height, x : x + width] = True
    return out


def squares(masks: Array) -> Array:
    """Top, left and side of the square through which each picture is looked at: (n, h, w) bool -> (n, 3) int.

    The whole picture where nothing is marked. A square that would stick out is moved in."""
    size = masks.shape[1]
    out = np.zeros((len(masks), 3), dtype=np.int64)
    out[:, 2] = size
    for i in np.flatnonzero(masks.any(axis=(1, 2))):
        x, y, width, height = box(masks[i]) or (0, 0, size, size)
        side = int(min(max(round(max(width, height) * (1 + MARGIN)), LEAST_SIDE), size))
        top, left = round(y + (height - side) / 2), round(x + (width - side) / 2)
        out[i] = min(max(top, 0), size - side), min(max(left, 0), size - side), side
    return out


def geometry(masks: Array) -> Array:
    """Area as a share of the picture, place of the middle (0 left or top, 1 right or bottom), length over width, and number
    of connected parts, of what is marked: (n, h, w) bool -> (n, 5) float64, NaN where nothing is."""
    from scipy import ndimage

    size = masks.shape[1]
    out = np.full((len(masks), len(GEOMETRY)), np.nan)
    for i in np.flatnonzero(masks.any(axis=(1, 2))):
        y, x = np.nonzero(masks[i])
        # A pixel is a square of its own, with a variance of 1/12 each way.
        cover = np.cov(np.stack([x, y]), bias=True) + np.eye(2) / 12
        thin, long = np.linalg.eigvalsh(cover)
        parts = ndimage.label(masks[i], structure=np.ones((3, 3), dtype=int))[1]
        out[i] = len(x) / size**2, (x.mean() + 0.5) / size, (y.mean() + 0.5) / size, np.sqrt(long / thin), parts
    return out
