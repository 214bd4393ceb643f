"""Do numbers hang together before anything is learned, in any order, and do training and drawing mean the same by it?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from data.dataset import Dataset
from data.infer import infer
from generators.base import table
from generators.tabular._autoregressive_draw import Drawer
from generators.tabular._autoregressive_net import Fields, Net
from generators.tabular._autoregressive_start import Start
from generators.tabular.autoregressive import Autoregressive

SIZES = (2, 16, 16, 3, 16)
NUMBERS = (1, 2, 4)


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    """A class that moves the first number, a second and a third that follow it, a level that stands alone: local tokens."""
    rng = np.random.default_rng(0)
    label = (rng.random(4000) < 0.3).astype(int)
    first = rng.normal(size=4000) + 2 * label
    second, third = first + 0.3 * rng.normal(size=4000), -first + 0.5 * rng.normal(size=4000)
    cut = [np.searchsorted(np.quantile(x, np.linspace(0, 1, 17)[1:-1]), x) for x in (first, second, third)]
    return np.stack([label, cut[0], cut[1], rng.integers(0, 3, 4000), cut[2]], axis=1)


@pytest.fixture(scope="module")
def net(tokens: np.ndarray) -> Net:
    ranks = [np.full(size, np.nan) if k not in NUMBERS else (np.arange(size) + 0.5) / size for k, size in enumerate(SIZES)]
    fields = Fields(SIZES, tuple(np.concatenate(ranks).tolist()), 0, NUMBERS)
    torch.manual_seed(0)
    net = Net(fields, 8).eval()
    net.begin(torch.from_numpy(tokens + np.array(fields.starts[:-1])))
    with torch.no_grad():
        net.out.zero_()  # what it says is what it begins with
    return net


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 2, 3, 0, 1), (2, 0, 4, 1, 3)])
def test_rows_of_an_untrained_network_hang_together(net: Net, tokens: np.ndarray, order: tuple[int, ...]) -> None:
    made = Drawer(net).draw(20_000, order, {}, 1)
    real, drawn = (np.corrcoef(part[:, [1, 2, 4]].T)[np.triu_indices(3, 1)] for part in (tokens, made))
    np.testing.assert_allclose(drawn, real, atol=0.1)
    assert abs(np.corrcoef(made[:, 3], made[:, 1])[0, 1]) < 0.03
    for k in NUMBERS:
        share = np.bincount(made[:, k], minlength=16) / len(made)
        assert np.abs(share - 1 / 16).max() < 0.035, k


def test_a_known_class_moves_its_numbers(net: Net, tokens: np.ndarray) -> None:
    for label in (0, 1):
        made = Drawer(net).draw(5000, (0, 1, 2, 3, 4), {0: label}, 2)
        real = tokens[tokens[:, 0] == label]
        np.testing.assert_allclose(made[:, [1, 2, 4]].mean(axis=0), real[:, [1, 2, 4]].mean(axis=0), atol=0.7)
        assert np.corrcoef(made[:, 1], made[:, 2])[0, 1] == pytest.approx(np.corrcoef(real[:, 1], real[:, 2])[0, 1], abs=0.07)


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 2, 3, 0, 1), (3, 1, 4, 2, 0)])
def test_training_and_rating_say_the_same(net: Net, tokens: np.ndarray, order: tuple[int, ...]) -> None:
    some = tokens[:300]
    with torch.no_grad():
        losses = net.losses(torch.from_numpy(some + np.array(net.fields.starts[:-1])), order, each=True).sum(dim=0).numpy()
    np.testing.assert_allclose(Drawer(net).nats(some, order), -losses, rtol=1e-4, atol=1e-4)


def test_lines_are_the_regressions_of_a_normal_distribution() -> None:
    start = Start((0, 1, 2), 6, 0)
    spread = np.array([[1.0, 0.6, 0.3], [0.6, 1.0, 0.5], [0.3, 0.5, 1.0]])
    start.spread.copy_(torch.from_numpy(np.stack([spread, spread])))
    weights, left, _ = start.lines((2, 0, 1))
    expected = np.linalg.solve(spread[np.ix_([2, 0], [2, 0])], spread[[2, 0], 1])
    np.testing.assert_allclose(weights[0, 1, [2, 0]], expected, rtol=1e-5)
    assert float(left[0, 1]) == pytest.approx(1.0 - expected @ spread[[2, 0], 1] + 0.01, rel=1e-5)
    assert not weights[0, 2].any() and float(weights[0, 0, 1]) == 0.0


def test_few_rows_of_many_numbers_keep_their_correlations() -> None:
    rng = np.random.default_rng(0)
    weights = np.random.default_rng(1).normal(size=(3, 12))

    def rows(n: int) -> np.ndarray:
        return np.asarray(rng.normal(size=(n, 3)) @ weights + 0.3 * rng.normal(size=(n, 12)))

    held = pa.table({f"c{k}": column for k, column in enumerate(rows(300).T)})
    train = Dataset(held, infer(held))
    model = Autoregressive(device="cpu", min_steps=300).fit(train, seed=0)
    made = table(model.sample(2000, seed=1), train.schema.arrow()).to_pandas().to_numpy()
    error = np.abs(np.corrcoef(made.T) - np.corrcoef(rows(100_000).T))[np.triu_indices(12, 1)]
    assert error.mean() < 0.12
