"""What does the family learn from the training rows? Goes on from a checkpoint when one is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from configs.components import build, families
from configs.components import find as find_family
from configs.errors import KeyFault
from configs.plan import Plan
from flows.power import check_enough
from flows.ranks import shared, started
from flows.run import TOLD, Run, Stage, write_text
from flows.stages.choose import judged_counts
from flows.stages.promise import paid
from flows.stages.rules import family_of
from flows.stages.shared import Step, dataset, file_sha256, generator_spec, key_of
from generators.base import Generator, Progress
from generators.checkpoints import mend


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
    """Passes progress on and keeps the figures for the report's training curves, in a file as well, so that those of a fit
    that was killed are not lost to the one that goes on."""

    def __init__(self, inner: Progress, path: Path) -> None:
        self.inner, self.path = inner, path
        self.before = _lines(path)
        self.curve: list[dict[str, float]] = []

    @property
    def whole(self) -> list[dict[str, float]]:
        """The curve as if nothing had been killed: of the fit before, only what the one that went on did not repeat."""
        return [*self.before[: _joint(self.before, self.curve[0]) if self.curve else None], *self.curve]

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        if figures:
            self.curve.append({what: done, **{name: float(value) for name, value in figures.items()}})
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.curve[-1]) + "\n")
        self.inner.advance(done, total, what, **figures)


def _lines(path: Path) -> list[dict[str, float]]:
    """The figures in a file, without a line that a kill cut short."""
    found: list[dict[str, float]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with suppress(ValueError):
            found.append(json.loads(line))
    return found


def _joint(before: list[dict[str, float]], first: dict[str, float]) -> int | None:
    """From which place on `before` is repeated by a curve that begins so; where not all figures repeat, by the step alone."""
    step = list(first.items())[:1]
    alike = [i for i, told in enumerate(before) if told == first] or [
        i for i, told in enumerate(before) if list(told.items())[:1] == step
    ]
    return alike[-1] if alike else None


def _fit(run: Run, progress: Progress) -> Mapping[str, Any]:
    plan = run.settled
    # Before any training: with too few holdout rows nothing that is learned could be judged.
    check_enough(plan.gate, judged_counts(run))
    recorder = _Recorder(progress, told := run.folder / TOLD)
    family = family_of(plan)
    checkpoint = run.folder / "checkpoint"
    damaged = mend(checkpoint)
    resumed = checkpoint.is_dir() and any(checkpoint.iterdir())
    with paid(run, family) as held:
        with shared(plan, run.folder):
            fitted = held.family.fit(held.train, seed=plan.seed, progress=recorder, checkpoint=checkpoint)
        beside = _saved(run, fitted)
    # Not before the ledger has settled it: a model that is there has been paid for.
    beside.rename(run.folder / "model")
    write_text(run.folder / "training.json", json.dumps(recorder.whole))
    told.unlink(missing_ok=True)
    _keep_grids(run, checkpoint)
    shutil.rmtree(checkpoint, ignore_errors=True)
    facts = {"family": plan.generator.use, "resumed": resumed, "model_sha256": file_sha256(run.folder / "model/envelope.json")}
    facts |= {"notices": damaged} if damaged else {}
    facts |= {"processes": started()} if started() > 1 else {}
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
        rows = {"image": "pictures", "tabular": "rows of a table", "series": "series"}
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
