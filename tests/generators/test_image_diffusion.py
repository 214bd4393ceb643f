"""Does the denoiser draw what it is asked for, in few evaluations, whatever the sampler?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from data.dataset import Dataset
from data.images import Pictures, pictures
from generators.base import GeneratorError, table
from generators.image._diffusion_change import TOLD, WAYS, changed
from generators.image._diffusion_net import Layout
from generators.image._diffusion_prior import Prior
from generators.image._diffusion_train import Way, drawings
from generators.image._noise import (
    OBJECTIVES,
    SAMPLERS,
    level_of,
    min_snr,
    noised,
    rates,
    sampled,
    snr,
    spread_levels,
    target,
    terms,
    walk,
)
from generators.image.diffusion import Diffusion
from tests.generators.pictures import as_dataset

SIDES = ("left", "right")
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS)
every_objective = pytest.mark.parametrize("objective", OBJECTIVES)


def halves(count: int = 40, size: int = 16) -> Dataset:
    """Pictures with a bright left or right half; the mask marks it."""
    rng = np.random.default_rng(0)
    pixels, masks, names = [], [], []
    for i in range(count):
        mask = np.zeros((size, size), dtype=bool)
        mask[:, : size // 2] = True
        mask = mask if i % 2 == 0 else mask[:, ::-1]
        level = rng.normal(60, 8) + mask * rng.normal(110, 12)
        pixels.append((level + rng.normal(0, 5, (size, size))).clip(0, 255).round().astype(np.uint8)[:, :, None])
        masks.append(mask)
        names.append(SIDES[i % 2])
    return as_dataset(np.stack(pixels), names, masks, SIDES)


def make(**settings: Any) -> Diffusion:
    return Diffusion(
        **(
            {"steps": 100, "batch_size": 16, "width": 16, "patch": 2, "learning_rate": 3e-3, "ema": 0.95, "device": "cpu"}
            | settings
        )
    )


def drawn(model: Diffusion, n: int, side: str | None = None, seed: int = 0) -> Pictures:
    rows = halves(4)
    where = {"class": side} if side else None
    return pictures(Dataset(table(model.sample(n, where=where, seed=seed), rows.schema.arrow()), rows.schema))


def lead(found: Pictures) -> np.ndarray:
    """How much brighter the left half of each picture is."""
    half = found.size // 2
    pixels = found.pixels.astype(float)
    return pixels[:, :, :half].mean(axis=(1, 2, 3)) - pixels[:, :, half:].mean(axis=(1, 2, 3))


@pytest.fixture(scope="module")
def model() -> Diffusion:
    return make().fit(halves(), seed=0)


@contextmanager
def with_settings(model: Diffusion, **settings: Any) -> Iterator[Diffusion]:
    before = {name: getattr(model, name) for name in settings}
    for name, value in settings.items():
        setattr(model, name, value)
    yield model
    for name, value in before.items():
        setattr(model, name, value)


@every_sampler
def test_every_sampler_draws_the_class_and_marks_it(sampler: str, model: Diffusion) -> None:
    with with_settings(model, sampler=sampler):
        for side, sign in zip(SIDES, (1, -1), strict=True):
            found = drawn(model, 12, side)
            assert (sign * lead(found) > 40).mean() >= 0.9
            half = found.masks[:, :, :8] if side == "left" else found.masks[:, :, 8:]
            assert half.mean() > 0.85 and found.masks.mean() < 0.6


@pytest.mark.parametrize("objective", ["epsilon", "flow"])
def test_every_objective_learns_the_classes(objective: str) -> None:
    model = make(objective=objective, sampler="flow" if objective == "flow" else "dpm++").fit(halves(), seed=0)
    assert (lead(drawn(model, 10, "left")) > 40).mean() >= 0.8
    assert (lead(drawn(model, 10, "right")) < -40).mean() >= 0.8


def test_brightness_varies_as_it_does_in_train(model: Diffusion) -> None:
    real, made = lead(pictures(halves())), lead(drawn(model, 60))
    assert 0.5 < np.abs(made).std() / np.abs(real).std() < 1.6
    assert abs(np.abs(made).mean() / np.abs(real).mean() - 1) < 0.2


@every_sampler
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_picture_costs_at_most_twenty_evaluations(sampler: str, guidance: float, model: Diffusion) -> None:
    asked = []
    handle = model.net_.register_forward_hook(lambda net, given, said: asked.append(len(given[0])))
    with with_settings(model, sampler=sampler, guidance=guidance):
        drawings(model.net_, model._way(), np.zeros(5, dtype=np.int64), range(5), torch.device("cpu"))
    handle.remove()
    assert 15 <= sum(asked) / 5 <= 20
    assert Diffusion().evaluations == 20


def test_fewer_evaluations_are_kept_to_as_well() -> None:
    for evaluations in range(4, 41):
        way = Way("dpm++", 2.0, evaluations)
        levels = way.levels()
        assert evaluations - 1 <= len(levels) + sum(way.guided(level) for level in levels) <= evaluations


def test_guidance_changes_samples(model: Diffusion) -> None:
    plain, strong = (replace(model._way(), guidance=g) for g in (1.0, 3.0))
    labels, seeds = np.zeros(4, dtype=np.int64), range(4)
    a, b = (drawings(model.net_, way, labels, seeds, torch.device("cpu")) for way in (plain, strong))
    assert float((a - b).abs().mean()) > 1e-3


@every_sampler
def test_a_picture_depends_on_its_own_seed_alone(sampler: str, model: Diffusion) -> None:
    way = replace(model._way(), sampler=sampler)
    labels = np.array([0, 1, 1, 0])
    together = drawings(model.net_, way, labels, [5, 6, 7, 8], torch.device("cpu"))
    alone = drawings(model.net_, way, labels[2:3], [7], torch.device("cpu"))
    torch.testing.assert_close(together[2:3], alone, atol=1e-3, rtol=0)
    assert float((together[1] - together[2]).abs().mean()) > 1e-2


@every_sampler
def test_samplers_reach_the_distribution_that_an_exact_denoiser_knows(sampler: str) -> None:
    mean, spread = 0.7, 0.5

    def exact(noisy: torch.Tensor, level: float) -> torch.Tensor:
        alpha, sigma = math.cos(level * math.pi / 2), math.sin(level * math.pi / 2)
        return mean + alpha * spread**2 / (alpha**2 * spread**2 + sigma**2) * (noisy - alpha * mean)

    generators = [torch.Generator().manual_seed(i) for i in range(1500)]
    levels = walk(20, level_of(0.02), level_of(20.0))
    noise = torch.stack([torch.randn(1, 1, 1, generator=g) for g in generators])
    clean = mean + spread * torch.stack([torch.randn(1, 1, 1, generator=g) for g in generators])
    made = sampled(exact, noised(clean, noise, torch.full((1500,), levels[0])), levels, sampler, generators)
    # The least certain is the sampler of first order that draws noise; the second order one must be close.
    assert abs(float(made.mean()) - mean) < 0.05
    assert float(made.std()) / spread == pytest.approx(1.0, abs=0.06 if sampler == "dpm++" else 0.25)


@every_objective
def test_an_error_counts_as_the_objective_measures_it(objective: Any) -> None:
    clean, noise, error = (torch.randn(6, 1, 4, 4) for _ in range(3))
    level = torch.linspace(0.05, 0.9, 6)
    alpha, sigma = rates(level)
    noisy = noised(clean, noise, level)

    def said(picture: torch.Tensor) -> torch.Tensor:
        return target(objective, picture, (noisy - alpha * picture) / sigma, level)

    torch.testing.assert_close(said(clean) - said(clean + error), terms(objective, level) * error, atol=1e-3, rtol=1e-3)


@every_objective
def test_min_snr_weighs_the_error_of_the_clean_picture_alike_in_all_objectives(objective: Any) -> None:
    level = torch.linspace(0.1, 0.9, 7)
    weight = min_snr(snr(level), objective, 5.0) * terms(objective, level).flatten().square()
    torch.testing.assert_close(weight, snr(level).clamp(max=5.0), rtol=1e-3, atol=1e-5)
    assert min_snr(torch.tensor([20.0]), "epsilon", 5.0).item() == pytest.approx(0.25)
    assert min_snr(torch.tensor([20.0]), "v_prediction", 5.0).item() == pytest.approx(5 / 21)


@every_objective
def test_levels_of_a_batch_are_spread_out(objective: Any) -> None:
    levels = spread_levels(torch.rand(64), objective, 0.1, 0.9)
    assert float(levels.min()) >= 0.1 and float(levels.max()) <= 0.9
    alpha, sigma = rates(levels)
    torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones(64, 1, 1, 1))
    assert float(levels.sort().values.diff().max()) < 0.2


class Hand:
    """What a change needs of the loop's hand."""

    device = torch.device("cpu")

    def rand(self, *shape: int) -> torch.Tensor:
        return torch.rand(*shape)

    def randn(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape)

    def randint(self, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(high, shape)


def test_what_is_told_says_how_a_picture_was_changed() -> None:
    shown = torch.rand(64, 2, 12, 12)
    made, told = changed(shown, ("flip", "turn"), 1.0, Hand())  # type: ignore[arg-type]
    for picture, was, says in zip(made, shown, told, strict=True):
        turns = round(math.atan2(float(says[3]), float(says[2]) + 1) / (math.pi / 2))
        back = torch.rot90(was, -turns, (-2, -1))
        for axis, flip in ((-1, says[0]), (-2, says[1])):
            back = back.flip(axis) if flip else back
        either = [back, torch.rot90(back, 2 * turns, (-2, -1))]
        assert any(torch.allclose(picture, one, atol=1e-4) for one in either)
    assert len({tuple(row.tolist()) for row in told}) > 8


def test_a_picture_that_is_told_to_be_unchanged_is() -> None:
    shown = torch.rand(200, 1, 8, 8)
    made, told = changed(shown, WAYS, 0.2, Hand())  # type: ignore[arg-type]
    assert told.shape == (200, TOLD)
    still = ~told.any(dim=1)
    assert 20 < int(still.sum()) < 180
    torch.testing.assert_close(made[still], shown[still], atol=1e-4, rtol=0)
    assert changed(shown, (), 1.0, Hand())[0] is shown  # type: ignore[arg-type]


def lit(count: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """Flat pictures of two classes, bright and dark, the dark ones more various; and their labels."""
    levels = torch.cat([torch.randn(count, 1, 1, 1) * 0.1 + 0.4, torch.randn(count, 1, 1, 1) * 0.2 - 0.4])
    return levels + torch.randn(2 * count, 1, 16, 16) * 0.05, torch.arange(2 * count) // count


def test_the_way_begins_with_the_mean_and_the_spread_of_each_class() -> None:
    pictures, labels = lit()
    prior = Prior(1, 2, 16)
    prior.learn(pictures, pictures, labels, 1)
    for k, (mean, spread) in enumerate(((0.4, 0.1), (-0.4, 0.2))):
        made = prior.unscaled(prior.drawn(torch.full((400,), k), [torch.Generator().manual_seed(i) for i in range(400)]))
        assert float(made.mean()) == pytest.approx(mean, abs=0.03)
        assert float(made.mean(dim=(1, 2, 3)).std()) == pytest.approx(spread, rel=0.2)


def test_the_guess_without_a_network_is_nearer_than_the_noisy_picture_and_the_class_mean() -> None:
    pictures, labels = lit()
    prior = Prior(1, 2, 16)
    prior.learn(pictures[::2], pictures[::2], labels[::2], 1)
    clean, which = prior.scaled(pictures[1::2]), labels[1::2]
    means = torch.stack([clean[which == k].mean(dim=0) for k in (0, 1)])[which]
    for ratio in (0.05, 0.5, 2.0):
        level = torch.full((len(clean),), level_of(ratio))
        noisy = noised(clean, torch.randn_like(clean), level)
        guess, unsure = prior.guess(noisy, level, which)
        off = float((guess - clean).square().mean())
        assert off < float((noisy / rates(level)[0] - clean).square().mean())
        assert off < float((means - clean).square().mean())
        # What is said of how far it may be off holds for what is no slow wave.
        fast = guess - clean - prior.at_full_size(prior.slow(guess - clean))
        assert float(fast.std()) == pytest.approx(float(unsure[0]), rel=0.25)


@pytest.mark.parametrize(
    ("size", "cell", "side"),
    [(8, 1, 8), (16, 1, 16), (20, 1, 20), (30, 1, 32), (64, 2, 64), (100, 4, 112), (128, 4, 128), (256, 8, 256), (250, 8, 256)],
)
def test_any_size_is_padded_to_one_that_the_network_divides(size: int, cell: int, side: int) -> None:
    layout = Layout(size, 1, True, 2, 8)
    assert (layout.cell, layout.side) == (cell, side)
    shown = torch.rand(1, 2, size, size)
    assert layout.padded(shown).shape[-1] == side
    assert torch.equal(layout.cropped(layout.padded(shown)), shown)


@pytest.mark.parametrize(
    "wrong",
    [{"sampler": "euler"}, {"objective": "x"}, {"evaluations": 2}, {"guidance": 0.5}, {"width": 0}, {"augment": ("warp",)},
     {"ema": 1.0}, {"snr_gamma": 0.0}, {"dropout": 1.0}],
    ids=str,
)  # fmt: skip
def test_a_wrong_setting_is_one_sentence(wrong: dict[str, Any]) -> None:
    with pytest.raises(GeneratorError) as caught:
        make(**wrong).fit(halves(4), seed=0)
    assert next(iter(wrong)) in str(caught.value) and "\n" not in str(caught.value)
