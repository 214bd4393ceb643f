"""Are numbers drawn as each class's Gaussians say, and levels as real rows hold them?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data.dataset import Dataset
from generators.base import GeneratorError, table
from generators.tabular.mixture import Mixture


def dataset(**columns: Any) -> Dataset:
    return Dataset.from_arrow(pa.table(columns), target="label")


def draw(model: Mixture, data: Dataset, n: int, **how: Any) -> pa.Table:
    return table(model.sample(n, **how), data.schema.arrow())


def points(rows: pa.Table, *names: str) -> np.ndarray:
    return np.column_stack([rows.column(name).to_numpy() for name in names])


def clusters(rows: int = 400, rare: int = 90) -> Dataset:
    """A rare class in two clusters, one twice as large, whose columns depend on one another in opposite ways."""
    rng = np.random.default_rng(0)
    first, label = np.arange(rows) % 3 > 0, np.where(np.arange(rows) < rare, "rare", "common")
    x = rng.normal(size=rows)
    y = np.where(first, 1, -1) * x + 0.3 * rng.normal(size=rows)
    shift, wide = np.where(first, 10.0, -10.0), np.where(label == "rare", 1, 20)
    return dataset(x=x * wide + shift, y=1000 * (y * wide + shift), colour=np.where(first, "red", "blue"),
                   shape=np.where(first, "round", "square"), label=label)  # fmt: skip


def test_clusters_of_a_class_keep_means_covariances_and_shares() -> None:
    data = clusters()
    drawn = draw(Mixture(components=2).fit(data, seed=0), data, 6000, where={"label": "rare"}, seed=1)
    new, real = points(drawn, "x", "y") / [1, 1000], points(data.table, "x", "y")[:90] / [1, 1000]
    for side in (1, -1):
        ours, theirs = new[side * new[:, 0] > 0], real[side * real[:, 0] > 0]
        assert len(ours) / len(new) == pytest.approx(len(theirs) / len(real), abs=0.03)
        np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), atol=0.1)
        np.testing.assert_allclose(np.cov(ours.T), np.cov(theirs.T, bias=True), atol=0.1)


def test_levels_stay_together_and_with_their_cluster() -> None:
    data = clusters()
    drawn = draw(Mixture(components=2).fit(data, seed=0), data, 500, where={"label": "rare"}, seed=1).to_pydict()
    seen = zip(np.sign(drawn["x"]), drawn["colour"], drawn["shape"], strict=True)
    assert set(seen) == {(1.0, "red", "round"), (-1.0, "blue", "square")}


def test_a_class_of_few_rows_has_fewer_components() -> None:
    data = clusters(rare=25)
    model = Mixture().fit(data, seed=0)
    rare = model.rows_.label("rare", model.shares_)
    assert len(model.mixtures_[rare].means) == 2 and len(model.mixtures_[1 - rare].means) == 3


@pytest.mark.parametrize("rare", [1, 2])
def test_a_class_of_one_or_two_rows_is_drawn_about_them(rare: int) -> None:
    rng = np.random.default_rng(0)
    label = np.where(np.arange(60) < rare, "rare", "common")
    data = dataset(x=rng.normal(size=60), y=1000 * rng.normal(size=60), z=rng.random(60), label=label)
    drawn = draw(Mixture().fit(data, seed=0), data, 400, where={"label": "rare"}, seed=1)
    new, real = points(drawn, "x", "y", "z"), points(data.table, "x", "y", "z")
    assert len(np.unique(new, axis=0)) > 390
    assert ((new >= real.min(axis=0)) & (new <= real.max(axis=0))).all()
    middle, spread = real[:rare].mean(axis=0), real.std(axis=0) if rare == 1 else real[:rare].std(axis=0, ddof=1)
    assert (np.abs(np.median(new, axis=0) - middle) < 0.25 * spread).all()


def test_fewer_rows_than_columns_keep_what_depends_on_what() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 1)) + 0.2 * rng.normal(size=(20, 30))
    data = dataset(**{f"x{j}": x[:, j] for j in range(30)}, label=["a"] * 20)
    drawn = points(draw(Mixture().fit(data, seed=0), data, 2000, seed=1), *(f"x{j}" for j in range(30)))
    off = ~np.eye(30, dtype=bool)
    assert np.abs(np.corrcoef(drawn.T)[off] - np.corrcoef(x.T)[off]).max() < 0.15


def test_a_value_that_a_component_repeats_is_drawn_exactly() -> None:
    rng = np.random.default_rng(0)
    empty = rng.random(300) < 0.4
    spent = np.where(empty, 0.1 + 0.2, 5 + rng.normal(size=300))
    data = dataset(spent=spent, age=rng.normal(size=300) - 3 * empty, label=["a"] * 300)
    drawn = points(draw(Mixture().fit(data, seed=0), data, 3000, seed=1), "spent")[:, 0]
    assert (drawn == 0.1 + 0.2).mean() == pytest.approx(empty.mean(), abs=0.05)


def test_a_row_that_lies_alone_is_not_drawn_again() -> None:
    rng = np.random.default_rng(0)
    x = np.vstack([rng.normal(size=(200, 2)), [[30, 30]]])
    data = dataset(x=np.r_[x[:, 0], 60], y=np.r_[x[:, 1], 60], label=["a"] * 201 + ["b"])
    drawn = points(draw(Mixture().fit(data, seed=0), data, 20_000, where={"label": "a"}, seed=1), "x", "y")
    near = drawn[(drawn > 20).all(axis=1)]
    assert 0.5 < len(near) / (20_000 / 201) < 2
    assert near.std(axis=0).min() > 0.5


def test_missing_numbers_stay_missing_as_often_and_hide_no_dependence() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=1500)
    y = 0.9 * x + 0.4 * rng.normal(size=1500)
    gone = rng.random((1500, 2)) < 0.3
    hidden = [pa.array(np.where(g, np.nan, v), from_pandas=True) for g, v in zip(gone.T, (x, y), strict=True)]
    data = dataset(x=hidden[0], y=hidden[1], label=np.where(np.arange(1500) % 3 == 0, "a", "b"))
    drawn = draw(Mixture().fit(data, seed=0), data, 6000, seed=1).to_pandas()
    np.testing.assert_allclose(drawn[["x", "y"]].isna().mean(), gone.mean(axis=0), atol=0.03)
    assert drawn.x.corr(drawn.y) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=0.03)
    np.testing.assert_allclose(drawn[["x", "y"]].std(), [x.std(), y.std()], rtol=0.05)


def test_whole_numbers_digits_and_range_are_as_in_train() -> None:
    rng = np.random.default_rng(0)
    data = dataset(n=rng.poisson(20, 200) * 100, price=np.round(rng.exponential(5, 200), 2), label=["a", "b"] * 100)
    drawn = draw(Mixture().fit(data, seed=0), data, 1000, seed=1)
    n, price = points(drawn, "n")[:, 0], points(drawn, "price")[:, 0]
    assert n.dtype == np.int64 and not (n % 100).any()
    np.testing.assert_array_equal(price, np.round(price, 2))
    for name, values in (("n", n), ("price", price)):
        real = data.column(name).to_numpy()
        assert real.min() <= values.min() and values.max() <= real.max()


def test_levels_alone_are_drawn_one_by_one_within_latent_classes() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.random((300, 1)) < 0.5
    levels = np.where((rng.random((300, 8)) < 0.85) == hidden, "yes", "no")
    data = dataset(**{f"q{j}": levels[:, j] for j in range(8)}, label=["a"] * 300)
    drawn = draw(Mixture(components=2).fit(data, seed=0), data, 3000, seed=1).drop_columns("label").to_pandas()
    real = {tuple(row) for row in levels}
    copied = np.mean([tuple(row) in real for row in drawn.to_numpy()])
    assert 0.2 < copied < 0.9
    new = np.corrcoef((drawn.to_numpy() == "yes").T.astype(float))
    np.testing.assert_allclose(new, np.corrcoef((levels == "yes").T.astype(float)), atol=0.2)
    assert new[0, 1:].min() > 0.25


def test_conditions_on_the_class_and_on_others(mixed: Dataset) -> None:
    model = Mixture().fit(mixed, seed=0)
    drawn = draw(model, mixed, 40, where={"label": "rare", "city": "Ulm", "visits": None}, seed=1).to_pydict()
    assert set(zip(drawn["label"], drawn["city"], drawn["visits"], strict=True)) == {("rare", "Ulm", None)}
    with pytest.raises(GeneratorError, match="where.amount: no training row holds 99.0; its values lie between"):
        list(model.sample(3, where={"amount": 99}, seed=0))


def test_a_missing_class_is_a_class_of_its_own() -> None:
    data = dataset(
        x=np.r_[np.zeros(30), np.full(30, 9.0)] + np.random.default_rng(0).random(60), label=["a"] * 30 + [None] * 30
    )
    drawn = draw(Mixture().fit(data, seed=0), data, 20, where={"label": None}, seed=1)
    assert drawn.column("label").null_count == 20 and points(drawn, "x").min() > 8.5


def test_a_setting_that_makes_no_sense_is_one_sentence(mixed: Dataset) -> None:
    with pytest.raises(GeneratorError, match="generator.components: 0 is too small; it must be at least 1"):
        Mixture(components=0).fit(mixed, seed=0)


def test_a_saved_model_holds_no_numbers_of_rows(tmp_path: Path) -> None:
    data = clusters()
    Mixture().fit(data, seed=0).save(tmp_path)
    with np.load(tmp_path / "mixtures.npz") as arrays:
        held = np.concatenate([arrays[name].ravel() for name in arrays.files])
    assert not np.isin(points(data.table, "x", "y"), held).any()
