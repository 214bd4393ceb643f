"""Does the autoencoder learn what goes with what, lead from row to row, keep conditions, and tell odd rows?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from data.dataset import Dataset
from data.errors import DataError, UserError
from generators.base import GeneratorError, table
from generators.tabular._vae_draw import POOL_LEAST
from generators.tabular._vae_net import Prior
from generators.tabular.vae import VAE
from tests.generators.shop import shop

SMALL: dict[str, Any] = {"width": 96, "latent": 16, "device": "cpu"}


@pytest.fixture(scope="module")
def train() -> Dataset:
    return shop(5000)


@pytest.fixture(scope="module")
def model(train: Dataset) -> VAE:
    return VAE(min_steps=900, **SMALL).fit(train, seed=0)


def drawn(model: VAE, n: int, **how: Any) -> Any:
    return table(model.sample(n, **how), model.finish_.schema.arrow()).to_pandas()


def test_dependence_between_columns_is_learned(model: VAE, train: Dataset) -> None:
    made, real = drawn(model, 6000, seed=1), train.table.to_pandas()
    # Between its clusters a learned prior has bridges, on which some rows of a hundred do not hang together.
    assert np.corrcoef(made.x, made.near)[0, 1] > 0.88 and (made.x - made.near).abs().median() < 0.15
    assert made[made.label == "rare"].x.mean() == pytest.approx(real[real.label == "rare"].x.mean(), abs=0.3)
    assert (made.label == "rare").mean() == pytest.approx((real.label == "rare").mean(), abs=0.02)
    assert ((made.x > 1.5) & (made.level == "low")).mean() < 0.02
    assert (made.a.isna() == made.b.isna()).mean() > 0.95 and made.a.isna().mean() == pytest.approx(0.3, abs=0.04)


def test_columns_of_drawn_rows_hold_what_those_of_train_do(model: VAE, train: Dataset) -> None:
    tokens = model.tokens_.encode(train)
    made = model.tokens_.encode(Dataset(table(model.sample(30_000, seed=8), train.schema.arrow()), train.schema))
    for field, size in enumerate(model.tokens_.sizes):
        real, drawn_share = (np.bincount(part[:, field], minlength=size) / len(part) for part in (tokens, made))
        assert np.abs(real - drawn_share).sum() / 2 < 0.02 + np.sqrt(size / 30_000) / 2, field


def test_a_condition_holds_in_every_row_and_the_others_follow_it(model: VAE) -> None:
    rare = drawn(model, 500, where={"label": "rare"}, seed=2)
    assert (rare.label == "rare").all() and rare.x.mean() == pytest.approx(3.0, abs=0.4)
    high = drawn(model, 500, where={"near": 3.25, "b": None}, seed=2)
    assert (high.near == 3.25).all() and high.b.isna().all()
    assert high.x.mean() == pytest.approx(3.2, abs=0.4) and high.a.isna().mean() > 0.9
    assert (high.label == "rare").mean() > 0.8  # some 20 to 1 by Bayes' rule
    more = drawn(model, POOL_LEAST, where={"level": "odd"}, seed=2)
    assert len(more) == POOL_LEAST and (more.level == "odd").all()
    assert len(more.drop_duplicates()) > 0.99 * POOL_LEAST


def test_conditions_that_no_row_could_hold_are_refused(model: VAE) -> None:
    for where, said in (({"x": 99.0}, "where.x: no training row holds 99.0"), ({"a": 77}, "between 0 and 8, so name one of")):
        with pytest.raises(GeneratorError, match=said):
            list(model.sample(3, where=where, seed=0))
    with pytest.raises(UserError, match=r"where\.x"):
        list(model.sample(3, where={"x": None}, seed=0))


def row(data: Dataset, place: int) -> Dataset:
    return data.take([place])


def test_a_path_begins_and_ends_with_the_rows_and_keeps_what_goes_together(model: VAE, train: Dataset) -> None:
    frame = train.table.to_pandas()
    low = int(np.flatnonzero((frame.label == "common") & (frame.x < -1.5) & (frame.level == "low"))[0])
    high = int(np.flatnonzero((frame.label == "rare") & (frame.x > 4) & frame.a.notna())[0])
    way = model.interpolate(row(train, low), row(train, high), 41, seed=0)
    assert way.slice(0, 1).to_pylist() == row(train, low).table.to_pylist()
    assert way.slice(40, 1).to_pylist() == row(train, high).table.to_pylist()
    made = way.to_pandas()
    assert list(made.label) == ["common"] * 20 + ["rare"] * 21
    assert np.abs(made.near - made.x).median() < 0.35
    apart = made[(made.x - 1).abs() > 0.5]
    assert ((apart.level == "high") == (apart.x > 1)).mean() > 0.85
    # Rows on the way are rows as they are, far likelier than the mean of two rows' columns in other mixes.
    shuffled = way.set_column(1, "near", way.column("near").take(pa.array(np.random.default_rng(0).permutation(41))))
    assert (model.score(Dataset(way, train.schema)) < model.score(Dataset(shuffled, train.schema))).mean() > 0.6
    assert way.equals(model.interpolate(row(train, low), row(train, high), 41, seed=0))


def test_a_path_within_a_class_goes_step_by_step(model: VAE, train: Dataset) -> None:
    frame, within, largest = train.table.to_pandas(), [], []
    common = frame.label == "common"
    for low, high in zip(
        np.flatnonzero(common & (frame.x < -1.5))[:8], np.flatnonzero(common & (frame.x > 1.5))[:8], strict=True
    ):
        x = model.interpolate(row(train, int(low)), row(train, int(high)), 21, seed=0).column("x").to_numpy()
        within.append(((x > x[0] + 0.4) & (x < x[-1] - 0.4)).sum())
        largest.append(np.abs(np.diff(x)).max() / (x[-1] - x[0]))
    assert np.mean(within) > 3  # rows that are neither the one nor the other
    assert np.mean(largest) < 0.85


def test_a_path_from_a_row_to_itself_and_from_one_of_unknown_values_works(model: VAE, train: Dataset) -> None:
    same = model.interpolate(row(train, 0), row(train, 0), 5, seed=1)
    tokens = model.tokens_.encode(same)
    assert (tokens[:, model.fields_.live] == tokens[0, model.fields_.live]).mean() > 0.95
    odd = train.table.slice(0, 1).set_column(2, "level", pa.array(["never seen"]))
    way = model.interpolate(Dataset(odd, train.schema), row(train, 3), 4, seed=1)
    assert way.column("level").to_pylist()[0] == "never seen" and way.num_rows == 4
    for wrong in ((row(train, 0), row(train, 1), 1), (train, row(train, 1), 5)):
        with pytest.raises(GeneratorError, match="one row each"):
            model.interpolate(*wrong, seed=0)
    with pytest.raises(DataError, match="'near' is missing"):
        few = Dataset(train.table.drop_columns(["near"]), train.schema.select(["x", "level", "a", "b", "label"]))
        model.interpolate(few.take([0]), row(train, 1), 5, seed=0)


def test_points_of_like_rows_lie_near_each_other(model: VAE, train: Dataset) -> None:
    points = model.encode(train)
    assert points.shape == (5000, 16) and np.isfinite(points).all()
    x = train.table.column("x").to_numpy()
    near = np.argsort(x)
    step = np.linalg.norm(np.diff(points[near], axis=0), axis=1).mean()
    assert step < 0.8 * np.linalg.norm(points - points[np.random.default_rng(0).permutation(5000)], axis=1).mean()


def test_the_score_tells_rows_whose_columns_do_not_go_together(model: VAE) -> None:
    rows = shop(800, seed=5)
    shuffled = np.random.default_rng(0).permutation(800)
    odd = Dataset(rows.table.set_column(1, "near", rows.table.column("near").take(pa.array(shuffled))), rows.schema)
    far = Dataset(rows.table.set_column(0, "x", pa.array(np.full(800, 1e3))), rows.schema)
    usual = model.score(rows)
    assert usual.shape == (800,) and np.isfinite(usual).all()
    assert (usual < model.score(odd)).mean() > 0.85
    assert (model.score(far) > usual + 100).all()
    np.testing.assert_allclose(model.score(rows.take(np.arange(37, 90))), usual[37:90], rtol=1e-4)


def test_the_score_is_near_the_truth_where_that_is_known() -> None:
    """Two independent columns: the mean of the score is their entropy, and the bound lies above it."""
    rng = np.random.default_rng(0)
    level, x = rng.choice(["a", "b"], 4000, p=[0.8, 0.2]), rng.normal(size=4000)
    data = Dataset.from_arrow(pa.table({"level": level, "x": x}))
    scored = VAE(min_steps=400, beta=1.0, **SMALL).fit(data, seed=0).score(data)
    share = np.mean(level == "a")
    truth = -share * np.log(share) - (1 - share) * np.log(1 - share) + 0.5 * np.log(2 * np.pi * np.e)
    assert truth - 0.1 < scored.mean() < truth + 0.25


def test_the_prior_bends_points_and_takes_it_back() -> None:
    torch.manual_seed(0)
    prior = Prior(5, 3, 16)
    for value in prior.parameters():
        torch.nn.init.normal_(value, std=0.3)
    u, label = torch.randn(40, 5), torch.randint(0, 3, (40,))
    z = prior.bend(u, label)
    back, stretched = prior.flatten(z, label)
    torch.testing.assert_close(back, u, rtol=1e-3, atol=1e-4)
    jacobian = torch.autograd.functional.jacobian(lambda point: prior.flatten(point[None], label[:1])[0][0], z[0])
    torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, stretched[0], rtol=1e-3, atol=1e-3)


def test_the_number_of_threads_changes_neither_model_nor_rows(train: Dataset) -> None:
    before = torch.get_num_threads()
    few, made = Dataset(train.table.slice(0, 400), train.schema), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            made.append(table(VAE(epochs=2, **SMALL).fit(few, seed=0).sample(9000, seed=1), few.schema.arrow()))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert made[0].equals(made[1])


def test_what_was_loaded_encodes_scores_and_interpolates_the_same(model: VAE, train: Dataset, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    again, few = VAE.load(tmp_path / "model"), train.take(range(50))
    np.testing.assert_array_equal(again.score(few), model.score(few))
    np.testing.assert_array_equal(again.encode(few), model.encode(few))
    assert again.interpolate(row(train, 1), row(train, 2), 6, seed=3).equals(
        model.interpolate(row(train, 1), row(train, 2), 6, seed=3)
    )


def test_settings_that_make_no_sense_are_named(train: Dataset) -> None:
    for wrong in ({"dropout": 1.0}, {"beta": -0.1}, {"latent": 1}, {"held_out": 0.9}, {"width": 0}):
        with pytest.raises(GeneratorError, match=f"generator.{next(iter(wrong))}"):
            VAE(**wrong).fit(train, seed=0)
    with pytest.raises(GeneratorError, match="smaller generator.learning_rate"):
        VAE(epochs=3, learning_rate=1e30, device="cpu").fit(train.take(range(300)), seed=0)


def test_fields_of_one_size_that_go_together_say_the_same_as_alone(model: VAE) -> None:
    net, shape = model.net_, model.shape_
    encoded = model.tokens_.encode(shop(60, seed=3))
    rows = torch.from_numpy(encoded[:, model.fields_.live] + np.array(shape.starts[:-1]))
    rows[3, 0], label, z = -1, torch.from_numpy(model.fields_.labels(encoded)), torch.randn(60, 16)
    assert shape.inner  # a number of two tokens, the second of which depends on the first
    with torch.no_grad():
        hidden, heads, alone = net.hidden(z, label), net.heads(), torch.zeros(60)
        for field, first in enumerate(shape.starts[:-1]):
            other = net.outer.get(field)
            outer = None if other is None else (rows[:, other] - shape.starts[other]).clamp(min=0)
            said = torch.log_softmax(net.logits(field, hidden, label, heads, outer), dim=1)
            known = rows[:, field] >= 0
            alone[known] += said[known, rows[known, field] - first]
        torch.testing.assert_close(net.told(z, rows, label), alone, rtol=1e-4, atol=1e-4)


def test_a_thousand_columns_are_learned() -> None:
    rng = np.random.default_rng(0)
    wide = Dataset.from_arrow(
        pa.table({f"c{i}": rng.normal(size=120) for i in range(1000)} | {"y": ["a", "b"] * 60}), target="y"
    )
    model = VAE(epochs=1, width=16, latent=4, device="cpu").fit(wide, seed=0)
    made = table(model.sample(20, where={"y": "b"}, seed=0), wide.schema.arrow())
    assert made.num_columns == 1001 and set(made.column("y").to_pylist()) == {"b"} and np.isfinite(model.score(wide)).all()
