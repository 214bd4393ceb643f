"""How fast does the autoregressive family learn and draw on this device, beside its processor?

    python -m benchmarks.tables_gpu --out docs/benchmarks/tables_gpu.md [--data adult] [--rows 4000000] [--repeats 3]

Needs torch, numpy, pandas and pyarrow alone; on a machine without a GPU it measures the CPU and says so. `tokens/s` are rows of
tokens as they leave the network; `rows/s` are finished rows, whose values the processor makes. Without the data folder the
table is one of this file's own. A warm-up comes before each measurement; medians over the repeats.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from benchmarks.families import SOURCES, learned, read
from data.dataset import Dataset
from data.errors import DataError, UserError
from data.infer import infer
from generators.tabular._autoregressive_draw import Drawer
from generators.tabular.autoregressive import GPU_ROWS, SAMPLE_ROWS, Autoregressive


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every device there is, print the page and write it; the exit code."""
    options = _options(arguments)
    try:
        train, name = _table(options.data)
        devices = ["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"]
        found = {device: measure(train, device, options) for device in devices}
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    text = page(found, train, name, options)
    print(text)
    if options.out:
        Path(options.out).write_text(text)
    return 0


def measure(train: Dataset, device: str, options: argparse.Namespace) -> dict[str, float]:
    """Seconds of a fit, and rows and rows of tokens a second, medians over the repeats."""
    figures: dict[str, list[float]] = {"fit_s": [], "rows_per_s": [], "tokens_per_s": []}
    settings = {} if options.epochs is None else {"epochs": options.epochs}
    rows = options.rows if device == "cuda" else max(options.rows // 10, 1)
    for seed in range(options.repeats):
        print(f"{device}: {seed + 1} of {options.repeats}", file=sys.stderr, flush=True)
        family = Autoregressive(device=device, **settings)
        figures["fit_s"].append(_seconds(lambda each=family, own=seed: each.fit(train, seed=own)))
        _drain(family.sample(GPU_ROWS, seed=0))
        spent = _seconds(lambda each=family, n=rows: _drain(each.sample(n, seed=1)))
        figures["rows_per_s"].append(rows / spent)
        figures["tokens_per_s"].append(_tokens(family, device, rows))
    return {name: median(values) for name, values in figures.items()}


def _tokens(family: Autoregressive, device: str, rows: int) -> float:
    """Rows of tokens a second from one thread."""
    drawer, part = Drawer(family.net_, device=device), GPU_ROWS if device == "cuda" else SAMPLE_ROWS
    drawer.draw(min(part, rows), family.order_, {}, 0)
    parts = [min(part, rows - first) for first in range(0, rows, part)]
    return rows / _seconds(lambda: [drawer.draw(n, family.order_, {}, k) for k, n in enumerate(parts)])


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _drain(batches: Iterator[pa.RecordBatch]) -> int:
    return sum(batch.num_rows for batch in batches)


def _table(name: str) -> tuple[Dataset, str]:
    """The rows of a benchmark's table, or a table of our own where it is not there, and what it is."""
    try:
        return learned(read(name, None, 0)), name
    except DataError:
        held = pa.Table.from_pandas(_made(30_000), preserve_index=False)
        return Dataset(held, infer(held, target="income")), "a table made for this measurement"


def _made(rows: int) -> pd.DataFrame:
    """Nine columns of levels and six of numbers that depend on one another."""
    rng = np.random.default_rng(0)
    rank = rng.normal(size=rows)
    frame: dict[str, Any] = {}
    for k, size in enumerate((9, 16, 7, 15, 6, 5, 2, 42, 3)):
        edges = np.quantile(rank, np.sort(rng.random(size - 1)))
        frame[f"level{k}"] = [f"v{code}" for code in np.searchsorted(edges, rank + rng.normal(size=rows))]
    frame["age"], frame["hours"] = (
        (40 + 12 * rank).clip(17, 90).astype(int),
        (40 + 8 * rng.normal(size=rows)).round().astype(int),
    )
    frame["weight"], frame["gain"] = (
        rng.lognormal(12, 0.6, rows),
        np.where(rng.random(rows) < 0.9, 0.0, rng.lognormal(8, 1, rows)),
    )
    frame["years"], frame["score"] = (10 + 3 * rank).round().clip(1, 16).astype(int), rank + rng.standard_t(3, rows)
    frame["income"] = np.where(rank + rng.normal(size=rows) > 1, "high", "low")
    return pd.DataFrame(frame)


def page(found: dict[str, dict[str, float]], train: Dataset, name: str, options: argparse.Namespace) -> str:
    """Markdown: what was measured on which device."""
    card = torch.cuda.get_device_name() if "cuda" in found else "no GPU: the processor alone"
    lines = [
        "# The autoregressive family on a GPU",
        "",
        f"    python -m benchmarks.tables_gpu --data {options.data} --rows {options.rows} --repeats {options.repeats}",
        "",
        f"{card}; {os.cpu_count()} cores ({platform.machine()}), "
        f"Python {platform.python_version()}, torch {torch.__version__}.",
        f"{name}: {train.num_rows:,} rows, {len(train.schema.learned)} columns. Medians of {options.repeats}.",
        "",
        "| device | fit s | rows of tokens/s | finished rows/s |",
        "| --- | ---: | ---: | ---: |",
    ]
    for device, own in found.items():
        lines.append(f"| {device} | {own['fit_s']:.1f} | {own['tokens_per_s']:,.0f} | {own['rows_per_s']:,.0f} |")
    return "\n".join(lines) + "\n"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    cli = argparse.ArgumentParser(
        prog="python -m benchmarks.tables_gpu", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    cli.add_argument("--data", choices=tuple(SOURCES), default="adult")
    cli.add_argument("--rows", type=int, default=4_000_000, help="drawn on a GPU; a tenth of them on a CPU")
    cli.add_argument("--repeats", type=int, default=3)
    cli.add_argument("--epochs", type=int, help="of the fit; the family's own by default")
    cli.add_argument("--out", default="", help="the Markdown page; none by default")
    return cli.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
