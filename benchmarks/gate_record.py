"""The page that `benchmarks.gate` writes."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

PACKAGES = ("numpy", "scipy", "scikit-learn", "pandas", "pyarrow")


def record(arguments: list[str], alarms: list[str], powers: list[str], speeds: list[str]) -> str:
    """Markdown: the command, the machine, and the tables."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    head = [
        "# What the gate reaches",
        "",
        f"    python -m benchmarks.gate {' '.join(arguments)}",
        "",
        f"Machine: {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {versions}.",
        "Intervals are Wilson's at 95 %. Every trial has a seed of its own; `n` holdout rows, `m` synthetic rows, the",
        "reference is train. The gate's alpha is its default of 0.01, of which a first attempt spends 0.005 over all checks.",
    ]
    parts = [
        ("Real rows against real rows", alarms, _ALARMS),
        ("Planted faults", powers, _POWERS),
        ("Speed", speeds, _SPEEDS),
    ]
    for title, rows, said in parts:
        if len(rows) > 2:
            head += ["", f"## {title}", "", said, "", *rows]
    head += ["", "## What is missed, and why", "", _WHY] if len(powers) > 2 else []
    return "\n".join(head) + "\n"


_ALARMS = """Train, holdout and synthetic side are disjoint reshuffles of one real table (or draws of one mixture). All checks
that can block by themselves are run (`fidelity` and `utility` block only by limits of a plan). Asked: at most 2 % BLOCK."""
_POWERS = """The named check alone is asked, with its part of the alpha, and counts when it blocks. A *random region* is two or
three conditions around a random row that hold the share (`benchmarks/gate_faults.py`), drawn anew in every trial."""
_SPEEDS = """`counterpoise judge --quiet` in a process of its own on Parquet files: start-up, all checks and the verdict."""
_WHY = """- *A class shrunk, ring of 8.* In two dimensions a shrinkage to 0.9 moves the effect to 1 / (1 + 0.9^2) = 0.5525 for
  the radius, beside a limit of 0.55: with 500 rows it falls on either side. It warns from 0.53 on. In four dimensions the
  effect is 0.58, in eight 0.60.
- *Near copies, mammography.* Three in ten of its real rows equal a row of another part of the table, and of the rest some lie
  as near to a training row as a copy with that noise: in three reshuffles with n = m = 2000, 1 to 8 holdout rows stood among
  the nearest 1 %, beside 19 to 26 synthetic ones. Exact copies of rows that stand once in train are seen there.
- *Swapped labels, mammography.* The rare class has 2.3 % of the rows, 46 of the holdout, and about a fifth of them lie among
  rows of the other class already. Were it 45 % among 150 synthetic rows, Fisher's test would give 0.001; the check may spend
  0.0003.
- *A pair half as dependent, digits and breast_cancer.* A correlation of .6 that falls to .3 has changed by .38 (Fisher's z), of
  which .25 is borne: 500 rows tell the rest from nothing by two errors, and thousands of pairs share the level. Stronger
  pairs, and whole losses, are seen there too.
- *A mode of 1 % as a random region.* Twenty holdout rows between any two or three values of six to sixteen columns. What is
  seen is what the search finds with forty reference rows; mammography has a third as many synthetic rows to search in.
- *A mode of 1 % at m = n.* Ten synthetic rows for each holdout row is what the gate draws for itself; this shows why."""
