"""Which sounds does a folder hold, and of which class is each? WAV, FLAC and what else libsndfile reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data.errors import DataError
from data.sources._folders import role
from data.sources._found import files_below, told
from data.sources._series_cut import Cut, table_of
from data.sources._series_events import Events
from data.sources._series_lines import Line, is_count, seconds

Array = np.ndarray
ENDINGS = frozenset(".wav .wave .flac .ogg .aif .aiff .au".split())
#: Names of the channels, by how many there are; others are numbered.
CHANNELS = {1: ("sound",), 2: ("left", "right")}
#: Readings of a file up to which it is a window whole, where no length is stated; else windows last a second.
WHOLE = 16_384


@dataclass(frozen=True)
class Sound:
    """One file. readings: (n, channels) float32, -1 to 1; rate: readings a second."""

    name: str
    level: str | None
    readings: Array
    rate: int


def read(
    path: str | Path,
    *,
    rate: int | None = None,
    mono: bool | None = None,
    length: int | str | None = None,
    stride: int | str | None = None,
    strict: bool = False,
    few: bool = False,
) -> pa.Table:
    """The sounds of a folder, or of one file, as windows in a table that `data.windows.description` describes.

    The first folder below `path` is the class of its files, a file is an entity. rate: readings a second that all are brought
    to; the least of the files if None. mono: mix channels down; if None, where files differ in how many they have. length,
    stride: readings, or a span as "0.5s"; whole files if these are short, else a second; and half of length. strict: refuse
    what cannot be read in place of listing it. few: one class will do.

    Raises DataError, one sentence, for no such path, no sound, files shorter than a window, and a missing soundfile."""
    root = Path(path)
    said: list[str] = []
    sounds = _loaded(root, said, strict=strict)
    sounds = _of_classes(sounds, said)
    sounds = _channels_alike(sounds, mono, said, str(path))
    sounds, every = _rates_alike(sounds, rate, said)
    length = _length(sounds, every, length, said)
    names = CHANNELS.get(sounds[0].readings.shape[1]) or tuple(f"channel {c + 1}" for c in range(sounds[0].readings.shape[1]))
    lines = [Line(s.name, np.arange(len(s.readings)) / every, s.readings.T.astype(np.float64), level=s.level) for s in sounds]
    cut = Cut(length, stride, few=few)
    classed = Events(()) if any(s.level is not None for s in sounds) else None
    return table_of(lines, names, ((),) * len(names), 1 / every, cut, classed, said, origin=str(path))


def sounds_below(folder: Path) -> list[Path]:
    """The files of sound in a folder and its folders but the hidden ones, in the order of their names."""
    found = (p for p in files_below(folder) if p.suffix.lower() in ENDINGS)
    return sorted(p for p in found if not any(part.startswith((".", "__MACOSX")) for part in p.relative_to(folder).parts))


def _loaded(root: Path, said: list[str], *, strict: bool) -> list[Sound]:
    soundfile = _soundfile()
    if not root.exists():
        raise DataError(f"there is no file or folder {root}; check data.path (relative paths start at the working folder)")
    files = [root] if root.is_file() else sounds_below(root)
    if not files:
        raise DataError(f"{root} holds no sounds ({', '.join(sorted(ENDINGS))}); name the folder that does")
    out, damaged = [], []
    for file in files:
        name = file.name if root.is_file() else file.relative_to(root).as_posix()
        folders = [] if root.is_file() else [part for part in file.relative_to(root).parts[:-1] if not role(part).part]
        try:
            readings, rate = soundfile.read(str(file), dtype="float32", always_2d=True)
            if not len(readings):
                raise ValueError("it holds no readings")
            if np.isinf(readings).any():
                raise ValueError("it holds infinite readings")
        except (soundfile.SoundFileError, OSError, ValueError, RuntimeError) as error:
            why = " ".join(str(error).replace(str(file), name).split())[:100]
            if strict:
                raise DataError(f"{file} cannot be read ({why}); mend or remove it, or leave strict out of the plan") from None
            damaged.append(f"{name}: {why}")
            continue
        out.append(Sound(name, folders[0] if folders else None, readings, int(rate)))
    if not out:
        raise DataError(f"no sound in {root} can be read; the first: {damaged[0]}; give files that can")
    if damaged:
        said.append(told("Sounds left out that cannot be read", damaged))
    return out


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError):
        raise DataError("sounds need soundfile, which is not installed; run `make setup`") from None
    return soundfile


def _of_classes(sounds: list[Sound], said: list[str]) -> list[Sound]:
    """Those in a folder of a class, where any is."""
    outside = [s.name for s in sounds if s.level is None]
    if not outside or len(outside) == len(sounds):
        return sounds
    said.append(told("Left out because they lie in no folder of a class", outside))
    return [s for s in sounds if s.level is not None]


def _channels_alike(sounds: list[Sound], mono: bool | None, said: list[str], origin: str) -> list[Sound]:
    counts = Counter(s.readings.shape[1] for s in sounds)
    if len(counts) > 1 and mono is False:
        raise DataError(f"{origin} holds sounds of {' and '.join(map(str, sorted(counts)))} channels; state data.mono: true")
    if mono is not True and len(counts) == 1:
        return sounds
    if len(counts) > 1:
        mixed = sum(count for channels, count in counts.items() if channels > 1)
        said.append(f"Sounds differ in their channels: {mixed} of {len(sounds)} are mixed down to one.")
    return [Sound(s.name, s.level, s.readings.mean(axis=1, keepdims=True), s.rate) for s in sounds]


def _rates_alike(sounds: list[Sound], rate: int | None, said: list[str]) -> tuple[list[Sound], int]:
    """All at one rate, by a polyphase filter that lets nothing fold back (scipy's, a Kaiser window of 5)."""
    rates = Counter(s.rate for s in sounds)
    goal = rate or min(rates)
    other = sum(count for one, count in rates.items() if one != goal)
    if other:
        what = ", ".join(f"{count} at {one} Hz" for one, count in sorted(rates.items()))
        said.append(f"Sounds brought to {goal} readings a second: {other} of {len(sounds)} ({what}).")
    return [s if s.rate == goal else Sound(s.name, s.level, resampled(s.readings, s.rate, goal), goal) for s in sounds], goal


def resampled(readings: Array, rate: int, goal: int) -> Array:
    """(n, channels) at `rate` -> (n * goal / rate, channels) float32."""
    from scipy.signal import resample_poly

    both = gcd(rate, goal)
    held = np.nan_to_num(readings.astype(np.float64))
    return np.asarray(resample_poly(held, goal // both, rate // both, axis=0), dtype=np.float32)


def _length(sounds: Sequence[Sound], rate: int, length: int | str | None, said: list[str]) -> int | str:
    if length is not None:
        return length if is_count(length) else max(round(seconds(length, "data.length") * rate), 2)
    longest = max(len(s.readings) for s in sounds)
    if longest <= WHOLE:
        return 0
    said.append("Windows last a second, as files are long; state data.length for another length.")
    return rate
