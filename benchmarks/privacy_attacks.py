"""Do the attacks on people see what was copied or learned by heart, and leave unseen rows alone?

    python -m benchmarks.privacy_attacks --reshuffles 100 --trials 10 --seed 0 --store build/privacy_attacks.json

In every trial train, holdout and the synthetic side are disjoint rows of one real table; the fault is planted in the latter.
Each has a seed of its own. Finished trials are kept in the store, and a run that was stopped goes on where it was. The page is
docs/benchmarks/privacy_attacks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402 - after the threads are set
import pandas as pd  # noqa: E402 - as numpy

from benchmarks.cells import Cells  # noqa: E402 - as numpy
from benchmarks.gate import wilson  # noqa: E402 - as numpy
from benchmarks.gate_data import data_folder, evidence  # noqa: E402 - as numpy
from data.dataset import Dataset  # noqa: E402 - as numpy
from validators.base import PRIVACY_SHARES, Evidence, Privacy  # noqa: E402 - as numpy
from validators.copies import CopiesCheck  # noqa: E402 - as numpy
from validators.judge import checks, run  # noqa: E402 - as numpy

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs/benchmarks/privacy_attacks.md"
ATTACKS = tuple(PRIVACY_SHARES)
#: Rows of the table that a model learns by heart, its epochs, and rows that it draws.
FEW, EPOCHS, DRAWN = 200, 800, 1000
SILENCE = "unseen rows in place of synthetic ones"
BY_HEART = f"a variational autoencoder of {FEW} rows, {EPOCHS} epochs"


@dataclass(frozen=True)
class Table:
    """A real table. file: below the data folder, None for one of scikit-learn's; sizes: rows of train, holdout and the
    synthetic side; privacy: what an attacker knows and wants; share, heart: of the reshuffles and
    trials asked for, and of the networks that learn its rows by heart (a minute or so each)."""

    name: str
    file: str | None
    target: str
    sizes: tuple[int, int, int]
    privacy: Privacy = Privacy()
    share: float = 1.0
    heart: float = 0.0


TABLES = (
    Table("breast_cancer", None, "target", (220, 150, 190), heart=0.5),
    Table("mammography", "mammography/mammography.csv", "class", (1500, 1000, 1500), heart=1.0),
    Table(
        "adult",
        "adult/adult.csv",
        "income",
        (1500, 1000, 1500),
        Privacy(
            quasi=("age", "sex", "race", "education", "marital-status", "native-country", "occupation"),
            secret=("income", "workclass", "hours-per-week", "relationship"),
        ),
    ),
    Table("telco_churn", "telco_churn/telco_churn.csv", "Churn", (1500, 1000, 1500)),
    Table("adult, ten times as many", "adult/adult.csv", "income", (3000, 1500, 15000), share=0.1),
    Table("mammography, all rows", "mammography/mammography.csv", "class", (4400, 2300, 4400), share=0.2),
    Table("telco_churn, all rows", "telco_churn/telco_churn.csv", "Churn", (2800, 1400, 2800), share=0.2),
    Table("adult, all rows", "adult/adult.csv", "income", (13000, 6500, 13000), share=0.1),
)


@cache
def rows(name: str) -> Dataset:
    """All rows of a table, with the schema that `judge` would infer."""
    real = next(each for each in TABLES if each.name == name)
    if real.file is None:
        from sklearn.datasets import load_breast_cancer

        frame = load_breast_cancer(as_frame=True).frame
        return Dataset.from_pandas(frame.assign(target="class " + frame.target.astype(str)), target="target")
    from data.sources.csv import read

    return Dataset.from_arrow(read(str(data_folder() / real.file)), target=real.target)


def available() -> list[Table]:
    """The tables that are here."""
    return [real for real in TABLES if real.file is None or (data_folder() / real.file).is_file()]


Rng = np.random.Generator
Plant = Callable[[pd.DataFrame, pd.DataFrame, Rng], pd.DataFrame]


def copies(share: float, noise: float = 0.0) -> Plant:
    """So large a part of the synthetic rows are training rows; noise: on floating numbers, in deviations."""

    def plant(train: pd.DataFrame, made: pd.DataFrame, rng: Rng) -> pd.DataFrame:
        count = max(round(share * len(made)), 1)
        taken = train.iloc[rng.choice(len(train), count)].reset_index(drop=True)
        for name in taken.select_dtypes("number").columns if noise else ():
            moved = taken[name] + noise * train[name].std() * rng.normal(size=count)
            whole = pd.api.types.is_integer_dtype(train[name])
            taken[name] = (moved.round() if whole else moved).astype(train[name].dtype)
        return pd.concat([taken, made.iloc[count:]], ignore_index=True)

    return plant


def repeated(train: pd.DataFrame, made: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """A generator that draws training rows with replacement."""
    return train.iloc[rng.choice(len(train), len(made))].reset_index(drop=True)


FAULTS: Mapping[str, Plant] = {
    "1 % copies of training rows": copies(0.01),
    "5 % copies of training rows": copies(0.05),
    "5 % copies, numbers moved by .02 deviations": copies(0.05, 0.02),
    "20 % copies, numbers moved by .1 deviations": copies(0.20, 0.1),
    "training rows drawn with replacement": repeated,
}


def drawn(real: Table, seed: int, sizes: tuple[int, int, int] | None = None) -> tuple[pd.DataFrame, ...]:
    """Train, holdout and a synthetic side of unseen rows: disjoint, at random."""
    sizes, whole = sizes or real.sizes, rows(real.name)
    order = np.random.default_rng([seed, 1]).permutation(whole.num_rows)[: sum(sizes)]
    return tuple(whole.take(part).to_pandas() for part in np.split(order, np.cumsum(sizes)[:-1]))


def asked(real: Table, given: Evidence) -> dict[str, Any]:
    """Verdict of each attack and of the check of copies, and seconds."""
    given, out = replace(given, intent=replace(given.intent, privacy=real.privacy)), {}
    start = time.process_time()
    for check in [*(each for each in checks(privacy=True) if each.name in ATTACKS), CopiesCheck()]:
        found = run(check, given)
        if found.verdict == "ERROR":
            raise RuntimeError(f"{real.name}, {check.name}: {found.summary}")
        out[check.name] = found.verdict
        if found.verdict in ("BLOCK", "WARN"):
            out[f"{check.name}: said"] = found.summary
    return out | {"seconds": time.process_time() - start}


def trial(real: Table, fault: str, seed: int) -> dict[str, Any]:
    """One trial of one fault."""
    schema = rows(real.name).schema
    if fault == BY_HEART:
        train, holdout, made = by_heart(real, seed)
    else:
        train, holdout, made = drawn(real, seed)
        if fault != SILENCE:
            made = FAULTS[fault](train, made, np.random.default_rng([seed, 2]))
    return asked(real, evidence(train, holdout, made, schema, seed=seed))


def by_heart(real: Table, seed: int) -> tuple[pd.DataFrame, ...]:
    """What a network draws that saw a few rows many times over, with nothing that keeps it from learning them by heart."""
    import pyarrow as pa
    import torch

    from generators.tabular.vae import VAE

    torch.set_num_threads(1)
    _, most, _ = real.sizes
    train, holdout, _ = drawn(real, seed, (FEW, most, 1))
    model = VAE(epochs=EPOCHS, dropout=0.0, held_out=0.0, beta=0.02, decay=0.0, ema=0.9, device="cpu")
    model.fit(Dataset.from_pandas(train, rows(real.name).schema), seed=seed)
    return train, holdout, pa.Table.from_batches(list(model.sample(DRAWN, seed=seed))).to_pandas()


def measure(store: Cells, reshuffles: int, trials: int, heart: int, seed: int, names: list[str]) -> None:
    """Every trial that the store lacks; networks, which take longest, last. Of a fault no fewer than three."""
    here = [real for real in available() if not names or real.name in names]
    jobs = [(real, SILENCE, reshuffles * real.share) for real in here]
    jobs += [(real, fault, max(trials * real.share, min(trials, 3))) for real in here for fault in FAULTS]
    jobs += [(real, BY_HEART, heart * real.heart) for real in here]
    for real, fault, count in jobs:
        for each in range(seed, seed + round(count)):
            if (name := json.dumps([real.name, fault, each])) not in store.held:
                store.keep({name: trial(real, fault, each)})
                print(f"{real.name}, {fault}, seed {each}: {store.held[name]}", file=sys.stderr, flush=True)


def page(store: Cells, command: str) -> str:
    """The page, of all that the store holds."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name, told in store.held.items():
        table, fault, _ = json.loads(name)
        found.setdefault((table, fault), []).append(told)
    silence = [_row(*key, told) for key, told in found.items() if key[1] == SILENCE]
    faults = [_row(*key, told) for key, told in found.items() if key[1] != SILENCE]
    head = ["table", "fault", "blocked", "95 % interval", "warned", *ATTACKS, "`copies` beside", "CPU s a trial"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    order = [SILENCE, *FAULTS, BY_HEART]
    faults.sort(key=lambda row: (order.index(row[1]), row[0]))
    return TEXT.format(
        command=command,
        machine=_machine(),
        sizes=_sizes(),
        minutes=sum(told["seconds"] for told in store.held.values()) / 60,
        silence="\n".join([*lines, *("| " + " | ".join(row) + " |" for row in silence)]),
        faults="\n".join([*lines, *("| " + " | ".join(row) + " |" for row in faults)]),
    )


def _row(table: str, fault: str, told: list[dict[str, Any]]) -> list[str]:
    verdicts = [[each[name] for name in ATTACKS] for each in told]
    blocked = sum("BLOCK" in each for each in verdicts)
    warned = sum("WARN" in each and "BLOCK" not in each for each in verdicts)
    low, high = wilson(blocked, len(told))
    alone = [str(sum(each[name] == "BLOCK" for each in told)) for name in (*ATTACKS, "copies")]
    seconds = sum(each["seconds"] for each in told) / len(told)
    interval = f"{100 * low:.0f} % to {100 * high:.0f} %"
    return [table, fault, f"{blocked} of {len(told)}", interval, str(warned), *alone, f"{seconds:.1f}"]


def _sizes() -> str:
    return ";\n".join(f"{t.name} {t.sizes[0]}, {t.sizes[1]}, {t.sizes[2]}" for t in TABLES)


def _machine() -> str:
    import platform
    from importlib.metadata import version

    named = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-learn", "torch"))
    return f"{os.cpu_count()} cores ({platform.machine()}), one thread, Python {platform.python_version()}, {named}"


TEXT = """# What the attacks on people see

    {command}

Machine: {machine}.
Train, holdout and the synthetic side are disjoint rows of one real table, drawn anew in each trial (rows of each:
{sizes});
the reference is train. The gate's alpha is its default of .01, of which a first attempt spends .005; a fifth of that is
for the checks of privacy. A trial is *blocked* when one of the five checks of privacy blocks, and *warned* when one warns and
none blocks; the columns after that count the trials in which each check blocks. Intervals are Wilson's at 95 %. All trials
together took {minutes:.0f} minutes of one core, besides the training of the networks.

## Unseen rows in place of synthetic ones

Nothing leaks here. Asked: no BLOCK in at least 95 of 100.

{silence}

## Planted leaks

{faults}

## How to read it

- 1 % copies in a set as large as train expose 1 % of its people. That is below the limits by design (a TPR of 3 %, a risk of
  .10), and the check `copies` seldom has evidence enough for fifteen rows either. Ten times as many synthetic rows, which the
  gate draws by itself, expose ten times as many people, and are seen by both.
- With fewer than 299 unseen rows (breast_cancer) no TPR at 1 % FPR can be sure, and a few copies do not move an area under the
  curve or a risk of all: there the attacks find what is copied as a whole.
- Copies that are moved about as far as unseen rows lie from one another (mammography: six numbers) are found by none of them.
- A network that learned its rows by heart draws rows near them, not the rows: distances and guesses find that out, and
  `singling_out`, whose conditions must hold for one row alone, seldom does.
- With more than three times as many training as holdout rows `singling_out` attacks a part of the former, and its risk is that
  much smaller; up to there the control is brought to train's size.
"""


def main(argv: list[str] | None = None) -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reshuffles", type=int, default=100, help="trials in which nothing leaks, of each table")
    parser.add_argument("--trials", type=int, default=10, help="trials of each fault")
    parser.add_argument("--by-heart", type=int, default=3, help="networks that learn rows by heart, of each table")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", nargs="*", default=[], help="tables; all that are here if none is named")
    parser.add_argument("--store", type=Path, default=ROOT / "build/privacy_attacks.json", help="finished trials")
    parser.add_argument("--out", type=Path, default=OUT, help="the page, in Markdown")
    args = parser.parse_args(argv)
    store = Cells(args.store)
    measure(store, args.reshuffles, args.trials, args.by_heart, args.seed, args.data)
    told = [f"--{name} {getattr(args, name.replace('-', '_'))}" for name in ("reshuffles", "trials", "by-heart", "seed")]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(page(store, " ".join(["python -m benchmarks.privacy_attacks", *told])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
