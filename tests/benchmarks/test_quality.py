"""Do the benchmark's figures say what their names say?"""

from __future__ import annotations

import importlib.util

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.families import PEER, Measured, report
from benchmarks.quality import Quality, score, share_of_copies
from data.dataset import Dataset
from data.schema import Column, Schema

needs_sdmetrics = pytest.mark.skipif(importlib.util.find_spec("sdmetrics") is None, reason="SDMetrics is not installed")

SCHEMA = Schema(
    (
        Column(name="x", kind="numeric", dtype="double", nullable=True),
        Column(name="c", kind="categorical", dtype="string", categories=("a", "b")),
        Column(name="y", kind="categorical", dtype="string", categories=("no", "yes")),
    ),
    target="y",
)


def _rows(n: int, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    x, c = rng.normal(size=n), rng.choice(["a", "b"], n)
    y = np.where(x + (c == "b") + 0.3 * rng.normal(size=n) > 1, "yes", "no")
    return Dataset(pa.table({"x": pa.array(x, mask=rng.random(n) < 0.05), "c": c, "y": y}), SCHEMA)


def _score(synthetic: Dataset) -> Quality:
    return score(_rows(600, 0), _rows(600, 1), synthetic)


@needs_sdmetrics
def test_fresh_real_rows_score_as_real() -> None:
    fresh = _score(_rows(600, 2))
    assert abs(fresh.tstr_auc - fresh.trtr_auc) < 0.03
    assert 0.4 < fresh.c2st_auc < 0.6
    assert fresh.coverage > 0.9
    assert fresh.shapes > 0.93
    assert abs(fresh.exact - fresh.exact_holdout) < 0.03  # rows whose one number is missing coincide


@needs_sdmetrics
def test_a_copy_of_the_training_rows_is_seen_by_exact_alone() -> None:
    copy = _score(_rows(600, 0))
    assert copy.exact == 1.0
    assert copy.tstr_auc == copy.trtr_auc
    assert copy.shapes == copy.trends == pytest.approx(1.0)


@needs_sdmetrics
def test_shuffled_columns_keep_shapes_and_lose_the_rest() -> None:
    real, rng = _rows(600, 0), np.random.default_rng(0)
    mixed = {name: real.column(name).take(pa.array(rng.permutation(600))) for name in SCHEMA.names}
    loose = _score(Dataset(pa.table(mixed), SCHEMA))
    assert loose.shapes == pytest.approx(1.0)
    assert loose.trends < 0.95
    assert loose.tstr_auc < 0.7
    assert loose.c2st_auc > 0.6


@needs_sdmetrics
def test_a_table_without_one_class_is_still_scored() -> None:
    real = _rows(600, 3)
    rows = [i for i, label in enumerate(real.column("y").to_pylist()) if label == "no"]
    assert _score(real.take(rows)).tstr_auc == 0.5


def test_copies_are_counted_with_missing_equal_to_missing() -> None:
    import pandas as pd

    train = pd.DataFrame({"x": [1.0, np.nan], "c": ["a", "b"]})
    rows = pd.DataFrame({"x": [np.nan, 1.0, 2.0, 1.0], "c": ["b", "b", "a", "a"]})
    assert share_of_copies(rows, train) == 0.5


def test_the_table_gives_medians_and_ratios_against_the_peer() -> None:
    quality = dict.fromkeys(Quality.__annotations__, 0.5)

    def one(family: str, seed: int, fit_s: float) -> Measured:
        times = {"epochs": 7, "fit_s": fit_s, "fit_cpu_s": fit_s, "rows_per_s": 1000, "peak_mib": 500, "before_mib": 300}
        return Measured(family=family, seed=seed, quality=quality, **times)

    measured = [one(PEER, s, f) for s, f in enumerate((10, 30, 20))] + [one("gan", s, f) for s, f in enumerate((5, 4, 90))]
    lines = report(measured, {"families": ["gan", PEER]})
    assert lines[2].startswith("| gan | 7 | 5.00 | 4.00x | 1,000 | 1.00x | 500 | 1.00x |")
    assert lines[3].startswith(f"| {PEER} | 7 | 20.00 | 1.00x |")
