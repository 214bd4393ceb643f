"""Does a fit that meets a limit of memory say so in one sentence, and end where there is more?"""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.chaos.ground import PLAN, Ground, Trial, again, undisturbed, until

LOST = "a traceback, another exit code than 2, a version; or the same command does not publish the same bytes without the limit"
#: A network that takes some hundred MB to learn.
WIDE = PLAN.replace("use: gan,", "use: gan, width: 1536,")
MOST = 100 << 20


def trials(folder: Path, count: int, seed: int) -> Iterator[Trial]:
    """From the moment that the fit begins the process may grow by 0 to 100 MB and no further (RLIMIT_AS, as `ulimit -v`)."""
    whole = undisturbed(folder / "undisturbed", WIDE)
    rng = np.random.default_rng(seed)
    for number, part in enumerate((np.arange(count) + rng.random(count)) / count):
        yield _tight(folder / f"memory{number:03d}", int(part * MOST), whole)


def _tight(folder: Path, room: int, whole: Mapping[str, str]) -> Trial:
    ground = Ground(folder, WIDE)
    command = ground.start()
    until(lambda: "fit begins" in ground.log, command)
    pages = int(Path(f"/proc/{command.pid}/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + room
    resource.prlimit(command.pid, resource.RLIMIT_AS, (limit, limit))
    first = command.end()
    what = f"{room >> 20} MB more, {ground.stage}" if first.code else "enough"
    wrong = (first.wrong(2) or ("a version" if ground.published() else None)) if first.code else None
    return Trial(what, wrong or again(ground, whole))
