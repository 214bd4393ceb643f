"""Does the GAN learn few pictures without collapsing, without leaking its changes, and does its watch see when it does?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from data.dataset import Dataset
from data.images import Pictures, pictures
from generators.base import SILENT, GeneratorError
from generators.image import _gan_augment, _gan_game
from generators.image._gan_augment import LIMIT, WAYS, Adaptive, Augment
from generators.image._gan_game import CRITIC, MAKER, Game, Play, resident, watch_on
from generators.image._gan_nets import DIRECTIONS, THUMB, Critic, Layout, Maker, Start
from generators.image._gan_watch import MOST, Eye, Watch, compared, evenly, scored
from generators.image._loop import Hand, Rules, _accelerator
from generators.image._pictures import to_unit
from generators.image.gan import GAN
from tests.generators.pictures import as_dataset, shapes

SMALL: dict[str, Any] = {"batch_size": 16, "width": 16, "latent": 16, "device": "cpu"}


def drawn(model: GAN, n: int, name: str, train: Dataset) -> Pictures:
    batches = list(model.sample(n, where={"class": name}, seed=1))
    return pictures(Dataset(pa.Table.from_batches(batches), train.schema))


# --- what is learned -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy() -> tuple[Dataset, GAN]:
    train = shapes((40, 20, 20))
    return train, GAN(steps=300, learning_rate=3e-3, look_every=75, **SMALL).fit(train, seed=0)


def test_classes_look_like_themselves_and_masks_lie_on_what_they_mark(toy: tuple[Dataset, GAN]) -> None:
    train, model = toy
    real = pictures(train)
    light: dict[str, tuple[float, float]] = {}
    for name in ("dot", "line"):
        made, own = drawn(model, 60, name, train), real.of(name)
        x = made.pixels[..., 0].astype(float)
        inside, outside = x[made.masks].mean(), x[~made.masks].mean()
        light[name] = (inside, outside)
        assert 90 < outside < 130
        assert 0.5 < made.masks.mean() / own.masks.mean() < 2
    assert light["dot"][0] > light["dot"][1] + 25 and light["line"][0] < light["line"][1] - 25
    normal = drawn(model, 60, "normal", train)
    assert not normal.masks.any() and abs(normal.pixels.mean() - 110) < 8


def test_samples_are_as_different_as_real_pictures(toy: tuple[Dataset, GAN]) -> None:
    train, model = toy
    made = drawn(model, 40, "dot", train)
    places = {tuple(np.argwhere(mask).mean(axis=0).round()) for mask in made.masks if mask.any()}
    assert len(places) >= 10
    assert model.kept_["collapsed"] is None and 0 < model.kept_["step"] <= 300


def test_the_number_of_cores_does_not_change_samples(toy: tuple[Dataset, GAN]) -> None:
    train, model = toy
    one = drawn(model, 80, "dot", train)
    torch.set_num_threads(2)
    try:
        two = drawn(model, 80, "dot", train)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    np.testing.assert_array_equal(one.pixels, two.pixels)


def bars(n: int = 64) -> Dataset:
    """Gray pictures with a bright bar, always along the top."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(90, 8, (n, 16, 16, 1))
    for one in pixels:
        one[1 : 4 + rng.integers(0, 2)] += 100
    return as_dataset(np.clip(pixels, 0, 255).astype(np.uint8), ["bar"] * n, None, ("bar",))


def share_on_top(seed: int) -> float:
    """Trained with quarter turns at the limit, without a start that would know the layout: where samples have their bar."""
    train = bars()
    how = SMALL | {"batch_size": 32, "depth": 1}
    model = GAN(
        steps=100, learning_rate=1e-3, augment=("rotate",), augment_start=1.0, augment_goal=-2.0, start=False,
        look_every=1000, **how,
    ).fit(train, seed=seed)  # fmt: skip
    x = drawn(model, 100, "bar", train).pixels[..., 0].astype(float)
    sides = [x[:, 1:4], x[:, -4:-1], x[:, :, 1:4], x[:, :, -4:-1]]
    lights = np.stack([side.mean(axis=(1, 2)) for side in sides], axis=1)
    assert (lights.max(axis=1) - lights.min(axis=1)).mean() > 40  # a bar was learned at all
    return float((lights.argmax(axis=1) == 0).mean())


