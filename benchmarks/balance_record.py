"""The page of `benchmarks.balance`: means over seeds with 95 % intervals, and what each arm gains, seed by seed."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.families import version_of

Array = np.ndarray
Cells = Mapping[str, Mapping[str, float]]
#: What every arm is compared with: what costs nothing, and what everyone has.
BASES = ("alone", "smote")
PACKAGES = ("numpy", "scikit-learn", "torch", "imbalanced-learn")
MEANS = {
    "alone": "real rows alone",
    "weights": "class weights",
    "leaves": "class weights, leaves of two rows",
    "bootstrap": "rows repeated",
    "smote": "SMOTE",
    "gan": "gan",
    "autoregressive": "autoregressive",
    "diffusion": "diffusion",
}


def record(cells: Cells, tables: Sequence[str], few: Sequence[int], arms: Sequence[str], seeds: Sequence[int]) -> str:
    """Markdown of the cells that were asked for."""
    lines = [*_head(tables, few, arms, seeds), ""]
    for n in few:
        lines += [f"## {n} real rows of the rare class", "", *_figures(cells, tables, n, arms, seeds), ""]
    for base in (base for base in BASES if base in arms):
        lines += [f"## Against {MEANS[base]}", "", *_gains(cells, tables, few, arms, seeds, base), ""]
    return "\n".join(lines)


def values(cells: Cells, data: str, few: int, arm: str, seeds: Sequence[int]) -> Array:
    """Average precision of the seeds that were taken, NaN where one was not: (seeds,)."""
    return np.array([cells.get(f"{data}|{few}|{seed}|{arm}", {}).get("ap", np.nan) for seed in seeds])


def half_width(sample: Array) -> float:
    """Half of the 95 % interval of a mean by Student's t; NaN for fewer than two values."""
    own = sample[~np.isnan(sample)]
    if len(own) < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, len(own) - 1) * own.std(ddof=1) / np.sqrt(len(own)))


def verdict(gain: Array) -> str:
    """Whether a paired gain is surely above or below nothing."""
    mean, half = float(np.nanmean(gain)), half_width(gain)
    return "better" if mean > half else "worse" if mean < -half else "-"


def _head(tables: Sequence[str], few: Sequence[int], arms: Sequence[str], seeds: Sequence[int]) -> list[str]:
    versions = ", ".join(f"{name} {version_of(name)}" for name in PACKAGES)
    return [
        "# A rare class: what synthetic rows bring",
        "",
        f"    python -m benchmarks.balance --data {' '.join(tables)} --few {' '.join(map(str, few))} \\",
        f"        --arms {' '.join(arms)} --seeds {' '.join(map(str, seeds))}",
        "",
        "The rarest class of at most 6,000 training rows is cut to so many; every arm trains the same gradient boosting",
        "(scikit-learn's HistGradientBoosting, its defaults but no early stopping) and is asked for the average precision of",
        "that class on up to 10,000 real test rows with their real mix. Arms that draw fill the class up to the other one.",
        f"Means over {len(seeds)} seeds (other rows and models) with 95 % intervals by Student's t; the best of a row is bold.",
        f"Machine: {os.cpu_count()} cores ({platform.machine()}), one thread, Python {platform.python_version()}, {versions}.",
    ]


def _figures(cells: Cells, tables: Sequence[str], few: int, arms: Sequence[str], seeds: Sequence[int]) -> list[str]:
    lines = ["| table | " + " | ".join(MEANS[arm] for arm in arms) + " |", "| --- |" + " ---: |" * len(arms)]
    for data in tables:
        own = {arm: values(cells, data, few, arm, seeds) for arm in arms}
        if any(np.isnan(each).all() for each in own.values()):
            continue
        best = max(arms, key=lambda arm: np.nanmean(own[arm]))
        shown = (f"{np.nanmean(own[arm]):.3f} ± {half_width(own[arm]):.3f}" for arm in arms)
        marked = (f"**{text}**" if arm == best else text for arm, text in zip(arms, shown, strict=True))
        lines.append(f"| {data} | " + " | ".join(marked) + " |")
    return lines


def _gains(
    cells: Cells, tables: Sequence[str], few: Sequence[int], arms: Sequence[str], seeds: Sequence[int], against: str
) -> list[str]:
    lines = [
        "The gain of each arm on the same rows, its mean over all tables with an interval over seeds, and on how many of the",
        f"{len(tables)} tables it is surely better or worse (95 %, paired by seed, not corrected for how many are looked at).",
        "",
        "| real rows | arm | gain | better | worse |",
        "| ---: | --- | ---: | ---: | ---: |",
    ]
    for n in few:
        base = np.array([values(cells, data, n, against, seeds) for data in tables])
        for arm in (arm for arm in arms if arm != against):
            gain = np.array([values(cells, data, n, arm, seeds) for data in tables]) - base
            if np.isnan(gain).all():
                continue
            by_seed = np.nanmean(gain, axis=0)
            said = [verdict(each) for each in gain]
            figures: list[Any] = [n, MEANS[arm], f"{by_seed.mean():+.3f} ± {half_width(by_seed):.3f}"]
            lines.append("| " + " | ".join(map(str, [*figures, said.count("better"), said.count("worse")])) + " |")
    return lines
