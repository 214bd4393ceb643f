"""What happens to a brushed surface, and which pixels does it change?

Every function gives the change in gray levels, (size, size), for a surface lit with strength 1. Lengths are in units of
1/64 of a picture's side (`_brushed.SIDE`); angles in radians, x to the right and y down."""

from __future__ import annotations

import numpy as np

from data.samples._brushed import SIDE, cloud, grid

Array = np.ndarray


def scratch(rng: np.random.Generator, mode: str, size: int, *, azimuth: float, along: float) -> Array:
    """A groove with one dark and one bright wall: "long" and almost straight, or "short" and curved."""
    pixel = SIDE / size
    if mode == "long":
        length, bow = rng.uniform(30.0, 68.0), rng.normal(0.0, 0.03)
        width = max(rng.uniform(0.55, 1.05), 0.55 * pixel)
    else:
        length, bow = rng.uniform(10.0, 20.0), rng.choice([-1.0, 1.0]) * rng.uniform(0.14, 0.34)
        width = max(rng.uniform(0.5, 0.95), 0.55 * pixel)
    # Along the brushing a scratch would be one more groove.
    angle = along + rng.choice([-1.0, 1.0]) * rng.uniform(0.22, np.pi / 2)
    room = min(0.45 * length, 20.0)  # a long one may run out of the picture
    centre = rng.uniform(room, SIDE - room, 2)
    return _groove(rng, size, centre, angle, length, bow, width, azimuth, depth=rng.uniform(22.0, 52.0))


def _groove(
    rng: np.random.Generator, size: int, centre: Array, angle: float, length: float, bow: float, width: float,
    azimuth: float, *, depth: float,
) -> Array:  # fmt: skip
    x, y = grid(size)
    dx, dy = x - centre[0], y - centre[1]
    a = (dx * np.cos(angle) + dy * np.sin(angle)) / length  # -0.5 .. 0.5 from end to end
    b = dy * np.cos(angle) - dx * np.sin(angle)
    bend = rng.normal(0.0, 0.25) * bow
    course = length * (bow * (0.25 - a**2) * 4 + bend * a * (0.25 - a**2) * 10)
    slope = -8 * bow * a + bend * 10 * (0.25 - 3 * a**2)
    d = (b - course) / np.sqrt(1.0 + slope**2) / width
    # The depth swells and fades along the way, as the hand or the chip that made it did.
    phases, rates = rng.uniform(0, 2 * np.pi, 3), rng.uniform(1.0, 6.0, 3)
    wander = sum(np.cos(2 * np.pi * rate * a + phase) for rate, phase in zip(rates, phases, strict=True)) / 3
    inside = np.clip(1.0 - 4 * a**2, 0.0, None)
    strength = depth * np.minimum(1.0, 1.8 * inside) * np.clip(0.72 + 0.5 * wander, 0.08, None)
    wall = np.exp(-(d**2))
    # Light from across the groove makes one wall bright, the other dark.
    facing = (np.arctan(slope) + angle) + np.pi / 2
    lit = np.cos(facing - azimuth)
    core = rng.choice([-1.0, 1.0], p=[0.6, 0.4]) * rng.uniform(0.55, 1.0)
    return np.asarray(strength * wall * (core - 1.7 * d * lit))


def pit(rng: np.random.Generator, mode: str, size: int, *, azimuth: float) -> Array:
    """Small holes with a dark ground, a wall lit from one side and a raised rim: a "single" one or a "cluster"."""
    if mode == "single":
        centre = rng.uniform(5.0, SIDE - 5.0, 2)
        return _hole(rng, size, centre, rng.uniform(1.5, 3.0), azimuth, rng.uniform(16.0, 44.0))
    centre, spread, strength = rng.uniform(10.0, SIDE - 10.0, 2), rng.uniform(2.8, 5.5), rng.uniform(14.0, 36.0)
    out = np.zeros((size, size))
    for _ in range(int(rng.integers(3, 8))):
        place = np.clip(centre + rng.normal(0.0, spread, 2), 3.0, SIDE - 3.0)
        hole = _hole(rng, size, place, rng.uniform(0.9, 1.9), azimuth, strength * rng.uniform(0.7, 1.1))
        out = np.where(np.abs(hole) > np.abs(out), hole, out)
    return out


def _hole(rng: np.random.Generator, size: int, centre: Array, radius: float, azimuth: float, strength: float) -> Array:
    x, y = grid(size)
    radius = max(radius, 0.85 * SIDE / size)
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.45)
    dx, dy = x - centre[0], y - centre[1]
    p = (dx * np.cos(turn) + dy * np.sin(turn)) / stretch
    q = dy * np.cos(turn) - dx * np.sin(turn)
    angle = np.arctan2(dy, dx)
    ragged = 1.0 + 0.10 * np.cos(2 * angle + rng.uniform(0, 6.3)) + 0.08 * np.cos(3 * angle + rng.uniform(0, 6.3))
    d = np.hypot(p, q) / (radius * ragged)
    bowl = np.where(d < 1.0, 4 * d * (1.0 - np.minimum(d, 1.0) ** 2), 0.0)
    rim = -1.2 * (d - 1.2) * np.exp(-(((d - 1.2) / 0.28) ** 2))
    towards = np.cos(angle - azimuth)
    ground = np.exp(-((d / 0.72) ** 4))
    lip = np.exp(-(((d - 1.18) / 0.22) ** 2)) * (0.18 + 0.42 * np.clip(-towards, 0.0, None))
    return np.asarray(strength * (-0.62 * (bowl + rim) * towards - ground + lip))


