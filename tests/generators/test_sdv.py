"""Do SDV's synthesizers keep the contract: seeds, conditions, types, silence, saving?"""

from __future__ import annotations

import datetime as dt
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from data.dataset import Dataset
from data.errors import DataError
from data.schema import Column, Schema
from generators.base import Generator, GeneratorError, table
from generators.tabular import sdv as backend
from generators.tabular._conditions import matches, matching, part_seed, resolve

SMALL: dict[str, dict[str, Any]] = {
    "CTGAN": {"epochs": 2, "batch_size": 40, "generator_dim": (16,), "discriminator_dim": (16,)},
    "CopulaGAN": {"epochs": 1, "batch_size": 40, "generator_dim": (16,), "discriminator_dim": (16,)},
    "TVAE": {"epochs": 2, "batch_size": 40, "compress_dims": (16,), "decompress_dims": (16,)},
    "GaussianCopula": {},
}
FAMILIES = list(SMALL)


def _column(name: str, kind: Any, values: pa.Array, **facts: Any) -> Column:
    levels: tuple[Any, ...] = ()
    if kind in ("categorical", "boolean"):
        levels = tuple(v for v, _ in Counter(v for v in values.to_pylist() if v is not None).most_common())
    return Column(name=name, kind=kind, dtype=str(values.type), nullable=values.null_count > 0, categories=levels, **facts)


def _tiny(n: int = 90) -> Dataset:
    rng = np.random.default_rng(5)
    days = [int(d) for d in rng.integers(0, 20_000, n)]
    columns: dict[str, tuple[Any, pa.Array, dict[str, Any]]] = {
        "price": ("numeric", pa.array(np.round(rng.normal(size=n), 2), mask=rng.random(n) < 0.2), {"decimals": 2}),
        "big": ("integer", pa.array(rng.integers(0, 90, n) + 2**60), {}),
        "state": ("categorical", pa.array(rng.choice([" State-gov", "y, z", "é😀"], n), mask=rng.random(n) < 0.2), {}),
        "coded": ("categorical", pa.array(rng.choice(["u", "v"], n)).dictionary_encode(), {}),
        "flag": ("boolean", pa.array(rng.random(n) < 0.3), {}),
        "at": ("datetime", pa.array([dt.datetime(1950, 1, 1) + dt.timedelta(days=d) for d in days], pa.timestamp("ns")), {}),
        "day": ("datetime", pa.array([dt.date(1950, 1, 1) + dt.timedelta(days=d) for d in days]), {}),
        "same": ("numeric", pa.array([3.5] * n), {}),
        "gone": ("numeric", pa.array([None] * n, pa.float64()), {}),
        "y": ("categorical", pa.array(np.where(rng.random(n) < 0.4, "pos", "neg")), {}),
    }
    schema = Schema(tuple(_column(k, kind, values, **facts) for k, (kind, values, facts) in columns.items()), target="y")
    return Dataset(pa.table({k: v[1] for k, v in columns.items()}), schema)


@pytest.fixture(scope="module")
def tiny() -> Dataset:
    return _tiny()


@pytest.fixture(scope="module")
def fitted(tiny: Dataset) -> dict[str, Any]:
    return {name: getattr(backend, name)(**SMALL[name]).fit(tiny, seed=3) for name in FAMILIES}


def _draw(model: Any, n: int, seed: int, **settings: Any) -> pa.Table:
    return table(model.sample(n, seed=seed, **settings), model.schema_.arrow())


@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_a_generator_and_its_seeds_hold(name: str, fitted: dict[str, Any], tiny: Dataset) -> None:
    model, again = fitted[name], getattr(backend, name)(**SMALL[name]).fit(tiny, seed=3)
    other = getattr(backend, name)(**SMALL[name]).fit(tiny, seed=4)
    rows = _draw(model, 40, 1)
    assert isinstance(model, Generator)
    assert rows.equals(_draw(model, 40, 1))
    assert rows.equals(_draw(again, 40, 1))
    assert not rows.equals(_draw(model, 40, 2))
    # A Gaussian copula is fitted without chance; the networks are not.
    assert rows.equals(_draw(other, 40, 1)) == (name == "GaussianCopula")


def test_seeds_hold_where_sdv_encodes_columns_in_worker_processes() -> None:
    many = _tiny(510)  # ctgan does so from 500 rows on
    first, second = (backend.CTGAN(**SMALL["CTGAN"] | {"epochs": 1}).fit(many, seed=1) for _ in range(2))
    assert _draw(first, 30, 0).equals(_draw(second, 30, 0))


