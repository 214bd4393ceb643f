"""Are shrunken classes and mistaken labels seen, and healthy ones left alone?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data.dataset import Dataset
from validators.base import Evidence, Finding, Intent
from validators.labels import LabelsCheck
from validators.points import Scaled, nearest
from validators.spread import SpreadCheck


def rows(n: int, seed: int, *, scale: float = 1.0, swap: float = 0.0, overlap: float = 4.0) -> pd.DataFrame:
    """Three classes of Gaussians in 6-D with a word beside; `scale` shrinks class a; `swap` of a and b change labels."""
    rng = np.random.default_rng(seed)
    label = rng.choice(["a", "b", "c"], n, p=[0.5, 0.35, 0.15])
    centre = pd.Series(label).map({"a": 0.0, "b": overlap, "c": 2 * overlap}).to_numpy()
    width = np.where(label == "a", scale, 1.0)
    values = centre[:, None] * [1, 0, 0, 0, 0, 0] + width[:, None] * rng.normal(size=(n, 6))
    moved = (rng.random(n) < swap) & (label != "c")
    label = np.where(moved, np.where(label == "a", "b", "a"), label)
    return pd.DataFrame(values, columns=list("uvwxyz")).assign(word=rng.choice(["in", "out"], n), label=label)


def given(*sides: pd.DataFrame, target: str | None = "label") -> Evidence:
    schema = Dataset.from_pandas(sides[0], target=target).schema
    train, holdout, made = (Dataset.from_pandas(side, schema) for side in sides)
    return Evidence(train=train, reference=train, holdout=holdout, synthetic=made, intent=Intent())


def verdict(check: SpreadCheck | LabelsCheck, made: pd.DataFrame, n: int = 1000) -> Finding:
    return check.evaluate(given(rows(n, 1), rows(n, 2), made))


def test_a_class_shrunk_by_a_tenth_is_named() -> None:
    found = verdict(SpreadCheck(), rows(5000, 3, scale=0.9))
    assert found.verdict == "BLOCK" and found.culprits[0].cell.startswith("class a")
    assert {c.cell.split(":")[0] for c in found.culprits} == {"class a"}
    assert 0.85 < min(scope["scale"] for scope in found.details["scopes"]) < 0.95


@pytest.mark.parametrize("seed", range(3, 6))
def test_alike_is_alike(seed: int) -> None:
    made = rows(5000, seed)
    assert verdict(SpreadCheck(), made).verdict == "PASS"
    assert verdict(LabelsCheck(), made).verdict == "PASS"


def test_a_wider_class_has_not_shrunk() -> None:
    assert verdict(SpreadCheck(), rows(5000, 3, scale=1.3)).verdict == "PASS"


def test_without_classes_the_whole_set_is_measured() -> None:
    real = rows(600, 1).drop(columns="label"), rows(600, 2).drop(columns="label")
    small = rows(3000, 3).drop(columns="label") * 1
    small[list("uvwxyz")] *= 0.8
    found = SpreadCheck().evaluate(given(*real, small, target=None))
    assert found.verdict == "BLOCK" and "the middle of the set" in " ".join(c.cell for c in found.culprits)


def test_swapped_labels_are_named_pair_by_pair_and_overlap_alone_is_not() -> None:
    found = verdict(LabelsCheck(), rows(5000, 3, swap=0.3))
    assert found.verdict == "BLOCK"
    assert any("class a: rows that look like class b" in c.cell for c in found.culprits)
    assert not any("class c" in c.cell.split(":")[0] for c in found.culprits)
    near = [rows(1000, seed, overlap=1.0) for seed in (1, 2)]
    assert LabelsCheck().evaluate(given(*near, rows(5000, 3, overlap=1.0))).verdict == "PASS"


def test_a_rare_class_is_not_outvoted() -> None:
    """Among 5 neighbours a class of 2 % would lose every vote; its weight gives it back."""
    made, real = rows(4000, 3), [rows(2000, seed) for seed in (1, 2)]

    def thin(frame: pd.DataFrame) -> pd.DataFrame:
        kept = frame[(frame.label != "c") | (np.arange(len(frame)) % 8 == 0)]
        return kept.reset_index(drop=True)

    train, holdout, synthetic = (thin(side) for side in (*real, made))
    evidence = given(train, holdout, synthetic)
    found = LabelsCheck().evaluate(evidence)
    shares = {t["name"]: t["real"] for t in found.details["tests"]}
    space = Scaled.fit(evidence.reference, with_target=False)
    rare, every = (np.flatnonzero(side.label == "c") for side in (holdout, train))
    cloud = space.points(evidence.reference, np.arange(len(train)))
    votes = np.isin(nearest(space.points(evidence.holdout, rare), cloud, 5)[1], every)
    plain = float((votes.sum(axis=1) < 3).mean())
    assert shares["class c: rows among rows of other classes"] < 0.6 * plain


@pytest.mark.parametrize("check", [SpreadCheck(), LabelsCheck()])
def test_too_few_rows_are_skipped_with_a_sentence(check: SpreadCheck | LabelsCheck) -> None:
    few = [rows(20, seed) for seed in (1, 2, 3)]
    found = check.evaluate(given(*few))
    assert found.verdict == "SKIPPED" and found.summary
    alone = [side[["label"]] for side in few]
    assert check.evaluate(given(*alone)).verdict == "SKIPPED"
