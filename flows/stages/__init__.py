"""What does each stage of the walk do? Plain functions from a run's folder to facts; no server, no console."""

from __future__ import annotations

from typing import Any

from flows.run import Run, through
from flows.stages import choose, fit, judge, profile, publish, read, sample, split
from flows.stages.shared import Step
from generators.base import SILENT, Progress

#: The walk, in order.
STEPS: dict[str, Step] = {
    module.STEP.stage.name: module.STEP for module in (read, profile, choose, split, fit, sample, judge, publish)
}


def perform(run: Run, name: str, progress: Progress = SILENT) -> tuple[dict[str, Any], str]:
    """Do one stage of a run unless its inputs are unchanged: (its facts, "done" | "skipped" | "borrowed")."""
    step = STEPS[name]
    return through(run, step.stage, step.key(run), lambda: step.work(run, progress))
