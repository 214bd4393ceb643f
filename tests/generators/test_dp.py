"""Is a private fit private: is its noise what its budget asks for, its gradients those of single rows, its bounds paid for?"""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.stats import kstest

from data.dataset import Dataset
from data.infer import infer
from generators.base import SILENT, GeneratorError
from generators.tabular import _dp_account as account
from generators.tabular._dp_account import Part, gaussian_delta, gaussian_epsilon, noise_for, rho_epsilon, rho_for, spent
from generators.tabular._dp_net import Net
from generators.tabular._dp_noise import Noise
from generators.tabular._dp_sgd import Schedule, private_optimizer, step
from generators.tabular.dp_autoregressive import DPAutoregressive
from generators.tabular.dp_marginals import DPMarginals

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
STATED = {
    "age": {"low": 0, "high": 100},
    "pay": {"low": 0.0, "high": 10_000.0},
    "city": {"categories": ["york", "leeds", "hull", "ripon"]},
    "label": {"categories": ["no", "yes"]},
}


def people(n: int = 1500, seed: int = 0, **stated: Any) -> Dataset:
    rng = np.random.default_rng(seed)
    yes = rng.random(n) < 0.2
    city = np.where(yes, rng.choice(["york", "leeds"], n), rng.choice(["hull", "ripon", "leeds"], n))
    columns = {
        "age": np.clip(rng.normal(40 + 15 * yes, 8), 18, 90).round().astype(int),
        "pay": np.where(rng.random(n) < 0.4, 0.0, rng.lognormal(6, 0.5, n)).round(2),
        "city": city,
        "label": np.where(yes, "yes", "no"),
    }
    table = pa.table(columns)
    return Dataset(table, infer(table, target="label", stated=stated or STATED))


# --- what is spent ------------------------------------------------------------------------------------------------------------


def test_a_gaussian_s_budget_is_the_closed_form() -> None:
    """Balle and Wang 2018: sigma 1 at delta 1e-5 is epsilon 4.377."""
    assert spent([Part(1.0)], 1e-5) == pytest.approx(4.377, rel=2e-3)
    assert gaussian_delta(1.0, gaussian_epsilon(1.0, 1e-5)) == pytest.approx(1e-5, rel=2e-2)
    # Four of noise 2 are one of noise 1, and the zero-concentrated figure is above the exact one, not far.
    assert spent([Part(2.0, steps=4)], 1e-5) == pytest.approx(spent([Part(1.0)], 1e-5))
    assert 1 < rho_epsilon(0.5, 1e-5) / spent([Part(1.0)], 1e-5) < 1.1
    assert rho_epsilon(rho_for(2.0, 1e-6), 1e-6) == pytest.approx(2.0, rel=5e-3)


@pytest.mark.parametrize(
    ("noise", "rate", "steps", "delta"), [(1.0, 0.01, 1000, 1e-5), (0.8, 0.02, 400, 1e-6), (3.0, 0.1, 200, 1e-5)]
)
def test_the_accountant_agrees_with_a_sum_by_hand(noise: float, rate: float, steps: int, delta: float) -> None:
    """Against the privacy loss of one step on a fine grid, composed by FFT here: within 1 %."""
    pytest.importorskip("opacus")
    assert spent([Part(noise, rate, steps)], delta) == pytest.approx(by_hand(noise, rate, steps, delta), rel=0.01)


