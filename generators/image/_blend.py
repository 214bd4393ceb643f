"""How does a defect come onto another picture without a seam, and without touching one pixel outside its mask?

Everything rests on one equation: the membrane that is spanned over the mask from what lies around it (`filled`). A patch
less its own membrane is the defect alone (`residual`); laid over the membrane of another picture it is Poisson blending,
laid over that picture itself it keeps the picture's own texture under the defect."""

from __future__ import annotations

import functools
from typing import Any, Literal

import numpy as np

Array = np.ndarray
Match = Literal["moments", "histogram"]
#: Factors of this many masks are kept: several channels and candidates share a mask.
KEPT = 32
#: Steps to the four neighbours.
AROUND = ((-1, 0), (1, 0), (0, -1), (0, 1))


def poisson(base: Array, patch: Array, mask: Array, *, mixed: bool = False) -> Array:
    """Blend `patch` into `base` inside `mask` by gradients: (h, w, c) uint8 or float, (h, w, c), (h, w) bool -> as base.

    mixed: where the base's gradient is the stronger one, it is kept, so that thin texture runs through the defect.
    Source: Perez et al. 2003, Poisson image editing, equations 9 to 13."""
    if mixed:
        return laid(base, _solved(np.asarray(base, dtype=np.float64), np.asarray(patch, dtype=np.float64), mask), mask)
    return laid(base, residual(patch, mask) + filled(base, mask), mask)


def added(base: Array, rest: Array, mask: Array) -> Array:
    """`base` with a residual (h, w, c) added inside `mask`: its own texture stays under the defect."""
    return laid(base, np.asarray(base, dtype=np.float64) + rest, mask)


def feathered(base: Array, patch: Array, mask: Array, width: float = 2.0) -> Array:
    """`patch` over `base`, its edge softened over `width` pixels inwards: (h, w, c), (h, w, c), (h, w) bool -> as base."""
    alpha = ramp(mask, width)[:, :, None]
    return laid(base, alpha * patch + (1 - alpha) * np.asarray(base, dtype=np.float64), mask)


def laid(base: Array, inside: Array, mask: Array) -> Array:
    """`base` with the values of `inside` where `mask` is: rounded and clipped where base is uint8; else bit for bit base."""
    out = np.array(base)
    values = np.asarray(inside)[mask]
    out[mask] = np.clip(np.rint(values), 0, 255).astype(np.uint8) if base.dtype == np.uint8 else values
    return np.asarray(out)


def residual(patch: Array, mask: Array) -> Array:
    """The defect alone: (h, w, c) patch less the surface expected under it, 0 outside `mask`; float64."""
    return np.asarray(np.asarray(patch, dtype=np.float64) - filled(patch, mask))


def matted(base: Array, under: Array, rest: Array, mask: Array, hides: float, width: float = 2.0) -> Array:
    """`base` with a residual inside `mask` that hides a share of what is under it: (h, w, c), (h, w, c), (h, w, c), (h, w).

    under: the surface that the residual was taken from; hides: 0 as `added`, 1 lays surface and residual over the base, save
    that it softens over `width` pixels at the edge."""
    values = np.asarray(base, dtype=np.float64)
    surface, share = filled(base, mask), hides * ramp(mask, width)[:, :, None]
    return laid(base, values + rest - share * (values - surface) - share * (surface - under), mask)


def bare(rest: Array, mask: Array, surface: Array, around: Array, width: float = 2.0, *, shows: float = 1.0) -> Array:
    """A residual without the texture of its own surface, which the place it goes to has already: (h, w, c) -> (h, w, c).

    What is coarser than `width` pixels is kept; what is finer shrinks by the share that texture has of it, as a Wiener
    filter does. surface: (h, w, c), whose pixels `around` (h, w) bool tell how strong texture is; shows: the share of its
    energy that shows through the defect."""
    if not mask.any() or not around.any():
        return rest
    grain = np.where(around[:, :, None], surface - smoothed(surface, around, width), 0.0)
    texture = shows * (grain**2).sum(axis=(0, 1)) / around.sum()
    coarse = smoothed(rest, mask, width)
    fine = np.where(mask[:, :, None], rest - coarse, 0.0)
    kept = np.clip(1 - texture / np.maximum(smoothed(fine**2, mask, width), 1e-6), 0, 1)
    return np.asarray(coarse + kept * fine)


def smoothed(values: Array, where: Array, width: float) -> Array:
    """A Gaussian smoothing that takes only the pixels `where` and gives 0 outside them: (h, w, c), (h, w) bool -> (h, w, c)."""
    from scipy import ndimage

    blurred = ndimage.gaussian_filter(np.where(where[:, :, None], values, 0.0), (width, width, 0))
    share = ndimage.gaussian_filter(where.astype(np.float64), width)[:, :, None]
    return np.asarray(np.where(where[:, :, None], blurred / np.maximum(share, 1e-6), 0.0))


def filled(picture: Array, mask: Array) -> Array:
    """(h, w, c) with the membrane over `mask`: harmonic inside, continuous with what lies around it; float64.

    The picture's own border does not pull (its neighbours outside do not exist). A mask without any pixel around it has
    nothing to be spanned from: it keeps the picture's mean."""
    out = np.array(picture, dtype=np.float64)
    if not mask.any():
        return out
    if mask.all():
        out[:] = out.mean(axis=(0, 1))
        return out
    window = _window(mask)
    system = _system(mask[window].tobytes(), mask[window].shape)
    inner = out[window]
    inner[mask[window]] = system.solve(system.border(inner))
    return out


