"""Which pictures show nearly the same, so that no split may part them?

A copy with another brightness, size, compression or a small shift is found; two parts of one kind, two crops of one
texture or two drawings of one layout are not. A first look compares low frequencies of the cosine transform, each scaled by
its spread over the set, so that what all pictures have in common (a lamp, a fixture) counts for nothing. Pairs that are
left are confirmed on their fine detail, less the mean detail of their neighbours: what is shared by a whole kind of parts
is no sign of a copy (of a kind with twenty parts or more; fewer that lie alike are taken for copies). A perceptual hash
keeps only the signs of those frequencies; in even textures they are chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray

#: Side of the pictures that are compared, and how many frequencies a side the first look takes.
SIDE, LOW = 64, 12
#: Neighbours that are looked at, of which the nearest few may be copies themselves and are left out of the mean.
NEIGHBOURS, SPARED = 24, 6
#: A pair is looked at again from these correlations of low frequencies on, without and with the neighbours' mean taken off.
LOOK, LOOK_AGAIN = 0.4, 0.3
#: Least correlation of detail, and the stricter ones that are tried when one group would swallow the set.
SAME = (0.7, 0.8, 0.9)
#: Share of the pictures that joining may bring into one group.
MOST = 0.3
#: Pixels that a copy may be shifted by.
SHIFT = 2
#: A picture whose grays spread less than this is flat: it shows nothing, so it ties nothing together.
FLAT = 1.0
ROWS = 512
#: Groups that a notice names, and pictures of each.
SHOWN = 3


@dataclass(frozen=True)
class Grouped:
    """groups: the group of each picture, None where it stands alone; joined: pictures tied to another one by what they
    show; notices: what a user should know, a sentence each."""

    groups: tuple[str | None, ...]
    joined: int
    notices: tuple[str, ...]


def thumbnail(pixels: Array) -> Array:
    """(h, w, c) or (h, w) uint8 -> (SIDE, SIDE) uint8, gray."""
    from PIL import Image

    flat = pixels.reshape(*pixels.shape[:2], -1)
    image = Image.fromarray(flat[:, :, 0] if flat.shape[2] == 1 else flat).convert("L")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX if min(image.size) > SIDE else Image.Resampling.BILINEAR))


def groups_of(
    pixels: Array,
    groups: Sequence[str | None] | None = None,
    *,
    keys: Sequence[str] | None = None,
    alike: bool = True,
    names: Sequence[str] | None = None,
) -> Grouped:
    """Groups in which identical and, with `alike`, nearly identical pictures stand together.

    pixels: (n, h, w[, c]) uint8, or what `thumbnail` made of them; groups: those that are known, None for a picture without;
    keys: equal for identical pictures, those of the pixels when None; names: what notices call the pictures. Flat pictures
    are left as they are. Where joining would bring more than MOST of the pictures into one group, only closer pairs are
    joined, at last identical ones alone."""
    n = len(pixels)
    known = [None] * n if groups is None else list(groups)
    thumbs = pixels if pixels.shape[1:] == (SIDE, SIDE) else np.stack([thumbnail(one) for one in pixels]) if n else pixels
    marks = [one.tobytes() for one in pixels] if keys is None else list(keys)
    flat = thumbs.reshape(n, -1).std(axis=1) < FLAT if n else np.zeros(0, dtype=bool)
    identical = _identical(marks, flat)
    pairs, strength = near_pairs(thumbs, ~flat) if alike else (np.zeros((0, 2), dtype=np.int64), np.zeros(0))
    notices = []
    most = max(MOST * n, 4, _largest(_components(n, known, identical)))
    for least in (*SAME, np.inf):
        members = _components(n, known, np.concatenate([identical, pairs[strength >= least]]))
        if _largest(members) <= most:
            break
    if least > SAME[0] and len(pairs):
        loose = _largest(_components(n, known, np.concatenate([identical, pairs])))
        closer = "identical ones" if least > 1 else f"pairs whose detail agrees by {least:g} or more"
        notices.append(f"Near-duplicates would tie {loose} of {n} pictures into one group, so only {closer} are joined.")
    used = np.unique(np.concatenate([identical, pairs[strength >= least]]))
    if len(used):
        notices.insert(0, _said(members, used, names))
    return Grouped(_named(members, known), len(used), tuple(notices))


def _said(members: Array, used: Array, names: Sequence[str] | None) -> str:
    """How many pictures stand together because they are alike, and of the first groups which."""
    together: dict[int, list[int]] = {}
    for i in used:
        together.setdefault(int(members[i]), []).append(int(i))
    said = f"Kept together because they show the same or nearly so: {len(used)} pictures (groups: {len(together)})"
    if names is None:
        return f"{said}."
    shown = [_some([names[i] for i in some]) for some in list(together.values())[:SHOWN]]
    rest = len(together) - len(shown)
    return f"{said}: {'; '.join(shown)}" + (
        f"; and {rest} more groups." if rest > 1 else "; and 1 more group." if rest else "."
    )


def _some(names: Sequence[str]) -> str:
    return " = ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def near_pairs(thumbs: Array, looked_at: Array | None = None) -> tuple[Array, Array]:
    """Pairs of pictures that show nearly the same, and how well their detail agrees: (n, SIDE, SIDE) -> (k, 2), (k,).

    looked_at: (n,) bool, the pictures that are compared; all when None. Agreement is a correlation, from SAME[0] to 1."""
    where = np.arange(len(thumbs)) if looked_at is None else np.flatnonzero(looked_at)
    if len(where) < 3:  # two pictures have no others that would tell what all have in common
        return np.zeros((0, 2), dtype=np.int64), np.zeros(0)
    thumbs = thumbs[where]
    sketches = _sketches(thumbs)
    near, likeness = _neighbours(sketches, min(NEIGHBOURS, len(where) - 1))
    spared = min(SPARED, (len(where) - 1) // 3)
    around = near[:, spared:]
    left, place = np.nonzero(likeness >= LOOK)
    pairs = np.unique(np.sort(np.stack([left, near[left, place]], axis=1), axis=1), axis=0)
    pairs = pairs[_agreement(sketches, around, pairs) >= LOOK_AGAIN]
    detail = _detail(thumbs)
    strength = np.concatenate([np.zeros(0), *(_aligned(detail, around, part) for part in _parts(pairs, 64))])
    same = strength >= SAME[0]
    return where[pairs[same]], strength[same]


def _sketches(thumbs: Array) -> Array:
    """Low frequencies of each picture, of one contrast, each scaled by its spread over the set: (n, LOW * LOW - 1)."""
    from scipy.fft import dctn

    parts = [dctn(part.astype(np.float32), axes=(1, 2), norm="ortho")[:, :LOW, :LOW] for part in _parts(thumbs, ROWS)]
    waves = np.concatenate(parts).reshape(len(thumbs), -1)[:, 1:]
    waves /= np.maximum(np.linalg.norm(waves, axis=1, keepdims=True), 1e-6)
    waves -= waves.mean(axis=0)
    return np.asarray(waves / (np.sqrt((waves**2).mean(axis=0)) + 1e-6))


def _neighbours(sketches: Array, count: int) -> tuple[Array, Array]:
    """The nearest others of each, nearest first, and their correlation: (n, count), (n, count)."""
    unit = _unit(sketches)
    near, likeness = [], []
    for start in range(0, len(unit), ROWS):
        products = unit[start : start + ROWS] @ unit.T
        rows = np.arange(len(products))
        products[rows, start + rows] = -2.0
        best = np.argpartition(-products, count - 1, axis=1)[:, :count]
        values = np.take_along_axis(products, best, axis=1)
        order = np.lexsort((best, -values))
        near.append(np.take_along_axis(best, order, axis=1))
        likeness.append(np.take_along_axis(values, order, axis=1))
    return np.concatenate(near), np.concatenate(likeness)


def _agreement(sketches: Array, around: Array, pairs: Array) -> Array:
    """Correlation of the low frequencies of each pair, less the mean of their neighbours': (k,)."""
    means = np.stack([sketches[few].mean(axis=0) for few in around])
    middle = (means[pairs[:, 0]] + means[pairs[:, 1]]) / 2
    one, two = (_unit(sketches[pairs[:, side]] - middle) for side in (0, 1))
    return np.asarray((one * two).sum(axis=1))


