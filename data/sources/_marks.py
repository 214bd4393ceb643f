"""What does a source say is marked on a picture: mask files, boxes, polygons or run lengths, as one mask and one list?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import DataError
from data.images import box, opened, parts_of, to_mask
from data.limits import check_picture

Array = np.ndarray
Box = tuple[float, float, float, float]

#: Pixels that a box may reach beyond its picture: coordinates are rounded, and some count from 1.
SLACK = 2.0
#: Polygons are drawn this many times finer, so that a pixel is marked when half of it is inside.
FINER = 4


class Damaged(DataError):
    """A file of this picture cannot be read: the picture is listed and skipped, unless the plan is strict."""


@dataclass(frozen=True)
class Marks:
    """What is marked on one picture. mask: (h, w) bool, None when none is known; boxes: x, y, width, height in pixels with
    their categories, None when none are known (an empty list says that nothing is marked); origin: where it was said;
    shape: (h, w) of the picture that was marked, where that is known."""

    mask: Array | None = None
    boxes: list[Box] | None = None
    categories: list[str] | None = None
    origin: str = ""
    shape: tuple[int, int] | None = None


@dataclass(frozen=True)
class MaskFiles:
    """Mask files of one picture, or their bytes: what any of them marks is marked."""

    files: tuple[Path | bytes, ...]
    origin: str

    def __call__(self, shape: tuple[int, int]) -> Marks:
        masks = [to_mask(_opened(one, self.origin)) for one in self.files]
        if len({mask.shape for mask in masks}) > 1:
            raise DataError(f"the masks of {self.origin} have several sizes; make them as large as their picture")
        return Marks(mask=np.logical_or.reduce(masks), origin=self.origin, shape=masks[0].shape)


@dataclass(frozen=True)
class RunLengths:
    """COCO's run lengths, plain or packed as text, column by column from the first unmarked run; shape: (h, w)."""

    counts: Sequence[int] | str | bytes
    shape: tuple[int, int]
    origin: str

    def mask(self) -> Array:
        """(h, w) bool. Raises DataError when the runs do not fill the picture."""
        runs = _unpacked(self.counts, self.origin) if isinstance(self.counts, str | bytes) else [int(v) for v in self.counts]
        h, w = self.shape
        _check(self.shape, self.origin)
        if any(run < 0 for run in runs) or sum(runs) != h * w:
            raise DataError(
                f"{self.origin}: run lengths fill {sum(runs)} pixels where {w} x {h} have {h * w}; write them again"
            )
        return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(w, h).T.copy()


@dataclass(frozen=True)
class Starts:
    """Where marked runs start, each with its length behind it, column by column, counted from 1."""

    runs: tuple[int, ...]
    origin: str

    def mask(self, shape: tuple[int, int]) -> Array:
        """(h, w) bool. Raises Damaged for runs of another picture."""
        flat = np.zeros(shape[0] * shape[1], dtype=bool)
        for start, length in zip(self.runs[::2], self.runs[1::2], strict=True):
            if start < 1 or length < 0 or start - 1 + length > len(flat):
                raise Damaged(f"{self.origin}: the run {start} {length} does not fit the {shape[1]} x {shape[0]} pixels")
            flat[start - 1 : start - 1 + length] = True
        return flat.reshape(shape[::-1]).T.copy()


Outline = tuple[Array, ...] | RunLengths | Starts


@dataclass(frozen=True)
class Object:
    """One thing on a picture: a category with a box, an outline, or both.

    box: x, y, width, height; outline: polygons as (k, 2) x, y, or run lengths, of which Starts may be several things."""

    category: str
    box: Box | None = None
    outline: Outline | None = None


@dataclass(frozen=True)
class Objects:
    """The things on one picture, in its pixels or with `relative` in shares of its width and height. They become one mask
    when one of them, or with `outlined` one of another picture, has an outline; one without fills its box there.

    shape: (h, w) of the picture that was marked, where the source states it."""

    things: tuple[Object, ...]
    origin: str
    shape: tuple[int, int] | None = None
    relative: bool = False
    outlined: bool = False

    def __call__(self, shape: tuple[int, int]) -> Marks:
        shape = self.shape or shape
        _check(shape, self.origin)
        scale = np.array([shape[1], shape[0]] if self.relative else [1, 1], dtype=float)
        total = np.zeros(shape, dtype=bool)
        boxes: list[Box] = []
        categories: list[str] = []
        for thing in self.things:
            drawn = _drawn(thing.outline, scale, shape)
            if thing.box is not None:
                found = within(np.array(thing.box) * np.tile(scale, 2), shape, self.origin)
                some = [] if found is None else [found]
            else:
                some = _around(drawn, apart=isinstance(thing.outline, Starts))
            boxes += some
            categories += [thing.category] * len(some)
            total |= _filled(some, shape) if drawn is None else drawn
        mask = total if self.outlined or any(thing.outline is not None for thing in self.things) else None
        return Marks(mask, boxes, categories, self.origin, self.shape)


