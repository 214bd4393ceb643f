"""Does the search find holes that no fixed cell holds, and does it stay quiet where there are none?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data.dataset import Dataset
from validators.base import Evidence, Intent
from validators.cells import SEARCHED
from validators.features import tables
from validators.judge import judge
from validators.modes import ModesCheck


def cube(n: int, seed: int, *, hole: bool = False) -> pd.DataFrame:
    """n rows, even in six columns; with a hole where three of them are above 0.6 (6.4 % of the rows)."""
    values = np.random.default_rng(seed).random((3 * n, 6))
    inside = (values[:, :3] > 0.6).all(axis=1)
    return pd.DataFrame(values[~inside] if hole else values, columns=list("abcdef")).head(n)


def found(made: pd.DataFrame) -> tuple[str, str]:
    schema = Dataset.from_pandas(cube(2000, 1)).schema
    train, holdout, synthetic = (Dataset.from_pandas(side, schema) for side in (cube(2000, 1), cube(2000, 2), made))
    finding = ModesCheck().evaluate(
        Evidence(train=train, reference=train, holdout=holdout, synthetic=synthetic, intent=Intent(detect=0.5))
    )
    return finding.verdict, finding.culprits[0].cell if finding.culprits else ""


@pytest.mark.parametrize("seed", (3, 4))
def test_a_hole_of_three_conditions_is_found_and_told(seed: int) -> None:
    verdict, cell = found(cube(10_000, seed, hole=True))
    assert verdict == "BLOCK" and cell.startswith("a region around")
    assert all(f"{name} " in cell for name in "abc"), cell


@pytest.mark.parametrize("seed", range(3, 7))
def test_no_hole_no_finding(seed: int) -> None:
    assert found(cube(10_000, seed))[0] == "PASS"


def test_the_search_is_the_least_plain_name() -> None:
    assert SEARCHED == 5


def test_feature_vectors_are_judged_like_rows() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))
    parts = dict(zip(("train", "holdout", "synthetic"), np.split(order, [600, 1100]), strict=True))
    sets = tables({k: digits.data[p] for k, p in parts.items()}, {k: digits.target[p] for k, p in parts.items()})
    assert sets["train"].num_columns == 33
    whole = judge(*sets.values(), target="class", detect=0.2, utility="off")
    assert whole.verdict == "PASS", whole.reason
    kept = sets["synthetic"].filter(np.asarray(sets["synthetic"]["class"]) != "7")
    lost = judge(sets["train"], sets["holdout"], kept, target="class", detect=0.2, utility="off")
    assert lost.verdict == "BLOCK" and "class 7 has 0 %" in lost.reason


def test_features_that_do_not_fit_are_refused() -> None:
    from data.errors import DataError

    with pytest.raises(DataError, match="with one d"):
        tables({"train": np.zeros((5, 3)), "holdout": np.zeros((5, 2))})
    with pytest.raises(DataError, match="not finite"):
        tables({"train": np.full((5, 3), np.nan)})
    with pytest.raises(DataError, match="5 feature vectors but 4 labels"):
        tables({"train": np.random.default_rng(0).random((5, 3))}, {"train": "abcd"})
