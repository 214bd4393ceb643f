"""Which pixels are the defect where marks are boxes, or too tight, and how would a new one be marked?

A hole as large as a box makes the denoiser redraw all that lies beside the defect; one that leaves the defect's soft edge
outside shows it the defect while it learns, and not when it paints. So the defect's own pixels are found first, the denoiser
paints those, and what it painted is marked as the real ones are: by a box around it, or without its soft edge."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data.images import Pictures, box
from generators.image._blend import filled
from generators.image._masks import MaskBank
from generators.image._paste_edge import halo, widened
from generators.image._paste_fit import Grounds
from generators.image._paste_refine import VOTERS, defect, expected
from generators.image._paste_scene import levels_of
from generators.image._patches import cut
from generators.image._pictures import Facts
from generators.image._symmetry import symmetries

Array = np.ndarray
#: Pixels that a hole reaches beyond the defect that was found: its edge is painted too.
GROWN = 1


@dataclass(frozen=True)
class Boxes:
    """How marks lie on defects.

    labels: (m,) classes whose marks are boxes, one for each real defect; margins: (m, 4) pixels from the defect's pixels to
    the box: top, left, bottom, right; levels: the two values of black and white pictures, (0,) where there are others;
    halos: (classes,) pixels of soft edge around the defects of a class that their marks leave outside."""

    labels: Array
    margins: Array
    levels: Array
    halos: Array

    def around(self, hole: Array, label: int, rng: np.random.Generator) -> Array:
        """The mark of a new defect: its box where its class has boxes, else the defect's pixels: (s, s) bool."""
        own = np.flatnonzero(self.labels == label)
        if not len(own) or (found := box(hole)) is None:
            return hole
        x, y, w, h = found
        top, left, bottom, right = (int(v) for v in self.margins[rng.choice(own)])
        out = np.zeros_like(hole)
        out[max(0, y - top) : y + h + bottom, max(0, x - left) : x + w + right] = True
        return out

    def holes(self, masks: Array, labels: Array) -> Array:
        """What is painted for defects of these pixels, their soft edge too: (n, s, s) bool, (n,) -> (n, s, s) bool."""
        return np.stack([widened(mask, int(self.halos[k])) for mask, k in zip(masks, labels, strict=True)])

    def snapped(self, pixels: Array, hole: Array) -> Array:
        """Pixels of a black and white picture at its two values inside the hole: (s, s, c) uint8."""
        if len(self.levels) != 2:
            return pixels
        low, high = (int(v) for v in self.levels)
        near = np.where(pixels > (low + high) / 2, high, low).astype(np.uint8)
        return np.where(hole[:, :, None], near, pixels)


def refined(train: Pictures, facts: Facts, *, seed: int, soft: bool = True) -> tuple[Pictures, Boxes]:
    """The pictures with the defects' own pixels as masks where their marks are boxes or, if `soft`, too tight; and how
    marks lie."""
    levels = levels_of(train.pixels)
    rng = np.random.default_rng([seed % 2**63, 11])
    good = -1 if facts.normal is None else facts.classes.index(facts.normal)
    bad = np.flatnonzero((train.labels != good) & train.masks.any(axis=(1, 2)))
    goods = train.pixels[train.labels == good]
    bank = MaskBank.fit(train.take(bad))
    grounds, turns = Grounds(goods, 1.0 if levels else 0.15), symmetries(goods)
    masks, labels, margins = train.masks.copy(), [], []
    for i in map(int, bad):
        mark, label = train.masks[i], int(train.labels[i])
        if not bank.boxes(label) or mark.all():
            continue
        clean = filled(train.pixels[i], mark)
        if levels:
            clean, _ = expected(train.pixels[i], mark, grounds, turns, rng.permutation(len(grounds))[:VOTERS])
        masks[i] = _grown(defect(train.pixels[i], mark, clean, sharp=levels is not None)) & mark
        labels.append(label)
        margins.append(_margin(masks[i], mark))
    halos = np.zeros(len(facts.classes), dtype=np.int64)
    for label in map(int, np.unique(train.labels[bad]) if soft and levels is None else ()):
        own = bad[train.labels[bad] == label]
        if not bank.boxes(label):
            halos[label] = halo([cut(train.pixels[i], masks[i], label) for i in own], facts.size)
    boxes = Boxes(
        np.array(labels, dtype=np.int64), np.array(margins, dtype=np.int64).reshape(-1, 4), np.array(levels or (0,)), halos
    )
    return replace(train, masks=masks), boxes


def _grown(mask: Array) -> Array:
    from scipy import ndimage

    return np.asarray(ndimage.binary_dilation(mask, np.ones((3, 3), dtype=bool), iterations=GROWN))


def _margin(mask: Array, mark: Array) -> tuple[int, int, int, int]:
    x, y, w, h = box(mask) or (0, 0, 1, 1)
    left, top, wide, high = box(mark) or (0, 0, 1, 1)
    return y - top, x - left, top + high - y - h, left + wide - x - w
