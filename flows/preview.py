"""What would a run do? The data, the family and why, rows per class, what it costs, and what the gate could miss."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from configs.plan import Plan
from data.dataset import Dataset
from data.windows import SERIES
from data.words import UNITS
from flows.amount import FOLDS
from flows.choose import UNBUILT, NoFamilyError
from flows.feasible import Feasible, feasible
from flows.power import detectable
from flows.recognise import Other
from flows.run import Run, all_runs
from flows.stages import perform
from flows.stages.choose import asked, drawn_rows
from flows.stages.fit import check_material
from flows.stages.promise import budget, private, terms
from flows.stages.read import fingerprint
from flows.stages.rules import family_of, foretold
from flows.stages.shared import class_counts, dataset, owned


def preview(plan: Plan, runs: Path, *, measured: bool = True) -> dict[str, Any]:
    """Everything that a run does before it trains, done in a folder that is thrown away.

    measured: whether some steps of the family's training are timed, too (seconds).

    Returns said (name -> sentence), classes (one mapping each), notices. Raises what a run would raise.
    """
    if plan.several:
        return _of_tables(plan)
    swept = plan.sample.rows == "sweep"
    if swept:
        plan = plan.model_copy(update={"sample": plan.sample.model_copy(update={"rows": "auto"})})
    with tempfile.TemporaryDirectory(prefix="counterpoise-") as folder:
        run = Run.open(Path(folder), plan, fingerprint(plan))
        run.note("measured", measured)
        run.note("foretold", True)  # so that `choose` says what it would try, and tries nothing
        facts = {name: perform(run, name)[0] for name in ("read", "profile", "choose", "split")}
        check_material(run)
        data, holdout = dataset(run), dataset(run, "holdout")
        profile = json.loads((run.folder / "profile.json").read_text())
        counts = class_counts(data)
        kept = owned(run)
        plan = run.settled
        drawn = drawn_rows(plan, data.schema, class_counts(kept), kept.num_rows)
        # A release draws rows as the model has them, not class by class.
        classes = [] if None in drawn else _classes(plan, counts, class_counts(holdout), drawn)
        said = _said(plan, facts, profile, data, kept.num_rows, drawn, runs)
        ruled = foretold(run)
        chosen = _choice(run, drawn)
        judged = sum(c["holdout"] for c in classes if c["draw"]) if classes else holdout.num_rows
        least = detectable(plan.gate, judged)
        against = []
        if plan.purpose == "release" and private(plan.generator.use):
            said["privacy"], short = budget(run, terms(run, family_of(plan)))
            against = [short] if short else []
        said["gate"] = _gate(plan, judged, least)
        # Of a bake-off the family is not known before its trials.
        trials = run.plan.choose.how == "bakeoff"
        able = _feasible(run, plan, drawn, judged, least, runs) if measured and not trials else None
    if swept:
        said["rows"] += f"; that is the most: the sweep finds how many help, in {FOLDS} folds of train, or that none do"
    if able is not None:
        able = replace(able, against=(*able.against, *against))
        said["cost"] = f"{able.said()}{_took(plan, runs)}"
        said["feasible"] = "go: nothing stands against it" if able.go else f"no-go: {'; '.join(able.against)}"
    notices = [notice for name in ("read", "profile", "split") for notice in facts[name].get("notices", ())]
    told: dict[str, Any] = {"said": said, "classes": classes, "notices": notices, "smallest_detectable_mode": least}
    told |= {"rules": ruled} if ruled else {}
    told["choice"] = chosen
    told |= {"personal": profile["pii"]} if profile.get("pii") else {}
    told |= {"feasible": able.to_json()} if able is not None else {}
    return told | ({"groups": profile["groups"]} if "groups" in profile else {})


def _choice(run: Run, drawn: Mapping[Any, int]) -> dict[str, Any]:
    """The five questions and what they leave; where the plan names a family, what they would have left."""
    choice = json.loads((run.folder / "choice.json").read_text())
    named: dict[str, Any] = {"family": choice["family"], "named": "rubric" not in choice}
    if "rubric" in choice:
        return {**named, **choice["rubric"], **({"bakeoff": choice["bakeoff"]} if "bakeoff" in choice else {})}
    try:
        return named | asked(run, drawn).to_json()
    except NoFamilyError as error:
        return named | {"answers": [], "out": [], "left": [], "advice": str(error)}


def without_family(path: str, kind: Other) -> dict[str, Any]:
    """What can be said of texts and programs, which no family draws: which families there are, and why none is theirs."""
    answer = {"question": 1, "answer": kind, "source": "data"}
    choice = {"family": None, "named": False, "answers": [answer], "out": [], "left": [], "advice": ""}
    told = {"data": f"{path}: {kind}", "family": f"none. {UNBUILT[kind]}"}
    return {"said": told, "classes": [], "notices": [], "smallest_detectable_mode": None, "choice": choice}


def _of_tables(plan: Plan) -> dict[str, Any]:
    """Of tables that refer to one another: rows, keys, and which parent counts the rows of each."""
    from flows.stages.tables import run_tables
    from generators.tabular.relational import lay_out

    with tempfile.TemporaryDirectory(prefix="counterpoise-") as folder:
        run = Run.open(Path(folder), plan, fingerprint(plan))
        facts = {name: perform(run, name)[0] for name in ("read", "profile")}
        tables = run_tables(run)
        said = {}
        for name in tables.relations.order():
            layout = lay_out(tables, name)
            owner = f", counted by {layout.owner.column} -> {layout.owner.parent}" if layout.owner else ""
            others = [f"{key.column} -> {key.parent}" for key in (*layout.others, *layout.selves)]
            also = f", matched by {', '.join(others)}" if others else ""
            said[name] = f"{tables[name].num_rows:,} rows, {len(tables[name].schema.learned)} columns learned{owner}{also}"
        personal = json.loads((run.folder / "profile.json").read_text())["pii"]
    said["gate"] = "keys are checked, nothing else: tables that refer to one another are not judged, nor published"
    notices = list(facts["profile"].get("notices", ()))
    told = {"said": said, "classes": [], "notices": notices, "smallest_detectable_mode": None}
    return told | ({"personal": personal} if personal else {})


def _said(
    plan: Plan,
    facts: Mapping[str, Any],
    profile: Mapping[str, Any],
    data: Dataset,
    kept: int,
    drawn: Mapping[Any, int],
    runs: Path,
) -> dict[str, str]:
    kinds: dict[str, int] = {}
    for column in data.schema:
        kinds[column.kind] = kinds.get(column.kind, 0) + 1
    shown = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items(), key=lambda item: -item[1]))
    rows, modality = facts["split"]["rows"], plan.modality
    unit = f"{UNITS[modality]}s"
    reference = (
        f"training {unit} are the reference" if facts["split"]["reference_is_train"] else f"{rows['reference']:,} reference"
    )
    target = {"target": _target(plan, data)} if modality == "tabular" else {}
    told = {
        "tabular": lambda: f"{data.num_rows:,} rows, {len(data.schema)} columns ({shown})",
        "image": lambda: _pictures(profile, data),
        "series": lambda: _series(profile, data),
    }
    return {
        "data": told[modality](),
        **target,
        "imbalance": _imbalance(class_counts(data), unit),
        "split": f"{rows['train']:,} to train, {reference}, {rows['holdout']:,} holdout",
        "family": _family(facts["choose"]),
        unit: f"{sum(drawn.values()):,} synthetic"
        + (f", beside {kept:,} real" if plan.sample.include_real and plan.purpose == "augment" else ""),
        "cost": "not measured" + _took(plan, runs),
    }


def _target(plan: Plan, data: Dataset) -> str:
    if plan.target is None:
        return "none: no column is taken for classes"
    classes = data.schema.classes()
    return f"{plan.target}, {len(classes)} classes" if classes else f"{plan.target}, a number"


def _family(choice: Mapping[str, Any]) -> str:
    return str(choice["reason"]) if "bakeoff" in choice else f"{choice['family']}: {choice['reason']}"


def _pictures(profile: Mapping[str, Any], data: Dataset) -> str:
    marked = sum(c["marked"] for c in profile["classes"])
    groups, side = profile["apart"], profile["size"]
    return f"{data.num_rows:,} pictures of {side} x {side} px, {profile['mode']}, {marked:,} with marks, in {groups:,} groups"


def _series(profile: Mapping[str, Any], data: Dataset) -> str:
    """Windows, their channels and lengths, and how many machines they are of."""
    column = data.schema[SERIES]
    period = "as they came" if column.period is None else f"one every {column.period:.6g} s"
    low, high = profile["lengths"]
    length = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    channels = f"{len(column.channels)} channel{'s' if len(column.channels) > 1 else ''} ({', '.join(column.channels[:6])})"
    return f"{data.num_rows:,} windows of {length} readings, {period}, {channels}, of {profile['entities']:,} entities"


def _imbalance(counts: Mapping[Any, int], unit: str) -> str:
    if not counts:
        return "no classes: the plan names no categorical target"
    top, low = max(counts.values()), min(counts.values())
    rare = str(min(counts, key=lambda level: counts[level])).strip()
    return f"{top / low:.3g} {unit} of the largest class for each of {rare} ({low:,} {unit})"


def _feasible(run: Run, plan: Plan, drawn: Mapping[Any, int], judged: int, least: float | None, runs: Path) -> Feasible:
    counts = class_counts(dataset(run, "train"))
    # A release draws all classes, though a plan does not say how many of each.
    classes = {level: n for level, n in counts.items() if drawn.get(level) or plan.purpose == "release"}
    places = (runs, Path(plan.publish.root)) if "://" not in plan.publish.root else (runs,)
    rows = sum(drawn.values())
    return feasible(run, plan, rows=rows + plan.gate.draws * judged, classes=classes, places=places, least=least)


def _took(plan: Plan, runs: Path) -> str:
    """What an earlier run of this name took, where there is one."""
    took = [
        run
        for run in all_runs(runs)
        if run.folder.parent.name == plan.name and "fit" in run.stages and run.settled.generator == plan.generator
    ]
    if not took:
        return ""
    last = took[-1]
    return f"; in run {last.id} fitting took {last.stages['fit']['seconds']:.0f} s"


def _classes(
    plan: Plan, counts: Mapping[Any, int], holdout: Mapping[Any, int], drawn: Mapping[Any, int]
) -> list[dict[str, Any]]:
    return [
        {
            "name": str(level).strip(),
            "real": n,
            "holdout": holdout.get(level, 0),
            "draw": drawn.get(level, 0),
            "detectable": detectable(plan.gate, holdout.get(level, 0)),
        }
        for level, n in counts.items()
    ]


def _gate(plan: Plan, judged: int, least: float | None) -> str:
    wanted = f"the plan asks for {100 * plan.gate.detect:.3g} %"
    unit = f"{UNITS[plan.modality]}s"
    if least is None:
        return f"too few holdout {unit} ({judged:,}) to see a mode go missing; {wanted}: probably INCONCLUSIVE"
    end = "" if least <= plan.gate.detect else ": probably INCONCLUSIVE"
    # Rows always fall into cells; pictures of one class may all be of one kind, and then no part of it can go missing.
    where = "" if plan.modality == "tabular" else ", where they fall into kinds at all"
    seen = f"notices the absence of a mode from about {100 * least:.2g} % of the {judged:,} holdout {unit} judged{where}"
    return f"{seen}; {wanted}{end}"
