"""Does every family of series keep the one contract, whatever it is?"""

from __future__ import annotations

import importlib.util
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from configs.components import families
from data.dataset import Dataset
from data.errors import UserError
from data.samples import pump
from data.schema import Column, Schema
from data.windows import Windows, batch, schema, windows
from generators.base import Generator, table
from tests.conftest import mixed_table

#: Settings that make any family quick; a family takes those it has.
QUICK: dict[str, Any] = {
    "epochs": 2, "min_steps": 6, "batch_size": 16, "width": 8, "latent": 4, "steps": 4, "layers": 2, "checkpoint_seconds": 0.0,
    "device": "cpu",
}  # fmt: skip
FAMILIES = {name: cls for name, cls in families("generators", Generator).items() if cls.modality == "series"}
if importlib.util.find_spec("sdv") is None:
    FAMILIES = {name: cls for name, cls in FAMILIES.items() if "par" not in name}
#: Families that learn step by step, and can be stopped.
STEPWISE = {name for name, cls in FAMILIES.items() if "checkpoint_seconds" in {f.name for f in fields(cls)}}

every_family = pytest.mark.parametrize("name", sorted(FAMILIES))


def make(name: str) -> Any:
    cls = FAMILIES[name]
    return cls(**{f.name: QUICK[f.name] for f in fields(cls) if f.name in QUICK})


def drawn(model: Any, rows: Schema, n: int, **how: Any) -> pa.Table:
    return table(model.sample(n, **how), rows.arrow())


def seen(made: pa.Table, rows: Schema) -> Windows:
    return windows(Dataset(made, rows))


