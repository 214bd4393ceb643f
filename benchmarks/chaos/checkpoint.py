"""Does a fit whose checkpoint is damaged go on from the one before, or begin anew, and say so?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.chaos.ground import Ground, Trial, again, differs, undisturbed, until

LOST = "the same command ends otherwise, does not say so in a line, or does not publish the same bytes"
Damage = Callable[[bytes, np.random.Generator], bytes]


def _cut(held: bytes, rng: np.random.Generator) -> bytes:
    return held[: int(rng.integers(len(held)))]


def _flipped(held: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(held)))
    return held[:place] + bytes([held[place] ^ (1 << int(rng.integers(8)))]) + held[place + 1 :]


def _blanked(held: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(held) // 2))
    return held[:place] + bytes(len(held) // 4) + held[place + len(held) // 4 :]


#: How files are damaged: cut short, one bit of them, a quarter of them zeros.
DAMAGES: Mapping[str, Damage] = {"cut": _cut, "a bit": _flipped, "zeros": _blanked}


def trials(folder: Path, count: int, seed: int) -> Iterator[Trial]:
    """Kill a fit, damage its last checkpoint, each third time the one before as well, and give the command again."""
    whole = undisturbed(folder / "undisturbed")
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        how = list(DAMAGES)[number % len(DAMAGES)]
        yield _damaged(folder / f"checkpoint{number:03d}", how, both=number % 4 == 3, rng=rng, whole=whole)


def _damaged(folder: Path, how: str, *, both: bool, rng: np.random.Generator, whole: Mapping[str, str]) -> Trial:
    ground = Ground(folder)
    command = ground.start()
    until(lambda: any(folder.glob("runs/iris/*/checkpoint/*.pt.before")), command)
    command.kill()
    command.end()
    hit = [*folder.glob("runs/iris/*/checkpoint/*.pt"), *(folder.glob("runs/iris/*/checkpoint/*.before") if both else ())]
    if not hit:
        return Trial(f"{how}, too late", again(ground, whole))
    for path in hit:
        path.write_bytes(DAMAGES[how](path.read_bytes(), rng))
    ended = ground.run()
    told = None if "is damaged" in ended.said else "nothing is said of it"
    what = f"{how}, both" if both else how
    return Trial(what, ended.wrong(0) or told or ground.broken() or differs(ground.published(), whole))