def _detail(thumbs: Array) -> Array:
    """What is finer than a few pixels, of one contrast: (n, SIDE, SIDE) float16."""
    from scipy.ndimage import gaussian_filter

    out = np.empty(thumbs.shape, dtype=np.float16)
    for start in range(0, len(thumbs), ROWS):
        part = thumbs[start : start + ROWS].astype(np.float32)
        part -= gaussian_filter(part, (0, 2.5, 2.5))
        out[start : start + ROWS] = _unit(part.reshape(len(part), -1)).reshape(part.shape) * SIDE
    return out


def _aligned(detail: Array, around: Array, pairs: Array) -> Array:
    """Correlation of the detail of each pair, less the mean of their neighbours', at the best small shift: (k,)."""
    few = np.concatenate([around[pairs[:, 0]], around[pairs[:, 1]]], axis=1)
    middle = detail[few].mean(axis=1, dtype=np.float32)
    one, two = (detail[pairs[:, side]].astype(np.float32) - middle for side in (0, 1))
    inner = SIDE - 2 * SHIFT
    still = _unit(one[:, SHIFT : SHIFT + inner, SHIFT : SHIFT + inner].reshape(len(pairs), -1))
    best = np.full(len(pairs), -1.0)
    for y in range(2 * SHIFT + 1):
        for x in range(2 * SHIFT + 1):
            moved = _unit(two[:, y : y + inner, x : x + inner].reshape(len(pairs), -1))
            best = np.maximum(best, (still * moved).sum(axis=1))
    return best