@pytest.mark.parametrize("name", FAMILIES)
def test_what_goes_out_looks_like_what_came_in(name: str, fitted: dict[str, Any], tiny: Dataset) -> None:
    rows = _draw(fitted[name], 300, 1)
    assert rows.schema.equals(tiny.schema.arrow())
    assert rows.num_rows == 300
    for column in tiny.schema:
        real, drawn = tiny.column(column.name).to_pylist(), rows[column.name].to_pylist()
        if column.discrete:
            assert set(drawn) <= set(real), column.name
        elif column.name not in ("gone",):
            seen = [v for v in real if v is not None]
            assert all(min(seen) <= v <= max(seen) for v in drawn if v is not None), column.name
    assert all(v == round(v, 2) for v in rows["price"].to_pylist() if v is not None)
    assert 20 < rows["price"].null_count < 120  # 20 % of 300, give or take
    assert all(v.hour == v.minute == v.second == 0 for v in rows["at"].to_pylist())
    assert set(rows["same"].to_pylist()) == {3.5}
    assert rows["gone"].null_count == 300
    assert rows["big"].null_count == rows["flag"].null_count == 0


@pytest.mark.parametrize("name", FAMILIES)
def test_saved_and_loaded_it_draws_the_same(name: str, fitted: dict[str, Any], tmp_path: Path) -> None:
    fitted[name].save(tmp_path)
    loaded = getattr(backend, name).load(tmp_path)
    assert loaded == fitted[name]
    assert _draw(loaded, 25, 7).equals(_draw(fitted[name], 25, 7))
    with (tmp_path / "state.pkl").open("ab") as file:
        file.write(b"x")
    with pytest.raises(GeneratorError, match="was changed after it was saved"):
        getattr(backend, name).load(tmp_path)


def test_two_fresh_processes_with_different_seeds_draw_different_rows(fitted: dict[str, Any], tmp_path: Path) -> None:
    fitted["GaussianCopula"].save(tmp_path)
    code = (
        "import sys; from pathlib import Path; from generators.tabular.sdv import GaussianCopula as G\n"
        "m = G.load(Path(sys.argv[1])); print([b.to_pylist() for b in m.sample(5, seed=int(sys.argv[2]))])"
    )
    shards = [
        subprocess.run([sys.executable, "-c", code, str(tmp_path), seed], capture_output=True, text=True, check=True)  # noqa: S603
        for seed in ("1", "2", "1")
    ]
    assert shards[0].stdout == shards[2].stdout != shards[1].stdout
    assert shards[0].stderr == ""


@pytest.mark.parametrize("name", ["CTGAN", "GaussianCopula"])
def test_conditions_hold_in_every_row(name: str, fitted: dict[str, Any]) -> None:
    rows = _draw(fitted[name], 50, 1, where={"y": " POS", "flag": False})
    assert rows.num_rows == 50
    assert set(rows["y"].to_pylist()) == {"pos"}
    assert set(rows["flag"].to_pylist()) == {False}


def test_global_random_state_is_left_alone_and_nothing_is_printed(
    tiny: Dataset, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    wanted = random.random(), np.random.random(), torch.rand(1).item()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    model = backend.CTGAN(**SMALL["CTGAN"]).fit(tiny, seed=0)
    list(model.sample(5, seed=0))
    assert (random.random(), np.random.random(), torch.rand(1).item()) == wanted
    assert capfd.readouterr() == ("", "")
    assert not [w for w in recwarn if "sdv" in w.filename or "ctgan" in w.filename]


class _Heard:
    def __init__(self) -> None:
        self.calls: list[tuple[int, int, str, dict[str, float]]] = []

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        self.calls.append((done, total, what, figures))


@pytest.mark.parametrize(("name", "losses"), [("CTGAN", {"generator_loss", "discriminator_loss"}), ("TVAE", {"loss"})])
def test_every_epoch_is_told_with_its_losses(name: str, losses: set[str], tiny: Dataset) -> None:
    heard = _Heard()
    getattr(backend, name)(**SMALL[name]).fit(tiny, seed=0, progress=heard)
    assert [call[:3] for call in heard.calls] == [(1, 2, "epoch"), (2, 2, "epoch")]
    assert all(set(call[3]) == losses and all(map(np.isfinite, call[3].values())) for call in heard.calls)


def test_a_diverging_fit_names_the_epoch(tiny: Dataset) -> None:
    wild = backend.TVAE(**SMALL["TVAE"] | {"epochs": 60, "loss_factor": 1e38})
    with pytest.raises(GeneratorError, match=r"diverged in epoch \d+ of 60.*learning rate"):
        wild.fit(tiny, seed=0)


def test_draws_stream_in_bounded_batches(fitted: dict[str, Any]) -> None:
    sizes = [batch.num_rows for batch in fitted["GaussianCopula"].sample(20_001, seed=0)]
    assert sizes == [10_000, 10_000, 1]


def test_one_row_and_one_column_work() -> None:
    one = _tiny().take([0])
    rows = _draw(backend.GaussianCopula().fit(one, seed=0), 3, 0)
    assert rows.to_pylist() == one.table.to_pylist() * 3
    alone = Dataset(pa.table({"x": [1, 2, 2, 3]}), Schema((Column(name="x", kind="integer", dtype="int64"),)))
    assert set(_draw(backend.CTGAN(**SMALL["CTGAN"]).fit(alone, seed=0), 20, 0)["x"].to_pylist()) <= {1, 2, 3}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"batch_size": 45}, "multiple of pac"), ({"epochs": 0}, "epochs: 0 is too small"), ({"pac": 3}, "use 498")],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], sentence: str, tiny: Dataset) -> None:
    with pytest.raises(GeneratorError, match=sentence):
        backend.CTGAN(**settings).fit(tiny, seed=0)


