"""How many of the modes of a ring and of a grid does a family draw?

    python -m benchmarks.modes --families gan autoregressive --trials 10 --seed 0

The protocol of PacGAN (Lin et al. 2018, arXiv 1712.04086, section 4.1): 8 normals on a ring of radius 1 with standard
deviation 0.01, and 25 on the grid {-4, -2, 0, 2, 4} x {-4, -2, 0, 2, 4} with 0.05; 100,000 training rows, 2,500 drawn ones.
A mode is drawn when one row lies within three standard deviations of its middle; good rows lie so near to any.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import pyarrow as pa

from benchmarks.families import Lines, build_family, version_of
from data.dataset import Dataset
from data.errors import UserError
from data.schema import Column, Schema

SCHEMA = Schema((Column(name="x", kind="numeric", dtype="double"), Column(name="y", kind="numeric", dtype="double")))
DRAWN, NEAR = 2_500, 3.0


@dataclass(frozen=True)
class Mixture:
    """Equal normals in the plane: middles (k, 2) and one standard deviation."""

    middles: np.ndarray
    deviation: float

    def draw(self, n: int, seed: int) -> Dataset:
        """`n` rows, each of a mode picked at random."""
        rng = np.random.default_rng(seed)
        rows = self.middles[rng.integers(len(self.middles), size=n)] + self.deviation * rng.normal(size=(n, 2))
        return Dataset(pa.table({"x": rows[:, 0], "y": rows[:, 1]}), SCHEMA)

    def count(self, rows: Dataset) -> tuple[int, float]:
        """Modes that hold a row within NEAR standard deviations, and the share of rows that lie so near to any."""
        held = np.stack([np.asarray(rows.column(name).to_numpy()) for name in ("x", "y")], axis=1)
        gaps = np.linalg.norm(held[:, None] - self.middles[None], axis=2)
        near = gaps.min(axis=1) <= NEAR * self.deviation
        return len(np.unique(gaps.argmin(axis=1)[near])), float(near.mean())


def _mixtures() -> dict[str, Mixture]:
    turn = 2 * np.pi * np.arange(8) / 8
    side = np.arange(-4.0, 5.0, 2.0)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    return {"ring": Mixture(np.stack([np.cos(turn), np.sin(turn)], axis=1), 0.01), "grid": Mixture(grid, 0.05)}


MIXTURES = _mixtures()
#: Mean modes, and share of good rows, of the paper's table 1: a GAN, and one whose critic sees four rows.
PAPER = {"ring": (("GAN", 6.3, None), ("PacGAN4", 7.8, None)), "grid": (("GAN", 17.3, None), ("PacGAN4", 24.8, 0.936))}


@dataclass(frozen=True)
class Trial:
    """What one fit drew: modes, share of good rows, and seconds of the processor that the fit took."""

    modes: int
    good: float
    fit_s: float


def trial(name: str, family: str, rows: int, seed: int) -> Trial:
    """Fit `family` to rows of a mixture and count the modes among those it draws."""
    mixture, built = MIXTURES[name], build_family(family)
    started = time.process_time()
    built.fit(mixture.draw(rows, seed), seed=seed, progress=Lines())
    spent = time.process_time() - started
    drawn = pa.Table.from_batches(list(built.sample(DRAWN, seed=seed)))
    return Trial(*mixture.count(Dataset(drawn, SCHEMA)), spent)


def page(found: dict[tuple[str, str], list[Trial]], options: argparse.Namespace) -> list[str]:
    """Markdown: a table for each mixture."""
    asked = f"--families {' '.join(options.families)} --trials {options.trials} --rows {options.rows} --seed {options.seed}"
    versions = ", ".join(f"{name} {version_of(name)}" for name in ("torch", "numpy", "pyarrow"))
    lines = ["# Modes of a ring and of a grid", "", f"    python -m benchmarks.modes {asked}", ""]
    lines += [
        f"Machine: {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {versions}.",
        f"{options.rows:,} training rows, {DRAWN:,} drawn ones; a mode counts with one row within {NEAR:g} standard",
        "deviations of its middle, rows as near to any are good.",
    ]
    for name, mixture in MIXTURES.items():
        whole = len(mixture.middles)
        lines += [
            "",
            f"## {name}: {whole} modes",
            "",
            "| family | trials | modes, mean | all modes | good rows, mean | least | fit cpu s |",
        ]
        lines += ["| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
        for family in options.families:
            own = found[name, family]
            full = sum(each.modes == whole for each in own)
            good = [each.good for each in own]
            lines.append(
                f"| {family} | {len(own)} | {mean(each.modes for each in own):.1f} | {full} of {len(own)} | {mean(good):.1%} | "
                f"{min(good):.1%} | {mean(each.fit_s for each in own):.1f} |"
            )
        for said, modes, share in PAPER[name]:
            lines.append(f"| {said}, from the paper | 10 | {modes} | | {'' if share is None else f'{share:.1%}'} | | |")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the page; the exit code."""
    cli = argparse.ArgumentParser(prog="python -m benchmarks.modes", description=__doc__.splitlines()[0] if __doc__ else "")
    cli.add_argument("--families", nargs="+", default=["gan", "autoregressive"], help="as in a plan: gan, or gan,width=128")
    cli.add_argument("--trials", type=int, default=10)
    cli.add_argument("--rows", type=int, default=100_000)
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--out", default="docs/benchmarks/modes.md", help="the Markdown page; empty for none")
    options = cli.parse_args(arguments)
    found: dict[tuple[str, str], list[Trial]] = {}
    try:
        for name in MIXTURES:
            for family in options.families:
                for turn in range(options.trials):
                    got = trial(name, family, options.rows, options.seed + turn)
                    print(
                        f"{name}, {family}: {got.modes} modes, {got.good:.1%} good, {got.fit_s:.1f} s",
                        file=sys.stderr,
                        flush=True,
                    )
                    found.setdefault((name, family), []).append(got)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    lines = page(found, options)
    print("\n".join(lines))
    if options.out:
        Path(options.out).write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
