"""Are copies, repeats and holes in the support seen, and do the published facts about coverage hold?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data.dataset import Dataset
from tests.validators.rows import evidence, frame
from validators.base import Evidence, Finding
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


def gridded(n: int, seed: int, beside: float = 0.0) -> pd.DataFrame:
    """Numbers of a grid that most rows share, some of them alone; `beside` it when somebody draws them smoothly."""
    rng = np.random.default_rng(seed)
    often = rng.random(n) < 0.6
    rows = pd.DataFrame({f"x{i}": np.where(often, rng.integers(0, 3, n), rng.integers(0, 400, n)) / 10.0 for i in range(3)})
    return moved(rows, rng, beside).assign(label=np.where(rng.random(n) < 0.3, "yes", "no"))


def moved(rows: pd.DataFrame, rng: np.random.Generator, by: float) -> pd.DataFrame:
    return rows.assign(x1=rows.x1 + rng.normal(0, 1, len(rows)) * by)


@pytest.mark.parametrize("seed", range(3))
def test_rows_beside_a_grid_are_no_copies_and_jittered_training_rows_are(seed: int) -> None:
    train, holdout, made = gridded(3000, 100 + seed), gridded(1500, 200 + seed), gridded(3000, 300 + seed, beside=0.01)
    schema = Dataset.from_pandas(train, target="label").schema

    def judged(rows: pd.DataFrame) -> Finding:
        sides = [Dataset.from_pandas(some, schema) for some in (train, holdout, rows)]
        return CopiesCheck().evaluate(Evidence(train=sides[0], reference=sides[0], holdout=sides[1], synthetic=sides[2]))

    found = judged(made)
    assert found.verdict == "WARN" and "they lie as near to unseen rows: they stand beside a grid" in found.summary
    jittered = moved(train, np.random.default_rng(seed), 0.01)
    assert judged(jittered).verdict == "BLOCK"
    some = pd.concat([made.iloc[:2700], jittered.tail(300)], ignore_index=True)
    assert judged(some).verdict == "BLOCK"


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
