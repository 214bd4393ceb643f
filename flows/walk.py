"""The walk without a server: every stage in order, in this process."""

from __future__ import annotations

import time
from typing import Any

from flows.followers import followed, following
from flows.live import Pulse
from flows.run import Run
from flows.stages import perform, steps_of
from flows.tell import Both, Log, Quiet, Teller


def walk(run: Run, teller: Teller | None = None) -> dict[str, Any]:
    """Do every stage of a run: {stage: its facts}. A stage whose inputs did not change is skipped."""
    with run.locked(), followed(run):
        return perform_all(run, teller or Quiet())


def perform_all(run: Run, teller: Teller) -> dict[str, Any]:
    """Every stage of a run that is held already."""
    tellers = Both(Log(run.folder / "run.log"), Pulse(run.folder), teller, *following())
    return {name: told(run, name, tellers) for name in steps_of(run)}


def told(run: Run, name: str, teller: Teller) -> dict[str, Any]:
    """One stage, with the teller hearing of it."""
    started = time.monotonic()
    progress = teller.begin(name)
    facts, how = perform(run, name, progress)
    teller.end(name, how, facts, time.monotonic() - started)
    return facts
