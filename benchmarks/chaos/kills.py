"""Does a run that is killed at any moment end, with the same command again, in the same published bytes?"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.chaos.ground import Command, Ground, Trial, again, undisturbed, until

LOST = "the same command again does not publish the same bytes, every file of them; LATEST or a version is broken in between"
#: The stages, and what of a publication is seen from outside.
STAGES = ("read", "profile", "choose", "split", "fit", "sample", "judge", "publish")
PLACED = ("published/iris/.staging/*", "published/iris/v000001", "published/iris/LATEST", "runs/iris/*/published.json")


def trials(folder: Path, count: int, seed: int) -> Iterator[Trial]:
    """A third of the kills at the edges of stages and of the publication, the others spread over the time of a run."""
    whole = undisturbed(folder / "undisturbed")
    # Not that first run, which waits until the libraries are loaded.
    started = time.monotonic()
    Ground(folder / "timed").run()
    seconds = time.monotonic() - started
    rng = np.random.default_rng(seed)
    edges = rng.permutation(_edges())[: -(-count // 3)]
    spread = (np.arange(count - len(edges)) + rng.random(count - len(edges))) / (count - len(edges)) * seconds
    for number, moment in enumerate([*edges, *spread]):
        yield _killed(folder / f"kill{number:03d}", moment, whole)


def _edges() -> list[str]:
    return [f"{stage} {edge}" for stage in STAGES for edge in ("begins", "done")] + list(PLACED)


def _killed(folder: Path, moment: str | float, whole: Mapping[str, str]) -> Trial:
    ground = Ground(folder)
    command = ground.start()
    _wait(moment, ground, command)
    command.kill()
    what = ground.stage if command.end().code == -signal.SIGKILL else "after its end"
    return Trial(what, again(ground, whole))


def _wait(moment: str | float, ground: Ground, command: Command) -> None:
    if isinstance(moment, str):
        until(_seen(moment, ground), command)
    else:
        time.sleep(moment)


def _seen(moment: str, ground: Ground) -> Callable[[], bool]:
    if "/" in moment:
        return lambda: any(ground.folder.glob(moment))
    return lambda: moment in ground.log
