"""Is a SMOTE row what Chawla et al. say: on the line between two rows of its class, levels by majority?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from data.dataset import Dataset
from data.schema import Column, Schema
from generators.base import GeneratorError, table
from generators.tabular.smote import SMOTE


def numbers(rows: int = 30, rare: int = 8) -> Dataset:
    rng = np.random.default_rng(0)
    label = np.where(np.arange(rows) < rare, "rare", "common")
    columns = {"x": rng.normal(size=rows), "y": 1000 * rng.normal(size=rows), "label": label}
    kinds = (Column(name="x", kind="numeric", dtype="double"), Column(name="y", kind="numeric", dtype="double"))
    target = Column(name="label", kind="categorical", dtype="string", categories=("common", "rare"))
    return Dataset(pa.table(columns), Schema((*kinds, target), target="label"))


def draw(model: SMOTE, data: Dataset, n: int, **how: object) -> pa.Table:
    return table(model.sample(n, **how), data.schema.arrow())  # type: ignore[arg-type]


def test_every_row_lies_between_two_of_its_class() -> None:
    data = numbers()
    drawn = draw(SMOTE(k_neighbors=3).fit(data, seed=0), data, 60, where={"label": "rare"}, seed=1)
    real = np.column_stack([data.column(c).to_numpy() for c in ("x", "y")])[:8] / [1, 1000]
    for point in np.column_stack([drawn.column(c).to_numpy() for c in ("x", "y")]) / [1, 1000]:
        to = np.linalg.norm(real - point, axis=1)
        between = np.linalg.norm(real[:, None] - real, axis=2)
        assert np.isclose(to[:, None] + to, between, atol=1e-8).any()


def test_a_class_of_two_uses_the_one_neighbour_it_has() -> None:
    data = numbers(rare=2)
    drawn = draw(SMOTE(k_neighbors=5).fit(data, seed=0), data, 20, where={"label": "rare"}, seed=1)
    low, high = np.sort(data.column("x").to_numpy()[:2])
    assert ((drawn.column("x").to_numpy() >= low) & (drawn.column("x").to_numpy() <= high)).all()


def test_a_class_of_one_is_one_sentence() -> None:
    with pytest.raises(GeneratorError, match="class 'rare' has one row only"):
        SMOTE().fit(numbers(rare=1), seed=0)


def test_levels_alone_are_drawn_by_the_majority_of_neighbours() -> None:
    # Levels are near when they say the same of the class, so these must not.
    blue = np.where(np.arange(60) < 24, np.arange(60) % 3 == 0, np.arange(60) % 6 > 0)
    names = np.where(blue, "blue", "red")
    shape = np.where(names == "red", "round", "square")
    label = np.where(np.arange(60) < 24, "rare", "common")
    columns = [Column(name=n, kind="categorical", dtype="string", categories=tuple(np.unique(v).tolist()))
               for n, v in (("colour", names), ("shape", shape), ("label", label))]  # fmt: skip
    data = Dataset(pa.table({"colour": names, "shape": shape, "label": label}), Schema(tuple(columns), target="label"))
    drawn = draw(SMOTE().fit(data, seed=0), data, 200, where={"label": "rare"}, seed=1)
    pairs = set(zip(drawn.column("colour").to_pylist(), drawn.column("shape").to_pylist(), strict=True))
    assert pairs == {("red", "round"), ("blue", "square")}


def test_missing_numbers_stay_missing_as_often(mixed: Dataset) -> None:
    drawn = draw(SMOTE().fit(mixed, seed=0), mixed, 2000, seed=1)
    real = mixed.column("visits").null_count / len(mixed)
    assert 0 < drawn.column("visits").null_count / 2000 < 2 * real
