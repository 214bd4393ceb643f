"""Is help by synthetic pictures seen where it is, and not where it is not?"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from data.dataset import Dataset
from data.errors import DataError
from data.images import Pictures, batch, schema
from validators._picture_changes import Changes, changed, changes_of, harmless, usual
from validators._picture_nets import Scale
from validators._picture_sweep import folds_of
from validators._picture_turns import small
from validators.base import Evidence, Intent
from validators.picture_utility import (
    Arm,
    Course,
    PictureUtilityCheck,
    cheap_arms,
    choose,
    compare,
    figures,
    overlap,
    rare,
    ratio_arms,
    scores,
)
from validators.picture_utility import Test as Held
from validators.report import benefit
from validators.utility import check_limits

Array = np.ndarray
SIZE = 16
CLASSES = ("normal", "spot", "line")
SHORT = Course(steps=70, batch_size=16, width=8)


def made(counts: dict[str, int], seed: int = 0, *, masked: bool = True, like: str | None = None) -> Pictures:
    """Grain with a bright spot or a dark line, their masks known. like: what pictures show, whatever class they carry."""
    rng = np.random.default_rng(seed)
    names = [name for name, n in counts.items() for _ in range(n)]
    pixels = rng.normal(120, 18, size=(len(names), SIZE, SIZE, 1))
    masks = np.zeros((len(names), SIZE, SIZE), dtype=bool)
    for i, name in enumerate(names):
        y, x = rng.integers(1, SIZE - 5, size=2)
        shown = like or name
        if shown == "spot":
            masks[i, y : y + 3, x : x + 3] = True
            pixels[i][masks[i]] += 40
        if shown == "line":
            masks[i, y, x : x + 5] = True
            pixels[i][masks[i]] -= 70
    labels = np.array([CLASSES.index(name) for name in names], dtype=np.int64)
    known = np.full(len(names), masked)
    groups = tuple(f"g{seed}-{i // 2}" for i in range(len(names)))
    return Pictures(pixels.clip(0, 255).astype(np.uint8), masks & masked, known, labels, CLASSES, groups=groups)


def few(seed: int = 0) -> Pictures:
    return made({"normal": 60, "spot": 4}, seed)


def held() -> Pictures:
    return made({"normal": 60, "spot": 30}, 99)


def evidence(train: Pictures, holdout: Pictures, synthetic: Pictures, **intent: Any) -> Evidence:
    none = Dataset(schema(CLASSES).arrow().empty_table(), schema(CLASSES))
    out = Evidence(train=none, reference=none, holdout=none, synthetic=none, intent=Intent(**intent))
    out.memo["pictures"] = {"train": train, "holdout": holdout, "synthetic": synthetic}
    return out


def check(**settings: Any) -> PictureUtilityCheck:
    return PictureUtilityCheck(**({"course": SHORT, "seeds": 2} | settings))


# --- what an arm learns from


def test_a_ratio_counts_from_the_real_pictures_of_the_class_that_is_filled_up() -> None:
    arm = Arm("x", few(), made({"normal": 50, "spot": 50}, 5), ratio=2.0)
    lesson = arm.lesson(("spot",), seed=0)
    assert np.bincount(lesson.labels).tolist() == [60, 4 + 8]
    assert lesson.chances[lesson.labels == 0].sum() == pytest.approx(lesson.chances[lesson.labels == 1].sum())


@pytest.mark.parametrize(("ratio", "share"), [(0.5, 1 / 3), (1.0, 0.5), (10.0, 0.5)])
def test_synthetic_pictures_do_not_drown_the_real_ones(ratio: float, share: float) -> None:
    lesson = Arm("x", few(), made({"spot": 50}, 5), ratio=ratio).lesson(("spot",), seed=0)
    spots = lesson.chances[lesson.labels == 1]
    assert spots.sum() == pytest.approx(1.0)
    assert spots[4:].sum() == pytest.approx(share)


def test_another_order_of_classes_is_read_by_name() -> None:
    turned = made({"spot": 6}, 5)
    turned = replace(turned, classes=("spot", "normal", "line"), labels=np.zeros(6, dtype=np.int64))
    lesson = Arm("x", few(), turned, ratio=1.0).lesson(("spot",), seed=0)
    assert np.bincount(lesson.labels).tolist() == [60, 8]


def test_nothing_leaves_classes_as_frequent_as_they_are() -> None:
    nothing = cheap_arms(few())[0].lesson(("spot",), seed=0)
    assert len(set(nothing.chances)) == 1


def test_rare_classes_are_those_that_are_drawn_and_scarce_and_no_good_parts() -> None:
    train = made({"normal": 40, "spot": 4, "line": 30})
    assert rare(train) == ("spot",)
    assert rare(train, made({"normal": 5, "line": 5})) == ("line",)
    assert rare(made({"normal": 10, "spot": 9, "line": 8})) == ("spot", "line")


def test_ratios_stop_at_what_was_drawn() -> None:
    assert [arm.ratio for arm in ratio_arms(few(), made({"spot": 21}), ("spot",))] == [0.5, 1.0, 2.0, 5.0]
    assert [arm.ratio for arm in ratio_arms(few(), made({"spot": 1}), ("spot",))] == [0.25]


# --- classical changes


def test_a_mask_moves_with_its_picture() -> None:
    x = torch.zeros(64, 1, 16, 16)
    x[:, 0, 3:6, 4:9] = 1.0
    still = Changes(turns="all", shift=0.1, zoom=0.0, light=0.0, contrast=0.0, noise=0.0)
    moved, marks = changed(x, x.clone(), still, torch.Generator().manual_seed(0))
    assert marks is not None
    assert torch.equal(moved, marks)
    # Whole pixels and quarters alone: every value is still 0 or 1, and not all stand where they stood.
    assert torch.allclose(moved, moved.round(), atol=1e-4)
    assert len({tuple(one.flatten().round().tolist()) for one in moved}) > 8


def test_no_turn_is_made_that_makes_another_class() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.normal(120, 10, size=(200, SIZE, SIZE, 1))
    labels = np.arange(200) % 2
    pixels[labels == 0, :4] += 60  # bright above, or bright below
    pixels[labels == 1, -4:] += 60
    up_and_down = pixels.clip(0, 255).astype(np.uint8)
    assert harmless(up_and_down, labels) == "mirror"
    assert harmless(up_and_down.transpose(0, 2, 1, 3).copy(), labels) == "none"
    assert harmless(made({"normal": 100, "line": 100}).pixels, np.repeat([0, 1], 100)) == "all"


def test_a_segmenter_is_shown_only_what_is_usual() -> None:
    lit = made({"normal": 60, "spot": 60})
    lit.pixels[:, :8] += 40  # every picture is brighter above, whatever it shows
    assert usual(lit.pixels) == "mirror"
    assert usual(lit.pixels.transpose(0, 2, 1, 3).copy()) == "none"
    assert usual(made({"normal": 60, "spot": 60}).pixels) == "all"
    found = changes_of(lit.pixels, lit.labels)
    assert (found.turns, found.mask_turns) == ("all", "mirror")


def test_light_is_no_feature() -> None:
    dark = few().pixels // 2
    scale = Scale.of(few().pixels)
    assert torch.allclose(scale.read(torch.from_numpy(dark)).mean(dim=(1, 2, 3)), torch.zeros(64), atol=1e-4)


# --- figures


def test_figures_of_a_perfect_and_of_a_blind_detector() -> None:
    test = Held.of(made({"normal": 20, "spot": 10}), draws=50)
    right = np.eye(3)[test.pictures.labels]
    perfect = figures(right, CLASSES, test, ("spot",))
    assert (perfect.macro_ap, perfect.recall["spot"], perfect.balanced_accuracy) == (1.0, 1.0, 1.0)
    blind = figures(np.full((30, 3), 1 / 3), CLASSES, test, ("spot",))
    assert blind.macro_ap == pytest.approx(1 / 3)
    assert blind.recall["spot"] == 0.0
    assert blind.draws["average_precision"].shape == (51,)
    assert np.ptp(perfect.draws["average_precision"]) == 0.0


def test_pictures_of_one_group_are_resampled_together() -> None:
    test = Held.of(made({"normal": 20, "spot": 10}), draws=30)
    assert np.array_equal(test.weights[0::2], test.weights[1::2])
    assert (test.weights[20:].sum(axis=0) == 10).all()
    assert np.ptp(test.weights[:, 1:]) > 0


def test_the_same_seed_gives_the_same_scores_and_leaves_global_randomness_alone() -> None:
    arm, test = cheap_arms(few())[2], held()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (scores(arm, test, seed=s, course=Course(steps=8, width=4)) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.ap == again.ap
    assert first.ap != other.ap


def test_a_class_that_is_not_tested_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="no test picture is of class 'line'"):
        scores(Arm("x", few()), held(), seed=0, filled=("line",))


def test_a_segmenter_finds_what_is_marked() -> None:
    arm = cheap_arms(made({"normal": 20, "spot": 20}))[2]
    found = overlap(arm, Held.of(held(), draws=20), seed=0, course=Course(steps=90, width=18))
    assert found[0] > 0.5
    assert found.shape == (21,)
    with pytest.raises(ValueError, match="no mask is known"):
        overlap(Arm("x", made({"normal": 5, "spot": 5}, masked=False)), Held.of(held()), seed=0)


# --- comparison and choice


def test_more_real_pictures_help_and_wrong_ones_do_not() -> None:
    train, good = few(), made({"spot": 40}, 7)
    bad = made({"spot": 40}, 8, like="normal")
    arms = [cheap_arms(train)[2], Arm("good", train, good, 10.0), Arm("bad", train, bad, 10.0)]
    found = compare(arms, Held.of(held(), draws=60), seeds=(0, 1), filled=("spot",), course=SHORT)
    assert found.gain("good", arms[0].name)[0] > 0.02
    assert found.gain("bad", arms[0].name)[0] < -0.1
    low, high = found.figure("good")[1:]
    assert low <= np.mean(found.seeds("good")) <= high


def test_choosing_can_answer_nothing_and_something() -> None:
    train = few()
    for synthetic, wanted in ((made({"spot": 40}, 8, like="normal"), 0.0), (made({"spot": 40}, 7), 10.0)):
        arms = [cheap_arms(train)[2], Arm("10", train, synthetic, 10.0)]
        found = choose(arms, reference=held(), filled=("spot",), course=SHORT)
        assert len(found.figures["10"]) == 3
        assert found.on == "the reference pictures"
        assert next(arm for arm in arms if arm.name == found.name).ratio == wanted


def test_the_cheapest_is_chosen_where_nothing_can_be_told() -> None:
    train = made({"normal": 20, "spot": 1})
    arms = [*cheap_arms(train), Arm("5", train, made({"spot": 9}), 5.0)]
    found = choose(arms, filled=("spot",), course=Course(steps=2))
    assert (found.name, found.on) == ("nothing", "")


def test_folds_keep_groups_together_and_spread_the_rare_class() -> None:
    train = made({"normal": 30, "spot": 6})
    fold = folds_of(train, ("spot",), 3)
    assert np.array_equal(fold[0::2], fold[1::2])
    assert sorted(np.bincount(fold[train.labels == 1], minlength=3)) == [2, 2, 2]
    assert max(np.bincount(fold)) <= 14


# --- the check


def test_no_gain_is_said_where_there_is_none() -> None:
    wrong = made({"spot": 30}, 8, like="normal")
    finding = check().evaluate(evidence(few(), held(), wrong, limits={"utility": {"gain": 0.5}}))
    assert finding.verdict == "BLOCK"
    assert "adding synthetic pictures brings no gain" in finding.summary
    assert "below the plan's limit of 0.5" in finding.summary
    assert finding.value is not None
    assert finding.value < 0
    assert finding.details["advice"].startswith("prefer the cheaper way")
    json.dumps(finding.details, allow_nan=False)


def test_full_looks_at_every_way_and_at_masks_and_the_report_shows_it() -> None:
    train, synthetic = few(), made({"spot": 8}, 7)
    finding = check(depth="full", course=Course(steps=6, width=4)).evaluate(evidence(train, held(), synthetic))
    assert finding.verdict == "PASS"
    ways = {(arm["method"], arm["ratio"]) for arm in finding.details["sweep"]}
    cheap = {("nothing", 0.0), ("balanced sampling", 0.0), ("balanced + classical", 0.0)}
    assert ways == cheap | {("synthetic pictures", ratio) for ratio in (0.5, 1.0, 2.0)}
    assert all(len(arm["seeds"]) == 2 for arm in finding.details["sweep"])
    assert "a segmenter's overlap (IoU)" in finding.summary
    view = benefit.section([finding])
    assert view is not None
    assert view["unit"] == "pictures"
    assert str(view["chart"]).count('class="mark m') == len(ways)
    assert str(view["overlap"]).count('class="mark m') == len(ways)
    assert "synthetic pictures to each real picture" in str(view["chart"])
    assert all(row["seeds"] for row in view["rows"])


class Heard:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int, str]] = []

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        self.told.append((done, total, what))


def glaring(counts: dict[str, int], seed: int) -> Pictures:
    """Spots that nobody misses."""
    out = made(counts, seed)
    for i in np.flatnonzero(out.labels):
        out.pixels[i, 4:12, 4:12] = 255
    return out


def test_where_the_detector_is_perfect_nothing_more_is_trained_and_it_is_said() -> None:
    train, holdout, drawn = (glaring({"normal": 40, "spot": n}, n) for n in (20, 25, 60))
    heard = Heard()
    finding = check(tell=heard).evaluate(evidence(train, holdout, drawn))
    assert finding.verdict == "PASS"
    assert finding.value is None
    assert finding.summary.startswith("nothing to gain: the detector is already at 1.00 without synthetic pictures")
    assert not any(arm["ratio"] for arm in finding.details["sweep"])
    assert len(heard.told) <= 4  # of 14 trainings
    assert "synthetic pictures cannot add to it" in finding.details["advice"]
    assert finding.details["chosen"]["ratio"] == 0.0
    json.dumps(finding.details, allow_nan=False)
    view = benefit.section([finding])
    assert view is not None
    assert view["said"].startswith("Nothing to gain")
    assert view["said"].endswith("synthetic pictures cannot add to it.")
    assert view["chart"] is None
    assert view["gains"] == []


def test_a_limit_asks_for_the_gain_though_there_can_be_none() -> None:
    sides = [glaring({"normal": 40, "spot": n}, n) for n in (20, 25, 60)]
    finding = check(course=Course(steps=40, width=8)).evaluate(evidence(*sides, limits={"utility": {"gain": 0.1}}))
    assert finding.value is not None
    assert finding.verdict == "BLOCK"


def test_each_training_is_told_before_it_begins() -> None:
    heard = Heard()
    check(course=Course(steps=2, width=4), tell=heard).evaluate(evidence(few(), held(), made({"spot": 21}, 7)))
    # Two cheap ways and two ratios with two seeds each; three ways on two folds.
    assert [(done, total) for done, total, _ in heard.told] == [(i, 14) for i in range(14)]
    assert heard.told[0][2] == "utility: nothing, seed 0, 14 left; trained"
    assert heard.told[4][2] == "utility: balanced + classical (choice), seed 0, 10 left; trained"
    assert heard.told[-1][2] == "utility: 5 synthetic, seed 1, 1 left; trained"


def test_large_pictures_are_made_small_once() -> None:
    one = made({"spot": 2}, 3)
    wide = replace(one, pixels=one.pixels.repeat(8, axis=1).repeat(8, axis=2), masks=one.masks.repeat(8, 1).repeat(8, 2))
    shown = small(wide)
    assert shown.size == 64
    assert np.array_equal(shown.pixels, one.pixels.repeat(4, axis=1).repeat(4, axis=2))
    assert np.array_equal(shown.masks, one.masks.repeat(4, 1).repeat(4, 2))
    assert small(one) is one


def test_a_limit_on_overlap_asks_for_masks() -> None:
    bare = made({"spot": 4}, 7, masked=False)
    limits = {"utility": {"iou_gain": 0.0}}
    finding = check(course=Course(steps=2, width=4), seeds=1).evaluate(evidence(few(), held(), bare, limits=limits))
    assert finding.verdict == "INCONCLUSIVE"
    assert "iou_gain cannot be measured on these pictures" in finding.summary


@pytest.mark.parametrize(
    ("train", "holdout", "synthetic", "why"),
    [
        (few(), made({"normal": 20, "spot": 4}), made({"spot": 9}), "class 'spot' has 4 of 24 holdout pictures"),
        (made({"normal": 20}), held(), made({"spot": 9}), "train holds pictures of one class alone"),
        (few(), held(), made({"line": 9}), "the synthetic pictures are of no defect that train holds"),
        (few(), held(), made({"spot": 0}), "there are no synthetic pictures"),
    ],
)
def test_what_cannot_be_compared_is_skipped_with_the_reason(
    train: Pictures, holdout: Pictures, synthetic: Pictures, why: str
) -> None:
    finding = check().evaluate(evidence(train, holdout, synthetic))
    assert finding.verdict == "SKIPPED"
    assert why in finding.summary


def test_pictures_of_another_size_are_skipped() -> None:
    wide = made({"spot": 9})
    wide = replace(wide, pixels=np.repeat(wide.pixels, 2, axis=1).repeat(2, axis=2))
    finding = check().evaluate(evidence(few(), held(), wide))
    assert "the synthetic pictures have another size or mode" in finding.summary


def test_pictures_are_read_from_the_evidence_where_nobody_has_decoded_them() -> None:
    def rows(held_ones: Pictures) -> Dataset:
        names = [CLASSES[k] for k in held_ones.labels]
        one = batch(held_ones.pixels, names, names=[str(i) for i in range(len(names))], groups=held_ones.groups)
        import pyarrow as pa

        return Dataset(pa.Table.from_batches([one]), schema(CLASSES))

    train = rows(few())
    sides = Evidence(train=train, reference=train, holdout=rows(held()), synthetic=rows(made({"spot": 4}, 7)))
    finding = check(course=Course(steps=2, width=4), seeds=1).evaluate(sides)
    assert finding.verdict == "PASS"
    assert finding.details["minority"] == "spot"


def test_limits_know_their_names() -> None:
    assert check_limits({"gain": 0.0, "iou_gain": 0.1}) == {"gain": 0.0, "iou_gain": 0.1}
    with pytest.raises(DataError, match="did you mean 'iou_gain'"):
        check_limits({"iou_gains": 0.1})
