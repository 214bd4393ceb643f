"""The verb of who watches runs: their figures, for Prometheus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows import options as opt
from flows.usage import verb

RUNS = Path("runs")


def add(app: typer.Typer) -> None:
    """Give this verb to the command line."""
    app.command()(metrics)


@verb
def metrics(
    out: Annotated[
        Path | None, typer.Option("--out", help="A .prom file for node_exporter's textfile collector; stdout if not given.")
    ] = None,
    runs: opt.Runs = RUNS,
) -> None:
    """Print how the runs stand, for Prometheus: verdicts, checks, times, losses, versions of each dataset's latest run."""
    from flows.metrics import exposition, write

    if out is None:
        print(exposition(runs), end="")
    else:
        write(runs, out)
