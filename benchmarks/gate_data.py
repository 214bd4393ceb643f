"""Real tables and known mixtures that the gate is tried on, and how they are cut."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from data.dataset import Dataset
from data.schema import Schema
from validators.base import Evidence, Intent

ROOT = Path(__file__).parent.parent
Rng = np.random.Generator


@dataclass(frozen=True)
class Real:
    """A real table: file below the data folder (or scikit-learn's set), its class, and the sizes of a reshuffle.

    sizes: train, holdout and synthetic rows of one reshuffle; disjoint."""

    name: str
    file: str | None
    target: str
    sizes: tuple[int, int, int]


TABLES = (
    Real("digits", None, "target", (600, 500, 690)),
    Real("breast_cancer", None, "target", (220, 150, 190)),
    Real("adult", "adult/adult.csv", "income", (4000, 2000, 10000)),
    Real("mammography", "mammography/mammography.csv", "class", (3000, 1500, 6500)),
    Real("bank_marketing", "bank-marketing/bank-marketing.csv", "Class", (4000, 2000, 10000)),
)


def data_folder() -> Path:
    """The folder of real data: COUNTERPOISE_DATA, else `shared/data` beside the checkout."""
    return Path(os.environ.get("COUNTERPOISE_DATA", ROOT.parent / "shared/data"))


def available() -> list[Real]:
    """The tables that are here: scikit-learn's always, the others where COUNTERPOISE_DATA has them."""
    return [real for real in TABLES if real.file is None or (data_folder() / real.file).is_file()]


@cache
def table(name: str) -> Dataset:
    """All rows of a real table, with the schema that `judge` would infer."""
    real = next(each for each in TABLES if each.name == name)
    if real.file is None:
        import sklearn.datasets as sets

        frame = {"digits": sets.load_digits, "breast_cancer": sets.load_breast_cancer}[name](as_frame=True).frame
        return Dataset.from_pandas(frame.assign(target="class " + frame.target.astype(str)), target="target")
    from data.sources.csv import read

    return Dataset.from_arrow(read(str(data_folder() / real.file)), target=real.target)


def reshuffled(name: str, rng: Rng, sizes: tuple[int, int, int] | None = None) -> tuple[pd.DataFrame, ...]:
    """Train, holdout and synthetic rows that are all real: disjoint, at random."""
    whole = table(name)
    sizes = sizes or next(each for each in TABLES if each.name == name).sizes
    order = rng.permutation(whole.num_rows)[: sum(sizes)]
    parts = np.split(order, np.cumsum(sizes)[:-1])
    return tuple(whole.take(part).to_pandas() for part in parts)


@dataclass(frozen=True)
class Mixture:
    """Gaussians of one deviation around fixed centres (k, d), all of one weight unless `shares` says otherwise."""

    name: str
    centres: np.ndarray
    deviation: float

    def draw(self, rows: int, rng: Rng, *, shares: np.ndarray | None = None, scale: float = 1.0) -> pd.DataFrame:
        """Rows x d numbers and `mode`, which of the centres each comes from (not a column that the gate is shown)."""
        mode = rng.choice(len(self.centres), rows, p=shares)
        values = self.centres[mode] + scale * self.deviation * rng.normal(size=(rows, self.centres.shape[1]))
        return pd.DataFrame(values, columns=[f"x{i}" for i in range(values.shape[1])]).assign(mode=mode)

    def shares(self, rare: float) -> np.ndarray:
        """Mode 0 has the share `rare`, the others share the rest evenly."""
        k = len(self.centres)
        return np.r_[rare, np.full(k - 1, (1 - rare) / (k - 1))]


def _ring() -> np.ndarray:
    angle = 2 * np.pi * np.arange(8) / 8
    return np.column_stack([np.cos(angle), np.sin(angle)])


def _grid() -> np.ndarray:
    side = np.arange(-4.0, 5, 2)
    return np.column_stack([axis.ravel() for axis in np.meshgrid(side, side)])


#: Ring and grid as in PacGAN (arXiv 1712.04086, section 4.1); twenty modes in eight dimensions as in GATE's own facts.
MIXTURES = (
    Mixture("ring of 8, 2-D", _ring(), 0.01),
    Mixture("grid of 25, 2-D", _grid(), 0.05),
    Mixture("20 modes, 8-D", 4 * np.random.default_rng(5).normal(size=(20, 8)), 1.0),
)


def evidence(
    train: pd.DataFrame, holdout: pd.DataFrame, made: pd.DataFrame, schema: Schema, *, seed: int, detect: float = 0.9
) -> Evidence:
    """The three sides as the gate sees them; the reference is train, as in `judge` without --reference."""
    sides = [Dataset.from_pandas(side.reset_index(drop=True), schema) for side in (train, holdout, made)]
    return Evidence(
        train=sides[0], reference=sides[0], holdout=sides[1], synthetic=sides[2], intent=Intent(detect=detect, seed=seed)
    )
