"""The rules of a plan's `constraints` on their way through a run: checked, built into the family, and told of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from configs.components import build
from configs.components import find as find_family
from configs.constraints import check_rules, rules
from configs.errors import DataFault, KeyFault
from configs.load import placed
from configs.plan import Plan
from data.constraints import ConstraintError, check
from data.schema import Schema
from flows.run import Run
from flows.stages.shared import dataset, generator_spec
from generators.base import Generator


def check_constraints(plan: Plan) -> None:
    """Refuse rules that no row could hold, or about columns that the plan leaves out.

    Raises KeyFault at constraints.<place>."""
    bounds = {name: (column.low, column.high) for name, column in plan.columns.items()}
    check_rules(plan.constraints, bounds, [name for name, column in plan.columns.items() if column.drop])


def check_rows(plan: Plan, schema: Schema, rows: pa.Table) -> None:
    """Raises ConstraintError for a rule that names no column of these data, or that real rows break."""
    check(rules(plan.constraints), schema, rows)


@contextmanager
def pointed(config: Path, overrides: Iterable[str] | None) -> Iterator[None]:
    """What the data say against a rule, or a class that the plan names, is said at its place in the plan's file.

    Raises PlanError."""
    try:
        yield
    except ConstraintError as error:
        raise placed(config, overrides or (), KeyFault(("constraints", error.place), error.message)) from None
    except DataFault as error:
        raise placed(config, overrides or (), KeyFault(error.key, error.message)) from None


def family_of(plan: Plan) -> Any:
    """The family that the plan names, not yet fitted, behind the plan's rules where it has some."""
    family = build(generator_spec(plan), Generator, package="generators")
    if not plan.constraints:
        return family
    from generators.tabular._constrained import Constrained

    return Constrained(family, tuple(rule.model_dump() for rule in plan.constraints))


def saved_model(run: Run) -> Generator:
    """The fitted model in a run's folder."""
    if run.plan.constraints:
        from generators.tabular._constrained import Constrained

        return Constrained.load(run.folder / "model")
    family: Any = find_family(run.settled.generator.use, Generator, package="generators")
    model: Generator = family.load(run.folder / "model")
    return model


def one_draw(model: Any) -> Any:
    """The model for a draw of several parts, over all of which its rules hold."""
    return model.one_draw() if hasattr(model, "one_draw") else model


def kept_of(draws: Iterable[Any]) -> Mapping[str, Any]:
    """What the rules cost in these draws: the share of drawn rows that were kept, and a sentence."""
    tallies = [draw.tally for draw in draws if hasattr(draw, "tally")]
    if not tallies:
        return {}
    drawn, kept = (sum(getattr(tally, name) for tally in tallies) for name in ("drawn", "kept"))
    worst = min((found for tally in tallies if (found := tally.worst())), key=lambda found: found[1], default=None)
    least = f"; fewest hold {worst[0]}: {_percent(worst[1])}" if worst else ""
    said = f"{_percent(kept / max(drawn, 1))} of {drawn:,} drawn rows hold every rule and were kept{least}"
    return {"kept": round(kept / max(drawn, 1), 4), "notices": [said]}


def foretold(run: Run) -> list[str]:
    """How each rule will be held, a sentence each, before anything is learned."""
    model = family_of(run.settled)
    return [] if not run.plan.constraints else list(model.foretell(dataset(run, "train"), seed=run.plan.seed))


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
