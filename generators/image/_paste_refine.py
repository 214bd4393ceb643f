"""Which pixels of a marked box are the defect, and which only lie beside it?

A good surface is put under the box: on black and white pictures what the good pictures with the same surroundings show
there, on others the membrane that is spanned from around. The defect is what differs from it."""

from __future__ import annotations

import numpy as np

from data.images import Pictures, box
from generators.base import SILENT, Progress
from generators.image._blend import filled, ring
from generators.image._masks import MaskBank, turned
from generators.image._paste_fit import Grounds, length, spectrum
from generators.image._patches import Patch, cut, undone

Array = np.ndarray
#: Places that vote on the surface under a mark; how far into a mark its edge is surface, in shares of its shorter side.
VOTES, EDGE = 9, 0.3
#: Good pictures that are looked at.
VOTERS = 256
#: Differences at which a defect's surroundings are explained only half as well as they might be, in squared shares of white.
HALF = 0.03
#: The share of changes one way, against the other, from which on the defects of a class are taken to go that way alone.
ONE_WAY = 3.0
#: A pixel of a gray picture differs from this many spreads of the surface around on.
DIFFERS = 3.0
#: What differs is the defect where it is at least this share of the box, and at least this many pixels.
LEAST_SHARE, LEAST_PIXELS = 0.01, 4


def cut_all(
    bad: Pictures, bank: MaskBank, grounds: Grounds, turns: tuple[int, ...], rng: np.random.Generator, *, sharp: bool,
    progress: Progress = SILENT,
) -> list[Patch]:  # fmt: skip
    """The patches of all defects; where a class's marks are boxes, the defects in them are found first.

    sharp: black and white pictures. The defects of a class whose changes all but agree in direction, lighter or darker,
    keep the pixels that go this way."""
    marked = np.flatnonzero(bad.masks.any(axis=(1, 2)))
    found: dict[int, tuple[Array, Array, float]] = {}
    for done, i in enumerate(map(int, marked)):
        progress.advance(done, len(marked), "defect")
        mark, label = bad.masks[i], int(bad.labels[i])
        if not bank.boxes(label) or mark.all():
            found[i] = mark, np.zeros(mark.shape), 0.0
            continue
        clean, cost = filled(bad.pixels[i], mark), 0.0
        if sharp:
            clean, cost = expected(bad.pixels[i], mark, grounds, turns, rng.permutation(len(grounds))[:VOTERS])
        mask = defect(bad.pixels[i], mark, clean, sharp=sharp)
        found[i] = mask, (bad.pixels[i] - clean).mean(axis=2) * mask * sharp, cost
    way = {int(k): _way([found[int(i)][1] for i in marked if bad.labels[i] == k]) for k in np.unique(bad.labels[marked])}
    out = []
    for which, (mask, change, cost) in found.items():
        label = int(bad.labels[which])
        kept = mask & (change * way[label] > 0) if way[label] else mask
        trust = 1 / (1 + (cost / HALF) ** 2)
        out.append(cut(bad.pixels[which], kept if kept.any() else mask, label, mark=bad.masks[which], trust=trust))
    return out


def _way(changes: list[Array]) -> int:
    """1 where the defects of a class lighten nearly all they change, -1 where they darken it, 0 where they do both."""
    up, down = (sum(float((sign * c > 64).sum()) / max(1, (np.abs(c) > 64).sum()) for c in changes) for sign in (1, -1))
    return 1 if up > ONE_WAY * down else -1 if down > ONE_WAY * up else 0


def defect(pixels: Array, marked: Array, clean: Array, *, sharp: bool) -> Array:
    """The pixels of a mark where the picture differs from the good surface: (size, size, c) uint8, (size, size) bool,
    (size, size, c) -> (size, size) bool; the mark itself where hardly anything does.

    sharp: black and white pictures, whose edges are a pixel off here and there: thin differences do not count."""
    from scipy import ndimage

    apart = np.abs(pixels.astype(np.float64) - clean).max(axis=2)
    if sharp:
        found = ndimage.binary_opening((apart > 127) & marked, np.ones((2, 2), dtype=bool))
    else:
        around = ring(marked, 4)
        rough = pixels.astype(np.float64) - ndimage.gaussian_filter(pixels.astype(np.float64), (2, 2, 0))
        spread = float(np.abs(rough[around]).mean()) * 1.25 if around.any() else 0.0
        found = ndimage.binary_opening((apart > max(4.0, DIFFERS * spread)) & marked)
        found = ndimage.binary_dilation(found) & marked
    found = ndimage.binary_closing(np.pad(found, 2), np.ones((3, 3), dtype=bool))[2:-2, 2:-2] & marked
    found = _middle_parts(_large_parts(found), marked)
    return found if found.sum() >= max(LEAST_PIXELS, LEAST_SHARE * marked.sum()) else marked