def by_hand(noise: float, rate: float, steps: int, delta: float) -> float:
    """Both directions of add and remove; losses are rounded to the nearest of a fine grid."""
    grid, most = 1e-4, 2**19
    out = []
    for remove in (True, False):
        x = np.linspace(-12 * noise, 12 * noise + 1, 400_001)
        base = np.exp(-(x**2) / (2 * noise**2))
        mixed = (1 - rate) * base + rate * np.exp(-((x - 1) ** 2) / (2 * noise**2))
        mass = mixed if remove else base
        mass = mass / mass.sum()
        loss = np.log(mixed) - np.log(base)
        loss = loss if remove else -loss
        cells = np.bincount(np.rint(loss / grid).astype(int) + most // 2, mass, minlength=most)
        whole = np.fft.irfft(np.fft.rfft(np.fft.ifftshift(cells)) ** steps, most)
        at = np.fft.fftshift(whole).clip(0)
        values = (np.arange(most) - most // 2) * grid
        low, high = 0.0, 50.0
        while high - low > 1e-4:
            middle = (low + high) / 2
            over = values > middle
            found = float((at[over] * (1 - np.exp(middle - values[over]))).sum())
            low, high = (middle, high) if found > delta else (low, middle)
        out.append(high)
    return max(out)


def test_noise_is_the_least_that_keeps_the_budget() -> None:
    pytest.importorskip("opacus")
    beside = [Part(12.0)]
    noise = noise_for(2.0, 1e-5, rate=0.05, steps=200, beside=beside)
    assert spent([*beside, Part(noise, 0.05, 200)], 1e-5) <= 2.0 < spent([*beside, Part(0.97 * noise, 0.05, 200)], 1e-5)
    with pytest.raises(GeneratorError, match="spent before training"):
        noise_for(0.05, 1e-5, rate=0.05, steps=200, beside=beside)
    with pytest.raises(GeneratorError, match="too small"):
        noise_for(1e-7, 1e-5, rate=0.5, steps=10**6)


def test_noise_is_normal_and_secret_unless_it_is_told() -> None:
    assert kstest(Noise().normal(4000), "norm").pvalue > 1e-4
    assert not np.array_equal(Noise().normal(5), Noise().normal(5))
    assert np.array_equal(Noise(3).normal((2, 2)), Noise(3).normal((2, 2)))
    chosen = [len(Noise().chosen(1000, 0.2)) for _ in range(50)]
    assert 185 < np.mean(chosen) < 215 and np.std(chosen) > 3  # who comes is chance, and so is how many


# --- gradients ----------------------------------------------------------------------------------------------------------------


def test_gradients_of_rows_are_those_of_a_loop_over_single_rows() -> None:
    pytest.importorskip("opacus")
    torch.manual_seed(0)
    sizes, x = [3, 5, 4], torch.stack([torch.randint(0, s, (7,)) for s in (3, 5, 4)], dim=1)
    alone = []
    for row in x:
        net = Net(sizes, 8, 16, 2)
        net.start([np.full(s, 1 / s) for s in sizes], 1)
        net.loss(row[None]).sum().backward()
        alone.append([p.grad.clone() for p in net.parameters()])
    net = Net(sizes, 8, 16, 2)
    net.start([np.full(s, 1 / s) for s in sizes], 1)
    module, _ = private_optimizer(net, 7, Schedule(1.0, 1.0, 1.0, 1, 0.1), Noise(0))
    net.loss(x).sum().backward()
    for k, p in enumerate(module.parameters()):
        assert torch.allclose(p.grad_sample, torch.stack([row[k] for row in alone]), atol=1e-6)


def test_neighbouring_bins_begin_alike_and_levels_do_not() -> None:
    net = Net([30, 30], 32, 64, 1)
    net.start([np.full(30, 1 / 30)] * 2, 3, [28, 0])
    near = []
    for embed in net.tokens:
        rows = np.asarray(embed.weight.detach())
        near.append(float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(rows[:27], rows[1:28], strict=True)])))
    assert near[0] > 0.8 and abs(near[1]) < 0.2
    spread = [float(embed.weight.detach().std()) for embed in net.tokens]
    assert spread[0] == pytest.approx(spread[1], rel=0.2)


