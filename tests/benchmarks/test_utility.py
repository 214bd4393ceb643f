"""Is the benchmark of scarce classes fair, and does its page say what its cells hold?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import utility
from benchmarks.utility_record import brought, gain, named, pick, record
from data.dataset import Dataset
from data.infer import infer
from tests.conftest import mixed_table
from validators.worth import BOOSTING, LEARNERS, METRICS


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = mixed_table(900)
    monkeypatch.setattr(utility, "read", lambda *_: Dataset(rows, infer(rows, target="label")))
    monkeypatch.setattr(utility, "TRAIN", 300)
    monkeypatch.setattr(utility, "first", lambda *_: ("smote",))


@pytest.mark.usefixtures("small")
def test_rows_are_cut_alike_and_tests_are_apart() -> None:
    five, twenty = utility.cut("telco_churn", "5", 0), utility.cut("telco_churn", "20", 0)
    assert five.rare == "rare"
    counts = [part.train.column("label").to_pylist().count("rare") for part in (five, twenty)]
    assert counts == [5, 20] and five.train.num_rows == twenty.train.num_rows == 300
    assert five.test.digest() == twenty.test.digest() != utility.cut("telco_churn", "5", 1).test.digest()
    rows = [{tuple(row.items()) for row in part.train.table.to_pylist() if row["label"] == "rare"} for part in (five, twenty)]
    assert rows[0] < rows[1]
    seen = {tuple(row.items()) for row in twenty.train.table.to_pylist()}
    assert not seen & {tuple(row.items()) for row in five.test.table.to_pylist()}
    # What is tested keeps the real share of the class, and so does "all"; of Adult that is a hundredth.
    share = five.test.column("label").to_pylist().count("rare") / five.test.num_rows
    assert 0.12 < share < 0.21
    whole = utility.cut("telco_churn", "all", 0).train.column("label").to_pylist()
    assert whole.count("rare") / len(whole) == pytest.approx(share, abs=0.04)
    assert utility.cut("adult", "all", 0).train.column("label").to_pylist().count("rare") == 3


@pytest.mark.usefixtures("small")
def test_every_arm_gives_figures_and_the_page_shows_them(tmp_path: Path) -> None:
    store, page = tmp_path / "cells.json", tmp_path / "page.md"
    arms = ["nothing", "class weights", "bootstrap", "smote", "choose"]
    options = ["--data", "telco_churn", "--few", "20", "--seeds", "0", "1", "--arms", *arms, "--store", str(store)]
    assert utility.main([*options, "--out", str(page)]) == 0
    text = page.read_text()
    assert "## 20 real rows of the rare class, gradient boosting" in text and "what `choose` picks" in text
    assert "| telco_churn | 20 | 2 |" in text
    before = store.read_bytes()
    assert utility.main([*options, "--out", ""]) == 0 and store.read_bytes() == before


def cell(ap: float) -> dict[str, Any]:
    draws = " ".join(f"{ap + d:.4f}" for d in (-0.01, 0.0, 0.01))
    return {learner: {**dict.fromkeys(METRICS, ap), "draws": draws} for learner in LEARNERS}


def store(**tables: dict[str, float]) -> dict[str, Any]:
    """Two seeds of each table: nothing, weights, and one family whose gain is stated."""
    cells: dict[str, Any] = {}
    for data, figures in tables.items():
        for seed in (0, 1):
            cells[f"{data}|30|{seed}|nothing"] = {"": cell(0.5)}
            cells[f"{data}|30|{seed}|class weights"] = {"": cell(0.49)}
            trial = {"method": "tilt", "level": 1.0, "both": False, "gain": figures["folds"], "error": figures["error"]}
            none = {"method": "nothing", "level": 0.0, "both": False, "gain": 0.0, "error": 0.0}
            drawn = {"tilt@1": cell(figures["true"])}
            cells[f"{data}|30|{seed}|choose"] = {"s": 1.0, "rows": 30, "trials": [trial, none], "failed": {}, **drawn}
    return cells


def test_what_is_picked_knows_only_other_tables_and_its_own_folds() -> None:
    cells = store(a={"folds": 0.0, "error": 0.1, "true": 0.5}, b={"folds": 0.0, "error": 0.1, "true": 0.56})
    assert brought(cells, "30", ["b"], [0, 1])["tilt"] == pytest.approx({"b": 0.06})
    assert pick(cells, "a", "30", 0, ["a", "b"], [0, 1]) == "tilt@1"  # b says that it helps
    assert pick(cells, "b", "30", 0, ["a", "b"], [0, 1]) == "nothing"  # a says that it does not, and the folds say nothing
    sure = store(a={"folds": -0.1, "error": 0.001, "true": 0.4}, b={"folds": 0.0, "error": 0.1, "true": 0.56})
    assert pick(sure, "a", "30", 0, ["a", "b"], [0, 1]) == "nothing"  # the folds are sure
    assert pick({}, "a", "30", 0, ["a"], [0]) is None
    # Of a class of many rows nothing is known from elsewhere.
    many = {key: {**held, "rows": 1000} if key.endswith("choose") else held for key, held in cells.items()}
    assert pick(many, "a", "30", 0, ["a", "b"], [0, 1]) == "nothing"
    text = record(cells, ["a", "b"], ["30"], ["choose"], [0, 1])
    assert "| a | 30 | 2 | tilt to 100 % x 2 |" in text and "| b | 30 | 2 | nothing x 2 |" in text
    assert "| tilt | +0.030 (+0.000 to +0.060) |" in text and "| tilt, filled up | 0.500 / 0.500 / 0.500 | 0.560" in text


def test_gains_are_paired_and_their_intervals_hold_them() -> None:
    a = [cell(0.6)[BOOSTING], cell(0.62)[BOOSTING]]
    b = [cell(0.5)[BOOSTING], cell(0.51)[BOOSTING]]
    value, low, high = gain(a, b)
    assert value == pytest.approx(0.105) and low == pytest.approx(0.1) and high == pytest.approx(0.11)
    assert gain(a, a) == (0.0, 0.0, 0.0)


def test_names_of_what_may_be_picked() -> None:
    assert [named("f", 0.3, False), named("f", 0.3, True), named("nothing", 0.0, False)] == ["f@0.3", "f@0.3+", "nothing"]
    assert np.isfinite(gain([cell(0.5)[BOOSTING]], [cell(0.4)[BOOSTING]])).all()
