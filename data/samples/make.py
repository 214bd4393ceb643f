"""Makes the sample tables beside it: parts from three machines, one in eight of them cracked. `python data/samples/make.py`"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent


def parts(rows: int, seed: int) -> pd.DataFrame:
    """A made-up table of `rows` parts: an id, a machine, measurements (some missing), a day, a state."""
    rng = np.random.default_rng(seed)
    cracked = rng.random(rows) < 0.12
    machine = rng.choice(["press A", "press B", "lathe"], rows, p=[0.5, 0.3, 0.2])
    temperature = np.round(rng.normal(np.where(machine == "lathe", 61, 74) + 6 * cracked, 3), 1)
    load = np.round(rng.gamma(np.where(cracked, 9, 5), 2), 2)
    cycles = rng.poisson(np.where(machine == "press B", 310, 250)).astype(float)
    cycles[rng.random(rows) < 0.05] = np.nan
    made = pd.Timestamp("2026-03-01") + pd.to_timedelta(rng.integers(0, 90, rows), unit="D")
    return pd.DataFrame(
        {
            "part_id": [f"P-{number:05d}" for number in rng.choice(90_000, rows, replace=False)],
            "machine": machine,
            "temperature": temperature,
            "load": load,
            "cycles": pd.array(cycles, dtype="Int64"),
            "made": made.strftime("%Y-%m-%d"),
            "state": np.where(cracked, "cracked", "good"),
        }
    )


if __name__ == "__main__":
    for name, rows, seed in (("parts", 900, 1), ("holdout", 500, 2), ("synthetic", 2000, 3)):
        parts(rows, seed).to_csv(HERE / f"{name}.csv", index=False)
