"""How many rows do two workers draw beside one, on a Ray cluster and by processes, and how long would a hundred million take?

    python -m benchmarks.scale --family autoregressive --rows 200000 --turns 3 --seed 0

Adult, a family with its usual settings, a cluster of two nodes of one CPU each that the benchmark starts on this machine. Every
turn draws four sizes (rows, and four times as many; few files, and many) with one and with two workers, by Ray and by
`--workers`, in an order that changes; a draw in each mode before warms up. Seconds of the median turn are taken apart by
least squares into a start, a part for each file and a part for each row. Seconds of the processor tell of the work, those of
the clock of the machine as well, which others may use.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.families import version_of
from benchmarks.gate_data import data_folder
from benchmarks.scale_page import FILE_ROWS, Line, Mode, page
from data.errors import UserError
from flows import cluster
from flows.begin import loaded
from flows.drawer import Drawer, Piece, Place
from flows.many import many_rows
from flows.run import Run
from flows.stages import STEPS, perform
from flows.stages.read import fingerprint

OUT = Path(__file__).resolve().parent.parent / "docs/benchmarks/scale.md"
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
MODES = tuple(Mode(on, workers) for on in ("ray", "local") for workers in (1, 2))
#: Files of a draw: few, and many.
FEW, MANY = 2, 16
#: How many times as many rows the larger draws have.
TIMES = 4
#: The folder in which workers of a cluster write down what they spent.
SPENT = "spent"


class Timed(Drawer):
    """A worker that writes down the seconds of its processor: those until the model is there, and those of each piece."""

    def open(self) -> Place:
        place = super().open()
        self._spent(time.process_time())
        return place

    def piece(self, shard: int) -> Piece:
        began = time.process_time()
        made = super().piece(shard)
        self._spent(time.process_time() - began)
        return made

    def _spent(self, seconds: float) -> None:
        with (self.kit.draw.run / SPENT / str(os.getpid())).open("a") as file:
            file.write(f"{seconds}\n")


@dataclass(frozen=True)
class Turn:
    """One draw. clock: seconds on the wall; workers: of the processor, of all workers together, their start included; driver:
    those of the process that asks for the rows; size: bytes of the files."""

    rows: int
    shards: int
    clock: float
    workers: float
    driver: float
    size: int


def fitted(family: str, home: Path, seed: int) -> Run:
    """A run of the family on Adult, as far as its model."""
    plan = home / "adult.yaml"
    plan.write_text(
        f"name: adult\nseed: {seed}\ndata: {{use: csv, path: '{data_folder() / 'adult/adult.csv'}'}}\ntarget: income\n"
        f"generator: {{use: {family}}}\n"
    )
    wanted = loaded(plan, [])
    run = Run.open(home / "runs", wanted, fingerprint(wanted))
    for stage in list(STEPS)[: list(STEPS).index("fit") + 1]:
        perform(run, stage)
    return run


def drawn(run: Run, mode: Mode, rows: int, shards: int, out: Path, *, seed: int) -> Turn:
    """Draw once; the files are measured and taken away."""
    shutil.rmtree(run.folder / SPENT, ignore_errors=True)
    (run.folder / SPENT).mkdir()
    clock, own, others = time.monotonic(), time.process_time(), _of_children()
    many_rows(run, rows=rows, where={}, seed=seed, out=out, shards=shards, workers=mode.workers, only=None, on=mode.on)
    clock, own, others = time.monotonic() - clock, time.process_time() - own, _of_children() - others
    told = [float(line) for path in (run.folder / SPENT).iterdir() for line in path.read_text().split()]
    size = sum(path.stat().st_size for path in out.iterdir())
    shutil.rmtree(out)
    return Turn(rows, shards, clock, others if mode.on == "local" else sum(told), own, size)


def _once(run: Run, mode: Mode, options: argparse.Namespace, home: Path) -> tuple[float, float]:
    """Seconds of the clock and of the driver for many more rows than the line was drawn through."""
    turn = drawn(run, mode, options.check, -(-options.check // FILE_ROWS), home / "rows", seed=options.seed)
    return turn.clock, turn.driver


def _of_children() -> float:
    """Seconds of the processor of ended processes that this one had started."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def taken(draw: Callable[[Mode, int, int], Turn], rows: int, turns: int) -> dict[Mode, list[Turn]]:
    """Every size in every mode, `turns` times, each time in another order; a draw in each mode warms up."""
    found: dict[Mode, list[Turn]] = {mode: [] for mode in MODES}
    work = [(mode, n, shards) for n in (rows, TIMES * rows) for shards in (FEW, MANY) for mode in MODES]
    for mode in MODES:
        draw(mode, rows, FEW)
    for turn in range(turns):
        at = turn * len(work) // turns
        for mode, n, shards in work[at:] + work[:at]:
            found[mode].append(draw(mode, n, shards))
            print(f"{turn} {mode.on} {mode.workers}: {asdict(found[mode][-1])}", file=sys.stderr, flush=True)
    return found


