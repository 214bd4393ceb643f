"""When do plans run on their own? On a schedule that a Prefect server keeps, one night of a dataset at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from data.errors import UserError
from flows.away import address_of
from flows.begin import loaded
from flows.cut_off import keep, let_go
from flows.metrics import listen
from flows.notify import check_notify
from flows.pipes import note
from flows.synthesize import server

# isort: split
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron, Schedule
from prefect.settings import PREFECT_API_URL
from prefect.types.entrypoint import EntrypointType

#: Nights that may run at once on this machine, whatever their datasets.
AT_ONCE = 1


@dataclass(frozen=True)
class Night:
    """When plans run, and how. keep: versions and runs that are not pruned after each night; None prunes none. warm: whether a
    training begins with last night's model."""

    cron: str
    timezone: str
    overrides: tuple[str, ...] = ()
    runs: Path = Path("runs")
    keep: int | None = None
    warm: bool = False


def serve(plans: Sequence[Path], night: Night, *, quiet: bool, metrics: str | None = None) -> None:
    """Keep these plans on schedule until stopped, on the server that the settings name, else on one of our own.

    metrics: where Prometheus is told meanwhile how the runs stand.

    Raises UserError for a schedule or a time zone that is none, and for a plan that is refused, before anything is kept."""
    kept = [deployment(plan, night) for plan in plans]
    names = [str(each.name) for each in kept]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"two plans are named {sorted(twice)[0]!r}, and a dataset has one schedule; give them different names")
    told = "" if metrics is None else f"; figures at {listen(night.runs, metrics)}"
    if not quiet:
        when = f"{night.cron} ({night.timezone})"
        note(f"schedule {when} for {', '.join(map(str, plans))}{told}; Ctrl-C stops it")
    own = not PREFECT_API_URL.value()
    with server():
        if own:  # a schedule that was killed took its server along: nights of it that count as running are over
            let_go(names)
        try:
            keep(*kept, limit=AT_ONCE)
        finally:
            cut = let_go(names)
            if not quiet:
                note(f"stopped{''.join(f'; the night of {name} was cut off, and the next goes on from there' for name in cut)}")


def deployment(plan: Path, night: Night) -> RunnerDeployment:
    """The nights of one plan as Prefect keeps them. A night that begins while the last one runs is left out.

    Raises UserError as `serve` does."""
    from flows.nightly import nightly

    spec = loaded(plan, list(night.overrides))
    if spec.several:
        raise UserError(f"{plan}: tables that refer to one another have no schedule; `counterpoise run` them with cron")
    check_notify(spec.notify)
    parameters: dict[str, Any] = {
        "plan": str(plan.resolve()),
        "overrides": list(night.overrides),
        "runs": address_of(night.runs) or str(night.runs.resolve()),
        "keep": night.keep,
        "warm": night.warm,
    }
    made = nightly.to_deployment(
        name=spec.name,
        schedule=_schedule(night.cron, night.timezone),
        parameters=parameters,
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        tags=["counterpoise"],
        description=f"{plan.name}, at {night.cron} ({night.timezone})",
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(made, RunnerDeployment)  # a coroutine within an event loop only
    return made


def _schedule(cron: str, timezone: str) -> Schedule:
    if timezone not in available_timezones():
        raise UserError(f"--timezone {timezone!r} is none that is known; write it as Europe/Berlin or UTC")
    try:
        CronSchedule(cron=cron, timezone=timezone)  # `Cron` believes anything
    except ValueError:
        raise UserError(
            f"--cron {cron!r} is no schedule; write minute, hour, day of month, month and day of week, as in '0 3 * * *'"
        ) from None
    return Cron(cron, timezone=timezone)


def here() -> str:
    """The time zone of this machine, as the variable TZ or the system names it; UTC where neither does."""
    if (named := os.environ.get("TZ", "").lstrip(":")) in available_timezones():
        return named
    link = Path("/etc/localtime")
    name = str(link.resolve()).partition("zoneinfo/")[2] if link.exists() else ""
    return name if name in available_timezones() else "UTC"
