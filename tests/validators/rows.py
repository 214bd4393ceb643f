"""Small datasets that tests of the gate share: made here, seeded, with modes and classes that are known."""

from __future__ import annotations

import numpy as np
import pandas as pd

from data.dataset import Dataset
from data.schema import Schema
from validators.base import Evidence, Intent

CLASSES = ("yes", "no")


def frame(n: int, seed: int, *, drop: str | None = None) -> pd.DataFrame:
    """n rows of a table with a mode of 5 % far from the others (`city` "far"), two classes and a column with ties."""
    rng = np.random.default_rng(seed)
    city = rng.choice(["east", "north", "west", "far"], size=2 * n, p=[0.4, 0.3, 0.25, 0.05])
    centre = pd.Series(city).map({"east": 0.0, "north": 2.0, "west": 4.0, "far": 20.0}).to_numpy()
    out = pd.DataFrame(
        {
            "x": centre + rng.normal(size=2 * n),
            "y": centre * 0.5 + rng.normal(size=2 * n),
            "count": rng.integers(0, 90, size=2 * n),
            "city": city,
            "label": np.where(rng.random(2 * n) < 0.3, *CLASSES),
        }
    )
    return out[out.city != drop].head(n).reset_index(drop=True)


def schema() -> Schema:
    return Dataset.from_pandas(frame(500, 0), target="label").schema


def evidence(train: pd.DataFrame, holdout: pd.DataFrame, synthetic: pd.DataFrame, **intent: object) -> Evidence:
    sides = [Dataset.from_pandas(rows, schema()) for rows in (train, holdout, synthetic)]
    return Evidence(train=sides[0], reference=sides[0], holdout=sides[1], synthetic=sides[2], intent=Intent(**intent))  # type: ignore[arg-type]
