"""Is the flow's likelihood the right one, does it learn what goes with what, keep conditions, and say what it cannot do?"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from data.dataset import Dataset
from data.errors import DataError, UserError
from generators.base import GeneratorError, table
from generators.tabular import flow as flow_module
from generators.tabular._flow_net import Net
from generators.tabular.flow import COLUMNS, Flow
from tests.generators.shop import shop

SMALL: dict[str, Any] = {"device": "cpu", "bins": 12, "width": 12}


@pytest.fixture(scope="module")
def train() -> Dataset:
    return shop(5000)


@pytest.fixture(scope="module")
def model(train: Dataset) -> Flow:
    return Flow(min_steps=600, **SMALL).fit(train, seed=0)


def drawn(model: Flow, n: int, **how: Any) -> Any:
    return table(model.sample(n, **how), model.finish_.schema.arrow()).to_pandas()


def test_dependence_between_columns_is_learned(model: Flow, train: Dataset) -> None:
    made, real = drawn(model, 6000, seed=1), train.table.to_pandas()
    assert np.corrcoef(made.x, made.near)[0, 1] > 0.97
    assert made[made.label == "rare"].x.mean() == pytest.approx(real[real.label == "rare"].x.mean(), abs=0.3)
    assert (made.label == "rare").mean() == pytest.approx((real.label == "rare").mean(), abs=0.02)
    assert ((made.x > 1.5) & (made.level == "low")).mean() < 0.02
    assert (made.a.isna() == made.b.isna()).mean() > 0.97 and made.a.isna().mean() == pytest.approx(0.3, abs=0.04)


def test_conditions_hold_in_every_row_and_the_others_follow_them(model: Flow) -> None:
    rare = drawn(model, 500, where={"label": "rare"}, seed=2)
    assert (rare.label == "rare").all() and rare.x.mean() == pytest.approx(3.0, abs=0.4)
    odd = drawn(model, 300, where={"level": "odd", "b": None, "label": "common"}, seed=2)
    assert (odd.level == "odd").all() and odd.b.isna().all() and (odd.label == "common").all()
    assert odd.a.isna().mean() > 0.9 and len(odd.drop_duplicates()) == 300
    for where in ({"x": 99.0}, {"a": 77}, {"x": None}):
        with pytest.raises(UserError, match=r"where\.\w: .*(between|has no missing)"):
            list(model.sample(3, where=where, seed=0))


def nets(classes: int = 3) -> Net:
    """A flow of three coordinates that follow no simple pattern."""
    torch.manual_seed(0)
    net = Net([np.array([0.2, 0.7]), np.zeros(0), np.array([0.5])], classes, 8, 16)
    for value in net.parameters():
        torch.nn.init.normal_(value, std=0.15)
    return net.eval()


def test_drawing_undoes_what_the_likelihood_goes_through() -> None:
    net = nets()
    label = torch.arange(3).repeat(40)
    of = torch.nn.functional.one_hot(label, 3).float()
    z = torch.randn(120, 3)
    x = net.splines.inverse(z, of)
    torch.testing.assert_close(x, net.splines(of).inv(z), rtol=1e-3, atol=1e-3)  # zuko's own, which goes through all of it
    torch.testing.assert_close(net.splines(of)(x), z, rtol=1e-2, atol=1e-2)


def test_the_density_integrates_to_one_over_the_cube() -> None:
    net, side = nets(), torch.linspace(-4.7, 4.7, 64, dtype=torch.float64)
    places = torch.cartesian_prod(side, side, side)
    weight = (torch.exp(-0.5 * places**2) / np.sqrt(2 * np.pi) * (side[1] - side[0])).prod(dim=1)
    for k in range(3):
        with torch.no_grad():
            nats = net.nats(torch.special.ndtr(places), torch.full((len(places),), k)).double()
        assert float((nats.exp() * weight).sum()) == pytest.approx(1.0, abs=0.03)
        assert float(nats.std()) > 0.3  # and is far from even


def test_a_coordinate_depends_on_those_before_it_alone() -> None:
    net = nets()
    x, of = torch.zeros(1, 3), torch.nn.functional.one_hot(torch.tensor([1]), 3).float()
    base = net.splines(of)(x)
    for place in range(3):
        moved = x.clone()
        moved[0, place] += 1.0
        change = (net.splines(of)(moved) - base)[0].abs() > 1e-7
        assert not change[:place].any() and change[place]


def test_the_likelihood_is_that_of_the_rows() -> None:
    """A level and a number whose mean it decides: the mean of the score is the entropy of the two."""
    rng = np.random.default_rng(0)
    high = rng.random(6000) < 0.3
    x = np.where(high, 4.0, 0.0) + rng.normal(size=6000)
    data = Dataset.from_arrow(pa.table({"level": np.where(high, "high", "low"), "x": x}))
    said = Flow(min_steps=500, **SMALL).fit(data, seed=0).log_likelihood(data)
    # The number counts by standard deviations of train.
    truth = 0.3 * np.log(0.3) + 0.7 * np.log(0.7) - 0.5 * np.log(2 * np.pi * np.e) + np.log(x.std())
    assert said.mean() == pytest.approx(truth, abs=0.08)
    each = -0.5 * (x - np.where(high, 4.0, 0.0)) ** 2
    assert np.corrcoef(said, each)[0, 1] > 0.75  # cells of eight rows are noisy


def test_a_level_is_as_likely_as_it_is_often_drawn() -> None:
    few = Dataset(shop(2000).table.select(["level", "label"]), shop(2000).schema.select(["level", "label"]))
    model = Flow(min_steps=300, **SMALL).fit(few, seed=0)
    made = drawn(model, 40_000, seed=3)
    pairs = made.drop_duplicates().reset_index(drop=True)
    chance = np.exp(model.log_likelihood(Dataset(pa.Table.from_pandas(pairs, few.schema.arrow()), few.schema)))
    share = [((made.level == p.level) & (made.label == p.label)).mean() for p in pairs.itertuples()]
    np.testing.assert_allclose(chance, share, atol=0.02)
    assert chance.sum() == pytest.approx(1.0, abs=0.02)


def test_the_score_tells_odd_rows(model: Flow, tmp_path: Path) -> None:
    rows = shop(800, seed=5)
    shuffled = np.random.default_rng(0).permutation(800)
    odd = Dataset(rows.table.set_column(1, "near", rows.table.column("near").take(pa.array(shuffled))), rows.schema)
    far = Dataset(rows.table.set_column(0, "x", pa.array(np.full(800, 1e3))), rows.schema)
    usual = model.score(rows)
    assert usual.shape == (800,) and np.isfinite(usual).all()
    assert (usual < model.score(odd)).mean() > 0.85
    assert (model.score(far) > usual + 100).all()
    np.testing.assert_allclose(model.score(rows.take(np.arange(37, 90))), usual[37:90], rtol=1e-4)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(Flow.load(tmp_path / "model").score(rows), usual)
    with pytest.raises(DataError, match="'near' is missing"):
        model.score(Dataset(rows.table.drop_columns(["near"]), rows.schema.select(["x", "level", "a", "b", "label"])))


def test_the_number_of_threads_changes_neither_model_nor_rows(train: Dataset) -> None:
    before = torch.get_num_threads()
    few, made = train.take(range(400)), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            made.append(table(Flow(epochs=2, **SMALL).fit(few, seed=0).sample(9000, seed=1), few.schema.arrow()))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert made[0].equals(made[1])


def test_what_it_cannot_do_is_said(train: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ({"bins": 1}, {"held_out": 0.9}, {"width": 0}, {"ema": 1.0}):
        with pytest.raises(GeneratorError, match=f"generator.{next(iter(wrong))}"):
            Flow(**wrong).fit(train, seed=0)
    wide = Dataset.from_arrow(pa.table({f"c{i}": [0.0, 1.0] for i in range(COLUMNS + 1)}))
    with pytest.raises(GeneratorError, match="at most 400 columns and there are 401; use vae"):
        Flow().refuse(wide)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(GeneratorError, match="needs zuko"):
        flow_module.Flow().ready()
