"""The verbs of what runs on its own: a schedule, what is kept, what keeps its name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from data.errors import UserError
from flows import options as opt
from flows.usage import verb, write_json

RUNS = Path("runs")
Keep = Annotated[int, typer.Option("--keep", min=1, help="Versions, and runs, that stay beside LATEST and what tags name.")]
Plans = Annotated[list[Path], typer.Argument(metavar="PLAN...", help="The plans.")]


def add(app: typer.Typer) -> None:
    """Give these verbs to the command line."""
    for each in (serve, history, prune, tag, ledger):
        app.command()(each)


@verb
def serve(
    plans: Plans,
    cron: Annotated[str, typer.Option("--cron", help="Minute, hour, day of month, month, day of week.")] = "0 3 * * *",
    timezone: Annotated[str | None, typer.Option("--timezone", help="As Europe/Berlin; this machine's if not given.")] = None,
    keep: Annotated[
        int | None, typer.Option("--keep", min=1, help="After each night, prune all but so many; all stay if not given.")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", metavar="[HOST:]PORT", help="Answer Prometheus there, at /metrics, meanwhile."),
    ] = None,
    warm: Annotated[
        bool, typer.Option("--warm", help="Begin with the model of the run that published last, where the family can.")
    ] = False,
    override: opt.Override = None,
    runs: opt.Runs = RUNS,
    quiet: opt.Quiet = False,
) -> None:
    """Run plans on a schedule until stopped: nothing where a source did not change, else a run; on a Prefect server."""
    from flows.schedule import Night, here, serve

    night = Night(cron, timezone or here(), tuple(override or ()), runs, keep, warm)
    serve(plans, night, quiet=quiet, metrics=metrics)


@verb
def prune(
    plans: Annotated[
        list[Path] | None, typer.Argument(metavar="[PLAN...]", help="The plans; those of all runs if none is named.")
    ] = None,
    keep: Keep = 10,
    dry: Annotated[bool, typer.Option("--dry-run", help="Only say what would be taken away.")] = False,
    override: opt.Override = None,
    runs: opt.Runs = RUNS,
) -> None:
    """Take away old versions, quarantined rows and runs. Never what LATEST or a tag names, nor a run at work."""
    from flows.retention import plans_of
    from flows.retention import prune as taken

    would = "would take away" if dry else "took away"
    for plan in plans_of(plans or [], override or [], runs):
        found = taken(plan, keep, runs=runs, dry=dry)
        parts = [f"{len(found.versions)} of {found.uri}", f"{len(found.runs)} runs"]
        print(f"{found.name}: {would} {' and '.join(parts)}")
        for each in (*found.versions, *map(str, found.runs)):
            print(f"  {each}")


@verb
def history(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="A plan, a name of runs, or the folder or address that holds the versions.")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="The page; index.html beside the versions if not given.")] = None,
    as_json: opt.Json = None,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    override: opt.Override = None,
    runs: opt.Runs = RUNS,
) -> None:
    """All versions of a dataset and what was blocked, with verdicts and figures over time: a table, and a page."""
    from flows.history import looked_at, publisher_of, show_history, write_page

    publisher = publisher_of(dataset, override or [], runs)
    found = looked_at(publisher)
    if as_json:
        write_json(as_json, [attempt.to_json() for attempt in found.attempts])
    page = write_page(publisher, found, out)
    show_history(found)
    print(page)
    if browser:
        typer.launch(page if "://" in page else Path(page).resolve().as_uri())


@verb
def tag(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="The plan of the dataset.")],
    label: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The tag; all are listed if none is named.")] = None,
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="As v000007; what LATEST names if not given.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the tag; the version stays until it is pruned.")] = False,
    override: opt.Override = None,
) -> None:
    """Give a version of a dataset a name; what is named so is never pruned."""
    from flows.begin import loaded
    from flows.history import refresh
    from flows.stages.publish import make_publisher

    spec = loaded(plan, override)
    publisher = make_publisher(spec)
    if label is None:
        for name, held in publisher.tags().items():
            print(f"{name}  {held}")
        return
    wanted = None if remove else version or publisher.latest()
    if wanted is None and not remove:
        raise UserError(f"{publisher.uri()} has no version yet; `counterpoise run {plan}` publishes one")
    publisher.tag(label, wanted)
    refresh(spec)
    print(f"{label}  {wanted or 'removed'}", file=sys.stderr)


@verb
def ledger(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan of a release, or of the same source.")],
    as_json: opt.Json = None,
    override: opt.Override = None,
) -> None:
    """What was spent of the privacy of a plan's source, over all runs, and what its cap leaves."""
    from flows.begin import loaded
    from flows.spent import show_spent, spent

    found = spent(loaded(plan, override))
    write_json(as_json, found.to_json())
    show_spent(found)
