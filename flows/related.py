"""A run of tables that refer to one another, from its command line to its exit code."""

from __future__ import annotations

import shutil
from pathlib import Path

from data.errors import DataError, UserError
from flows.run import Run
from flows.show import show_relations
from flows.tell import console
from flows.walk import walk

#: As when the gate blocks: keys do not hold.
BROKEN = 3


def run_related(run: Run, *, engine: str, as_json: Path | None, as_html: Path | None, quiet: bool) -> int:
    """Walk, show what came of it, write what was asked for: 0 when every key holds, else BROKEN.

    Raises UserError for what such runs do not have."""
    if engine != "local" or as_html:
        raise UserError(
            "tables that refer to one another run with --engine local and have no HTML report; --json takes relations.json"
        )
    if as_json and (as_json.is_dir() or not as_json.parent.is_dir()):
        raise DataError(f"{as_json} cannot be written: name a file in a folder that exists")
    with console(quiet=quiet, run=run) as teller:
        stages = walk(run, teller)
    if as_json:
        shutil.copyfile(run.folder / "relations.json", as_json)
    show_relations(run.folder)
    return 0 if stages["relate"]["keys_hold"] else BROKEN
