"""What is the defect of a picture, cut out with enough around it to see where else it would fit?

A patch is a mask's box and what lies around it. Where the training marks are boxes, the pixels of the defect are found
first: what differs from the good surface that the rest of the picture asks for."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.images import box
from generators.image._blend import filled
from generators.image._masks import bending, turned

Array = np.ndarray
#: How much of its surroundings a patch keeps, in shares of the picture's side, and the least pixels.
ROOM, LEAST_ROOM = 1 / 8, 4
#: How far around a mask the surroundings are compared, likewise.
RING, LEAST_RING = 1 / 16, 2
#: Bending of a patch, in shares of its side.
BEND = 0.03


@dataclass(frozen=True)
class Patch:
    """A defect and what lies around it.

    pixels: (h, w, c) uint8; mask: (h, w) bool, the defect's pixels; known: (h, w) bool, False beyond its picture's border;
    label: its class; margin: (4,) pixels that its mark goes beyond the mask: top, left, bottom, right (all 0 where the mark
    is the mask); trust: how often it is pasted, against others of its class; less where its mask was hard to find; halo: pixels
    that the mask was grown by, as the defect reaches beyond its mark; opacity: the share of a surface's texture it hides;
    tight: (h, w) bool, the mask before it grew; None where it did not; group: the number of the part it is of, -1 for none."""

    pixels: Array
    mask: Array
    known: Array
    label: int
    margin: Array
    trust: float = 1.0
    halo: int = 0
    opacity: float = 0.0
    tight: Array | None = None
    group: int = -1

    @property
    def marked(self) -> Array:
        """The pixels that a mark covers: (h, w) bool."""
        return self.mask if self.tight is None else self.tight

    @functools.cached_property
    def surface(self) -> Array:
        """The pixels with the surface that is expected under the defect: (h, w, c) float64."""
        return filled(self.pixels, self.mask)

    @property
    def cut_off(self) -> tuple[bool, bool, bool, bool]:
        """Whether the picture's border cut the defect: top, left, bottom, right."""
        x, y, w, h = box(self.mask) or (0, 0, 1, 1)
        middle_y, middle_x = y + h // 2, x + w // 2
        rows, columns = self.known[:, middle_x], self.known[middle_y]
        beyond = (y > 0 and not rows[y - 1], x > 0 and not columns[x - 1])
        return *beyond, y + h < len(rows) and not rows[y + h], x + w < len(columns) and not columns[x + w]


@dataclass(frozen=True)
class Piece:
    """A patch as it is to be pasted: turned, scaled, bent, cut to its mask and the ring around it.

    surface: (h, w, c) float64, the pixels around and what is expected under the defect; rest: (h, w, c) float64, what the
    defect adds to it, 0 outside the mask; mask, marked, known, label, margin, opacity: as of a patch; cut_off: whether its
    picture's border cut the defect, top, left, bottom, right."""

    surface: Array
    rest: Array
    mask: Array
    marked: Array
    known: Array
    label: int
    cut_off: tuple[bool, bool, bool, bool]
    margin: Array
    opacity: float = 0.0

    @property
    def pixels(self) -> Array:
        """The defect in its surroundings: (h, w, c) float64."""
        return np.asarray(self.surface + self.rest)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x, y, width, height of the mask in it."""
        return box(self.mask) or (0, 0, 1, 1)

    def at(self, top: int, left: int, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where it meets a canvas when its corner is at (top, left): the part of the canvas, the part of the piece."""
        spans = []
        for start, extent, side in ((top, self.mask.shape[0], height), (left, self.mask.shape[1], width)):
            first = min(max(0, start), side)
            spans.append((slice(first, max(first, min(side, start + extent))), start))
        (rows, y), (columns, x) = spans
        there = slice(rows.start - y, rows.stop - y), slice(columns.start - x, columns.stop - x)
        return (rows, columns), there


def room_of(size: int) -> int:
    """Pixels around a mask that a patch keeps."""
    return max(LEAST_ROOM, round(size * ROOM))


