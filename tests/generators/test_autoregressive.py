"""Does the autoregressive family learn what goes with what, keep any condition exactly, fill gaps, and tell odd rows?"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.datasets import load_iris

from data.dataset import Dataset
from data.errors import UserError
from data.infer import infer
from data.schema import Column, Kind, Schema
from generators.base import GeneratorError, table
from generators.tabular import _autoregressive_net as net_module
from generators.tabular._autoregressive_draw import Drawer
from generators.tabular._autoregressive_net import Fields, Net
from generators.tabular._density_train import set_aside
from generators.tabular.autoregressive import SAMPLE_ROWS, Autoregressive
from tests.generators.shop import shop

SMALL: dict[str, Any] = {"width": 24, "device": "cpu"}


@pytest.fixture(scope="module")
def train() -> Dataset:
    return shop(6000)


@pytest.fixture(scope="module")
def model(train: Dataset) -> Autoregressive:
    return Autoregressive(min_steps=900, **SMALL).fit(train, seed=0)


def drawn(model: Autoregressive, n: int, **how: Any) -> Any:
    return table(model.sample(n, **how), model.finish_.schema.arrow()).to_pandas()


def test_dependence_between_columns_is_learned(model: Autoregressive, train: Dataset) -> None:
    made, real = drawn(model, 6000, seed=1), train.table.to_pandas()
    assert np.corrcoef(made.x, made.near)[0, 1] > 0.98
    assert made[made.label == "rare"].x.mean() == pytest.approx(real[real.label == "rare"].x.mean(), abs=0.3)
    assert (made.label == "rare").mean() == pytest.approx((real.label == "rare").mean(), abs=0.03)
    assert ((made.x > 1.5) & (made.level == "low")).mean() < 0.02
    assert (made.a.isna() == made.b.isna()).mean() > 0.98 and made.a.isna().mean() == pytest.approx(0.3, abs=0.04)


def test_a_condition_on_any_columns_is_exact_and_the_others_follow_it(model: Autoregressive) -> None:
    rare = drawn(model, 500, where={"label": "rare"}, seed=2)
    assert (rare.label == "rare").all() and rare.x.mean() == pytest.approx(3.0, abs=0.4)
    high = drawn(model, 500, where={"near": 3.25, "b": None}, seed=2)
    assert (high.near == 3.25).all() and high.b.isna().all()
    assert high.x.mean() == pytest.approx(3.2, abs=0.35) and high.a.isna().mean() > 0.95
    assert (high.level == "high").mean() > 0.8


def test_conditions_that_no_row_could_hold_are_refused(model: Autoregressive) -> None:
    for where, said in (
        ({"x": 99.0}, r"where.x: no training row holds 99.0; its values lie between -\d"),
        ({"a": 77}, "where.a: no training row holds 77; its values lie between 0 and 8, so name one of these"),
        ({"a": "four"}, "where.a: 'four' is not a whole number"),
    ):
        with pytest.raises(GeneratorError, match=said):
            list(model.sample(3, where=where, seed=0))
    with pytest.raises(UserError, match=r"where\.x"):
        list(model.sample(3, where={"x": None}, seed=0))


def test_rows_are_completed_given_columns_of_their_own(train: Dataset, model: Autoregressive) -> None:
    early = Autoregressive(min_steps=900, first=("level", "x"), **SMALL).fit(train, seed=0)
    known = train.table.select(["level", "x"]).slice(0, 2000)
    for family in (model, early):
        made = family.complete(known, seed=3)
        assert set(made) == {"near", "a", "b", "label"}
        assert np.corrcoef(made["near"].to_numpy(), known.column("x").to_numpy())[0, 1] > 0.95
        assert made["near"].equals(family.complete(known, seed=3)["near"])
        assert set(family.complete(known, seed=3, only=["a", "x"])) == {"a"}
        assert len(family.complete(known.slice(0, 0), seed=3)["near"]) == 0
    place = early.tokens_.names.index
    assert [early.live_[field] for field in early.order_[:1]] == [early.tokens_.fields("level")[0]] and place("level") == 2
    with pytest.raises(GeneratorError, match="generator.first: there is no column 'nowhere'"):
        Autoregressive(first=("nowhere",), **SMALL).fit(train, seed=0)


def test_gaps_are_filled_given_the_rest_and_what_is_known_stays(model: Autoregressive) -> None:
    rows = shop(600, seed=9)
    holes = np.arange(600) % 3 == 0
    known = rows.table.column("near").to_numpy()
    broken = rows.table.set_column(1, "near", pa.array(known, mask=holes))
    filled = model.impute(Dataset(broken, rows.schema), seed=0)
    near = filled.column("near").to_numpy()
    np.testing.assert_array_equal(near[~holes], known[~holes])
    assert filled.column("near").null_count == filled.column("b").null_count == 0
    assert np.corrcoef(near[holes], known[holes])[0, 1] > 0.95
    assert filled.equals(model.impute(Dataset(broken, rows.schema), seed=0))
    assert filled.column("label").equals(rows.table.column("label"))
    holed = Dataset(rows.table.set_column(1, "near", pa.array(np.where(holes, np.nan, known))), rows.schema)
    assert np.isfinite(model.impute(holed, seed=0).column("near").to_numpy()).all()


def test_likelihood_tells_rows_whose_columns_do_not_go_together(model: Autoregressive) -> None:
    rows = shop(800, seed=5)
    shuffled = np.random.default_rng(0).permutation(800)
    odd = Dataset(rows.table.set_column(1, "near", rows.table.column("near").take(pa.array(shuffled))), rows.schema)
    far = Dataset(rows.table.set_column(0, "x", pa.array(np.full(800, 1e6))), rows.schema)
    usual = model.score(rows)
    assert usual.shape == (800,) and np.isfinite(usual).all()
    assert (usual < model.score(odd)).mean() > 0.9
    assert (model.score(far) > usual + 3).mean() > 0.99
    likely = model.log_likelihood(rows)
    assert (likely > model.log_likelihood(odd)).mean() > 0.9


def test_a_number_far_from_all_others_of_its_bin_scores_as_odd() -> None:
    """Its token is the last bin's, which is as frequent as any; only how dense numbers lie there tells."""
    rng = np.random.default_rng(3)
    x = np.append(rng.normal(size=2000), 60.0)
    rows = Dataset(pa.table({"x": x, "y": rng.normal(size=2001)}), infer(pa.table({"x": x, "y": rng.normal(size=2001)})))
    family = Autoregressive(epochs=2, **SMALL).fit(rows, seed=0)
    lone = Dataset(rows.table.slice(0, 20).set_column(0, "x", pa.array(np.full(20, 30.0))), rows.schema)
    usual = family.score(rows)
    assert (family.score(lone) > np.quantile(usual, 0.99)).all()
    assert (-family.log_likelihood(lone) < np.quantile(-family.log_likelihood(rows), 0.99)).any()


