"""Where do the rows go: into the next version, or into quarantine?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from configs.load import dump
from configs.plan import Plan
from data.dataset import Dataset
from data.errors import UserError
from data.schema import Column, Schema
from data.sinks import Told
from flows.run import OUTSIDE, UNFINISHED, Run, Stage, digest, write_text
from flows.stages.judge import lineage
from flows.stages.moved import moved, sentences
from flows.stages.personal import drawn_schema
from flows.stages.promise import statement
from flows.stages.shared import SYNTHETIC, Step, owned
from flows.stages.sinks import write_sinks
from generators.base import Progress

if TYPE_CHECKING:
    from data.publish import Publisher, Version

#: Verdicts of a check that has judged nothing.
UNJUDGED = ("SKIPPED", "ERROR")


def _publish(run: Run, progress: Progress) -> Mapping[str, Any]:
    plan = run.plan
    publisher = make_publisher(plan)
    verdict = run.stages["judge"]["facts"]["verdict"]
    parts = rows_to_publish(run)
    since = _since(run)
    arguments = _publication(run, since)
    if verdict in ("PASS", "WARN"):
        done = _published_once(run, publisher, parts, arguments)
        facts = {"verdict": verdict, "uri": done.uri, "version": done.name, "rows": done.rows, "moved": since}
        if plan.publish.sinks:
            told = Told(publisher.dataset, done.name, arguments["run_id"], done.sha256, verdict)
            arrow = pa.schema([*drawn_schema(run).arrow(), (SYNTHETIC, pa.bool_())])
            facts["sinks"] = write_sinks(plan, told, lambda: rows_to_publish(run), arrow)
    else:
        facts = {"verdict": verdict, "uri": publisher.quarantine(parts, **arguments).uri, "version": None}
    write_text(run.folder / "published.json", json.dumps(facts, indent=1))
    return facts


def _since(run: Run) -> list[str]:
    """What moved since the version before, a sentence each; of a release nothing, as that would be of its source."""
    if run.plan.purpose == "release":
        return []
    try:
        return sentences(moved(run))
    except (OSError, KeyError, ValueError, UserError):
        return []  # of the run before not everything is there any more


def _published_once(run: Run, publisher: Publisher, parts: Iterator[pa.RecordBatch], arguments: Mapping[str, Any]) -> Version:
    """The next version; or the one that a publish of the same rows by this run had put there as it was killed."""
    key = run.stages["judge"]["key"]
    begun = json.loads(run.stages.get(UNFINISHED, "{}"))
    if begun.get("judge") == key and (there := publisher.resume(arguments["run_id"], after=begun["after"])) is not None:
        return there
    run.note(UNFINISHED, json.dumps({"judge": key, "after": publisher.newest()}))
    return publisher.publish(parts, **arguments)


def make_publisher(plan: Plan) -> Publisher:
    """The Publisher of a plan, not yet connected to anything."""
    from data.publish import Publisher

    spec = plan.publish
    options: dict[str, Any] = {"region": spec.region}
    if spec.endpoint:
        scheme, _, host = spec.endpoint.rpartition("://")
        options |= {"endpoint_override": host, "scheme": scheme or "https"}
    return Publisher(spec.root, spec.dataset or plan.name, **options)


def published_schema(run: Run) -> Schema:
    """The schema of the rows, with the mark of synthetic ones."""
    schema = drawn_schema(run)
    flag = Column(name=SYNTHETIC, kind="boolean", dtype="bool", categories=(True, False))
    return Schema((*schema.columns, flag), target=schema.target, group=schema.group)


def _publication(run: Run, since: Sequence[str]) -> dict[str, Any]:
    """What a version is made of beside its rows; since: what moved since the version before."""
    plan, release = run.plan, run.plan.purpose == "release"
    told = run.folder / OUTSIDE if release else run.folder
    report = json.loads((told / "report.json").read_text())
    return {
        "schema": published_schema(run),
        "rows_per_file": plan.publish.rows_per_file,
        "run_id": run.alias if release else run.id,
        "report_json": told / "report.json",
        "report_html": told / "report.html",
        "plan_yaml": _told_plan(run),
        "lineage": lineage(run),
        "facts": {
            "purpose": plan.purpose,
            "family": run.settled.generator.use,
            "seed": plan.seed,
            "license": plan.publish.license,
            "verdict": report["verdict"],
            "reason": report["reason"],
            "smallest_detectable_mode": report["smallest_detectable_mode"],
            "judged": [f["check"] for f in report["findings"] if f["verdict"] not in UNJUDGED],
            "unjudged": [f["check"] for f in report["findings"] if f["verdict"] in UNJUDGED],
            "moved": list(since),
            **({"promise": statement(run)} if release else {}),
        },
    }


def _told_plan(run: Run) -> str:
    """The plan as the manifest shows it; of a release without where the real rows lie and what was spent of them."""
    if run.plan.purpose != "release":
        return (run.folder / "plan.yaml").read_text()
    return dump(run.plan, without={"data": True, "privacy": {"ledger"}})


def rows_to_publish(run: Run) -> Iterator[pa.RecordBatch]:
    """The rows of the dataset, real ones first where the plan includes them, each marked by `is_synthetic`.

    Rows that the source keeps for judging are not among them; a release holds no real row at all."""
    schema = drawn_schema(run)
    if run.plan.sample.include_real and run.plan.purpose == "augment":
        for batch in owned(run).batches():
            yield flagged(batch, False)
    files = sorted((run.folder / "samples").glob("*.parquet"))
    for batch in Dataset.from_parquet(files, schema).batches():
        yield flagged(batch, True)


def flagged(batch: pa.RecordBatch, synthetic: bool) -> pa.RecordBatch:
    """The rows with the mark `is_synthetic`."""
    return batch.append_column(SYNTHETIC, pa.array(np.full(batch.num_rows, synthetic)))


def _forget_removed(run: Run) -> None:
    """A version that somebody removed is published again: what the stage came to is no longer there."""
    if run.version is not None and run.version not in make_publisher(run.plan).versions():
        (run.folder / "published.json").unlink()


def _publish_key(run: Run) -> str:
    plan = run.plan
    _forget_removed(run)
    # True: so that runs that are finished keep the key that they have.
    return digest(run.stages["judge"]["key"], plan.publish, plan.purpose, plan.name, True)


STEP = Step(Stage("publish", ("published.json",)), _publish_key, _publish)