def ring_of(size: int) -> int:
    """Pixels around a mask that are compared with a place."""
    return max(LEAST_RING, round(size * RING))


def cut(pixels: Array, mask: Array, label: int, *, mark: Array | None = None, trust: float = 1.0) -> Patch:
    """The patch of a mask that marks something: (size, size, c) uint8, (size, size) bool.

    mark: what the training picture marks, a box around the mask; the mask itself if left out."""
    room = room_of(pixels.shape[0])
    x, y, w, h = box(mask) or (0, 0, 1, 1)
    pad = ((room, room), (room, room))
    window = slice(y, y + h + 2 * room), slice(x, x + w + 2 * room)
    known = np.pad(np.ones(mask.shape, dtype=bool), pad)[window]
    mx, my, mw, mh = box(mask if mark is None else mark) or (x, y, w, h)
    margin = np.array([y - my, x - mx, my + mh - y - h, mx + mw - x - w])
    seen = np.pad(pixels, (*pad, (0, 0)), mode="edge")[window]
    return Patch(seen, np.pad(mask, pad)[window], known, label, np.maximum(margin, 0), trust)


def piece(patch: Patch, turn: int, ring: int, *, warp: Warp | None = None, levels: tuple[int, int] | None = None) -> Piece:
    """The patch under a symmetry of a square and, if given, a warp; levels: the two values of black and white pictures."""
    mask, known, surface = turned(patch.mask, turn), turned(patch.known, turn), turned(patch.surface, turn)
    rest = turned(patch.pixels, turn) - surface
    marked = mask if patch.tight is None else turned(patch.tight, turn)
    margin, cut_off = _turned_sides(patch.margin, turn), _turned_sides(np.array(patch.cut_off), turn)
    if warp is not None:
        # Apart, so that a blurred edge of the defect does not pass for its surroundings.
        if patch.tight is not None:
            marked = warp(np.zeros((*marked.shape, 1)), marked, known)[1]
        both, mask, inside = warp(np.concatenate([surface, _beyond(rest, mask)], axis=2), mask, known)
        moved, rest = np.split(both, 2, axis=2)
        surface, known = (surface, known) if warp.inner else (moved, inside)
        margin = np.rint(margin * np.array(warp.scale * 2)).astype(np.int64)
    if levels is not None:
        sharp = [np.where(v >= sum(levels) / 2, float(levels[1]), float(levels[0])) for v in (surface, surface + rest)]
        surface, rest = sharp[0], sharp[1] - sharp[0]
        if warp is not None and warp.inner and (mask & rest.any(axis=2)).any():
            mask = mask & rest.any(axis=2)  # where the defect came to lie on what is like it, there is none
    rest = np.where(mask[:, :, None], rest, 0.0)
    marked = mask if patch.tight is None or not (marked & mask).any() else marked & mask
    x, y, w, h = box(mask) or (0, 0, 1, 1)
    window = slice(max(0, y - ring), y + h + ring), slice(max(0, x - ring), x + w + ring)
    sides = (bool(cut_off[0]), bool(cut_off[1]), bool(cut_off[2]), bool(cut_off[3]))
    return Piece(
        surface[window], rest[window], mask[window], marked[window], known[window], patch.label, sides, margin, patch.opacity
    )


