"""Where are faults tried? A folder with a plan, the command in a process group of its own, and what it published."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from data.history import PAGE
from data.publish import Publisher

#: The plan that faults are tried on: a GAN whose training is short, and long enough to keep some checkpoints.
PLAN = """name: iris
seed: 5
data: {use: sklearn, set: iris}
target: target
split: {reference: 0, holdout: 0.3}
generator: {use: gan, epochs: 20, checkpoint_seconds: 0.05}
sample: {rows: 60}
gate: {draws: 5, detect: 1.0, utility: "off"}
publish: {root: published}
"""
#: So many seconds after its start a command's clock is set back, and by how many.
Clock = tuple[float, float] | None
_NUMBERS = itertools.count()
#: What undisturbed runs published, by plan.
_WHOLE: dict[str, dict[str, str]] = {}
#: Seconds after which a command counts as hanging.
PATIENCE = 900.0


@dataclass(frozen=True)
class Trial:
    """One trial. what: where the fault hit; lost: what went wrong, None where nothing did."""

    what: str
    lost: str | None = None


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code (minus the signal that killed it), and what it wrote to stderr."""

    code: int
    said: str

    def wrong(self, *codes: int) -> str | None:
        """Why this is no clean end with one of these exit codes: a traceback, another code, or, after a fault, no sentence."""
        if "Traceback" in self.said or "unexpected " in self.said:
            return f"a traceback: {self.last}"
        if self.code not in codes:
            return f"exit code {self.code}: {self.last}"
        sentences = [line for line in self.said.splitlines() if line.startswith("counterpoise: ")]
        if self.code not in (0, -signal.SIGKILL) and len(sentences) != 1:
            return f"{len(sentences)} sentences: {self.last}"
        return None

    @property
    def last(self) -> str:
        """The last line that was said."""
        return (self.said.strip().splitlines() or ["nothing was said"])[-1]


class Command:
    """`counterpoise ...` at work in a process group of its own, forked off a process that has its libraries loaded."""

    def __init__(self, words: Sequence[str], folder: Path, environment: Mapping[str, str], clock: Clock = None) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(["benchmarks.chaos.loaded"])
        # Beside the folder, whose disk may be full.
        self.said = folder.with_name(f"{folder.name}.said{next(_NUMBERS)}")
        self.process = context.Process(target=_work, args=(list(words), folder, self.said, dict(environment), clock))
        self.process.start()

    @property
    def pid(self) -> int:
        return int(self.process.pid or 0)

    @property
    def over(self) -> bool:
        return not self.process.is_alive()

    def kill(self) -> None:
        """SIGKILL to the whole process group."""
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """A signal to the whole process group."""
        with contextlib.suppress(ProcessLookupError):
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:  # not at the head of a group yet
                os.kill(self.pid, number)

    def end(self, patience: float = PATIENCE) -> Ended:
        """Wait for the end; a command that hangs is killed, which is seen by its code."""
        self.process.join(patience)
        if self.process.is_alive():
            self.kill()
            self.process.join()
        code = self.process.exitcode
        return Ended(1 if code is None else code, self.said.read_text(errors="replace") if self.said.exists() else "")


def _work(words: list[str], folder: Path, said: Path, environment: dict[str, str], clock: Clock) -> None:
    os.setpgid(0, 0)
    os.chdir(folder)
    os.environ.update(environment)
    for path, number in ((os.devnull, 1), (said, 2)):
        with Path(path).open("w") as file:
            os.dup2(file.fileno(), number)
    if clock is not None:
        _set_back(*clock)
    sys.argv = ["counterpoise", *words]
    from flows.guard import main

    main()


def _set_back(moment: float, seconds: float) -> None:
    # As the machine's own clock does it: `time.monotonic` goes on.
    real, due = time.time, time.monotonic() + moment
    time.time = lambda: real() - (seconds if time.monotonic() > due else 0.0)


@dataclass(frozen=True)
class Ground:
    """A folder with a plan. Paths in the plan are relative, so that the same plan is the same run in every folder."""

    folder: Path
    plan: str = PLAN
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "plan.yaml").write_text(self.plan)

    def start(self, *more: str, clock: Clock = None) -> Command:
        """`counterpoise run` begins."""
        return Command(["run", "plan.yaml", *more], self.folder, self.environment, clock)

    def run(self, *more: str) -> Ended:
        """`counterpoise run`, to its end."""
        return self.start(*more).end()

    @property
    def log(self) -> str:
        """The run's log so far."""
        return "".join(path.read_text() for path in self.folder.glob("runs/iris/*/run.log"))

    @property
    def stage(self) -> str:
        """The stage that the run's log names last."""
        lines = [line.split() for line in self.log.splitlines() if line]
        return "start" if not lines else f"{'in' if lines[-1][2] == 'begins' else 'after'} {lines[-1][1]}"

    @property
    def dataset(self) -> Path:
        return self.folder / "published/iris"

    def broken(self) -> str | None:
        """What a reader would trip over now: LATEST names no version, or a version is not whole."""
        to = Publisher(str(self.folder / "published"), "iris")
        names, latest = to.versions(), to.latest()
        if latest is not None and latest not in names:
            return f"LATEST names {latest}, which is no version"
        half = [path.name for path in self.dataset.glob("v*") if path.name not in names]
        return f"half a version: {half[0]}" if half else next((p for name in names for p in to.verify(name)), None)

    def published(self) -> dict[str, str]:
        """Every file that readers see below the dataset's folder, and its sha256; but for the page of all versions, which says
        when each was put there."""
        files = (path for path in sorted(self.dataset.rglob("*")) if path.is_file())
        found = {path.relative_to(self.dataset).as_posix(): path for path in files}
        return {name: _sha256(path) for name, path in found.items() if not name.startswith(".") and name != PAGE}


def undisturbed(folder: Path, plan: str = PLAN) -> dict[str, str]:
    """What a run of the plan publishes where nothing happens to it; it is made once, for all faults.

    Raises RuntimeError where it does not end well."""
    if plan not in _WHOLE:
        ground = Ground(folder, plan)
        if said := ground.run().wrong(0):
            raise RuntimeError(f"the undisturbed run fails: {said}")
        _WHOLE[plan] = ground.published()
    return _WHOLE[plan]


def again(ground: Ground, whole: Mapping[str, str]) -> str | None:
    """What is wrong after a fault: what readers see now, how the same command ends, and what it publishes."""
    return ground.broken() or ground.run().wrong(0) or ground.broken() or differs(ground.published(), whole)


def differs(made: Mapping[str, str], undisturbed: Mapping[str, str]) -> str | None:
    """What of two published datasets is not the same."""
    for name in sorted({*made, *undisturbed}):
        if made.get(name) != undisturbed.get(name):
            return f"{name} is {'missing' if name not in made else 'one too many' if name not in undisturbed else 'another'}"
    return None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def until(seen: Any, command: Command, patience: float = PATIENCE) -> bool:
    """Wait until something is seen, while the command is at work."""
    end = time.monotonic() + patience
    while time.monotonic() < end and not command.over:
        if seen():
            return True
        time.sleep(0.002)
    return False


def stages_of(ground: Ground) -> Iterator[tuple[str, float]]:
    """The stages of a finished run with the seconds that each took."""
    for path in ground.folder.glob("runs/iris/*/stages.json"):
        yield from ((name, e["seconds"]) for name, e in json.loads(path.read_text()).items() if isinstance(e, dict))
