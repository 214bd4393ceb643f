"""The gate, from rows to a decision: which checks run, in which order, on which evidence?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import pyarrow.compute as pc

from data.dataset import Dataset
from data.errors import DataError
from validators._privacy_roles import Roles
from validators.base import Check, Evidence, Finding, Intent, Privacy
from validators.conform import check_columns, conform, joined, load, synthetic_alone, table
from validators.gate import Decision, decide
from validators.mix import intended
from validators.stats import listed
from validators.yardstick import apart

Utility = Literal["quick", "full", "off"]
HOLDOUT_SHARE = 0.25


class Tell(Protocol):
    """Told where the judging stands."""

    def advance(self, done: int, total: int, what: str, **figures: float) -> None: ...


def checks(*, suite: Path | None = None, utility: Utility = "quick", privacy: bool = False) -> list[Check]:
    """All checks in their order. suite: a team's own Great Expectations suite; utility: how far to look, or "off"; privacy:
    whether attacks on people are tried, which `Intent.privacy` describes."""
    from validators.copies import CopiesCheck
    from validators.coverage import CoverageCheck
    from validators.duplicates import DuplicatesCheck
    from validators.fidelity import FidelityCheck
    from validators.labels import LabelsCheck
    from validators.modes import ModesCheck
    from validators.pairs import PairsCheck
    from validators.schema import SchemaCheck
    from validators.spread import SpreadCheck
    from validators.suite import SuiteCheck
    from validators.utility import UtilityCheck

    if utility not in get_args(Utility):
        raise DataError(f"utility must be one of {', '.join(get_args(Utility))}, not {utility!r}")
    own: list[Check] = [] if suite is None else [SuiteCheck(suite)]
    last: list[Check] = [] if utility == "off" else [UtilityCheck(depth=utility)]
    fixed: list[Check] = [
        SchemaCheck(), ModesCheck(), CopiesCheck(), SpreadCheck(), LabelsCheck(), DuplicatesCheck(), CoverageCheck(),
        PairsCheck(), FidelityCheck(),
    ]  # fmt: skip
    return [fixed[0], *own, *fixed[1:], *(_attacks() if privacy else []), *last]


def _attacks() -> list[Check]:
    from validators.inference import InferenceCheck
    from validators.linkability import LinkabilityCheck
    from validators.membership import MembershipCheck
    from validators.rare import RareCheck
    from validators.singling_out import SinglingOutCheck

    return [MembershipCheck(), SinglingOutCheck(), LinkabilityCheck(), InferenceCheck(), RareCheck()]


def judge(
    train: Any,
    holdout: Any = None,
    synthetic: Any = None,
    *,
    reference: Any = None,
    target: str | None = None,
    mix: Mapping[Any, float] | None = None,
    detect: float = 0.05,
    alpha: float = 0.01,
    attempt: int = 1,
    limits: Mapping[str, Mapping[str, float]] | None = None,
    seed: int = 0,
    suite: Path | None = None,
    utility: Utility = "quick",
    privacy: Privacy | None = None,
    docs: Path | None = None,
    lineage: Mapping[str, Any] | None = None,
    progress: Tell | None = None,
) -> Decision:
    """May this synthetic set stand in for the real one? Rows are Datasets, pandas or Arrow tables, or csv/parquet paths.

    holdout: real rows the generator never saw; None keeps a quarter of train aside, which the generator may have seen.
    reference: rows that fix the geometry; None takes train. mix, detect, alpha, attempt, limits, seed: see `Intent`.
    suite: file of a Great Expectations suite to run too. utility: "quick" trains on the synthetic rows and tests on the
    holdout, "full" also measures whether they help beside the real ones (minutes), "off" does neither.
    privacy: what an attacker knows and wants; None tries no attacks on people (seconds to a minute each).
    docs: folder for Great Expectations' Data Docs. Raises DataError when rows cannot be read or compared."""
    intent = Intent(mix=mix, detect=detect, alpha=alpha, attempt=attempt, seed=seed, limits=limits or {}, privacy=privacy)
    evidence = prepare(train, holdout, synthetic, reference=reference, target=target, intent=intent, suite=suite)
    running = checks(suite=suite, utility=utility, privacy=privacy is not None)
    return pronounce(evidence, lineage=lineage, docs=docs, progress=progress, only=running)


