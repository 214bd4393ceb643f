"""What shape, how large and where are the defects of a class, and what would another one's mask be?

Masks are drawn from the real ones: a real shape, with all its parts, is turned, scaled and bent a little within what the
class shows, and laid where the class's defects lie, or within a region that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from data.images import Pictures, box
from generators.base import GeneratorError

Array = np.ndarray
Places = Literal["real", "uniform"]
#: Standard deviation of small turns, in degrees, and of bending, in shares of a mask's side; waves of the bending.
TURN, BEND, WAVES = 10.0, 0.04, 3
#: Kernel widths in shares of the class's own spread at one mask, shrinking as more are known; and the least: of the
#: logarithm of a side, and of a place in shares of the picture.
KERNEL, LEAST_SCALE, LEAST_PLACE = 0.5, 0.06, 0.015
#: What is drawn may go this far beyond what was seen: a factor of sides, and a share of the picture for places.
BROADER, FURTHER = 1.1, 0.03
#: Largest standardised shift of a figure of the shapes under a turn that passes for chance.
SHIFT = 0.25
#: Of the places that fit a region, those within this share of the best one.
FITS = 0.98


@dataclass(frozen=True)
class _Kind:
    """What the masks of one class have in common.

    sides: (2,) least and greatest square root of an area; scale: kernel width of the logarithm of a side; middles: (k, 2)
    y, x of the boxes' middles in shares of the picture; place: (2,) their kernel width; turns: symmetries of a square
    under which the shapes look the same; boxes: every part is a full rectangle; which: (k,) numbers of the masks."""

    sides: Array
    scale: float
    middles: Array
    place: Array
    turns: tuple[int, ...]
    boxes: bool
    which: Array


class MaskBank:
    """The real masks of each class, and draws of more.

    masks: (m, size, size) bool, none of them empty; labels: (m,) int64. Build by `fit` or `from_state`."""

    def __init__(self, masks: Array, labels: Array) -> None:
        self.masks, self.labels = masks, labels
        self.size = int(masks.shape[1])
        self._kinds = {int(k): _kind(masks, np.flatnonzero(labels == k)) for k in np.unique(labels)}

    @classmethod
    def fit(cls, pictures: Pictures) -> Self:
        """Keep the masks that mark something. Raises GeneratorError when there is none."""
        marked = np.flatnonzero(pictures.masks.any(axis=(1, 2)))
        if not len(marked):
            raise GeneratorError(
                "no training picture has a mask or a box that marks anything; give masks or boxes, or use generator.use: "
                "image.gan, which needs none"
            )
        return cls(pictures.masks[marked], pictures.labels[marked])

    def has(self, label: int) -> bool:
        """Whether a mask of this class was seen."""
        return label in self._kinds

    def of(self, label: int) -> Array:
        """The real masks of a class: (k, size, size) bool. Raises GeneratorError when there is none."""
        return np.asarray(self.masks[self._kind(label).which])

    def boxes(self, label: int) -> bool:
        """Whether the masks of a class are boxes, every part a full rectangle."""
        return self._kind(label).boxes

    def turns(self, label: int) -> tuple[int, ...]:
        """The symmetries of a square, 0 to 7, under which the shapes of a class look the same (`turned` applies one)."""
        return self._kind(label).turns

    def places(self, label: int, rng: np.random.Generator, n: int) -> Array:
        """Middles of more masks of a class, kernel-smoothed: (n, 2) y, x in shares of the picture."""
        kind = self._kind(label)
        low, high = kind.middles.min(axis=0) - FURTHER, kind.middles.max(axis=0) + FURTHER
        drawn = kind.middles[rng.integers(len(kind.middles), size=n)] + kind.place * rng.standard_normal((n, 2))
        return np.asarray(np.clip(drawn, np.maximum(low, 0), np.minimum(high, 1)))

    def region(self, label: int, size: int, reach: int) -> Array:
        """The smallest upright box around the middles of a class's masks, wider by `reach` pixels: (size, size) bool."""
        kind = self._kind(label)
        low, high = kind.middles.min(axis=0) * size - reach, kind.middles.max(axis=0) * size + reach
        out = np.zeros((size, size), dtype=bool)
        (top, left), (bottom, right) = np.maximum(low, 0).astype(int), np.minimum(np.ceil(high), size - 1).astype(int)
        out[top : bottom + 1, left : right + 1] = True
        return out

    def draw(
        self,
        label: int,
        rng: np.random.Generator,
        size: int | None = None,
        near: Array | None = None,
        *,
        places: Places = "real",
    ) -> Array:
        """One more mask of a class: (size, size) bool, never empty; size: pixels a side, the fitted one if left out.

        near: (size, size) bool, the region that the mask is to lie in; it is laid where it fits best and cut to it.
        places: where the class's masks lie, kernel-smoothed, or anywhere. Raises GeneratorError for a class without masks,
        or an empty region."""
        kind = self._kind(label)
        size = size or self.size
        if near is not None and not near.any():
            raise GeneratorError("the region that a mask was to be drawn in is empty; allow at least one pixel")
        i = int(rng.choice(kind.which))
        turn = int(rng.choice(kind.turns))
        shape = turned(self.masks[i], turn)
        side = self._side(kind, i, rng) * size / self.size
        part = _boxes_scaled(shape, side, rng, size) if kind.boxes else _bent(shape, side, rng, size)
        top, left = self._corner(label, shape, part, rng, near, places, size)
        out = np.zeros((size, size), dtype=bool)
        out[top : top + part.shape[0], left : left + part.shape[1]] = part
        if near is None or not (out & near).any():
            return _some_of(near) if near is not None else out
        return np.asarray(out & near)

    def to_state(self) -> dict[str, Array]:
        """Arrays for an npz file, without pickled objects."""
        return {"masks": np.packbits(self.masks.reshape(len(self.masks), -1), axis=1), "labels": self.labels,
                "size": np.array(self.size)}  # fmt: skip

    @classmethod
    def from_state(cls, state: Mapping[str, Array]) -> Self:
        """What `to_state` gave."""
        size = int(state["size"])
        flat = np.unpackbits(state["masks"], axis=1, count=size * size)
        return cls(flat.reshape(-1, size, size).astype(bool), np.asarray(state["labels"]))

    def _kind(self, label: int) -> _Kind:
        if label not in self._kinds:
            raise GeneratorError("a class has no training picture with a mask or a box; give at least one of each class")
        return self._kinds[label]

    def _side(self, kind: _Kind, i: int, rng: np.random.Generator) -> float:
        """The square root of the area to draw, in pixels of the fitted size."""
        own = np.sqrt(self.masks[i].sum()) * np.exp(kind.scale * rng.standard_normal())
        return float(np.clip(own, kind.sides[0] / BROADER, kind.sides[1] * BROADER))

    def _corner(
        self, label: int, shape: Array, part: Array, rng: np.random.Generator, near: Array | None, places: Places, size: int
    ) -> tuple[int, int]:  # fmt: skip
        """Top and left of a part. A shape that its picture's border cut stays at that border."""
        extent = np.array(part.shape)
        room = size - extent
        middle = self.places(label, rng, 1)[0]
        corner = np.rint(middle * size - extent / 2)
        if places == "uniform":
            corner = rng.integers(0, room + 1).astype(np.float64)
        corner = np.clip(corner, 0, room)
        for axis in (0, 1):
            lines = np.asarray(shape.any(axis=1 - axis))
            if lines[0] != lines[-1]:
                corner[axis] = 0 if lines[0] else room[axis]
        if near is not None:
            corner = _fitting(near, part, corner, rng)
        return int(corner[0]), int(corner[1])


