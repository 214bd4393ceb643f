"""Does diffusion of series draw courses as rough as they were, fill gaps with what fits them, and go on where a course ends?"""

import numpy as np
import pyarrow as pa
import pytest
import torch

from data.dataset import Dataset
from data.windows import SERIES, batch, readings, schema, windows
from generators.base import GeneratorError, table
from generators.series._diffusion_net import Net, draw, times
from generators.series._planes import Layout
from generators.series.diffusion import Diffusion

LENGTH = 48


def waves(n, seed, *, length=LENGTH):
    """Windows of a sine of any phase, slow or quick (its class), and a channel that says whether it is above 0."""
    rng = np.random.default_rng(seed)
    quick = np.arange(n) % 2
    t = np.arange(length)
    wave = np.sin(np.where(quick, 0.6, 0.26)[:, None] * t + rng.uniform(0, 6.3, (n, 1)))
    values = np.stack([wave + 0.05 * rng.standard_normal((n, length)), wave > 0], axis=1).astype(np.float32)
    rows = schema(["a", "up"], ["slow", "quick"], levels=[(), ("no", "yes")], period=1.0)
    held = batch(rows, values, np.full(n, length), classes=[("slow", "quick")[k] for k in quick])
    return Dataset(pa.Table.from_batches([held]), rows)


@pytest.fixture(scope="module")
def model():
    return Diffusion(epochs=40, width=16, batch_size=32).fit(waves(240, 0), seed=0)


def holed(rows, hole):
    held = windows(rows)
    held.values[:, :, hole] = np.nan
    place = rows.table.column_names.index(SERIES)
    column = readings(held.values, held.lengths)
    return Dataset(rows.table.set_column(place, rows.table.schema.field(SERIES), column), rows.schema)


def test_what_is_drawn_moves_as_what_is_real(model):
    real = windows(waves(100, 3))
    drawn = windows(Dataset(table(model.sample(100, seed=1), model.facts_.schema.arrow()), model.facts_.schema))
    for name in ("slow", "quick"):
        turns = [np.abs(np.fft.rfft(w.of(name).values[:, 0])).mean(axis=0)[:10].argmax() for w in (real, drawn)]
        assert turns[0] == turns[1]
        agree = ((drawn.of(name).values[:, 0] > 0) == (drawn.of(name).values[:, 1] > 0)).mean()
        assert agree > 0.85


def test_gaps_are_filled_with_what_fits_and_the_rest_stays(model):
    real = waves(40, 7)
    hole = slice(16, 30)
    back = windows(model.impute(holed(real, hole), seed=0)).values
    truth = windows(real).values
    np.testing.assert_array_equal(np.delete(back, np.arange(16, 30), axis=2), np.delete(truth, np.arange(16, 30), axis=2))
    error = np.square(back[:, 0, hole] - truth[:, 0, hole]).mean()
    assert error < 0.25 * truth[:, 0].var()


def test_a_forecast_goes_on_from_what_was_read(model):
    short = waves(20, 8, length=36)
    longer = model.forecast(short, 12, seed=0)
    held = windows(longer)
    assert (held.lengths == LENGTH).all() and np.isfinite(held.values).all()
    np.testing.assert_array_equal(held.values[:, :, :36], windows(short).values)
    truth = windows(waves(20, 8)).values[:, 0, 36:40]
    assert np.square(held.values[:, 0, 36:40] - truth).mean() < 0.3
    with pytest.raises(GeneratorError, match="ask for 1 to 12"):
        model.forecast(short, 13, seed=0)


def test_the_sampler_is_that_of_diffusers():
    """A linear denoiser is carried from noise to the end by both in the same way."""
    diffusers = pytest.importorskip("diffusers")
    layout = Layout((0,), 8, 0, 0)
    net = Net(layout, 1, 8, 0.0).eval()
    net.clean = lambda x, t, *a: (0.4 * x + 0.1, None)
    there = torch.ones(2, 1, 8, dtype=torch.bool)
    zero, none = torch.zeros(2, 1, 8), torch.zeros(2, dtype=torch.bool)
    given = (torch.zeros(2, 0), torch.zeros(2, dtype=torch.long), none, there, ~there, zero)
    steps = 12
    ours = draw(net, given, steps, 1.0, torch.Generator().manual_seed(3))
    peer = diffusers.DPMSolverMultistepScheduler(prediction_type="sample", algorithm_type="dpmsolver++", solver_order=2)
    angles = 0.5 * np.pi * times(torch.linspace(1, 0, steps)).numpy()
    peer.set_timesteps(steps)
    # It holds the ratio of noise to window.
    peer.sigmas = torch.tensor(np.append(np.tan(angles), 0.0))
    x = torch.randn(there.shape, generator=torch.Generator().manual_seed(3))
    for t in peer.timesteps[: steps - 1]:
        x = peer.step(0.4 * x + 0.1, t, x).prev_sample
    torch.testing.assert_close(ours, (0.4 * x + 0.1).float(), atol=1e-4, rtol=1e-3)
