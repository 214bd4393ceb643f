"""What do synthetic rows of a rare class bring to a classifier, beside class weights, repeated rows and SMOTE?

    python -m benchmarks.balance --data mammography adult --few 5 20 100 --seeds 0 1 2

For each table, seed and number of rows the rarest class of the training rows is cut to so many; every arm then trains the same
gradient boosting, and is asked for its average precision on real test rows with their real share of that class. Arms that
draw fill the class up to the other one. Finished cells are kept in the store; the page is made of those that were asked for.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.balance_record import record
from benchmarks.cells import Cells
from benchmarks.families import learned, read
from data.dataset import Dataset
from data.errors import UserError
from generators.base import Generator, table

Array = np.ndarray
TABLES = ("mammography", "telco_churn", "bank_marketing", "adult")
FEW, SEEDS = (5, 20, 100), tuple(range(10))
#: Training and test rows at most.
TRAIN, TEST = 6_000, 10_000
#: Arms without a drawn row, and families that draw the rare class.
PLAIN = ("alone", "weights", "leaves")
DRAWN = ("bootstrap", "smote", "gan", "autoregressive", "diffusion")


@dataclass(frozen=True)
class Task:
    """Training rows of which one class is rare, and real test rows."""

    train: Dataset
    test: Dataset
    rare: Any

    @property
    def target(self) -> str:
        return str(self.train.schema.target)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing, write store and page; the exit code."""
    options = _options(arguments)
    cells = Cells(Path(options.store))
    # Seed by seed, so that a run that is stopped early has all tables with fewer seeds.
    wanted = [(d, few, seed) for seed in options.seeds for d in options.data for few in options.few]
    missing = [each for each in wanted if any(key(*each, arm) not in cells.held for arm in options.arms)]
    try:
        for turn, (data, few, seed) in enumerate(missing, start=1):
            print(f"[{turn}/{len(missing)}] {data}: {few} rows, seed {seed}", file=sys.stderr, flush=True)
            task = cut(data, few, seed)
            for arm in (arm for arm in options.arms if key(data, few, seed, arm) not in cells.held):
                cells.keep({key(data, few, seed, arm): cell(task, arm, seed)})
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    text = record(cells.held, options.data, options.few, options.arms, options.seeds)
    print(text)
    if options.out:
        Path(options.out).write_text(text)
        print(f"written: {options.out}", file=sys.stderr)
    return 0


def key(data: str, few: int, seed: int, arm: str) -> str:
    """What a cell is called in the store."""
    return f"{data}|{few}|{seed}|{arm}"


def cut(data: str, few: int, seed: int) -> Task:
    """At most TRAIN training rows, `few` of them of the rarest class, and at most TEST others to test on.

    The rows of one seed with fewer are among those with more. Raises DataError when the table cannot be read."""
    whole = learned(read(data, None, 0))
    classes, labels = whole.schema.classes(), whole.labels()
    rare = int(np.argmin([(labels == i).sum() for i in range(len(classes))]))
    order = np.random.default_rng([seed, 17]).permutation(len(whole))
    half = len(order) // 2
    test, pool = order[:half][:TEST], order[half:]
    those, others = pool[labels[pool] == rare][:few], pool[labels[pool] != rare]
    kept = np.concatenate([those, others[: TRAIN - len(those)]])
    return Task(whole.take(kept), whole.take(test), classes[rare])


def cell(task: Task, arm: str, seed: int) -> dict[str, float]:
    """Average precision of one arm, and the seconds that its rows took."""
    began = time.perf_counter()
    train = task.train if arm in PLAIN else _filled(task, arm, seed)
    seconds = time.perf_counter() - began
    return {"ap": average_precision(task, train, arm, seed), "s": seconds}


def average_precision(task: Task, train: Dataset, arm: str, seed: int) -> float:
    """Of the rare class on the test rows, by gradient boosting with its defaults; 0..1, the class's share is chance.

    weights: every class weighs the same. leaves: that, and leaves of two rows in place of twenty: as rows are counted there and
    not weights, fewer rows than twenty could not stand in a leaf of their own."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import average_precision_score

    settings: dict[str, Any] = {"class_weight": "balanced"} if arm in ("weights", "leaves") else {}
    settings |= {"min_samples_leaf": 2} if arm == "leaves" else {}
    settings |= {"categorical_features": "from_dtype", "random_state": seed, "early_stopping": False}
    model = HistGradientBoostingClassifier(**settings)
    x, y = _features(task, train)
    seen, truth = _features(task, task.test)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, y)
    return float(average_precision_score(truth, model.predict_proba(seen)[:, 1]))


def _filled(task: Task, use: str, seed: int) -> Dataset:
    """The training rows with as many rows of the rare class as there are others, drawn by a family that saw all of them."""
    from configs.components import build

    family: Generator = build({"use": use}, Generator, package="generators")
    wanted = int((task.train.labels() != task.train.schema.classes().index(task.rare)).sum())
    missing = wanted - (task.train.num_rows - wanted)
    fitted = family.fit(task.train, seed=seed)
    drawn = table(fitted.sample(missing, where={task.target: task.rare}, seed=seed), task.train.schema.arrow())
    return Dataset(pa.concat_tables([task.train.table, drawn]), task.train.schema)


def _features(task: Task, rows: Dataset) -> tuple[pd.DataFrame, Array]:
    """All columns but the target, levels as categories of train, and whether a row is of the rare class."""
    frame, columns = rows.to_pandas(), {}
    for column in task.train.schema:
        if column.name == task.target:
            continue
        values = frame[column.name]
        if column.discrete:
            known = [str(level) for level in column.categories[:254]]
            columns[column.name] = pd.Categorical(values.astype(str).where(values.notna()), categories=known)
        elif column.kind == "datetime":
            columns[column.name] = pd.to_datetime(values).astype("int64").astype("float64")
        else:
            columns[column.name] = values.astype("float64")
    return pd.DataFrame(columns), (frame[task.target] == task.rare).to_numpy()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    cli = argparse.ArgumentParser(prog="python -m benchmarks.balance", description=__doc__.splitlines()[0] if __doc__ else "")
    cli.add_argument("--data", nargs="+", choices=TABLES, default=list(TABLES))
    cli.add_argument("--few", nargs="+", type=int, default=list(FEW), help="rows that the rare class is cut to")
    cli.add_argument("--arms", nargs="+", choices=(*PLAIN, *DRAWN), default=[*PLAIN, *DRAWN])
    cli.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    cli.add_argument("--store", default="docs/benchmarks/balance.json", help="where finished cells are kept")
    cli.add_argument("--out", default="docs/benchmarks/balance.md", help="the page; empty for none")
    return cli.parse_args(arguments)


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    sys.exit(main())