def line(turns: Sequence[Turn], seconds: Callable[[Turn], float]) -> Line:
    """Start, seconds for each file and for each row, by least squares over the median of each size."""
    sizes = sorted({(turn.rows, turn.shards) for turn in turns})
    medians = [median(seconds(turn) for turn in turns if (turn.rows, turn.shards) == size) for size in sizes]
    # In millions, or the columns would be of very different length.
    known = np.array([[1.0, shards, rows / 1e6] for rows, shards in sizes])
    start, shard, million = np.linalg.lstsq(known, np.array(medians), rcond=None)[0]
    return Line(float(start), float(shard), float(million) / 1e6)


def lines(found: Mapping[Mode, Sequence[Turn]]) -> dict[Mode, dict[str, Line]]:
    """For each mode: clock, workers and driver."""
    whose: dict[str, Callable[[Turn], float]] = {
        "clock": lambda turn: turn.clock, "workers": lambda turn: turn.workers, "driver": lambda turn: turn.driver,
    }  # fmt: skip
    return {mode: {name: line(turns, seconds) for name, seconds in whose.items()} for mode, turns in found.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the page; the exit code."""
    options = _options(arguments)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args=NODE)
    nodes.add_node(**NODE)
    os.environ["RAY_ADDRESS"] = nodes.address
    cluster.Drawer = Timed  # type: ignore[misc]
    try:
        with tempfile.TemporaryDirectory() as home:
            run = fitted(options.family, Path(home), options.seed)
            found = taken(
                lambda mode, rows, shards: drawn(run, mode, rows, shards, Path(home) / "rows", seed=options.seed),
                options.rows, options.turns,
            )  # fmt: skip
            checked = {mode: _once(run, mode, options, Path(home)) for mode in MODES if options.check and mode.workers == 2}
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        nodes.shutdown()
    largest = max((turn for turn in found[MODES[0]]), key=lambda turn: turn.rows)
    about = {
        "family": options.family, "rows": options.rows, "turns": options.turns, "seed": options.seed, "times": TIMES,
        "files": (FEW, MANY), "cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version(),
        "versions": ", ".join(f"{name} {version_of(name)}" for name in ("ray", "torch", "pyarrow")),
        "bytes": largest.size / largest.rows, "checked": (options.check, checked),
    }  # fmt: skip
    text = "\n".join(page(lines(found), about))
    print(text)
    if options.out:
        Path(options.out).write_text(text + "\n", encoding="utf-8")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    cli = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0] if __doc__ else "")
    cli.add_argument("--family", default="autoregressive")
    cli.add_argument("--rows", type=int, default=200_000, help="of the smaller draws")
    cli.add_argument("--turns", type=int, default=3)
    cli.add_argument("--check", type=int, default=20_000_000, help="rows that two workers draw once; 0 for none")
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--out", default=str(OUT), help="the Markdown page; empty for none")
    return cli.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
