"""How long does a family take, how much memory, and how good are its rows, beside SDV's CTGAN in the same run?

    python -m benchmarks.families --data adult --families gan bootstrap smote --epochs 30 --seed 0 --repeats 3

Every fit runs in a fresh process of its own (so that peak memory is its own), one at a time; families take turns within
each repeat, so that a busy machine troubles all alike. The peer `sdv:CTGAN` is added when it is not named.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.dataset import Dataset
from data.errors import UserError
from data.infer import infer
from data.schema import Schema
from data.split import split
from generators.base import Generator

PEER = "sdv:CTGAN"
HOLDOUT = 0.2
PACKAGES = ("torch", "numpy", "pandas", "pyarrow", "scikit-learn", "imbalanced-learn", "sdv", "ctgan", "sdmetrics")
#: Seconds after which a slow family is asked for no more rows than are judged.
SLOW = 60.0
#: What a family imports on first use; done before the clock starts, as torch is for the others.
LAZY = {"sdv": "sdv.single_table", "smote": "imblearn.over_sampling"}
QUALITY = ("tstr_auc", "tstr_ap", "c2st_auc", "coverage", "shapes", "trends", "exact")


@dataclass(frozen=True)
class Source:
    """Where a benchmark's rows lie below the data folder, and which column is the class."""

    file: str
    target: str