def ring(mask: Array, width: int = 2) -> Array:
    """The pixels within `width` of `mask` that are not in it: (h, w) bool -> the same shape."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_dilation(mask, iterations=width) & ~mask)


def ramp(mask: Array, width: float) -> Array:
    """How far inside the mask a pixel lies, 1 from `width` pixels on, above 0 at its edge: (h, w) bool -> float."""
    from scipy import ndimage

    if mask.all():
        return np.ones(mask.shape)
    return np.asarray(np.minimum(1.0, ndimage.distance_transform_edt(mask) / max(width + 1.0, 1.0)))


def matched(patch: Array, own: Array, target: Array, how: Match = "moments") -> Array:
    """`patch` in the light of another picture: (h, w, c), (k, c) what lies around it, (m, c) what will lie around it.

    moments: shifted and scaled to the mean and spread of the target, each channel on its own, by a factor of 1/2 to 2.
    histogram: each value goes where its rank among `own` is among `target`; values beyond them move with the ends."""
    out = np.array(patch, dtype=np.float64)
    if not len(own) or not len(target):
        return out
    for k in range(out.shape[2]):
        a, b = np.asarray(own[:, k], dtype=np.float64), np.asarray(target[:, k], dtype=np.float64)
        if how == "moments":
            gain = np.clip((b.std() + 1.0) / (a.std() + 1.0), 0.5, 2.0)
            out[:, :, k] = (out[:, :, k] - a.mean()) * gain + b.mean()
            continue
        ranks = np.linspace(0, 1, 64)
        low, high = np.quantile(a, ranks), np.quantile(b, ranks)
        steps = np.concatenate([[True], np.diff(low) > 0])
        shown = out[:, :, k]
        moved = np.interp(shown, low[steps], high[steps])
        moved += np.minimum(shown - low[0], 0) + np.maximum(shown - low[-1], 0)
        out[:, :, k] = moved
    return out


class _System:
    """The equations of one mask: how its pixels hang together, factored once.

    ys, xs: (k,) where they lie; links: what each takes from pixels outside the mask."""

    def __init__(self, mask: Array) -> None:
        from scipy import sparse
        from scipy.sparse import linalg

        self.mask = mask
        self.ys, self.xs = np.nonzero(mask)
        k = len(self.ys)
        number = np.full(mask.shape, -1)
        number[self.ys, self.xs] = np.arange(k)
        degree, rows, columns = np.zeros(k), [], []
        self.links: list[tuple[Array, Array, Array]] = []
        for dy, dx in AROUND:
            y, x = self.ys + dy, self.xs + dx
            there = (y >= 0) & (y < mask.shape[0]) & (x >= 0) & (x < mask.shape[1])
            degree += there
            inside = there.copy()
            inside[there] = number[y[there], x[there]] >= 0
            rows.append(np.flatnonzero(inside))
            columns.append(number[y[inside], x[inside]])
            outside = np.flatnonzero(there & ~inside)
            self.links.append((outside, y[outside], x[outside]))
        # A part that covers all the window's neighbours hangs on nothing; a little stiffness keeps it solvable.
        i, j = np.concatenate([np.arange(k), *rows]), np.concatenate([np.arange(k), *columns])
        values = np.concatenate([degree + 1e-9, -np.ones(sum(len(r) for r in rows))])
        matrix = sparse.csc_matrix((values, (i, j)), shape=(k, k))
        self._factor: Any = linalg.splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})

    def border(self, picture: Array) -> Array:
        """What the pixels around pull each equation to: (h, w, c) -> (k, c)."""
        out = np.zeros((len(self.ys), picture.shape[2]))
        for where, y, x in self.links:
            out[where] += picture[y, x]
        return out

    def solve(self, right: Array) -> Array:
        """(k, c) -> (k, c)."""
        return np.asarray(self._factor.solve(np.ascontiguousarray(right, dtype=np.float64)))


@functools.lru_cache(maxsize=KEPT)
def _system(marks: bytes, shape: tuple[int, int]) -> _System:
    return _System(np.frombuffer(marks, dtype=bool).reshape(shape))


def _window(mask: Array) -> tuple[slice, slice]:
    """The mask's box and one pixel around it, as far as the picture goes."""
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(max(0, ys[0] - 1), ys[-1] + 2), slice(max(0, xs[0] - 1), xs[-1] + 2)


def _solved(base: Array, patch: Array, mask: Array) -> Array:
    """The picture whose gradients inside the mask are, link by link, the stronger of the two pictures'."""
    out = base.copy()
    if not mask.any() or mask.all():
        out[mask] = patch[mask]
        return out
    window = _window(mask)
    system, inner, own = _system(mask[window].tobytes(), mask[window].shape), out[window], patch[window]
    right = system.border(inner)
    for dy, dx in AROUND:
        y, x = system.ys + dy, system.xs + dx
        there = (y >= 0) & (y < inner.shape[0]) & (x >= 0) & (x < inner.shape[1])
        a, b = system.ys[there], system.xs[there]
        of_base, of_patch = inner[a, b] - inner[y[there], x[there]], own[a, b] - own[y[there], x[there]]
        stronger = np.abs(of_base).sum(axis=1) > np.abs(of_patch).sum(axis=1)
        right[there] += np.where(stronger[:, None], of_base, of_patch)
    inner[mask[window]] = system.solve(right)
    return out