def test_a_step_is_the_clipped_sum_with_noise_as_large_as_stated() -> None:
    pytest.importorskip("opacus")
    sizes, x = [3, 4], torch.stack([torch.randint(0, s, (300,)) for s in (3, 4)], dim=1)

    def change(noise: float, clip: float, chosen: np.ndarray, seed: int) -> np.ndarray:
        net = Net(sizes, 8, 16, 1)
        net.start([np.full(s, 1 / s) for s in sizes], 1)
        module, optimizer = private_optimizer(net, 300, Schedule(noise, clip, 1.0, 1, 0.1), Noise(seed))
        taken: list[np.ndarray] = []
        optimizer.original_optimizer.step = lambda: taken.append(
            torch.cat([p.grad.flatten() for p in module.parameters()]).numpy().copy()
        )
        step(module, optimizer, lambda part: net.loss(x[part]).sum(), chosen, 1.0)
        return taken[0]

    everyone, nobody = np.arange(300), np.arange(0)
    assert np.linalg.norm(change(1e-9, 0.5, everyone, 0)) <= 300 * 0.5 + 1e-3
    # One row more or less changes the sum by the clip at most, however many are held at a time.
    gap = change(1e-9, 0.5, everyone, 0) - change(1e-9, 0.5, everyone[:-1], 0)
    assert np.linalg.norm(gap) <= 0.5 + 1e-3
    # A step of nobody is noise alone, of the stated size.
    noise = change(2.0, 0.5, nobody, 4)
    assert np.std(noise) == pytest.approx(2.0 * 0.5, rel=0.1)


# --- families -----------------------------------------------------------------------------------------------------------------

QUICK = {
    DPMarginals: {"marginals": 4, "epsilon": 8.0},
    DPAutoregressive: {"steps": 60, "batch_size": 200, "epsilon": 8.0},
}


@pytest.fixture(params=list(QUICK), ids=lambda f: f.__name__)
def family(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip("mbi" if request.param is DPMarginals else "opacus")
    return request.param


def test_rows_look_like_train_and_hold_the_condition(family: Any, tmp_path: Path) -> None:
    train = people()
    model = family(**QUICK[family], secure=False).fit(train, seed=1)
    rows = pa.Table.from_batches(model.sample(1200, seed=5))
    assert rows.schema == train.schema.arrow() and rows.num_rows == 1200
    share = rows.column("label").to_pylist().count("yes") / 1200
    assert 0.12 < share < 0.3
    yes = pa.Table.from_batches(model.sample(400, where={"label": "yes"}, seed=5))
    assert set(yes.column("label").to_pylist()) == {"yes"}
    # Whether a column has nulls is not declared here, so that noise may draw one.
    assert np.nanmean(yes.column("age").to_numpy()) > np.nanmean(rows.column("age").to_numpy()) + 4
    both = pa.Table.from_batches(model.sample(50, where={"label": "yes", "city": "york"}, seed=5))
    assert set(both.column("city").to_pylist()) == {"york"}
    model.save(tmp_path / "model")
    again = family.load(tmp_path / "model")
    assert pa.Table.from_batches(again.sample(100, seed=2)).equals(pa.Table.from_batches(model.sample(100, seed=2)))
    assert again.spent_ == model.spent_ and model.spent_.epsilon == 8.0 and not model.spent_.end_to_end


def test_what_is_saved_holds_no_real_extreme(family: Any, tmp_path: Path) -> None:
    train = people()
    top = sorted(train.column("pay").to_pylist())[-3:]
    family(**QUICK[family]).fit(train, seed=1).save(tmp_path / "model")
    held = "".join(path.read_text(errors="ignore") for path in (tmp_path / "model").rglob("*.json"))
    assert not [v for v in top if str(v) in held]
    state = json.loads((tmp_path / "model/state.json").read_text())
    assert state["spent"]["secure"] is True
    assert all(c["null_share"] == 0 for c in state["finish"]["schema"]["columns"])


def test_with_a_seed_that_is_told_a_fit_is_the_same_and_without_it_is_not(family: Any) -> None:
    def drawn(secure: bool) -> pa.Table:
        model = family(**QUICK[family], secure=secure).fit(people(600), seed=1)
        return pa.Table.from_batches(model.sample(200, seed=1))

    assert drawn(False).equals(drawn(False)) and not drawn(True).equals(drawn(True))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"epsilon": 0.0}, "generator.epsilon: 0.0 is no budget"),
        ({"epsilon": -1.0}, "is no budget"),
        ({"epsilon": math.nan}, "is no budget"),
        ({"epsilon": 1.0, "noise": 1.0}, "one follows from the other"),
        ({"delta": 0.01}, "generator.delta: 0.01 would let one of 1,500 rows be published whole"),
        ({"delta": 0.0}, "must be above 0"),
    ],
)
def test_promises_that_are_none_are_refused(family: Any, how: dict[str, float], said: str) -> None:
    with pytest.raises(GeneratorError, match=said) as error:
        family(**how).fit(people(), seed=0)
    assert "\n" not in str(error.value)


