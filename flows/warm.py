"""May tonight's training begin with last night's model?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.components import find
from configs.load import dump
from configs.plan import Plan
from data.errors import UserError
from flows.away import address_of
from flows.run import Run, all_runs
from flows.stages.read import fingerprint
from generators.base import Generator


@dataclass(frozen=True)
class Start:
    """What a night's plan is told of the model to begin with, as overrides; says: that in a sentence, or why there is none."""

    overrides: tuple[str, ...]
    says: str


def warm_start(plan: Plan, runs: Path) -> Start:
    """The model of the run that published last, where the family can begin with one and nothing but the source has changed.

    The model goes into the plan of the night by its path: so the same plan and bytes lead to the same rows, as ever. A run that
    was blocked hands nothing on, since what it lacks would stay lacking."""
    name = _setting(plan)
    if name is None:
        return Start((), f"cold: {plan.generator.use} does not begin with an earlier model")
    if plan.generator.settings.get(name) is not None:
        return Start((), f"cold: the plan names its own generator.{name}")
    last = next((run for run in reversed(_own(plan, runs)) if run.version is not None), None)
    if last is None:
        return Start((), "cold: no run has published yet")
    if address_of(runs) is not None:
        return Start((), "cold: runs lie in a store, where a model has no path that all machines know it by")
    told = last.plan
    if _without(told, name) != _without(plan, name):
        return Start((), f"cold: the plan is another one than that of run {last.id}")
    try:
        same = last.stages.get("fingerprint") == fingerprint(plan)
    except UserError:
        return Start((), "cold: the source cannot be read")  # which the run will say in full
    if same:
        held = told.generator.settings.get(name)
        return Start(() if held is None else (f"generator.{name}={held}",), f"as run {last.id} began")
    if not (last.folder / "model").is_dir():
        return Start((), f"cold: run {last.id} has no model any more")
    return Start((f"generator.{name}={last.folder / 'model'}",), f"begins with the model of run {last.id}")


def _setting(plan: Plan) -> str | None:
    """The setting that takes a saved model, None where the family has none or is yet to be chosen."""
    if not plan.generator.named:
        return None
    return getattr(find(plan.generator.use, Generator, package="generators"), "warm", None)


def _own(plan: Plan, runs: Path) -> Sequence[Run]:
    return [run for run in all_runs(runs) if run.folder.parent.name == plan.name]


def _without(plan: Plan, name: str) -> str:
    return dump(plan, without={"generator": {name}})
