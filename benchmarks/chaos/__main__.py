"""How often is something lost when things go wrong? Every fault is tried and counted.

    python -m benchmarks.chaos --faults kills disk --seed 0

Each trial runs `counterpoise run` on scikit-learn's iris data in a folder of its own, lets the fault hit, looks at what readers
would find, and gives the same command again. Faults that were tried are kept in the store; the page is made of all in it.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cells import Cells
from benchmarks.chaos import bucket, checkpoint, clock, crowd, disk, kills, memory, server, source
from benchmarks.chaos.ground import Trial


@dataclass(frozen=True)
class Fault:
    """What goes wrong, how often it is tried, and what counts as lost."""

    says: str
    trials: Callable[[Path, int, int], Iterator[Trial]]
    count: int
    lost: str


FAULTS: Mapping[str, Fault] = {
    "kills": Fault("SIGKILL to the process group at any moment", kills.trials, 50, kills.LOST),
    "disk": Fault("the disk is full at each stage", disk.trials, 40, disk.LOST),
    "bucket": Fault("S3 refuses or drops a fifth of the calls, is slow, or dies", bucket.trials, 20, bucket.LOST),
    "crowd": Fault("2, 4, 8 publishers at once", crowd.trials, 12, crowd.LOST),
    "server": Fault("the Prefect server is killed", server.trials, 4, server.LOST),
    "clock": Fault("the clock is set back", clock.trials, 12, clock.LOST),
    "checkpoint": Fault("the last checkpoint is damaged, or the one before as well", checkpoint.trials, 15, checkpoint.LOST),
    "source": Fault("the Parquet source is damaged", source.trials, 30, source.LOST),
    "memory": Fault("a limit of memory in fit", memory.trials, 12, memory.LOST),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the faults, write store and page; 1 where anything was lost."""
    options = _options(arguments)
    cells = Cells(Path(options.store))
    for name in options.faults:
        fault, count = FAULTS[name], options.trials or FAULTS[name].count
        print(f"{name}: {count} trials, seed {options.seed}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix=f"counterpoise-{name}-") as folder:
            for found in tried(fault, Path(folder), count, options.seed):
                cells.keep({name: found})
    lines = page(cells.held)
    print("\n".join(lines))
    if options.out:
        Path(options.out).write_text("\n".join(lines) + "\n")
    return int(any(cells.held[name]["lost"] for name in options.faults))


def tried(fault: Fault, folder: Path, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """The trials of a fault so far, after each: how many, what was lost, where they hit."""
    started = time.monotonic()
    found: list[Trial] = []
    for trial in fault.trials(folder, count, seed):
        found.append(trial)
        print(
            f"  {len(found):3d} {trial.what}{'' if trial.lost is None else f': LOST, {trial.lost}'}",
            file=sys.stderr,
            flush=True,
        )
        yield {
            "trials": len(found), "seed": seed, "seconds": round(time.monotonic() - started),
            "lost": [f"{each.what}: {each.lost}" for each in found if each.lost is not None],
            "where": dict(Counter(each.what for each in found)),
        }  # fmt: skip


def page(held: Mapping[str, Any]) -> list[str]:
    """Markdown: a table of the faults, and where they hit."""
    lines = [
        "# Faults, tried and counted",
        "",
        "    make chaos",
        "",
        "Each trial runs `counterpoise run` on scikit-learn's iris data (a GAN that keeps checkpoints) in a folder of its own,",
        "lets the fault hit, looks at what readers would find then, and gives the same command again. *The same bytes* are",
        "those of every file that is published: Parquet, reports, card, Croissant, manifest, LATEST.",
        f"Machine: {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}.",
        "",
        "| fault | trials | lost | seed | what counts as lost |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    there = {name: held[name] for name in FAULTS if name in held}
    for name, found in there.items():
        fault = FAULTS[name]
        lines.append(f"| {fault.says} | {found['trials']} | {len(found['lost'])} | {found['seed']} | {fault.lost} |")
    total, lost = sum(each["trials"] for each in there.values()), sum(len(each["lost"]) for each in there.values())
    lines += [f"| **all** | **{total}** | **{lost}** | | |", "", "Where they hit, and how often:", ""]
    for name, found in there.items():
        where = "; ".join(f"{what} ({n})" for what, n in sorted(found["where"].items(), key=lambda item: -item[1]))
        lines.append(f"- **{FAULTS[name].says}**, {found['seconds']} s: {where}.")
        lines += [f"  - lost: {each}" for each in found["lost"]]
    if missing := [FAULTS[name].says for name in FAULTS if name not in held]:
        lines += ["", f"Not counted here yet; `make chaos` tries them as well: {'; '.join(missing)}."]
    return lines


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    cli = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__.splitlines()[0] if __doc__ else "")
    cli.add_argument("--faults", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    cli.add_argument("--trials", type=int, default=0, help="of each fault; if not given, as many as each usually has")
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--store", default="docs/benchmarks/chaos.json", help="where counts are kept")
    cli.add_argument("--out", default="docs/benchmarks/chaos.md", help="the page; empty for none")
    return cli.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
