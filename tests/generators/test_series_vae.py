"""Does the autoencoder of series find what is unusual, keep its promise of false alarms, and lead between windows?"""

import numpy as np
import pyarrow as pa
import pytest

from data.dataset import Dataset
from data.samples import pump
from data.windows import batch, schema, windows
from generators.base import GeneratorError, table
from generators.series._aside import aside, p_values, threshold
from generators.series.vae import VAE

QUICK = {"epochs": 12, "width": 12, "latent": 6}


def waves(n, seed, *, flawed=0, length=48):
    """Windows of a noisy sine of any phase, the last `flawed` of them at twice the speed."""
    rng = np.random.default_rng(seed)
    turn = np.where(np.arange(n) < n - flawed, 2 * np.pi / 24, 2 * np.pi / 12)
    t = np.arange(length)
    values = np.sin(turn[:, None] * t + rng.uniform(0, 6.3, (n, 1))) + 0.1 * rng.standard_normal((n, length))
    rows = schema(["a"], period=1.0)
    held = batch(rows, values[:, None].astype(np.float32), np.full(n, length), starts=list(1000.0 * np.arange(n)))
    return Dataset(pa.Table.from_batches([held]), rows)


@pytest.fixture(scope="module")
def model():
    return VAE(epochs=30, width=16, latent=6, calibration=0.25).fit(waves(400, 0), seed=0)


def test_what_is_unusual_scores_higher(model):
    scores = model.score(waves(120, 1, flawed=40))
    higher = (scores[80:, None] > scores[None, :80]).mean()
    assert higher > 0.95


def test_false_alarms_are_as_promised(model):
    scores, limit = model.score(waves(600, 2)), model.threshold_(0.05)
    assert (scores > limit).mean() < 0.11
    assert np.array_equal(model.p_value(waves(600, 2)) <= 0.05, scores > model.threshold_(0.05)) or (scores == limit).any()


def test_too_few_windows_for_a_promise_are_told(model):
    with pytest.raises(GeneratorError, match="need 999 normal windows set aside, and 100 are; ask for 0.0099 or more"):
        model.threshold_(0.001)


def test_what_is_drawn_is_as_rough_as_what_is_real(model):
    real = windows(waves(200, 3)).values[:, 0]
    drawn = windows(Dataset(table(model.sample(200, seed=1), model.facts_.schema.arrow()), model.facts_.schema)).values[:, 0]
    rough = [np.diff(v, n=2, axis=1).std() for v in (real, drawn)]
    assert 0.75 < rough[1] / rough[0] < 1.35


def test_a_path_begins_and_ends_at_its_windows(model):
    ends = waves(2, 5)
    path, back = model.interpolate(ends, 5), model.reconstruct(ends)
    assert path.shape == (5, 1, 48)
    np.testing.assert_allclose(path[[0, -1]], back, atol=1e-5)
    assert np.square(back - windows(ends).values).mean() < 0.3


def test_normal_is_the_class_named_so_or_the_most_frequent():
    train = Dataset(pump.draw({"steady": 20, "leak": 30}, length=32), pump.pump_schema())
    assert VAE(**QUICK).fit(train, seed=0).normal_ == train.schema.classes().index("leak")
    assert VAE(**QUICK, normal="steady").fit(train, seed=0).normal_ == 0
    with pytest.raises(GeneratorError, match="no training windows of class 'cavitation'; the classes are steady, leak"):
        VAE(**QUICK, normal="cavitation").fit(train, seed=0)


def test_other_windows_are_refused(model):
    with pytest.raises(GeneratorError, match="the longest learned has 48"):
        model.score(waves(3, 0, length=60))
    with pytest.raises(GeneratorError, match="have the channels pressure"):
        model.score(Dataset(pump.draw({"leak": 2}), pump.pump_schema()))
    assert len(model.score(waves(3, 0, length=20))) == 3


def test_windows_set_aside_overlap_none_that_is_learned():
    values = np.zeros((200, 1, 10), dtype=np.float32)
    rows = schema(["a"], period=1.0)
    held = windows(
        Dataset(pa.Table.from_batches([batch(rows, values, np.full(200, 10), starts=[4.0 * i for i in range(200)])]), rows)
    )
    kept, out = aside(held, np.ones(200, dtype=bool), 0.2, np.random.default_rng(0))
    assert 40 <= len(out) <= 50
    apart = np.abs(held.starts[kept][:, None] - held.starts[out][None])
    assert apart.min() >= 10
    assert len(kept) > 110


def test_chances_count_the_window_itself():
    calibration = np.arange(1.0, 100.0)
    assert p_values(calibration, np.array([0.0, 99.0, 100.0])).tolist() == [1.0, 0.02, 0.01]
    assert threshold(calibration, 0.01) == 99.0


def test_of_normal_windows_that_all_overlap_none_is_set_aside():
    rows = schema(["a"], ["normal", "event"], period=1.0)
    values = np.random.default_rng(0).standard_normal((40, 1, 48)).astype(np.float32)
    # The normal ones lie within one span, the events far from them.
    starts = [float(i) for i in range(30)] + [1e6 + 1000.0 * i for i in range(10)]
    names = ["normal"] * 30 + ["event"] * 10
    held = Dataset(
        pa.Table.from_batches([batch(rows, values, np.full(40, 48), classes=names, starts=starts, entities=["m"] * 40)]), rows
    )
    kept, out = aside(windows(held), np.arange(40) < 30, 0.2, np.random.default_rng(0))
    assert len(kept) == 40 and not len(out)
    assert np.isfinite(VAE(**QUICK).fit(held, seed=0).score(held)).all()