@dataclass(frozen=True)
class Warp:
    """A small change of place: turned by `angle` in radians, scaled down and across, bent by slow waves `seed` draws.

    inner: the defect alone is to change, and what lies around it is to stay."""

    angle: float
    scale: tuple[float, float]
    seed: int
    bend: float = BEND
    inner: bool = False

    def __call__(self, pixels: Array, mask: Array, known: Array) -> tuple[Array, Array, Array]:
        """(h, w, c), (h, w), (h, w) -> the same on a larger or smaller canvas; the mask's area grows as scaled."""
        from scipy import ndimage

        h, w = mask.shape
        grown = tuple(max(3, int(np.ceil(side * by))) for side, by in zip((h, w), self.scale, strict=True))
        shape = (h, w) if self.inner else grown
        grid = np.stack(np.meshgrid(*(np.arange(side) - (side - 1) / 2 for side in shape), indexing="ij"))
        reach = float(max(shape))
        grid = bending(grid / reach, np.random.default_rng(self.seed), self.bend) * reach
        cos, sin, (down, across) = np.cos(self.angle), np.sin(self.angle), self.scale
        turned_y, turned_x = cos * grid[0] - sin * grid[1], sin * grid[0] + cos * grid[1]
        where = np.stack([turned_y / down + (h - 1) / 2, turned_x / across + (w - 1) / 2])
        made = [ndimage.map_coordinates(pixels[:, :, k], where, order=1, mode="nearest") for k in range(pixels.shape[2])]
        soft = ndimage.map_coordinates(ndimage.gaussian_filter(mask.astype(np.float64), 0.5), where, order=1, mode="constant")
        soft = ndimage.gaussian_filter(soft, 0.5)
        wanted = int(np.clip(round(float(mask.sum()) * down * across), 1, soft.size))
        level = float(np.partition(soft, -wanted, axis=None)[-wanted])
        inside = ndimage.map_coordinates(known.astype(np.float64), where, order=1, mode="constant") > 0.99
        return np.stack(made, axis=2), (soft >= max(level, 1e-6)) & (soft > 0), inside


def _beyond(rest: Array, mask: Array) -> Array:
    """What a defect adds, continued around its mask: else a warped edge would mix with what lies outside, and pale."""
    from scipy import ndimage

    if not mask.any():
        return rest
    nearest = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
    return np.asarray(rest[tuple(nearest)])


def _turned_sides(sides: Array, turn: int) -> Array:
    """Four figures of top, left, bottom, right after a symmetry of a square, as `turned` applies it."""
    top, left, bottom, right = sides
    if turn >= 4:
        left, right = right, left
    for _ in range(turn % 4):  # a quarter turn against the clock: the right side comes to the top
        top, left, bottom, right = right, top, left, bottom
    return np.array([top, left, bottom, right])


def undone(which: int) -> int:
    """The symmetry that undoes a symmetry."""
    return which if which >= 4 else (4 - which) % 4


def to_state(patches: Sequence[Patch]) -> dict[str, Array]:
    """Arrays for an npz file, without pickled objects."""
    if not patches:
        return {"shapes": np.zeros((0, 3), dtype=np.int64)}
    return {
        "shapes": np.array([p.pixels.shape for p in patches]),
        "pixels": np.concatenate([p.pixels.ravel() for p in patches]),
        "masks": np.concatenate([p.mask.ravel() for p in patches]),
        "known": np.concatenate([p.known.ravel() for p in patches]),
        "labels": np.array([p.label for p in patches]),
        "margins": np.stack([p.margin for p in patches]),
        "trusts": np.array([p.trust for p in patches], dtype=np.float64),
        "tights": np.concatenate([p.marked.ravel() for p in patches]),
        "halos": np.array([p.halo for p in patches]),
        "opacities": np.array([p.opacity for p in patches], dtype=np.float64),
        "groups": np.array([p.group for p in patches], dtype=np.int64),
    }


def from_state(state: Mapping[str, Any]) -> list[Patch]:
    """What `to_state` gave."""
    out, at, marked = [], 0, 0
    for i, (h, w, c) in enumerate(state["shapes"].tolist()):
        flat, spread = slice(at, at + h * w * c), slice(marked, marked + h * w)
        out.append(
            Patch(
                state["pixels"][flat].reshape(h, w, c), state["masks"][spread].reshape(h, w),
                state["known"][spread].reshape(h, w), int(state["labels"][i]), state["margins"][i], float(state["trusts"][i]),
                int(state["halos"][i]), float(state["opacities"][i]),
                state["tights"][spread].reshape(h, w) if state["halos"][i] else None, int(state["groups"][i]),
            )
        )  # fmt: skip
        at, marked = at + h * w * c, marked + h * w
    return out
