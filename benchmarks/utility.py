"""What do rows of a scarce class bring to a model, beside nothing, class weights, repeated rows, SMOTE and a Gaussian mixture?

    python -m benchmarks.utility --data mammography telco_churn bank_marketing adult --few 30 100 --seeds 0 1 2 3 4 5

For each table, seed and number of rows the rarest class of the training rows is cut to so many ("all" leaves it as it is; of
Adult it is then 1 % of the rows). Every arm trains the same gradient boosting and the same logistic regression, which are asked
of real test rows with their real share of the class. `choose` is what the project picks by cross-validation inside the training
rows, nothing among its choices. Finished cells are kept in the store; the page is made of those that were asked for.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.cells import Cells
from benchmarks.families import learned, read
from benchmarks.utility_record import named, record
from configs.components import build
from configs.plan import ChooseSpec
from data.dataset import Dataset
from data.errors import UserError
from flows.amount import TRIED
from flows.choose import Facts, rubric
from generators.base import Generator, table
from validators._utility_scores import resampled
from validators.worth import BOOSTING, BOTH, LEARNERS, LEVELS, METRICS, NOTHING, WEIGHTS, Arm, figures, trained, wanted, worth

Array = np.ndarray
TABLES = ("mammography", "telco_churn", "bank_marketing", "adult")
FEW, SEEDS = ("30", "100", "all"), tuple(range(6))
#: Training and test rows at most, and resamples of the test rows.
TRAIN, TEST, DRAWS = 6_000, 10_000, 100
#: Arms without a drawn row, ways in the amounts that are usual for them, and families in those that the sweep tries.
PLAIN = (NOTHING, WEIGHTS)
USUAL = ("bootstrap", "smote", "mixture")
DRAWN = ("tilt", "gan", "autoregressive", "diffusion", "vae", "flow")


@dataclass(frozen=True)
class Task:
    """Training rows of which one class is rare, and real test rows."""

    train: Dataset
    test: Dataset
    rare: Any
    seed: int

    @property
    def place(self) -> int:
        """The rare class among all."""
        return self.train.schema.classes().index(self.rare)

    @cached_property
    def weights(self) -> Array:
        """Resamples of the test rows, the same for all arms: (n, 1 + DRAWS)."""
        rng = np.random.default_rng([self.seed, 23])
        return resampled(self.test.labels(), np.ones(self.test.num_rows), DRAWS, rng)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing, write store and page; the exit code."""
    options = _options(arguments)
    cells = Cells(Path(options.store))
    # Seed by seed, so that a run that is stopped early has all tables with fewer seeds.
    wanted_cells = [(d, few, seed) for seed in options.seeds for d in options.data for few in options.few]
    missing = [each for each in wanted_cells if any(lacks(cells.held, *each, arm) for arm in options.arms)]
    try:
        for turn, (data, few, seed) in enumerate(missing, start=1):
            print(f"[{turn}/{len(missing)}] {data}: {few} rows, seed {seed}", file=sys.stderr, flush=True)
            task = cut(data, few, seed)
            for arm in (arm for arm in options.arms if lacks(cells.held, data, few, seed, arm)):
                cells.keep({key(data, few, seed, arm): cell(task, arm)})
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if options.out:
        text = record(cells.held, options.data, options.few, options.arms, options.seeds)
        Path(options.out).write_text(text)
        print(f"written: {options.out}", file=sys.stderr)
    return 0


def key(data: str, few: str, seed: int, arm: str) -> str:
    """What a cell is called in the store."""
    return f"{data}|{few}|{seed}|{arm}"


def lacks(held: Mapping[str, Any], data: str, few: str, seed: int, arm: str) -> bool:
    """Whether an arm is not measured yet: what `choose` tried it has measured."""
    return key(data, few, seed, arm) not in held and f"{arm}@{max(LEVELS):g}" not in held.get(
        key(data, few, seed, "choose"), {}
    )


def cut(data: str, few: str, seed: int) -> Task:
    """At most TRAIN training rows, `few` of them of the rarest class, and at most TEST others to test on.

    The rows of one seed with fewer are among those with more. Raises DataError when the table cannot be read."""
    whole = learned(read(data, None, 0))
    classes, labels = whole.schema.classes(), whole.labels()
    rare = int(np.argmin([(labels == i).sum() for i in range(len(classes))]))
    order = np.random.default_rng([seed, 17]).permutation(len(whole))
    half = len(order) // 2
    test, pool = order[:half][:TEST], order[half:]
    those, others = pool[labels[pool] == rare], pool[labels[pool] != rare]
    if few == "all":
        # The real mix; of Adult, whose rarer class is no rare one, a hundredth.
        natural = len(those) / len(pool) if data != "adult" else 0.01
        those = those[: round(natural * min(len(pool), TRAIN))]
    else:
        those = those[: int(few)]
    kept = np.concatenate([those, others[: TRAIN - len(those)]])
    return Task(whole.take(kept), whole.take(test), classes[rare], seed)


