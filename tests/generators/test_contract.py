"""Does every family keep the one contract, whatever it is?"""

from __future__ import annotations

import datetime as dt
import importlib.util
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from configs.components import families
from data.dataset import Dataset
from data.errors import UserError
from data.schema import Column, Schema
from generators.base import Generator, table
from tests.conftest import mixed_table

#: Settings that make any family quick; a family takes those it has.
QUICK: dict[str, Any] = {
    "epochs": 2, "min_steps": 6, "batch_size": 40, "width": 16, "latent": 4, "checkpoint_seconds": 0.0, "device": "cpu",
    "bounds": "data", "secure": False, "steps": 6, "marginals": 2, "epsilon": 2000.0,
    "generator_dim": (16,), "discriminator_dim": (16,), "compress_dims": (16,), "decompress_dims": (16,),
}  # fmt: skip
FAMILIES = {name: cls for name, cls in families("generators", Generator).items() if cls.modality == "tabular"}
if importlib.util.find_spec("sdv") is None:
    FAMILIES = {name: cls for name, cls in FAMILIES.items() if not name.startswith("sdv")}

every_family = pytest.mark.parametrize("name", sorted(FAMILIES))


def make(name: str) -> Any:
    cls = FAMILIES[name]
    return cls(**{f.name: QUICK[f.name] for f in fields(cls) if f.name in QUICK})


def rows(model: Any, n: int, **how: Any) -> pa.Table:
    return table(model.sample(n, **how), model_schema(model))


def model_schema(model: Any) -> pa.Schema:
    first = next(iter(model.sample(1, seed=0)))
    return first.schema


@pytest.fixture(scope="module")
def tiny() -> Dataset:
    return Dataset.from_arrow(mixed_table(120), target="label")


@pytest.fixture(scope="module")
def fitted(tiny: Dataset) -> dict[str, Any]:
    return {}


def trained(fitted: dict[str, Any], name: str, tiny: Dataset) -> Any:
    """One fit a family for all tests that only draw."""
    if name not in fitted:
        fitted[name] = make(name).fit(tiny, seed=0)
    return fitted[name]


@every_family
def test_the_same_seed_gives_the_same_rows_and_another_seed_others(name: str, tiny: Dataset, fitted: dict[str, Any]) -> None:
    model = trained(fitted, name, tiny)
    assert rows(model, 30, seed=1).equals(rows(model, 30, seed=1))
    assert not rows(model, 30, seed=1).equals(rows(model, 30, seed=2))


@every_family
def test_fitting_twice_with_one_seed_gives_one_model(name: str, tiny: Dataset, fitted: dict[str, Any]) -> None:
    again = make(name).fit(tiny, seed=0)
    assert rows(again, 20, seed=3).equals(rows(trained(fitted, name, tiny), 20, seed=3))


@every_family
def test_loading_what_was_saved_draws_the_same(name: str, tiny: Dataset, fitted: dict[str, Any], tmp_path: Path) -> None:
    model = trained(fitted, name, tiny)
    model.save(tmp_path / "model")
    loaded = FAMILIES[name].load(tmp_path / "model")
    assert loaded == model
    assert rows(loaded, 30, seed=5, where={"label": "rare"}).equals(rows(model, 30, seed=5, where={"label": "rare"}))


@every_family
@pytest.mark.parametrize("where", [{"label": "rare"}, {"city": "Bern, west"}, {"label": "common", "member": True}], ids=str)
def test_every_row_holds_the_condition(name: str, where: dict[str, Any], tiny: Dataset, fitted: dict[str, Any]) -> None:
    drawn = rows(trained(fitted, name, tiny), 25, where=where, seed=2)
    assert drawn.num_rows == 25
    for column, value in where.items():
        assert pc.all(pc.equal(drawn.column(column), value)).as_py()


@every_family
def test_a_missing_value_can_be_asked_for(name: str, tiny: Dataset, fitted: dict[str, Any]) -> None:
    drawn = rows(trained(fitted, name, tiny), 12, where={"visits": None}, seed=2)
    assert drawn.num_rows == drawn.column("visits").null_count == 12


