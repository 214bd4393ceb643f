"""One cell of `benchmarks.tables`: a family learns a table, draws rows, and these are judged. Runs in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.families import SLOW, build_family, fit_and_draw, learned, read
from data.dataset import Dataset
from data.errors import UserError
from data.schema import Schema
from generators.base import Generator, GeneratorError

#: Share of the rows that train, and the seed that divides them: those of the protocol that the published figures follow.
TRAIN, SPLIT_SEED = 0.8, 0
#: The family that needs an environment of its own.
APART = "mostlyai"
#: Rows drawn for the speed with and without a condition, and the rows that a level has at least that is asked for alone.
SPEED_ROWS, RARE_ROWS = 200_000, 8


def parts(data: str, rows: int | None) -> tuple[Dataset, Dataset]:
    """Training and test rows: 80 % and 20 % of a permutation, without ids and free text."""
    whole = learned(read(data, rows, SPLIT_SEED))
    order = np.random.default_rng(SPLIT_SEED).permutation(len(whole))
    cut = int(TRAIN * len(whole))
    return whole.take(order[:cut]), whole.take(order[cut:])


def rare_level(train: Dataset) -> tuple[str, Any, int] | None:
    """The level of a discrete column with the fewest rows, RARE_ROWS or more: (column, level, rows); None without any."""
    found = []
    for column in train.schema.learned:
        if column.discrete:
            counts = Counter(train.column(column.name).to_pylist())
            found += [(n, column.name, level) for level, n in counts.items() if n >= RARE_ROWS and level is not None]
    if not found:
        return None
    n, name, level = min(found, key=lambda each: (each[0], each[1], str(each[2])))
    return name, level, n


def work(job: Path) -> int:
    """Fit, draw and judge what `job` names; the figures go into result.json beside it. The exit code: 2 for a user's error."""
    from benchmarks.quality import score

    task = json.loads(job.read_text())
    train, test = parts(task["data"], task["rows"])
    path = job.parent / "synthetic.parquet"
    try:
        figures = _apart(task, train, path) if task["family"] == APART else _here(task, train, path)
    except (UserError, ValueError) as error:
        print(f"    error: {error}", file=sys.stderr)
        return 2
    figures |= {"load": os.getloadavg()[0], "sizes": [len(train), len(test), len(train.schema)]}
    print("    judging its rows", file=sys.stderr, flush=True)
    figures["quality"] = score(train, test, _drawn(path, train.schema)).to_json()
    (job.parent / "result.json").write_text(json.dumps(figures))
    return 0


def _here(task: Mapping[str, Any], train: Dataset, path: Path) -> dict[str, Any]:
    """Fit and draw in this process: the figures, and the rows at `path`."""
    family = build_family(task["family"])
    figures: dict[str, Any] = dict(fit_and_draw(family, train, path, seed=task["seed"], rows=SPEED_ROWS))
    if type(family).exact_conditions and (rare := rare_level(train)) is not None:
        try:
            figures |= _rare(family, rare, task["seed"])
        except GeneratorError as refusal:
            # A family that throws rows away until a level comes may say that it hardly ever does: its rows are judged still.
            print(f"    {refusal}", file=sys.stderr)
    return figures


def _apart(task: Mapping[str, Any], train: Dataset, path: Path) -> dict[str, Any]:
    """Fit and draw by another interpreter, whose environment holds mostlyai-engine: as `_here`.

    Raises UserError where that does not work."""
    held = path.with_name("train.parquet")
    pq.write_table(train.table, held)
    script = Path(__file__).with_name("peer_mostlyai.py")
    asked = [str(held), str(path), str(task["seed"]), str(len(train)), str(SPEED_ROWS)]
    done = subprocess.run([task["mostlyai"], str(script), *asked], check=False)
    if done.returncode:
        raise UserError(f"{task['mostlyai']}: exit code {done.returncode}; name a Python that has mostlyai-engine")
    return dict(json.loads(path.with_suffix(".json").read_text()))


def _rare(family: Generator, rare: tuple[str, Any, int], seed: int) -> dict[str, Any]:
    """How fast rows of one rare level are drawn."""
    name, level, rows = rare
    started, drawn = time.perf_counter(), 0
    for batch in family.sample(SPEED_ROWS, where={name: level}, seed=seed):
        drawn += batch.num_rows
        if time.perf_counter() - started > SLOW:
            break
    speed = drawn / (time.perf_counter() - started)
    return {"rare": {"column": name, "level": str(level), "rows": rows}, "rare_rows_per_s": speed}


def _drawn(path: Path, schema: Schema) -> Dataset:
    """The rows at `path`, in the types that train has."""
    held: pa.Table = pq.read_table(path).select(schema.names)
    return Dataset(pa.table({f.name: held.column(f.name).cast(f.type) for f in schema.arrow()}), schema)
