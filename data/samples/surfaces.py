"""Which pictures show what a defect dataset must survive? Brushed metal with scratches, pits and stains, drawn here.

Every class has known modes with stated shares and every defect an exact mask: outside it the picture is the one that the
flawless part would have given, byte for byte. One to three pictures show one part, that is one piece of brushed texture,
so that rows of a group must not be divided. Good parts carry what looks a little like a defect: dust, deeper strokes of
the brush, faint patches, reflections of the lamp. Each picture has a stream of random numbers of its own: how many
pictures of another class are drawn changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from data.errors import DataError
from data.images import batch, chunks
from data.samples import _brushed, _flaws
from data.samples._brushed import Sheet, View

Array = np.ndarray
Colour = Literal["gray", "rgb"]

NORMAL = "normal"
COUNTS: Mapping[str, int] = {"normal": 300, "scratch": 120, "pit": 20, "stain": 120}
#: Each class's modes and the share of its pictures that show them.
MODES: Mapping[str, Mapping[str, float]] = {
    "normal": {"horizontal": 0.5, "vertical": 0.3, "cross": 0.2},
    "scratch": {"long": 0.6, "short": 0.4},
    "pit": {"single": 0.65, "cluster": 0.35},
    "stain": {"round": 0.6, "drip": 0.4},
}
#: Shares of parts that are photographed once, twice and three times.
VIEWS = (0.5, 0.3, 0.2)
SIZES = (32, 256)

#: From this change on, in gray levels, a pixel belongs to the defect.
VISIBLE = 2.0
#: How much of a change each channel takes: a stain is brown, so blue loses most.
NEUTRAL, BROWN = np.ones(3), np.array([0.72, 1.0, 1.34])
#: Steps of two sequences that fill the unit interval evenly, alone and together (Roberts 2018, of the plastic number).
STEP = (0.7548776662466927, 0.5698402909980532)
ROWS = 64


def modes(name: str | None = None) -> dict[str, dict[str, float]]:
    """The modes of each class with their shares, or those of one class alone; `mode` tells which a picture shows.

    Raises DataError for an unknown class."""
    if name is not None and name not in MODES:
        raise DataError(f"surfaces have no class {name!r}; the classes are {', '.join(MODES)}")
    return {level: dict(MODES[level]) for level in ([name] if name else MODES)}


def mode(source: str) -> str:
    """The mode that the `source` text of a picture names: "surfaces/pit/cluster/vertical/17" -> "cluster".

    Raises DataError for a text that `draw` did not write."""
    parts = source.split("/")
    if len(parts) != 5 or parts[0] != "surfaces" or parts[2] not in MODES.get(parts[1], {}):
        raise DataError(f"{source!r} does not name a drawn surface; it must read surfaces/<class>/<mode>/<brushing>/<number>")
    return parts[2]


def draw(counts: Mapping[str, int] = COUNTS, size: int = 64, seed: int = 0, colour: Colour = "gray") -> pa.Table:
    """Pictures of surfaces as a table with the columns of `data.images.schema`, class by class.

    counts: pictures a class, of normal, scratch, pit, stain; size: pixels a side, 32 to 256. A class named twice as large
    begins with the pictures of the smaller one. Raises DataError for an unknown class, size or colour, or no picture."""
    _check(counts, size, colour)
    parts = [part for name in MODES for part in _batches(name, int(counts.get(name, 0)), size=size, seed=seed, colour=colour)]
    return pa.Table.from_batches(parts)


def _check(counts: Mapping[str, int], size: int, colour: str) -> None:
    for name, count in counts.items():
        modes(name)
        if count < 0:
            raise DataError(f"counts: {name!r} must be 0 or more pictures, not {count}")
    if not sum(counts.values()):
        raise DataError("counts asks for no picture at all; give at least one class a few")
    if not SIZES[0] <= size <= SIZES[1]:
        raise DataError(f"surfaces are drawn at {SIZES[0]} to {SIZES[1]} pixels a side, not at {size}; change size")
    if colour not in ("gray", "rgb"):
        raise DataError(f"surfaces are drawn gray or rgb, not {colour!r}; change colour")


@dataclass(frozen=True)
class _Shot:
    """What the i-th picture of a class shows: its part, its mode, the brushing of the part."""

    name: str
    number: int
    part: int
    mode: str
    brushing: str

    @property
    def source(self) -> str:
        return f"surfaces/{self.name}/{self.mode}/{self.brushing}/{self.number}"

    @property
    def group(self) -> str:
        return f"{self.name}-part-{self.part:05d}"


def _shots(name: str, count: int, seed: int) -> list[_Shot]:
    """The first `count` pictures of a class. Modes come at even steps, so that also few pictures hold their shares."""
    rng = np.random.default_rng(_stream(seed, name, 0, 0))
    start = rng.random(2)
    # Part after part, so that the first pictures stay the same however many follow.
    views = np.searchsorted(np.cumsum(VIEWS)[:-1], rng.random(count), side="right") + 1
    parts = np.repeat(np.arange(count), views)[:count]
    shots = []
    for i, part in enumerate(parts):
        brushing = _pick(MODES[NORMAL], start[0] + part * STEP[0])
        own = brushing if name == NORMAL else _pick(MODES[name], start[1] + i * STEP[1])
        shots.append(_Shot(name, i, int(part), own, brushing))
    return shots


def _pick(shares: Mapping[str, float], at: float) -> str:
    place = np.searchsorted(np.cumsum(list(shares.values()))[:-1], at % 1.0, side="right")
    return list(shares)[int(place)]


def _stream(seed: int, name: str, kind: int, number: int) -> list[int]:
    """The seed of one stream: kind 0 a class, 1 a part, 2 a picture."""
    return [seed % 2**63, list(MODES).index(name), kind, number]


def _batches(name: str, count: int, *, size: int, seed: int, colour: Colour) -> Iterator[pa.RecordBatch]:
    shots = _shots(name, count, seed)
    for start, stop in chunks(count, ROWS):
        some = shots[start:stop]
        drawn = [_picture(shot, size, seed, colour) for shot in some]
        yield batch(
            np.stack([pixels for pixels, _ in drawn]),
            [name] * len(some),
            masks=[mask for _, mask in drawn],
            names=[f"{name}_{shot.number:05d}" for shot in some],
            groups=[shot.group for shot in some],
            sources=[shot.source for shot in some],
            seeds=[seed] * len(some),
        )


def _picture(shot: _Shot, size: int, seed: int, colour: Colour, *, flawless: bool = False) -> tuple[Array, Array]:
    """Pixels (size, size, 1 or 3) uint8 and mask (size, size) bool; flawless: as it would be without its defect."""
    part = _brushed.sheet(np.random.default_rng(_stream(seed, shot.name, 1, shot.part)), shot.brushing, size)
    rng = np.random.default_rng(_stream(seed, shot.name, 2, shot.number))
    look = _brushed.view(rng, part, size)
    lit = _brushed.light(look, part, size)
    relief = _brushed.seen(look, part, size)
    levels = lit * (part.tone * (1.0 + part.contrast * relief) + _harmless(rng, part, size))
    grain = rng.standard_normal((size, size, 1 if colour == "gray" else 3)) * look.noise * np.sqrt(levels / 150.0)[:, :, None]
    change = lit * _flaw(rng, shot, part, look, relief, size)
    mask = _touched(change)
    shown = np.zeros((size, size)) if flawless else np.where(mask, change, 0.0)
    if colour == "gray":
        value = (levels + shown)[:, :, None]
    else:
        weights = BROWN if shot.name == "stain" else NEUTRAL
        value = levels[:, :, None] * part.tint + shown[:, :, None] * weights
    return np.clip(np.round(value + grain), 0, 255).astype(np.uint8), mask


def _touched(change: Array) -> Array:
    """The pixels of a defect: where its change can be seen, and what lies between a bright wall and a dark one."""
    from scipy import ndimage

    strongest = np.abs(change).max()
    if not strongest:
        return np.zeros(change.shape, dtype=bool)
    visible = np.abs(change) >= min(VISIBLE, 0.5 * strongest)
    reach = max(1, round(change.shape[0] / 64))
    closed = ndimage.binary_closing(np.pad(visible, reach), np.ones((3, 3)), iterations=reach)[reach:-reach, reach:-reach]
    return np.asarray(ndimage.binary_fill_holes(visible | closed))


def _harmless(rng: np.random.Generator, part: Sheet, size: int) -> Array:
    """What every surface has and nobody minds, in levels: dust, deeper strokes, faint patches."""
    out = np.zeros((size, size))
    for _ in range(int(rng.poisson(2.2))):
        out += _flaws.speck(rng, size)
    for _ in range(int(rng.poisson(1.0))):
        out += _flaws.mark(rng, size, along=part.along)
    for _ in range(int(rng.poisson(0.8))):
        out += _flaws.smudge(rng, size)
    return out


def _flaw(rng: np.random.Generator, shot: _Shot, part: Sheet, look: View, relief: Array, size: int) -> Array:
    if shot.name == "scratch":
        return _flaws.scratch(rng, shot.mode, size, azimuth=look.azimuth, along=part.along)
    if shot.name == "pit":
        return _flaws.pit(rng, shot.mode, size, azimuth=look.azimuth)
    if shot.name == "stain":
        return _flaws.stain(rng, shot.mode, size, relief, part.tone * part.contrast)
    return np.zeros((size, size))


def contact_sheet(path: Path, *, size: int = 128, seed: int = 4, across: int = 8) -> Path:
    """One row of pictures a class, the pixels of each mask outlined, as a small PNG for a page about them."""
    from PIL import Image, ImageDraw
    from scipy import ndimage

    gap, head = 4, 16
    side = size + gap
    page = Image.new("RGB", (across * side + gap, len(MODES) * (side + head) + gap), "white")
    for row, name in enumerate(MODES):
        top = row * (side + head) + head
        ImageDraw.Draw(page).text((gap, top - head + 3), f"{name}: {', '.join(MODES[name])}", fill=(60, 60, 60))
        for column, shot in enumerate(_shots(name, across, seed)):
            pixels, mask = _picture(shot, size, seed, "gray")
            shown = np.repeat(pixels, 3, axis=2) // 6 * 6  # fewer grays, a smaller file
            shown[ndimage.binary_dilation(mask, iterations=3) & ~ndimage.binary_dilation(mask, iterations=2)] = (255, 140, 0)
            page.paste(Image.fromarray(shown), (gap + column * side, top))
    page.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


if __name__ == "__main__":
    contact_sheet(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/surfaces.png"))
