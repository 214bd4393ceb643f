"""Is a synthetic set that helps a model told from one that does not?"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.dataset import Dataset
from data.errors import DataError
from validators.base import Evidence, Finding, Intent
from validators.utility import UtilityCheck, check_limits

CENTRES = np.array([[0, 0], [3, 3], [-3, 3], [3, -3], [-3, -3], [0, 4], [4, 0], [-4, 0]])


def rows(n: int, seed: int, *, share: float = 0.3) -> pd.DataFrame:
    """n rows of two classes: the rare one lives in eight small clusters of two columns; `kind` tells a little."""
    rng = np.random.default_rng(seed)
    rare = rng.random(n) < share
    rare[: max(int(n * share), 1)] = True
    rare[max(int(n * share), 1) :] = False
    place = CENTRES[rng.integers(0, 8, n)] + 0.35 * rng.normal(size=(n, 2))
    common = rng.uniform(-6, 6, size=(n, 2))
    x = np.where(rare[:, None], place, common)
    kind = np.where(rng.random(n) < np.where(rare, 0.6, 0.4), "a", "b")
    return pd.DataFrame({"x": x[:, 0], "y": x[:, 1], "kind": kind, "label": np.where(rare, "yes", "no")})


def evidence(
    train: pd.DataFrame, holdout: pd.DataFrame, synthetic: pd.DataFrame, *, target: str = "label", **intent: object
) -> Evidence:
    schema = Dataset.from_pandas(train, target=target).schema
    sides = [Dataset.from_pandas(frame.reset_index(drop=True), schema) for frame in (train, holdout, synthetic)]
    return Evidence(train=sides[0], reference=sides[0], holdout=sides[1], synthetic=sides[2], intent=Intent(**intent))  # type: ignore[arg-type]


def shuffled(frame: pd.DataFrame, target: str = "label") -> pd.DataFrame:
    return frame.assign(**{target: np.random.default_rng(0).permutation(frame[target].to_numpy())})


def sweep_of(found: Finding, metric: str) -> dict[tuple[str, float, str], float]:
    return {(e["method"], e["ratio"], e["learner"]): e["value"] for e in found.details["sweep"] if e["metric"] == metric}


def test_the_train_rows_themselves_have_a_ratio_of_one() -> None:
    train = rows(1500, 1)
    found = UtilityCheck().evaluate(evidence(train, rows(800, 2), train))
    assert found.verdict == "PASS" and found.value == pytest.approx(1.0) and found.reference == 1.0


def test_fresh_real_rows_have_a_ratio_of_about_one() -> None:
    found = UtilityCheck().evaluate(evidence(rows(1500, 1), rows(800, 2), rows(4000, 3)))
    auc, ap = (found.details["tstr"]["gradient boosting"][m] for m in ("roc_auc", "average_precision"))
    assert found.verdict == "PASS" and found.details["depth"] == "quick"
    assert 0.97 < auc["ratio"] < 1.03 and auc["low"] < 1 < auc["high"] and 0.9 < ap["ratio"] < 1.1
    assert auc["real"] > 0.8


def test_shuffled_labels_report_without_a_limit_and_block_with_one() -> None:
    train = rows(1500, 1)
    plain = UtilityCheck().evaluate(evidence(train, rows(800, 2), shuffled(train)))
    limited = UtilityCheck().evaluate(
        evidence(train, rows(800, 2), shuffled(train), limits={"utility": {"tstr_auc_ratio": 0.9}})
    )
    assert plain.verdict == "PASS" and plain.value is not None and plain.value < 0.75
    assert limited.verdict == "BLOCK" and limited.limit == 0.9 and "below the plan's limit" in limited.summary
    assert limited.culprits and limited.culprits[0].observed < limited.culprits[0].expected


def test_a_limit_crossed_by_chance_warns() -> None:
    sides = evidence(rows(400, 1), rows(200, 2), rows(400, 3))
    auc = UtilityCheck().evaluate(sides).details["tstr"]["gradient boosting"]["roc_auc"]
    middle = (auc["ratio"] + auc["high"]) / 2
    for limit, verdict in ((middle, "WARN"), (auc["high"] + 0.01, "BLOCK"), (auc["low"], "PASS")):
        limited = replace(sides, intent=Intent(limits={"utility": {"tstr_auc_ratio": limit}}))
        assert UtilityCheck().evaluate(limited).verdict == verdict


def test_noise_in_the_features_lowers_every_ratio() -> None:
    noisy = rows(1500, 3)
    noisy[["x", "y"]] = np.random.default_rng(5).normal(size=(1500, 2)) * 4
    figures = UtilityCheck().evaluate(evidence(rows(1500, 1), rows(800, 2), noisy)).details["tstr"]["gradient boosting"]
    assert all(figures[m]["high"] < 0.95 for m in ("roc_auc", "average_precision", "balanced_accuracy"))


def test_a_class_that_went_missing_lowers_balanced_accuracy() -> None:
    def three(n: int, seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 3, n)
        return pd.DataFrame({"x": 3.0 * y + rng.normal(size=n), "label": np.array(["a", "b", "c"])[y]})

    made = three(1500, 3)
    found = UtilityCheck().evaluate(evidence(three(1000, 1), three(600, 2), made[made.label != "c"]))
    accuracy = found.details["tstr"]["gradient boosting"]["balanced_accuracy"]
    assert accuracy["high"] < 0.75


def test_fresh_rows_of_the_rare_class_help_more_than_nothing() -> None:
    fresh = rows(3000, 3, share=0.5)
    found = UtilityCheck(depth="full").evaluate(evidence(rows(400, 1, share=0.04), rows(1500, 2, share=0.1), fresh[:1500]))
    over = [g for g in found.details["gains"] if g["over"]["method"] == "nothing" and g["metric"] == "average_precision"]
    assert over[0]["low"] > 0.05 and found.details["gain"]["low"] > 0
    assert "helps" in found.summary and found.details["advice"].startswith("add ")
    # One class alone: no model can be trained on these rows by themselves.
    assert set(fresh[:1500].label) == {"yes"} and found.details["tstr"] == {} and found.value is not None


def test_noise_brings_no_gain_and_the_cheaper_way_is_named() -> None:
    noise = shuffled(rows(4000, 3, share=0.05))
    noise[["x", "y"]] = np.random.default_rng(5).uniform(-6, 6, size=(4000, 2))
    found = UtilityCheck(depth="full").evaluate(evidence(rows(400, 1, share=0.05), rows(1500, 2, share=0.05), noise))
    assert found.verdict == "PASS" and "brings no gain" in found.summary
    assert found.details["gain"]["low"] <= 0 and found.details["advice"].startswith("prefer the cheaper way: ")
    assert found.details["gain"]["over"]["method"] in ("nothing", "class weights", "random oversampling", "SMOTE-NC")


def test_the_sweep_holds_every_arm() -> None:
    found = UtilityCheck(depth="full").evaluate(evidence(rows(300, 1), rows(300, 2), rows(700, 3)))
    cheap = [(w, 0.0) for w in ("nothing", "class weights", "random oversampling", "SMOTE-NC")]
    made = [("synthetic rows", r) for r in (0.5, 1.0, 2.0)]  # 700 rows are no five for each of 300
    learners = ("gradient boosting", "logistic regression")
    for metric in ("average_precision", "recall_at_precision", "balanced_accuracy"):
        assert set(sweep_of(found, metric)) == {(m, r, learner) for m, r in cheap + made for learner in learners}
    assert all(e["low"] <= e["value"] <= e["high"] for e in found.details["sweep"])
    assert found.details["precision"] == 0.5 and found.details["chosen_on"] == "3 folds of train"
    json.dumps(found.details, allow_nan=False)


def test_a_large_train_set_is_cut_and_the_summary_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("validators._utility_sweep.TRAIN_ROWS", 200)
    found = UtilityCheck(depth="full").evaluate(evidence(rows(500, 1, share=0.1), rows(300, 2), rows(700, 3)))
    assert "measured with 200 of 500 train rows" in found.summary and found.details["sweep_train_rows"] == 200
    assert {r for m, r, _ in sweep_of(found, "average_precision") if m == "synthetic rows"} == {0.5, 1.0}


def test_few_synthetic_rows_are_all_taken() -> None:
    found = UtilityCheck(depth="full").evaluate(evidence(rows(400, 1), rows(300, 2), rows(100, 3)))
    assert {r for m, r, _ in sweep_of(found, "average_precision") if m == "synthetic rows"} == {0.25}


def test_a_limit_on_gain_makes_the_check_full() -> None:
    limits = {"utility": {"gain": 0.5}}
    found = UtilityCheck().evaluate(evidence(rows(300, 1), rows(300, 2), shuffled(rows(600, 3)), limits=limits))
    assert found.details["depth"] == "full" and found.verdict == "BLOCK" and found.limit == 0.5
    assert found.value == found.details["gain"]["value"] and found.reference == 0.0


def test_the_ratio_is_chosen_on_reference_rows_where_there_are_any() -> None:
    sides = evidence(rows(400, 1), rows(400, 2), rows(900, 3))
    other = Dataset.from_pandas(rows(300, 4), sides.train.schema)
    found = UtilityCheck(depth="full").evaluate(replace(sides, reference=other))
    assert found.details["chosen_on"] == "reference" and found.reference != 1.0
    assert found.reference == pytest.approx(1.0, abs=0.1)


def test_the_same_seed_gives_the_same_answer_and_another_seed_another() -> None:
    sides = evidence(rows(400, 1), rows(300, 2), rows(900, 3))
    once, again = (UtilityCheck(depth="full").evaluate(replace(sides, intent=Intent(seed=4))) for _ in range(2))
    other = UtilityCheck(depth="full").evaluate(replace(sides, intent=Intent(seed=5)))
    assert once == again and once.details["sweep"] != other.details["sweep"]


def test_an_unknown_limit_is_refused_with_a_suggestion() -> None:
    with pytest.raises(DataError, match=r"limits.utility: unknown figure 'tstr_auc'; did you mean 'tstr_auc_ratio'\?"):
        check_limits({"tstr_auc": 0.9})
    assert check_limits({"gain": 0.0, "tstr_ap_ratio": 0.8}) == {"gain": 0.0, "tstr_ap_ratio": 0.8}


def test_a_limit_that_cannot_be_measured_is_inconclusive() -> None:
    found = UtilityCheck().evaluate(
        evidence(rows(300, 1), rows(300, 2), rows(300, 3), limits={"utility": {"tstr_r2_ratio": 0.8}})
    )
    assert found.verdict == "INCONCLUSIVE" and "cannot be measured" in found.summary


def one_class(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(label="no")


def as_it_is(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


def few(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame[frame.label == "no"], frame[frame.label == "yes"].head(9)])


Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.mark.parametrize(
    ("train", "holdout", "synthetic", "why"),
    [
        (as_it_is, one_class, as_it_is, "class 'yes' has 0 holdout rows"),
        (as_it_is, few, as_it_is, "class 'yes' has 9 holdout rows, and 10 are needed"),
        (as_it_is, as_it_is, one_class, "the synthetic rows hold one class alone"),
        (lambda f: f.assign(x=1.0, y=None, kind="a"), as_it_is, as_it_is, "no column besides the target varies in train"),
    ],
)
def test_what_cannot_be_compared_is_skipped(train: Change, holdout: Change, synthetic: Change, why: str) -> None:
    schema = Dataset.from_pandas(rows(300, 0), target="label").schema
    frames = (train(rows(300, 1)), holdout(rows(300, 2)), synthetic(rows(300, 3)))
    sides = [Dataset.from_pandas(f.reset_index(drop=True).astype({"y": float}), schema) for f in frames]
    found = UtilityCheck().evaluate(Evidence(train=sides[0], reference=sides[0], holdout=sides[1], synthetic=sides[2]))
    assert found.verdict == "SKIPPED" and why in found.summary


def test_a_train_set_of_one_class_is_skipped() -> None:
    schema = Dataset.from_pandas(rows(300, 0), target="label").schema
    train = Dataset.from_pandas(one_class(rows(300, 1)), schema)
    other = Dataset.from_pandas(rows(300, 2), schema)
    found = UtilityCheck(depth="full").evaluate(Evidence(train=train, reference=train, holdout=other, synthetic=other))
    assert found.verdict == "SKIPPED" and "train holds one class alone" in found.summary


@pytest.mark.parametrize(("target", "why"), [(None, "no target is named"), ("when", "datetime")])
def test_other_targets_are_skipped(target: str | None, why: str) -> None:
    frame = rows(100, 1).assign(when=pd.date_range("2020-01-01", periods=100))
    data = Dataset.from_pandas(frame, target=target)
    found = UtilityCheck().evaluate(Evidence(train=data, reference=data, holdout=data, synthetic=data))
    assert found.verdict == "SKIPPED" and why in found.summary


def test_rows_without_a_label_are_left_out() -> None:
    train, holdout, made = rows(600, 1), rows(400, 2), rows(600, 3)
    blank = [frame.assign(label=frame.label.where(np.arange(len(frame)) % 10 > 0)) for frame in (train, holdout, made)]
    found = UtilityCheck().evaluate(evidence(*blank))
    assert found.details["holdout_rows"] == 360 and found.details["train_rows"] == 540


def messy(n: int, seed: int, *, classes: int, rare: float) -> pd.DataFrame:
    """Every kind of column, among them a constant one and one of nulls alone."""
    rng = np.random.default_rng(seed)
    share = np.r_[1 - rare, np.full(classes - 1, rare / (classes - 1))]
    y = np.sort(np.r_[np.repeat(np.arange(classes), 12), rng.choice(classes, n - 12 * classes, p=share)])
    x = 2.0 * y + rng.normal(size=n)
    return pd.DataFrame(
        {
            "x": np.where(rng.random(n) < 0.1, np.nan, x),
            "far": np.where(rng.random(n) < 0.01, np.inf, rng.normal(size=n)),
            "when": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1000, n) + 10 * y, unit="D"),
            "flag": pd.array(rng.random(n) < 0.5, dtype="boolean"),
            "city": pd.Series([f"c{i}" for i in rng.integers(0, 150, n)]).where(rng.random(n) < 0.9),
            "constant": 7,
            "empty": pd.Series(np.full(n, np.nan)),
            "label": [f"k{i}" for i in y],
        }
    )


@pytest.mark.parametrize(("classes", "rare", "n"), [(2, 0.0, 6000), (20, 0.9, 3000)])
def test_extremes_are_judged(classes: int, rare: float, n: int) -> None:
    frames = [messy(n, seed, classes=classes, rare=rare) for seed in (1, 2, 3)]
    assert rare > 0 or (frames[0].label == "k1").mean() == 0.002
    quick = UtilityCheck().evaluate(evidence(*frames))
    assert quick.verdict == "PASS" and quick.value is not None and 0.85 < quick.value < 1.15
    json.dumps(quick.details, allow_nan=False)


def test_extremes_are_swept() -> None:
    frames = [messy(n, seed, classes=4, rare=0.3) for n, seed in ((400, 1), (500, 2), (900, 3))]
    found = UtilityCheck(depth="full").evaluate(evidence(*frames))
    assert found.verdict == "PASS" and "SMOTE-NC" in {e["method"] for e in found.details["sweep"]}


@pytest.mark.parametrize(("columns", "name"), [(["x", "y"], "SMOTE"), (["kind", "more"], "SMOTE-N")])
def test_smote_follows_the_kinds_of_columns(columns: list[str], name: str) -> None:
    frames = [
        rows(n, seed).assign(more=lambda f: np.where(f.x > 0, "left", "right")) for n, seed in ((200, 1), (200, 2), (200, 3))
    ]
    found = UtilityCheck(depth="full").evaluate(evidence(*(f[[*columns, "label"]] for f in frames)))
    assert name in {e["method"] for e in found.details["sweep"]}


def test_the_group_column_is_no_feature() -> None:
    def grouped(n: int, seed: int) -> Dataset:
        frame = rows(n, seed)
        frame["who"] = np.where(frame.label == "yes", "one", "two")  # it would tell the class
        return Dataset.from_pandas(frame, target="label")

    sides = [grouped(n, seed) for n, seed in ((300, 1), (300, 2), (600, 3))]
    schema = replace(sides[0].schema, group="who")
    a, b, c = (Dataset(side.source, schema) for side in sides)
    found = UtilityCheck().evaluate(Evidence(train=a, reference=a, holdout=b, synthetic=c))
    assert found.details["tstr"]["gradient boosting"]["roc_auc"]["real"] < 0.97


def test_classes_that_the_mix_leaves_out_take_no_part() -> None:
    frames = [messy(900, seed, classes=3, rare=0.6) for seed in (1, 2, 3)]
    found = UtilityCheck().evaluate(evidence(*frames, mix={"k0": 0.5, "k2": 0.5}))
    assert set(found.details["tested"]) == {"k0", "k2"}
    assert found.details["train_rows"] == int(frames[0].label.isin(["k0", "k2"]).sum())


def test_rows_on_disk_give_the_same_answer(tmp_path: Path) -> None:
    sides = evidence(rows(400, 1), rows(300, 2), rows(900, 3))
    on_disk = Dataset.from_parquet(sides.synthetic.write_parquet(tmp_path / "made.parquet"), sides.train.schema)
    held, read = (UtilityCheck().evaluate(replace(sides, synthetic=made)) for made in (sides.synthetic, on_disk))
    assert held == read


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_a_numeric_target_is_compared_by_its_errors(scale: float) -> None:
    def numbers(n: int, seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        x, z = rng.uniform(-2, 2, size=(2, n))
        return pd.DataFrame({"x": x, "z": z, "value": scale * (x**2 + z + 0.2 * rng.normal(size=n))})

    made = numbers(900, 3)
    good = UtilityCheck(depth="full").evaluate(evidence(numbers(900, 1), numbers(500, 2), made, target="value"))
    limits = {"utility": {"tstr_mae_ratio": 0.8}}
    bad = UtilityCheck().evaluate(
        evidence(numbers(900, 1), numbers(500, 2), shuffled(made, "value"), target="value", limits=limits)
    )
    assert good.verdict == "PASS" and good.value == pytest.approx(1.0, abs=0.1)
    assert bad.verdict == "BLOCK" and bad.value is not None and bad.value < 0.5
    json.dumps([good.details, bad.details], allow_nan=False)
