"""Does a rule that no training row breaks hold among drawn rows, while what may well be chance is left alone?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from data.dataset import Dataset
from generators.base import Condition
from generators.tabular._autoregressive_never import EXPECTED, Never, states_of
from generators.tabular.autoregressive import Autoregressive


def rows(n: int, seed: int) -> pd.DataFrame:
    """No phone, no lines; two measures that are both 0 or neither; a column that is null where the other is not."""
    rng = np.random.default_rng(seed)
    phone, empty = rng.random(n) < 0.6, rng.random(n) < 0.5
    first = rng.normal(size=n)
    return pd.DataFrame(
        {
            "phone": np.where(phone, "yes", "no"),
            "lines": np.where(phone, rng.choice(["one", "many"], n), "none"),
            "a": np.where(empty, 0.0, first),
            "b": np.where(empty, 0.0, first**2 + 0.1 + rng.normal(size=n) ** 2),
            "until": np.where(empty, np.nan, 5 + rng.exponential(size=n)),
            "c": rng.exponential(size=n),
            "kind": rng.choice(["x", "y", "z"], n),
        }
    )


def broken(made: pd.DataFrame) -> int:
    lines = (made.phone == "no") != (made.lines == "none")
    return int(lines.sum() + ((made.a == 0) != (made.b == 0)).sum() + (made.until.isna() != (made.a == 0)).sum())


def drawn(model: Autoregressive, n: int, where: Condition | None = None) -> pd.DataFrame:
    return pa.Table.from_batches(list(model.sample(n, where=where, seed=1))).to_pandas()


@pytest.fixture(scope="module")
def model() -> Autoregressive:
    return Autoregressive(epochs=6, min_steps=0).fit(Dataset.from_pandas(rows(2000, 0), target="kind"), seed=0)


def test_a_rule_without_exceptions_holds(model: Autoregressive) -> None:
    kept, model.net_.never = model.net_.never, Never()
    assert broken(drawn(model, 10_000)) > 100  # what the network alone says
    model.net_.never = kept
    assert broken(drawn(model, 10_000)) <= 5


def test_it_is_saved_and_read(model: Autoregressive, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    again = Autoregressive.load(tmp_path / "model")
    assert len(again.net_.never.pairs) == len(model.net_.never.pairs) > 0
    for (a, b, cells), (c, d, others) in zip(again.net_.never.pairs, model.net_.never.pairs, strict=True):
        assert (a, b) == (c, d) and (cells == others).all()
    assert drawn(again, 500).equals(drawn(model, 500))


def test_a_condition_that_breaks_it_is_still_met(model: Autoregressive) -> None:
    made = drawn(model, 200, {"phone": "no", "lines": "many"})
    assert len(made) == 200 and set(made.phone) == {"no"} and set(made.lines) == {"many"}


def test_a_row_that_breaks_it_is_odd_and_gaps_are_filled_by_it(model: Autoregressive) -> None:
    some = rows(400, 7)
    odd = some.assign(lines=np.where(some.phone == "no", "one", some.lines))
    schema = Dataset.from_pandas(rows(2000, 0), target="kind").schema
    as_rows = [Dataset.from_pandas(part, schema) for part in (some, odd)]
    gained = model.score(as_rows[1]) - model.score(as_rows[0])
    assert (gained[some.phone == "no"] > 5).all() and np.allclose(gained[some.phone == "yes"], 0)
    gaps = Dataset.from_pandas(some.assign(lines=pd.Series([None] * len(some), dtype=object)), schema)
    filled = model.impute(gaps, seed=0).to_pandas()
    assert ((filled.phone == "no") == (filled.lines == "none")).mean() > 0.995


def test_what_chance_may_have_left_out_is_believed() -> None:
    rng = np.random.default_rng(0)
    states = [np.arange(3), np.arange(4)]
    two = rng.choice(4, 500, p=[0.5, 0.3, 0.18, 0.02])
    independent = np.stack([rng.choice(3, 500, p=[0.6, 0.39, 0.01]), two], axis=1)
    assert Never.fit(states, independent).pairs == ()
    # Of 2 in the first and 3 in the second chance lets expect a tenth of a row.
    assert 500 * 0.01 * 0.02 < EXPECTED
    apart = independent[~((independent[:, 0] == 1) & (independent[:, 1] == 1))]
    ((a, b, cells),) = Never.fit(states, apart).pairs
    assert (a, b) == (0, 1) and np.argwhere(cells).tolist() == [[1, 1]]


def test_states_of_numbers() -> None:
    train = Dataset.from_pandas(rows(2000, 0), target="kind")
    tokens = Autoregressive()._tokens(train)
    fields = {name: tokens.fields(name)[0] for name in ("a", "until", "lines")}
    states = {name: states_of(tokens)[field] for name, field in fields.items()}
    assert set(states["a"]) == {0, 1} and set(states["until"]) == {0, 1} and list(states["lines"]) == [0, 1, 2]
    seen = tokens.encode(pa.table({c.name: train.column(c.name) for c in train.schema.learned}))
    assert ((states["a"][seen[:, fields["a"]]] == 0) == (states["until"][seen[:, fields["until"]]] == 1)).all()
