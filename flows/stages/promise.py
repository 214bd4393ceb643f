"""What does a release promise, may it be promised, and who remembers what was spent?"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from configs.components import families
from configs.components import find as find_family
from configs.errors import DataFault, KeyFault
from configs.plan import Plan
from configs.sources import SqlSource
from data.dataset import Dataset
from data.errors import DataError
from flows.ledger import account, forget, reserve, settle
from flows.run import Run
from flows.stages.personal import ANEW, DROPPED
from flows.stages.read import fingerprint
from flows.stages.shared import dataset
from generators.base import Generator, GeneratorError, NoisyError
from generators.tabular._dp_domain import refuse_odd

#: What of `privacy` a family takes as its own setting.
SETTINGS = ("epsilon", "noise", "delta", "bounds", "k")


def check_promise(plan: Plan) -> None:
    """Refuse a release whose family promises nothing, and a promise that no release is there to keep.

    Raises KeyFault at generator.use, purpose or privacy."""
    if plan.purpose != "release":
        if "privacy" in plan.model_fields_set:
            raise KeyFault(("privacy",), "states what a release promises; set purpose: release, or leave it out")
        return
    if plan.modality != "tabular" or plan.several:
        what = "tables that refer to one another" if plan.several else "pictures" if plan.modality == "image" else "series"
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


#: Epsilon above which a promise hardly protects anybody.
WEAK = 10.0


@dataclass(frozen=True)
class Fitting:
    """What is fitted: the family with the settings of the promise for one row, the rows that it may learn from, and what it
    spends of the source ({} for a run that promises nothing)."""

    family: Any
    train: Dataset
    spent: Mapping[str, Any]


@dataclass(frozen=True)
class Terms:
    """What a release's fit would spend, of whose rows, and of which source."""

    family: Any
    train: Dataset
    epsilon: float
    delta: float
    source: str
    sha256: str


def terms(run: Run, family: Any) -> Terms:
    """The terms of a release's fit, before anything is spent.

    Raises DataFault for columns of the promise that are not there or not learned, and where a person stands in more rows than
    it is for; GeneratorError for rows that hold what the plan says there is none of."""
    plan, train = run.plan, dataset(run, "train")
    spec = plan.privacy
    for part in ("quasi", "secret"):
        for name in getattr(spec, part):
            try:
                column = train.schema[name]
            except DataError as error:
                raise DataFault(("privacy", part), str(error)) from None
            if not column.learned:
                raise DataFault(("privacy", part), f"nothing of {name!r} is learned or told ({column.kind}); leave it out")
    if spec.unit == "group":
        train = _of_people(train, spec.rows, plan.seed)
        family = for_people(family, spec.rows, train.num_rows)
    refuse_odd(train, spec.bounds)
    epsilon, delta = family.promised(train.num_rows, train.schema.learned)
    epsilon, delta = people_from_row(epsilon, delta, spec.rows)
    return Terms(family, train, epsilon, delta, spec.source or plan.name, _bytes_of(run))


def _bytes_of(run: Run) -> str:
    """sha256 of all that the source holds: columns that a plan drops are of the same people."""
    if isinstance(run.plan.data, SqlSource):
        return fingerprint(run.plan.model_copy(update={"columns": {}}))
    return str(run.stages["fingerprint"])


def budget(run: Run, found: Terms) -> tuple[str, str | None]:
    """What a release would spend and what is left, in a sentence; and in another what stands against it, None if nothing."""
    spec = run.plan.privacy
    taken = account(Path(spec.ledger), found.source, found.sha256).epsilon
    whom = f"one person ({spec.rows} rows at most)" if spec.unit == "group" else "one row"
    said = f"epsilon {found.epsilon:.3g}, delta {found.delta:.2g} for {whom}; of {found.source!r} {taken:.3g} spent so far"
    said += f" of {spec.cap:g}" if spec.cap is not None else ", and no privacy.cap"
    if spec.unit == "row" and run.plan.group is not None:
        said += f"; rows of one {run.plan.group!r} are protected one by one, privacy.unit: group protects them together"
    if found.epsilon > WEAK:
        said += f"; above {WEAK:g} a promise hardly protects anybody"
    if spec.cap is not None and taken + found.epsilon > spec.cap:
        return (
            said,
            f"privacy.cap: {max(spec.cap - taken, 0):.3g} is left of {found.source!r}, and it spends {found.epsilon:.3g}",
        )
    return said, None


@contextmanager
def paid(run: Run, family: Any) -> Iterator[Fitting]:
    """The fit in this block is written into the ledger before it begins, and settled when it is done, or when noise has shown
    that it cannot be; refused without that, it costs nothing.

    Raises LedgerError where the budget is used up, and what `terms` raises."""
    plan = run.plan
    if plan.purpose != "release":
        yield Fitting(family, dataset(run, "train"), {})
        return
    spec, found = plan.privacy, terms(run, family)
    path, fit = Path(spec.ledger), run.stages["split"]["key"][:16]
    held = reserve(
        path, source=found.source, sha256=found.sha256, run=run.id, fit=fit, epsilon=found.epsilon, delta=found.delta,
        cap=spec.cap,
    )  # fmt: skip
    spent = {
        "epsilon": found.epsilon,
        "delta": found.delta,
        "source": found.source,
        "epsilon_of_source": held.epsilon,
        "delta_of_source": held.delta,
        "unit": spec.unit,
        "rows_of_unit": spec.rows,
    }
    try:
        yield Fitting(found.family, found.train, spent)
    except NoisyError as error:
        settle(path, run=run.id, fit=fit)
        raise NoisyError(f"{error}; the look at the rows is paid for all the same (epsilon {found.epsilon:.3g})") from None
    except GeneratorError:
        forget(path, run=run.id, fit=fit)
        raise
    settle(path, run=run.id, fit=fit)


