"""How does a verb come from a plan's file to a run, or to what a run would do?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from configs.load import load
from configs.plan import Plan
from data.errors import UserError
from data.remote import is_remote
from flows.away import address_of
from flows.credentials import lend
from flows.logs import about, instead
from flows.run import BusyError, Run, unbegun
from flows.stages import PLAN_CHECKS
from flows.stages.read import fingerprint
from flows.stages.rules import pointed
from flows.watched import Watched


def loaded(config: Path, override: list[str] | None) -> Plan:
    """The plan of a file with what is overridden. Raises PlanError."""
    return load(config, override or [], checks=PLAN_CHECKS)


def foreseen(config: Path, override: list[str] | None, runs: Path, measured: bool) -> dict[str, Any]:
    """What a run of this plan would do; measured: some steps of it are timed."""
    from flows.preview import preview

    plan = loaded(config, override)
    with pointed(config, override):
        return preview(plan, runs, measured=measured)


def begun(config: Path, override: list[str] | None, runs: Path, *, fresh: bool) -> Run:
    """The run of this plan, with nothing done yet where it is to be fresh."""
    plan = loaded(config, override)
    if plan.purpose == "release" and (address := address_of(runs)) is not None:
        raise UserError(
            f"--runs {address}: a release's run holds real rows and the key of what is made anew, and its ledger must outlive "
            "the machine; name a folder on a disk that stays"
        )
    lend(plan.publish.credentials)
    try:
        mark = fingerprint(plan)
    except UserError as error:  # a source that is away: of which run it is, only its bytes would tell
        unbegun(runs / plan.name, str(error))
        raise
    this = Run.open(runs, plan, mark)
    unbegun(runs / plan.name)
    watched = Watched.of(this)
    about(run=watched.called)
    if watched.release:
        instead(watched.id, of=this.id)
    return this.renewed() if fresh else this


def walked(this: Run, config: Path, override: list[str] | None, engine: str, *, quiet: bool) -> dict[str, Any]:
    """Every stage of a run: {stage: its facts}. Raises what a stage raised, at its place in the plan where it has one.

    Why a run was refused is kept in its folder, for `counterpoise runs`."""
    try:
        done = _walked(this, config, override, engine, quiet=quiet)
    except BusyError:
        raise
    except UserError as error:
        this.refused(str(error))
        raise
    this.refused(None)
    if not is_remote(this.plan.publish.root):  # a store's page costs requests: nights and `history` write it
        from flows.history import refresh

        refresh(this.plan)
    return done


def _walked(this: Run, config: Path, override: list[str] | None, engine: str, *, quiet: bool) -> dict[str, Any]:
    with pointed(config, override):
        if engine == "prefect":
            from flows.synthesize import tell

            return tell(this, quiet=quiet)
        from flows.tell import console
        from flows.walk import walk

        with console(quiet=quiet, run=this) as teller:
            return walk(this, teller)


def tuned(
    config: Path,
    override: list[str] | None,
    runs: Path,
    out: Path | None,
    *,
    minutes: float,
    trials: int | None,
    force: bool,
    quiet: bool,
) -> list[str]:
    """Write the plan with the settings that trials found, beside the plan where `out` is None: what is told of it."""
    from flows.tell import console
    from flows.tune import check_out, tuned_plan

    path = out or config.with_name(f"{config.stem}.tuned.yaml")
    check_out(path, force=force)
    with pointed(config, override), console(quiet=quiet) as teller:
        return tuned_plan(config, override or [], runs, path, minutes=minutes, trials=trials, progress=teller.begin("tune"))
