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
    return "\n".join(head) + "\n"


_ALARMS = """Train, holdout and synthetic side are disjoint reshuffles of one real table (or draws of one mixture). All checks
that can block by themselves are run (`fidelity` and `utility` block only by limits of a plan). Asked: at most 2 % BLOCK."""
_POWERS = """The named check alone is asked, with its part of the alpha, and counts when it blocks. A *random region* is two or
three conditions around a random row that hold the share (`benchmarks/gate_faults.py`), drawn anew in every trial."""
_SPEEDS = """`counterpoise judge --quiet` in a process of its own on Parquet files: start-up, all checks and the verdict."""
