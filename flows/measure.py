"""What would a family cost here? Some steps of its training and a few drawn rows, timed in a process of its own.

    python -m flows.measure RUN FAMILY SETTINGS SECONDS

prints one JSON object. A process of its own has a peak of memory of its own, and may be ended.
"""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from configs.plan import GeneratorSpec
from data.errors import UserError
from flows.run import Run

#: Settings that make a fit of a few steps out of a whole one, where a family has them.
BRIEF: Mapping[str, int] = {"epochs": 1, "min_steps": 2, "steps": 2, "pretrain_steps": 2, "marginals": 1}
#: Rows, or pictures or windows, that a brief fit learns from, and those that are drawn to see how long that takes.
LEARNED, PICTURES, DRAWN, DRAWN_PICTURES = 600, 40, 2000, 16
#: How many times as long a second step is waited for.
PATIENCE = 3
#: A budget that hides nothing.
CLEAR = 1e4
#: Seconds that a process may need to begin, beside what it measures.
START = 60.0


@dataclass(frozen=True)
class Cost:
    """What a whole fit and its draw would take on this machine.

    fit_s: seconds of the whole fit, None where not one step ended in time; seen_s: how many of them were measured; row_s:
    seconds for one drawn row or picture; row_bytes: of a drawn row on disk; model_bytes: of a saved model; peak_mib: memory of
    the whole process; failed: why nothing could be measured, in a sentence."""

    fit_s: float | None = None
    seen_s: float = 0.0
    row_s: float | None = None
    row_bytes: float = 0.0
    model_bytes: int = 0
    peak_mib: float = 0.0
    failed: str = ""

    def total_s(self, rows: int) -> float | None:
        """Seconds of the fit and of so many drawn rows, None where the fit's are not known."""
        return None if self.fit_s is None else self.fit_s + rows * (self.row_s or 0.0)


def measure(run: Run, family: str, settings: Mapping[str, Any], *, seconds: float) -> Cost:
    """Measure a family on the training rows of a run, for about so many seconds."""
    command = [sys.executable, "-m", "flows.measure", str(run.folder), family, json.dumps(dict(settings)), str(seconds)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE * seconds + START, env={**os.environ, **importing()}
        )
    except subprocess.TimeoutExpired:
        return Cost(failed=f"not one step of its training ended within {PATIENCE * seconds + START:.0f} s")
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        ended = "it ran out of memory" if done.returncode in (-9, 137) else "it ended without a word"
        said = done.stderr.strip().splitlines()
        return Cost(failed=said[-1] if said else ended)
    return Cost(**json.loads(lines[-1]))


def importing() -> dict[str, str]:
    """What of the environment lets a process of ours import what this one can."""
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


class _EnoughError(Exception):
    """The time of the measurement is over."""


class _Clock:
    """When each step ended; stops the fit when its time is over."""

    def __init__(self, seconds: float) -> None:
        self.began, self.seconds = time.monotonic(), seconds
        self.seen: list[tuple[float, int, int]] = []
        self.what = ""

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        now = time.monotonic() - self.began
        self.what = self.what or what
        # Of a fit in several parts the first is measured.
        if what == self.what:
            self.seen.append((now, done, total))
        # What comes before the first step is no step: where it took long, the second one is waited for.
        if done < total and now > (self.seconds if len(self.seen) > 1 else PATIENCE * self.seconds):
            raise _EnoughError

    def whole(self) -> float | None:
        """Seconds of the whole fit, as its steps so far went; the time before the first step is paid once."""
        if not self.seen:
            return None
        (first, done, _), (last, reached, total) = self.seen[0], self.seen[-1]
        if reached > done:
            return last + (last - first) / (reached - done) * max(total - reached, 0)
        return last / max(reached, 1) * total