def people_from_row(epsilon: float, delta: float, rows: int) -> tuple[float, float]:
    """What a promise for one row is for so many rows together.

    Source: Dwork and Roth 2014 (The Algorithmic Foundations of Differential Privacy), theorem 2.2, with the terms of delta
    along the chain of neighbours."""
    return rows * epsilon, delta * math.fsum(math.exp(i * epsilon) for i in range(rows))


def for_people(family: Any, rows: int, n: int) -> Any:
    """The family with the budget of one row that keeps its own for so many rows; n: training rows."""
    if rows == 1:
        return family
    from generators.tabular._dp_family import EPSILON, delta_of

    each = (family.epsilon or EPSILON) / rows
    _, grown = people_from_row(each, 1.0, rows)
    return replace(family, epsilon=each, delta=delta_of(family, n) / grown)


def _of_people(train: Dataset, rows: int, seed: int) -> Dataset:
    """Training rows, at most so many of each value of the group. Which are kept hangs on that value and the seed alone: with
    one person more or less, the others keep theirs.

    Raises DataFault where the group is learned, or where `rows` is 1 and somebody has more."""
    group = train.schema.group
    assert group is not None  # the plan names it
    if train.schema[group].learned:
        raise DataFault(
            ("privacy", "unit"), f"group: {group!r} tells people apart, and would be learned; state columns.{group}.kind: id"
        )
    people = train.column(group).combine_chunks().dictionary_encode()
    codes = people.indices.fill_null(-1).to_numpy()
    counts = np.bincount(codes[codes >= 0], minlength=len(people.dictionary))
    if not (counts > rows).any():
        return train
    if rows == 1:
        raise DataFault(
            ("privacy", "unit"),
            f"group: one value of {group!r} has {counts.max()} training rows, and the promise is for one row; state "
            "privacy.rows, of how many of one person's rows it is, or promise for rows and say so",
        )
    kept = np.ones(train.num_rows, dtype=bool)
    order = np.argsort(codes, kind="stable")[(codes < 0).sum() :]
    for person, own in enumerate(np.split(order, np.cumsum(counts)[:-1])):
        if len(own) > rows:
            digest = hashlib.sha256(f"{seed}|{people.dictionary[person].as_py()}".encode()).digest()
            rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
            kept[own] = False
            kept[np.sort(rng.permutation(own)[:rows])] = True
    return train.take(np.flatnonzero(kept))


def statement(run: Run) -> list[str]:
    """The promise in plain words, for those who get the rows: a sentence each."""
    plan, facts = run.plan, run.stages["fit"]["facts"].get("privacy")
    if facts is None:
        return []
    spec = plan.privacy
    whom = "one person" if spec.unit == "group" else "one row"
    people = (
        f" (one value of {plan.group!r}, of which at most {spec.rows} rows are learned from)" if spec.unit == "group" else ""
    )
    where = {
        "declared": "Ranges and levels were declared, not read off the rows",
        "budget": "Ranges and levels that were not declared were paid for from the budget",
        "data": "Ranges and levels were read off the rows without paying: the promise is not end to end",
    }[spec.bounds]
    odds = f"{math.exp(min(facts['epsilon'], 700)):,.3g}"
    return [
        f"Protected: whether {whom}{people} was among those that the model learned from, against anyone who sees these rows "
        f"and knows all others. Epsilon {facts['epsilon']:.3g}, delta {facts['delta']:.2g}: with {whom} more or less, the "
        f"odds of anything that could be told from these rows change by a factor of {odds} at most, but for a chance of delta",
        f"{where}; names, kinds, decimal places and the number of rows are taken to be known",
        f"Of the source {facts['source']!r}, {facts['epsilon_of_source']:.3g} epsilon are spent or reserved over all runs so "
        "far, published or not (they add up); other tables of the same people count where their privacy.source is the same",
        *_columns_told(run),
        "Not protected: the gate looked at real rows that were held back, and its verdict and figures are of those, without "
        f"noise; counts in the report are of {spec.k} rows and more",
        "What holds of a group of people as a whole is learned, and may be told of each of them",
    ]


def _columns_told(run: Run) -> list[str]:
    """Which columns are invented or left out, and that nobody has several rows."""
    found = json.loads((run.folder / "profile.json").read_text()).get("pii", [])
    group, out = run.plan.group, []
    for done, said in (
        (ANEW, "Invented with Faker, unrelated to anybody and to the rest of the row: {}"),
        (DROPPED, "Left out: {}"),
    ):
        if names := [each["column"] for each in found if each["done"] == done and each["column"] != group]:
            out.append(said.format(", ".join(names)))
    if found:
        out.append("What says who somebody is was looked for by names, forms and samples of the columns, which can miss some")
    if group is not None:
        out.append(f"Each row stands for itself: values of {group!r} are new, and no two rows share one")
    return out