def turned(mask: Array, which: int) -> Array:
    """(h, w, ...) under the `which`-th symmetry of a square: quarter turns 0 to 3, then the same after a mirroring."""
    return np.ascontiguousarray(np.rot90(mask[:, ::-1] if which >= 4 else mask, which % 4))


def _kind(masks: Array, which: Array) -> _Kind:
    own = masks[which]
    size, n = own.shape[1], len(own)
    found = np.array([box(mask) for mask in own], dtype=np.float64)
    middles = np.stack([found[:, 1] + found[:, 3] / 2, found[:, 0] + found[:, 2] / 2], axis=1) / size
    sides = np.sqrt(own.sum(axis=(1, 2)))
    narrow = KERNEL * n**-0.2
    return _Kind(
        sides=np.array([sides.min(), sides.max()]),
        scale=max(LEAST_SCALE, narrow * float(np.log(sides).std())),
        middles=middles,
        place=np.maximum(LEAST_PLACE, narrow * middles.std(axis=0)),
        turns=_symmetries(own),
        boxes=bool(np.median(sides) >= 3 and all(_rectangles(mask) for mask in own)),
        which=which,
    )


def _rectangles(mask: Array) -> bool:
    """Whether every connected part fills its box."""
    from scipy import ndimage

    marked, _ = ndimage.label(mask)
    return all(bool((marked[part] > 0).all()) for part in ndimage.find_objects(marked) if part is not None)