@dataclass(frozen=True, kw_only=True)
class Prepared(Evidence):
    """Evidence with what the reader of the decision should know about how it came about, a sentence each."""

    notices: tuple[str, ...] = ()


def prepare(
    train: Any,
    holdout: Any = None,
    synthetic: Any = None,
    *,
    reference: Any = None,
    target: str | None = None,
    intent: Intent,
    suite: Path | None = None,
) -> Prepared:
    """The rows of `judge`, read, brought to one schema and found fit to be judged.

    Raises DataError when they cannot be read or compared, or the suite cannot be used on them."""
    if synthetic is None:
        raise DataError("there are no synthetic rows to judge; give synthetic=")
    evidence = _evidence(train, holdout, synthetic, reference, target, intent)
    _refuse(evidence)
    if suite is not None:
        from validators.suite_file import read_suite

        read_suite(suite, evidence.synthetic.source.schema.names)
    return evidence


def pronounce(
    evidence: Evidence,
    *,
    lineage: Mapping[str, Any] | None = None,
    docs: Path | None = None,
    progress: Tell | None = None,
    only: Sequence[Check] | None = None,
) -> Decision:
    """The gate on evidence of one schema. only: the checks to run in place of all; docs: folder for the Data Docs."""
    running = checks() if only is None else list(only)
    findings = []
    for done, check in enumerate(running):
        if progress is not None:
            progress.advance(done, len(running), f"now {check.name}; checks done")
        findings.append(run(_telling(check, progress), evidence))
    if progress is not None:
        progress.advance(len(running), len(running), "checks done")
    notices = list(getattr(evidence, "notices", ()))
    told = {**(lineage or {}), **({"notices": notices} if notices else {})}
    decision = decide(findings, intent=evidence.intent, lineage=told)
    if docs is not None:
        from validators.gx_docs import write_docs

        write_docs(docs, evidence, decision)
    return decision


def _telling(check: Check, progress: Tell | None) -> Check:
    """A check that has a field `tell` takes minutes, and says where it stands by itself."""
    if progress is None or not is_dataclass(check) or not hasattr(check, "tell"):
        return check
    told: Check = replace(check, tell=progress)
    return told


def run(check: Check, evidence: Evidence) -> Finding:
    """One check's finding; an error of its own becomes the finding ERROR, so that it does not silence the others."""
    evaluate: Callable[[Evidence], Finding] = check.evaluate
    try:
        return evaluate(evidence)
    except Exception as error:  # one check that raises must not silence the others; it is not hidden either
        said = str(error).strip().splitlines() or [""]
        kind = "" if isinstance(error, DataError) else f"{type(error).__name__}: "
        what = f"{kind}{said[0]}"[:300].rstrip(": ")
        return Finding(
            check.name, "ERROR", summary=f"the check {check.name!r} could not judge ({what})", details={"error": what}
        )


def _evidence(train: Any, holdout: Any, synthetic: Any, reference: Any, target: str | None, intent: Intent) -> Prepared:
    first = load(train, "train")
    second = None if reference is None else load(reference, "reference")
    base = _base(first, second, target)
    if target is None and isinstance(first, Dataset):
        target = first.schema.target
    train_rows = conform(base.schema, first, "train")
    if holdout is None:
        train_rows, held = _halve(train_rows, intent.seed)
        notices = [_halved(train_rows, held)]
    else:
        held, notices = conform(base.schema, load(holdout, "holdout"), "holdout"), []
    reference_rows = train_rows if second is None else conform(base.schema, second, "reference")
    for rows, role in ((train_rows, "train"), (reference_rows, "reference")):
        if held.num_rows and rows.num_rows and (role == "train" or rows is not train_rows):
            held, said = apart(rows, held, role)
            notices += [said] if said else []
    made = conform(base.schema, synthetic_alone(base.schema, load(synthetic, "synthetic")), "synthetic")
    return Prepared(
        train=train_rows, reference=reference_rows, holdout=held, synthetic=made, intent=intent, notices=tuple(notices)
    )


