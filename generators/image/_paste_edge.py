"""How far does a defect reach beyond its mark, and how much of the surface still shows through it?

A mark that is drawn tightly leaves the soft edge of its defect outside: cut out at the mark, the edge would be taken for
surface and stay behind, and a thin defect would fade. And a hole shows nothing of the weave, a stain some of it, a dent all:
what is pasted must hide as much of the texture that it comes upon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from generators.image._blend import filled, smoothed
from generators.image._patches import Patch

Array = np.ndarray
#: Pixels around a mark that are looked at, of which the outer ones only say what the surface is; the most it grows, which is
#: also no more than this share of the picture: a soft edge is a matter of optics, what reaches farther is surface.
REACH, MOST_HALO, MOST_SHARE = 7, 4, 1 / 32
#: A defect reaches as far as its change, against that inside the mark, is more than this.
FAINT = 0.15
#: Less than this many gray levels of change, this share of what changes around, and this much texture are not looked at.
LEAST_CHANGE, LEAST_RATIO, LEAST_TEXTURE = 8.0, 0.75, 1.5
#: Pixels in the middle of a defect from which on its texture can be told; and how many count as much as the class.
LEAST_CORE, CLASS_CORE = 12, 60
#: The finest texture is what a Gaussian of this many pixels takes away.
FINE = 2.0
#: A class that hides less of the texture than this is taken to hide none.
LEAST_OPACITY = 0.2
#: Defects of a class from which on their colours can tell; and how sure it must be (two-sided) that they do.
LEAST_COLOURS, SURE = 4, 0.95


def edged(patches: Sequence[Patch], size: int, *, soft: bool = True) -> list[Patch]:
    """Patches whose masks reach as far, if `soft`, as their defects do, with `halo` and `opacity` set, class by
    class. size: of the pictures."""
    out = list(patches)
    for label in sorted({p.label for p in patches}):
        own = [i for i, p in enumerate(patches) if p.label == label]
        grown = halo([patches[i] for i in own], size) if soft else 0
        for i in own if grown else ():
            out[i] = grew(out[i], grown)
        for i, share in zip(own, opacities([out[i] for i in own]), strict=True):
            out[i] = replace(out[i], opacity=share)
    return out


def halo(patches: Sequence[Patch], size: int) -> int:
    """Pixels that the defects of a class reach beyond their marks: as far as the median change there, in the direction of
    the change inside, is more than FAINT of it. None where less than half of the class change much in one direction."""
    found = [profile for p in patches if (profile := _profile(p)) is not None]
    if 2 * len(found) < len(patches) or not found:
        return 0
    middle = np.nanmedian(np.array(found), axis=0)
    faint = np.flatnonzero(~(middle > FAINT))
    return min(int(faint[0]) if len(faint) else len(middle), MOST_HALO, max(1, int(size * MOST_SHARE)))


def _profile(patch: Patch) -> Array | None:
    """(REACH - 2,) the change at 1, 2, ... pixels outside the mark, as a share of that inside; None if there is none."""
    from scipy import ndimage

    if not patch.mask.any() or any(patch.margin > 0):
        return None
    wide = ndimage.binary_dilation(patch.mask, iterations=REACH)
    if not (patch.known & ~wide).any():
        return None
    apart = patch.pixels - filled(patch.pixels, wide)
    change = apart[patch.mask & patch.known].mean(axis=0)
    rough = np.sqrt((apart[wide & ~patch.mask & patch.known] ** 2).sum(axis=1).mean())
    if (strength := float(np.linalg.norm(change))) < max(LEAST_CHANGE, LEAST_RATIO * float(rough)):
        return None
    along = apart @ change / strength**2
    far = ndimage.distance_transform_edt(~patch.mask)
    rings = [(far > d - 1) & (far <= d) & patch.known for d in range(1, REACH - 1)]
    return np.array([along[where].mean() if where.any() else np.nan for where in rings])


def widened(mask: Array, halo: int) -> Array:
    """A mask grown by `halo` pixels: (h, w) bool -> the same shape."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_dilation(mask, iterations=halo)) if halo else mask