SOURCES = {
    "adult": Source("adult/adult.csv", "income"),
    "telco_churn": Source("telco_churn/telco_churn.csv", "Churn"),
    "mammography": Source("mammography/mammography.csv", "class"),
    "bank_marketing": Source("bank-marketing/bank-marketing.csv", "Class"),
}
DATA = ("breast_cancer", *SOURCES)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One fit of one family: epochs, seconds by the clock and of the processor, rows per second, MiB resident at most and
    before the fit, and the quality.

    epochs: passes over the data that the family says it made; it may have a minimum of its own. 0 when it has none."""

    family: str
    seed: int
    epochs: int
    fit_s: float
    fit_cpu_s: float
    rows_per_s: float
    peak_mib: float
    before_mib: float
    quality: dict[str, float]


class Lines:
    """Tells the progress of a fit in plain lines, one every few seconds."""

    def __init__(self, every: float = 5.0) -> None:
        self._every, self._last, self.epochs = every, 0.0, 0

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        self.epochs = done if what == "epoch" else self.epochs
        if time.monotonic() - self._last >= self._every or done == total:
            self._last = time.monotonic()
            losses = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
            print(f"    {what} {done}/{total} {losses}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write the page; the exit code."""
    options = _options(arguments)
    if options.job:
        return _work(Path(options.job))
    try:
        measured, facts = measure(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    lines = report(measured, facts)
    print("\n".join(lines))
    if options.out:
        path = Path(options.out) / f"families-{options.data}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(page(lines, facts)) + "\n")
        print(f"written: {path}", file=sys.stderr)
    return 0


def measure(options: argparse.Namespace) -> tuple[list[Measured], dict[str, Any]]:
    """Every family, `repeats` times in turn, on one split of the data.

    Raises UserError for unreadable data, an unknown family or a fit that fails."""
    parts = split(read(options.data, options.rows, options.seed), reference=0.0, holdout=HOLDOUT, seed=options.seed)
    train, test = learned(parts.train), learned(parts.holdout)
    families = list(dict.fromkeys([*options.families, PEER]))
    out = []
    with tempfile.TemporaryDirectory() as folder:
        _lay_out(Path(folder), train)
        turns = [(repeat, family) for repeat in range(options.repeats) for family in families]
        for turn, (repeat, family) in enumerate(turns, start=1):
            print(f"[{turn}/{len(turns)}] {family}, seed {options.seed + repeat}", file=sys.stderr, flush=True)
            out.append(_measure_one(Path(folder), family, options, options.seed + repeat, train, test))
    return out, _facts(options, families, train, test)


def read(name: str, rows: int | None, seed: int) -> Dataset:
    """A benchmark's rows with their schema; at most `rows` of them, every class keeping its share.

    Raises DataError when the file is missing: COUNTERPOISE_DATA names the data folder."""
    if name == "breast_cancer":
        from data.sources import sklearn

        table, target = sklearn.read(name), sklearn.TARGET
    else:
        from data.sources import csv

        folder = Path(os.environ.get("COUNTERPOISE_DATA", "../shared/data"))
        table, target = csv.read(folder / SOURCES[name].file), SOURCES[name].target
    whole = Dataset(table, infer(table, target=target))
    if rows is None or rows >= len(whole):
        return whole
    return split(whole, reference=0.0, holdout=rows / len(whole), seed=seed).holdout


def settings_of(text: str) -> tuple[str, dict[str, Any]]:
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


def build_family(text: str, epochs: int | None = None) -> Generator:
    """The family that `settings_of` reads, with `epochs` where it has such a setting; what it imports lazily is loaded.

    Raises UserError for a family that there is not, or a setting that it has not."""
    from configs.components import build, find
    from configs.errors import KeyFault

    use, settings = settings_of(text)
    if (lazy := LAZY.get(use.partition(":")[0])) is not None:
        importlib.import_module(lazy)
    try:
        if epochs is not None and any(field.name == "epochs" for field in fields(find(use, Generator, package="generators"))):
            settings["epochs"] = epochs
        family: Generator = build({"use": use, **settings}, Generator, package="generators")
    except KeyFault as fault:
        raise UserError(str(fault)) from None
    return family


def fit_and_draw(family: Generator, train: Dataset, path: Path, *, seed: int, rows: int) -> dict[str, float]:
    """Fit, write as many drawn rows as there are training rows to `path`, and draw on until there are `rows`.

    Seconds of the fit by the clock and of the processor, rows a second, epochs, MiB resident before and at most."""
    before, lines = peak_mib(), Lines()
    started, spent = time.perf_counter(), time.process_time()
    family.fit(train, seed=seed, progress=lines)
    fitted, used = time.perf_counter(), time.process_time()
    drawn = write(family.sample(max(rows, len(train)), seed=seed), path, train.schema, len(train))
    ended = time.perf_counter()
    figures = {"fit_s": fitted - started, "fit_cpu_s": used - spent, "rows_per_s": drawn / (ended - fitted)}
    return figures | {"epochs": lines.epochs, "peak_mib": peak_mib(), "before_mib": before}


def report(measured: list[Measured], facts: dict[str, Any]) -> list[str]:
    """A Markdown table: medians over the repeats, ratios against the peer (above 1 is better for the family)."""
    peer = _median(measured, PEER)
    head = ["family", "epochs", "fit s", "faster", "rows/s", "faster", "peak MiB", "smaller", *QUALITY]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for family in facts["families"]:
        own = _median(measured, family)
        cells = [
            family,
            f"{own['epochs']:.0f}",
            f"{own['fit_s']:.2f}",
            f"{peer['fit_s'] / own['fit_s']:.2f}x",
            f"{own['rows_per_s']:,.0f}",
            f"{own['rows_per_s'] / peer['rows_per_s']:.2f}x",
            f"{own['peak_mib']:,.0f}",
            f"{peer['peak_mib'] / own['peak_mib']:.2f}x",
            *(f"{own[name]:.3f}" for name in QUALITY),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    real = f"Trained on real rows: AUC {peer['trtr_auc']:.3f}; "
    return [*lines, "", real + f"real test rows that equal a training row: {peer['exact_holdout']:.3f}."]


def page(lines: list[str], facts: dict[str, Any]) -> list[str]:
    """The table with all that is needed to take it again."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    return [
        f"# Families beside SDV's CTGAN: {facts['data']}",
        "",
        f"    {facts['command']}",
        "",
        f"{facts['train_rows']} training rows, {facts['test_rows']} real test rows, {facts['columns']} columns; medians of "
        f"{facts['repeats']} run(s), seeds from {facts['seed']}; columns named *faster* and *smaller* are ratios against "
        f"{PEER} measured in the same run (above 1: better than it).",
        f"Machine: {facts['cores']} cores ({facts['machine']}), load {facts['load']:.1f} when the run ended, Python "
        f"{facts['python']}, {versions}.",
        "",
        *lines,
        "",
        "`epochs` are those that a family made: it may ask for more than it was given, so compare fit times with them in mind.",
        "Memory is that of the fitting process itself; worker processes that a library starts are not counted.",
        "Times are comparable within this page only. Quality is measured on as many synthetic rows as there are training rows:",
        "`c2st_auc` is best at 0.5, `exact` near that of real test rows, all other quality figures near 1.",
        "`benchmarks/quality.py` defines each figure.",
    ]


def _measure_one(folder: Path, family: str, options: argparse.Namespace, seed: int, train: Dataset, test: Dataset) -> Measured:
    from benchmarks.quality import score

    job = folder / "job.json"
    count = max(len(train), options.sample)
    job.write_text(json.dumps({"family": family, "seed": seed, "epochs": options.epochs, "rows": count}))
    command = [sys.executable, "-m", "benchmarks.families", "--job", str(job)]
    done = subprocess.run(command, check=False)  # noqa: S603  our own module, in a process of its own
    if done.returncode:
        raise UserError(f"{family} failed with exit code {done.returncode}; the lines above say why")
    result = json.loads((folder / "result.json").read_text())
    drawn = Dataset(pq.read_table(folder / "synthetic.parquet").slice(0, len(train)), train.schema)
    print("    judging its rows", file=sys.stderr, flush=True)
    return Measured(family=family, seed=seed, quality=score(train, test, drawn).to_json(), **result)


def _lay_out(folder: Path, train: Dataset) -> None:
    train.write_parquet(folder / "train.parquet")
    (folder / "schema.json").write_text(json.dumps(train.schema.to_json()))


def _work(job: Path) -> int:
    """Fit and draw once, in this process; the figures go into result.json beside the job."""
    folder, task = job.parent, json.loads(job.read_text())
    schema = Schema.from_json(json.loads((folder / "schema.json").read_text()))
    train = Dataset(pq.read_table(folder / "train.parquet"), schema)
    try:
        family = build_family(task["family"], task["epochs"])
        figures = fit_and_draw(family, train, folder / "synthetic.parquet", seed=task["seed"], rows=task["rows"])
    except (UserError, ValueError) as error:
        print(f"    error: {error}", file=sys.stderr)
        return 2
    (folder / "result.json").write_text(json.dumps(figures))
    return 0


def write(batches: Iterator[pa.RecordBatch], path: Path, schema: Schema, keep: int) -> int:
    """Draw all batches, write the first `keep` rows; the number of rows drawn. After SLOW seconds no more than these are."""
    drawn, started = 0, time.monotonic()
    with pq.ParquetWriter(path, schema.arrow()) as writer:
        for batch in batches:
            if drawn < keep:
                writer.write_batch(batch)
            drawn += batch.num_rows
            if drawn >= keep and time.monotonic() - started > SLOW:
                break
    return drawn


def peak_mib() -> float:
    """MiB that this process had resident at most."""
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def learned(part: Dataset) -> Dataset:
    """The columns that are learned; ids and free text say nothing about quality."""
    return Dataset(part.table, part.schema.select([column.name for column in part.schema.learned]))


def _median(measured: list[Measured], family: str) -> dict[str, float]:
    own = [m for m in measured if m.family == family]
    names = ("epochs", "fit_s", "rows_per_s", "peak_mib")
    figures = {name: median(getattr(m, name) for m in own) for name in names}
    return figures | {name: median(m.quality[name] for m in own) for name in own[0].quality}


def _facts(options: argparse.Namespace, families: list[str], train: Dataset, test: Dataset) -> dict[str, Any]:
    given = [f"--data {options.data}", "--families " + " ".join(options.families), f"--seed {options.seed}"]
    for name in ("epochs", "repeats", "rows"):
        given += [f"--{name} {getattr(options, name)}"] if getattr(options, name) is not None else []
    return {
        "command": "python -m benchmarks.families " + " ".join(given),
        "data": options.data, "families": families, "seed": options.seed, "repeats": options.repeats,
        "train_rows": len(train), "test_rows": len(test), "columns": len(train.schema),
        "cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version(),
        "load": os.getloadavg()[0],
        "versions": {name: version_of(name) for name in PACKAGES},
    }  # fmt: skip


def version_of(package: str) -> str:
    """The installed version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _options(arguments: list[str] | None) -> argparse.Namespace:
    cli = argparse.ArgumentParser(prog="python -m benchmarks.families", description=__doc__.splitlines()[0] if __doc__ else "")
    cli.add_argument("--data", choices=DATA, default="breast_cancer")
    cli.add_argument("--families", nargs="+", default=["gan", "bootstrap", "smote"], help="as in a plan: gan, sdv:TVAE, ...")
    cli.add_argument("--epochs", type=int, help="for every family that has epochs; its own default otherwise")
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--repeats", type=int, default=1, help="fits of each family, with seeds seed, seed + 1, ...")
    cli.add_argument("--rows", type=int, help="use at most this many rows of the data")
    cli.add_argument("--sample", type=int, default=20_000, help="rows drawn for the speed (at least the training rows)")
    cli.add_argument("--out", default="docs/benchmarks", help="folder of the Markdown page; empty for none")
    cli.add_argument("--job", help=argparse.SUPPRESS)
    return cli.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
