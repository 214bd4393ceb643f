"""What does a brushed sheet of metal look like before anything is wrong with it?

Lengths are in units of 1/64 of a picture's side, so that the same part can be taken at any resolution; gray values in
levels of 0..255."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Array = np.ndarray
#: Units along one side of a picture.
SIDE = 64.0
#: A part is larger than what one picture of it shows, by this factor.
CANVAS = 1.25

#: Layers of streaks: weight, length along the brushing, width across it (0: as fine as the camera resolves).
STREAKS = ((0.55, 10.0, 0.0), (0.50, 26.0, 0.45), (0.45, 60.0, 1.2), (0.35, 45.0, 4.0))
#: Single grooves: the same, of sparse excitation.
GROOVES = (0.75, 34.0, 0.25)
#: Standard deviation of the lens's blur, in pixels.
LENS = 0.42


@dataclass(frozen=True)
class Sheet:
    """One part: `relief` (n, n) around 0 with unit spread; `along`, the direction of its brushing in radians; its gray
    value `tone`; how strongly the relief shows, `contrast`, as a share of the tone; `tint` (3,), red to blue around 1."""

    relief: Array
    along: float
    tone: float
    contrast: float
    tint: Array


@dataclass(frozen=True)
class View:
    """One look at a part: its corner `top`, `left` in pixels; the light from `azimuth` (radians), how it falls off to one side
    (`slope`) and to the corners (`vignette`); the exposure `gain`; the reflection `band`, its place and width in units and its
    strength; the spread `noise` of a pixel, in levels."""

    top: int
    left: int
    azimuth: float
    slope: float
    vignette: float
    gain: float
    band: tuple[float, float, float]
    noise: float


def sheet(rng: np.random.Generator, brushing: str, size: int) -> Sheet:
    """A part brushed "horizontal", "vertical" or "cross", as a camera of `size` pixels a picture sees it."""
    n = canvas(size)
    turn = rng.normal(0.0, 0.035)
    if brushing == "cross":
        half = rng.uniform(0.55, 0.95)
        relief = (_strokes(rng, n, size, turn + half) + rng.uniform(0.6, 1.0) * _strokes(rng, n, size, turn - half)) / 1.3
    else:
        relief = _strokes(rng, n, size, turn + (np.pi / 2 if brushing == "vertical" else 0.0))
    # Deep grooves are darker than the ridges between them are bright.
    relief = 3.2 * np.tanh((relief - 0.08 * (relief**2 - 1.0)) / 3.2)
    warm = rng.normal(0.0, 0.012)
    return Sheet(
        relief=relief,
        along=turn + (np.pi / 2 if brushing == "vertical" else 0.0),
        tone=rng.uniform(118.0, 178.0),
        contrast=rng.uniform(0.045, 0.095),
        tint=np.array([1.0 + warm, 1.0, 1.0 - warm + 0.012]),
    )


def view(rng: np.random.Generator, part: Sheet, size: int) -> View:
    """A look at a part from a camera and a lamp that are never quite where they were."""
    room = part.relief.shape[0] - size
    strong = rng.random() < 0.45
    return View(
        top=int(rng.integers(room + 1)),
        left=int(rng.integers(room + 1)),
        azimuth=rng.uniform(0.0, 2 * np.pi),
        slope=rng.uniform(0.04, 0.26),
        vignette=rng.uniform(0.03, 0.16),
        gain=rng.normal(1.0, 0.03),
        band=(rng.uniform(4.0, 60.0), rng.uniform(5.0, 14.0), rng.uniform(0.08, 0.24) if strong else rng.uniform(0.0, 0.05)),
        noise=rng.uniform(1.0, 2.2),
    )


def light(look: View, part: Sheet, size: int) -> Array:
    """How much light reaches each pixel, around 1: (size, size). The reflection of a lamp on brushed metal is drawn out
    across the brushing."""
    x, y = grid(size)
    u, v = x / SIDE - 0.5, y / SIDE - 0.5
    falloff = 1.0 + look.slope * (u * np.cos(look.azimuth) + v * np.sin(look.azimuth)) - look.vignette * (u**2 + v**2)
    where, width, strength = look.band
    a = (x - SIDE / 2) * np.cos(part.along) + (y - SIDE / 2) * np.sin(part.along) + SIDE / 2
    return np.asarray(look.gain * falloff * (1.0 + strength * np.exp(-(((a - where) / width) ** 2))))


def seen(look: View, part: Sheet, size: int) -> Array:
    """The relief that the picture shows: (size, size)."""
    return part.relief[look.top : look.top + size, look.left : look.left + size]


def canvas(size: int) -> int:
    """Pixels along one side of a part."""
    return 2 * round(size * CANVAS / 2)


@lru_cache(maxsize=8)
def grid(size: int) -> tuple[Array, Array]:
    """Places x (1, size) and y (size, 1) of the centres of the pixels, in units."""
    at = (np.arange(size) + 0.5) * (SIDE / size)
    return at[None, :], at[:, None]


def cloud(rng: np.random.Generator, n: int, length: float) -> Array:
    """Smooth noise of unit spread, (n, n), whose patches are `length` pixels wide."""
    fx, fy = _frequencies(n)
    return _filtered(rng.standard_normal((n, n)), np.exp(-2 * np.pi**2 * length**2 * (fx**2 + fy**2)))


def _strokes(rng: np.random.Generator, n: int, size: int, angle: float) -> Array:
    """Brushing in one direction: streaks of several lengths and widths, and single grooves. (n, n), unit spread."""
    fx, fy = _frequencies(n)
    a, c = fx * np.cos(angle) + fy * np.sin(angle), fy * np.cos(angle) - fx * np.sin(angle)
    lens = np.exp(-2 * np.pi**2 * LENS**2 * (fx**2 + fy**2))
    per_unit = size / SIDE
    out = np.zeros((n, n))
    for weight, length, width in STREAKS:
        long, wide = length * per_unit / 2, width * per_unit
        out += weight * _filtered(
            rng.standard_normal((n, n)), lens * np.exp(-2 * np.pi**2 * ((long * a) ** 2 + (wide * c) ** 2))
        )
    weight, length, width = GROOVES
    # A fifth power has few large values: each becomes a groove of its own. Its spread is sqrt(945).
    sparse = rng.standard_normal((n, n)) ** 5 / np.sqrt(945.0)
    long, wide = length * per_unit / 2, width * per_unit
    out += weight * _filtered(sparse, lens * np.exp(-2 * np.pi**2 * ((long * a) ** 2 + (wide * c) ** 2)))
    return np.asarray(out / np.sqrt(sum(w**2 for w, _, _ in STREAKS) + weight**2))


def _filtered(noise: Array, response: Array) -> Array:
    """White noise (n, n) through a filter (n, n // 2 + 1), scaled so that noise of unit spread keeps it."""
    n = noise.shape[0]
    weight = np.full(response.shape[1], 2.0)
    weight[0] = weight[-1] = 1.0
    power = (response**2 * weight).sum() / n**2
    return np.asarray(np.fft.irfft2(np.fft.rfft2(noise) * (response / np.sqrt(power)), s=noise.shape))


@lru_cache(maxsize=8)
def _frequencies(n: int) -> tuple[Array, Array]:
    return np.fft.rfftfreq(n)[None, :], np.fft.fftfreq(n)[:, None]