def _symmetries(masks: Array) -> tuple[int, ...]:
    """The turns and mirrorings that these shapes do not tell from themselves: 0 and some of 1 to 7.

    Compares direction and lopsidedness (moments of second and third order) of the shapes with those of the turned ones."""
    few = masks[:: -(-len(masks) // 256)]
    own = np.array([_moments(mask) for mask in few])
    limit = SHIFT + 3.0 / np.sqrt(len(few))
    kept = [0]
    for g in range(1, 8):
        other = np.array([_moments(turned(mask, g)) for mask in few])
        spread = np.concatenate([own - own.mean(0), other - other.mean(0)]).std(0) + 0.02
        if float((np.abs((own - other).mean(0)) / spread).max()) <= limit:
            kept.append(g)
    return tuple(kept)


def _moments(mask: Array) -> Array:
    """Central moments of a mask in units of its own side: y2 - x2, xy, y3, y2x, yx2, x3."""
    y, x = (v - v.mean() for v in np.nonzero(mask))
    unit = np.sqrt(len(y))
    y, x = y / unit, x / unit
    products = (y * y - x * x, x * y, y**3, y * y * x, y * x * x, x**3)
    return np.array([np.cbrt(v.mean()) if p >= 2 else v.mean() for p, v in enumerate(products)])


def _boxes_scaled(shape: Array, side: float, rng: np.random.Generator, size: int) -> Array:
    """A mask of rectangles at another side and aspect: (h, w) bool cut to its box."""
    from scipy import ndimage

    x, y, w, h = box(shape) or (0, 0, 1, 1)
    scale = side / np.sqrt(shape.sum())
    aspect = np.exp(LEAST_SCALE * rng.standard_normal())
    by, bx = min(scale * aspect, size / h), min(scale / aspect, size / w)
    out = np.zeros((max(1, round(h * by)), max(1, round(w * bx))), dtype=bool)
    marked, _ = ndimage.label(shape)
    for part in ndimage.find_objects(marked):
        rows, columns = part
        top, left = min(round((rows.start - y) * by), out.shape[0] - 1), min(round((columns.start - x) * bx), out.shape[1] - 1)
        out[top : max(top + 1, round((rows.stop - y) * by)), left : max(left + 1, round((columns.stop - x) * bx))] = True
    return out


def _bent(shape: Array, side: float, rng: np.random.Generator, size: int) -> Array:
    """A mask at another side, turned a little and bent by a few slow waves: (h, w) bool cut to its box, at most size."""
    from scipy import ndimage

    x, y, w, h = box(shape) or (0, 0, 1, 1)
    cut = np.pad(shape[y : y + h, x : x + w], 2).astype(np.float32)
    scale = side / np.sqrt(shape.sum())
    wanted = max(1, round(side * side))
    reach = int(np.ceil(np.hypot(h, w) * scale)) + 4
    grid = np.stack(np.meshgrid(np.arange(reach), np.arange(reach), indexing="ij")).astype(np.float64) - (reach - 1) / 2
    grid = bending(grid / reach, rng) * reach
    angle = np.deg2rad(TURN) * rng.standard_normal()
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    where = np.stack([cos * grid[0] - sin * grid[1], sin * grid[0] + cos * grid[1]])
    where += np.array([(cut.shape[0] - 1) / 2, (cut.shape[1] - 1) / 2])[:, None, None]
    # A soft edge lets the area be met exactly: thin shapes neither break nor vanish.
    soft = ndimage.map_coordinates(ndimage.gaussian_filter(cut, 0.4), where, order=1, mode="constant")
    soft = ndimage.gaussian_filter(soft, 0.3)
    level = np.partition(soft, -wanted, axis=None)[-wanted] if wanted < soft.size else 0.0
    made = soft >= max(float(level), 1e-3)
    if not made.any():
        made = soft >= soft.max()
    left, top, wide, high = box(made) or (0, 0, 1, 1)
    return np.asarray(made[top : top + min(high, size), left : left + min(wide, size)])


def bending(grid: Array, rng: np.random.Generator, strength: float = BEND) -> Array:
    """Points displaced by a few slow waves: (2, h, w) in shares of a side, from its middle -> the same shape."""
    out = grid.copy()
    for _ in range(WAVES):
        direction = rng.standard_normal(2)
        pull = rng.standard_normal(2) * strength / np.sqrt(WAVES)
        phase = rng.uniform(0, 2 * np.pi)
        wave = np.sin(np.pi * 1.5 * (direction[0] * grid[0] + direction[1] * grid[1]) + phase) - np.sin(phase)
        out += pull[:, None, None] * wave
    return out


def _some_of(near: Array) -> Array:
    """The pixel of a region that lies deepest in it: what is left where no shape fits."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(near, 1))[1:-1, 1:-1]
    out = np.zeros_like(near)
    out[np.unravel_index(int(depth.argmax()), near.shape)] = True
    return out


def _fitting(near: Array, part: Array, wanted: Array, rng: np.random.Generator) -> Array:
    """Top and left at which a part (h, w) bool lies in the region, as near to the wanted one as there are."""
    from scipy import signal

    inside = np.rint(signal.fftconvolve(near.astype(np.float64), part[::-1, ::-1].astype(np.float64), mode="valid"))
    good = np.argwhere(inside >= max(1.0, FITS * inside.max()))
    if not len(good):  # the part is as large as the picture, and hollow where the region is
        return np.zeros(2)
    away = np.square(good - wanted).sum(axis=1)
    nearest = good[away <= away.min() + max(1.0, 0.001 * near.size)]
    return np.asarray(nearest[rng.integers(len(nearest))], dtype=np.float64)
