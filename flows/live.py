"""What does a run do at this moment, and who sees it? A small file in its folder, and a table that is looked at again."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from data.errors import UserError
from flows.pace import Pace
from flows.run import AT_WORK, Run, all_runs, write_text
from flows.tell import spoken
from generators.base import Progress

#: The file is written at most this often, in seconds.
EVERY = 1.0
#: Losses that a line has room for.
FIGURES = 2
#: Seconds after which what another machine wrote counts for nothing: whether its process lives cannot be seen from here.
STALE = 600.0


class Pulse:
    """A teller that keeps in the run's folder what the stage at work came to: with the stage, since when, and how far."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / AT_WORK

    def begin(self, stage: str) -> Progress:
        pulse = _Pulse(self.path, stage)
        pulse.write({})
        return pulse

    def end(self, stage: str, how: str, facts: Mapping[str, Any], seconds: float) -> None:
        return None


class _Pulse:
    def __init__(self, path: Path, stage: str) -> None:
        self.path, self.last, self.pace = path, time.monotonic(), Pace()
        self.known = {"stage": stage, "since": time.time(), "process": os.getpid(), "host": socket.gethostname()}

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        left = self.pace.left(done, total, what, time.monotonic())
        if time.monotonic() - self.last >= EVERY:
            self.write({"what": what, "done": done, "total": total, "figures": figures, "left": left})

    def write(self, told: Mapping[str, Any]) -> None:
        self.last = time.monotonic()
        with suppress(OSError):  # who looks sees less; the run goes on
            write_text(self.path, json.dumps({**self.known, **told}, default=float))


def at_work(run: Run) -> dict[str, Any] | None:
    """What a run does now, None where no process works on it."""
    path = run.folder / AT_WORK
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        told["stage"], told["since"]  # noqa: B018  a file of something else
        written = path.stat().st_mtime
        alive = _lives(told["process"]) if told["host"] == socket.gethostname() else time.time() - written < STALE
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return told if alive else None


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:  # another user's
        return True
    except OSError:
        return False
    return True


def doing(told: Mapping[str, Any]) -> str:
    """As "fit for 48 s, epoch 12 of 30, loss 0.71, about 72 s left"."""
    parts = [f"{told['stage']} for {spoken(max(time.time() - told['since'], 0.0))}"]
    if told.get("total"):
        parts.append(f"{told['what']} {told['done']:,} of {told['total']:,}")
        parts += [f"{name} {value:.3g}" for name, value in list(told["figures"].items())[:FIGURES]]
    if told.get("left") is not None:
        parts.append(f"about {spoken(told['left'])} left")
    return ", ".join(parts)


def watch(runs: Path, every: float) -> None:
    """The table of runs on the terminal, looked at again every so many seconds until Ctrl-C.

    Raises UserError where there is no terminal."""
    from rich.live import Live

    from flows.show import run_rows, runs_table, stdout

    if not sys.stdout.isatty():
        raise UserError("--watch shows a table on a terminal, and there is none; leave it out, or read --json now and then")
    screen = stdout()
    with Live(console=screen, auto_refresh=False, vertical_overflow="crop") as live, suppress(KeyboardInterrupt):
        while True:
            rows = run_rows(reversed(all_runs(runs)))
            live.update(runs_table(_first(rows, screen.height - 3)), refresh=True)
            time.sleep(every)


def _first(rows: Sequence[Mapping[str, Any]], room: int) -> list[Mapping[str, Any]]:
    """As many as there is room for: those at work, then the latest."""
    return sorted(rows, key=lambda row: row["now"] is None)[: max(room, 1)]
