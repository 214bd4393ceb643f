"""Where is the defect of a picture that nobody has marked?

Where the picture looks like no place of any good one. Each place is described by its colours and its texture at a few widths;
its score is the distance to the nearest descriptions of good pictures, the idea of PatchCore (Roth et al. 2022) with fixed
filters in place of a pretrained network. Good pictures that were kept apart tell how far a good place may lie from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from data.images import Pictures
from generators.base import GeneratorError
from generators.image._blend import filled
from generators.image._paste_fit import Grounds
from generators.image._paste_refine import VOTERS, defect, expected
from generators.image._paste_scene import levels_of
from generators.image._symmetry import MOST, symmetries

Array = np.ndarray
#: Good pictures that are described, and kept apart; descriptions that are compared with; pixels a side at which they are.
SHOWN, APART, KEPT, SIDE = 120, 80, 2500, 128
#: Good pictures from which on there is something to tell by; and pictures of a class that are looked through at most.
LEAST_GOOD, LOOKED = 24, 128
#: The share of good pictures in which something may pass for a defect, and of a class's in which something must be found;
#: and how seldom as many would be found in good ones.
FALSE, LEAST_FOUND, CHANCE = 0.1, 0.6, 0.01
#: A defect reaches as far as its score is above this share of its greatest, and this quantile of what good places have.
FALLS, ORDINARY = 0.5, 0.98
#: What covers more of the picture than this is no defect on a surface.
MOST_SHARE = 0.5
#: Widths in pixels of what colours are averaged over, and of the edges and the grain that describe texture; of pictures
#: of fewer pixels a side than this they are as much narrower, down to the least share.
COLOURS, TEXTURES, SMALL, NARROWEST = (1.0, 2.0, 4.0), (0.7, 1.5, 3.0), 64, 0.5


def marked(train: Pictures, good: int, seed: int) -> Pictures:
    """`train` with masks where a class of defects has none at all, in those of its pictures in which a defect was found.

    good: the label of the good pictures. Raises GeneratorError for a class in which too few were found to go by."""
    bare = [k for k in bare_classes(train) if k != good]
    own = train.pixels[train.labels == good]
    if not bare or len(own) < LEAST_GOOD:
        return train
    rng = np.random.default_rng([seed % 2**63, 13])
    which = np.concatenate([np.sort(rng.permutation(np.flatnonzero(train.labels == k))[:LOOKED]) for k in bare])
    regions = unlike(own, train.pixels[which], rng)
    for k in bare:
        there = regions[train.labels[which] == k].any(axis=(1, 2))
        check_enough(int(there.sum()), len(there), train.classes[k])
    masks = train.masks.copy()
    grounds = Grounds(own, 1.0) if levels_of(train.pixels) else None
    turns = symmetries(train.pixels[np.sort(rng.permutation(len(train))[:MOST])]) if grounds else ()
    for i, region in zip(which, regions, strict=True):
        if region.any():
            masks[i] = _within(train.pixels[i], region, grounds, turns, rng)
    return replace(train, masks=masks)


def bare_classes(train: Pictures) -> list[int]:
    """Labels of the classes that are there and of which no picture has a mask."""
    return [int(k) for k in np.unique(train.labels) if not train.masked[train.labels == k].any()]


def check_enough(found: int, count: int, name: str) -> None:
    """Raises GeneratorError when defects were found in too few pictures of a class to be more than chance."""
    from scipy import stats

    chance = float(stats.binom.sf(found - 1, count, FALSE))
    if found < LEAST_FOUND * count or chance > CHANCE:
        raise GeneratorError(
            f"no picture of class {name!r} has a mask or box, and only in {found} of {count} is there anything that good "
            "pictures do not have; give some masks, or use generator.use: image.gan, which draws whole pictures"
        )


def unlike(good: Array, pixels: Array, rng: np.random.Generator) -> Array:
    """Where pictures look like no good one: (g, s, s, c) uint8, (n, s, s, c) uint8 -> (n, s, s) bool."""
    from scipy import ndimage

    size = pixels.shape[1]
    order = rng.permutation(len(good))
    cut = len(good) * 2 // 3
    known, apart = _described(good[order[:cut][:SHOWN]]), _described(good[order[cut:][:APART]])
    whiten = _whitening(known.reshape(-1, known.shape[3]))
    flat = whiten(known)
    flat = flat[np.sort(rng.permutation(len(flat))[:KEPT])]
    usual, seen = (_scores(whiten(part), flat, part.shape[:3]) for part in (apart, _described(pixels)))
    top = float(np.quantile(usual.max(axis=(1, 2)), 1 - FALSE))
    ordinary, middle = float(np.quantile(usual, ORDINARY)), float(np.median(usual))
    out = np.zeros((len(pixels), size, size), dtype=bool)
    for i, score in enumerate(seen):
        wide = ndimage.zoom(score, size / score.shape[0], order=1, grid_mode=True, mode="nearest")
        if wide.max() > top:
            level = min(max(ordinary, middle + FALLS * (wide.max() - middle)), top)
            parts, _ = ndimage.label(wide > level)
            reached = np.setdiff1d(np.unique(parts[wide > top]), [0])
            out[i] = ndimage.binary_fill_holes(np.isin(parts, reached))
    out[out.mean(axis=(1, 2)) > MOST_SHARE] = False
    return out


def _within(
    pixels: Array, region: Array, grounds: Grounds | None, turns: tuple[int, ...], rng: np.random.Generator
) -> Array:  # fmt: skip
    """The pixels of a region that are the defect. grounds: the good pictures, of black and white ones."""
    if grounds is None:
        return defect(pixels, region, filled(pixels, region), sharp=False)
    clean, _ = expected(pixels, region, grounds, turns, rng.permutation(len(grounds))[:VOTERS])
    return defect(pixels, region, clean, sharp=True)


def _described(pixels: Array) -> Array:
    """Every second place of pictures, each brought to at most SIDE pixels: (n, s, s, c) uint8 -> (n, h, w, d) float32."""
    from scipy import ndimage

    by = -(-pixels.shape[1] // SIDE)
    seen = pixels[:, : pixels.shape[1] // by * by, : pixels.shape[2] // by * by].astype(np.float32)
    n, h, w, c = seen.shape
    seen = seen.reshape(n, h // by, by, w // by, by, c).mean(axis=(2, 4))
    share = min(1.0, max(NARROWEST, seen.shape[1] / SMALL))
    parts = [ndimage.gaussian_filter(seen, (0, share * wide, share * wide, 0)) for wide in COLOURS]
    gray = seen.mean(axis=3)
    last = gray
    for wide in (share * width for width in TEXTURES):
        low = ndimage.gaussian_filter(gray, (0, wide, wide))
        band, last = last - low, low
        down, across = (ndimage.gaussian_filter(gray, (0, wide, wide), order=way) for way in ((0, 1, 0), (0, 0, 1)))
        edges = [ndimage.gaussian_filter(v, (0, 1.5 * wide, 1.5 * wide)) for v in (down**2 - across**2, 2 * down * across)]
        grain = np.sqrt(np.maximum(ndimage.gaussian_filter(band**2, (0, 1.5 * wide, 1.5 * wide)), 0))
        spots = np.abs(ndimage.gaussian_filter(band, (0, wide, wide)))
        parts += [v[..., None] for v in (grain, spots, *(np.sign(e) * np.sqrt(np.abs(e)) for e in edges))]
    return np.concatenate(parts, axis=3)[:, ::2, ::2].astype(np.float32)


def _whitening(known: Array) -> Callable[[Array], Array]:
    """What brings descriptions (k, d) to no correlation; directions in which good places hardly differ count no more."""
    middle = known.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((known - middle).T) + 1e-3 * np.eye(known.shape[1]))
    turn = vectors / np.sqrt(np.maximum(values, 1e-2 * values.mean()))
    return lambda places: ((places.reshape(-1, known.shape[1]) - middle) @ turn).astype(np.float32)


def _scores(places: Array, known: Array, shape: tuple[int, ...], nearest: int = 3) -> Array:
    """Mean distance of each place to the nearest known ones, smoothed: (k, d), (m, d) -> shape."""
    from scipy import ndimage

    lengths, out = (known**2).sum(axis=1), np.empty(len(places), dtype=np.float32)
    for start in range(0, len(places), 4096):
        few = places[start : start + 4096]
        squares = (few**2).sum(axis=1)[:, None] + lengths[None] - 2 * few @ known.T
        out[start : start + 4096] = np.maximum(np.partition(squares, nearest - 1, axis=1)[:, :nearest].mean(axis=1), 0)
    return np.asarray(ndimage.gaussian_filter(np.sqrt(out).reshape(shape), (0, 1, 1)))