@pytest.mark.parametrize("name", ["autoregressive", "diffusion", "vae"])
def test_a_moment_within_the_range_need_not_be_seen(name: str, tiny: Dataset, fitted: dict[str, Any]) -> None:
    days = set(tiny.column("since").to_pylist())
    new = next(day for day in (min(days) + dt.timedelta(days=i) for i in range(4000)) if day not in days)
    for text in (str(new), str(new.date())):
        drawn = rows(trained(fitted, name, tiny), 12, where={"since": text, "label": "rare"}, seed=2)
        assert set(drawn.column("since").to_pylist()) == {new}


@every_family
def test_what_a_column_cannot_hold_is_refused_in_its_own_format(name: str, tiny: Dataset, fitted: dict[str, Any]) -> None:
    for where, said in (
        ({"since": "soon"}, "where.since: 'soon' is not a date with a time; write one like 19"),
        ({"visits": "1.5"}, "where.visits: '1.5' is not a whole number that the column can hold; its values lie between"),
        ({"amount": None}, "where.amount: the column has no missing values"),
    ):
        with pytest.raises(UserError, match=said):
            list(trained(fitted, name, tiny).sample(3, where=where, seed=0))
    if FAMILIES[name].exact_conditions and name not in ("bootstrap", "smote"):
        with pytest.raises(UserError, match=r"no training row holds 1999-.*; its values lie between 19\d\d-\d\d-\d\d 00:00:00"):
            list(trained(fitted, name, tiny).sample(3, where={"since": "1999-01-01"}, seed=0))


@every_family
def test_types_spelling_range_digits_and_ids(name: str, tiny: Dataset, fitted: dict[str, Any]) -> None:
    drawn = rows(trained(fitted, name, tiny), 200, seed=4)
    assert drawn.schema == tiny.schema.arrow()
    for column in tiny.schema:
        values, real = drawn.column(column.name), tiny.column(column.name)
        if column.kind == "id":
            assert len(pc.unique(values)) == 200
            assert not pc.any(pc.is_in(values, value_set=real.combine_chunks())).as_py()
        elif column.discrete:
            assert set(values.drop_null().unique().to_pylist()) <= set(real.unique().to_pylist())
        else:
            assert pc.min(values).as_py() >= pc.min(real).as_py()
            assert pc.max(values).as_py() <= pc.max(real).as_py()
        assert column.nullable or values.null_count == 0
    amounts = drawn.column("amount").to_numpy()
    np.testing.assert_array_equal(amounts, np.round(amounts, 2))


@every_family
def test_exactly_n_rows_in_batches(name: str, tiny: Dataset, fitted: dict[str, Any]) -> None:
    model = trained(fitted, name, tiny)
    assert sum(batch.num_rows for batch in model.sample(10_001, seed=0)) == 10_001
    assert rows(model, 0, seed=0).num_rows == 0


@every_family
def test_global_randomness_is_left_alone(name: str, tiny: Dataset) -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    rows(make(name).fit(tiny, seed=0), 5, seed=0)
    assert torch.equal(before[0], torch.random.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])


class Killed(Exception):
    pass


class KillAfter:
    """A progress that ends the process, so to speak, after some reports."""

    def __init__(self, reports: int) -> None:
        self.left = reports

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


@every_family
def test_a_killed_fit_goes_on_and_ends_as_an_uninterrupted_one(name: str, tiny: Dataset, tmp_path: Path) -> None:
    def long() -> Any:
        model = make(name)
        if hasattr(model, "min_steps"):
            model.min_steps = 80  # several blocks, so that there is something to go on from
        return model

    whole = long().fit(tiny, seed=0)
    model = long()
    try:
        model.fit(tiny, seed=0, progress=KillAfter(1), checkpoint=tmp_path)
    except Killed:
        model = long().fit(tiny, seed=0, checkpoint=tmp_path)
    assert rows(model, 40, seed=1).equals(rows(whole, 40, seed=1))


