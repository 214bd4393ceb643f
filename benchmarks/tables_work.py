"""One cell of `benchmarks.tables`: a family learns a table, draws rows, and these are judged. Runs in a process of its own."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.families import LAZY, Lines, learned, peak_mib, read, write
from data.dataset import Dataset
from data.errors import UserError
from data.schema import Schema
from generators.base import Generator

#: Share of the rows that train, and the seed that divides them: those of the protocol that the published figures follow.
TRAIN, SPLIT_SEED = 0.8, 0
#: Rows drawn for the speed with and without a condition, the rows that a level has at least that is asked for alone, and the
#: seconds after which a slow family is not asked on.
SPEED_ROWS, RARE_ROWS, SLOW = 200_000, 8, 60.0


def parts(data: str, rows: int | None) -> tuple[Dataset, Dataset]:
    """Training and test rows: 80 % and 20 % of a permutation, without ids and free text."""
    whole = learned(read(data, rows, SPLIT_SEED))
    order = np.random.default_rng(SPLIT_SEED).permutation(len(whole))
    cut = int(TRAIN * len(whole))
    return whole.take(order[:cut]), whole.take(order[cut:])


def family_of(text: str) -> tuple[str, dict[str, Any]]:
    """`name` or `name,setting=value,...`: what is built, and with which settings.

    Raises UserError for a setting without a value."""
    name, *given = text.split(",")
    settings: dict[str, Any] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals:
            raise UserError(f"{text!r}: {each!r} is no setting; write name=value")
        try:
            settings[key] = json.loads(value)
        except json.JSONDecodeError:
            settings[key] = value
    return name, settings


def build_of(text: str) -> Generator:
    """The family that `family_of` reads. Raises UserError for one that there is not, or a setting that it has not."""
    from configs.components import build
    from configs.errors import KeyFault

    name, settings = family_of(text)
    if (lazy := LAZY.get(name.partition(":")[0])) is not None:
        importlib.import_module(lazy)
    try:
        family: Generator = build({"use": name, **settings}, Generator, package="generators")
    except KeyFault as fault:
        raise UserError(str(fault)) from None
    return family


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


def speed(family: Generator, rows: int, seed: int, where: Mapping[str, Any] | None = None) -> float:
    """Rows a second of a draw of `rows`, or of what was drawn of them after SLOW seconds."""
    started, drawn = time.perf_counter(), 0
    for batch in family.sample(rows, where=where, seed=seed):
        drawn += batch.num_rows
        if time.perf_counter() - started > SLOW:
            break
    return drawn / (time.perf_counter() - started)


def work(job: Path) -> int:
    """Fit, draw and judge what `job` names; the figures go into result.json beside it. The exit code: 2 for a user's error."""
    from benchmarks.quality import score

    task = json.loads(job.read_text())
    train, test = parts(task["data"], task["rows"])
    try:
        family = build_of(task["family"])
        before, lines, path = peak_mib(), Lines(), job.parent / "synthetic.parquet"
        started, spent = time.perf_counter(), time.process_time()
        family.fit(train, seed=task["seed"], progress=lines)
        figures: dict[str, Any] = {"fit_s": time.perf_counter() - started, "fit_cpu_s": time.process_time() - spent}
        write(family.sample(len(train), seed=task["seed"]), path, train.schema, len(train))
        figures["rows_per_s"] = speed(family, SPEED_ROWS, task["seed"])
        if type(family).exact_conditions and (rare := rare_level(train)) is not None:
            figures["rare"] = {"column": rare[0], "level": str(rare[1]), "rows": rare[2]}
            figures["rare_rows_per_s"] = speed(family, SPEED_ROWS, task["seed"], {rare[0]: rare[1]})
    except (UserError, ValueError) as error:
        print(f"    error: {error}", file=sys.stderr)
        return 2
    figures |= {"epochs": lines.epochs, "peak_mib": peak_mib(), "before_mib": before, "load": os.getloadavg()[0]}
    figures["sizes"] = [len(train), len(test), len(train.schema)]
    print("    judging its rows", file=sys.stderr, flush=True)
    figures["quality"] = score(train, test, _drawn(path, train.schema)).to_json()
    (job.parent / "result.json").write_text(json.dumps(figures))
    return 0


def _drawn(path: Path, schema: Schema) -> Dataset:
    held: pa.Table = pq.read_table(path)
    return Dataset(held, schema)
