"""Do values fill the unit interval evenly, come back from it, and are densities those of a histogram that sums to one?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from data.dataset import Dataset
from data.encode_cells import Cells, Ribbon
from data.encode_tokens import Tokens
from data.schema import Column, Schema
from tests.conftest import mixed_table


def cells_of(values: pa.Array, kind: str) -> tuple[Cells, pa.Array]:
    levels = tuple(sorted(set(values.drop_null().to_pylist()))) if kind == "categorical" else ()
    column = Column(name="x", kind=kind, dtype=str(values.type), nullable=True, categories=levels)  # type: ignore[arg-type]
    data = Dataset(pa.table({"x": values}), Schema((column,)))
    tokens = Tokens.fit(data)
    return Cells.fit(tokens.columns[0], data.column("x"), tokens.encode(data)), values


def skewed(n: int = 6000) -> pa.Array:
    """Continuous, far from even, a spike at zero, gaps."""
    rng = np.random.default_rng(0)
    x = np.where(rng.random(n) < 0.2, 0.0, np.exp(rng.normal(size=n)))
    return pa.array(x, mask=rng.random(n) < 0.1)


def grid(n: int = 5000) -> pa.Array:
    return pa.array(np.random.default_rng(1).geometric(0.01, n))


def words(n: int = 3000) -> pa.Array:
    return pa.array(np.random.default_rng(2).choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1]))


@pytest.mark.parametrize(("values", "kind"), [(skewed(), "numeric"), (grid(), "integer"), (words(), "categorical")])
def test_train_fills_the_interval_evenly_and_comes_back(values: pa.Array, kind: str) -> None:
    cells, values = cells_of(values, kind)
    tokens = cells.column.encode(values)
    start, end, _ = cells.place(values, tokens)
    at = start + (end - start) * np.random.default_rng(3).random(len(start))
    np.testing.assert_allclose(np.histogram(at, bins=10, range=(0, 1))[0] / len(at), 0.1, atol=0.02)
    back = cells.tokens(at)
    # A number on the border of two cells may fall into either.
    assert (back == tokens).all(axis=1).mean() > 0.995


def test_densities_are_those_of_a_distribution() -> None:
    """On the grid chances sum to one; between continuous numbers the density does, together with spike and null."""
    cells, values = cells_of(grid(), "integer")
    every = pa.array(np.unique(values.to_numpy()))
    _, _, nats = cells.place(every, cells.column.encode(every))
    assert np.exp(nats).sum() == pytest.approx(1.0, abs=1e-9)
    cells, values = cells_of(skewed(), "numeric")
    seen = values.drop_null().to_numpy()
    fine = pa.array(np.linspace(seen[seen > 0].min(), seen.max(), 400_001))
    start, end, nats = cells.place(fine, cells.column.encode(fine))
    assert (start == end).all()
    states = pa.array([0.0, None], pa.float64())
    _, _, two = cells.place(states, cells.column.encode(states))
    step = (fine[1].as_py() - fine[0].as_py()) / np.nanstd(seen)
    assert np.exp(nats).sum() * step + np.exp(two).sum() == pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(np.exp(two), [(seen == 0).sum() / 6000, values.null_count / 6000], rtol=1e-9)


def test_what_train_did_not_hold_is_rarer_than_all_it_held() -> None:
    for values, kind, new in ((skewed(), "numeric", [1e3, 1e5]), (words(), "categorical", ["z", None])):
        cells, values = cells_of(values, kind)
        new_values = pa.array(new, values.type)
        nats = cells.place(new_values, cells.column.encode(new_values))[2]
        seen = cells.place(values, cells.column.encode(values))[2]
        assert (nats < seen.min()).all()
        if kind == "numeric":
            assert nats[1] < nats[0] - 100


def test_a_value_that_many_rows_hold_is_denser_than_those_around_it() -> None:
    cells, values = cells_of(skewed(), "numeric")
    tokens = cells.column.encode(values)
    nats = cells.place(values, tokens)[2]
    even = nats + cells.evened(tokens)
    spike, free = values.to_numpy(zero_copy_only=False) == 0, np.nan_to_num(values.to_numpy(zero_copy_only=False)) > 0
    assert (nats[spike][0] > nats[free]).mean() < 0.2 and (even[spike][0] > even[free]).all()
    for whole, kind in ((grid(), "integer"), (words(), "categorical")):
        cells, values = cells_of(whole, kind)
        assert not cells.evened(cells.column.encode(values)).any()


def test_saved_and_read_back_it_is_the_same() -> None:
    data = Dataset.from_arrow(mixed_table(300), target="label")
    tokens = Tokens.fit(data)
    encoded = tokens.encode(data)
    ribbon = Ribbon.fit(tokens, data, encoded)
    again = Ribbon.from_state(tokens, ribbon.to_state())
    for one, other in zip(ribbon.place(tokens, data, encoded), again.place(tokens, data, encoded), strict=True):
        np.testing.assert_array_equal(one, other)
    assert ribbon.within(tokens, data, encoded).shape == (300,)
