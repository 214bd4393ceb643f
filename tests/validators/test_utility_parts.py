"""Are the figures those of scikit-learn, and do the parts of the check of utility keep their word?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, precision_recall_curve, roc_auc_score

from data.dataset import Dataset
from validators._utility_cells import BINS, Encoder
from validators._utility_folds import folds_of
from validators._utility_learners import Rows
from validators._utility_rows import share_out
from validators._utility_scores import over_seeds, ranked, recalls, resampled
from validators._utility_sweep import FOLDS
from validators._utility_ways import smote, treated, ways


@pytest.mark.parametrize("values", [5, 40, 10_000])
def test_ranking_figures_are_those_of_scikit_learn(values: int) -> None:
    rng = np.random.default_rng(values)
    hit = rng.random(500) < 0.1
    scores = rng.integers(0, values, 500) / values + 0.2 * hit
    weights = rng.uniform(0.5, 3, size=(500, 4))
    found = ranked(scores, hit, weights, 0.3)
    for b in range(4):
        assert found["roc_auc"][b] == pytest.approx(roc_auc_score(hit, scores, sample_weight=weights[:, b]))
        assert found["average_precision"][b] == pytest.approx(average_precision_score(hit, scores, sample_weight=weights[:, b]))
        precision, recall, _ = precision_recall_curve(hit, scores, sample_weight=weights[:, b])
        assert found["recall_at_precision"][b] == pytest.approx(recall[precision >= 0.3].max())


def test_recalls_average_to_balanced_accuracy() -> None:
    rng = np.random.default_rng(0)
    y, predicted = rng.integers(0, 3, size=(2, 200))
    found = recalls(predicted, y, np.ones((200, 1)), np.arange(3))
    assert found.mean() == pytest.approx(balanced_accuracy_score(y, predicted))


def test_resamples_keep_the_weight_of_each_class() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [90, 10])
    weights = np.where(labels == 0, 2.0, 1.0)
    drawn = resampled(labels, weights, 300, rng)
    assert (drawn[:, 0] == weights).all() and drawn.shape == (100, 301)
    assert np.allclose(drawn[labels == 0].sum(axis=0), 180) and np.allclose(drawn[labels == 1].sum(axis=0), 10)
    assert drawn[labels == 1, 1:].var(axis=1).mean() == pytest.approx(0.9, abs=0.1)  # n p (1 - p) of a bootstrap of ten


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        y = np.repeat([0, 1], 150)
        scores = rng.normal(size=300) + y
        weights = resampled(y, np.ones(300), 200, rng)
        low, high = np.percentile(ranked(scores, y == 1, weights, 0.5)["roc_auc"][1:], [2.5, 97.5])
        hits += low <= 0.7602 <= high  # Phi(1 / sqrt(2))
    assert 180 <= hits <= 199


def test_seeds_are_averaged_and_resampled() -> None:
    values = np.array([[1.0, 1, 1], [3, 3, 3]])
    assert over_seeds(values, np.array([[0, 0], [1, 0]])).tolist() == [2.0, 2.0, 1.0]


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=30), st.integers(30, 5000))
def test_the_largest_classes_are_cut_first(counts: list[int], most: int) -> None:
    before = np.array(counts)
    after = share_out(before.astype(float), most)
    assert (after <= before).all() and ((after > 0) == (before > 0)).all()
    assert after.sum() <= max(most, (before > 0).sum())
    cut = after < before
    assert not cut.any() or (after[~cut] <= after[cut].max()).all()


def frame(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "x": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
            "kind": pd.Series(rng.choice(["a", "b", "c"], n)).where(rng.random(n) < 0.8),
            "flat": 1.5,
        }
    )


def test_encoder_keeps_nulls_and_leaves_unseen_levels_blank() -> None:
    data = Dataset.from_pandas(frame(400, 0))
    encoder = Encoder.fit(data, data.schema.learned)
    strange = Dataset.from_pandas(
        pd.DataFrame({"x": [np.nan, np.inf, 0.0], "kind": ["z", None, "a"], "flat": [9.0] * 3}), data.schema
    )
    cells = encoder.read(strange)
    trees, linear = encoder.trees(cells), encoder.linear(cells)
    assert encoder.columns == 2 and encoder.categorical == [False, True]
    assert np.isnan(trees[0]).all() and trees[1, 0] <= BINS and not np.isnan(trees[1:]).any()
    assert linear.shape == (3, 2 + 4) and linear[0, 2:].sum() == 0 and linear[0, 1] == 1 and np.isfinite(linear).all()


def test_a_rare_class_in_a_tail_has_bins_of_its_own() -> None:
    rng = np.random.default_rng(0)
    values = np.r_[rng.normal(size=9970), 8 + rng.normal(size=30)]
    data = Dataset.from_pandas(pd.DataFrame({"x": values}))
    bins = Encoder.fit(data, data.schema.learned, np.repeat([0, 1], [9970, 30]))
    plain = Encoder.fit(data, data.schema.learned)
    apart, lumped = (len(np.unique(e.trees(e.read(data))[9970:])) for e in (bins, plain))
    assert apart > 10 > lumped


def test_every_way_balances_and_the_real_rows_stay() -> None:
    data = Dataset.from_pandas(frame(203, 0))
    encoder = Encoder.fit(data, data.schema.learned)
    given_rows = Rows(encoder.read(data), np.repeat([0, 1, 2], [180, 22, 1]), np.ones(203))
    assert ways(encoder) == ("nothing", "class weights", "random oversampling", "SMOTE-NC")
    for way in ways(encoder):
        ready = treated(way, given_rows, encoder, 0)
        mass = [ready.w[ready.y == y].sum() for y in range(3)]
        assert (mass == [180, 22, 1]) if way == "nothing" else np.allclose(mass, mass[0])
        assert (ready.cells.codes[:203] == given_rows.cells.codes).all()
    with pytest.raises(ValueError, match="there is no way 'magic'"):
        treated("magic", given_rows, encoder, 0)


def test_smote_steps_between_neighbours_and_draws_nulls() -> None:
    data = Dataset.from_pandas(frame(300, 0))
    encoder = Encoder.fit(data, data.schema.learned)
    real = Rows(encoder.read(data), np.repeat([0, 1], [260, 40]), np.ones(300))
    made = smote(real, encoder, 260, 0)
    new = made.cells.numbers[300:, 0]
    own = real.cells.numbers[260:, 0]
    assert len(new) == 220 and np.nanmin(new) >= np.nanmin(own) and np.nanmax(new) <= np.nanmax(own)
    assert np.isnan(new).any() and not np.isin(new[~np.isnan(new)], own).all()


def test_folds_spread_classes_and_keep_groups_together() -> None:
    y = np.repeat([0, 1], [90, 9])
    plain = folds_of(y, None, FOLDS, 0)
    assert [(plain[y == 1] == f).sum() for f in range(FOLDS)] == [3, 3, 3]
    groups = np.arange(99) // 3
    grouped = folds_of(y, groups, FOLDS, 0)
    assert all(len(np.unique(grouped[groups == g])) == 1 for g in np.unique(groups))
    assert all((y[grouped == f] == 1).any() for f in range(FOLDS))
