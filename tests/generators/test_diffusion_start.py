"""Do numbers lie in their bins as a Gaussian copula puts them, before anything is learned?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from generators.tabular._diffusion_net import Net
from generators.tabular._diffusion_start import Start

#: Bins of each number, in ranks; the last token of the third is null.
EDGES = np.linspace(0, 1, 9)
BEGIN = [0, 2, 10, 18, 27]
SPREAD = np.array([[1.0, 0.95, 0.5], [0.95, 1.0, 0.4], [0.5, 0.4, 1.0]])


def rows(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A class that says nothing and three numbers, the third null now and then: tokens, and scores within bins."""
    rng = np.random.default_rng(0)
    rank = norm.cdf(rng.normal(size=(n, 3)) @ np.linalg.cholesky(SPREAD).T)
    token = np.minimum((rank * 8).astype(int), 7)
    x = norm.ppf((rank * 8 - token).clip(1e-4, 1 - 1e-4))
    token[:, 2] = np.where(rng.random(n) < 0.1, 8, token[:, 2])
    label = rng.integers(0, 2, (n, 1))
    return torch.from_numpy(np.concatenate([label, token], axis=1)), torch.from_numpy(x).float()


def begun(tokens: torch.Tensor, x: torch.Tensor) -> Start:
    start = Start(BEGIN, dict.fromkeys((1, 2, 3), np.arange(8)), (1, 2, 3), 0)
    moves = np.ones((3, 9), dtype=bool)
    moves[:, 8] = False
    start.begin(tokens, x, moves)
    return start


@pytest.fixture(scope="module")
def held() -> tuple[torch.Tensor, torch.Tensor]:
    return rows(60_000)


@pytest.fixture(scope="module")
def start(held: tuple[torch.Tensor, torch.Tensor]) -> Start:
    return begun(*(part[:5000] for part in held))


def plain(start: Start, tokens: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Means and covariances of rows of which nothing is shown."""
    nothing = torch.zeros(len(tokens), len(start.moving))
    mean, root = start.law(tokens, None, nothing, nothing > 0)
    return mean.numpy(), torch.cholesky_inverse(root).numpy()


@pytest.mark.parametrize("cell", [(3, 3), (4, 3), (5, 4), (7, 7), (0, 1)])
def test_places_lie_where_those_of_rows_in_the_same_bins_do(
    held: tuple[torch.Tensor, torch.Tensor], start: Start, cell: tuple[int, int]
) -> None:
    tokens, x = held
    own = (tokens[:, 1] == cell[0]) & (tokens[:, 2] == cell[1]) & (tokens[:, 3] < 8)
    mean, spread = plain(start, tokens[own])
    real = x[own, :2].numpy()
    np.testing.assert_allclose(mean[:, :2].mean(axis=0), real.mean(axis=0), atol=0.2)
    # Of what is known alone, and of what the third number says of it.
    said = spread[:, :2, :2].mean(axis=0) + np.cov(mean[:, :2].T)
    np.testing.assert_allclose(said, np.cov(real.T), atol=0.2)


def test_a_number_that_is_shown_is_a_condition(held: tuple[torch.Tensor, torch.Tensor], start: Start) -> None:
    tokens, x = (part[:50] for part in held)
    shown = torch.tensor([[False, True, False]]).expand(50, 3)
    mean, spread = plain(start, tokens)
    told, root = start.law(tokens, None, x, shown)
    off = x[:, 1].numpy() - mean[:, 1]
    for k in (0, 2):
        np.testing.assert_allclose(told[:, k].numpy(), mean[:, k] + spread[:, k, 1] / spread[:, 1, 1] * off, atol=1e-3)
    left = spread[:, 0, 0] - spread[:, 0, 1] ** 2 / spread[:, 1, 1]
    np.testing.assert_allclose(torch.cholesky_inverse(root)[:, 0, 0].numpy(), left, atol=1e-3)


def test_null_says_nothing_of_the_others() -> None:
    tokens, x = rows(5000)
    loose = Start([0, 2, 10, 19], {1: np.arange(8), 2: np.arange(8)}, (1, 2), 0)
    moves = np.ones((2, 9), dtype=bool)
    loose.begin(tokens[:, [0, 1, 3]], x[:, [0, 2]], moves & (np.arange(9) < 8))
    mean, spread = plain(loose, torch.tensor([[0, 4, 8], [1, 7, 8]]))
    np.testing.assert_allclose(mean[:, 0], 0.0, atol=0.1)
    np.testing.assert_allclose(spread[:, 0, 0], 1.0, atol=0.1)


def test_an_untrained_velocity_carries_the_start_to_itself(held: tuple[torch.Tensor, torch.Tensor], start: Start) -> None:
    tokens = held[0][:1].expand(20_000, 4).contiguous()
    low, wide = np.zeros((3, 9), dtype=np.float32), np.ones((3, 9), dtype=np.float32)
    net = Net(BEGIN, [1, 2, 3], low, wide, 0, 16, 1, 0.0, start).eval()
    places = net.draw(tokens, torch.full((20_000, 3), torch.nan), 8, 1.0, torch.Generator().manual_seed(0)).numpy()
    drawn, (mean, spread) = norm.ppf(places), plain(start, tokens[:1])
    np.testing.assert_allclose(drawn.mean(axis=0), mean[0], atol=0.04)
    np.testing.assert_allclose(np.cov(drawn.T), spread[0], atol=0.04)
