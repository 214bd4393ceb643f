"""What happens to a dataset each night? Nothing where its source did not change; else a run, and whoever must know is told."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from configs.plan import Outcome, Plan
from data.errors import UserError
from data.remote import is_remote
from flows import synthesize  # noqa: F401  # Prefect's settings, before Prefect
from flows.amount import NothingToAddError
from flows.away import folder_of
from flows.begin import begun, loaded, walked
from flows.history import refresh
from flows.notify import check_notify, notify
from flows.pipes import note
from flows.retention import prune
from flows.run import OUTSIDE, Run
from flows.stages import steps_of
from flows.warm import Start, warm_start
from flows.watched import Watched

# isort: split
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed


@dataclass(frozen=True)
class Night:
    """What became of one night. says: in a sentence; lines: more of them; run: its folder, where there is one."""

    outcome: Outcome
    says: str
    lines: tuple[str, ...] = ()
    run: str = ""


@flow(name="nightly", validate_parameters=False)
def nightly(
    plan: str, overrides: list[str] | None = None, runs: str = "runs", keep: int | None = None, warm: bool = False
) -> State[Any]:
    """One night of one plan. The state is Failed when the gate blocks, so that automations hear of it.

    runs: the folder of runs, or an address; keep: versions and runs that are not pruned after it; None prunes none; warm: begin
    with the model of the run that published last, where the family can."""
    log, spec = get_run_logger(), None
    try:
        read = loaded(Path(plan), overrides)
        check_notify(read.notify)
        spec = read
        start = warm_start(read, folder_of(runs)) if warm else Start((), "")
        night = _night(Path(plan), [*(overrides or []), *start.overrides], folder_of(runs))
    except Exception as error:
        # What a user must mend is a sentence; anything else has its trace in the log of the flow run.
        says = str(error) if isinstance(error, UserError) else f"{type(error).__name__}, see the log of this flow run"
        _tell(plan, Night("failed", says), log, spec)
        raise
    if keep is not None and night.outcome in ("published", "blocked"):
        night = replace(night, lines=(*night.lines, *_pruned(spec, keep, folder_of(runs))))
    if is_remote(spec.publish.root) and night.outcome in ("published", "blocked") and (lost := refresh(spec)):
        night = replace(night, lines=(*night.lines, lost))
    if start.says and night.outcome != "unchanged":
        night = replace(night, lines=(*night.lines, f"Training: {start.says}"))
    _tell(plan, night, log, spec)
    said = f"{spec.name}: {night.says}"
    if night.outcome == "blocked":
        return Failed(name="Blocked", message=said)
    return Completed(name=night.outcome.capitalize(), message=said)


def _night(plan: Path, overrides: list[str] | None, runs: Path) -> Night:
    run = begun(plan, overrides, runs, fresh=False)
    if run.plan.several:
        raise UserError(f"{plan}: tables that refer to one another have no schedule; `counterpoise run` them with cron")
    if (verdict := _finished(run)) is not None:
        return Night("unchanged", f"unchanged since {verdict}; nothing was trained", run=_place(run))
    try:
        stages = walked(run, plan, overrides, "prefect", quiet=True)
    except NothingToAddError as found:  # as `counterpoise run` has it: nothing is published, and that is no fault
        return Night("blocked", str(found), run=_place(run))
    published = stages["publish"]
    if published["version"] is None:
        return Night("blocked", _worst(run, stages), (f"in quarantine: {published['uri']}",), _place(run))
    says = f"{published['version']} with {published['rows']:,} rows"
    return Night("published", says, tuple(published.get("moved", ())), _place(run))


def _place(run: Run) -> str:
    """The run's folder; of a release its alias, as a server keeps what it is told."""
    watched = Watched.of(run)
    return watched.called if watched.release else str(run.folder)


def _pruned(spec: Plan, keep: int, runs: Path) -> list[str]:
    """What was pruned, in a sentence; what could not be is said, too: the version is published all the same."""
    try:
        found = prune(spec, keep, runs=runs)
    except (UserError, OSError) as error:
        return [f"Nothing was pruned: {error}"]
    if not found.versions and not found.runs:
        return []
    names = f" ({', '.join(found.versions)})" if found.versions else ""
    return [f"Pruned: {len(found.versions)} versions or quarantined sets{names}, {len(found.runs)} runs"]


def _finished(run: Run) -> str | None:
    """What a run came to whose every stage is done with the inputs that there are now, else None."""
    for step in steps_of(run).values():
        try:
            if run.done(step.stage, step.key(run)) is None:
                return None
        except (KeyError, OSError):
            return None
    facts = run.stages["publish"]["facts"]
    return f"version {facts['version']}" if facts["version"] else f"run {run.id}, which was blocked"


def _worst(run: Run, stages: Any) -> str:
    """The verdict with the cell that came out worst; of a release, what its outside report says."""
    folder = run.folder / OUTSIDE if run.plan.purpose == "release" else run.folder
    report = json.loads((folder / "report.json").read_text())
    return f"{report['verdict']}, {report['reason']}"


def _tell(plan: str, night: Night, log: Any, spec: Plan | None = None) -> None:
    name = spec.name if spec else Path(plan).stem
    # The server keeps the log; who started `serve` or a worker reads one line a night.
    note("\n".join([f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC  {name}: {night.says}", *night.lines]))
    log.log(30 if night.outcome in ("blocked", "failed") else 20, "%s: %s", name, night.says)
    for line in night.lines:
        log.info("%s: %s", name, line)
    emit_event(
        f"counterpoise.{night.outcome}",
        resource={"prefect.resource.id": f"counterpoise.dataset.{name}", "prefect.resource.name": name},
        payload={"says": night.says, "lines": list(night.lines), "run": night.run, "flow_run": flow_run.get_id()},
    )
    if spec is not None:
        body = "\n".join([night.says, *night.lines])
        for lost in notify(spec.notify, night.outcome, f"counterpoise: {name} {night.outcome}", body):
            log.warning("%s: %s", name, lost)
