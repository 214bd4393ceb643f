"""Are windows that were pieced together from training windows told, and those that merely repeat themselves not?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from data.dataset import Dataset
from data.windows import batch, schema
from generators.series.bootstrap import Bootstrap
from tests.validators.series_sets import blocked, changed, findings, prepared, pumps
from validators._series_copies import pieced
from validators._series_features import Planes
from validators._series_stretches import Known, stretches

Array = np.ndarray


@pytest.fixture(scope="module")
def train() -> Dataset:
    return pumps(1)


@pytest.fixture(scope="module")
def holdout() -> Dataset:
    return pumps(2)


def pasted(train: Dataset, block: int | None) -> Dataset:
    """Windows of blocks of training windows; a quarter of a window each where nothing is stated."""
    return Dataset(pa.Table.from_batches(list(Bootstrap(block=block).fit(train, seed=0).sample(300, seed=1))), train.schema)


@pytest.mark.parametrize("block", [None, 32])
def test_windows_pasted_from_parts_of_training_windows_are_copies(train: Dataset, holdout: Dataset, block: int | None) -> None:
    found = findings(prepared(train, holdout, pasted(train, block)), "copies")["copies"]
    assert found.verdict == "BLOCK" and "pieced together from parts of training windows" in found.summary
    parts = found.details["parts"]
    assert parts["pieced"] == parts["windows"] == 300 and parts["pieced_holdout"] == 0
    told = [culprit.cell for culprit in found.culprits if ", readings " in culprit.cell]
    assert told and told[0].startswith("synthetic window 0, readings ") and " = training window " in told[0]


def test_parts_that_were_lifted_and_blurred_a_little_are_copies_still(train: Dataset, holdout: Dataset) -> None:
    def lifted(values: Array) -> Array:
        rng = np.random.default_rng(3)
        noise = 0.002 * values[:, :4].std(axis=(0, 2))[None, :, None] * rng.standard_normal(values[:, :4].shape)
        values[:, :4] = values[:, :4] * rng.uniform(0.8, 1.2, (len(values), 4, 1)) + noise
        return np.maximum(values, 0)

    found = findings(prepared(train, holdout, changed(pasted(train, None), lifted)), "copies")["copies"]
    assert found.verdict == "BLOCK" and found.details["parts"]["pieced"] > 100


def made(n: int, seed: int, how: str) -> Dataset:
    """Windows of one channel of 64 readings: sines alone, steps of a few heights, or a channel that hardly ever moves."""
    rng = np.random.default_rng([seed, 3])
    t = np.arange(64)
    if how == "sines":
        values = np.sin(2 * np.pi * t / rng.integers(8, 24, n)[:, None] + rng.uniform(0, 2 * np.pi, n)[:, None])
    elif how == "steps":
        values = (t[None, :] >= rng.integers(4, 60, n)[:, None]) * rng.integers(1, 4, n)[:, None]
    else:
        values = np.where(rng.random((n, 64)) < 0.01, 1.0, 0.0)
    rows = schema(("level",), period=1.0)
    return Dataset(pa.Table.from_batches([batch(rows, values[:, None, :].astype(np.float32), np.full(n, 64))]), rows)


@pytest.mark.parametrize("how", ["sines", "steps", "still"])
def test_windows_that_repeat_what_all_repeat_are_no_copies(how: str) -> None:
    given = prepared(made(120, 1, how), made(120, 2, how), made(360, 3, how))
    assert "copies" not in blocked(given, "copies")
    found = pieced(given)
    assert found is None or found.test.verdict == "PASS"


def test_the_nearest_stretch_is_that_of_a_plain_search(train: Dataset) -> None:
    held = prepared(train, train.take(np.arange(40)), train).memo["windows"]["train"].take(np.arange(0, 340, 20))
    planes = Planes.of(held)
    known = Known(held, planes, seed=0)
    asked = stretches(planes(held), held.lengths, known.length, step=known.length)
    far, place = known._nearest(asked.vectors[:50])
    plain = np.linalg.norm(asked.vectors[:50, None, :] - known.base.vectors[None, :, :], axis=2) / np.sqrt(2)
    assert np.abs(far - plain.min(axis=1)).max() < 2e-3
    assert (known.base.window[place] == asked.window[:50]).mean() > 0.95, "a stretch of a training window is its own copy"


def test_windows_too_short_to_be_cut_are_judged_as_a_whole_alone() -> None:
    rows = schema(("level",), period=1.0)
    short = []
    for seed in range(3):
        values = np.random.default_rng(seed).standard_normal((80, 1, 7)).astype(np.float32)
        short.append(Dataset(pa.Table.from_batches([batch(rows, values, np.full(80, 7))]), rows))
    given = prepared(*short)
    assert pieced(given) is None and findings(given, "copies")["copies"].verdict == "PASS"