def cell(task: Task, arm: str) -> dict[str, Any]:
    """Figures of one arm: amount -> learner -> metric, and draws of the boosting's average precision."""
    began = time.process_time()
    if arm == "choose":
        return _choose(task, began)
    parts = {"": None} if arm in PLAIN else _drawn(task, arm)
    seconds = time.process_time() - began
    out: dict[str, Any] = {"s": round(seconds, 2)}
    for amount, rows in parts.items():
        out[amount] = _measured(task, rows, arm == WEIGHTS)
    return out


def _measured(task: Task, rows: pa.Table | None, weights: bool) -> dict[str, Any]:
    train = task.train if rows is None else Dataset(pa.concat_tables([task.train.table, rows]), task.train.schema)
    out: dict[str, Any] = {}
    for learner in LEARNERS:
        given = trained(train, task.test, learner, weights=weights, seed=task.seed)
        found = figures(given, task.test.labels(), task.place, task.weights)
        out[learner] = {name: round(float(found[name][0]), 5) for name in METRICS}
        # As text: a list would take a line for each.
        out[learner]["draws"] = " ".join(f"{x:.4f}" for x in found[METRICS[0]][1:])
    return out


def _drawn(task: Task, use: str) -> dict[str, pa.Table]:
    """Rows of the rare class in each amount: times the real ones, or up to a share of the other class."""
    held = int((task.train.labels() == task.place).sum())
    others = task.train.num_rows - held
    if use in DRAWN:
        amounts = {f"{level:g}": n for level in LEVELS if (n := round(level * others) - held) > 0}
    elif use == "mixture":
        amounts = {"x10": min(10 * held, others), "half": max(others // 2 - held, 1), "full": others - held}
    else:
        amounts = {"full": others - held}
    fitted = build({"use": use}, Generator, package="generators").fit(task.train, seed=task.seed)
    made = _rows(fitted, task, task.rare, max(amounts.values()))
    return {amount: made.slice(0, n) for amount, n in amounts.items()}


def _rows(fitted: Generator, task: Task, level: Any, n: int) -> pa.Table:
    target = str(task.train.schema.target)
    return table(fitted.sample(n, where={target: level}, seed=task.seed), task.train.schema.arrow())


def maker(use: str) -> Callable[[Dataset, Mapping[Any, int], int], Mapping[Any, Dataset]]:
    """What `worth` fits on the rows of each trial."""

    def make(rows: Dataset, most: Mapping[Any, int], seed: int) -> Mapping[Any, Dataset]:
        fitted = build({"use": use}, Generator, package="generators").fit(rows, seed=seed)
        target, arrow = str(rows.schema.target), rows.schema.arrow()
        return {k: Dataset(table(fitted.sample(n, where={target: k}, seed=seed), arrow), rows.schema) for k, n in most.items()}

    return make


def first(counts: Mapping[Any, int], rare: Any) -> tuple[str, ...]:
    """The families that the five questions put first for this class, as many as are tried."""
    facts = Facts(modality="tabular", rows=sum(counts.values()), classes=counts, filled=[rare])
    return tuple(each.family for each in rubric(facts, ChooseSpec(use="augment"), balanced=True).left[:TRIED])


def _choose(task: Task, began: float) -> dict[str, Any]:
    """All that cross-validation said, and what each way that it could pick is worth on the test rows."""
    counts = dict(zip(task.train.schema.classes(), np.bincount(task.train.labels()).tolist(), strict=True))
    families = first(counts, task.rare)
    found = worth(
        task.train,
        {use: maker(use) for use in families},
        scarce=[task.rare],
        learner=BOOSTING,
        seed=task.seed,
    )
    seconds = time.process_time() - began
    out: dict[str, Any] = {"s": round(seconds, 2), "rows": counts[task.rare], "from": list(families)}
    out |= {"trials": found.plain(), "failed": dict(found.failed)}
    arms = [Arm("", level) for level in LEVELS] + [Arm("", level, True) for level in BOTH]
    for use in families:
        fitted = build({"use": use}, Generator, package="generators").fit(task.train, seed=task.seed)
        most = wanted(counts, max(LEVELS), both=True)
        made = {level: _rows(fitted, task, level, n) for level, n in most.items()}
        for arm in arms:
            rows = [made[level].slice(0, n) for level, n in wanted(counts, arm.level, both=arm.both).items()]
            if task.rare in wanted(counts, arm.level):
                out[named(use, arm.level, arm.both)] = _measured(task, pa.concat_tables(rows), False)
    return out


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    cli = argparse.ArgumentParser(prog="python -m benchmarks.utility", description=__doc__.splitlines()[0] if __doc__ else "")
    every = [*PLAIN, *USUAL, "choose", *DRAWN]
    cli.add_argument("--data", nargs="+", choices=TABLES, default=list(TABLES))
    cli.add_argument("--few", nargs="+", default=list(FEW), help="rows that the rare class is cut to, or all")
    cli.add_argument("--arms", nargs="+", choices=every, default=every)
    cli.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    cli.add_argument("--store", default="docs/benchmarks/utility.json", help="where finished cells are kept")
    cli.add_argument("--out", default="docs/benchmarks/utility.md", help="the page; empty for none")
    return cli.parse_args(arguments)


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    sys.exit(main())
