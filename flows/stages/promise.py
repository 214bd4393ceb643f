"""What does a release promise, may it be promised, and who remembers what was spent?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from configs.components import families
from configs.components import find as find_family
from configs.errors import DataFault, KeyFault
from configs.plan import Plan
from data.errors import DataError
from flows.ledger import reserve, settle
from flows.run import Run
from flows.stages.shared import dataset
from generators.base import Generator

#: What of `privacy` a family takes as its own setting.
SETTINGS = ("epsilon", "noise", "delta", "bounds")


def check_promise(plan: Plan) -> None:
    """Refuse a release whose family promises nothing, and a promise that no release is there to keep.

    Raises KeyFault at generator.use, purpose or privacy."""
    if plan.purpose != "release":
        if "privacy" in plan.model_fields_set:
            raise KeyFault(("privacy",), "states what a release promises; set purpose: release, or leave it out")
        return
    if plan.modality != "tabular" or plan.several:
        what = "pictures" if plan.modality != "tabular" else "tables that refer to one another"
        raise KeyFault(("purpose",), f"no family promises differential privacy of {what}; use augment, inside the house")
    if plan.generator.named and not private(plan.generator.use):
        able = ", ".join(sorted(name for name in families("generators", Generator) if private(name)))
        raise KeyFault(
            ("generator", "use"),
            f"{plan.generator.use} promises no differential privacy, which a release needs; use one of {able}",
        )


def private(name: str) -> bool:
    """Whether a family can promise differential privacy."""
    traits = getattr(find_family(name, Generator, package="generators"), "traits", None)
    return bool(traits is not None and traits.private)


def promised_settings(plan: Plan, known: Mapping[str, Any]) -> dict[str, Any]:
    """What the plan's promise says to a family that has such settings."""
    if plan.purpose != "release":
        return {}
    return {n: v for n in SETTINGS if n in known and (v := getattr(plan.privacy, n)) is not None}


@contextmanager
def paid(run: Run, family: Any) -> Iterator[dict[str, Any]]:
    """The fit in this block is written into the ledger before it begins, and settled when it is done; what it spends, {} for a
    run that promises nothing.

    Raises LedgerError where the budget is used up, and DataFault where a person stands in several rows."""
    plan = run.plan
    if plan.purpose != "release":
        yield {}
        return
    train, spec = dataset(run, "train"), plan.privacy
    for part in ("quasi", "secret"):
        for name in getattr(spec, part):
            try:
                train.schema[name]
            except DataError as error:
                raise DataFault(("privacy", part), str(error)) from None
    if spec.unit == "group":
        _one_row_each(run)
    epsilon, delta = family.promised(train.num_rows, train.schema.learned)
    path, source, fit = Path(spec.ledger), spec.source or plan.name, run.stages["split"]["key"][:16]
    data = run.stages["read"]["facts"]["data_sha256"]
    held = reserve(path, source=source, sha256=data, run=run.id, fit=fit, epsilon=epsilon, delta=delta, cap=spec.cap)
    yield {
        "epsilon": epsilon,
        "delta": delta,
        "source": source,
        "epsilon_of_source": held.epsilon,
        "delta_of_source": held.delta,
    }
    settle(path, run=run.id, fit=fit)


def _one_row_each(run: Run) -> None:
    """Raises DataFault where a value of the group has several training rows: a promise for one row is none for that person."""
    train = dataset(run, "train")
    group = train.schema.group
    if group is None:
        raise DataFault(("privacy", "unit"), "group: the plan names no group; state `group: <column>`, or promise for rows")
    values = train.column(group).combine_chunks().dictionary_encode().indices.drop_null().to_numpy()
    most = int(np.bincount(values).max(initial=0))
    if most > 1:
        raise DataFault(
            ("privacy", "unit"),
            f"group: one value of {group!r} has {most} training rows, and the promise is for one row; keep one row of each, or "
            "promise for rows and say so",
        )


def statement(run: Run) -> list[str]:
    """The promise in plain words, for those who get the rows: a sentence each."""
    plan, facts = run.plan, run.stages["fit"]["facts"].get("privacy")
    if facts is None:
        return []
    spec = plan.privacy
    whom = "one person (all rows of one value of the group, of which train has one each)" if spec.unit == "group" else "one row"
    where = {
        "declared": "Ranges and levels were declared, not read off the rows",
        "budget": "Ranges and levels that were not declared were paid for from the budget",
        "data": "Ranges and levels were read off the rows without paying: the promise is not end to end",
    }[spec.bounds]
    return [
        f"Protected: whether {whom} was among those that the model learned from, against anyone who sees these rows and "
        f"knows all others. Epsilon {facts['epsilon']:.3g}, delta {facts['delta']:.2g} (add or remove {whom})",
        f"{where}; names, kinds, digits and the number of rows are taken to be known",
        f"Of the source, {facts['epsilon_of_source']:.3g} epsilon are spent over all releases so far (they add up)",
        "Not protected: the gate looked at real rows that were held back, and its verdict and figures are of those; counts in "
        f"the report are of {spec.k} rows and more",
        "What holds of a group of people as a whole is learned, and may be told of each of them",
    ]
