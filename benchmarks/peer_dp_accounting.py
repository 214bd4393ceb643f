"""dp-accounting in an environment of its own, whose pins are not ours: what do these mechanisms spend together?

    PYTHON_OF_THAT_ENVIRONMENT benchmarks/peer_dp_accounting.py asked.json told.json

asked: a list of {"parts": [[noise, rate, steps], ...], "delta": ...}; told: epsilons in the same order, and versions.
Neighbours differ by one row that is there or not; losses are rounded up on a grid of GRID. Nothing of this project is imported
here.
"""

from __future__ import annotations

import importlib
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

#: Of privacy losses; finer costs memory and time.
GRID = 1e-4


def main() -> None:
    """Read what is asked, write what is told."""
    asked, told = map(Path, sys.argv[1:3])
    found = [epsilon(case["parts"], case["delta"]) for case in json.loads(asked.read_text())]
    versions = {name: version(name) for name in ("dp-accounting", "attrs", "numpy", "scipy")}
    told.write_text(json.dumps({"epsilons": found, "versions": versions}))


def epsilon(parts: list[tuple[float, float, int]], delta: float) -> float:
    """Of all parts together. parts: noise, rate and steps of Gaussian mechanisms, with Poisson sampling below a rate of 1."""
    events = importlib.import_module("dp_accounting")
    accountant: Any = importlib.import_module("dp_accounting.pld").PLDAccountant(value_discretization_interval=GRID)
    for noise, rate, steps in parts:
        one = events.GaussianDpEvent(noise)
        accountant.compose(one if rate >= 1 else events.PoissonSampledDpEvent(rate, one), steps)
    return float(accountant.get_epsilon(delta))


if __name__ == "__main__":
    main()