def grew(patch: Patch, halo: int) -> Patch:
    """The patch with its mask grown by `halo` pixels, as far as its picture goes, and marked as before."""
    return replace(patch, mask=widened(patch.mask, halo) & patch.known, halo=halo, tight=patch.mask) if halo else patch


def opacities(patches: Sequence[Patch]) -> list[float]:
    """The share of what is under it that each defect of a class hides, 0 to 1; of small ones it is the class's.

    Texture tells it of each defect, but no more than a lower bound, as a defect may have texture of its own; colour tells
    it of the class, where there are enough defects on surfaces that differ enough. The larger one holds."""
    found = [_opacity(p) for p in patches]
    known = [share for share, _ in found if share is not None]
    middle, by_colour = float(np.median(known)) if known else 0.0, _by_colour(patches)
    middle = middle if middle >= LEAST_OPACITY else 0.0
    if max(middle, by_colour) < LEAST_OPACITY:
        return [0.0] * len(patches)
    own = [(middle if share is None else share, core if share is not None else 0) for share, core in found]
    told = [(core * share + CLASS_CORE * middle) / (core + CLASS_CORE) if middle else 0.0 for share, core in own]
    return [max(share, by_colour) for share in told]


def _by_colour(patches: Sequence[Patch]) -> float:
    """One less the slope of the defects' colours on those of the surfaces they lie on; 0 where that is not surely above 0.

    What hides nothing is lighter by as much as its surface is (slope 1), what hides all has its own colour (slope 0)."""
    from scipy import stats

    if len(patches) < LEAST_COLOURS:
        return 0.0
    insides = [_inside(p) for p in patches]
    outer = np.array([p.surface[where].mean(axis=0) for p, where in zip(patches, insides, strict=True)])
    inner = np.array([p.pixels[where].mean(axis=0) for p, where in zip(patches, insides, strict=True)])
    outer, inner = outer - outer.mean(axis=0), inner - inner.mean(axis=0)
    # A level more or less is no difference of surfaces, only of the membrane that is spanned over them.
    total = float((outer**2).sum())
    if total < outer.size:
        return 0.0
    slope = float((outer * inner).sum()) / total
    # The colours of a picture go together: they count as one in the error of the slope.
    left = float(((inner - slope * outer) ** 2).sum()) / (len(patches) - 2)
    unsure = float(stats.t.ppf((1 + SURE) / 2, len(patches) - 2)) * np.sqrt(left / total)
    return float(np.clip(1 - slope, 0, 1)) if 1 - slope > unsure else 0.0


def _inside(patch: Patch) -> Array:
    """The pixels of a defect without its edge, as far as it leaves any."""
    from scipy import ndimage

    inner = [ndimage.binary_erosion(patch.mask, iterations=k) & patch.known for k in (patch.halo + 1, max(1, patch.halo))]
    enough = [where for where in inner if where.sum() >= LEAST_CORE // 3]
    return enough[0] if enough else patch.mask & patch.known if (patch.mask & patch.known).any() else patch.mask


def _opacity(patch: Patch) -> tuple[float | None, int]:
    """One less the ratio of the texture's strength inside to that around, and the pixels inside that it was taken from."""
    from scipy import ndimage

    # A soft edge reaches as far in as out; in a thin defect there is nothing but edge, and less is told of it.
    cores = [ndimage.binary_erosion(patch.mask, iterations=k * patch.halo + 1) & patch.known for k in (2, 1)]
    core = cores[0] if cores[0].sum() >= LEAST_CORE else cores[1]
    around = patch.known & ~ndimage.binary_dilation(patch.mask, iterations=1)
    if core.sum() < LEAST_CORE or around.sum() < LEAST_CORE:
        return None, 0
    inside, outside = (texture(patch.pixels.astype(np.float64), where) for where in (core, around))
    if outside < LEAST_TEXTURE**2:
        return None, 0
    return float(1 - np.sqrt(min(inside / outside, 1.0))), int(core.sum())


def texture(picture: Array, where: Array) -> float:
    """Mean square of what is finer than FINE pixels, of the pixels `where`, all colours together: (h, w, c), (h, w) bool."""
    return float(((picture - smoothed(picture, where, FINE))[where] ** 2).mean())
