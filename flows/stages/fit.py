"""What does the family learn from the training rows? Goes on from a checkpoint when one is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.components import build, families
from configs.components import find as find_family
from configs.errors import KeyFault
from configs.plan import Plan
from flows.power import check_enough
from flows.run import Run, Stage, write_text
from flows.stages.choose import judged_counts
from flows.stages.promise import paid
from flows.stages.rules import family_of
from flows.stages.shared import Step, dataset, file_sha256, generator_spec, key_of
from generators.base import Generator, Progress


def check_generator(plan: Plan) -> None:
    """Build the family without training it, so that a wrong name or setting is found before any work.

    Raises KeyFault at generator.<key>, or what the family raises when something it needs is not installed.
    """
    if not plan.generator.named:
        return
    try:
        family = build(generator_spec(plan), Generator, package="generators")
    except KeyFault as fault:
        raise KeyFault(("generator", *fault.key), fault.message) from None
    if hasattr(family, "ready"):
        family.ready()


def check_material(run: Run) -> None:
    """Raises what the family would refuse of the training rows before it learns."""
    family = family_of(run.settled)
    if hasattr(family, "refuse"):
        family.refuse(dataset(run, "train"))


class _Recorder:
    """Passes progress on and keeps the figures for the report's training curves."""

    def __init__(self, inner: Progress) -> None:
        self.inner = inner
        self.curve: list[dict[str, float]] = []

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        if figures:
            self.curve.append({what: done, **{name: float(value) for name, value in figures.items()}})
        self.inner.advance(done, total, what, **figures)


def _fit(run: Run, progress: Progress) -> Mapping[str, Any]:
    plan = run.settled
    # Before any training: with too few holdout rows nothing that is learned could be judged.
    check_enough(plan.gate, judged_counts(run))
    recorder = _Recorder(progress)
    family = family_of(plan)
    checkpoint = run.folder / "checkpoint"
    resumed = checkpoint.is_dir() and any(checkpoint.iterdir())
    with paid(run, family) as held:
        fitted = held.family.fit(held.train, seed=plan.seed, progress=recorder, checkpoint=checkpoint)
        beside = _saved(run, fitted)
    # Not before the ledger has settled it: a model that is there has been paid for.
    beside.rename(run.folder / "model")
    write_text(run.folder / "training.json", json.dumps(recorder.curve))
    _keep_grids(run, checkpoint)
    shutil.rmtree(checkpoint, ignore_errors=True)
    facts = {"family": plan.generator.use, "resumed": resumed, "model_sha256": file_sha256(run.folder / "model/envelope.json")}
    return facts | ({"privacy": dict(held.spent)} if held.spent else {})


def _saved(run: Run, fitted: Generator) -> Path:
    """The folder beside its place that the model lies in."""
    beside = run.folder / "model.part"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    fitted.save(beside)
    return beside


def _keep_grids(run: Run, checkpoint: Path) -> None:
    """Sample grids that a family of pictures drew while it learned stay with the run."""
    shutil.rmtree(run.folder / "grids", ignore_errors=True)
    if (checkpoint / "grids").is_dir():
        (checkpoint / "grids").rename(run.folder / "grids")


def check_modality(plan: Plan) -> None:
    """Refuse a family that learns other data than these, before any work.

    Raises KeyFault at generator.use."""
    if not plan.generator.named:
        return
    family = find_family(plan.generator.use, Generator, package="generators")
    learns = getattr(family, "modality", plan.modality)
    if learns != plan.modality:
        rows = {"image": "pictures", "tabular": "rows of a table"}
        found = families("generators", Generator).items()
        fit = ", ".join(sorted(name for name, cls in found if getattr(cls, "modality", "") == plan.modality))
        raise KeyFault(
            ("generator", "use"),
            f"{plan.generator.use!r} learns {rows.get(learns, learns)} and these are {rows[plan.modality]}; use one of {fit}",
        )


def _part(plan: Plan) -> object:
    own = [plan.generator, plan.device, plan.seed, plan.constraints]
    return [*own, plan.privacy] if plan.purpose == "release" else own


STEP = Step(
    Stage("fit", ("model", "training.json")),
    key_of("fit", "split", "generators", "data", part=_part, settled=True),
    _fit,
)
