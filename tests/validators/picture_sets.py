"""Drawn pictures that tests of the gate on pictures share: grain with pits and lines whose modes are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import gate_pictures_trials as trials
from data.dataset import Dataset
from data.images import Pictures, batch, schema
from validators.base import Evidence, Finding, Intent
from validators.judge import run
from validators.pictures import picture_checks, prepare_pictures

Array = np.ndarray
SIZE = 24
CLASSES = ("normal", "pit", "line")
#: Modes of each class with their shares; `sources` names that of a picture.
MODES: Mapping[str, Mapping[str, float]] = {
    "normal": {"even": 0.6, "brushed": 0.4},
    "pit": {"wide": 0.6, "narrow": 0.4},
    "line": {"long": 1.0},
}


def made(
    counts: Mapping[str, int], seed: int, *, size: int = SIZE, channels: int = 1, masked: bool | tuple[str, ...] = True,
    classes: tuple[str, ...] = CLASSES, without: str | None = None,
) -> Pictures:  # fmt: skip
    """So many pictures of each class; masked: whether, or of which classes, masks are known; without: a mode not drawn."""
    rng = np.random.default_rng([seed, 7])
    names = [name for name, n in counts.items() for _ in range(n)]
    modes = [_mode(name, rng, without) for name in names]
    drawn = [_drawn(mode, size, channels, rng) for mode in modes]
    known = np.array([masked if isinstance(masked, bool) else name in masked or name == "normal" for name in names])
    masks = np.stack([mask for _, mask in drawn]) & known[:, None, None]
    labels = np.array([classes.index(name) for name in names], dtype=np.int64)
    return Pictures(np.stack([p for p, _ in drawn]), masks, known, labels, classes, sources=tuple(modes))


def _mode(name: str, rng: np.random.Generator, without: str | None) -> str:
    shares = {mode: share for mode, share in MODES[name].items() if mode != without}
    return str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))


def _drawn(mode: str, size: int, channels: int, rng: np.random.Generator) -> tuple[Array, Array]:
    y, x = np.mgrid[:size, :size]
    tone = rng.uniform(110, 150)
    grain = rng.normal(0, 9, (size, size, 1))
    if mode == "brushed":
        grain = np.repeat(rng.normal(0, 16, (size, 1, 1)), size, axis=1) + 0.4 * grain
    picture = tone + grain + np.arange(channels) * 12.0
    mask = np.zeros((size, size), dtype=bool)
    if mode in ("wide", "narrow"):
        radius = rng.uniform(4.4, 5.6) if mode == "wide" else rng.uniform(1.6, 2.2)
        cy, cx = rng.uniform(radius + 1, size - radius - 1, 2)
        away = np.hypot(y - cy, x - cx)
        mask = away <= radius
        picture[mask] -= (rng.uniform(45, 75) * (1 - 0.4 * away / radius))[mask][:, None]
    if mode == "long":
        angle, middle = rng.uniform(0, np.pi), rng.uniform(8, size - 8, 2)
        along = (x - middle[1]) * np.cos(angle) + (y - middle[0]) * np.sin(angle)
        across = (y - middle[0]) * np.cos(angle) - (x - middle[1]) * np.sin(angle)
        mask = (np.abs(across) < 0.9) & (np.abs(along) < rng.uniform(5, 9))
        picture[mask] += 60
    return np.clip(np.round(picture), 0, 255).astype(np.uint8), mask


def even(n: int) -> dict[str, int]:
    """So many of each class."""
    return dict.fromkeys(CLASSES, n)


def dataset(held: Pictures) -> Dataset:
    """The pictures as a dataset, as `counterpoise` hands them to the gate."""
    rows = batch(
        held.pixels, [held.classes[k] for k in held.labels],
        masks=[mask if known else None for mask, known in zip(held.masks, held.masked, strict=True)],
        names=[f"p{i}" for i in range(len(held))], sources=list(held.sources) or None, groups=list(held.groups) or None,
    )  # fmt: skip
    return Dataset(pa.Table.from_batches([rows]), schema(held.classes))


def evidence(train: Pictures, holdout: Pictures, synthetic: Pictures | Dataset, **intent: Any) -> Evidence:
    drawn = synthetic if isinstance(synthetic, Dataset) else dataset(synthetic)
    return prepare_pictures(dataset(train), dataset(holdout), drawn, intent=Intent(**({"detect": 1.0} | intent)))


def findings(given: Evidence) -> dict[str, Finding]:
    """What each check of the gate says but utility; an ERROR fails the test."""
    found = {check.name: run(check, given) for check in picture_checks(utility="off")}
    assert {name: f.summary for name, f in found.items() if f.verdict == "ERROR"} == {}
    return found


def blocked(given: Evidence) -> set[str]:
    return {name for name, finding in findings(given).items() if finding.verdict == "BLOCK"}


def changed(held: Pictures, how: str, seed: int = 0) -> Pictures:
    """The pictures a little changed: f mirrored, s shifted by a pixel, b lit otherwise, n with noise."""
    return trials.changed(held, how, np.random.default_rng([seed, 11]), trials.Strength((-1, 1), gain=0.08, gray=12, noise=3))
