"""What does each stage of the walk do? Plain functions from a run's folder to facts; no server, no console."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from data.errors import DataError
from data.words import said_of
from flows.credentials import lend
from flows.ranks import check_processes
from flows.run import Run, through
from flows.shortage import told
from flows.stages import choose, fit, judge, personal, profile, promise, publish, read, rules, sample, sinks, split, tables
from flows.stages.shared import Step
from generators.base import SILENT, Progress

#: The walk, in order.
STEPS: dict[str, Step] = {
    module.STEP.stage.name: module.STEP for module in (read, profile, choose, split, fit, sample, judge, publish)
}


def steps_of(run: Run) -> dict[str, Step]:
    """The walk of this run: tables that refer to one another have one of their own."""
    return tables.STEPS if run.plan.several else STEPS


#: What is asked of a plan before any work; each raises KeyFault.
PLAN_CHECKS = (
    *(promise.check_promise, personal.check_personal, choose.check_choose, fit.check_generator),
    *(fit.check_modality, check_processes, rules.check_constraints, judge.check_gate, sinks.check_sinks),
)


def perform(run: Run, name: str, progress: Progress = SILENT) -> tuple[dict[str, Any], str]:
    """Do one stage of a run unless its inputs are unchanged: (its facts, "done" | "skipped" | "borrowed")."""
    step = steps_of(run)[name]
    lend(run.plan.publish.credentials)
    with _in_words_of(run, name), told(run.folder, name):
        return through(run, step.stage, step.key(run), lambda: step.work(run, progress))


@contextmanager
def _in_words_of(run: Run, name: str) -> Iterator[None]:
    """What is shared by tables and pictures refuses rows; of a run of pictures it means pictures, of one of series windows."""
    try:
        yield
    except DataError as error:
        # A reader's rows are lines of an index, and its sentences were written for pictures, or series.
        if name != "read":
            error.args = (said_of(str(error), run.plan.modality),)
        raise
