"""Which versions and runs are kept, and which are taken away?"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.plan import Plan
from data.errors import UserError
from flows.begin import loaded
from flows.history import refresh
from flows.run import all_runs
from flows.stages.publish import make_publisher


@dataclass(frozen=True)
class Pruned:
    """What was taken away of one dataset, or would be. versions: names, of quarantined sets too; runs: their folders."""

    name: str
    uri: str
    versions: tuple[str, ...]
    runs: tuple[Path, ...]


def plans_of(plans: Sequence[Path], overrides: Sequence[str], runs: Path) -> list[Plan]:
    """The plans named; where none is, that of the latest run of each name.

    Raises UserError where nothing is named and no run is there."""
    if plans:
        return [loaded(plan, list(overrides)) for plan in plans]
    latest = {run.folder.parent.name: run for run in all_runs(runs)}
    if not latest:
        raise UserError(f"there is no run under {runs}; name the plans whose versions are to be pruned, or --runs")
    return [run.plan for run in latest.values()]


def prune(plan: Plan, keep: int, *, runs: Path, dry: bool = False) -> Pruned:
    """Keep the last `keep` versions of a dataset and runs of its plan, and whatever LATEST or a tag names.

    A run stays as well while the version that it published does so by name, and while a process works on it."""
    publisher = make_publisher(plan)
    if plan.several:  # no version is published of these
        return Pruned(plan.name, publisher.uri(), (), _prune_runs(plan.name, keep, runs, set(), dry=dry))
    gone = publisher.prune(keep, dry=dry)
    if gone and not dry:
        refresh(plan)
    named = {str(publisher.latest()), *publisher.tags().values()}
    return Pruned(plan.name, publisher.uri(), tuple(gone), _prune_runs(plan.name, keep, runs, named, dry=dry))


def _prune_runs(name: str, keep: int, runs: Path, named: set[str], *, dry: bool) -> tuple[Path, ...]:
    own = [run for run in all_runs(runs) if run.folder.parent.name == name]
    gone = []
    for run in own[: max(len(own) - keep, 0)]:
        if run.version in named:
            continue
        try:
            with run.locked():
                if not dry:
                    # Without its plan it is no run any more, should this be ended before all of it is gone.
                    (run.folder / "plan.yaml").unlink()
                    shutil.rmtree(run.folder)
        except UserError:  # a process works on it
            continue
        gone.append(run.folder)
    return tuple(gone)
