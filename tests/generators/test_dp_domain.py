"""Are the tokens of columns declared, paid for or read off, and do they show what many rows hold and nothing of one?"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import ks_2samp

from data.dataset import Dataset
from data.infer import infer
from generators.base import GeneratorError
from generators.tabular._dp_account import Part
from generators.tabular._dp_bins import LOOKS, hidden, without
from generators.tabular._dp_domain import DELTA_PART, Cells, find, left, looks
from generators.tabular._dp_marginals import Chain
from generators.tabular._dp_noise import Noise
from generators.tabular.dp_autoregressive import DPAutoregressive
from generators.tabular.dp_marginals import DPMarginals
from tests.generators.test_dp import STATED, people


def test_what_is_not_declared_is_refused_paid_for_or_said() -> None:
    half = {k: v for k, v in STATED.items() if k != "pay"}
    with pytest.raises(GeneratorError, match=r"the low and high of column 'pay' are not declared.*bounds to budget"):
        find(people(**half), "declared", 1.0, 1e-5, Noise(0))
    columns, open_ = people().schema.learned, people(**half).schema.learned
    assert looks(columns, "declared") == LOOKS + 1 and looks(open_, "budget") == LOOKS + 2
    # Atoms of numbers use a part of delta, levels that nobody declared another.
    assert left(columns, "declared") == left(open_, "budget") == pytest.approx(1 - DELTA_PART)
    no_city = people(**{k: v for k, v in STATED.items() if k != "city"}).schema.learned
    assert left(no_city, "budget") == pytest.approx(1 - 2 * DELTA_PART)
    found = find(people(5000, **half), "budget", 2.0, 1e-5, Noise(0))
    pay = next(c for c in found.cells if c.name == "pay")
    assert pay.scale is not None and math.log2(pay.scale.high).is_integer() and pay.scale.high >= 1024
    assert sum(p.steps for p in found.parts) == LOOKS + 2
    assert find(people(**half), "data", 1.0, 1e-5, Noise(0)).parts == (Part(1.0),) * (LOOKS + 1)


def test_a_level_that_few_rows_hold_does_not_show() -> None:
    rows = people(3000)
    city = ["secret-village", *rows.column("city").to_pylist()[1:]]
    table = rows.table.set_column(2, "city", pa.array(city))
    half = {k: v for k, v in STATED.items() if k != "city"}
    data = Dataset(table, infer(table, target="label", stated=half))
    for seed in range(20):
        found = next(c for c in find(data, "budget", 2.0, 1e-6, Noise(seed)).cells if c.name == "city")
        assert found.levels is not None and "secret-village" not in found.levels.values and found.others
        assert set(found.levels.values) == {"york", "leeds", "hull", "ripon"}


def test_however_large_the_budget_a_level_of_fewer_than_k_rows_does_not_show() -> None:
    rows = people(3000)
    city = ["hamlet"] * 4 + ["village"] * 6 + rows.column("city").to_pylist()[10:]
    table = rows.table.set_column(2, "city", pa.array(city))
    data = Dataset(table, infer(table, target="label", stated={k: v for k, v in STATED.items() if k != "city"}))
    for k, shown in ((1, {"hamlet", "village"}), (5, {"village"}), (6, set())):
        found = next(c for c in find(data, "budget", 1e-3, 1e-6, Noise(k), k=k).cells if c.name == "city")
        assert found.levels is not None and set(found.levels.values) & {"hamlet", "village"} == shown


def test_bins_are_narrow_where_rows_are_and_say_nothing_else_of_them() -> None:
    data = people(4000)
    pay = next(c for c in find(data, "declared", 2.0, 1e-6, Noise(1)).cells if c.name == "pay")
    assert pay.atoms == (0.0,)  # zeros are many, and a token of their own
    assert pay.edges[0] == 0 and pay.edges[-1] == 10_000 and 0 < pay.tails[1] < 1000 < pay.edges[-2] < 5000
    codes = pay.encode(data.column("pay"))
    assert max(np.bincount(codes)[:-1]) < 0.15 * len(codes)
    out = pay.decode(codes, np.random.default_rng(0)).to_numpy()
    real = data.column("pay").to_numpy()
    assert np.all((out >= 0) & (out <= 10_000)) and abs(np.median(out) - np.median(real)) < 60
    real_ends = {float(real.max())}
    assert not real_ends & set(pay.edges)


def test_what_many_rows_hold_is_drawn_as_it_is_and_what_few_hold_is_not_told() -> None:
    data = people(4000)
    pay = data.column("pay").to_numpy().copy()
    pay[:300], pay[300:303] = 7298.25, 8123.75
    table = data.table.set_column(1, "pay", pa.array(pay))
    data = Dataset(table, infer(table, target="label", stated=STATED))
    for seed in range(10):
        found = next(c for c in find(data, "declared", 3.0, 1e-6, Noise(seed)).cells if c.name == "pay")
        assert found.atoms == (0.0, 7298.25)
        codes = found.encode(data.column("pay"))
        out = found.decode(codes, np.random.default_rng(0)).to_numpy()
        for atom in found.atoms:
            assert np.array_equal(out == atom, pay == atom)
        again = Cells.from_state(json.loads(json.dumps(found.to_state())))
        assert again == found


def test_whole_numbers_of_a_bin_are_none_of_the_atoms() -> None:
    u = np.random.default_rng(0).random(60_000)
    ones = np.ones(len(u))
    out = without(3 * ones, 9 * ones, u, (1.0, 3.0, 4.0, 7.0, 11.0))
    values, counts = np.unique(out, return_counts=True)
    assert values.tolist() == [5, 6, 8, 9] and counts.min() > 0.24 * len(u)
    assert set(without(3 * ones, 4 * ones, u, (3.0, 4.0))) == {3.0, 4.0}
    assert without(np.array([0.0, 5.0]), np.array([2.0, 5.0]), np.array([0.99, 0.0]), (2.0,)).tolist() == [1.0, 5.0]


def test_a_single_row_s_value_is_told_with_a_chance_below_delta() -> None:
    """Deltas so large that it can be counted: values that one row each holds, in two columns."""
    delta, columns, told, tries = 0.05, 2, 0, 2000
    least = hidden(3.0, delta, columns)
    source = Noise(1)
    for _ in range(tries):
        told += any(1 + 3.0 * float(source.normal(1)[0]) >= least for _ in range(columns))
    assert 0.6 * delta < told / tries < 1.3 * delta


def test_ends_without_rows_are_cut() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.uniform(1000, 1010, 20_000), rng.uniform(20_000, 20_010, 2000), [900_000.0]])
    table = pa.table({"x": values, "label": np.where(rng.random(len(values)) < 0.5, "a", "b")})
    stated = {"x": {"low": 0.0, "high": 1e6}, "label": {"categories": ["a", "b"]}}
    data = Dataset(table, infer(table, target="label", stated=stated))
    x = next(c for c in find(data, "declared", 6.0, 1e-6, Noise(0)).cells if c.name == "x")
    assert 900 < x.edges[1] <= 1000 and 20_000 < x.edges[-2] < 40_000 and max(x.tails) < 20_000
    out = x.decode(x.encode(data.column("x")), rng).to_numpy()
    assert ((out > 900) & (out < 1200)).mean() > 0.85 and ((out > 19_000) & (out < 21_000)).mean() > 0.07


@pytest.mark.parametrize("noise", [15.0, 40.0])
def test_what_lies_beyond_the_last_clear_bin_is_drawn_beyond_it(noise: float) -> None:
    """Tails that noise hides hold as many rows as they do, near their inner edge, and reach no further than declared."""
    rng, n, apart, outside = np.random.default_rng(1), 1200, [], []
    stated = {"x": {"low": 60, "high": 260}, "y": {"low": 0.0, "high": 500.0}, "label": {"categories": ["a", "b"]}}
    for seed in range(6):
        x, y = rng.normal(132, 18, n).round().clip(60, 260).astype(int), rng.gamma(25, 3, n)
        table = pa.table({"x": x, "y": y, "label": rng.choice(["a", "b"], n)})
        data = Dataset(table, infer(table, target="label", stated=stated))
        for cells in find(data, "declared", noise, 1e-5, Noise(seed)).cells:
            if cells.scale is not None:
                real = data.column(cells.name).to_numpy().astype(float)
                out = cells.decode(cells.encode(data.column(cells.name)), np.random.default_rng(0)).to_numpy().astype(float)
                low, high = (float(stated[cells.name][end]) for end in ("low", "high"))
                assert low <= out.min() and out.max() <= high
                apart.append(ks_2samp(real, out).statistic)
                below, above = cells.edges[1], cells.edges[-2]
                outside += [(real < below).mean() - (out < below).mean(), (real >= above).mean() - (out >= above).mean()]
    assert np.abs(outside).max() < 1e-9
    assert np.mean(apart) < 0.002 * noise + 0.01


def test_a_value_beyond_what_is_declared() -> None:
    stated = {**STATED, "city": {"categories": ["york", "leeds", "hull"]}}
    data = people(300, **stated)
    cells = find(data, "declared", 1.0, 1e-5, Noise(0)).cells
    with pytest.raises(GeneratorError, match=r"column 'city' holds \d+ values that columns.city.categories does not declare"):
        next(c for c in cells if c.name == "city").encode(data.column("city"))


@pytest.mark.parametrize("family", [DPMarginals, DPAutoregressive])
def test_a_null_is_drawn_where_counts_show_one(family: type[Any]) -> None:
    """Any column may hold nulls that does not declare otherwise; noise alone must not invent them."""
    pytest.importorskip("mbi" if family is DPMarginals else "opacus")
    rows = people(3000)
    pay = [None if i % 5 == 0 else v for i, v in enumerate(rows.column("pay").to_pylist())]
    table = rows.table.set_column(rows.table.column_names.index("pay"), "pay", pa.array(pay))
    data = Dataset(table, infer(table, target="label", stated=STATED))
    fast = {"steps": 150} if family is DPAutoregressive else {"marginals": 4}
    fitted = family(epsilon=3.0, secure=False, **fast).fit(data, seed=0)
    drawn = pa.Table.from_batches(list(fitted.sample(4000, seed=1)))
    assert [c.nulls for c in fitted.cells_] == [True] * 4
    assert {name: drawn[name].null_count for name in ("age", "city", "label")} == {"age": 0, "city": 0, "label": 0}
    assert drawn["pay"].null_count / 4000 == pytest.approx(0.2, abs=0.05)


def test_a_chain_without_a_token_keeps_the_odds_of_the_others() -> None:
    first = np.array([0.5, 0.2, 0.3])
    second = np.array([[0.6, 0.2, 0.2], [0.0, 0.0, 1.0], [0.1, 0.9, 0.0]])
    chain = Chain((0, 1), ((), (0,)), (first, second)).without_last([1])
    assert chain.tables[0] is first
    np.testing.assert_allclose(chain.tables[1], [[0.75, 0.25, 0], [0.7 / 1.8, 1.1 / 1.8, 0], [0.1, 0.9, 0]])
