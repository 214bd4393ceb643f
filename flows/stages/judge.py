"""May what the model draws be published? Asks the gate, and writes its report."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.constraints import rules
from configs.errors import KeyFault
from configs.plan import Plan
from data.dataset import Dataset
from data.errors import DataError
from data.schema import Schema
from flows.away import attempt_of
from flows.run import OUTSIDE, Run, Stage, alone, code_version, digest, write_text
from flows.stages.shared import Step, dataset, file_sha256, key_of, load_schema
from generators.base import Progress

if TYPE_CHECKING:
    from validators.base import Check, Evidence, Intent
    from validators.gate import Decision

#: What the full one of a release says of itself.
INSIDE = "this report is for the inside: it tells of single real rows; the one that goes out lies in the folder {folder}"


def check_gate(plan: Plan) -> None:
    """Read the plan's own suite and limits, so that what is wrong with them is found before any work.

    Raises KeyFault at gate.suite or gate.limits.
    """
    from validators.judge import check_limits

    try:
        check_limits(plan.gate.limits)
    except DataError as error:
        raise KeyFault(("gate", "limits"), str(error)) from None
    if (suite := _suite(plan)) is not None:
        from validators.suite_file import read_suite

        try:
            read_suite(suite)
        except DataError as error:
            raise KeyFault(("gate", "suite"), str(error)) from None


def _suite(plan: Plan) -> Path | None:
    return None if plan.gate.suite is None else Path(plan.gate.suite)


def _gate_part(plan: Plan) -> object:
    """What of the plan the verdict depends on: the gate's part, the bytes of the suite it names, and whom attacks go for."""
    suite = _suite(plan)
    part = [plan.gate, file_sha256(suite) if suite is not None and suite.is_file() else None]
    return [*part, plan.privacy.quasi, plan.privacy.secret, plan.privacy.k] if _attacked(plan) else part


def _attacked(plan: Plan) -> bool:
    """Whether attacks on people are tried on what was drawn."""
    return plan.purpose == "release" and plan.modality == "tabular"


def _judge(run: Run, progress: Progress) -> Mapping[str, Any]:
    from validators.judge import pronounce
    from validators.report import write_html, write_json, write_outside

    plan = run.plan
    evidence, running = _evidence(run)
    release, docs = plan.purpose == "release", run.folder / "data_docs"
    decision = pronounce(evidence, docs=docs, lineage=lineage(run, inside=True), progress=progress, only=running)
    if release:
        told = replace(decision, lineage=lineage(run))
        write_outside(told, run.folder / OUTSIDE, evidence=evidence, k=plan.privacy.k, title=plan.name)
        decision = _inside(decision, run)
    write_json(decision, run.folder / "report.json")
    training = json.loads((run.folder / "training.json").read_text())
    write_html(
        decision,
        run.folder / "report.html",
        evidence=evidence,
        training=training,
        choice=_chosen(run),
        title=plan.name,
    )
    facts = {"verdict": decision.verdict, "reason": decision.reason, "next_action": decision.next_action}
    write_text(run.folder / "decision.json", json.dumps(facts, indent=1))
    return facts


def _inside(decision: Decision, run: Run) -> Decision:
    """The decision with a note that its report stays inside."""
    noted = [*decision.lineage.get("notices", ()), INSIDE.format(folder=run.folder / OUTSIDE)]
    return replace(decision, lineage={**decision.lineage, "notices": noted})


def _evidence(run: Run) -> tuple[Evidence, list[Check]]:
    """What the gate looks at, and the checks that look at it."""
    plan, schema = run.plan, load_schema(run)
    reference = None if run.stages["split"]["facts"]["reference_is_train"] else dataset(run, "reference")
    train, holdout = dataset(run, "train"), dataset(run, "holdout")
    drawn = Dataset.from_parquet(sorted((run.folder / "work/judged").glob("*.parquet")), schema)
    intent = _intent(run, schema)
    if plan.modality == "image":
        from validators.pictures import picture_checks, prepare_pictures

        evidence = prepare_pictures(train, holdout, drawn, reference=reference, intent=intent, extractor=plan.gate.extractor)
        return evidence, picture_checks(utility=plan.gate.utility)
    if plan.modality == "series":
        from validators.series import prepare_series, series_checks

        evidence = prepare_series(train, holdout, drawn, reference=reference, intent=intent)
        return evidence, series_checks(utility=plan.gate.utility)
    from validators.judge import checks, prepare

    evidence = prepare(train, holdout, drawn, reference=reference, intent=intent, suite=_suite(plan))
    return evidence, checks(suite=_suite(plan), utility=plan.gate.utility, privacy=intent.privacy is not None)


