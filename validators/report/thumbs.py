"""How does a picture stand on the page: small, inside the file, its mask outlined or enlarged?"""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from markupsafe import Markup

from validators.report import svg

Array = np.ndarray[Any, Any]

#: Larger pictures are brought to this side: sharp enough at twice the size they are shown in.
SIDE = 128
#: Colours of a thumbnail in colour; gray ones keep their grays.
COLOURS = 64
#: Pictures up to this side are shown by their pixels: smoothing them would show what is not there.
BLOCKY = 40
#: An outline stands off its mark by this part of a side.
OUTSIDE = 20
#: A cut is wider than its mark by this factor, since a defect is seen against its surroundings, and shows at least a third
#: of a side.
ROOM, LEAST_PART = 1.6, 3


def shot(pixels: Array, mask: Array | None, label: str) -> Markup:
    """A picture (h, w, c) uint8 as an image of its own, the mask (h, w) bool outlined; label: what it shows, in words."""
    side = int(pixels.shape[0])
    inside = [svg.tag("title", label), svg.tag("image", href=_uri(pixels), width=side, height=side)]
    if mask is not None and mask.any():
        edge = outline(_wider(mask))
        inside += [svg.tag("path", d=edge, class_="halo"), svg.tag("path", d=edge, class_="mark-edge")]
    css = "shot blocky" if side <= BLOCKY else "shot"
    return svg.tag("svg", *inside, viewBox=f"0 0 {side} {side}", role="img", aria_label=label, class_=css)


def closer(pixels: Array, mask: Array, label: str) -> Markup | None:
    """What is marked without an outline, enlarged where it is small; of several marks the largest. None where none is."""
    if (frame := _frame(mask)) is None:
        return None
    top, left, side = frame
    cut = pixels[top : top + side, left : left + side]
    inside = [svg.tag("title", label), svg.tag("image", href=_uri(cut), width=side, height=side)]
    # As smooth or as blocky as the picture itself, or the two would not look alike.
    css = "shot near-by blocky" if len(mask) <= BLOCKY else "shot near-by"
    return svg.tag("svg", *inside, viewBox=f"0 0 {side} {side}", role="img", aria_label=label, class_=css)


def _frame(mask: Array) -> tuple[int, int, int] | None:
    """First row, first column and side of a square around the largest mark, with room about it."""
    from scipy import ndimage

    # Parts that nearly touch are one mark to the eye.
    near = ndimage.binary_dilation(mask, np.ones((3, 3)), iterations=max(1, round(len(mask) / 64)))
    parts, count = ndimage.label(near)
    if not count:
        return None
    largest = mask & (parts == int(np.bincount(parts[mask], minlength=count + 1).argmax()))
    ends = [(int(at[0]), int(at[-1]) + 1) for at in (np.flatnonzero(largest.any(axis=axis)) for axis in (1, 0))]
    whole = len(mask)
    side = min(max(math.ceil(ROOM * max(high - low for low, high in ends)), math.ceil(whole / LEAST_PART)), whole)
    top, left = (min(max((low + high - side) // 2, 0), whole - side) for low, high in ends)
    return top, left, side


def _wider(mask: Array) -> Array:
    """The mask grown by a twentieth of a side, round at its corners, so that its outline keeps clear of the mark."""
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(~mask) <= max(2.0, len(mask) / OUTSIDE))


def outline(mask: Array) -> str:
    """The edges between marked and unmarked pixels as an SVG path, straight stretches joined: (h, w) bool."""
    padded = np.pad(mask, 1)
    steps = [f"M{x} {y}h{length}" for y, x, length in _stretches(padded[1:, 1:-1] != padded[:-1, 1:-1])]
    steps += [f"M{x} {y}v{length}" for x, y, length in _stretches((padded[1:-1, 1:] != padded[1:-1, :-1]).T)]
    return "".join(steps)


def _stretches(edges: Array) -> list[tuple[int, int, int]]:
    """Row, first column and length of each unbroken run of True: (a, b) bool."""
    wide = np.pad(edges, ((0, 0), (1, 1))).astype(np.int8)
    change = np.diff(wide, axis=1)
    rows, starts = np.nonzero(change == 1)
    ends = np.nonzero(change == -1)[1]
    return [(int(r), int(a), int(b - a)) for r, a, b in zip(rows, starts, ends, strict=True)]


def _uri(pixels: Array) -> str:
    """A data URI of a small PNG; the same pixels give the same text."""
    from PIL import Image

    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    if max(image.size) > SIDE:
        image = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    if image.mode == "RGB":
        image = image.quantize(COLOURS, dither=Image.Dither.NONE)
    out = io.BytesIO()
    image.save(out, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