def _measured(run: Run, family: str, settings: Mapping[str, Any], seconds: float) -> Cost:
    from flows.stages.rules import family_of
    from flows.stages.split import parts_of

    plan = run.plan.model_copy(update={"generator": GeneratorSpec(use=family, **settings)})
    train = parts_of(run).train
    clock = _Clock(seconds)
    fitted, whole = None, None
    try:
        fitted = family_of(plan).fit(train, seed=plan.seed, progress=clock)
        whole = time.monotonic() - clock.began
    except _EnoughError:
        whole = clock.whole()
    seen = time.monotonic() - clock.began if fitted is None else whole
    if fitted is None:
        fitted = _brief(plan, family, settings, train)
    # A release draws no class by itself, and may not know all of them.
    where = _scarcest(train) if plan.purpose == "augment" else None
    row_s, row_bytes = _drawn(fitted, where, few=plan.modality != "tabular", seed=plan.seed)
    with tempfile.TemporaryDirectory() as folder:
        fitted.save(Path(folder))
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return Cost(whole, seen or 0.0, row_s, row_bytes, size, round(peak_mib(), 1))


def _brief(plan: Any, family: str, settings: Mapping[str, Any], train: Any) -> Any:
    """The family, taught hardly anything by few rows: it draws as fast as if it knew all."""
    from configs.components import find, settings_model
    from flows.stages.rules import family_of
    from flows.stages.shared import class_counts
    from generators.base import Generator

    known = settings_model(find(family, Generator, package="generators")).model_fields
    less = {name: value for name, value in BRIEF.items() if name in known}
    # Few rows would not be seen through the noise of a release; what is drawn here is thrown away.
    clear = plan.privacy.model_copy(update={"epsilon": CLEAR, "noise": None, "delta": None})
    generator = GeneratorSpec(use=family, **{**settings, **less})
    brief = plan.model_copy(update={"generator": generator, **({"privacy": clear} if plan.purpose == "release" else {})})
    most = LEARNED if plan.modality == "tabular" else PICTURES
    rows = train if train.num_rows <= most else _some(train, most, class_counts(train))
    return family_of(brief).fit(rows, seed=plan.seed)


def _some(train: Any, most: int, counts: Mapping[Any, int]) -> Any:
    """A choice of rows in which every class has some."""
    import numpy as np

    if not counts:
        return train.take(np.arange(most))
    labels, each = train.labels(), max(2, most // max(len(counts), 1))
    return train.take(np.sort(np.concatenate([np.flatnonzero(labels == k)[:each] for k in range(len(counts))])))


def _scarcest(train: Any) -> dict[str, Any] | None:
    """The condition on the class of fewest rows, which is what is drawn most; None without classes."""
    from flows.stages.shared import class_counts

    counts = {level: n for level, n in class_counts(train).items() if n}
    return {str(train.schema.target): min(counts, key=lambda level: counts[level])} if counts else None


def _drawn(fitted: Any, where: Mapping[str, Any] | None, *, few: bool, seed: int) -> tuple[float, float]:
    """Seconds and bytes on disk of one drawn row that holds the condition."""
    rows = DRAWN_PICTURES if few else DRAWN
    list(fitted.sample(1, where=where, seed=seed))  # the first draw lays out what later ones find
    began = time.monotonic()
    made = pa.Table.from_batches(list(fitted.sample(rows, where=where, seed=seed)))
    took = time.monotonic() - began
    file = io.BytesIO()
    pq.write_table(made, file, compression="zstd")
    return took / rows, file.tell() / rows


def peak_mib() -> float:
    """Most memory that this process held, in MB.

    From the kernel's mark of this program where there is one: `getrusage` also counts what the process held that started it."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    # Kilobytes on Linux, bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def available_mib() -> float | None:
    """Memory that is free for a new process, by the system and by the limit of its group; None where nobody says."""
    found = []
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line)
        found.append(int(lines["MemAvailable"].split()[0]) / 1024)
    except (OSError, KeyError, ValueError):
        pass
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        if limit != "max":
            found.append((int(limit) - int(used) + int(cached.get("inactive_file", 0))) / 1024**2)
    except (OSError, ValueError):
        pass
    return min(found, default=None)


def free_mib(place: Path) -> float:
    """Free space on the disk that a path is, or will be, on."""
    here = place.resolve()
    while not here.exists():
        here = here.parent
    return shutil.disk_usage(here).free / 1024**2


def main(arguments: list[str]) -> int:
    """Measure and print; what a family refuses is a sentence on stderr."""
    folder, family, settings, seconds = arguments
    try:
        found = _measured(Run(Path(folder)), family, json.loads(settings), float(seconds))
    except UserError as error:
        print(str(error), file=sys.stderr)
        return 2
    print(json.dumps(found.__dict__))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