@dataclass(frozen=True)
class Both:
    """A mask, and the boxes that go with it."""

    mask: MaskFiles
    things: Objects

    def __call__(self, shape: tuple[int, int]) -> Marks:
        boxed = self.things(shape)
        return replace(self.mask(shape), boxes=boxed.boxes, categories=boxed.categories)


def fits(box: Sequence[float], shape: tuple[int, int]) -> bool:
    """Whether x, y, width, height lie in a picture of (h, w), but for a little that rounding brings about."""
    x, y, width, height = (float(v) for v in box)
    slack_x, slack_y = max(SLACK, 0.05 * shape[1]), max(SLACK, 0.05 * shape[0])
    inside = min(x + slack_x, y + slack_y) >= 0 and x + width <= shape[1] + slack_x and y + height <= shape[0] + slack_y
    return bool(np.isfinite([x, y, width, height]).all() and inside)


def within(box: Sequence[float], shape: tuple[int, int], origin: str) -> Box | None:
    """x, y, width, height cut to the picture; None when nothing is left of it.

    Raises Damaged for one that belongs to another picture."""
    x, y, width, height = (float(v) for v in box)
    if not fits(box, shape):
        shown = ", ".join(f"{v:g}" for v in (x, y, width, height))
        raise Damaged(f"{origin}: the box x, y, width, height = {shown} does not fit the {shape[1]} x {shape[0]} pixels")
    left, top = max(x, 0.0), max(y, 0.0)
    right, bottom = min(x + width, float(shape[1])), min(y + height, float(shape[0]))
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None


def polygon(points: Array, shape: tuple[int, int]) -> Array:
    """(k, 2) x, y in pixels -> (h, w) bool: pixels of which half or more is inside; of a sliver all that it touches."""
    from PIL import Image, ImageDraw

    h, w = shape
    low = np.clip(np.floor(points.min(axis=0)).astype(int), 0, [max(w - 1, 0), max(h - 1, 0)])
    high = np.clip(np.ceil(points.max(axis=0)).astype(int) + 1, low + 1, [w, h])
    size = high - low
    image = Image.new("L", (int(size[0]) * FINER, int(size[1]) * FINER))
    spots = [(float(x), float(y)) for x, y in (points - low) * FINER - 0.5]
    ImageDraw.Draw(image).polygon(spots, fill=1, outline=1)
    covered = np.asarray(image).reshape(int(size[1]), FINER, int(size[0]), FINER).mean(axis=(1, 3))
    out = np.zeros(shape, dtype=bool)
    marked = covered >= 0.5
    out[low[1] : high[1], low[0] : high[0]] = marked if marked.any() else covered > 0
    return out


def _unpacked(text: str | bytes, origin: str) -> list[int]:
    """Numbers of five bits a sign, lowest first, 32 when more follow, the sign in the last; from the third number on each is
    the difference to the one before the last."""
    data = text.encode("latin-1", errors="replace") if isinstance(text, str) else text
    runs: list[int] = []
    value = shift = 0
    for code in data:
        bits = code - 48
        if not 0 <= bits < 64:
            raise DataError(
                f"{origin}: the packed run lengths hold the sign {chr(code)!r}, which means nothing; write them again"
            )
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise DataError(f"{origin}: the packed run lengths end in the middle of a number; write them again")
    return runs


def _check(shape: tuple[int, int], origin: str) -> None:
    """Raises Damaged for a size that is claimed and cannot be a picture's."""
    try:
        check_picture(shape[1], shape[0])
    except DataError as error:
        raise Damaged(f"{origin}: {error}") from None


def _opened(file: Path | bytes, origin: str) -> Any:
    try:
        return opened(file if isinstance(file, bytes) else file.read_bytes())
    except OSError as error:
        raise Damaged(f"the mask {origin} cannot be read ({error.strerror})") from None
    except DataError as error:
        raise Damaged(f"the mask {origin} {str(error).removeprefix('the picture ')}") from None


def _drawn(outline: Outline | None, scale: Array, shape: tuple[int, int]) -> Array | None:
    if outline is None:
        return None
    if isinstance(outline, Starts):
        return outline.mask(shape)
    if isinstance(outline, RunLengths):
        return outline.mask()
    return np.asarray(np.logical_or.reduce([polygon(points * scale, shape) for points in outline]))


def _around(mask: Array | None, *, apart: bool) -> list[Box]:
    """The box around what is marked, or one for each connected part."""
    if mask is None:
        return []
    found = parts_of(mask, "")["bbox"] if apart else [one for one in [box(mask)] if one is not None]
    return [(float(x), float(y), float(width), float(height)) for x, y, width, height in found]


def _filled(boxes: Sequence[Box], shape: tuple[int, int]) -> Array:
    out = np.zeros(shape, dtype=bool)
    for x, y, width, height in boxes:
        out[int(y) : int(np.ceil(y + height)), int(x) : int(np.ceil(x + width))] = True
    return out