@pytest.mark.parametrize("seed", [1, 2])
def test_turned_pictures_do_not_appear_in_samples(seed: int) -> None:
    assert share_on_top(seed) > 0.95


def test_turned_pictures_would_appear_without_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gan_augment, "LIMIT", 1.0)
    assert share_on_top(1) < 0.5


# --- the watch -------------------------------------------------------------------------------------------------------


def test_a_collapse_while_training_is_seen_and_ends_it_with_the_best_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Game.step

    def step(self: Game, batch: dict[str, Tensor], hand: Hand) -> dict[str, Tensor]:
        lost = whole(self, batch, hand)
        if hand.steps >= 24:
            for maker in (self.parts[MAKER], hand.average[MAKER]):
                deaf(maker)
        return lost

    monkeypatch.setattr(Game, "step", step)
    train = shapes()
    seen = Seeing()
    model = GAN(steps=90, look_every=3, **SMALL).fit(train, seed=0, progress=seen)
    looks = [figures for _, figures in seen.reports if "spread_min" in figures]
    assert looks[6]["spread_min"] > 0.35 and looks[-1]["spread_min"] < 0.35
    assert model.kept_["collapsed"] in ("normal", "dot", "line")
    assert model.kept_["of"] < 60 and model.kept_["step"] <= 24
    assert seen.reports[-1][1]["collapsed"] == 1.0
    assert drawn(model, 12, "dot", train).pixels.std(axis=0).mean() > 5


def deaf(maker: nn.Module) -> None:
    """Make a maker draw one picture whatever the noise."""
    with torch.no_grad():
        maker.map[0].weight[:, : maker.layout.latent] = 0
        maker.start.root.zero_()
        for grain in maker.grain:
            grain.zero_()


class Seeing:
    def __init__(self) -> None:
        self.reports: list[tuple[int, dict[str, float]]] = []

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        self.reports.append((done, figures))


def test_training_ends_when_nothing_gets_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gan_game, "scored", lambda seen: 1.0)
    monkeypatch.setattr(Watch, "note", scripted(iter([5.0, 3.0, 4.0] + [9.0] * 30)))
    model = GAN(steps=60, look_every=2, patience=3, **SMALL).fit(shapes((4, 4, 4)), seed=0)
    assert model.kept_["step"] == 4 and model.kept_["score"] == 3.0
    assert model.kept_["of"] == 2 * (int(0.33 * 30) + 3) and model.kept_["collapsed"] is None


def scripted(scores: Any) -> Any:
    whole = Watch.note

    def note(self: Watch, step: int, seen: list[Any], weights: dict[str, Tensor]) -> bool:
        from generators.image import _gan_watch

        score = next(scores, 9.0)
        kept, _gan_watch.scored = _gan_watch.scored, lambda _: score
        try:
            return whole(self, step, [], weights)
        finally:
            _gan_watch.scored = kept

    return note


def test_distances_see_equality_collapse_copies_and_shift() -> None:
    rng = torch.Generator().manual_seed(0)
    real, same = (torch.randn(40, 12, generator=rng) for _ in range(2))
    equal = compared(real, same)
    assert equal.spread is not None and equal.near is not None
    assert equal.spread > 0.85 and equal.near > 0.85 and abs(equal.distance) < 0.08
    one_mode = compared(real, real[:1] + 0.01 * same)
    few_modes = compared(real, real[torch.arange(40) % 4] + 0.01 * same)
    copies = compared(real, real + 0.01 * same)
    shifted = compared(real, same + 2)
    assert one_mode.spread is not None and one_mode.spread < 0.1
    assert few_modes.spread is not None and few_modes.spread < 0.1  # wide, but each sample has its double
    assert copies.near is not None and copies.near < 0.1
    assert shifted.distance > 0.5
    assert scored([equal]) < min(scored([bad]) for bad in (one_mode, few_modes, copies, shifted))
    alone = compared(real[:1], same)
    assert alone.spread is None and np.isfinite(alone.distance)


