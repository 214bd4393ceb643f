"""Are copies, repeats and holes in the support seen, and do the published facts about coverage hold?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.validators.rows import evidence, frame
from validators.copies import CopiesCheck
from validators.coverage import CoverageCheck, cover, coverage, expected_coverage
from validators.duplicates import DuplicatesCheck


def near_copies(made: pd.DataFrame, train: pd.DataFrame, share: float) -> pd.DataFrame:
    count = int(share * len(made))
    copied = train.head(count).assign(x=lambda rows: rows.x + 1e-5, y=lambda rows: rows.y - 1e-5)
    return pd.concat([made.iloc[count:], copied], ignore_index=True)


@pytest.mark.parametrize("seed", range(3))
def test_two_percent_of_near_copies_block(seed: int) -> None:
    train = frame(2000, 100 + seed)
    found = CopiesCheck().evaluate(evidence(train, frame(2000, 200 + seed), near_copies(frame(2000, 300 + seed), train, 0.02)))
    assert found.verdict == "BLOCK" and "synthetic row" in found.culprits[0].cell


def test_exact_copies_are_named_by_position() -> None:
    train, made = frame(1000, 1), frame(1000, 3)
    found = CopiesCheck().evaluate(evidence(train, frame(1000, 2), pd.concat([made, train.tail(30)], ignore_index=True)))
    assert found.verdict == "BLOCK" and found.details["exact_copies"] == 30
    assert found.culprits[0].cell == "synthetic row 1000 = training row 970"


def test_repeats_block_and_healthy_rows_do_not() -> None:
    train, holdout, made = frame(1000, 1), frame(500, 2), frame(1000, 3)
    assert DuplicatesCheck().evaluate(evidence(train, holdout, made)).verdict == "PASS"
    assert DuplicatesCheck().evaluate(evidence(train, holdout, pd.concat([made.head(500)] * 2))).verdict == "BLOCK"


def test_half_of_the_support_blocks_coverage() -> None:
    made = frame(3000, 3)
    whole = CoverageCheck().evaluate(evidence(frame(1000, 1), frame(500, 2), made))
    half = CoverageCheck().evaluate(evidence(frame(1000, 1), frame(500, 2), made[made.x < made.x.median()]))
    assert whole.verdict == "PASS" and half.verdict == "BLOCK"


@pytest.mark.parametrize(("real", "made", "expected"), [(1000, 1000, 0.969), (1000, 10000, 0.99999), (1000, 100, 0.379)])
def test_expected_coverage_is_the_published_figure(real: int, made: int, expected: float) -> None:
    assert expected_coverage(real, made) == pytest.approx(expected, abs=1.5e-3)


def test_expected_coverage_is_met_by_equal_laws() -> None:
    rng = np.random.default_rng(0)
    seen = np.mean([coverage(rng.normal(size=(300, 4)), rng.normal(size=(300, 4))).mean() for _ in range(20)])
    assert seen == pytest.approx(expected_coverage(300, 300), abs=0.01)


def test_ties_defeat_the_published_comparison() -> None:
    real = np.repeat(np.arange(20.0), 20)[:, None]
    assert coverage(real, real).mean() < 0.05
    assert coverage(real, real, strict=False).mean() == 1.0
    rng = np.random.default_rng(1)
    broken = [side + rng.uniform(-1e-4, 1e-4, side.shape) for side in (real, real)]
    assert cover(*broken).covered.mean() == pytest.approx(expected_coverage(400, 400), abs=0.03)
