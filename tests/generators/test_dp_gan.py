"""Does a private GAN see real rows one by one, through noise, and keep what is rare?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from generators.base import GeneratorError
from generators.tabular._dp_account import spent
from generators.tabular._dp_domain import left
from generators.tabular._dp_gan_nets import Discriminator, Generator, moved
from generators.tabular._dp_gan_train import KEEP, Game, Rules, _kept, shrunk
from generators.tabular._dp_noise import Noise
from generators.tabular._dp_sgd import Schedule, clipped_sum, noisy_gradient, private_optimizer
from generators.tabular.dp_gan import DPGAN
from tests.generators.test_dp import STATED, people

pytest.importorskip("opacus")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::FutureWarning")
QUICK: dict[str, Any] = {"steps": 30, "batch_size": 200, "epsilon": 8.0, "width": 16, "features": 8, "secure": False}
SIZES = [3, 4]


def critic() -> Discriminator:
    made = Discriminator(torch.full((7,), 0.2), torch.tensor([0.9, 0.1]), 5)
    made.start(1)
    return made


def some(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows as the discriminator has them, and their classes."""
    rng = torch.Generator().manual_seed(0)
    tokens = [torch.randint(0, size, (n,), generator=rng) for size in SIZES]
    hot = [torch.nn.functional.one_hot(t, size).float() for t, size in zip(tokens, SIZES, strict=True)]
    return torch.cat(hot, dim=1), torch.randint(0, 2, (n,), generator=rng)


# --- the discriminator --------------------------------------------------------------------------------------------------------


def test_its_gradients_of_rows_are_those_of_a_loop_over_single_rows() -> None:
    x, label = some(7)
    alone = []
    for k in range(7):
        net = critic()
        net(x[k : k + 1], label[k : k + 1]).sum().backward()
        alone.append([p.grad.clone() for p in net.parameters()])
    net = critic()
    module, _ = private_optimizer(net, 7, Schedule(1.0, 1.0, 1.0, 1, 0.1), Noise(0), torch.optim.SGD)
    net(x, label).sum().backward()
    for k, p in enumerate(module.parameters()):
        assert torch.allclose(p.grad_sample, torch.stack([row[k] for row in alone]), atol=1e-6)


def test_a_step_sees_the_clipped_sum_with_noise_as_large_as_stated() -> None:
    x, label = some(300)

    def seen(noise: float, clip: float, chosen: np.ndarray) -> np.ndarray:
        net = critic()
        module, optimizer = private_optimizer(net, 300, Schedule(noise, clip, 1.0, 1, 0.1), Noise(4), torch.optim.SGD)
        noisy_gradient(module, optimizer, lambda at: net(x[at], label[at]).sum(), chosen, 1.0)
        return torch.cat([p.grad.flatten() for p in module.parameters()]).numpy()

    everyone = np.arange(300)
    assert np.linalg.norm(seen(1e-9, 0.01, everyone)) <= 300 * 0.01 + 1e-4
    assert np.linalg.norm(seen(1e-9, 0.01, everyone) - seen(1e-9, 0.01, everyone[:-1])) == pytest.approx(0.01, rel=1e-3)
    assert np.std(seen(2.0, 0.5, np.arange(0))) == pytest.approx(1.0, rel=0.25)


def test_drawn_rows_that_are_as_real_ones_move_nothing() -> None:
    x, label = some(200)
    net = critic()
    module, optimizer = private_optimizer(net, 200, Schedule(1e-9, 1.0, 1.0, 1, 0.1), Noise(0), torch.optim.SGD)
    noisy_gradient(module, optimizer, lambda at: net(x[at], label[at]).sum(), np.arange(200), 200.0)
    real = [p.grad.clone() for p in net.parameters()]
    clipped_sum(module, optimizer, lambda at: net(x[at], label[at]).sum(), np.arange(200))
    for a, p in zip(real, net.parameters(), strict=True):
        drawn: Any = p
        assert torch.allclose(a, drawn.summed_grad / 200, atol=1e-6)


