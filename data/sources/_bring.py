"""How does one picture come into its square, with what is marked on it?"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data import images
from data.errors import DataError
from data.images import Fit
from data.limits import check_picture
from data.near import thumbnail
from data.sources._found import DEFECT, Found, Rules, in_order
from data.sources._marks import Damaged, Marks

Array = np.ndarray
SIZES = (32, 64, 96, 128, 192, 256)
#: Pictures that grow by more than this are told of; a strict plan that states a size takes none that grow at all.
GROWN = 1.25
#: Pictures of which a letterbox leaves fewer pixels across are told of.
SLIM = 4


@dataclass(frozen=True)
class Brought:
    """A picture in its square. picture, mask: PNG, of one channel each where `gray`; objects: boxes with categories; marked:
    whether anything is; lost: whether all marks were cut away; enlarged: whether it was smaller than its square; slim: whether
    hardly anything is left of its shorter side."""

    found: Found
    picture: bytes
    gray: bool
    mask: bytes | None
    objects: dict[str, list[Any]] | None
    marked: bool
    lost: bool
    enlarged: bool
    slim: bool
    key: str
    thumb: Array


def measured(found: Iterable[Found], rules: Rules, said: list[str]) -> tuple[int, int]:
    """The size that all are brought to, and the value that is white in those of 16 bits."""
    heads = [seen for seen in in_order(lambda one: head(one.image), found) if seen is not None]
    if not heads:
        return rules.size or SIZES[0], 65535
    size = rules.size or nearest_size(float(np.median([min(shape) for shape, _ in heads])))
    deep = max((brightest for _, brightest in heads), default=0)
    top = next(level for level in (255, 1023, 4095, 16383, 65535) if level >= deep) if deep else 65535
    if top < 65535:
        said.append(f"The pictures of 16 bits end at {deep}; {top} is taken for white.")
    return size, top


def nearest_size(side: float) -> int:
    """The size of SIZES nearest to a side, by ratio."""
    return min(SIZES, key=lambda size: (abs(np.log(size / side)), size))


def head(image: Path | bytes) -> tuple[tuple[int, int], int] | None:
    """(h, w) and, of 16 bits, the greatest value; None for one that cannot be opened. Pixels are read for 16 bits alone."""
    from PIL import Image

    try:
        with Image.open(image if isinstance(image, Path) else io.BytesIO(image), formats=images.formats()) as opened:
            check_picture(*opened.size)
            deep = opened.mode.startswith("I;16")
            return opened.size[::-1], int(np.asarray(opened).max()) if deep else 0
    except Exception:  # whatever is wrong with it comes out when it is brought
        return None


def bring(found: Found, rules: Rules, size: int, top: int) -> Brought | str:
    """The picture in its square of `size`, or what is wrong with its files. top: the 16-bit value that is white.

    Raises DataError for marks that are for a picture of another size."""
    try:
        image, marks = _opened(found)
        pixels = images.to_pixels(image, None if rules.mode == "auto" else rules.mode, top=top)
        if rules.mode == "auto" and pixels.shape[2] == 3 and _colourless(pixels):
            pixels = images.to_pixels(image, "gray", top=top)
    except Damaged as error:
        return f"{found.name} ({error})"
    return _brought(found, images.fitted(pixels, size, rules.fit), marks, image.size[::-1], rules)


def _opened(found: Found) -> tuple[Any, Marks]:
    """The picture, turned as it was when it was marked, and its marks."""
    try:
        data = found.image if isinstance(found.image, bytes) else found.image.read_bytes()
        image = images.opened(data)
    except OSError as error:
        raise Damaged(str(error.strerror or error)) from None
    except DataError as error:
        raise Damaged(str(error).removeprefix("the picture ")) from None
    marks = found.marks(image.size[::-1]) if found.marks else Marks()
    shape = marks.shape or (None if marks.mask is None else marks.mask.shape)
    if shape is None or shape == image.size[::-1]:
        return image, marks
    lying = images.opened(data, upright=False)
    if shape == lying.size[::-1]:
        return lying, marks
    here, there = (f"{w} x {h}" for w, h in (image.size, shape[::-1]))
    raise DataError(f"{found.name} has {here} pixels and its marks in {marks.origin} have {there}; make them equally large")


def _brought(found: Found, square: Array, marks: Marks, shape: tuple[int, int], rules: Rules) -> Brought:
    size = square.shape[0]
    mask = None if marks.mask is None else images.fitted_mask(marks.mask, size, rules.fit)
    objects = _objects(found, marks, mask, shape, size, rules.fit)
    had = bool(marks.boxes) or (marks.mask is not None and bool(marks.mask.any()))
    marked = bool(objects and objects["bbox"]) or (mask is not None and bool(mask.any()))
    side = max(shape) if rules.fit == "letterbox" else min(shape)
    slim = rules.fit == "letterbox" and min(shape) * size < SLIM * max(shape) and size >= 2 * SLIM
    grown = side * (1.0 if rules.strict and rules.size else GROWN) < size
    return Brought(
        found, images.encode(square), square.shape[2] == 1, None if mask is None else mask_png(mask), objects, marked,
        had and not marked, grown, slim, images.key(square), thumbnail(square),
    )  # fmt: skip


def _objects(
    found: Found, marks: Marks, mask: Array | None, shape: tuple[int, int], size: int, fit: Fit
) -> dict[str, list[Any]] | None:
    if marks.boxes is None:
        return None if mask is None else images.parts_of(mask, found.level or DEFECT)
    moved = images.fitted_boxes(marks.boxes, *shape, size, fit)
    kept = [(box, level) for box, level in zip(moved, marks.categories or (), strict=True) if box is not None]
    return {"bbox": [box for box, _ in kept], "category": [level for _, level in kept]}


def mask_png(mask: Array) -> bytes:
    """(h, w) bool as PNG, white where it is marked."""
    return images.encode(mask[:, :, None].astype(np.uint8) * 255)


def _colourless(pixels: Array) -> bool:
    """Whether red, green and blue are equal everywhere, but for the two levels that rounding makes of gray in a lossy file."""
    for some in (pixels[::16, ::16], pixels):  # most colour shows in a few pixels
        red, green, blue = (some[:, :, k] for k in range(3))
        high, low = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
        if int((high - low).max(initial=0)) > 2:
            return False
    return True
