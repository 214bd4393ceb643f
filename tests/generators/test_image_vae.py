"""Does the autoencoder read back what it was shown, walk between pictures, and tell a defect from a good part?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from data.dataset import Dataset
from data.images import Pictures, pictures
from generators.base import GeneratorError, table
from generators.image._normals import class_normals, draws
from generators.image._vae_net import Layout, Pair, divergence
from generators.image._vae_score import Scorer, evened
from generators.image._vae_texture import Texture
from generators.image._vae_train import unlike
from generators.image.vae import VAE
from tests.generators.pictures import as_dataset, shapes

CLASSES = ("normal", "dot")


def slopes(normal: int, dots: int, *, size: int = 16, seed: int = 0) -> Dataset:
    """Grounds whose light falls off in all directions, very differently bright; a dot is a small dark spot on one."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size - 0.5
    pixels, masks = [], []
    for i in range(normal + dots):
        level = rng.uniform(80, 170) + 60 * (x * rng.normal() + y * rng.normal())
        mask = np.zeros((size, size), dtype=bool)
        if i >= normal:
            top, left = rng.integers(2, size - 4, 2)
            mask[top : top + 3, left : left + 3] = True
        pixels.append((level - 45 * mask + rng.normal(0, 4, (size, size))).clip(0, 255).round().astype(np.uint8)[:, :, None])
        masks.append(mask)
    return as_dataset(np.stack(pixels), ["normal"] * normal + ["dot"] * dots, masks, CLASSES)


def make(**settings: Any) -> VAE:
    return VAE(**({"steps": 200, "batch_size": 16, "width": 8, "latent": 8, "device": "cpu", "ema": 0.95} | settings))


@pytest.fixture(scope="module")
def model() -> VAE:
    return make(learning_rate=3e-3).fit(slopes(80, 12), seed=0)


def seen(model: VAE, n: int, name: str) -> Pictures:
    like = slopes(2, 2)
    return pictures(Dataset(table(model.sample(n, where={"class": name}, seed=3), like.schema.arrow()), like.schema))


def test_what_is_read_back_is_nearer_than_the_mean_picture(model: VAE) -> None:
    fresh = pictures(slopes(30, 0, seed=5)).pixels
    back = model.reconstruct(fresh)
    assert back.shape == fresh.shape and back.dtype == np.uint8
    real = fresh.astype(float)
    assert ((back - real) ** 2).mean() < 0.25 * ((real - real.mean(axis=0)) ** 2).mean()
    assert model.encode(fresh).shape == (30, 8)


def test_from_one_picture_to_another_in_even_steps(model: VAE) -> None:
    fresh = pictures(slopes(20, 0, seed=6)).pixels
    order = np.argsort(fresh.mean(axis=(1, 2, 3)))
    dark, bright = fresh[order[0]], fresh[order[-1]]
    walk = model.interpolate(dark, bright, 7)
    np.testing.assert_array_equal(walk[[0, -1]], model.reconstruct(np.stack([dark, bright])))
    levels = walk.astype(float).mean(axis=(1, 2, 3))
    assert (np.diff(levels) > -2).all() and levels[-1] - levels[0] > 30
    assert np.abs(np.diff(levels)).max() < 0.6 * (levels[-1] - levels[0])
    assert not np.array_equal(model.interpolate(dark, bright, 3, of=CLASSES)[-1], walk[-1])
    for wrong in ({"steps": 1}, {"steps": 3, "of": ("normal", "unheard of")}):
        with pytest.raises(GeneratorError, match="steps|unheard"):
            model.interpolate(dark, bright, **wrong)  # type: ignore[arg-type]


def test_a_defect_scores_higher_than_a_good_part(model: VAE) -> None:
    fresh = slopes(40, 40, seed=7)
    scores = model.score(fresh)
    assert scores.shape == (80,) and np.isfinite(scores).all()
    assert roc_auc_score(np.arange(80) >= 40, scores) > 0.9
    # On the scale of normal pictures that were not compared with themselves.
    assert abs(np.median(scores[:40])) < 1.5


