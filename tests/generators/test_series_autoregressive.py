"""Do windows that are drawn reading by reading go on as real ones do, and does the cache draw what the convolutions would?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from benchmarks.series_speed import drawn_naively
from data.dataset import Dataset
from data.errors import UserError
from data.windows import batch, schema, windows
from generators.base import table
from generators.series import _wavenet
from generators.series._facts import Facts
from generators.series._scale import Scale
from generators.series._wavenet import Net
from generators.series.autoregressive import Autoregressive


def waves(n: int = 160, length: int = 40, *, bad: int = 0, seed: int = 0) -> Dataset:
    """An AR(1) of coefficient .9, its negative two moments later with a little noise, and a level that says its sign."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, length + 50))
    for t in range(1, length + 50):
        x[:, t] = 0.9 * x[:, t - 1] + rng.standard_normal(n)
    x = x[:, 50:]
    y = -np.roll(x, 2, axis=1) + 0.1 * rng.standard_normal(x.shape)
    x[:bad] = 2 * rng.standard_normal((bad, length))
    values = np.stack([np.round(x, 1), y, (x > 0).astype(float)], axis=1).astype(np.float32)
    rows = schema(["x", "y", "up"], ["few", "many"], levels=[(), (), ("no", "yes")])
    made = batch(rows, values, np.full(n, length), classes=["many" if i % 4 else "few" for i in range(n)])
    return Dataset(pa.Table.from_batches([made]), rows)


@pytest.fixture(scope="module")
def model() -> Autoregressive:
    return Autoregressive(width=24, min_steps=400).fit(waves(), seed=0)


def blank(data: Dataset) -> tuple[Net, Tensor]:
    """A network that has learned nothing, and what is known of the windows."""
    model = Autoregressive(width=12, layers=4)
    model.facts_, held = Facts.of(data)
    model.scale_ = Scale.of(held)
    return model._blank(0).eval(), torch.from_numpy(model.facts_.about)


def test_what_is_kept_of_the_past_says_what_convolutions_done_anew_say() -> None:
    net, about = blank(waves(6))
    rng = np.random.default_rng(1)
    chances = torch.from_numpy(rng.random((30, 6, 6), dtype=np.float32))
    with torch.no_grad():
        queue, said = net.begin(6, about), torch.zeros(6, 30, 4)
        for t in range(30):
            said[:, t] = queue.step(chances[t])
        slow = drawn_naively(net, about, chances)
    assert len(torch.unique(said[..., 1])) > 100
    torch.testing.assert_close(said, slow, atol=2e-3, rtol=1e-3)


def test_no_guess_depends_on_what_comes_later_or_on_the_channel_itself() -> None:
    net, about = blank(waves(3))
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 40, 4)).astype(np.float32))
    known = torch.ones(3, 40, 4, dtype=torch.bool)
    other = x.clone()
    other[:, 20, 1] += 1.0  # the second channel
    with torch.no_grad():
        before, after = (net.nats(each, known, about, torch.zeros(3)) for each in (x, other))
    assert torch.equal(before[:, :20], after[:, :20]) and torch.equal(before[:, 20, 0], after[:, 20, 0])
    assert (before[:, 20, 1:] != after[:, 20, 1:]).all() and (before[:, 21] != after[:, 21]).all()


def test_densities_of_rounded_readings_make_one() -> None:
    net, _ = blank(waves(8))
    said = torch.from_numpy(np.random.default_rng(2).standard_normal(20).astype(np.float32) * 2)[None]
    step = net.rounded.steps[0]
    every = torch.arange(-4000, 4000) * step
    density = net._log_density(
        said.expand(8000, -1), every, (torch.full((8000,), 0.3), torch.zeros(8000), torch.ones(8000)), 0
    ).exp()
    assert float(density.sum() * step) == pytest.approx(1, abs=1e-2)


def test_memory_and_dependence_of_channels_come_out(model: Autoregressive) -> None:
    rows = waves(1).schema
    held = windows(Dataset(table(model.sample(400, seed=3), rows.arrow()), rows))
    x, y, up = (held.values[:, c] for c in range(3))
    assert 0.8 < np.corrcoef(x[:, :-1].ravel(), x[:, 1:].ravel())[0, 1] < 0.96
    assert np.corrcoef(x[:, 5:-2].ravel(), y[:, 7:].ravel())[0, 1] < -0.85
    assert ((x > 0) == (up > 0))[np.abs(x) > 0.05].mean() > 0.9, "a level agrees with the number of its moment"
    assert np.allclose(x, np.round(x, 1), atol=1e-5)
    # After so short a training; what is a little wrong adds up along a window.
    assert abs(x.std() / windows(waves()).values[:, 0].std() - 1) < 0.4