def test_features_tell_classes_apart_and_do_not_change() -> None:
    known = pictures(shapes((20, 20, 20)))
    watch = watch_on(known, Layout(16, 1, True, 3, 8, 8), patience=3, warm=0)
    within = compared(watch.real[1][:10], watch.real[1][10:]).distance
    between = compared(watch.real[1], watch.real[2]).distance
    assert between > 0.3 and between > 4 * abs(within)
    x = torch.rand(2, 1, 16, 16)
    assert torch.equal(Eye(1)(x), Eye(1)(x))


def test_of_many_pictures_some_are_compared_evenly() -> None:
    chosen = evenly(10 * MOST)
    assert len(set(chosen)) == MOST and chosen[0] == 0 and chosen[-1] == 10 * MOST - 1
    assert list(evenly(3)) == [0, 1, 2] and len(evenly(1)) == 1


# --- one step --------------------------------------------------------------------------------------------------------


def game(train: Dataset, **over: Any) -> tuple[Game, Hand, dict[str, Tensor]]:
    known = pictures(train)
    layout = Layout(known.size, known.channels, True, len(known.classes), 8, 8)
    play = Play(**({"learning_rate": 1e-3, "penalty": 1.0, "ways": (), "augment_start": 0.0, "augment_goal": 0.7, "pace": 10,
                    "steps": 10} | over))  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Game(layout, Maker(layout), Critic(layout), play, watch_on(known, layout, patience=3, warm=0))
    return made, Hand(_accelerator(Rules(steps=1, batch_size=4, device="cpu")), made, 0), resident(known)