def test_a_row_is_as_likely_as_it_is_often_drawn() -> None:
    """On two columns of levels every row can be counted."""
    model = Autoregressive(min_steps=300, **SMALL).fit(shop(2000), seed=0)
    made = drawn(model, 40_000, seed=3)
    rows = Dataset(
        pa.Table.from_pandas(made.head(400), schema=model.finish_.schema.arrow(), preserve_index=False), model.finish_.schema
    )
    tokens = model.tokens_.encode(rows)[:, model.live_]
    place = {name: int(np.flatnonzero(model.live_ == model.tokens_.fields(name)[0])[0]) for name in ("label", "level")}
    blank = np.full_like(tokens, -1)
    for field in place.values():
        blank[:, field] = tokens[:, field]
    nats = Drawer(model.net_).nats(blank, [place["label"], place["level"]])
    for label, level in {*zip(made.label[:400], made.level[:400], strict=True)}:
        i = int(np.flatnonzero((made.label[:400] == label) & (made.level[:400] == level))[0])
        share = ((made.label == label) & (made.level == level)).mean()
        assert np.exp(nats[i]) == pytest.approx(share, abs=4 * np.sqrt(share / 40_000) + 0.001)


def test_the_number_of_threads_changes_neither_model_nor_rows(train: Dataset) -> None:
    before = torch.get_num_threads()
    few = Dataset(train.table.slice(0, 400), train.schema)
    made = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            model = Autoregressive(epochs=2, **SMALL).fit(few, seed=0)
            made.append(table(model.sample(SAMPLE_ROWS + 50, seed=1), few.schema.arrow()))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert made[0].equals(made[1])


