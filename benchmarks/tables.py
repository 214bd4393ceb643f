"""How good are the families on tables, and how fast, beside those that people install today?

    python -m benchmarks.tables --data adult telco_churn --families autoregressive gan sdv:CTGAN --seeds 0 1 2

Every fit runs in a fresh process with one thread for its linear algebra, one at a time; families take turns, so that a busy
machine troubles all alike. Finished cells are kept in the store and not taken again, so that a run of a day may be
interrupted; `--again` takes those of the families named once more. The page is made of the cells that were asked for.

mostlyai-engine, whose pins are not ours, joins where a Python that has it is named: --mostlyai, or COUNTERPOISE_MOSTLYAI.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cells import Cells
from benchmarks.families import DATA, settings_of
from benchmarks.tables_record import facts, record
from benchmarks.tables_work import APART, work
from data.errors import UserError

PEERS = ("sdv:GaussianCopula", "sdv:CTGAN", "sdv:TVAE")
FAMILIES = ("autoregressive", "diffusion", "gan", "vae", "flow", "bootstrap", *PEERS)
TABLES = ("adult", "telco_churn", "mammography", "bank_marketing")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing, write store and page; the exit code."""
    options = _options(arguments)
    if options.job:
        return work(Path(options.job))
    cells = Cells(Path(options.store))
    try:
        families = _families(options)
        wanted = [(data, family, seed) for seed in options.seeds for data in options.data for family in families]
        able = [each for each in wanted if each[1] != APART or options.mostlyai]
        missing = [each for each in able if options.again or key(*each) not in cells.held]
        for turn, (data, family, seed) in enumerate(missing, start=1):
            print(f"[{turn}/{len(missing)}] {data}: {family}, seed {seed}", file=sys.stderr, flush=True)
            cells.keep({key(data, family, seed): cell(data, family, seed, options)})
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    text = record(cells.held, options.data, families, options.seeds)
    print(text)
    if options.out:
        Path(options.out).write_text(text)
        print(f"written: {options.out}", file=sys.stderr)
    return 0


def key(data: str, family: str, seed: int) -> str:
    """What a cell is called in the store."""
    return f"{data}|{family}|{seed}"


def cell(data: str, family: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one fit in a process of its own, with the versions and the machine; {"error": why} where it failed."""
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.json"
        own = {"rows": options.rows, "mostlyai": options.mostlyai}
        job.write_text(json.dumps({"data": data, "family": family, "seed": seed} | own))
        # Small matrices gain nothing from a second thread, and waiting threads trouble whatever else runs.
        alone = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        command = [sys.executable, "-m", "benchmarks.tables", "--job", str(job)]
        done = subprocess.run(command, check=False, env={**os.environ, **alone})
        result = Path(folder) / "result.json"
        if done.returncode or not result.is_file():
            return {"error": f"exit code {done.returncode}", **facts(family)}
        found, said = json.loads(result.read_text()), facts(family)
        return found | said | {"versions": said["versions"] | found.get("versions", {})}


def _families(options: argparse.Namespace) -> list[str]:
    """Those that were asked for, or all.

    Raises UserError for a setting without a value, or for mostlyai-engine where no Python is named that has it."""
    if options.families is None:
        return [*FAMILIES, APART]
    for text in options.families:
        settings_of(text)
    if APART in options.families and not options.mostlyai:
        raise UserError("mostlyai: no environment is named; say --mostlyai PYTHON, one that has mostlyai-engine")
    return list(options.families)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    cli = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__.splitlines()[0] if __doc__ else "")
    cli.add_argument("--data", nargs="+", choices=DATA, default=TABLES)
    cli.add_argument("--families", nargs="+", help="as in a plan: gan, sdv:TVAE, or gan,width=128; all by default")
    cli.add_argument("--mostlyai", metavar="PYTHON", default=os.environ.get("COUNTERPOISE_MOSTLYAI"))
    cli.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    cli.add_argument("--rows", type=int, help="use at most this many rows of the data")
    cli.add_argument("--store", default="docs/benchmarks/tables.json", help="where finished cells are kept")
    cli.add_argument("--again", action="store_true", help="take cells that are in the store once more")
    cli.add_argument("--out", default="docs/benchmarks/tables.md", help="the Markdown page; empty for none")
    cli.add_argument("--job", help=argparse.SUPPRESS)
    return cli.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
