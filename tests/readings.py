"""A table of readings such as a user has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd


def write_oven(path: Path, n: int = 4000) -> None:
    """Heat and load of an oven, every five minutes: a day's rhythm, and noise that remembers."""
    rng = np.random.default_rng(0)
    t = np.arange(n)
    moments = pd.Timestamp("2026-01-05") + pd.to_timedelta(300 * t, unit="s")
    heat = 60 + 5 * np.sin(2 * np.pi * t / 288) + np.convolve(rng.standard_normal(n), np.ones(9) / 9, mode="same")
    load = heat / 2 + rng.normal(0, 1, n)
    pd.DataFrame({"time": moments, "heat": heat.round(2), "load": load.round(2)}).to_csv(path, index=False)
