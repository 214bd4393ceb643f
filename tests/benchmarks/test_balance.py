"""Is the benchmark of rare classes fair, and does its page say what its cells hold?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import balance
from benchmarks.balance_record import half_width, record, values, verdict
from data.dataset import Dataset
from data.infer import infer
from tests.conftest import mixed_table


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = mixed_table(900)
    monkeypatch.setattr(balance, "read", lambda *_: Dataset(rows, infer(rows, target="label")))
    monkeypatch.setattr(balance, "TRAIN", 300)


@pytest.mark.usefixtures("small")
def test_rows_are_cut_alike_and_tests_are_apart() -> None:
    five, twenty = balance.cut("adult", 5, 0), balance.cut("adult", 20, 0)
    assert five.rare == "rare"
    counts = [part.train.column("label").to_pylist().count("rare") for part in (five, twenty)]
    assert counts == [5, 20] and five.train.num_rows == twenty.train.num_rows == 300
    assert five.test.digest() == twenty.test.digest() != balance.cut("adult", 5, 1).test.digest()
    rows = [{tuple(row.items()) for row in part.train.table.to_pylist() if row["label"] == "rare"} for part in (five, twenty)]
    assert rows[0] < rows[1]
    seen = {tuple(row.items()) for row in twenty.train.table.to_pylist()}
    assert not seen & {tuple(row.items()) for row in five.test.table.to_pylist()}
    # What is tested keeps the real share of the class.
    assert 0.12 < five.test.column("label").to_pylist().count("rare") / five.test.num_rows < 0.21


@pytest.mark.usefixtures("small")
def test_every_arm_gives_a_figure_and_the_page_shows_it(tmp_path: Path) -> None:
    store, page = tmp_path / "cells.json", tmp_path / "page.md"
    arms = ["alone", "weights", "bootstrap", "smote"]
    options = ["--data", "adult", "--few", "5", "20", "--seeds", "0", "1", "--arms", *arms, "--store", str(store)]
    assert balance.main([*options, "--out", str(page)]) == 0
    text = page.read_text()
    assert "## 5 real rows" in text and text.count("| adult |") == 2 and "**" in text
    # The class lies six spreads away: with twenty rows of it, repeated rows make it plain.
    task = balance.cut("adult", 20, 0)
    assert balance.average_precision(task, task.train, "weights", 0) > 0.9
    before = store.read_bytes()
    assert balance.main([*options, "--out", ""]) == 0 and store.read_bytes() == before


def test_figures_of_the_page() -> None:
    cells = {f"t|5|{seed}|{arm}": {"ap": ap} for arm, base in (("alone", 0.5), ("smote", 0.6)) for seed, ap in
             enumerate((base, base + 0.02, base + 0.01))}  # fmt: skip
    np.testing.assert_allclose(values(cells, "t", 5, "smote", [0, 1, 2]), [0.6, 0.62, 0.61])
    assert np.isnan(values(cells, "t", 5, "smote", [7]))[0] and np.isnan(half_width(np.array([0.5])))
    assert half_width(np.array([0.60, 0.62, 0.61])) == pytest.approx(4.3027 * 0.01 / np.sqrt(3), rel=1e-3)
    assert [verdict(np.array(x)) for x in ([0.1, 0.11], [-0.1, -0.11], [-0.1, 0.1])] == ["better", "worse", "-"]
    text = record(cells, ["t"], [5], ["alone", "smote"], [0, 1, 2])
    assert "| t | 0.510 ± 0.025 | **0.610 ± 0.025** |" in text
    assert "| 5 | SMOTE | +0.100 ± 0.000 | 1 | 0 |" in text