def test_what_goes_on_from_a_beginning_keeps_it_and_follows_from_it(model: Autoregressive) -> None:
    whole = windows(waves(60, seed=9))
    rows = waves(1).schema
    names = [whole.classes[k] for k in whole.labels]
    made = batch(rows, whole.values[:, :, :20], np.full(60, 20), classes=names)
    longer = windows(model.extend(Dataset(pa.Table.from_batches([made]), rows), 10, seed=0))
    assert longer.lengths.tolist() == [30] * 60
    np.testing.assert_array_equal(longer.values[:, :, :20], whole.values[:, :, :20])
    assert np.corrcoef(longer.values[:, 0, 20], whole.values[:, 0, 20])[0, 1] > 0.6
    assert np.corrcoef(longer.values[:, 0, 19], longer.values[:, 1, 21])[0, 1] < -0.8
    with pytest.raises(UserError, match="ask for 1 or more"):
        model.extend(waves(2), 0, seed=0)


def test_windows_unlike_those_learned_score_higher(model: Autoregressive) -> None:
    scores = model.score(waves(80, bad=40, seed=4))
    assert scores.shape == (80,) and np.median(scores[:40]) > scores[40:].max()


def test_windows_longer_than_a_crop_are_learned_by_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wavenet, "CROP", 30)
    model = Autoregressive(width=8, layers=4, epochs=2, min_steps=4).fit(waves(40, length=300), seed=0)
    rows = waves(1).schema
    held = windows(Dataset(table(model.sample(3, seed=0), rows.arrow()), rows))
    assert held.values.shape == (3, 3, 300) and np.isfinite(held.values).all()


def quiet_and_loud(n: int = 96, length: int = 48, *, flawed: int = 0, seed: int = 0) -> Dataset:
    """A wave of twelve readings, of deviation 0.05 in one class and 2 in the other; `flawed` of them hold a burst of noise."""
    rng = np.random.default_rng(seed)
    names = ["quiet" if i % 2 else "loud" for i in range(n)]
    size = np.where([name == "quiet" for name in names], 0.05, 2.0)[:, None]
    wave = np.sqrt(2) * np.sin(2 * np.pi * np.arange(length) / 12 + rng.uniform(0, 6.28, (n, 1)))
    wave += 0.1 * rng.standard_normal((n, length))
    wave[:flawed, 20:32] = 2 * rng.standard_normal((flawed, 12))
    rows = schema(["x"], ["quiet", "loud"])
    made = batch(rows, np.round(size * wave, 3).astype(np.float32)[:, None], np.full(n, length), classes=names)
    return Dataset(pa.Table.from_batches([made]), rows)


@pytest.fixture(scope="module")
def seasonal() -> Autoregressive:
    return Autoregressive(width=24, layers=5, min_steps=500).fit(quiet_and_loud(), seed=0)


@pytest.mark.parametrize(("name", "size"), [("quiet", 0.05), ("loud", 2.0)])
def test_a_season_comes_back_and_what_is_quiet_stays_quiet_beside_what_is_loud(
    seasonal: Autoregressive, name: str, size: float
) -> None:
    rows = quiet_and_loud(2).schema
    held = windows(Dataset(table(seasonal.sample(100, where={"class": name}, seed=1), rows.arrow()), rows)).values[:, 0]
    assert size / 1.6 < held.std() < size * 1.6
    assert abs(held.mean()) < 0.3 * size
    apart = [np.corrcoef(held[:, :-k].ravel(), held[:, k:].ravel())[0, 1] for k in (6, 12)]
    assert apart[0] < -0.5 and apart[1] > 0.5, "half a season and a whole one later"
    assert np.allclose(held, np.round(held, 3), atol=1e-6), "readings have the digits of the data"


def test_a_burst_of_noise_is_found_by_the_likelihood(seasonal: Autoregressive) -> None:
    loud = np.arange(0, 96, 2)  # of one class, else what is told apart is the class
    scores = seasonal.score(quiet_and_loud(flawed=48, seed=7).take(loud.tolist()))
    chance = (scores[:24, None] > scores[None, 24:]).mean()
    assert chance > 0.9, "the chance that a flawed window scores above another"