def test_what_is_promised_is_told_before_any_look(family: Any) -> None:
    train = people()
    epsilon, delta = family(noise=2.0).promised(train.num_rows, train.schema.learned)
    assert 0 < epsilon < 50 and delta == pytest.approx(1 / 15_000)
    assert family().promised(1000, train.schema.learned) == (3.0, 1e-4)
    less, _ = family(noise=4.0).promised(train.num_rows, train.schema.learned)
    assert less < epsilon


def test_more_noise_costs_likeness() -> None:
    pytest.importorskip("mbi")
    train = people(3000)
    gaps = []
    for epsilon in (20.0, 0.02):
        model = DPMarginals(epsilon=epsilon, marginals=4, secure=False).fit(train, seed=0)
        rows = pa.Table.from_batches(model.sample(3000, seed=0))
        real, made = (t.column("city").to_pylist() for t in (train.table, rows))
        gaps.append(sum(abs(real.count(c) - made.count(c)) for c in set(real)) / 3000)
    assert gaps[0] < 0.1 < gaps[1]


def test_each_column_is_measured_with_the_class_before_anything_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is chosen by how many rows it gets wrong says nothing of a rare class. All of it spends what was promised."""
    pytest.importorskip("mbi")
    from generators.tabular import _dp_marginals as marginals

    seen: list[list[tuple[int, ...]]] = []
    spent_rho: list[float] = []
    fit = marginals._fit

    def watched(measured: Any, *rest: Any) -> Any:
        seen.append(list(measured.cliques))
        spent_rho[:] = [sum(1 / (2 * deviation**2) for deviation in measured.deviations)]
        return fit(measured, *rest)

    monkeypatch.setattr(marginals, "_fit", watched)
    rows = np.random.default_rng(0).integers(0, 4, (400, 5))
    rows[:, 2] %= 2
    marginals.learn(rows, [4, 4, 2, 4, 4], 2, 1.0, 8, Noise(0), SILENT)
    assert seen[0] == [(0,), (1,), (2,), (3,), (4,), (0, 2), (1, 2), (2, 3), (2, 4)]
    assert [len(each) for each in seen] == [9, 10, 11, 12, 13]
    # Choosing takes a tenth of what each chosen marginal may spend.
    share = 0.85 / 8
    assert spent_rho[0] == pytest.approx(0.15 + share * (4 + 4 * 0.9))
    # With fewer marginals than columns, or without a class, none is measured unchosen.
    for classed, most in ((2, 4), (None, 8)):
        seen.clear()
        marginals.learn(rows, [4, 4, 2, 4, 4], classed, 1.0, most, Noise(0), SILENT)
        assert len(seen[0]) == 5


def test_warnings_of_the_accountant_stay_inside() -> None:
    pytest.importorskip("opacus")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        account.spent([Part(1.0, 0.01, 10), Part(5.0)], 1e-5)
