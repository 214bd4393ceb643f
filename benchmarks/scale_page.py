"""What follows from draws of one and two workers for a hundred million rows, and what does not?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GOAL = 100_000_000
#: Rows of one file, as `sample` has it where nobody says how many files.
FILE_ROWS = 1_000_000


@dataclass(frozen=True)
class Mode:
    """Who draws: the workers of a cluster (`ray`), or processes of this machine (`local`); how many."""

    on: str
    workers: int

    @property
    def option(self) -> str:
        """How `sample` is told."""
        return f"`--on ray --workers {self.workers}`" if self.on == "ray" else f"`--workers {self.workers}`"


@dataclass(frozen=True)
class Line:
    """Seconds of a draw: a start, so many for each file, so many for each row."""

    start: float
    shard: float
    row: float

    def of(self, rows: int, shards: int) -> float:
        """Seconds of a draw of so many rows in so many files."""
        return self.start + shards * self.shard + rows * self.row

    @property
    def pace(self) -> float:
        """Rows a second, apart from the start, of files of FILE_ROWS rows."""
        return 1 / (self.row + self.shard / FILE_ROWS)


def foretold(found: Mapping[Mode, Mapping[str, Line]], workers: int) -> tuple[float, float]:
    """Minutes that GOAL rows would take workers of a cluster that has a core for each of them: by the workers alone, and by the
    driver alone. The longer one counts.

    Of the workers counts what the processor spent where two were at work, since they hinder each other as many would."""
    two, shards = found[Mode("ray", 2)], GOAL // FILE_ROWS
    spent, start = two["workers"].of(GOAL, shards), two["workers"].start
    return (start / 2 + (spent - start) / workers) / 60, two["driver"].of(GOAL, shards) / 60


def driven(found: Mapping[Mode, Mapping[str, Line]], about: Mapping[str, Any]) -> float:
    """Seconds of its processor that a cluster's driver spends on GOAL rows: by the line, or by the trial where it is more."""
    rows, took = about.get("checked", (0, {}))
    tried = took[Mode("ray", 2)][1] / rows * GOAL if Mode("ray", 2) in took else 0.0
    return max(60 * foretold(found, 1)[1], tried)


def keeps_up(found: Mapping[Mode, Mapping[str, Line]], seconds: float) -> float:
    """Workers of a cluster whose files one driver can take that spends so many seconds on GOAL rows."""
    return GOAL / found[Mode("ray", 2)]["workers"].pace / seconds


def page(found: Mapping[Mode, Mapping[str, Line]], about: Mapping[str, Any]) -> list[str]:
    """The page: what was measured, what follows from it, and what was not measured.

    about: of the benchmark; where it has them, `checked`: rows that two workers drew, and by
    mode the seconds that they and the driver took."""
    rows, times, (few, many) = about["rows"], about["times"], about["files"]
    return [
        "# Rows by the million",
        "",
        f"`make bench-scale` measures it: {about['machine']}, {about['cores']} cores that other work shared, no GPU, one",
        f"thread a process (`OMP_NUM_THREADS=1`), Python {about['python']}, {about['versions']}. Adult (15 columns),",
        f"`{about['family']}`, seed {about['seed']}. Draws of {rows:,} and {times * rows:,} rows in {few} and in {many} files,",
        f"{about['turns']} turns of all of them in changing order after a warm-up. Both nodes of the cluster, one CPU each,",
        "are on this machine, and the driver shares its cores with them.",
        "",
        "Seconds of the median turn, taken apart by least squares into a start, a part for each file and one for each row:",
        "",
        "| `sample` | start | each file | rows/s, clock | beside one worker | rows/s of processor | driver, s a million |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(_row(mode, found) for mode in found),
        "",
        "*Start* and *each file* are seconds by the clock: processes begin, import torch and load the model; a file is",
        "opened, its first rows are drawn, its end is written. Rows a second are those of files of a million rows, without",
        "the start. Seconds of the processor are the workers' own; what the driver spends comes on top.",
        "",
        f"## {GOAL:,} rows",
        "",
        *_many(found, about["bytes"], driven(found, about), _checked(found, about)),
    ]


def _row(mode: Mode, found: Mapping[Mode, Mapping[str, Line]]) -> str:
    mine, alone = found[mode], found[Mode(mode.on, 1)]
    clock, workers, driver = mine["clock"], mine["workers"], mine["driver"]
    cells = [
        f"{clock.start:.1f} s", f"{clock.shard:.2f} s", f"{clock.pace:,.0f}", f"{clock.pace / alone['clock'].pace:.2f}",
        f"{workers.pace:,.0f}", f"{1e6 / driver.pace:.2f}",
    ]  # fmt: skip
    return f"| {mode.option} | " + " | ".join(cells) + " |"


def _checked(found: Mapping[Mode, Mapping[str, Line]], about: Mapping[str, Any]) -> list[str]:
    """How far the straight lines hold."""
    rows, took = about.get("checked", (0, {}))
    told = [
        f"- {mode.option}: {seconds:.0f} s, where the line says {found[mode]['clock'].of(rows, -(-rows // FILE_ROWS)):.0f} s; "
        f"the driver spent {driver:.1f} s of its processor."
        for mode, (seconds, driver) in took.items()
    ]
    return [f"Tried once, with {rows:,} rows:", "", *told, ""] if told else []


def _many(found: Mapping[Mode, Mapping[str, Line]], size: float, driver: float, checked: list[str]) -> list[str]:
    shards = GOAL // FILE_ROWS
    measured = {mode: lines["clock"].of(GOAL, shards) / 60 for mode, lines in found.items()}
    return [
        f"In {shards} files of a million rows, {size:.1f} bytes a row: {size * GOAL / 2**30:.1f} GiB.",
        "",
        "| drawn by | minutes | from |",
        "| --- | ---: | --- |",
        *(f"| {mode.option} | {minutes:.1f} | the clock of this machine |" for mode, minutes in measured.items()),
        *(
            f"| {n} of a cluster, a core each | {max(foretold(found, n)):.1f} | processor seconds of two workers |"
            for n in (1, 2, 8, 32)
        ),
        "",
        "All of them are figures of minutes, continued in a straight line: nobody drew a hundred million rows here. They",
        "assume a core of this kind for each worker and one for the driver, shards that divide evenly, a network as quick as",
        "this machine's memory, and that nothing else is at work.",
        "",
        *checked,
        "What ends it:",
        "",
        f"- **The driver.** Every file goes through it. It spends some {driver:.0f} s of one core on {GOAL:,} rows,",
        f"  whoever draws them, and so keeps up with {keeps_up(found, driver):.0f} workers of this kind, as far as a second",
        "  tells; a network will end it sooner. More of them want `--shard` on each machine, each with files of its own.",
        "- **The object store.** A worker sends a piece of at most 8 MiB and is asked for the next when it has arrived: as",
        "  many pieces as workers are under way. 100 MiB for each node were enough.",
        "- **The disk.** The folder is written beside its place and then moved: the files need their size once, on the disk of",
        f"  the driver. {size * GOAL / 2**30:.1f} GiB are of Adult, whose columns are mostly levels; numbers with all their",
        "  digits take up to 8 bytes a column and row.",
        "- **Time.** A driver that is killed begins anew. A worker that is lost costs its file, at most a million rows.",
        "",
        "Not measured: GPUs, more than two workers, nodes on different machines and their network, a worker that is lost at",
        "this size, hours at a stretch, other families, pictures, which are not drawn by shards, and judging: rows that",
        "`sample` draws are not judged.",
    ]
