"""Do numbers hang together within bins, do conditions on numbers hold, are tables of levels left to the coarse stage?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.stats import kstest

from data.dataset import Dataset
from data.infer import infer
from generators.base import GeneratorError, table
from generators.tabular._autoregressive_draw import Drawer
from generators.tabular._diffusion_net import Net
from generators.tabular.autoregressive import Autoregressive
from generators.tabular.diffusion import Diffusion
from tests.generators.shop import shop

SMALL: dict[str, Any] = {"width": 96, "depth": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def train() -> Dataset:
    return shop(5000)


@pytest.fixture(scope="module")
def model(train: Dataset) -> Diffusion:
    return Diffusion(**SMALL).fit(train, seed=0)


def drawn(model: Any, n: int, **how: Any) -> Any:
    return table(model.sample(n, **how), next(iter(model.sample(1, seed=0))).schema).to_pandas()


def test_numbers_hang_together_within_their_bins(model: Diffusion, train: Dataset) -> None:
    made, real = drawn(model, 5000, seed=1), train.table.to_pandas()
    alone = drawn(model.coarse_, 5000, seed=1)  # the same coarse rows, each number drawn in its bin by itself
    apart, loose = ((frame.near - frame.x).abs().median() for frame in (made, alone))
    assert loose > 0.15 and apart < 0.09  # 0.067 in truth
    assert made[made.label == "rare"].x.mean() == pytest.approx(real[real.label == "rare"].x.mean(), abs=0.3)
    assert (made.label == "rare").mean() == pytest.approx((real.label == "rare").mean(), abs=0.03)
    assert (made.a.isna() == made.b.isna()).mean() > 0.98
    assert abs(np.corrcoef(made.b.dropna(), made.x[made.b.notna()])[0, 1]) < 0.08
    for name in ("x", "near", "b"):
        assert kstest(made[name].dropna(), real[name].dropna()).statistic < 0.04, name


def test_few_rows_of_a_tight_line_keep_it() -> None:
    rng = np.random.default_rng(0)
    x, level = rng.normal(size=1500), rng.choice(["a", "b"], 1500)
    near = 0.99 * x + np.sqrt(1 - 0.99**2) * rng.normal(size=1500)
    held = pa.table({"x": 20 + 4 * x, "near": near, "skew": np.exp(0.5 * x + rng.normal(size=1500)), "level": level})
    model = Diffusion(epochs=5, device="cpu").fit(Dataset(held, infer(held, target="level")), seed=0)
    made = drawn(model, 4000, seed=1)
    assert np.corrcoef(made.x, made.near)[0, 1] > 0.975
    given = drawn(model, 500, where={"near": 0.5}, seed=2)
    assert (given.near == 0.5).all() and (given.x / 4 - 5).std() < 0.25


def test_a_number_that_is_shown_tells_the_others(model: Diffusion) -> None:
    for value, off in ((-0.7, 0.12), (0.35, 0.12), (3.25, 0.2)):  # far out there are few rows
        made = drawn(model, 800, where={"near": value}, seed=2)
        assert (made.near == value).all()
        assert (made.x - value).abs().median() < off, value
    both = drawn(model, 300, where={"label": "rare", "b": None}, seed=3)
    assert (both.label == "rare").all() and both.b.isna().all() and both.x.mean() == pytest.approx(3.0, abs=0.4)


def test_more_guidance_draws_rows_more_typical_of_their_class(model: Diffusion, train: Dataset, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    plain = drawn(model, 3000, where={"label": "rare"}, seed=4)
    guided = Diffusion.load(tmp_path / "model")
    guided.guidance = guided.coarse_.guidance = 2.0
    strong = drawn(guided, 3000, where={"label": "rare"}, seed=4)
    # Between the two classes, at 1.5, rows become fewer, and farther from the class that is common.
    assert (strong.x < 1.5).mean() < 0.7 * (plain.x < 1.5).mean()
    assert strong.x.mean() > plain.x.mean() + 0.1


def test_guidance_of_one_is_what_was_learned(model: Diffusion) -> None:
    net, order = model.coarse_.net_, model.coarse_.order_
    free, told = Drawer(net, 1.0 + 1e-12), Drawer(net)
    np.testing.assert_array_equal(free.draw(400, order, {}, 7), told.draw(400, order, {}, 7))


def test_a_table_of_levels_is_the_coarse_family_alone() -> None:
    rng = np.random.default_rng(0)
    level = rng.choice(["a", "b", "c"], 600)
    columns = {"one": level, "two": np.where(rng.random(600) < 0.9, level, "a"), "count": rng.integers(0, 4, 600)}
    held = pa.table(columns)
    train = Dataset(held, infer(held, target="one"))
    model = Diffusion(epochs=2, device="cpu").fit(train, seed=0)
    coarse = Autoregressive(epochs=2, bins=8, parts=False, device="cpu").fit(train, seed=0)
    assert not model.detail_.columns
    assert drawn(model, 500, seed=1).equals(drawn(coarse, 500, seed=1))


def test_before_anything_is_learned_places_are_even_and_independent() -> None:
    low, wide = np.zeros((2, 1), dtype=np.float32), np.ones((2, 1), dtype=np.float32)
    net = Net([0, 1, 2], [0, 1], low, wide, None, 16, 1, 0.0).eval()
    known = torch.full((20_000, 2), torch.nan)
    places = net.draw(torch.zeros(20_000, 2, dtype=torch.long), known, 8, 1.0, torch.Generator().manual_seed(0)).numpy()
    assert kstest(places[:, 0], "uniform").statistic < 0.012 and kstest(places[:, 1], "uniform").statistic < 0.012
    assert abs(np.corrcoef(places.T)[0, 1]) < 0.02


def test_a_resumed_fit_ends_as_one_that_was_never_stopped(train: Dataset, tmp_path: Path) -> None:
    class Stop:
        def __init__(self, after: int) -> None:
            self.left = after

        def advance(self, done: int, total: int, what: str, **figures: float) -> None:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    few = train.take(np.arange(400))
    quick: dict[str, Any] = {**SMALL, "epochs": 6, "checkpoint_seconds": 0.0}
    whole = drawn(Diffusion(**quick).fit(few, seed=3), 200, seed=0)
    for after in (4, 24, 30):  # in the first stage, and twice in the second
        folder = tmp_path / str(after)
        with pytest.raises(KeyboardInterrupt):
            Diffusion(**quick).fit(few, seed=3, progress=Stop(after), checkpoint=folder)
        assert (folder / "density.pt").is_file() == (after > 20)
        assert drawn(Diffusion(**quick).fit(few, seed=3, checkpoint=folder), 200, seed=0).equals(whole)


@pytest.mark.parametrize(
    ("setting", "said"),
    [({"steps": 1}, "generator.steps: 1"), ({"guidance": -1.0}, "guidance"), ({"bins": 0}, "generator.bins: 0")],
)
def test_settings_without_sense_are_refused(setting: dict[str, Any], said: str, train: Dataset) -> None:
    with pytest.raises(GeneratorError, match=said):
        Diffusion(**setting).fit(train, seed=0)
