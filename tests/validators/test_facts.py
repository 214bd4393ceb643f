"""Do the facts that the gate is built on hold for its own code?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data.dataset import Dataset
from tests.validators.rows import evidence, frame
from validators.base import Evidence, Intent
from validators.copies import CopiesCheck, closeness
from validators.coverage import CoverageCheck, coverage
from validators.duplicates import DuplicatesCheck
from validators.judge import pronounce
from validators.modes import ModesCheck

MODES, DIMENSIONS = 20, 8
CENTRES = 4 * np.random.default_rng(5).normal(size=(MODES, DIMENSIONS))


def blobs(n: int, rng: np.random.Generator, *, rare: float = 0.05, spread: float = 1.0) -> pd.DataFrame:
    """n rows of an even mixture in 8-D whose first mode has the share `rare`."""
    shares = np.r_[rare, np.full(MODES - 1, (1 - rare) / (MODES - 1))]
    mode = rng.choice(MODES, n, p=shares)
    return pd.DataFrame(CENTRES[mode] + spread * rng.normal(size=(n, DIMENSIONS)), columns=list("abcdefgh"))


def given(train: pd.DataFrame, holdout: pd.DataFrame, synthetic: pd.DataFrame) -> Evidence:
    schema = Dataset.from_pandas(train).schema
    sides = [Dataset.from_pandas(side, schema) for side in (train, holdout, synthetic)]
    return Evidence(train=sides[0], reference=sides[0], holdout=sides[1], synthetic=sides[2], intent=Intent())


def near_copies(made: pd.DataFrame, train: pd.DataFrame, share: float, rng: np.random.Generator) -> pd.DataFrame:
    """`made` with this share of its rows replaced by training rows plus noise of 1 % of each column's deviation."""
    count = round(share * len(made))
    numbers = train.select_dtypes("number").columns
    copied = train.sample(count, random_state=0).reset_index(drop=True)
    copied[numbers] += 0.01 * train[numbers].std().to_numpy() * rng.normal(size=(count, len(numbers)))
    return pd.concat([made.iloc[count:], copied], ignore_index=True)


def test_coverage_rises_when_a_mode_shrinks() -> None:
    rng = np.random.default_rng(0)
    real, again, shrunk = (blobs(2000, rng, spread=spread).to_numpy() for spread in (1.0, 1.0, 0.7))
    assert coverage(real, again).mean() == pytest.approx(0.969, abs=0.01)
    assert coverage(real, shrunk).mean() == pytest.approx(0.986, abs=0.008)


def test_copies_of_the_training_set_cover_all_and_copies_sees_them() -> None:
    train = frame(800, 1)
    points = train[["x", "y"]].to_numpy()
    assert coverage(points, points).mean() == 1.0
    decision = pronounce(evidence(train, frame(800, 2), train))
    verdicts = {f.check: f.verdict for f in decision.findings}
    assert verdicts["copies"] == "BLOCK" and verdicts["coverage"] == verdicts["modes"] == "PASS"
    assert decision.findings[2].details["exact_copies"] == 800


@pytest.mark.parametrize(("times", "least", "most"), [(1, 0, 1), (10, 4, 4)])
def test_a_lost_mode_of_one_percent_is_seen_with_ten_times_the_rows(times: int, least: int, most: int) -> None:
    caught = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        real = blobs(2000, rng, rare=0.01), blobs(2000, rng, rare=0.01)
        caught += ModesCheck().evaluate(given(*real, blobs(times * 2000, rng, rare=0.0))).verdict == "BLOCK"
    assert least <= caught <= most


def test_the_radius_of_duplicates_comes_from_the_reference_and_healthy_digits_pass() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits(as_frame=True).data
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(digits))
        train, holdout, made = (digits.iloc[part] for part in np.array_split(order[:1200], 3))
        found = DuplicatesCheck().evaluate(given(train, holdout, made))
        other = DuplicatesCheck().evaluate(given(train, holdout * 0 + 3, made))
        assert found.verdict == "PASS" and found.value == other.value, found.summary


@pytest.mark.parametrize("seed", range(3))
def test_near_copies_are_caught_also_where_rows_are_few(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for n in (2000, 500):
        train, holdout, made = (blobs(n, rng) for _ in range(3))
        assert CopiesCheck().evaluate(given(train, holdout, near_copies(made, train, 0.02, rng))).verdict == "BLOCK"


def ridge(n: int, rng: np.random.Generator, share: float) -> pd.DataFrame:
    """n rows in 3-D, this share of them on a narrow ridge, the others wide apart."""
    tight = rng.normal(size=(n, 1)) + 0.05 * rng.normal(size=(n, 3))
    return pd.DataFrame(np.where(rng.random((n, 1)) < share, tight, rng.normal(size=(n, 3))), columns=list("abc"))


@pytest.mark.parametrize("seed", range(3))
def test_keeping_to_dense_regions_is_not_copying(seed: int) -> None:
    rng = np.random.default_rng(seed)
    train, holdout, dense = (ridge(2000, rng, share) for share in (0.3, 0.3, 0.9))
    sides = [blobs(1000, rng, spread=spread) for spread in (1.0, 1.0, 0.8)]
    for found in (CopiesCheck().evaluate(given(train, holdout, dense)), CopiesCheck().evaluate(given(*sides))):
        assert found.verdict == "PASS", found.summary
    copied = near_copies(ridge(2000, rng, 0.3), train, 0.1, rng)
    assert CopiesCheck().evaluate(given(train, holdout, copied)).verdict == "BLOCK"


def test_closeness_is_a_ratio_that_units_and_density_do_not_change() -> None:
    rng = np.random.default_rng(0)
    base, query = rng.normal(size=(300, 3)), rng.normal(size=(50, 3))
    ratio, place = closeness(query, base)
    assert closeness(7 * query, 7 * base)[0] == pytest.approx(ratio)
    assert closeness(base[:5], base)[0] == pytest.approx(np.zeros(5), abs=1e-9)
    one = np.linalg.norm(base - base[place[0]], axis=1)
    assert ratio[0] == pytest.approx(np.linalg.norm(query[0] - base[place[0]]) / np.sort(one)[1])


def test_coverage_of_a_shrunken_class_does_not_block() -> None:
    """Only a test of spread sees it; coverage must not be relied on for that."""
    rng = np.random.default_rng(1)
    found = CoverageCheck().evaluate(given(blobs(900, rng), blobs(900, rng), blobs(900, rng, spread=0.9)))
    assert found.verdict == "PASS" and found.value is not None and found.value > 0.98