def _halved(train: Dataset, held: Dataset) -> str:
    return (
        f"no holdout was given, so {held.num_rows} of {train.num_rows + held.num_rows} train rows were kept aside: the gate "
        "sees smaller modes with a holdout of its own, and if the generator saw the rows kept aside, copies of them pass for "
        "chance and an overfitted set looks better than it is"
    )


def _base(first: Any, second: Any, target: str | None) -> Dataset:
    """Train (and reference) with the schema by which everything is read; inferred from both unless train brings one."""
    if isinstance(first, Dataset):
        return first if target is None else replace(first, schema=replace(first.schema, target=target))
    if not first.num_rows:
        raise DataError("the train rows are empty; give the rows the generator learned from")
    if second is None:
        return Dataset.from_arrow(first, target=target)
    plain = Dataset.from_arrow(first, target=target)
    check_columns(plain.schema, second, "reference")
    return Dataset.from_arrow(joined(first, table(second)), target=target)


def _halve(train: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    from data.split import split

    if train.num_rows < 8:
        raise DataError(f"{train.num_rows} train rows are too few to keep a holdout aside; give holdout=")
    parts = split(train, reference=0.0, holdout=HOLDOUT_SHARE, seed=seed)
    return parts.train, parts.holdout


def _refuse(evidence: Evidence) -> None:
    """Raise DataError for what no check could judge."""
    for role in ("train", "reference", "holdout", "synthetic"):
        if getattr(evidence, role).num_rows == 0:
            raise DataError(f"the {role} rows are empty; give at least a few rows")
    schema, intent = evidence.reference.schema, evidence.intent
    learned = [c.name for c in schema.learned if c.name != schema.target]
    if not learned:
        raise DataError("no column can be judged: besides the target there are only ids, texts or other unlearned kinds")
    if all(_empty(evidence.reference, name) for name in learned):
        raise DataError("no column can be judged: besides the target every one holds nulls alone; give rows with values")
    if not 0 < intent.detect <= 1 or not 0 < intent.alpha < 1 or intent.attempt < 1:
        raise DataError("detect must lie in (0, 1], alpha in (0, 1), and attempt must be 1 or more")
    check_limits(intent.limits)
    if intent.privacy is not None:
        Roles.of(schema, intent.privacy)
    mix = intended(intent, schema)
    if mix is not None:
        _refuse_unseen(evidence, list(mix))


def check_limits(limits: Mapping[str, Mapping[str, float]]) -> None:
    """Raises DataError for a limit on a figure, or of a check, that does not exist."""
    from validators.fidelity import check_limits as of_fidelity
    from validators.pairs import check_limits as of_pairs
    from validators.utility import check_limits as of_utility

    known = {"fidelity": of_fidelity, "pairs": of_pairs, "utility": of_utility, **_of_privacy()}
    for name, stated in limits.items():
        if name not in known:
            raise DataError(f"limits.{name}: there are no limits to set for this check; they are for {listed(list(known))}")
        known[name](stated)


def _of_privacy() -> dict[str, Callable[[Mapping[str, float]], Mapping[str, float]]]:
    from validators._privacy_risk import check_limits as of_risk
    from validators.membership import check_limits as of_membership

    risks = {name: partial(of_risk, name) for name in ("singling_out", "linkability", "inference")}
    return {"membership": of_membership, **risks}


def _empty(rows: Dataset, name: str) -> bool:
    values = rows.column(name)
    return bool(pc.all(pc.is_null(values, nan_is_null=True)).as_py())


def _refuse_unseen(evidence: Evidence, levels: list[Any]) -> None:
    classes = evidence.reference.schema.classes()
    for role in ("reference", "holdout"):
        counts = np.bincount(getattr(evidence, role).labels() + 1, minlength=len(classes) + 1)[1:]
        for level in levels:
            if not counts[classes.index(level)]:
                name = str(level).strip()
                raise DataError(
                    f"class {name!r} has a share in the intended mix but no {role} rows; add some, or give it no share"
                )
