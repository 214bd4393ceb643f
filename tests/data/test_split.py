"""Does a split cut every row exactly once, keep classes and groups, and refuse what cannot be judged?"""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from data.errors import DataError
from data.split import split


def rows(classes, groups=None) -> Dataset:
    columns = {"x": pa.array(np.arange(len(classes)) * 1.5), "y": pa.array(classes, pa.string())}
    if groups is not None:
        columns["g"] = pa.array(groups)
    return Dataset.from_arrow(pa.table(columns), target="y")


SHARES = st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.3]), st.sampled_from([0.1, 0.2, 0.4]))
COUNTS = st.lists(st.integers(2, 60), min_size=2, max_size=5)


@settings(max_examples=60, deadline=None)
@given(COUNTS, SHARES, st.integers(0, 2**32))
def test_partition_with_every_class_and_shares(counts, shares, seed):
    classes = [f"c{i}" for i, n in enumerate(counts) for _ in range(n)]
    if sum(counts) < 3:
        return
    reference, holdout = shares
    data = rows(classes)
    if reference > 0 and max(counts) < 3:
        return  # too few rows for three parts is refused; tested below
    cut = split(data, reference=reference, holdout=holdout, seed=seed)
    parts = [cut.train_rows, cut.holdout_rows] + ([cut.reference_rows] if reference > 0 else [])
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(classes)))
    labels = np.array(classes)
    for name, n in zip([f"c{i}" for i in range(len(counts))], counts, strict=True):
        held = int((labels[cut.holdout_rows] == name).sum())
        assert (labels[cut.train_rows] == name).sum() >= 1
        assert held >= 1
        assert abs(held - holdout * n) <= 1
        if reference > 0:
            assert abs(int((labels[cut.reference_rows] == name).sum()) - reference * n) <= 1.5
            assert n < 3 or (labels[cut.reference_rows] == name).any()


@settings(max_examples=60, deadline=None)
@given(st.data(), SHARES, st.integers(0, 2**32))
def test_groups_are_never_cut(draw, shares, seed):
    n = draw.draw(st.integers(30, 120))
    groups = draw.draw(st.lists(st.integers(0, 15) | st.none(), min_size=n, max_size=n))
    classes = draw.draw(st.lists(st.sampled_from("ab"), min_size=n, max_size=n))
    if min(classes.count("a"), classes.count("b")) < 2 or len(set(groups) - {None}) + groups.count(None) < 8:
        return
    try:
        cut = split(rows(classes, groups), reference=shares[0], holdout=shares[1], seed=seed, group="g")
    except DataError as refusal:  # whole groups can leave a part empty; then it is said
        assert "leaves no rows" in str(refusal)
        return
    places = [cut.train_rows, cut.holdout_rows] + ([cut.reference_rows] if shares[0] > 0 else [])
    assert sorted(np.concatenate(places).tolist()) == list(range(n))
    homes = [{groups[i] for i in part if groups[i] is not None} for part in places]
    for i, one in enumerate(homes):
        for other in homes[i + 1 :]:
            assert not one & other
    assert {classes[i] for i in cut.train_rows} == {"a", "b"}


def test_group_shares_are_near():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 200, 4000)
    classes = np.where(rng.random(4000) < 0.1, "rare", "common")
    cut = split(rows(classes, groups), reference=0.2, holdout=0.3, seed=1, group="g")
    assert abs(len(cut.holdout) / 4000 - 0.3) < 0.02
    assert abs((classes[cut.holdout_rows] == "rare").mean() - (classes == "rare").mean()) < 0.01


def test_group_with_one_home_stays_in_train():
    classes = ["rare"] * 3 + ["common"] * 30
    groups = ["only"] * 3 + [f"g{i}" for i in range(30)]
    for seed in range(10):
        cut = split(rows(classes, groups), reference=0.0, holdout=0.3, seed=seed, group="g")
        assert set(range(3)) <= set(cut.train_rows.tolist())


def test_same_seed_same_split_other_seed_other():
    data = rows(["a", "b"] * 50)
    first, again, other = (split(data, reference=0.2, holdout=0.2, seed=s) for s in (1, 1, 2))
    assert first.holdout_rows.tolist() == again.holdout_rows.tolist()
    assert first.holdout_rows.tolist() != other.holdout_rows.tolist()
    assert first.holdout.digest() == again.holdout.digest()


def test_no_reference_means_train_is_the_reference():
    cut = split(rows(["a", "b"] * 10), reference=0, holdout=0.2, seed=0)
    assert cut.reference is cut.train
    assert "The reference is the train set itself." in cut.notices


def test_rows_without_a_target_are_left_out_and_said():
    data = rows(["a", None, "b", "a", "b", "a", "b", None])
    cut = split(data, reference=0, holdout=0.3, seed=0)
    assert cut.unlabelled.tolist() == [1, 7]
    assert len(cut.train) + len(cut.holdout) == 6
    assert not cut.train.schema["y"].nullable
    assert "2 rows without a value in the target 'y' are left out." in cut.notices


@pytest.mark.filterwarnings("error")
def test_numeric_target_is_stratified_by_deciles():
    values = np.random.default_rng(0).normal(size=1000)
    data = Dataset.from_arrow(pa.table({"y": values}), target="y")
    cut = split(data, reference=0, holdout=0.3, seed=0)
    assert len(cut.holdout) == 300
    assert abs(np.median(values[cut.holdout_rows]) - np.median(values)) < 0.05


def test_without_a_target_any_row_goes_anywhere():
    data = Dataset.from_arrow(pa.table({"x": np.arange(100) * 0.5}))
    assert len(split(data, reference=0.25, holdout=0.25, seed=0).reference) == 25


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        (["a"] * 9 + ["b"], "class 'b' of the target 'y' has 1 row"),
        (["a"] * 9, "the target 'y' is constant: every row holds 'a'"),
        ([None] * 9, "the target 'y' has no value in any row"),
        ([], "the data hold no rows"),
    ],
)
def test_targets_that_cannot_be_judged_are_refused(classes, says):
    with pytest.raises(DataError, match=says):
        split(rows(classes), reference=0.2, holdout=0.2, seed=0)


def test_bad_shares_and_too_few_rows_or_groups():
    data = rows(["a", "b"] * 10, ["g", "h"] * 10)
    for reference, holdout in ((0.5, 0.5), (-0.1, 0.2), (0.0, 1.0)):
        with pytest.raises(DataError, match="must stay below 1"):
            split(data, reference=reference, holdout=holdout, seed=0)
    with pytest.raises(DataError, match="has 2 groups, and 3 parts need one each"):
        split(data, reference=0.2, holdout=0.2, seed=0, group="g")
    with pytest.raises(DataError, match="there is no column 'nope'"):
        split(data, reference=0.2, holdout=0.2, seed=0, group="nope")
    with pytest.raises(DataError, match="cannot be cut into"):
        split(Dataset.from_arrow(pa.table({"x": [1.5]})), reference=0.2, holdout=0.2, seed=0)
