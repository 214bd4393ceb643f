"""Which family, and how many rows of each class? Written down with the reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from configs.components import find as find_family
from configs.errors import DataFault, KeyFault
from configs.plan import GeneratorSpec, Plan
from data.errors import DataError
from data.images import good
from data.mix import quotas
from data.schema import Schema
from flows.run import Run, Stage, digest, write_text
from flows.stages.shared import Step, class_counts, dataset, key_of, owned
from generators.base import Generator, Progress

if TYPE_CHECKING:
    from flows.amount import Amount
    from flows.choose import Rubric


def check_choose(plan: Plan) -> None:
    """Refuse trials of pictures and series before any work. Raises KeyFault at choose."""
    if plan.choose.how == "bakeoff" and plan.modality != "tabular":
        what = "pictures" if plan.modality == "image" else "series"
        raise KeyFault(
            ("choose",), f"trials are for tables; of {what} leave choose out, and five questions find the family, or name one"
        )


def _choose(run: Run, progress: Progress) -> Mapping[str, Any]:
    plan, data = run.plan, owned(run)
    counts = class_counts(data)
    drawn = drawn_rows(plan, data.schema, counts, data.num_rows)
    choice: dict[str, Any] = {"family": plan.generator.use, "reason": "the plan names it", "settings": plan.generator.settings}
    timed = plan.choose.minutes is not None and run.stages.get("measured", True)
    if plan.generator.named:
        _agrees(run, drawn)
    if plan.generator.named and timed:
        from flows.feasible import check_time

        check_time(run, sum(drawn.values()))
    if not plan.generator.named:
        choice = _chosen(run, drawn, progress)
        plan = plan.model_copy(update={"generator": GeneratorSpec(use=choice["family"], **choice["settings"])})
        drawn = drawn_rows(plan, data.schema, counts, data.num_rows)
    if plan.sample.rows == "sweep":
        swept = _swept(run, choice, counts, drawn, progress)
        choice |= {"sweep": swept.to_json(), "family": swept.family, "reason": swept.says}
        drawn = {level: swept.draw.get(level, 0) for level in counts}
    choice |= {
        "rows": data.num_rows,
        "classes": {str(k): n for k, n in counts.items()},
        "draw": {str(k): n for k, n in drawn.items()},
    }
    write_text(run.folder / "choice.json", json.dumps(choice, indent=1))
    return choice


def _agrees(run: Run, drawn: Mapping[Any, int]) -> None:
    """Raises DataFault where a plan names a family that its own answers rule out."""
    from flows.choose import facts_of, fills_up, ruled_out
    from flows.stages.split import parts_of

    plan = run.plan
    if not plan.choose.model_fields_set & {"use", "avoid"}:
        return
    train = parts_of(run).train
    facts = facts_of(plan, train.num_rows, class_counts(train), drawn, lambda family: None)
    out = ruled_out(plan.generator.use, facts, plan.choose, balanced=fills_up(plan, len(facts.classes)))
    if out is not None:
        answer = "use" if out.question == 3 else "avoid"
        raise DataFault(
            ("generator", "use"),
            f"choose.{answer} rules {out.family} out ({out.reason}); change the answer, or leave one of the two out",
        )


def _swept(
    run: Run, choice: Mapping[str, Any], counts: Mapping[Any, int], drawn: Mapping[Any, int], progress: Progress
) -> Amount:
    """Family and rows of each class that help a model most. Raises NothingToAddError where none do."""
    from flows.amount import TRIED, NothingToAddError, amount
    from flows.stages.split import parts_of

    decided = "rubric" not in choice or "bakeoff" in choice
    left = [choice["family"]] if decided else [each["family"] for each in choice["rubric"]["left"]]
    scarce = sorted((level for level, n in drawn.items() if n), key=lambda level: counts[level])
    found = amount(run.plan, parts_of(run).train, left[:TRIED], counts, scarce, progress)
    if found.family is None:
        write_text(run.folder / "choice.json", json.dumps({**choice, "sweep": found.to_json()}, indent=1))
        raise NothingToAddError(f"{found.says}; nothing is published, unless you run it with --force")
    return found


def _chosen(run: Run, drawn: Mapping[Any, int], progress: Progress) -> dict[str, Any]:
    """The family that the rubric, or the trials, put first, and why. Raises NoFamilyError where none is left."""
    found = asked(run, drawn)
    if run.plan.choose.how == "bakeoff":
        from flows.bakeoff import chosen_by_trials

        return chosen_by_trials(run, found, drawn, progress)
    if run.plan.choose.minutes is not None and run.stages.get("measured", True):
        from flows.feasible import in_time

        found = in_time(run, found, sum(drawn.values()))
    first = found.left[0]
    return {"family": first.family, "reason": first.reason, "settings": {}, "rubric": found.to_json()}


def asked(run: Run, drawn: Mapping[Any, int]) -> Rubric:
    """The five questions, of the rows that a run trains on; drawn: rows to draw of each class."""
    from flows.choose import facts_of, fills_up, refused, rubric
    from flows.stages.split import parts_of

    plan, train = run.plan, parts_of(run).train

    facts = facts_of(plan, train.num_rows, class_counts(train), drawn, lambda family: refused(family, train))
    return rubric(facts, plan.choose, balanced=fills_up(plan, len(facts.classes)))


def drawn_rows(plan: Plan, schema: Schema, counts: Mapping[Any, int], rows: int) -> dict[Any, int]:
    """Synthetic rows to draw of each class: {level: n}; {None: n} without classes."""
    asked = plan.sample.rows
    if isinstance(asked, dict):
        return _as_stated(asked, schema, counts, painted_on(plan, schema))
    stated = asked if isinstance(asked, int) else None
    if not counts or plan.purpose == "release":
        return {None: stated or rows}
    mix: Any = plan.sample.mix
    if isinstance(mix, dict):
        mix = {_level(schema, "mix", level): weight for level, weight in mix.items()}
    include = plan.sample.include_real
    return quotas(counts, mix, rows=stated, include_real=include, spared=painted_on(plan, schema))


def _as_stated(asked: Mapping[str, int], schema: Schema, counts: Mapping[Any, int], spared: str | None) -> dict[Any, int]:
    """Rows of each class as the plan says. Raises DataFault for a class that there is not, or that is not drawn."""
    if not counts:
        raise DataFault(("sample", "rows"), f"names classes, and the target {schema.target!r} has none; state how many in all")
    rows = {_level(schema, "rows", level): n for level, n in asked.items()}
    if spared is not None and rows.get(spared):
        raise DataFault(
            ("sample", "rows", spared), "these are the good parts that this family paints on; ask for defects alone"
        )
    return {level: rows.get(level, 0) for level in counts}


def _level(schema: Schema, part: str, named: str) -> Any:
    """The class that a key of sample.mix or sample.rows names. Raises DataFault there."""
    try:
        return schema[str(schema.target)].level(named)
    except DataError as error:
        raise DataFault(("sample", part, named), str(error)) from None


def painted_on(plan: Plan, schema: Schema) -> str | None:
    """The class of good parts, where the family paints defects on them and so draws none; else None."""
    if not plan.generator.named:
        return None
    family = find_family(plan.generator.use, Generator, package="generators")
    if not getattr(family, "paints", False) or plan.generator.settings.get("task") == "whole":
        return None
    stated = plan.generator.settings.get("normal")
    return str(stated) if stated is not None else good(schema.classes())


def judged_counts(run: Run) -> dict[Any, int]:
    """Holdout rows of each class that rows are drawn for, which are those the gate judges by; {None: n} without classes."""
    data, holdout = owned(run), dataset(run, "holdout")
    drawn = drawn_rows(run.settled, data.schema, class_counts(data), data.num_rows)
    counts = class_counts(holdout) if run.plan.purpose != "release" else {}
    counts = counts or {None: holdout.num_rows}
    return {level: n for level, n in counts.items() if drawn[level]}


def _key(run: Run) -> str:
    """As of every stage; where trials decide, also what these depend on."""
    if run.plan.choose.how != "bakeoff":
        return _PLAIN(run)
    from flows.bakeoff import key

    return digest(_PLAIN(run), key(run))


_PLAIN = key_of(
    "choose",
    "profile",
    *("data/mix.py", "flows/choose.py", "flows/amount.py", "flows/stages/choose.py", "validators/worth.py"),
    part=lambda p: [p.generator, p.choose, p.sample, p.split, p.seed, p.device],
)
STEP = Step(Stage("choose", ("choice.json",)), _key, _choose)
