"""On which good pictures are defects painted, and where on them?

The good pictures of train are kept, in the saved model too: what is painted on must be there. So is the bank of masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from data.images import Pictures
from generators import _stored as stored
from generators.image._boxed import Boxes
from generators.image._masks import MaskBank
from generators.image._pictures import Facts, read_json, write_json

Array = np.ndarray
FILE, SOURCES = "surfaces.npz", "surfaces.json"
#: Most holes that are mended at once in a good picture, to make another good one.
MENDED = 3
#: Good pictures that are compared for each hole, and how many of the best are drawn from.
COMPARED, BEST = 128, 4
#: Where surroundings are compared: rings at these distances from the mask, in pixels at 64 a side, in eight directions.
RINGS, SECTORS = ((0.5, 4.0), (4.0, 10.0)), 8


class Surfaces:
    """Good pictures and the masks that are laid on them.

    pixels: (n, size, size, c) uint8; sources: where each came from; bank: masks of every defect; good: the label of the
    good pictures; marked: the labels that have masks; around: (m, 16) what lies around each real defect of the bank,
    brightness by ring and direction: a defect is painted where it looks alike."""

    def __init__(
        self, pixels: Array, sources: tuple[str | None, ...], bank: MaskBank, good: int, around: Array, boxes: Boxes
    ) -> None:
        self.pixels, self.sources, self.bank, self.good, self.around = pixels, sources, bank, good, around
        self.boxes = boxes
        self.marked = tuple(int(k) for k in np.unique(bank.labels) if int(k) != good)

    @classmethod
    def of(cls, train: Pictures, facts: Facts, boxes: Boxes) -> Surfaces:
        """train: with the defects' own pixels as masks. `missing` must find nothing."""
        good = facts.classes.index(str(facts.normal))
        own = train.take(np.flatnonzero(train.labels == good))
        bad = train.take(np.flatnonzero((train.labels != good) & train.masks.any(axis=(1, 2))))
        around = np.concatenate([surroundings(p[None], m) for p, m in zip(bad.pixels, bad.masks, strict=True)])
        return cls(own.pixels, own.sources or (None,) * len(own), MaskBank.fit(bad), good, around, boxes)

    def holes(self, n: int, rng: np.random.Generator) -> Array:
        """Holes for defects of all classes alike: (n, size, size) bool."""
        labels = [int(rng.choice(self.marked)) for _ in range(n)]
        return self.boxes.holes(np.stack([self.bank.draw(k, rng) for k in labels]), np.array(labels))

    def chosen(self, labels: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """For each label a good picture and the defect's pixels: (n,) positions, (n, size, size) bool.

        A good picture is asked for by the label of the good ones: some holes are then mended."""
        holes = [self._hole(int(k), rng) for k in labels]
        where = [self._suited(int(k), hole, rng) for k, hole in zip(labels, holes, strict=True)]
        return np.array(where, dtype=np.int64), np.stack(holes)

    def _hole(self, label: int, rng: np.random.Generator) -> Array:
        if label != self.good:
            return self.bank.draw(label, rng)
        return np.asarray(self.holes(int(rng.integers(1, MENDED + 1)), rng).any(axis=0))

    def _suited(self, label: int, hole: Array, rng: np.random.Generator) -> int:
        """A good picture that looks around the hole as it does around some real defect of the class."""
        if label == self.good:
            return int(rng.integers(len(self.pixels)))
        real = self.around[rng.choice(np.flatnonzero(self.bank.labels == label))]
        some = rng.permutation(len(self.pixels))[:COMPARED]
        off = np.nanmean(np.square(surroundings(self.pixels[some], hole) - real), axis=1)
        best = np.argsort(np.nan_to_num(off, nan=np.inf), kind="stable")[: max(1, min(BEST, len(some) // 4))]
        return int(some[rng.choice(best)])

    def save(self, folder: Path) -> None:
        """Write the good pictures and the masks."""
        state: dict[str, Any] = {f"bank_{name}": value for name, value in self.bank.to_state().items()}
        np.savez_compressed(
            folder / FILE, pixels=self.pixels, good=np.array(self.good), around=self.around, **state, **self._boxes()
        )
        write_json(folder / SOURCES, list(self.sources))

    def _boxes(self) -> dict[str, Any]:
        return {
            "box_labels": self.boxes.labels,
            "box_margins": self.boxes.margins,
            "box_levels": self.boxes.levels,
            "box_halos": self.boxes.halos,
        }

    @classmethod
    def load(cls, folder: Path) -> Surfaces:
        """Read back what `save` wrote."""
        with stored.arrays(folder / FILE) as arrays:
            bank = MaskBank.from_state({n.removeprefix("bank_"): arrays[n] for n in arrays.files if n.startswith("bank_")})
            boxes = Boxes(arrays["box_labels"], arrays["box_margins"], arrays["box_levels"], arrays["box_halos"])
            sources = tuple(read_json(folder / SOURCES))
            return cls(arrays["pixels"], sources, bank, int(arrays["good"]), arrays["around"], boxes)


def surroundings(pixels: Array, mask: Array) -> Array:
    """Brightness around a mask by ring and direction: (n, s, s, c) uint8, (s, s) bool -> (n, 16), NaN beyond the border."""
    from scipy import ndimage

    n, size = len(pixels), mask.shape[0]
    away = ndimage.distance_transform_edt(~mask) * (64 / size)
    y, x = (v.mean() for v in np.nonzero(mask))
    rows, columns = np.indices(mask.shape)
    sector = ((np.arctan2(rows - y, columns - x) / (2 * np.pi) + 1.0) * SECTORS).astype(int) % SECTORS
    parts = [(away > low) & (away <= high) & (sector == k) for low, high in RINGS for k in range(SECTORS)]
    weights = np.stack([part.ravel() / part.sum() if part.any() else np.full(part.size, np.nan) for part in parts])
    gray = pixels.mean(axis=3, dtype=np.float32).reshape(n, -1)
    return np.asarray(gray @ weights.astype(np.float32).T)


def missing(train: Pictures, facts: Facts) -> str | None:
    """Why defects cannot be painted, for want of good pictures or of masks, in one sentence; None when they can."""
    if facts.normal is None:
        said = "painting defects needs good pictures to paint on, and train has none"
        return f"{said}; name their class with `normal:`, or set task: whole"
    if not facts.shares[facts.classes.index(facts.normal)]:
        return f"painting defects needs good pictures, and train has none of class {facts.normal!r}; add some"
    bad = [k for k, name in enumerate(facts.classes) if name != facts.normal and facts.shares[k]]
    bare = [facts.classes[k] for k in bad if not train.masks[train.labels == k].any()]
    if not bad:
        return "painting defects needs pictures of a defect, and train has good ones alone; add some of each defect"
    if bare:
        return f"painting defects needs a mask or box of each, and class {bare[0]!r} has none; give some, or set task: whole"
    return None
