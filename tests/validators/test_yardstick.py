"""Is a holdout that cannot stand for unseen rows found, mended where it can be, and told?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.validators.rows import frame
from validators import judge

TRAIN, HOLDOUT, MADE = frame(800, 1), frame(500, 2), frame(1600, 3)


def test_holdout_rows_that_are_training_rows_are_left_out_and_said() -> None:
    mixed = pd.concat([HOLDOUT, TRAIN.head(100)], ignore_index=True)
    decision = judge(TRAIN, mixed, MADE, target="label", utility="off")
    assert decision.verdict == "PASS", decision.reason
    assert any("100 of 600 holdout rows are train rows too" in note for note in decision.lineage["notices"])
    copied = judge(TRAIN, mixed, pd.concat([MADE, TRAIN.tail(60)], ignore_index=True), target="label", utility="off")
    assert copied.verdict == "BLOCK" and "exact copies" in copied.reason


def test_a_holdout_of_another_kind_judges_nothing() -> None:
    other = HOLDOUT.assign(x=HOLDOUT.x + 50)
    decision = judge(TRAIN, other, MADE, target="label", utility="off")
    assert decision.verdict == "INCONCLUSIVE" and "not of the reference's kind" in decision.reason
    assert "at random" in decision.next_action


def test_a_train_set_with_a_mix_of_its_own_is_no_drift() -> None:
    """Many balance the classes before they train; only the mix differs, and that is no broken yardstick."""
    rng = np.random.default_rng(0)
    yes, no = TRAIN[TRAIN.label == "yes"], TRAIN[TRAIN.label == "no"]
    balanced = pd.concat([no, yes.sample(len(no), replace=True, random_state=rng.integers(2**31))], ignore_index=True)
    decision = judge(balanced, HOLDOUT, MADE, target="label", utility="off")
    assert "not of the reference's kind" not in decision.reason


def test_synthetic_rows_that_are_holdout_rows_judge_nothing() -> None:
    for made in (HOLDOUT, pd.concat([MADE, HOLDOUT], ignore_index=True)):
        decision = judge(TRAIN, HOLDOUT, made, target="label", utility="off")
        assert decision.verdict == "INCONCLUSIVE" and "synthetic rows are holdout rows" in decision.reason
        assert not any(f.verdict in ("BLOCK", "WARN") for f in decision.findings if f.check != "schema")


def test_rows_that_would_do_would_do() -> None:
    """The advice on too few rows must not send its reader in circles."""
    small = HOLDOUT.head(60)
    told = judge(TRAIN, small, MADE.head(600), target="label", utility="off")
    assert told.verdict == "INCONCLUSIVE"
    rows = int(told.next_action.split("about ")[1].split()[0])
    enough = judge(TRAIN, frame(rows, 8), frame(10 * rows, 9), target="label", utility="off")
    assert enough.verdict in ("PASS", "WARN"), (rows, enough.reason)