def test_the_mean_score_is_exact_where_columns_are_drawn_independently() -> None:
    net, rng = critic(), torch.Generator().manual_seed(3)
    chances = [torch.softmax(torch.randn((1, size), generator=rng), dim=1) for size in SIZES]
    label, mean = torch.tensor([1]), 0.0
    for i in range(SIZES[0]):
        for j in range(SIZES[1]):
            x = torch.cat([torch.eye(SIZES[0])[i], torch.eye(SIZES[1])[j]])[None]
            mean += float(chances[0][0, i] * chances[1][0, j] * net(x, label))
    assert float(net.expected(chances, label)) == pytest.approx(mean, abs=1e-5)


def test_real_rows_are_in_no_other_gradient() -> None:
    """Another real row changes nothing but the noisy mean: the moves that follow see drawn rows alone."""

    def weights(tokens: torch.Tensor) -> torch.Tensor:
        counts, shares = torch.full((2, 7), 0.3), torch.tensor([0.5, 0.5])
        torch.manual_seed(0)
        game = Game(critic(), Generator(SIZES, counts, 4, 8), tokens, torch.zeros(40, dtype=torch.long), shares, counts,
                    Rules(1, 0.3))  # fmt: skip
        game.open(Schedule(1.0, 1.0, 0.5, 2, 0.1), Noise(0), 0)
        game.look(np.arange(0), 20.0)
        game.move(0.1)
        game.answer(0.01)
        return torch.cat([p.detach().flatten() for p in (*game.critic.parameters(), *game.maker.parameters())])

    with torch.random.fork_rng():
        assert torch.equal(weights(torch.zeros((40, 2), dtype=torch.long)), weights(torch.ones((40, 2), dtype=torch.long)))


# --- what is known from counts ------------------------------------------------------------------------------------------------


def test_counts_of_a_class_count_as_far_as_they_stand_out_of_the_noise() -> None:
    counts, share = np.array([[800.0, 200.0], [10.0, 90.0]]), np.array([1000.0, 100.0]) / 1100
    sure, blind = shrunk(counts, 1e-3, share, 1100), shrunk(counts, 1e3, share, 1100)
    assert sure[1, 1] == pytest.approx(0.9, abs=0.03) and sure.sum(axis=1) == pytest.approx([1.0, 1.0])
    assert np.ptp(blind, axis=0) == pytest.approx([0.0, 0.0], abs=0.03)  # both are the column as a whole
    assert shrunk(np.array([[500.0, 1.0]]), 10.0, np.ones(1), 500)[0, 1] == 0.0


def test_moved_biases_make_the_mean_what_was_counted() -> None:
    logits = torch.randn((2000, 4), generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0.7, 0.2, 0.05, 0.0])
    mean = torch.softmax(logits + moved(logits, target), dim=1).mean(dim=0)
    assert torch.allclose(mean[:3] / mean[:3].sum(), target[:3] / target.sum(), atol=1e-3) and mean[3] > 0.1


def test_generators_of_later_steps_are_kept() -> None:
    assert list(_kept(1)) == [0] and list(_kept(6)) == [5, 4, 3]
    assert KEEP <= len(list(_kept(600))) <= KEEP + 1 and min(_kept(600)) >= 300


# --- the family ---------------------------------------------------------------------------------------------------------------


def test_rows_hold_the_condition_and_classes_are_as_frequent_as_counted(tmp_path: Path) -> None:
    train = people()
    model = DPGAN(**QUICK).fit(train, seed=1)
    rows = pa.Table.from_batches(model.sample(3000, seed=5))
    assert rows.schema == train.schema.arrow() and rows.num_rows == 3000
    real = train.column("label").to_pylist().count("yes") / train.num_rows
    assert rows.column("label").to_pylist().count("yes") / 3000 == pytest.approx(real, abs=0.04)
    yes = pa.Table.from_batches(model.sample(400, where={"label": "yes"}, seed=5))
    assert set(yes.column("label").to_pylist()) == {"yes"}
    assert np.mean(yes.column("age").to_numpy()) > np.mean(rows.column("age").to_numpy()) + 4
    model.save(tmp_path / "model")
    again = DPGAN.load(tmp_path / "model")
    assert pa.Table.from_batches(again.sample(100, seed=2)).equals(pa.Table.from_batches(model.sample(100, seed=2)))
    assert again.spent_ == model.spent_ and not model.spent_.end_to_end


