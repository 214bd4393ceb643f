"""A quick version of the gate's calibration: fixed seeds, generous bounds. The long one is `make bench-gate`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import gate_faults as faults
from benchmarks.gate import Alarms, Power, Store, alarm_rows, power_rows, wilson
from benchmarks.gate_data import MIXTURES, available
from benchmarks.gate_trials import mixture_against_itself, real_against_real, trials

#: Fault, data, sizes -> caught in at least so many of three trials.
QUICK = {
    ("a mode of 5% dropped", "ring of 8, 2-D", "n = 2000, m = 20000"): 3,
    ("a mode of 1% dropped", "20 modes, 8-D", "n = 2000, m = 20000"): 3,
    ("a mode of 1% dropped", "grid of 25, 2-D", "n = 2000, m = 20000"): 2,
    ("a class shrunk to sd x 0.9", "20 modes, 8-D", "n = 500, m = 5000"): 3,
    ("2 % near copies of training rows", "20 modes, 8-D", "n = 2000, m = 2000"): 3,
    ("2 % near copies of training rows", "20 modes, 8-D", "n = 500, m = 500"): 2,
    ("labels of two classes swapped on 30 % of rows", "digits", "n = 500, m = 690"): 2,
}
REAL = {
    ("a mode of 5% dropped", "adult, random region", "n = 2000, m = 20000"): 1,
    ("a hole in a pair of categories, marginals intact", "adult", "n = 2000, m = 20000, h_c >= 30"): 1,
    ("2 % near copies of training rows", "bank_marketing", "n = 500, m = 500"): 1,
}


@pytest.mark.parametrize("row", list(QUICK), ids=lambda row: " ".join(row)[:70])
def test_planted_faults_are_caught(row: tuple[str, str, str]) -> None:
    trial = next(t for t in trials() if (t.row, t.data, t.setting) == row)
    assert sum(bool(trial.trial(seed)) for seed in range(1000, 1003)) >= QUICK[row]


@pytest.mark.parametrize("row", list(REAL), ids=lambda row: " ".join(row)[:70])
def test_planted_faults_are_caught_on_real_tables(real_data: Path, row: tuple[str, str, str]) -> None:
    trial = next(t for t in trials() if (t.row, t.data, t.setting) == row)
    assert sum(bool(trial.trial(seed)) for seed in range(1000, 1002)) >= REAL[row]


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_real_rows_are_left_alone(name: str) -> None:
    for seed in range(1000, 1002):
        assert real_against_real(name)(seed).verdict != "BLOCK"


@pytest.mark.parametrize("mixture", MIXTURES, ids=lambda mixture: mixture.name)
def test_a_mixture_is_like_itself(mixture) -> None:
    assert mixture_against_itself(mixture, 500, 1500)(1000).verdict != "BLOCK"


def test_every_fault_of_the_promise_is_in_the_record() -> None:
    rows = {t.row for t in trials()}
    assert len(rows) == 7 and all(t.least or "m = 2000" in t.setting or "1%" in t.row for t in trials()), rows
    assert {real.name for real in available()} >= {"digits", "breast_cancer"}


def test_a_hole_keeps_both_marginals_and_a_swap_keeps_the_mix() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": rng.choice(list("xyz"), 900), "b": rng.choice(list("uvw"), 900), "t": rng.choice(["p", "q"], 900)}
    )
    holed = faults.hole(frame, "a", "b", ("x", "u"), rng)
    assert not ((holed.a == "x") & (holed.b == "u")).any()
    assert all(sorted(holed[c]) == sorted(frame[c]) for c in "ab")
    swapped = faults.swapped(frame, "t", ("p", "q"), 0.3, rng)
    assert sorted(swapped.t) == sorted(frame.t) and 0.2 < (swapped.t != frame.t).mean() < 0.35


def test_a_loosened_pair_keeps_its_marginals() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=4000)
    real = pd.DataFrame({"a": a, "b": a + 0.5 * rng.normal(size=4000), "c": rng.normal(size=4000), "y": "x"})
    made = faults.loosened(real, real, "y", rng)
    assert (
        made is not None
        and np.array_equal(np.sort(made.b), np.sort(real.b))
        and made.drop(columns="b").equals(real.drop(columns="b"))
    )
    before, after = (frame.a.corr(frame.b) for frame in (real, made))
    assert before > 0.85 and 0.4 * before < after < 0.6 * before
    assert faults.loosened(real[["a", "c", "y"]], real[["a", "c", "y"]], "y", rng) is None


def test_a_region_holds_about_its_share() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.normal(size=5000), "y": rng.normal(size=5000), "c": rng.choice(list("abcd"), 5000)})
    for share in (0.05, 0.01):
        inside = faults.holds(frame, faults.region(frame, share, rng, None))
        assert 0.9 * share <= inside.mean() <= 1.2 * share


def test_the_record_goes_on_where_it_stopped_and_says_what_was_missed(tmp_path: Path) -> None:
    assert wilson(0, 200) == pytest.approx((0.0, 0.0188), abs=1e-3)
    store = Store(tmp_path / "rows.json")
    store.add("one", Alarms("adult", "n", {"PASS": 198, "BLOCK": 2}, {"modes": 2}, 1.0))
    store.add("two", Power("a mode", "ring", "n", "modes", 0.99, 90, 100, 1.0))
    again = Store(tmp_path / "rows.json")
    assert json.loads((tmp_path / "rows.json").read_text()).keys() == {"one", "two"}
    assert "2 of 200" in alarm_rows(again.alarms())[-1] and "met" in alarm_rows(again.alarms())[-1]
    assert "**missed**" in power_rows(again.powers())[-1]
