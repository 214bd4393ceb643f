"""How is a mask written down without its pixels: as polygons along their edges, or as run lengths?"""

from __future__ import annotations

from typing import Any

import numpy as np

from data.images import box

Array = np.ndarray
#: Right, down, left, up: the next one is a turn to the right.
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def outlines(mask: Array) -> list[Array]:
    """Closed outlines of the marked pixels of (h, w) bool: each (k, 2) int64, x and y of its corners on the pixels' grid.

    An outline has the marked pixels on its right (y down), so the area of a hole's is negative. Pixels that touch at a
    corner alone are kept apart. Filling the outlines by the even-odd rule gives the mask back, pixel for pixel."""
    if (frame := box(mask)) is None:
        return []
    left, top, width, height = frame
    mask, wide = mask[top : top + height, left : left + width], width + 1
    edges = [bytearray(part) for part in _edges(mask)]
    found = []
    for start in np.flatnonzero(np.frombuffer(edges[0], dtype=np.uint8)):
        if edges[0][start]:
            corners = _walk(edges, int(start), wide)
            found.append(np.stack([np.array(corners) % wide + left, np.array(corners) // wide + top], axis=1))
    return found


def _edges(mask: Array) -> list[bytes]:
    """For each direction, whether an edge of a marked pixel leaves a corner that way: (h + 1) * (w + 1) bytes, row by row."""
    around = np.pad(mask.astype(bool), 1)
    inner = around[1:-1, 1:-1]
    out = []
    for (dy, dx), (top, left) in zip(((-1, 0), (0, 1), (1, 0), (0, -1)), ((0, 0), (0, 1), (1, 1), (1, 0)), strict=True):
        beside = around[1 + dy : around.shape[0] - 1 + dy, 1 + dx : around.shape[1] - 1 + dx]
        grid = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.uint8)
        grid[top : top + mask.shape[0], left : left + mask.shape[1]] = inner & ~beside
        out.append(grid.tobytes())
    return out


def _walk(edges: list[bytearray], start: int, wide: int) -> list[int]:
    """Follow the edges from `start`, first to the right, until it is reached again; used ones are cleared."""
    offsets = [dx + dy * wide for dx, dy in STEPS]
    corners, at, heading = [start], start, 0
    while True:
        edges[heading][at] = 0
        at += offsets[heading]
        if at == start and not edges[(heading + 1) % 4][at] and not edges[heading][at]:
            return corners
        for turn in (heading + 1, heading, heading + 3):
            if edges[turn % 4][at]:
                if turn != heading:
                    corners.append(at)
                heading = turn % 4
                break


def area(outline: Array) -> float:
    """Pixels inside an outline (k, 2); negative for that of a hole."""
    x, y = outline[:, 0].astype(float), outline[:, 1].astype(float)
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def polygons(mask: Array) -> list[list[float]] | None:
    """The mask as COCO polygons [x, y, x, y, ...]; None when it has holes, which polygons cannot say."""
    found = outlines(mask)
    if any(area(outline) < 0 for outline in found):
        return None
    return [[float(value) for value in outline.reshape(-1)] for outline in found]


def run_lengths(mask: Array) -> dict[str, Any]:
    """The mask as COCO's uncompressed run lengths: column by column, first how many pixels are not marked."""
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    ends = np.concatenate([[0], changes, [flat.size]])
    counts = np.diff(ends).tolist()
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": ([0] if flat.size and flat[0] else []) + counts}


def joined(found: list[Array]) -> Array:
    """Several outlines, holes among them, as a single one: (k, 2). They are tied by lines without width, gone and come back
    at the places nearest to each other, for formats that hold one polygon an object."""
    path = found[0]
    for other in found[1:]:
        apart = ((path[:, None, :] - other[None, :, :]) ** 2).sum(axis=2)
        i, j = np.unravel_index(int(apart.argmin()), apart.shape)
        path = np.concatenate([path[: i + 1], other[j:], other[: j + 1], path[i:]])
    return path
