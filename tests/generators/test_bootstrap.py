"""Does the reference draw the real rows, and only those asked for?"""

from __future__ import annotations

import pyarrow as pa
import pytest

from data.dataset import Dataset
from generators.base import GeneratorError, table
from generators.tabular.bootstrap import Bootstrap


def draw(model: Bootstrap, data: Dataset, n: int, **how: object) -> pa.Table:
    return table(model.sample(n, **how), data.schema.arrow())  # type: ignore[arg-type]


def test_every_row_is_a_real_one_under_a_new_key(mixed: Dataset) -> None:
    drawn = draw(Bootstrap().fit(mixed, seed=0), mixed, 500, seed=1)
    real = {tuple(row[k] for k in row if k != "key") for row in mixed.table.to_pylist()}
    assert {tuple(row[k] for k in row if k != "key") for row in drawn.to_pylist()} <= real
    assert not set(drawn.column("key").to_pylist()) & set(mixed.column("key").to_pylist())


def test_shares_are_those_of_train(mixed: Dataset) -> None:
    drawn = draw(Bootstrap().fit(mixed, seed=0), mixed, 6000, seed=1)
    share = drawn.column("label").to_pylist().count("rare") / 6000
    assert share == pytest.approx(1 / 6, abs=0.02)


def test_a_condition_on_a_number_or_null_filters_exactly(mixed: Dataset) -> None:
    model = Bootstrap().fit(mixed, seed=0)
    assert set(draw(model, mixed, 40, where={"visits": 4}, seed=1).column("visits").to_pylist()) == {4}
    assert draw(model, mixed, 40, where={"visits": None}, seed=1).column("visits").null_count == 40


def test_a_condition_that_no_row_holds_is_one_sentence(mixed: Dataset) -> None:
    with pytest.raises(GeneratorError, match="no training row holds visits=999"):
        draw(Bootstrap().fit(mixed, seed=0), mixed, 4, where={"visits": 999}, seed=1)
