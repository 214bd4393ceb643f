"""Can this be done here, before hours go into it? Time, memory and disk are measured, rows and modes are counted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from configs.components import find as find_family
from configs.errors import DataFault
from configs.plan import Plan
from data.words import UNITS
from flows.choose import PERMISSIVE, NoFamilyError, Out, Rubric, device_of
from flows.measure import Cost, available_mib, free_mib, measure
from flows.run import Run, digest, write_text
from generators.base import Generator, Traits

#: Seconds for which a family is measured.
SECONDS = 3.0
#: What is drawn is written twice (for the dataset, and as part of it), and the gate's own draw once.
COPIES = 3


@dataclass(frozen=True)
class Feasible:
    """go: whether nothing stands against it; against: each reason why it should not be begun; cost: what was measured."""

    cost: Cost
    rows: int
    against: tuple[str, ...]
    unit: str = "rows"

    @property
    def go(self) -> bool:
        return not self.against

    def said(self) -> str:
        """Expected time and memory, in a sentence."""
        cost = self.cost
        if cost.failed:
            return f"not measured: {cost.failed}"
        if cost.fit_s is None:
            return f"fitting: not one step ended within {cost.seen_s:.0f} s; memory {cost.peak_mib:,.0f} MiB"
        exact = cost.seen_s >= 0.99 * cost.fit_s
        fit = f"fitting about {duration(cost.fit_s)}" + ("" if exact else f" (measured {cost.seen_s:.0f} s of it)")
        draw = f"drawing {self.rows:,} {self.unit} about {duration(self.rows * (cost.row_s or 0.0))}"
        disk = cost.model_bytes / 1024**2 + COPIES * self.rows * cost.row_bytes / 1024**2
        return f"{fit}, {draw}; memory {cost.peak_mib:,.0f} MiB, disk {max(disk, 1):,.0f} MiB"

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"go": self.go, "against": list(self.against), "cost": dict(self.cost.__dict__), "rows": self.rows}


def duration(seconds: float) -> str:
    """A time in the unit that people would say it in."""
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def feasible(
    run: Run, plan: Plan, *, rows: int, classes: Mapping[Any, int], places: tuple[Path, ...], least: float | None
) -> Feasible:
    """Measure the family that a plan names, and say what stands against a run.

    rows: to draw, for the dataset and for the gate; classes: training rows of each class that is drawn; places:
    where runs and versions are written; least: the smallest mode that the gate could miss, None for any."""
    cost = _cost(run, plan.generator.use, plan.generator.settings)
    unit = f"{UNITS[plan.modality]}s"
    against = [
        *_time(cost, plan, rows),
        *_room(cost, rows, places),
        *_family(plan, classes, unit),
        *_modes(plan, least),
    ]
    if cost.failed:
        against.insert(0, cost.failed)
    return Feasible(cost, rows, tuple(against), unit)


def _cost(run: Run, family: str, settings: Mapping[str, Any]) -> Cost:
    """What a family costs, measured once in a run's folder: whoever chooses by it and whoever tells of it say the same."""
    kept = run.folder / f"cost-{digest(family, dict(settings))[:12]}.json"
    if not kept.is_file():
        write_text(kept, json.dumps(measure(run, family, settings, seconds=SECONDS).__dict__))
    return Cost(**json.loads(kept.read_text()))


def _time(cost: Cost, plan: Plan, rows: int) -> list[str]:
    most, whole = plan.choose.minutes, cost.total_s(rows)
    if most is None or whole is None or whole <= 60 * most:
        return []
    return [f"fitting and drawing would take about {duration(whole)} here, and choose.minutes allows {most:g}"]


def _room(cost: Cost, rows: int, places: tuple[Path, ...]) -> list[str]:
    out = []
    if (memory := available_mib()) is not None and cost.peak_mib > memory:
        out.append(f"it needs {cost.peak_mib:,.0f} MiB of memory, and {memory:,.0f} are free")
    needed = (cost.model_bytes + COPIES * rows * cost.row_bytes) / 1024**2
    short = [(place, free) for place in places if needed > (free := free_mib(place))]
    return out + [f"some {needed:,.0f} MiB would be written, and the disk of {p} has {free:,.0f} free" for p, free in short]


def _family(plan: Plan, classes: Mapping[Any, int], unit: str) -> list[str]:
    traits: Traits | None = getattr(find_family(plan.generator.use, Generator, package="generators"), "traits", None)
    if traits is None:
        return []
    if plan.generator.settings.get("backbone") and device_of(plan.device) == "cpu":
        return [
            f"{plan.generator.use} with a pretrained backbone takes hours without a GPU; leave generator.backbone out, for the "
            "small denoiser that learns here, or use a machine with a GPU (device: cuda)"
        ]
    few = {level: n for level, n in classes.items() if n < traits.rows_of_class}
    out = [
        f"{plan.generator.use} needs some {traits.rows_of_class} {unit} of a class, and {str(level).strip()!r} has {n} for it"
        for level, n in few.items()
    ]
    if "licence" in plan.choose.model_fields_set and plan.choose.licence == "permissive" and traits.licence not in PERMISSIVE:
        out.append(f"{plan.generator.use} needs what is under {traits.licence}, and choose.licence asks for a permissive one")
    return out


def _modes(plan: Plan, least: float | None) -> list[str]:
    if least is not None and least <= plan.gate.detect:
        return []
    seen = "no loss of a mode at all" if least is None else f"the loss of {100 * least:.2g} % and more"
    return [f"the gate could see {seen}, and gate.detect asks for {100 * plan.gate.detect:.3g} %: probably INCONCLUSIVE"]


def in_time(run: Run, found: Rubric, rows: int) -> Rubric:
    """What is left of a rubric once its families are timed, best first; the first that is in time ends the search.

    rows: to draw. Raises NoFamilyError where none is in time, with the quickest."""
    plan = run.plan
    late: list[Out] = []
    for place, each in enumerate(found.left):
        cost = _cost(run, each.family, {})
        reason = cost.failed or next(iter(_time(cost, plan, rows)), "")
        if not reason:
            return replace(found, left=found.left[place:], out=(*found.out, *late))
        late.append(Out(each.family, 4, reason))
    raise NoFamilyError(
        f"no family is done within choose.minutes: {plan.choose.minutes:g}; the first, {late[0].family}: {late[0].reason}; "
        "allow more minutes, or draw fewer rows (sample.rows)"
    )


def check_time(run: Run, rows: int) -> None:
    """Raises DataFault at choose.minutes where the family that a plan names takes longer than it allows."""
    plan = run.plan
    cost = _cost(run, plan.generator.use, plan.generator.settings)
    if late := _time(cost, plan, rows):
        raise DataFault(("choose", "minutes"), f"{plan.generator.use}: {late[0]}; allow more, or name no family")
