"""Does the GAN start sane, learn what its start cannot, keep what that knows, and survive a kill to the bit?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from data.dataset import Dataset
from data.schema import Column, Schema
from generators.base import GeneratorError, table
from generators.tabular._conditions import part_seed
from generators.tabular._gan_nets import whitening
from generators.tabular._gan_train import Game
from generators.tabular._gan_watch import Referee, teach
from generators.tabular._location import Location
from generators.tabular._tree import Tree
from generators.tabular.gan import GAN
from tests.conftest import mixed_table

QUICK = {"epochs": 15, "width": 16, "latent": 4, "device": "cpu"}


def draw(model: GAN, data: Dataset, n: int, **how: object) -> pa.Table:
    return table(model.sample(n, **how), data.schema.arrow())  # type: ignore[arg-type]


def correlated(rare: int = 30, seed: int = 0) -> Dataset:
    """Six columns of correlation .9; the rare class lies three sd away."""
    rng = np.random.default_rng(seed)
    label = np.r_[["rare"] * rare, ["common"] * 200]
    common = rng.normal(size=(len(label), 1))
    x = np.sqrt(0.9) * common + np.sqrt(0.1) * rng.normal(size=(len(label), 6)) + 3 * (label == "rare")[:, None]
    columns = tuple(Column(name=f"x{i}", kind="numeric", dtype="double") for i in range(6))
    target = Column(name="label", kind="categorical", dtype="string", categories=("common", "rare"))
    arrays = {f"x{i}": x[:, i] for i in range(6)} | {"label": label}
    return Dataset(pa.table(arrays), Schema((*columns, target), target="label"))


def matrix(drawn: pa.Table) -> np.ndarray:
    return np.column_stack([drawn.column(f"x{i}").to_numpy() for i in range(6)])


def test_few_correlated_rows_of_a_class_keep_mean_spread_and_correlation() -> None:
    data = correlated()
    drawn = matrix(draw(GAN(**QUICK).fit(data, seed=0), data, 1500, where={"label": "rare"}, seed=1))
    real = matrix(data.table)[:30]
    np.testing.assert_allclose(drawn.mean(axis=0), real.mean(axis=0), atol=0.25)
    np.testing.assert_allclose(drawn.std(axis=0) / real.std(axis=0), 1, atol=0.25)
    assert np.corrcoef(drawn.T)[np.triu_indices(6, 1)].mean() == pytest.approx(0.9, abs=0.08)


def test_rows_are_new() -> None:
    data = correlated()
    drawn = matrix(draw(GAN(**QUICK).fit(data, seed=0), data, 300, seed=1))
    nearest = np.sqrt(((drawn[:, None] - matrix(data.table)) ** 2).sum(axis=2)).min(axis=1)
    assert nearest.min() > 1e-6


def test_training_changes_weights_and_a_resumed_fit_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    class Kill:
        def advance(self, done: int, total: int, what: str, **figures: float) -> None:
            raise KeyboardInterrupt

    data = ring(400)  # where the network is better than the start, so that its weights are what is kept
    settings = {**QUICK, "checkpoint_seconds": 0.0}
    whole = GAN(**settings).fit(data, seed=3)
    # The kill comes after the first block; its checkpoint is written after it is told, so train one more.
    with pytest.raises(KeyboardInterrupt):
        GAN(**settings).fit(data, seed=3, progress=_Later(Kill()), checkpoint=tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert 0 < state["done"] < 60
    resumed = GAN(**settings).fit(data, seed=3, checkpoint=tmp_path)
    for name, value in whole.generator_.state_dict().items():
        assert torch.equal(value, resumed.generator_.state_dict()[name]), name
    after = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert after["done"] == 60 and not torch.equal(after["generator"]["head.weight"], state["generator"]["head.weight"])
    assert draw(whole, data, 50, seed=4).equals(draw(resumed, data, 50, seed=4))


class _Later:
    def __init__(self, then: object) -> None:
        self.then, self.told = then, 0

    def advance(self, *args: object, **figures: float) -> None:
        self.told += 1
        if self.told > 1:
            self.then.advance(*args, **figures)  # type: ignore[attr-defined]


def ring(n: int = 2000) -> Dataset:
    """Eight narrow Gaussians on a circle: nothing that a linear model could know."""
    rng = np.random.default_rng(0)
    turn = rng.integers(0, 8, n) * np.pi / 4
    x, y = np.cos(turn) + 0.01 * rng.normal(size=n), np.sin(turn) + 0.01 * rng.normal(size=n)
    return Dataset.from_arrow(pa.table({"x": x, "y": y}))


def hits(drawn: pa.Table) -> tuple[int, float]:
    """Modes reached, and the share of rows within three standard deviations of one."""
    turn = np.arange(8) * np.pi / 4
    rows = np.column_stack([drawn.column("x"), drawn.column("y")])
    away = np.linalg.norm(rows[:, None] - np.column_stack([np.cos(turn), np.sin(turn)]), axis=2)
    good = away.min(axis=1) < 0.03
    return len(np.unique(away.argmin(axis=1)[good])), float(good.mean())


def test_the_correction_learns_what_the_start_cannot() -> None:
    data = ring()
    model = GAN(epochs=60, width=64, latent=8, device="cpu").fit(data, seed=0)
    learned = hits(draw(model, data, 1500, seed=1))
    model.kept_, model.referee_ = 0, None
    start = hits(draw(model, data, 1500, seed=1))
    assert learned[0] == 8 and learned[1] > start[1] + 0.1


class Figures:
    """Remembers what the watch said after each block."""

    def __init__(self) -> None:
        self.cells: list[float] = []

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        self.cells.append(figures["cells"])


@pytest.mark.parametrize("rate", [2e-4, 0.3], ids=["sane", "destructive"])
def test_what_is_kept_is_never_worse_than_the_start_by_the_watch(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    games: list[Game] = []

    def open_and_keep(self: Game, matrix: np.ndarray, opened: Callable[[Game, np.ndarray], None] = Game.open) -> None:
        opened(self, matrix)
        games.append(self)

    monkeypatch.setattr(Game, "open", open_and_keep)
    told = Figures()
    model = GAN(**{**QUICK, "learning_rate": rate, "choices": 1, "epochs": 30}).fit(ring(800), seed=0, progress=told)
    assert games[0].figure == min([games[0].watch.start_figure, *told.cells])
    assert (model.kept_ == 0) == (games[0].figure == games[0].watch.start_figure)
    assert rate < 0.1 or model.kept_ == 0


def test_where_nothing_is_gained_rows_are_those_of_the_start() -> None:
    data = correlated()
    model = GAN(**QUICK, choices=1).fit(data, seed=0)
    model.kept_ = 0
    states, values = model.start_.draw(50, {}, np.random.default_rng(part_seed(9, 0)))
    made = model._raw(50, {}, part_seed(9, 0))
    np.testing.assert_array_equal(made[0], states)
    np.testing.assert_array_equal(made[1], values)


def copies_of_one(n: int = 6000) -> Dataset:
    """Six noisy copies of a hidden column: all fifteen pairs agree alike, and a tree holds five of them."""
    rng = np.random.default_rng(0)
    hidden = rng.integers(0, 2, n)
    words = {name: np.array(["no", "yes"])[np.where(rng.random(n) < 0.85, hidden, 1 - hidden)] for name in "abcdef"}
    label = np.where(rng.random(n) < 0.2, "rare", "common")
    size = 1e5 + 2e4 * rng.normal(size=n)
    return Dataset.from_arrow(pa.table({**words, "size": size, "label": label}), target="label")


def agreement(drawn: pa.Table) -> float:
    """Share of pairs of a-f that hold the same word."""
    yes = np.column_stack([np.array(drawn.column(name).to_pylist()) == "yes" for name in "abcdef"]).sum(axis=1)
    return float(((yes * (yes - 1) + (6 - yes) * (5 - yes)) / 30).mean())


def test_the_referee_brings_pairs_that_the_start_misses_and_leaves_shares_alone(tmp_path: Path) -> None:
    data = copies_of_one()
    model = GAN(**{**QUICK, "width": 64}).fit(data, seed=0)
    drawn = draw(model, data, 4000, seed=1)
    model.save(tmp_path)
    assert draw(GAN.load(tmp_path), data, 4000, seed=1).equals(drawn)
    assert agreement(drawn) == pytest.approx(agreement(data.table), abs=0.02)
    assert drawn.column("label").to_pylist().count("rare") / 4000 == pytest.approx(0.2, abs=0.03)
    for name in "abcdef":
        assert drawn.column(name).to_pylist().count("yes") / 4000 == pytest.approx(0.5, abs=0.03)
    model.referee_ = None
    assert agreement(draw(model, data, 4000, seed=1)) < agreement(data.table) - 0.04


def test_a_referee_that_is_not_sure_is_not_heard() -> None:
    rng = torch.Generator().manual_seed(0)
    layout = GAN(**QUICK).fit(correlated(), seed=0).layout_
    assert layout is not None
    rows = torch.randn(400, layout.width, generator=rng).clamp(-1, 1)
    values = layout.values(rows)
    referee = Referee(layout, whitening(values), 16, (0, 0), 4)
    assert not teach(referee, rows[:200], rows[200:], torch.full((200,), 1 / 200), seed=0)


def test_another_seed_does_not_take_the_checkpoint(tmp_path: Path) -> None:
    data = correlated()
    GAN(**QUICK).fit(data, seed=1, checkpoint=tmp_path)
    other = GAN(**QUICK).fit(data, seed=2, checkpoint=tmp_path)
    assert draw(other, data, 9, seed=0).equals(draw(GAN(**QUICK).fit(data, seed=2), data, 9, seed=0))


def test_a_diverging_fit_names_where_and_what_to_change() -> None:
    with pytest.raises(GeneratorError, match="epoch .* lower learning_rate"):
        GAN(**{**QUICK, "learning_rate": 1e30}).fit(correlated(), seed=0)


def test_a_member_of_the_tail_can_be_asked_for() -> None:
    words = ["often"] * 5000 + [f"once {i}" for i in range(40)]
    columns = (
        Column(name="word", kind="categorical", dtype="string", categories=tuple(dict.fromkeys(words))),
        Column(name="x", kind="numeric", dtype="double"),
    )
    data = Dataset(pa.table({"word": words, "x": np.random.default_rng(0).normal(size=5040)}), Schema(columns))
    drawn = draw(
        GAN(**{**QUICK, "epochs": 1, "batch_size": 2000}).fit(data, seed=0), data, 20, where={"word": "once 7"}, seed=0
    )
    assert set(drawn.column("word").to_pylist()) == {"once 7"}


def test_a_condition_changes_the_other_columns(mixed: Dataset) -> None:
    model = GAN(**QUICK).fit(mixed, seed=0)
    rare = draw(model, mixed, 400, where={"label": "rare"}, seed=1).column("amount").to_numpy()
    common = draw(model, mixed, 400, where={"label": "common"}, seed=1).column("amount").to_numpy()
    assert rare.mean() == pytest.approx(9, abs=0.7) and common.mean() == pytest.approx(3, abs=0.7)


def test_unconditional_rows_have_the_classes_of_train() -> None:
    data = Dataset.from_arrow(mixed_table(), target="label")
    labels = draw(GAN(**QUICK).fit(data, seed=0), data, 3000, seed=1).column("label").to_pylist()
    assert labels.count("rare") / 3000 == pytest.approx(1 / 6, abs=0.05)


def test_settings_that_make_no_sense_are_named() -> None:
    with pytest.raises(GeneratorError, match="generator.epochs: 0 is too small"):
        GAN(epochs=0).fit(correlated(), seed=0)
    with pytest.raises(GeneratorError, match="generator.device"):
        GAN(**{**QUICK, "device": "abacus"}).fit(correlated(), seed=0)


def chain(n: int = 20_000) -> np.ndarray:
    """class -> a -> b -> c, each a noisy copy of the one before."""
    rng = np.random.default_rng(0)
    out = [rng.integers(0, 2, n)]
    for keep in (0.7, 0.9, 0.9):
        out.append(np.where(rng.random(n) < keep, out[-1], rng.integers(0, 2, n)))
    return np.column_stack(out)


def test_the_tree_finds_the_chain_and_draws_its_conditionals() -> None:
    states = chain()
    tree = Tree.fit(states, [2, 2, 2, 2], 0, np.random.default_rng(0))
    assert {tuple(sorted((i, p))) for i, p in enumerate(tree.parent) if p >= 0} == {(1, 2), (2, 3)}
    drawn, labels = tree.draw(20_000, {3: 1}, np.random.default_rng(1))
    real = states[states[:, 3] == 1]
    np.testing.assert_allclose(drawn.mean(axis=0), real.mean(axis=0), atol=0.02)
    np.testing.assert_array_equal(drawn[:, 0], labels)


def test_the_linear_start_conditions_numbers_on_states() -> None:
    rng = np.random.default_rng(0)
    states = np.column_stack([rng.integers(0, 3, 4000), np.zeros(4000, dtype=int)])
    values = np.column_stack([np.full(4000, np.nan), 2.0 * states[:, 0] + rng.normal(size=4000)])
    start = Location.fit(states, values, sizes=[3, 1], classed=-1, rng=rng)
    for state in range(3):
        drawn = start.draw(3000, {0: state}, np.random.default_rng(1))[1][:, 1]
        assert drawn.mean() == pytest.approx(2.0 * state, abs=0.35)
