"""Does a fit leak less than it promises? A lower bound of epsilon from canaries, which must stay below the promise.

    python -m benchmarks.privacy_audit --epsilon 1 3 10 --seeds 0 1 2

Canaries are rows that are like no other: each column drawn by itself, evenly over its tokens. Each is among the training rows
by the toss of a coin. Whoever has the model guesses which were, by how likely it finds them: those it finds likeliest were in,
the least likely were not. How many guesses are right bounds epsilon from below. The same with a planted fault, gradients that
are not clipped, has to show that the audit would see one.

Source: Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846), theorem 5.2 and appendix D.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402 - after the threads are set
import pyarrow as pa  # noqa: E402 - as numpy
import torch  # noqa: E402 - as numpy
from scipy.stats import binom  # noqa: E402 - as numpy

from benchmarks.cells import Cells  # noqa: E402 - as numpy
from benchmarks.families import learned, read, version_of  # noqa: E402 - as numpy
from data.dataset import Dataset  # noqa: E402 - as numpy
from generators.tabular._dp_domain import find  # noqa: E402 - as numpy
from generators.tabular._dp_family import encode  # noqa: E402 - as numpy
from generators.tabular._dp_net import Net  # noqa: E402 - as numpy
from generators.tabular._dp_noise import Noise  # noqa: E402 - as numpy
from generators.tabular._dp_sgd import Schedule  # noqa: E402 - as numpy
from generators.tabular.dp_autoregressive import DPAutoregressive  # noqa: E402 - as numpy

Array = np.ndarray
#: Real rows, canaries, and guesses on each side.
ROWS, CANARIES, GUESSES = 3_000, 1_000, (25, 50, 100, 200, 350)
#: How sure the bound is; shared among the numbers of guesses that are tried.
SURE = 0.95
#: How much longer than the clip a gradient may be where the fault is planted.
UNCLIPPED = 1e6


@dataclass
class Unclipped(DPAutoregressive):
    """The fault: noise as if gradients were clipped, which they are not."""

    def _learn(self, tokens: Array, singles: Sequence[Array], schedule: Schedule, *rest: Any) -> Net:
        open_ = replace(schedule, clip=schedule.clip * UNCLIPPED, noise=schedule.noise / UNCLIPPED)
        return super()._learn(tokens, singles, open_, *rest)


def p_value(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """The chance of so many right guesses, or more, where the promise is kept (appendix D)."""
    q = 1 / (1 + np.exp(-epsilon))
    alpha, total = 0.0, 0.0
    for i in range(1, right + 1):
        total += float(binom.pmf(right - i, guesses, q))
        alpha = max(alpha, total / i)
    return float(min(binom.sf(right - 1, guesses, q) + 2 * canaries * delta * alpha, 1.0))


def least_epsilon(canaries: int, guesses: int, right: int, delta: float, level: float) -> float:
    """The least epsilon that these guesses do not rule out."""
    if p_value(canaries, guesses, right, 0.0, delta) > level:
        return 0.0
    low, high = 0.0, 20.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if p_value(canaries, guesses, right, middle, delta) <= level else (low, middle)
    return low


def audit(family: type[DPAutoregressive], epsilon: float, seed: int) -> dict[str, Any]:
    """One fit with canaries, and the bound."""
    rng = np.random.default_rng([seed, 5])
    whole = learned(read("adult", None, 0))
    real = whole.take(rng.permutation(whole.num_rows)[:ROWS])
    cells = find(whole, "data", 1e-6, 1e-6, Noise(seed)).cells
    tokens = np.column_stack([rng.integers(0, c.values, CANARIES) for c in cells])
    columns = {c.name: c.decode(tokens[:, i], rng) for i, c in enumerate(cells)}
    arrow = real.schema.arrow()
    made = pa.Table.from_pydict({n: columns[n].cast(arrow.field(n).type) for n in arrow.names}, schema=arrow)
    there = rng.random(CANARIES) < 0.5
    train = Dataset(pa.concat_tables([real.table, made.filter(pa.array(there))]), real.schema)
    model = family(epsilon=epsilon, bounds="data", steps=400, batch_size=256).fit(train, seed=seed)
    with torch.no_grad():
        ids = torch.from_numpy(encode(Dataset(made, real.schema), model.cells_))
        likely = -model.net_.loss(ids).numpy()
    order = np.argsort(likely)
    delta, out = model.spent_.delta, {"epsilon": epsilon, "bound": 0.0}
    for k in GUESSES:
        right = int(there[order[-k:]].sum() + (~there[order[:k]]).sum())
        bound = least_epsilon(CANARIES, 2 * k, right, delta, (1 - SURE) / len(GUESSES))
        if bound >= out["bound"]:
            out |= {"bound": round(bound, 3), "guesses": 2 * k, "right": right}
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit what is missing, write store and page; the exit code."""
    options = _options(arguments)
    cells = Cells(Path(options.store))
    kinds = {"dp_autoregressive": DPAutoregressive, "not clipped": Unclipped}
    for seed in options.seeds:
        for epsilon in options.epsilon:
            for name, family in kinds.items():
                key = f"{name}|{epsilon:g}|{seed}"
                if key not in cells.held:
                    print(key, file=sys.stderr, flush=True)
                    cells.keep({key: audit(family, epsilon, seed)})
    if options.out:
        Path(options.out).write_text("\n".join(record(cells.held, options, list(kinds))))
    return 0


def record(cells: dict[str, Any], options: argparse.Namespace, kinds: Sequence[str]) -> list[str]:
    """Markdown of the audits that were asked for."""
    lines = [
        "# Does a fit leak less than it promises?",
        "",
        f"    python -m benchmarks.privacy_audit --epsilon {' '.join(f'{e:g}' for e in options.epsilon)} "
        f"--seeds {' '.join(map(str, options.seeds))}",
        "",
        f"{ROWS:,} rows of Adult and {CANARIES:,} canaries (each column drawn by itself), each of which is learned from by the",
        "toss of a coin. By how likely the model finds them it is guessed which were; the bound of epsilon (95 %, over all",
        "numbers of guesses that are tried) must stay below the promise. *Not clipped* is a planted fault, which the bound has",
        "to pass; so few guesses show nothing above some 5, so at 10 it stays unseen.",
        "Source: Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846).",
        f"Machine: {os.cpu_count()} cores ({platform.machine()}), torch {version_of('torch')}, opacus {version_of('opacus')}.",
        "",
        "| fit | promised | seeds | largest bound | bounds |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for name in kinds:
        for epsilon in options.epsilon:
            own = [cells[k]["bound"] for s in options.seeds if (k := f"{name}|{epsilon:g}|{s}") in cells]
            if own:
                each = ", ".join(f"{b:.2f}" for b in own)
                lines.append(f"| {name} | {epsilon:g} | {len(own)} | {max(own):.2f} | {each} |")
    return [*lines, ""]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    cli = argparse.ArgumentParser(
        prog="python -m benchmarks.privacy_audit", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    cli.add_argument("--epsilon", nargs="+", type=float, default=[1.0, 3.0, 10.0])
    cli.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    cli.add_argument("--store", default="docs/benchmarks/privacy_audit.json", help="where finished audits are kept")
    cli.add_argument("--out", default="docs/benchmarks/privacy_audit.md", help="the page; empty for none")
    return cli.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
