"""Are versions and runs in order when the clock is set back, between two runs or in the middle of one?"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.chaos.ground import Ground, Trial, differs, undisturbed
from data.publish import Publisher
from flows.run import Run

LOST = "two versions with one number, LATEST not the newest, the run that was begun last not the latest, other bytes"
DAY = 86_400.0


def trials(folder: Path, count: int, seed: int) -> Iterator[Trial]:
    """In turn: set back between two runs, and in the middle of one, by an hour to a year."""
    whole = undisturbed(folder / "undisturbed")
    for number in range(count):
        rng, place = np.random.default_rng([seed, number]), folder / f"clock{number:03d}"
        seconds = float(DAY * rng.choice([1 / 24, 1, 30, 365]))
        yield _within(place, seconds, rng, whole) if number % 2 else _between(place, seconds, whole)


def _between(folder: Path, seconds: float, whole: Mapping[str, str]) -> Trial:
    what = f"between runs, by {seconds / DAY:.3g} days"
    ground = Ground(folder)
    if said := ground.run().wrong(0):
        return Trial(what, said)
    # What was written before the clock was set back bears a time that is still to come.
    for path in folder.rglob("*"):
        os.utime(path, (time.time() + seconds, time.time() + seconds))
    before = ground.published()
    said = ground.run("-o", "seed=1").wrong(0)
    to = Publisher(str(folder / "published"), "iris")
    if not said and (to.versions(), to.latest()) != (["v000001", "v000002"], "v000002"):
        said = f"LATEST is {to.latest()} of {to.versions()}"
    if not said and Run.find("iris", folder / "runs").plan.seed != 1:
        said = "the first run counts as the latest"
    kept = {name: digest for name, digest in ground.published().items() if name.startswith("v000001")}
    return Trial(what, said or ground.broken() or differs({**kept, "LATEST": before["LATEST"]}, whole))


def _within(folder: Path, seconds: float, rng: np.random.Generator, whole: Mapping[str, str]) -> Trial:
    ground, moment = Ground(folder), float(4 * rng.random())
    ended = ground.start(clock=(moment, seconds)).end()
    what = f"{moment:.1f} s after the start, by {seconds / DAY:.3g} days"
    return Trial(what, ended.wrong(0) or ground.broken() or differs(ground.published(), whole))