def stain(rng: np.random.Generator, mode: str, size: int, relief: Array, contrast: float) -> Array:
    """A dried film, darker at its edge, that dulls the metal under it: "round", or a "drip" that ran down.

    relief: (size, size), what the film lies on; contrast: how strongly that shows, in levels."""
    x, y = grid(size)
    pixel = SIDE / size
    edge = cloud(rng, size, 4.5 / pixel)
    mottle = cloud(rng, size, 2.2 / pixel)
    if mode == "round":
        radius = rng.uniform(4.5, 12.5)
        centre = rng.uniform(radius * 0.6, SIDE - radius * 0.6, 2)
        turn, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.5)
        dx, dy = x - centre[0], y - centre[1]
        p = (dx * np.cos(turn) + dy * np.sin(turn)) / stretch
        q = dy * np.cos(turn) - dx * np.sin(turn)
        away = np.hypot(p, q) - radius
        rough = 0.16 * radius
    else:
        radius, away = _drip(rng, size)
        rough = 0.22 * radius
    away = away + rough * edge
    soft = rng.uniform(0.5, 1.3)
    film = 1.0 / (1.0 + np.exp(np.clip(away / soft, -30, 30)))
    width = rng.uniform(0.9, 1.6)
    ring = np.exp(-(((away + width) / width) ** 2))
    inner = np.exp(-(((away + 0.45 * radius) / (1.2 * width)) ** 2))
    dark, rest = rng.uniform(12.0, 34.0), rng.uniform(6.0, 22.0)
    change = -dark * film * (0.8 + 0.22 * mottle) - rest * ring * (0.8 + 0.3 * edge) - 0.25 * rest * inner
    return np.asarray(change - 0.45 * contrast * relief * film)


def _drip(rng: np.random.Generator, size: int) -> tuple[float, Array]:
    """Radius of the head of a drip, and how far each pixel is outside it, in units (inside: negative)."""
    x, y = grid(size)
    radius, run = rng.uniform(3.2, 6.0), rng.uniform(14.0, 34.0)
    top = np.array([rng.uniform(6.0, SIDE - 6.0), rng.uniform(2.0, SIDE - 0.75 * run)])
    t = np.linspace(0.0, 1.0, 18)
    sway = rng.normal(0.0, 1.6) * t + rng.normal(0.0, 1.2) * np.sin(np.pi * t)
    neck, bulb = rng.uniform(0.28, 0.5), rng.uniform(0.4, 0.7)
    radii = radius * (neck + (1 - neck) * np.exp(-((t / 0.22) ** 2)) + (bulb - neck) * np.exp(-(((t - 1.0) / 0.16) ** 2)))
    away = np.stack([np.hypot(x - top[0] - s, y - top[1] - run * k) - r for s, k, r in zip(sway, t, radii, strict=True)])
    # A smooth union: where two discs meet there is no notch.
    return radius, -0.7 * np.log(np.exp(np.clip(-away / 0.7, -40, 40)).sum(axis=0) / 1.6)


def speck(rng: np.random.Generator, size: int) -> Array:
    """Dust: a dot that is dark or bright all through, without ground and rim."""
    x, y = grid(size)
    centre = rng.uniform(1.0, SIDE - 1.0, 2)
    width = max(rng.uniform(0.55, 1.5), 0.6 * SIDE / size)
    sign = rng.choice([-1.0, 1.0], p=[0.7, 0.3])
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 2.2)
    dx, dy = x - centre[0], y - centre[1]
    p = (dx * np.cos(turn) + dy * np.sin(turn)) / stretch
    q = dy * np.cos(turn) - dx * np.sin(turn)
    return np.asarray(sign * rng.uniform(8.0, 34.0) * np.exp(-((p**2 + q**2) / width**2)))


def mark(rng: np.random.Generator, size: int, *, along: float) -> Array:
    """A stroke of the brush that went a little deeper than the others, in their direction: nothing is wrong with it."""
    x, y = grid(size)
    angle = along + rng.normal(0.0, 0.05)
    centre, length = rng.uniform(0.0, SIDE, 2), rng.uniform(12.0, 50.0)
    width = max(rng.uniform(0.4, 0.9), 0.55 * SIDE / size)
    dx, dy = x - centre[0], y - centre[1]
    a = (dx * np.cos(angle) + dy * np.sin(angle)) / (length / 2)
    d = (dy * np.cos(angle) - dx * np.sin(angle)) / width
    strength = rng.choice([-1.0, 1.0]) * rng.uniform(5.0, 20.0)
    return np.asarray(strength * np.exp(-(d**2)) * np.clip(1.0 - a**2, 0.0, None))


def smudge(rng: np.random.Generator, size: int) -> Array:
    """A breath of uneven light: a wide, faint patch without an edge."""
    x, y = grid(size)
    centre, wide, tall = rng.uniform(0.0, SIDE, 2), rng.uniform(6.0, 16.0), rng.uniform(6.0, 16.0)
    shape = np.exp(-(((x - centre[0]) / wide) ** 2) - ((y - centre[1]) / tall) ** 2)
    return np.asarray(rng.choice([-1.0, 1.0], p=[0.7, 0.3]) * rng.uniform(2.0, 11.0) * shape)
