"""Does the benchmark of the attacks plant what it says, and write a page of what it found?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks.cells import Cells
from benchmarks.privacy_attacks import ATTACKS, FAULTS, SILENCE, TABLES, copies, drawn, main, trial


def test_so_many_rows_are_copies_and_noise_moves_numbers_alone() -> None:
    train, _, made = drawn(TABLES[0], 0)
    rng = np.random.default_rng(0)
    known = set(map(tuple, train.to_numpy()))
    exact = copies(0.05)(train, made, rng)
    assert len(exact) == len(made) and sum(tuple(row) in known for row in exact.to_numpy()) == round(0.05 * len(made))
    moved = copies(0.05, 0.02)(train, made, rng)
    assert not any(tuple(row) in known for row in moved.to_numpy()) and set(moved.target) == set(train.target)


def test_a_trial_tells_what_each_attack_says() -> None:
    found = trial(TABLES[0], "training rows drawn with replacement", 0)
    assert found["membership"] == found["copies"] == "BLOCK" and set(ATTACKS) <= set(found)


def test_a_page_is_written_of_what_the_store_holds(tmp_path: Path) -> None:
    told = {**dict.fromkeys((*ATTACKS, "copies"), "PASS"), "seconds": 1.0}
    fault = next(iter(FAULTS))
    Cells(tmp_path / "store.json").keep(
        {json.dumps(["breast_cancer", SILENCE, 0]): told, json.dumps(["breast_cancer", fault, 0]): {**told, "rare": "BLOCK"}}
    )
    given = ["--reshuffles", "1", "--trials", "0", "--by-heart", "0", "--data", "breast_cancer"]
    assert main([*given, "--store", str(tmp_path / "store.json"), "--out", str(tmp_path / "page.md")]) == 0
    page = (tmp_path / "page.md").read_text()
    assert f"| breast_cancer | {SILENCE} | 0 of 1 |" in page and f"| breast_cancer | {fault} | 1 of 1 |" in page
