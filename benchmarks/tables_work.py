"""One cell of `benchmarks.tables`: a family learns a table, draws rows, and these are judged. Runs in a process of its own."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.families import SLOW, build_family, fit_and_draw, learned, read
from data.dataset import Dataset
from data.errors import UserError
from data.schema import Schema
from generators.base import Generator

#: Share of the rows that train, and the seed that divides them: those of the protocol that the published figures follow.
TRAIN, SPLIT_SEED = 0.8, 0
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
        family = build_family(task["family"])
        figures: dict[str, Any] = dict(fit_and_draw(family, train, path, seed=task["seed"], rows=SPEED_ROWS))
        if type(family).exact_conditions and (rare := rare_level(train)) is not None:
            figures |= _rare(family, rare, task["seed"])
    except (UserError, ValueError) as error:
        print(f"    error: {error}", file=sys.stderr)
        return 2
    figures |= {"load": os.getloadavg()[0], "sizes": [len(train), len(test), len(train.schema)]}
    print("    judging its rows", file=sys.stderr, flush=True)
    figures["quality"] = score(train, test, _drawn(path, train.schema)).to_json()
    (job.parent / "result.json").write_text(json.dumps(figures))
    return 0


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
    held: pa.Table = pq.read_table(path)
    return Dataset(held, schema)