def _large_parts(mask: Array) -> Array:
    """The connected parts of at least a tenth of the largest one's pixels, three or more."""
    from scipy import ndimage

    parts, count = ndimage.label(mask, np.ones((3, 3), dtype=int))
    if not count:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= max(3, sizes.max() / 10))[parts])


def _middle_parts(mask: Array, marked: Array) -> Array:
    """The parts of the defect that reach the middle half of a mark's box: a box is drawn around its defect. All parts
    where none does."""
    from scipy import ndimage

    x, y, w, h = box(marked) or (0, 0, 1, 1)
    middle = np.zeros_like(mask)
    middle[y + h // 4 : y + h - h // 4, x + w // 4 : x + w - w // 4] = True
    parts, _ = ndimage.label(mask, np.ones((3, 3), dtype=int))
    reached = np.setdiff1d(np.unique(parts[middle]), [0])
    return np.isin(parts, reached) if len(reached) else mask


def expected(pixels: Array, marked: Array, grounds: Grounds, turns: tuple[int, ...], which: Array) -> tuple[Array, float]:
    """The good surface under a mark of a black and white picture: (size, size, c) uint8, (size, size) bool -> the picture
    without its defect, and how badly the surroundings agree (mean squared difference).

    The places of good pictures, turned, that continue the picture best vote pixel by pixel. Near the edge of a mark there
    is surface too, so that it counts as surroundings, less and less towards the middle."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(marked, 1, mode="edge"))[1:-1, 1:-1]
    x, y, w, h = box(marked) or (0, 0, 1, 1)
    reach = max(2, pixels.shape[0] // 16)
    window = slice(max(0, y - reach), y + h + reach), slice(max(0, x - reach), x + w + reach)
    weight = np.where(marked, np.clip(1 - depth / (EDGE * min(h, w)), 0, 1), 1.0)[window]
    votes: list[tuple[float, Array]] = []
    for turn in turns:
        view = turned(pixels[window], turn)
        for cost, ground, top, left in _continued(view, turned(weight, turn), grounds, which)[:VOTES]:
            seen = grounds.pixels[ground, top : top + view.shape[0], left : left + view.shape[1]]
            votes.append((cost, turned(seen, undone(turn)).astype(np.float64)))
    votes.sort(key=lambda vote: vote[0])
    trust = np.array([1 / (cost + 0.02) for cost, _ in votes[:VOTES]])
    out = pixels.astype(np.float64)
    out[window] = np.tensordot(trust / trust.sum(), np.stack([seen for _, seen in votes[:VOTES]]), 1)
    return out, votes[0][0]


def _continued(view: Array, weight: Array, grounds: Grounds, which: Array) -> list[tuple[float, int, int, int]]:
    """Cost, ground, top, left of the best place of each good picture for a whole view, best first."""
    from scipy import fft

    size = grounds.size
    spread = length(size)
    pixels = view.astype(np.float32) / 255
    planes = np.moveaxis(grounds.pixels[which].astype(np.float32) / 255, 3, 1)
    once, twice = spectrum(planes, spread), spectrum((planes**2).sum(axis=1), spread)
    cross = np.stack([spectrum(pixels[:, :, k] * weight, spread) for k in range(pixels.shape[2])])
    squares = twice * np.conj(spectrum(weight, spread)) - 2 * (once * np.conj(cross)).sum(axis=1)
    places = fft.irfft2(squares, (spread, spread))[:, : size - view.shape[0] + 1, : size - view.shape[1] + 1]
    own = float((pixels**2 * weight[:, :, None]).sum())
    flat = (places.reshape(len(places), -1) + own) / max(float(weight.sum()), 1e-6)
    best = flat.argmin(axis=1)
    found = [
        (max(0.0, float(flat[i, best[i]])), int(which[i]), *divmod(int(best[i]), places.shape[2])) for i in range(len(flat))
    ]
    return sorted(found)
