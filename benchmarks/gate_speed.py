"""How long does `counterpoise judge` take on many synthetic rows, and how much memory?"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.gate_data import data_folder

REAL_ROWS, BATCH = 50_000, 500_000
#: Rows -> seconds and MiB that are allowed on two cores.
LIMITS = {1_000_000: (25, 3072), 10_000_000: (150, 3072)}


@dataclass(frozen=True)
class Speed:
    """One run of the command line: rows judged, wall seconds, peak MiB, verdict's exit code."""

    rows: int
    seconds: float
    mebibytes: float
    code: int


def adult_like(source: pd.DataFrame, rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Rows of Adult drawn with replacement, three numbers moved a little so that few rows repeat."""
    out = source.iloc[rng.integers(0, len(source), rows)].reset_index(drop=True)
    return out.assign(
        age=(out.age + rng.integers(-1, 2, rows)).clip(17, 90),
        fnlwgt=(out.fnlwgt + rng.normal(0, 3000, rows)).round().clip(12285).astype("int64"),
        **{"hours-per-week": (out["hours-per-week"] + rng.integers(-1, 2, rows)).clip(1, 99)},
    )


def timed(rows: int) -> Speed:
    """Write Adult-like Parquet, judge it against 50,000 train and 50,000 holdout rows in a process of its own."""
    source = pd.read_csv(data_folder() / "adult/adult.csv", skipinitialspace=True)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.parquet" for name in ("train", "holdout", "synthetic")}
        for seed, name in enumerate(("train", "holdout")):
            adult_like(source, REAL_ROWS, np.random.default_rng(seed)).to_parquet(paths[name])
        _write(source, rows, paths["synthetic"])
        sides = [part for name, path in paths.items() for part in (f"--{name}", str(path))]
        command = [sys.executable, "-m", "flows", "judge", *sides, "--target", "income", "--quiet"]
        start = time.monotonic()
        # The trials run on one thread each; a user's command has them all.
        free = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=free)
        seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{rows:,} rows: {seconds:.1f} s, {peak:.0f} MiB, exit {done.returncode} {done.stderr.strip()}", file=sys.stderr)
    return Speed(rows, seconds, peak, done.returncode)


def _write(source: pd.DataFrame, rows: int, path: Path) -> None:
    schema = pa.Table.from_pandas(adult_like(source, 1, np.random.default_rng(0)), preserve_index=False).schema
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for i, start in enumerate(range(0, rows, BATCH)):
            some = adult_like(source, min(BATCH, rows - start), np.random.default_rng([7, i]))
            writer.write_table(pa.Table.from_pandas(some, schema=schema, preserve_index=False), row_group_size=100_000)


def speed_rows(speeds: list[Speed]) -> list[str]:
    """The third table, in Markdown; peaks are those of the largest run so far, as the system counts children."""
    if not speeds:
        return []
    out = ["| synthetic rows | real rows | wall s | peak MiB | exit | allowed |", "| --- " * 6 + "|"]
    for each in speeds:
        allowed = LIMITS.get(each.rows)
        kept = allowed and each.seconds < allowed[0] and each.mebibytes < allowed[1]
        said = f"{allowed[0]} s, {allowed[1]} MiB {'met' if kept else '**missed**'}" if allowed else ""
        figures = f"{each.seconds:.1f} | {each.mebibytes:.0f} | {each.code}"
        out.append(f"| {each.rows:,} | {REAL_ROWS:,} + {REAL_ROWS:,} | {figures} | {said} |")
    return out
