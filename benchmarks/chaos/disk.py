"""Does a run on a disk that fills up at any stage say so in one sentence, and end once there is room?"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.chaos.ground import Ended, Ground, Trial, again, undisturbed, until
from benchmarks.chaos.kills import STAGES

LOST = (
    "a traceback, another exit code than 2, half a version; or the same command does not publish the same bytes with room again"
)
#: What a file takes at least, and a disk that is large enough.
PAGE, ROOMY = 4096, 64 << 20


def trials(folder: Path, count: int, seed: int) -> Iterator[Trial]:
    """A disk that fills up as a stage begins, stage by stage, to the last byte or to some pages less; every fifth time one that
    is too small from the beginning."""
    whole = undisturbed(folder / "undisturbed")
    for number in range(count):
        rng, place = np.random.default_rng([seed, number]), folder / f"disk{number:03d}"
        if number % 5 == 4:
            yield _small(place, int(rng.integers(3, 200)) * PAGE, whole)
        else:
            stage = STAGES[(number - number // 5) % len(STAGES)]
            yield _filled(place, stage, int(rng.choice([0, 1, 4, 16])) * PAGE, whole)


def allowed(folder: Path) -> bool:
    """Whether small disks can be mounted here."""
    with contextlib.suppress(subprocess.CalledProcessError, FileNotFoundError), disk(folder / "probe", PAGE * 4):
        return True
    return False


@contextlib.contextmanager
def disk(folder: Path, size: int) -> Iterator[Path]:
    """A disk of so many bytes, in memory. Raises CalledProcessError where mounting is not permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    _quiet("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        _quiet("umount", str(folder))


def _small(folder: Path, size: int, whole: Mapping[str, str]) -> Trial:
    with disk(folder, size):
        ground = Ground(folder)
        return _ended(ground, f"{size // 1024} KB", ground.run(), whole)


def _filled(folder: Path, stage: str, left: int, whole: Mapping[str, str]) -> Trial:
    with disk(folder, ROOMY):
        ground = Ground(folder)
        command = ground.start()
        until(lambda: f"{stage} begins" in ground.log, command)
        command.signal(signal.SIGSTOP)
        (folder / "filler").write_bytes(bytes(max(shutil.disk_usage(folder).free - left, 0)))
        command.signal(signal.SIGCONT)
        return _ended(ground, f"{left // 1024} KB left", command.end(), whole)


def _ended(ground: Ground, how: str, first: Ended, whole: Mapping[str, str]) -> Trial:
    what = f"{ground.stage}, {how}" if first.code else "enough room"
    wrong = (first.wrong(2) if first.code else None) or ground.broken()
    (ground.folder / "filler").unlink(missing_ok=True)
    _quiet("mount", "-o", f"remount,size={ROOMY}", str(ground.folder))
    return Trial(what, wrong or again(ground, whole))


def _quiet(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