def test_a_score_depends_on_its_picture_alone_and_outlives_the_file(model: VAE, tmp_path: Path) -> None:
    fresh = slopes(40, 4, seed=8)
    some = Dataset(fresh.table.slice(38, 6), fresh.schema)
    np.testing.assert_allclose(model.score(fresh)[38:], model.score(some), atol=1e-3)
    model.save(tmp_path)
    np.testing.assert_array_equal(VAE.load(tmp_path).score(some), model.score(some))
    assert model.score(Dataset(fresh.table.slice(0, 0), fresh.schema)).shape == (0,)


@pytest.mark.parametrize("data", [slopes(3, 3, size=20), shapes((2, 1, 1), channels=3)], ids=["another size", "colour"])
def test_pictures_of_another_shape_are_one_sentence(data: Dataset, model: VAE) -> None:
    with pytest.raises(GeneratorError) as caught:
        model.score(data)
    assert "\n" not in str(caught.value) and "16, 16, 1" in str(caught.value)


@pytest.mark.parametrize("classes", [("dot",), ("dot", "line")])
def test_without_a_normal_class_all_pictures_are_what_is_usual(classes: tuple[str, ...]) -> None:
    data = shapes((7,) * len(classes), classes=classes)
    model = make(steps=4).fit(data, seed=0)
    assert model.facts_.normal is None and model.score(data).shape == (data.num_rows,)


def test_the_class_of_good_parts_can_be_stated() -> None:
    data = shapes((6, 6), classes=("dot", "line"))
    assert make(steps=2, normal="line").fit(data, seed=0).facts_.normal == "line"
    with pytest.raises(GeneratorError, match="unheard"):
        make(steps=2, normal="unheard of").fit(data, seed=0)


def test_drawn_pictures_are_as_bright_and_as_grainy_as_real_ones(model: VAE) -> None:
    real, made = pictures(slopes(80, 0, seed=9)).pixels.astype(float), seen(model, 80, "normal").pixels.astype(float)
    assert made.mean() == pytest.approx(real.mean(), abs=15)
    assert made.mean(axis=(1, 2, 3)).std() == pytest.approx(real.mean(axis=(1, 2, 3)).std(), rel=0.4)
    grain = [np.abs(np.diff(stack, n=2, axis=1)).mean() for stack in (real, made)]
    assert grain[1] == pytest.approx(grain[0], rel=0.35)
    model.texture = False
    smooth = np.abs(np.diff(seen(model, 80, "normal").pixels.astype(float), n=2, axis=1)).mean()
    model.texture = True
    assert smooth < 0.7 * grain[1]


def test_masks_mark_something_where_train_always_does_and_nothing_on_good_parts(model: VAE) -> None:
    assert seen(model, 20, "dot").masks.any(axis=(1, 2)).all()
    assert not seen(model, 20, "normal").masks.any()


def test_a_heavier_divergence_leaves_less_in_the_latents() -> None:
    class Told:
        kl = 0.0

        def advance(self, done: int, total: int, what: str, **figures: float) -> None:
            self.kl = figures.get("kl", self.kl)

    found = []
    for beta in (0.01, 30.0):
        told = Told()
        make(steps=60, beta=beta, warmup=0.0, free_nats=0.0).fit(slopes(20, 4), seed=0, progress=told)
        found.append(told.kl)
    assert found[1] < 0.5 * found[0]


def test_the_divergence_is_nought_between_equals_and_as_torch_has_it_otherwise() -> None:
    mean, to = torch.randn(5, 3), torch.randn(5, 3)
    spread, width = torch.randn(5, 3), torch.randn(5, 3)
    assert divergence(mean, spread, mean, spread).abs().max() < 1e-6
    ours = divergence(mean, spread, to, width)
    normal = torch.distributions.Normal
    theirs = torch.distributions.kl_divergence(normal(mean, (spread / 2).exp()), normal(to, (width / 2).exp()))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_blur_costs_more_than_as_large_a_change_of_light() -> None:
    stripes = torch.where(torch.arange(16) % 2 == 0, 0.3, -0.3).expand(1, 1, 16, 16)
    blurred = torch.zeros_like(stripes)
    lit = stripes + 0.3
    assert unlike(stripes, stripes) == 0
    assert (stripes - blurred).abs().mean() == pytest.approx((stripes - lit).abs().mean())
    fine = [unlike(stripes, other) for other in (blurred, lit)]
    coarse = [2 * (stripes - lit).abs().mean()] * 2  # what the coarser scales add to the change of light
    assert fine[0] > fine[1] - coarse[1]


