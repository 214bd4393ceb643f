"""On which good picture, and where on it, does a defect fit? Where what lies around it there looks as it did here.

All places of many good pictures are compared at once, by Fourier transforms: the sum of squared differences over the ring
around the mask, less what a change of light explains. Of gray and coloured pictures not the pixels are compared, but what a
blur leaves of them and how rough they are: the grain of two surfaces never agrees pixel by pixel, so that by pixels alone the
smoothest surface fits every defect best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from generators.image._patches import Piece

Array = np.ndarray
#: Larger pictures are compared at this side.
SIDE = 64
#: How much a uniform difference of light counts, against one of structure.
LIGHT = 0.15
#: Most good pictures whose spectra are kept in memory.
KEPT = 512
#: A place must show this share of the ring.
SHOWN = 0.5
#: How much a pixel of black and white pictures that touches the mask counts, against one further out: there it shows whether
#: the defect joins on.
SEAM = np.float32(3)
#: Pixels by which surfaces are blurred before they are compared, and over which their roughness is taken; how much a
#: difference of roughness counts against one of brightness.
BLUR, GRAIN, ROUGH = 1.0, 2.0, 4.0
#: What shows this share of it counts as a place within the picture.
WHOLE = 0.999


@dataclass(frozen=True)
class Spot:
    """Where a piece may be laid: the good picture, top and left of the piece in it, and the mean squared difference."""

    ground: int
    top: int
    left: int
    cost: float


class Grounds:
    """Good pictures, ready to be compared: (n, size, size, c) uint8.

    light: how much a uniform difference of light counts, 1 where values must agree as they are."""

    def __init__(self, pixels: Array, light: float = LIGHT) -> None:
        self.pixels, self.light, self.channels = pixels, light, int(pixels.shape[3])
        self.size = int(pixels.shape[1])
        self.by = -(-self.size // SIDE)
        small = _smaller(pixels.astype(np.float32) / 255, self.by)
        self._small = small if light == 1 else np.stack([_looks(one, np.ones(one.shape[:2], dtype=bool)) for one in small])
        self._spectra: dict[int, tuple[Array, Array]] = {}

    def __len__(self) -> int:
        return len(self.pixels)

    def spots(self, piece: Piece, which: Array, away: Array | None = None, most: int = 8, *, slack: float = 0.0) -> list[Spot]:
        """The best places of the good pictures `which`, one on each of at most `most` pictures, best first.

        away: (size, size) how far from where it is wanted the middle of the mask's box would lie, infinite where it may not;
        slack: what a distance of 1 weighs, against the cost. Empty when the piece has no place at all."""
        seen = _Seen.of(piece, self.by, exact=self.light == 1)
        costs, offset = self._costs(seen, which)
        far = self._far(piece, seen, costs.shape[1:], offset, away)
        if not np.isfinite(far).any():
            return []
        flat = np.where(np.isfinite(far), costs, np.inf).reshape(len(costs), -1)
        # Many places fit alike where a surface is even; without a wish the first would win, at the upper left.
        best = (flat + slack * np.where(np.isfinite(far), far, 0).ravel()).argmin(axis=1)
        found = []
        for i in np.argsort(flat[np.arange(len(flat)), best], kind="stable")[:most]:
            if np.isfinite(flat[i, best[i]]):
                y, x = divmod(int(best[i]), costs.shape[2])
                top, left = kept((y - offset[0]) * self.by, (x - offset[1]) * self.by, piece, self.size)
                found.append(Spot(int(which[i]), top, left, float(flat[i, best[i]])))
        return found

    def _costs(self, seen: _Seen, which: Array) -> tuple[Array, tuple[int, int]]:
        """Mean squared difference at each place: (n, places y, places x) in squared shares of white, and what is to be
        subtracted from a place to get the piece's corner (a piece may stick out of the picture, its mask may not)."""
        from scipy import fft

        h, w = seen.weight.shape
        side = self._small.shape[1]
        spread = length(side + max(h, w))
        once, twice = self._of(spread, which)
        weight = spectrum(seen.weight, spread)
        cross = np.stack([spectrum(seen.weighted[:, :, k], spread) for k in range(seen.weighted.shape[2])])
        inside = spectrum(np.ones((side, side)), spread)
        shown = fft.irfft2(inside * np.conj(weight), (spread, spread))
        own = fft.irfft2(inside * np.conj(spectrum(seen.squared, spread)), (spread, spread))
        squares = fft.irfft2((twice * np.conj(weight) - 2 * (once * np.conj(cross)).sum(axis=1)), (spread, spread))
        total = np.maximum(shown, 1e-6)
        costs = (squares + own) / total
        if self.light < 1:
            for k in range(self.channels):
                mine = fft.irfft2(inside * np.conj(cross[k]), (spread, spread))
                gap = (fft.irfft2(once[:, k] * np.conj(weight), (spread, spread)) - mine) / total
                costs -= (1 - self.light) * gap**2
        costs = np.maximum(costs, 0)
        # What lies beyond the border was not compared: it costs what a place costs on average, or defects gather there.
        share = np.clip(shown / seen.weight.sum(), 0, 1)
        usual = costs[:, share >= WHOLE].mean() if (share >= WHOLE).any() else 0.0
        costs = np.where(share >= SHOWN, share * costs + (1 - share) * usual, np.inf)
        over = (h, w)
        return np.roll(costs, over, axis=(1, 2))[:, : side + h, : side + w], over

    def _far(self, piece: Piece, seen: _Seen, shape: tuple[int, ...], offset: tuple[int, int], away: Array | None) -> Array:
        """How far from where it is wanted each place is; infinite unless the whole mask lies in the picture, at the border
        that cut it if one did, and where it may lie, if it can lie there at all."""
        ok = np.ones(shape, dtype=bool)
        side = self._small.shape[1]
        for axis, (start, stop) in enumerate(((seen.top, seen.bottom), (seen.left, seen.right))):
            place = np.arange(shape[axis]) - offset[axis]
            fits = (place + start >= 0) & (place + stop <= side)
            if piece.cut_off[axis]:
                fits &= place + start == 0
            if piece.cut_off[axis + 2]:
                fits &= place + stop == side
            ok &= fits[:, None] if axis == 0 else fits[None, :]
        far = np.where(ok, 0.0, np.inf)
        if away is not None:
            small = away[:: self.by, :: self.by]
            y = np.clip(np.arange(shape[0]) - offset[0] + (seen.top + seen.bottom) // 2, 0, len(small) - 1)
            x = np.clip(np.arange(shape[1]) - offset[1] + (seen.left + seen.right) // 2, 0, len(small) - 1)
            near = far + small[y][:, x]
            far = near if np.isfinite(near).any() else far
        return far

    def _of(self, spread: int, which: Array) -> tuple[Array, Array]:
        """Spectra of good pictures and of their squares; kept where there are few enough."""
        planes = np.moveaxis(self._small, 3, 1)
        if len(planes) > KEPT:
            return _two(planes[which], spread)
        if spread not in self._spectra:
            self._spectra[spread] = _two(planes, spread)
        once, twice = self._spectra[spread]
        return once[which], twice[which]


@dataclass(frozen=True)
class _Seen:
    """The ring of a piece at the side that is compared. weight: (h, w); weighted: (h, w, c) pixels times weight; squared:
    (h, w) squares, over the channels, times weight; top to right: the mask's box."""

    weight: Array
    weighted: Array
    squared: Array
    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def of(cls, piece: Piece, by: int, *, exact: bool) -> _Seen:
        from scipy import ndimage

        weight = (~piece.mask & piece.known).astype(np.float32)
        pixels = piece.surface.astype(np.float32) / 255
        if exact:
            weight *= np.where(ndimage.binary_dilation(piece.mask, np.ones((3, 3))), SEAM, np.float32(1))
            small = _smaller(weight[None, :, :, None], by)[0, :, :, 0]
            weighted = _smaller((pixels * weight[:, :, None])[None], by)[0]
            squared = _smaller(((pixels**2).sum(axis=2) * weight)[None, :, :, None], by)[0, :, :, 0]
        else:
            small = _smaller(weight[None, :, :, None], by)[0, :, :, 0]
            looks = _looks(_smaller(pixels[None], by)[0], small > 0)
            weighted, squared = looks * small[:, :, None], (looks**2).sum(axis=2) * small
        if not small.any():
            small, weighted, squared = small + 1e-3, weighted, squared
        x, y, w, h = piece.box
        return cls(small, weighted, squared, y // by, x // by, -(-(y + h) // by), -(-(x + w) // by))


def _looks(pixels: Array, valid: Array) -> Array:
    """(h, w, c) shares of white -> (h, w, c + 1): blurred, and the deviation of the finest texture where it is valid."""
    from scipy import ndimage

    low = ndimage.gaussian_filter(pixels, (BLUR, BLUR, 0))
    fine = ((pixels - low) ** 2).mean(axis=2) * valid
    seen = np.maximum(ndimage.gaussian_filter(valid.astype(np.float32), GRAIN), 1e-3)
    rough = np.sqrt(np.maximum(ndimage.gaussian_filter(fine, GRAIN) / seen, 0))
    return np.concatenate([low, ROUGH * rough[:, :, None]], axis=2, dtype=np.float32)


def _smaller(pixels: Array, by: int) -> Array:
    """(n, h, w, c) -> means of by x by, edges filled up with themselves."""
    if by == 1:
        return pixels
    n, h, w, c = pixels.shape
    full = np.pad(pixels, ((0, 0), (0, -h % by), (0, -w % by), (0, 0)), mode="edge")
    return np.asarray(full.reshape(n, full.shape[1] // by, by, full.shape[2] // by, by, c).mean(axis=(2, 4)))


def _two(planes: Array, spread: int) -> tuple[Array, Array]:
    return spectrum(planes, spread), spectrum((planes**2).sum(axis=1), spread)


def spectrum(values: Array, spread: int) -> Any:
    """The Fourier transform of real (..., h, w), filled up with zeros to spread x spread."""
    from scipy import fft

    return fft.rfft2(np.asarray(values, dtype=np.float32), (spread, spread))


def length(least: int) -> int:
    """A length of transforms that few sets of pictures need several of."""
    return -(-least // 32) * 32


def kept(top: int, left: int, piece: Piece, size: int) -> tuple[int, int]:
    """The corner moved as little as lets the whole mask lie in the picture, at the border that cut it if one did."""
    x, y, w, h = piece.box
    out = []
    for at, start, extent, axis in ((top, y, h, 0), (left, x, w, 1)):
        low, high = -start, max(-start, size - start - extent)
        low, high = (low, low) if piece.cut_off[axis] else (high, high) if piece.cut_off[axis + 2] else (low, high)
        out.append(int(np.clip(at, low, high)))
    return out[0], out[1]