def _intent(run: Run, schema: Schema) -> Intent:
    from validators.base import Intent, Privacy

    plan = run.plan
    rows = run.stages["sample"]["facts"]["judged"]
    total = sum(rows.values())
    mix = {level: rows[str(level)] / total for level in schema.classes() if str(level) in rows} or None
    if plan.sample.mix == "natural":
        mix = None  # the real mix is meant, so every judged row counts
    gate, asked = plan.gate, plan.privacy
    promised = plan.purpose == "release"
    columns = {"quasi": tuple(asked.quasi), "secret": tuple(asked.secret)}
    people = Privacy(**columns, k=asked.k, promised=promised) if _attacked(plan) else None
    return Intent(
        mix=mix,
        detect=gate.detect,
        alpha=gate.alpha,
        attempt=attempt(run),
        limits=gate.limits,
        seed=plan.seed,
        constraints=rules(plan.constraints),
        privacy=people,
    )


def _chosen(run: Run) -> Mapping[str, Any]:
    """How the family was chosen; nothing where the plan names it, or in a run from before it was written down."""
    path = run.folder / "choice.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _key(run: Run) -> str:
    """As of every stage, and how the family was chosen, which the page tells."""
    told = {name: _chosen(run).get(name) for name in ("rubric", "bakeoff")}
    return digest(_PLAIN(run), told) if any(told.values()) else _PLAIN(run)


def drawn_digest(run: Run) -> str:
    """sha256 over the rows that are judged: two plans that draw the same rows are one attempt."""
    return digest([file_sha256(path) for path in sorted((run.folder / "work/judged").glob("*.parquet"))])


def attempt(run: Run) -> int:
    """Which try this is to get a model past the same holdout rows: 1, 2, ... The same draw judged again is the same try.

    Counted by the values of these rows over all runs in the folder of runs, whatever their plans, names and versions.
    Another seed that cuts another holdout begins anew: its chance to err is its own, and one count for a whole table would
    soon leave the gate blind for everybody who works on it."""
    ledger = run.folder.parent.parent / ".attempts.json"
    rows, draw = dataset(run, "holdout").digest(), drawn_digest(run)
    if (counted := attempt_of(ledger.parent, rows, draw)) is not None:
        return counted
    with alone(ledger.with_suffix(".lock")):  # other runs are judged at the same time
        tries = json.loads(ledger.read_text()) if ledger.is_file() else {}
        seen = tries.setdefault(rows, [])
        if draw not in seen:
            seen.append(draw)
            write_text(ledger, json.dumps(tries, indent=1))
    return int(seen.index(draw)) + 1


def lineage(run: Run, *, inside: bool = False) -> dict[str, Any]:
    """Where a dataset comes from: data, plan, model, seed and the versions that made it.

    Of a release nothing that follows from the bytes of the real rows, but for those `inside`."""
    stages = run.stages
    packages = ["torch", "numpy", "pandas", "pyarrow", "scikit-learn", "great-expectations", "prefect"]
    packages += ["diffusers", "pillow"] if run.plan.modality == "image" else []
    hidden = run.plan.purpose == "release" and not inside
    versions = {"python": sys.version.split()[0], **{name: version(name) for name in packages}}
    # Who knows all rows but one could try that one against their sum.
    data = {} if hidden else {"data_sha256": stages["read"]["facts"]["data_sha256"]}
    return {
        "run": run.alias if hidden else run.id,
        **data,
        "plan_sha256": file_sha256(run.folder / "plan.yaml"),
        "code_sha256": code_version("configs", "data", "generators", "validators", "flows"),
        "model": f"{run.settled.generator.use}@{stages['fit']['facts']['model_sha256'][:16]}",
        "seed": run.plan.seed,
        "versions": versions,
    }


_PLAIN = key_of("judge", "sample", "validators", "data", part=_gate_part)
STEP = Step(Stage("judge", ("report.json", "report.html", "decision.json", "data_docs"), (OUTSIDE,)), _key, _judge)