def course(n: int = 40, *, classes: bool = True, constant: bool = False, gaps: float = 0.0, length: int = 20) -> Dataset:
    """Windows of several lengths: a wave, a level of two, an attribute that is a number."""
    rng = np.random.default_rng(3)
    t = np.arange(length)
    wave = 5 + np.sin(t / 3 + rng.uniform(0, 6, (n, 1))) + 0.1 * rng.standard_normal((n, length))
    values = np.stack([np.full((n, length), 2.5) if constant else wave, (wave > 5).astype(float)], axis=1).astype(np.float32)
    values[:, 0][rng.random((n, length)) < gaps] = np.nan
    lengths = rng.integers(length // 2, length + 1, n)
    lengths[0] = length
    size = Column(name="size", kind="numeric", dtype="double")
    rows = schema(["wave", "on"], ["a", "b"] if classes else [], levels=[(), ("no", "yes")], period=1.0, attributes=[size])
    names = ["a" if i % 3 else "b" for i in range(n)] if classes else None
    made = batch(rows, values, lengths, classes=names, attributes={"size": [float(i % 4) for i in range(n)]})
    return Dataset(pa.Table.from_batches([made]), rows)


@pytest.fixture(scope="module")
def tiny() -> Dataset:
    return Dataset(pump.draw({"steady": 30, "leak": 16}, length=32), pump.pump_schema({"steady": 30, "leak": 16}))


@pytest.fixture(scope="module")
def fitted() -> dict[str, Any]:
    return {}


def trained(fitted: dict[str, Any], name: str, tiny: Dataset) -> Any:
    """One fit a family for all tests that only draw."""
    if name not in fitted:
        fitted[name] = make(name).fit(tiny, seed=0)
    return fitted[name]


@every_family
def test_the_same_seed_gives_the_same_windows_and_another_seed_others(name: str, tiny: Dataset, fitted: dict[str, Any]) -> None:
    model, rows = trained(fitted, name, tiny), tiny.schema
    assert drawn(model, rows, 12, seed=1).equals(drawn(model, rows, 12, seed=1))
    one, other = (seen(drawn(model, rows, 12, seed=seed), rows) for seed in (1, 2))
    assert not np.array_equal(one.values, other.values)
    assert np.isfinite(one.values).all() and one.values.shape == (12, 5, 32)


@every_family
def test_fitting_twice_gives_one_model_and_leaves_global_randomness_alone(
    name: str, tiny: Dataset, fitted: dict[str, Any]
) -> None:
    first = drawn(trained(fitted, name, tiny), tiny.schema, 8, seed=3)
    np.random.seed(5)
    torch.manual_seed(5)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    again = make(name).fit(tiny, seed=0)
    assert drawn(again, tiny.schema, 8, seed=3).equals(first)
    assert torch.equal(torch.random.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all()


@every_family
def test_a_saved_model_draws_the_same(name: str, tiny: Dataset, fitted: dict[str, Any], tmp_path: Path) -> None:
    model = trained(fitted, name, tiny)
    model.save(tmp_path / "model")
    back = FAMILIES[name].load(tmp_path / "model")
    assert drawn(back, tiny.schema, 10, seed=4).equals(drawn(model, tiny.schema, 10, seed=4))
    assert back == model, "settings come back"
    victim = next(p for p in sorted((tmp_path / "model").iterdir()) if p.name != "envelope.json")
    victim.write_bytes(victim.read_bytes() + b"x")
    with pytest.raises(UserError, match="was changed after it was saved"):
        FAMILIES[name].load(tmp_path / "model")


@every_family
def test_a_condition_holds_in_every_window(name: str, tiny: Dataset, fitted: dict[str, Any]) -> None:
    model, rows = trained(fitted, name, tiny), tiny.schema
    made = drawn(model, rows, 300, where={"class": "leak", "model": "P75"}, seed=5)
    assert made.num_rows == 300 and set(made.column("class").to_pylist()) == {"leak"}
    assert set(made.column("model").to_pylist()) == {"P75"}
    for where, said in [({"class": "boom"}, "'boom'"), ({"model": "P9"}, "'P9'"), ({"flow": 3}, "not by 'flow'")]:
        with pytest.raises(UserError, match=said):
            list(model.sample(3, where=where, seed=0))


@every_family
def test_lengths_levels_and_gaps(name: str) -> None:
    train = course(gaps=0.2)
    held = seen(drawn(make(name).fit(train, seed=1), train.schema, 60, seed=2), train.schema)
    known = windows(train)
    assert set(held.lengths.tolist()) <= set(known.lengths.tolist()) and len(set(held.lengths.tolist())) > 3
    assert np.isfinite(held.values[:, 0][held.inside]).all(), "no reading is missing"
    assert set(np.unique(held.values[:, 1][held.inside]).tolist()) <= {0.0, 1.0}
    assert set(held.attributes.column("size").to_pylist()) <= {0.0, 1.0, 2.0, 3.0}


@every_family
@pytest.mark.parametrize("kind", ["no class", "one class", "constant channel", "one window"])
def test_what_is_odd_is_learned_or_refused_in_a_sentence(name: str, kind: str) -> None:
    train = {
        "no class": lambda: course(classes=False),
        "one class": lambda: course(3).take([1, 2]),
        "constant channel": lambda: course(constant=True),
        "one window": lambda: course(1),
    }[kind]()
    try:
        model = make(name).fit(train, seed=0)
    except UserError as error:
        assert len(str(error).splitlines()) == 1 and kind == "one window", error
        return
    held = seen(drawn(model, train.schema, 9, seed=0), train.schema)
    assert len(held) == 9 and np.isfinite(held.values[:, 0][held.inside]).all()
    if kind == "constant channel" and name != "series.sdv_par":
        assert np.abs(held.values[:, 0][held.inside] - 2.5).max() < 0.05


@every_family
def test_what_is_no_series_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="this family learns series"):
        make(name).fit(Dataset.from_arrow(mixed_table(30), target="label"), seed=0)
    empty = course(6).take([])
    with pytest.raises(UserError, match="no training window"):
        make(name).fit(empty, seed=0)
    silent = windows(course(8))
    silent.values[:, 0] = np.nan
    rows = course(8).schema
    made = batch(rows, silent.values, silent.lengths, classes=["a"] * 8, attributes={"size": [1.0] * 8})
    with pytest.raises(UserError, match="the channel 'wave' has no reading"):
        make(name).fit(Dataset(pa.Table.from_batches([made]), rows), seed=0)


class Stop(Exception):
    """Kills a fit."""


class Killer:
    """A progress that ends the fit at its third report."""

    def __init__(self, after: int) -> None:
        self.after = after

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        self.after -= 1
        if not self.after:
            raise Stop


@pytest.mark.parametrize("name", sorted(STEPWISE))
def test_a_killed_fit_goes_on_and_ends_as_one_that_was_not(
    name: str, tiny: Dataset, fitted: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(Stop):
        make(name).fit(tiny, seed=0, progress=Killer(3), checkpoint=tmp_path)
    assert any(tmp_path.rglob("*.pt")), "a checkpoint is there"
    resumed = make(name).fit(tiny, seed=0, checkpoint=tmp_path)
    whole = trained(fitted, name, tiny)
    assert drawn(resumed, tiny.schema, 10, seed=6).equals(drawn(whole, tiny.schema, 10, seed=6))