def test_what_comes_together_is_learned() -> None:
    """City and label are bound by the counts; age and pay within a label are not, so here pay follows age."""
    train = people(4000)
    age = train.column("age").to_numpy()
    pay = np.where(age > np.median(age), 900.0, 100.0) + np.random.default_rng(0).uniform(0, 50, len(age)).round(2)
    bound = type(train)(train.table.set_column(1, "pay", pa.array(pay)), train.schema)
    model = DPGAN(**{**QUICK, "steps": 200, "epsilon": 50.0, "width": 32, "features": 32}).fit(bound, seed=0)
    rows = pa.Table.from_batches(model.sample(4000, seed=0))
    found = np.corrcoef(rows.column("age").to_numpy(), rows.column("pay").to_numpy())[0, 1]
    alone = DPGAN(**{**QUICK, "steps": 1, "turns": 1, "epsilon": 50.0}).fit(bound, seed=0)
    rows = pa.Table.from_batches(alone.sample(4000, seed=0))
    before = np.corrcoef(rows.column("age").to_numpy(), rows.column("pay").to_numpy())[0, 1]
    assert before < 0.3 < 0.4 < found


def test_the_same_told_seed_gives_the_same_model_and_secrets_do_not() -> None:
    def drawn(secure: bool) -> pa.Table:
        model = DPGAN(**{**QUICK, "steps": 6, "secure": secure}).fit(people(600), seed=1)
        return pa.Table.from_batches(model.sample(200, seed=1))

    assert drawn(False).equals(drawn(False)) and not drawn(True).equals(drawn(True))


def test_what_is_promised_is_what_its_parts_spend() -> None:
    train = people()
    columns = train.schema.learned
    stated = DPGAN(noise=2.0)
    epsilon, delta = stated.promised(train.num_rows, columns)
    rest = left(columns, "declared") * delta
    assert epsilon == spent(stated._parts(1500, columns, 2.0), rest) and 0 < epsilon < 50
    model = DPGAN(epsilon=2.0)
    rate = model._rate(1500)
    noise = model._noise(1500, columns, 2.0, rest)
    paid = model._parts(1500, columns, noise, 2.0, rest)
    assert paid[-1].rate == rate and paid[-1].steps == model.steps and 1.9 < spent(paid, rest) <= 2.0
    assert DPGAN().promised(1000, columns) == (3.0, 1e-4)


def test_without_a_class_all_rows_are_one() -> None:
    train = people(600)
    plain = type(train)(train.table.drop_columns(["label"]), type(train.schema)(train.schema.columns[:3]))
    model = DPGAN(**{**QUICK, "steps": 4}).fit(plain, seed=0)
    assert not model.classed_ and pa.Table.from_batches(model.sample(50, seed=0)).num_rows == 50
    alone = type(train)(train.table.select(["label"]), type(train.schema)(train.schema.columns[3:], target="label"))
    only = pa.Table.from_batches(DPGAN(**QUICK).fit(alone, seed=0).sample(500, seed=0)).column("label").to_pylist()
    assert 0.1 < only.count("yes") / 500 < 0.3


def test_settings_that_make_no_sense_are_refused() -> None:
    for how, said in (({"turns": 0}, "generator.turns: 0 is too small"), ({"stay": -1.0}, "generator.stay"),
                      ({"epsilon": 1.0, "noise": 1.0}, "one follows from the other")):  # fmt: skip
        with pytest.raises(GeneratorError, match=said):
            DPGAN(**how).fit(people(**STATED), seed=0)