def frame(kind: str) -> Dataset:
    """Tables that are awkward in one way each."""
    n = 40
    rng = np.random.default_rng(0)
    x, label = rng.normal(size=n), np.where(np.arange(n) % 4 == 0, "a", "b")
    columns: dict[str, pa.Array] = {"x": pa.array(x), "label": pa.array(label)}
    if kind == "constant column":
        columns["c"], columns["k"] = pa.array(np.full(n, 7)), pa.array(["same"] * n)
    elif kind == "all-missing column":
        columns["c"], columns["k"] = pa.array([None] * n, pa.float64()), pa.array([None] * n, pa.string())
    elif kind == "one row":
        columns = {name: values.slice(0, 1) for name, values in columns.items()}
    elif kind == "one class":
        columns["label"] = pa.array(["a"] * n)
    elif kind == "everything constant":
        columns = {"x": pa.array(np.full(n, 1.5)), "label": pa.array(["a"] * n)}
    elif kind == "NaN":
        columns["x"] = pa.array(np.where(np.arange(n) % 5 == 0, np.nan, x), from_pandas=False)
    elif kind == "infinite":
        columns["x"] = pa.array(np.where(np.arange(n) % 5 == 0, np.inf, x))
    elif kind == "rare types":
        columns["f"] = pa.array(x.astype(np.float32))
        columns["u"] = pa.array(np.arange(n) % 9, pa.uint8())
        columns["d"] = pa.array(np.arange(n) * 37 - 900, pa.int32()).cast(pa.date32())
        columns["e"] = pa.array(label).dictionary_encode()
        columns["t"] = pa.array(np.arange(n) * 10**15, pa.int64()).cast(pa.timestamp("ns", tz="Europe/Berlin"))
    elif kind == "text":
        columns["note"] = pa.array([f"once upon a time there were {i} rows" for i in range(n)])
    return Dataset(pa.table(columns), Schema(tuple(column(k, v, kind) for k, v in columns.items()), target="label"))


def column(name: str, values: pa.Array, kind: str) -> Column:
    plain = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    means: Any = "categorical" if pa.types.is_string(plain.type) else "numeric"
    means = "text" if name == "note" else means
    means = "integer" if pa.types.is_integer(plain.type) else means
    means = "datetime" if pa.types.is_temporal(plain.type) else means
    levels = tuple(pc.unique(plain.drop_null()).to_pylist()) if means == "categorical" else ()
    nullable = values.null_count > 0 or kind == "NaN"
    return Column(name=name, kind=means, dtype=str(values.type), nullable=nullable, categories=levels)


AWKWARD = (
    "constant column",
    "all-missing column",
    "one row",
    "one class",
    "everything constant",
    "NaN",
    "infinite",
    "rare types",
    "text",
)
#: Where no family may refuse: the house handles these.
WORKS = {"constant column", "all-missing column", "one class", "NaN", "rare types"}


@every_family
@pytest.mark.parametrize("kind", AWKWARD)
def test_awkward_data_work_or_fail_with_one_sentence(name: str, kind: str) -> None:
    data = frame(kind)
    try:
        drawn = rows(make(name).fit(data, seed=0), 12, seed=0)
    except UserError as error:
        sentence = str(error)
        assert kind not in WORKS, sentence
        assert sentence and "\n" not in sentence and len(sentence) < 250
        return
    assert kind != "text"
    assert drawn.schema == data.schema.arrow()
    assert drawn.num_rows == 12
    if kind == "constant column":
        assert set(drawn.column("c").to_pylist()) == {7} and set(drawn.column("k").to_pylist()) == {"same"}
    if kind == "all-missing column":
        assert drawn.column("c").null_count == drawn.column("k").null_count == 12


@every_family
@pytest.mark.parametrize("where", [{"nowhere": 1}, {"label": "unheard of"}, {"key": "0001-BX"}], ids=str)
def test_an_impossible_condition_is_one_sentence(
    name: str, where: dict[str, Any], tiny: Dataset, fitted: dict[str, Any]
) -> None:
    with pytest.raises(UserError) as caught:
        list(trained(fitted, name, tiny).sample(3, where=where, seed=0))
    assert "\n" not in str(caught.value)