def _unit(rows: Array) -> Array:
    centred = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6))


def _parts(rows: Array, count: int) -> Iterator[Array]:
    for start in range(0, len(rows), count):
        yield rows[start : start + count]


def _identical(marks: Sequence[object], flat: Array) -> Array:
    """Each picture with the first that is identical to it; flat ones are left out. (k, 2) int64."""
    first: dict[object, int] = {}
    found = [(first.setdefault(mark, i), i) for i, mark in enumerate(marks) if not flat[i]]
    return np.array([pair for pair in found if pair[0] != pair[1]], dtype=np.int64).reshape(-1, 2)


def _components(n: int, known: Sequence[str | None], pairs: Array) -> Array:
    """A number for each picture, the same for all that pairs or known groups tie together. (n,) int."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    first: dict[str, int] = {}
    stated = [(first.setdefault(name, i), i) for i, name in enumerate(known) if name is not None]
    ties = np.concatenate([pairs, np.array(stated, dtype=np.int64).reshape(-1, 2)])
    _, members = connected_components(coo_matrix((np.ones(len(ties)), (ties[:, 0], ties[:, 1])), shape=(n, n)), directed=False)
    return np.asarray(members)


def _largest(members: Array) -> int:
    return int(np.bincount(members).max()) if len(members) else 0


def _named(members: Array, known: Sequence[str | None]) -> tuple[str | None, ...]:
    """A group keeps the first known name in it; one without gets a name of its own; a picture alone gets none."""
    names: dict[int, str] = {}
    for member, name in zip(members, known, strict=True):
        if name is not None:
            names.setdefault(int(member), name)
    sizes, taken = np.bincount(members) if len(members) else members, set(known)
    fresh = (name for k in range(1, 2 * len(members) + 2) if (name := f"alike-{k:05d}") not in taken)
    for member in members:
        if int(member) not in names and sizes[member] > 1:
            names[int(member)] = next(fresh)
    return tuple(names.get(int(member)) for member in members)
