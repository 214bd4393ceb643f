"""Which options do several verbs take, or one verb so many that it would not be read?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from data.errors import DataError
from flows.logs import LOGS, ask


def _place(on: str) -> str:
    """Raises DataError for what is neither this machine nor a Ray cluster."""
    if on in ("local", "ray") or re.fullmatch(r"ray://\S+:\d+", on):
        return on
    raise DataError(f"--on {on}: name local, ray, or a cluster as ray://HOST:PORT, e.g. --on ray://head:10001")


def _runs(named: str | Path) -> Path:
    """A folder as it is named; of an address the folder of copies."""
    from flows.away import folder_of

    return folder_of(named)


Runs = Annotated[
    Path,
    typer.Option(
        "--runs",
        parser=_runs,
        metavar="FOLDER|ADDRESS",
        help="Folder of all runs, or an address as s3://bucket/prefix.",
        envvar="COUNTERPOISE_RUNS",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Logs = Annotated[
    Literal["text", "json"],
    typer.Option(
        "--logs", envvar=LOGS, callback=ask, is_eager=True, help="What stderr holds; json: one object a line, for machines."
    ),
]
Override = Annotated[
    list[str] | None,
    typer.Option(
        "--override", "-o", metavar="KEY=VALUE", help="Change a key of the plan, e.g. -o generator.epochs=5; repeatable."
    ),
]
Json = Annotated[Path | None, typer.Option("--json", help="Write the report as JSON to this file.")]
Html = Annotated[Path | None, typer.Option("--html", help="Write the report as one HTML page to this file.")]

On = Annotated[
    str,
    typer.Option(
        "--on",
        metavar="local|ray|ray://HOST:PORT",
        callback=_place,
        help="Where the work is done: processes here, the Ray cluster of this machine (or RAY_ADDRESS), or one elsewhere.",
    ),
]

Detect = Annotated[
    float,
    typer.Option("--detect", min=0.0001, max=1.0, help="Smallest mode whose loss must be visible, as a share of the set."),
]
Utility = Annotated[
    Literal["quick", "full", "off"],
    typer.Option("--utility", help="quick: train on synthetic, test on real; full: does augmentation help, too (minutes)."),
]
Privacy = Annotated[
    bool,
    typer.Option("--privacy", help="Try attacks on the people behind the train rows, too (seconds to a minute each)."),
]
Quasi = Annotated[
    list[str] | None,
    typer.Option(
        "--quasi",
        metavar="COLUMNS",
        help="Columns that an attacker knows of a person, e.g. age,city; repeatable, with --privacy.",
    ),
]
Secret = Annotated[
    list[str] | None,
    typer.Option("--secret", metavar="COLUMNS", help="Columns that an attacker wants to know; repeatable, with --privacy."),
]
Rare = Annotated[
    int,
    typer.Option("--rare", min=2, help="A combination of the columns of --quasi that fewer train rows hold is rare."),
]