def test_texture_has_the_spectrum_and_the_correlation_of_what_was_lacking() -> None:
    stream = torch.Generator().manual_seed(0)
    along = torch.randn(60, 1, 1, 16, generator=stream).expand(60, 1, 16, 16)
    lacking = torch.cat([along, 0.5 * along, torch.randn(60, 1, 16, 16, generator=stream) * 0.1], dim=1)
    texture = Texture(3, 16)
    texture.learn(lacking, torch.zeros_like(lacking))
    made = texture.drawn(torch.randn(80, 3, 16, 16, generator=stream))
    assert made.diff(dim=-2)[:, 0].abs().mean() < 0.1 * made.diff(dim=-1)[:, 0].abs().mean()
    for channel in range(3):
        assert float(made[:, channel].std()) == pytest.approx(float(lacking[:, channel].std()), rel=0.2)
    assert torch.corrcoef(torch.stack([made[:, 0].flatten(), made[:, 1].flatten()]))[0, 1] > 0.95


def test_a_class_of_few_rows_takes_its_spread_from_the_others() -> None:
    rows = torch.randn(203, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 3.0])
    labels = torch.tensor([0] * 200 + [1] * 3)
    rows[labels == 1] = torch.tensor([10.0, 0.0])  # three equal rows: no spread of their own
    means, factors = class_normals(rows, labels, 3)
    torch.testing.assert_close(means[1], torch.tensor([10.0, 0.0]), atol=1e-5, rtol=0)
    spread = (factors[1] @ factors[1].T).diagonal().sqrt()
    assert 0.5 < float(spread[0]) < 1.0 and 1.5 < float(spread[1]) < 3.0
    torch.testing.assert_close(means[2], rows.mean(dim=0), atol=1e-4, rtol=0)  # a class without rows
    made = draws(means, factors, torch.zeros(4000, dtype=torch.int64), torch.randn(4000, 2))
    assert float(made[:, 1].std()) == pytest.approx(3.0, rel=0.15)


def test_the_scorer_sees_a_spot_whatever_the_light() -> None:
    pixels = pictures(slopes(60, 0, seed=1)).pixels
    scorer = Scorer(1)
    scorer.learn(pixels, torch.zeros(60, 1, 16, 16), seed=0)
    fresh = pictures(slopes(10, 0, seed=2)).pixels
    spotted = fresh.copy()
    spotted[:, 6:9, 6:9] -= 40
    nothing = torch.zeros(10, 1, 16, 16)
    assert (scorer.score(spotted, nothing) > scorer.score(fresh, nothing)).all()
    dimmed = (fresh * 0.8).round().astype(np.uint8)
    change = np.abs(scorer.score(dimmed, nothing) - scorer.score(fresh, nothing)).mean()
    assert change < 0.5 * (scorer.score(spotted, nothing) - scorer.score(fresh, nothing)).mean()


def test_evened_pictures_forget_light_and_contrast() -> None:
    shown = torch.rand(2, 1, 20, 20)
    torch.testing.assert_close(evened(shown), evened(0.5 * shown + 0.3), atol=0.12, rtol=0.12)
    assert evened(torch.full((1, 1, 8, 8), 0.4)).abs().max() < 1e-4


@pytest.mark.parametrize("size", [8, 12, 16, 33, 64, 100, 256])
def test_any_size_goes_in_and_comes_out(size: int) -> None:
    layout = Layout(size, 3, True, 2, 4, 3)
    assert size <= layout.side < size + 64 and layout.coarse <= 8
    pair = Pair(layout)
    shown = layout.padded(torch.rand(2, 3, size, size))
    back, far = pair(shown, torch.tensor([0, 1]), torch.randn(2, 3))
    assert back.shape == (2, 4, layout.side, layout.side) and far.shape == (2, 3)


@pytest.mark.parametrize("wrong", [{"latent": 0}, {"beta": -1.0}, {"ema": 1.0}, {"learning_rate": 0.0}, {"steps": 0}], ids=str)
def test_a_wrong_setting_is_one_sentence(wrong: dict[str, Any]) -> None:
    with pytest.raises(GeneratorError) as caught:
        make(**wrong).fit(slopes(4, 2), seed=0)
    assert next(iter(wrong)) in str(caught.value) and "\n" not in str(caught.value)