def test_columns_it_cannot_learn_are_refused() -> None:
    free = Dataset(pa.table({"note": ["a", "b"]}), Schema((Column(name="note", kind="text", dtype="string"),)))
    with pytest.raises(GeneratorError, match="'note' is text"):
        backend.GaussianCopula().fit(free, seed=0)
    endless = Dataset(pa.table({"x": [1.0, float("inf")]}), Schema((Column(name="x", kind="numeric", dtype="double"),)))
    with pytest.raises(GeneratorError, match="'x' holds infinite"):
        backend.GaussianCopula().fit(endless, seed=0)
    with pytest.raises(GeneratorError, match="no training rows"):
        backend.GaussianCopula().fit(_tiny().take([]), seed=0)


def test_without_sdv_it_says_what_to_do(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(GeneratorError, match="SDV is not installed; `make setup` brings it"):
        backend.GaussianCopula().fit(tiny, seed=0)


def test_importing_the_backend_does_not_import_sdv() -> None:
    code = "import sys, generators.tabular.sdv; sys.exit(any(m.split('.')[0] in ('sdv', 'ctgan', 'rdt') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603


def test_ids_are_made_anew_and_never_repeat() -> None:
    base = _tiny()
    keys = pa.array([f"K-{i:05d}" for i in range(len(base))])
    schema = Schema((_column("key", "id", keys), *base.schema.columns), target="y")
    model = backend.GaussianCopula().fit(Dataset(base.table.add_column(0, "key", keys), schema), seed=0)
    drawn = _draw(model, 200, 0, where={"y": "pos"})["key"].to_pylist()
    assert len(set(drawn)) == 200
    assert not set(drawn) & set(keys.to_pylist())


def _coin(rows: int, seed: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"c": np.where(np.random.default_rng(seed).random(rows) < 0.1, "rare", "often")})


COIN = Schema((Column(name="c", kind="categorical", dtype="string", categories=("often", "rare", "never"), nullable=True),))


def test_rejection_gives_exactly_the_rows_asked_for() -> None:
    for share in (None, 0.1, 0.9):
        batches = list(matching(_coin, 700, {"c": "rare"}, seed=1, rows=1000, share=share))
        assert sum(b.num_rows for b in batches) == 700
        assert all(set(b["c"].to_pylist()) == {"rare"} for b in batches)
    assert list(matching(_coin, 0, {}, seed=1)) == []


def test_rejection_gives_up_on_what_is_never_drawn() -> None:
    with pytest.raises(GeneratorError, match="only 0 of 50000 drawn rows hold c=never"):
        list(matching(_coin, 5, {"c": "never"}, seed=1))


def test_conditions_are_resolved_in_the_columns_own_spelling() -> None:
    assert resolve({"c": " RARE "}, COIN) == {"c": "rare"}
    assert resolve(None, COIN) == {}
    with pytest.raises(DataError, match="did you mean 'often'"):
        resolve({"c": "oftn"}, COIN)
    key = Schema((Column(name="k", kind="id", dtype="int64"), Column(name="n", kind="integer", dtype="int64")))
    with pytest.raises(GeneratorError, match="kind id cannot be a condition"):
        resolve({"k": 1}, key)
    with pytest.raises(GeneratorError, match="'x' is not a whole number that the column can hold"):
        resolve({"n": "x"}, key)
    assert resolve({"n": "4"}, key) == {"n": 4}
    batch = pa.RecordBatch.from_pydict({"c": ["rare", None, "often"]})
    assert matches(batch, {"c": None}).to_pylist() == [False, True, False]
    assert matches(batch, {"c": "rare"}).to_pylist() == [True, False, False]


def test_the_parts_of_a_draw_have_seeds_of_their_own() -> None:
    seeds = [part_seed(seed, part) for seed in (0, 1, 2**40) for part in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)