def test_several_callers_may_draw_at_once(model: Autoregressive) -> None:
    alone, out = drawn(model, 3000, seed=4), {}

    def draw(name: int) -> None:
        out[name] = drawn(model, 3000, seed=4)

    callers = [threading.Thread(target=draw, args=(i,)) for i in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert all(out[i].equals(alone) for i in range(3))


def test_wide_tables_share_one_state_and_draw_like_those_with_tables_of_their_own(
    train: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(net_module, "TABLES", 0)
    model = Autoregressive(min_steps=900, **SMALL).fit(train, seed=0)
    assert model.net_.shared
    made = drawn(model, 4000, seed=1)
    assert np.corrcoef(made.x, made.near)[0, 1] > 0.95
    model.save(tmp_path / "model")
    assert drawn(Autoregressive.load(tmp_path / "model"), 50, seed=3).equals(drawn(model, 50, seed=3))


def test_a_head_sees_only_what_comes_before_it() -> None:
    for shared in (False, True):
        torch.manual_seed(0)
        net = Net(Fields((3, 4, 5), (float("nan"),) * 12), 8)
        if shared:
            net.shared, net.state = True, 16
            net.tables, net.wave_in = (torch.nn.Parameter(torch.randn(n, 16)) for n in (12, net.waves.shape[1]))
            net.pick = torch.nn.Parameter(torch.randn(3, 16, 8))
        one = torch.tensor([[0, 3, 7]])
        order = [1, 2, 0]
        base = net._heads(one, order).detach()
        for field, other in ((0, 1), (1, 5), (2, 9)):
            changed = one.clone()
            changed[0, field] = other
            moved = (net._heads(changed, order).detach() - base).abs().sum(dim=(1, 2)) > 0
            assert moved.tolist() == [order.index(i) > order.index(field) for i in range(3)], (shared, field)


def test_many_levels_and_a_class_of_five_rows() -> None:
    rng = np.random.default_rng(1)
    n = 4000
    street = np.array([f"street {i}" for i in rng.zipf(1.3, n) % 3000])
    label = np.where(np.arange(n) < 5, "rare", "usual")
    x = np.where(label == "rare", 40.0, 0.0) + rng.normal(size=n)
    columns = {"street": pa.array(street), "x": pa.array(x), "label": pa.array(label)}
    kinds: dict[str, Kind] = {"street": "categorical", "x": "numeric", "label": "categorical"}
    schema = Schema(
        tuple(
            Column(name=k, kind=kinds[k], dtype=str(v.type), categories=tuple(sorted(set(v.to_pylist()))) if k != "x" else ())
            for k, v in columns.items()
        ),
        target="label",
    )
    model = Autoregressive(**SMALL).fit(Dataset(pa.table(columns), schema), seed=0)
    made = drawn(model, 300, where={"label": "rare"}, seed=0)
    assert (made.label == "rare").all() and made.x.median() > 30
    assert set(drawn(model, 2000, seed=0).street) <= set(street)
    assert (drawn(model, 20, where={"street": street[17]}, seed=0).street == street[17]).all()


def test_settings_that_make_no_sense_are_named(train: Dataset) -> None:
    for wrong in ({"dropout": 1.0}, {"any_order": -0.1}, {"width": 0}, {"held_out": 0.9}, {"device": "cuda:9x"}):
        with pytest.raises(GeneratorError, match=f"generator.{next(iter(wrong))}"):
            Autoregressive(**wrong).fit(train, seed=0)


def test_columns_of_drawn_rows_hold_what_those_of_train_do(model: Autoregressive, train: Dataset) -> None:
    tokens = model.tokens_.encode(train)
    made = model.tokens_.encode(Dataset(table(model.sample(30_000, seed=8), train.schema.arrow()), train.schema))
    for field, size in enumerate(model.tokens_.sizes):
        real, drawn_share = (np.bincount(part[:, field], minlength=size) / len(part) for part in (tokens, made))
        # Half of the distance between two histograms; chance alone makes about sqrt(tokens / rows) / 2.5 of it.
        assert np.abs(real - drawn_share).sum() / 2 < 0.02 + np.sqrt(size / 30_000) / 2, field


def test_every_level_of_five_rows_is_in_a_draw_as_large_as_train() -> None:
    """1,200 levels of five rows each: by chance alone some eight of them would be missing from the draw."""
    rng = np.random.default_rng(0)
    code = np.repeat([f"k{i:04d}" for i in range(1200)], 5)
    once = [f"once{i}" for i in range(40)]
    code = np.concatenate([code, once])
    rows = pa.table({"code": code, "x": rng.normal(size=len(code)), "kind": rng.choice(["a", "b"], len(code))})
    train = Dataset(rows, infer(rows))
    family = Autoregressive(epochs=1).fit(train, seed=0)
    drawn = table(family.sample(len(code), seed=1), train.schema.arrow())
    assert drawn.num_rows == len(code)
    assert set(code[:6000]) <= set(drawn.column("code").to_pylist())
    again = table(family.sample(len(code), seed=1), train.schema.arrow())
    assert again.equals(drawn)
    # Fewer rows than train's promise nothing, and a condition is a wish for other rows.
    assert len(set(table(family.sample(100, seed=1), train.schema.arrow()).column("code").to_pylist())) <= 100
    some = table(family.sample(len(code), where={"kind": "a"}, seed=1), train.schema.arrow())
    assert set(some.column("kind").to_pylist()) == {"a"}


def test_few_rows_are_not_learned_by_heart() -> None:
    """A hundred flowers: hardly more drawn rows are training rows than unseen ones are."""
    frame = load_iris(as_frame=True).frame.astype({"target": str})
    order = np.random.default_rng(0).permutation(len(frame))
    train = Dataset.from_pandas(frame.iloc[order[:100]], target="target")
    made = pa.Table.from_batches(list(Autoregressive().fit(train, seed=0).sample(2000, seed=1))).to_pandas()
    learned = set(map(tuple, train.table.to_pandas()[list(frame)].astype(str).to_numpy()))
    copies = np.mean([tuple(row) in learned for row in made[list(frame)].astype(str).to_numpy()])
    assert copies < 0.08
    assert (set_aside(0.1, 100), set_aside(0.1, 300), set_aside(0.1, 2000), set_aside(0.1, 10**6)) == (20, 40, 200, 5000)
    assert set_aside(0.0, 100) == set_aside(0.1, 20) == 0