def test_both_slopes_of_the_critic_are_measured() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.linspace(-1, 1, 2 * 256).view(1, 2, 16, 16))

        def forward(self, x: Tensor, labels: Tensor) -> Tensor:
            return (x * self.weight).sum(dim=(1, 2, 3))

    play, hand, data = game(shapes((4, 4, 4)))
    flat = Flat()
    expected = 2 * float(flat.weight.detach().square().sum())
    play.parts[CRITIC] = flat
    play.optimizers[CRITIC] = torch.optim.SGD(flat.parameters(), 0.0)
    assert float(play.step(data, hand)["slope"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("known", [0.0, 1.0])
def test_what_has_no_known_mask_teaches_nothing_about_masks(known: float) -> None:
    play, hand, data = game(shapes((4, 4, 4)))
    data["known"] = torch.full((12,), known)
    play.parts[CRITIC].judge.weight.data += 0.1  # type: ignore[union-attr]
    play.step(data, hand)
    gradient = play.parts[MAKER].paint.weight.grad  # type: ignore[union-attr]
    of_mask = gradient[play.layout.patch**2 :].abs().sum()
    assert (float(of_mask) > 0) == (known > 0)
    assert float(gradient[: play.layout.patch**2].abs().sum()) > 0


def test_rates_and_penalty_sink_in_the_second_half() -> None:
    play, _, _ = game(shapes((4, 4, 4)), steps=100)
    assert play._schedule(0) == play._schedule(50) == 1.0
    assert play._schedule(100) == pytest.approx(0.1) and 0.1 < play._schedule(75) < 1.0
    assert play.optimizers[MAKER].param_groups[0]["lr"] < 1e-3


# --- changes of what the critic sees ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hand() -> Hand:
    return game(shapes((2, 2, 2)))[1]


def test_no_changes_at_chance_nought(hand: Hand) -> None:
    x = torch.rand(3, 2, 16, 16)
    assert Augment(WAYS, 1)(x, torch.zeros(3), hand) is x and Augment((), 1)(x, torch.ones(3), hand) is x


@pytest.mark.parametrize("way", WAYS)
def test_every_way_leaves_enough_pictures_as_they_are(way: str, hand: Hand) -> None:
    x = torch.rand(400, 2, 16, 16)
    changed = (Augment((way,), 1)(x, torch.ones(len(x)), hand) - x).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert 0.2 < float(changed.float().mean()) < LIMIT + 0.1


@pytest.mark.parametrize("way", ["flip", "rotate", "shift"])
def test_places_move_exactly_and_masks_move_along(way: str, hand: Hand) -> None:
    x = torch.rand(60, 1, 16, 16).repeat(1, 2, 1, 1)
    moved = Augment((way,), 1)(x, torch.ones(len(x)), hand)
    torch.testing.assert_close(moved[:, 0], moved[:, 1])
    if way == "shift":
        middle = moved[:, 0, 8, 8]
        assert ((x[:, 0] - middle[:, None, None]).abs().flatten(1).min(dim=1).values < 1e-4).all()
        return
    ways = [torch.flip(x, (3,)), *(torch.rot90(x, k, (2, 3)) for k in (1, 2, 3)), x]
    gaps = torch.stack([(moved - other).abs().amax(dim=(1, 2, 3)) for other in ways])
    assert (gaps.min(dim=0).values < 1e-4).all()
    assert len(set(gaps.argmin(dim=0).tolist())) == (2 if way == "flip" else 4)


def test_light_changes_pictures_but_not_masks(hand: Hand) -> None:
    x = torch.rand(40, 4, 16, 16)
    lit = Augment(("colour",), 3)(x, torch.ones(40), hand)
    assert torch.equal(lit[:, 3], x[:, 3]) and not torch.allclose(lit[:, :3], x[:, :3])


def test_pictures_are_changed_by_their_own_chance(hand: Hand) -> None:
    x = torch.rand(200, 1, 16, 16)
    moved = Augment(("shift",), 1)(x, torch.tensor([0.0, 0.8]).repeat(100), hand)
    changed = (moved - x).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert not changed[::2].any() and changed[1::2].float().mean() > 0.4


def test_the_chance_follows_overfitting_class_by_class() -> None:
    right = torch.ones(16)
    unsure = torch.tensor([1.0, -1.0] * 8)
    few, many, absent = torch.zeros(16, dtype=torch.long), torch.ones(16, dtype=torch.long), 2
    chance = Adaptive(3, 0.2, 0.7, 100)
    for _ in range(40):
        chance.see(right, -right, few)
        chance.see(unsure, -unsure, many)
    high = float(chance.p[0])
    assert 0.3 < high <= LIMIT and chance.p[1] == 0 and chance.p[absent] == pytest.approx(0.2)
    for _ in range(30):
        chance.see(unsure, -unsure, few)
    assert chance.p[0] < high
    for _ in range(200):
        chance.see(right, -right, few)
    assert chance.p[0] == pytest.approx(LIMIT)


# --- networks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 12, 16, 20, 28, 32, 36, 50, 64, 100, 128, 256])
def test_any_size_goes_through_both_networks(size: int) -> None:
    layout = Layout(size, 3, True, 2, 4, 4, depth=1)
    assert layout.inner >= size and layout.inner - size < size / 2 and 4 <= layout.grid <= 8
    labels = torch.tensor([0, 1])
    maker, critic = Maker(layout), Critic(layout)
    made = maker(torch.randn(2, layout.noise), labels)
    assert made.shape == (2, 4, size, size) and critic(made, labels).shape == (2,)


def test_the_start_has_mean_and_covariance_of_a_class_and_few_borrow_from_all() -> None:
    rng = torch.Generator().manual_seed(0)
    ways = torch.randn(3, THUMB * THUMB, generator=rng)
    coded = torch.randn(600, 3, generator=rng) * torch.tensor([0.3, 0.2, 0.1])
    flat = coded @ ways
    labels = torch.zeros(600, dtype=torch.long)
    labels[:2] = 1
    flat[:2] += 1
    start = Start(Layout(THUMB, 1, False, 2, 4, 4))
    start.learn(flat.view(-1, 1, THUMB, THUMB), labels)
    noise = torch.randn(4000, DIRECTIONS, generator=rng)
    for k, tolerance in ((0, 0.15), (1, 0.5)):
        made = start(noise, torch.full((4000,), k)).flatten(1)
        torch.testing.assert_close(made.mean(dim=0), flat[labels == k].mean(dim=0), atol=0.05, rtol=0)
        wanted = torch.cov(flat[2:].T)
        assert float((torch.cov(made.T) - wanted).norm() / wanted.norm()) < tolerance


def test_noise_of_every_kind_changes_the_picture_and_the_class_too() -> None:
    layout = Layout(16, 1, True, 2, 8, 8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        maker = Maker(layout)
        for grain in maker.grain:
            nn.init.ones_(grain)
    maker.start.learn(to_unit(torch.randint(0, 255, (9, 16, 16, 1), dtype=torch.uint8)), torch.arange(9) % 2)
    base = torch.zeros(1, layout.noise)
    whole = maker(base, torch.tensor([0]))
    at = np.cumsum([0, *layout.pieces])[:-1]
    for place in at:
        other = base.clone()
        other[0, place] = 3.0
        assert (maker(other, torch.tensor([0])) - whole).abs().max() > 1e-4
    assert (maker(base, torch.tensor([1])) - whole).abs().max() > 1e-3


# --- what users do ---------------------------------------------------------------------------------------------------


def test_pictures_whose_mask_came_out_empty_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    train = shapes((4, 4, 4))
    model = GAN(steps=2, **SMALL).fit(train, seed=0)
    assert model.marked_ == ("never", "always", "always")
    calls: list[int] = []

    def some(self: GAN, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        calls.append(len(labels))
        masks = np.ones((len(labels), 16, 16), dtype=bool)
        masks[: len(labels) // 2] = False
        return np.full((len(labels), 16, 16, 1), len(calls), dtype=np.uint8), masks

    monkeypatch.setattr(GAN, "_pictures", some)
    made = drawn(model, 8, "dot", train)
    assert calls == [8, 4, 2, 1] and made.masks.any(axis=(1, 2)).all()
    assert sorted(made.pixels[:, 0, 0, 0]) == [1, 1, 1, 1, 2, 2, 3, 4]
    calls.clear()
    assert not drawn(model, 4, "normal", train).masks.any() and calls == [4]


@pytest.mark.parametrize(
    ("setting", "said"),
    [({"steps": 0}, "steps"), ({"width": 0}, "width"), ({"ema": 1.0}, "ema"), ({"learning_rate": 0.0}, "learning_rate"),
     ({"augment": ("spin",)}, "spin"), ({"look_every": 0}, "look_every"), ({"batch_size": 0}, "batch_size")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_one_sentence(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(GeneratorError, match=said):
        GAN(**({"device": "cpu"} | setting)).fit(shapes((2, 2, 2)), seed=0, progress=SILENT)


def test_half_precision_learns_too(tmp_path: Path) -> None:
    train = shapes((4, 4, 4))
    model = GAN(steps=4, precision="bf16", **SMALL).fit(train, seed=0, checkpoint=tmp_path)
    whole = GAN(steps=4, precision="no", **SMALL).fit(train, seed=0)
    a, b = (drawn(m, 6, "dot", train).pixels.astype(int) for m in (model, whole))
    assert 0 < np.abs(a - b).mean() < 25
    assert list((tmp_path / "grids").iterdir())


def test_chances_of_changes_follow_from_what_the_critic_said_in_all_processes() -> None:
    rng = torch.Generator().manual_seed(0)
    real, drawn_ = torch.randn(24, generator=rng) + 1, torch.randn(24, generator=rng)
    labels = torch.arange(24) % 3
    whole, half = Adaptive(3, 0.2, 0.5, 40), Adaptive(3, 0.2, 0.5, 40)
    counted: list[Tensor] = []
    Adaptive(3, 0.2, 0.5, 40).see(real[12:], drawn_[12:], labels[12:], total=lambda own: counted.append(own) or own)
    whole.see(real, drawn_, labels)
    half.see(real[:12], drawn_[:12], labels[:12], total=lambda own: own + counted[0])
    assert torch.equal(whole.p, half.p) and torch.equal(whole.lead, half.lead)
    assert float(counted[0][:, 0].sum()) == 12
