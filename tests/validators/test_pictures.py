"""Does the gate let real pictures pass for synthetic ones, and does it block what is collapsed, copied or missing?"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.dataset import Dataset
from data.errors import DataError
from data.images import Pictures
from tests.validators.picture_sets import CLASSES, blocked, dataset, even, evidence, findings, made
from tests.validators.rows import frame
from validators._pictures_apart import _p, _stratified, _witnesses
from validators._pictures_crops import agreed, geometry, squares
from validators._pictures_missing import in_thirds
from validators._pictures_spread import clustered
from validators.base import Intent
from validators.judge import pronounce
from validators.kid import fid, kid
from validators.looks import LooksCheck
from validators.pictures import check_limits, picture_checks, prepare_pictures
from validators.report.scales import scale_of

Array = np.ndarray


@pytest.fixture(scope="module")
def train() -> Pictures:
    return made(even(60), 1)


@pytest.fixture(scope="module")
def holdout() -> Pictures:
    return made(even(60), 2)


@pytest.fixture(scope="module")
def good() -> Pictures:
    return made(even(250), 3)


# --- what is well


@pytest.mark.parametrize("seed", range(3))
def test_pictures_of_the_same_kind_are_not_blocked(seed: int) -> None:
    sides = [made(even(40), 10 * seed + part) for part in range(2)]
    found = findings(evidence(*sides, made(even(200), 10 * seed + 5), seed=seed))
    assert [name for name, f in found.items() if f.verdict == "BLOCK"] == []
    assert found["modes"].verdict == found["labels"].verdict == found["coverage"].verdict == "PASS"


def test_the_same_pictures_are_judged_the_same(train: Pictures, holdout: Pictures) -> None:
    some = made(even(60), 4)
    first, again = (findings(evidence(train, holdout, some, seed=5)) for _ in range(2))
    assert {n: (f.verdict, f.value, f.summary) for n, f in first.items()} == {
        n: (f.verdict, f.value, f.summary) for n, f in again.items()
    }


# --- where is looked


def test_marks_are_looked_at_through_a_square_that_stays_on_the_picture() -> None:
    masks = np.zeros((3, 40, 40), dtype=bool)
    masks[0, 0:30, 38:40] = True
    masks[1, 20:22, 20:22] = True
    top, left, side = squares(masks).T
    assert side.tolist() == [40, 16, 40]  # grown by a third to the whole; at least 16; the whole where nothing is marked
    assert (top + side <= 40).all() and (left + side <= 40).all() and (top >= 0).all() and (left >= 0).all()
    assert top[1] <= 20 <= top[1] + 16 and left[1] <= 20 <= left[1] + 16


def test_geometry_is_what_a_person_would_measure() -> None:
    masks = np.zeros((2, 20, 20), dtype=bool)
    masks[0, 9:11, 0:20] = True
    masks[0, 5, 3] = True
    area, across, down, long, parts = geometry(masks)[0]
    assert area == pytest.approx(41 / 400) and across == pytest.approx(0.49, abs=0.02) and down == pytest.approx(0.49, abs=0.03)
    assert long > 6 and parts == 2
    assert np.isnan(geometry(masks)[1]).all()


def test_boxes_of_real_pictures_make_boxes_of_synthetic_outlines(train: Pictures, good: Pictures) -> None:
    boxed = [replace(side, masks=_boxes(side)) for side in (train, made(even(60), 2))]
    assert agreed(boxed, good).as_boxes == {"pit", "line"}
    assert agreed([train], good).as_boxes == frozenset()
    assert blocked(evidence(*boxed, good)) == set()


def _boxes(held: Pictures) -> Array:
    out = np.zeros_like(held.masks)
    for i in range(len(held)):
        if (found := held.boxes(i)) is not None:
            x, y, width, height = found
            out[i, y : y + height, x : x + width] = True
    return out


def test_a_class_is_seen_whole_where_only_some_real_pictures_are_marked(train: Pictures, good: Pictures) -> None:
    masks = train.masks.copy()
    masks[np.flatnonzero(train.labels == 1)[::3]] = False
    assert agreed([replace(train, masks=masks)], good).by_marks == {"line"}


@pytest.mark.parametrize(("bare", "says"), [(5, "PASS"), (60, "BLOCK")])
def test_as_many_defects_may_be_unmarked_as_real_ones_explain(train: Pictures, holdout: Pictures, bare: int, says: str) -> None:
    some = made(even(100), 4)
    lines = np.flatnonzero(train.labels == train.classes.index("line"))
    real, synthetic = train.masks.copy(), some.masks.copy()
    real[lines[:2]] = False
    synthetic[np.flatnonzero(some.labels == train.classes.index("line"))[:bare]] = False
    given = evidence(replace(train, masks=real), holdout, replace(some, masks=synthetic))
    assert LooksCheck().evaluate(given).verdict == says


def test_a_copy_is_no_fault_by_itself_where_real_pictures_are_copies_of_each_other(train: Pictures, holdout: Pictures) -> None:
    copied = made(even(100), 4)
    copied.pixels[0], copied.masks[0] = train.pixels[0], train.masks[0]
    alone = next(c for c in picture_checks(utility="off") if c.name == "copies").evaluate(evidence(train, holdout, copied))
    assert alone.verdict == "BLOCK" and "pixel by pixel" in alone.summary
    twin = Pictures(
        np.concatenate([holdout.pixels, train.pixels[1:2]]), np.concatenate([holdout.masks, train.masks[1:2]]),
        np.concatenate([holdout.masked, train.masked[1:2]]), np.concatenate([holdout.labels, train.labels[1:2]]), CLASSES,
    )  # fmt: skip
    said = next(c for c in picture_checks(utility="off") if c.name == "copies").evaluate(evidence(train, twin, copied))
    assert said.verdict == "PASS" and said.details["exact_pictures"] == 1


def _few(seed: int, **changed: Any) -> tuple[Pictures, Pictures, Pictures]:
    """Seven pictures of each class to learn from, three to judge by, twenty to judge."""
    train, holdout, some = (made(even(n), 10 * seed + k) for k, n in enumerate((7, 3, 20), start=50))
    return train, holdout, replace(some, **{name: make(some) for name, make in changed.items()})


def _noise(some: Pictures) -> Array:
    return np.random.default_rng(0).integers(0, 256, some.pixels.shape).astype(np.uint8)


def _dark(some: Pictures) -> Array:
    return (some.pixels // 40).astype(np.uint8)


def _blurred(some: Pictures) -> Array:
    from scipy import ndimage

    return np.stack([ndimage.gaussian_filter(one, (4, 4, 0)) for one in some.pixels])


@pytest.mark.parametrize("spoil", [_noise, _dark, _blurred])
def test_pictures_that_look_like_none_of_the_real_ones_are_blocked_however_few_these_are(spoil: Any) -> None:
    given = evidence(*_few(0, pixels=spoil))
    found = next(c for c in picture_checks(utility="off") if c.name == "coverage").evaluate(given)
    assert found.verdict == "BLOCK" and "look like none of them" in found.summary and found.culprits
    scale = scale_of(found)
    assert scale.beyond(found.value, found.limit) and not scale.least and "distance" in scale.what
    assert "look at them" in found.details["advice"]


def test_few_pictures_like_the_real_ones_are_not_blocked() -> None:
    for seed in range(12):
        given = evidence(*_few(seed))
        found = next(c for c in picture_checks(utility="off") if c.name == "coverage").evaluate(given)
        assert found.verdict == "SKIPPED" and "times as far" in found.summary


def test_a_group_is_one_witness_of_how_far_pictures_stand_apart(train: Pictures, holdout: Pictures) -> None:
    groups = tuple(f"part {i // 4}" for i in range(len(holdout)))
    held = evidence(train, replace(holdout, groups=groups), made(even(20), 4)).memo["features"]["holdout"]
    assert len(_witnesses(held)) == len(set(groups)) < len(holdout)
    assert len(_witnesses(held.take(np.arange(0, len(held), 4)))) == len(set(groups))


def test_the_chance_of_distances_is_the_same_for_few_and_many() -> None:
    rng = np.random.default_rng(0)
    unseen, apart = rng.normal(size=4), rng.normal(size=30) + 50
    assert _p(unseen, apart) == pytest.approx(1 / math.comb(34, 4))
    alone = _stratified([(unseen, apart)])
    assert _stratified([(unseen, apart)] * 3) < alone < 0.01
    draws = [_stratified([(rng.normal(size=3), rng.normal(size=20)) for _ in range(3)]) for _ in range(2000)]
    assert np.mean(np.array(draws) < 0.05) == pytest.approx(0.05, abs=0.02)


# --- what is measured


def test_the_evidence_holds_the_pictures_row_by_row(train: Pictures, holdout: Pictures) -> None:
    some = made(even(10), 4)
    given = evidence(train, holdout, some)
    held = given.memo["pictures"]
    assert set(held) == set(given.memo["features"]) == {"train", "reference", "holdout", "synthetic"}
    assert given.reference is given.train
    for side, rows in {"train": given.train, "holdout": given.holdout, "synthetic": given.synthetic}.items():
        assert rows.labels().tolist() == held[side].labels.tolist()
    assert np.array_equal(held["synthetic"].pixels, some.pixels)
    assert any("sha256" in said for said in given.notices)
    assert any("square around their marks" in said for said in given.notices)


def test_holdout_pictures_that_were_trained_on_are_left_out(train: Pictures, holdout: Pictures) -> None:
    both = Pictures(
        np.concatenate([holdout.pixels, train.pixels[:5]]), np.concatenate([holdout.masks, train.masks[:5]]),
        np.concatenate([holdout.masked, train.masked[:5]]), np.concatenate([holdout.labels, train.labels[:5]]), CLASSES,
    )  # fmt: skip
    given = evidence(train, both, made(even(20), 4))
    assert given.holdout.num_rows == len(holdout)
    assert any(said.startswith("5 of ") for said in given.notices)


def test_kid_is_none_for_one_law_and_grows_with_the_difference() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(40):
        found = kid(rng.normal(size=(60, 8)), rng.normal(size=(80, 8)))
        inside += found.low <= 0 <= found.high
    assert inside >= 34
    near, far = (kid(rng.normal(size=(200, 8)), rng.normal(shift, 1, size=(200, 8))) for shift in (0.3, 1.0))
    assert 0 < near.low and near.high < far.low


def test_fid_of_two_gaussians_is_their_distance() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(40_000, 2)), rng.normal([3.0, 0.0], [2.0, 1.0], size=(40_000, 2))
    assert fid(a, b) == pytest.approx(9.0 + 1.0, rel=0.03)


def test_a_limit_on_kid_blocks_and_only_figures_that_exist_have_one(train: Pictures, holdout: Pictures) -> None:
    given = evidence(train, holdout, made(even(60), 3, without="wide"), limits={"fidelity": {"kid": 0.0}})
    found = findings(given)["fidelity"]
    assert found.verdict == "BLOCK" and found.limit == 0.0 and found.details["extractor"] == "random"
    assert {scope["name"] for scope in found.details["scopes"]} == {"the whole set", *(f"class {c}" for c in CLASSES)}
    with pytest.raises(DataError, match="did you mean 'kid'"):
        check_limits({"fidelity": {"kids": 1.0}})


def test_pictures_of_one_part_are_one_witness() -> None:
    rng = np.random.default_rng(0)
    hits = {"rows": 0, "groups": 0}
    for _ in range(100):
        parts = [np.repeat(rng.normal(size=8), 10) + 0.3 * rng.normal(size=80) for _ in range(2)]
        groups = np.repeat(np.arange(8), 10)
        hits["rows"] += clustered(*parts, np.arange(80), np.arange(80)) < 0.05
        hits["groups"] += clustered(*parts, groups, groups) < 0.05
    assert hits["groups"] <= 12 < hits["rows"]
    assert clustered(rng.normal(1.5, 1, 80), rng.normal(size=80), groups, groups) < 1e-3


# --- what is refused


def test_what_cannot_be_compared_is_refused_in_one_sentence(train: Pictures, holdout: Pictures) -> None:
    some = made(even(5), 4)
    refused: list[tuple[str, Any]] = [
        ("bring them to one size", lambda: evidence(train, made(even(5), 2, size=32), some)),
        ("bring them to one size", lambda: evidence(train, made(even(5), 2, channels=3), some)),
        ("no holdout pictures", lambda: evidence(train, made({"normal": 5, "pit": 5}, 2), some, mix={"line": 1.0})),
        ("no level 'crack'", lambda: evidence(train, holdout, some, mix={"crack": 1.0})),
        ("there are no synthetic pictures", lambda: evidence(train, holdout, dataset(some.take([])))),
        ("are no pictures", lambda: prepare_pictures(dataset(train), Dataset.from_pandas(frame(9, 0)), dataset(some),
                                                     intent=Intent())),
        ("detect must lie", lambda: evidence(train, holdout, some, detect=0.0)),
        ("unknown figure 'c2st_auc'", lambda: evidence(train, holdout, some, limits={"fidelity": {"c2st_auc": 1.0}})),
        ("utility must be one of", lambda: picture_checks(utility="some")),  # type: ignore[arg-type]
    ]  # fmt: skip
    for said, call in refused:
        with pytest.raises(DataError, match=said) as error:
            call()
        assert "\n" not in str(error.value)


# --- the whole walk


def test_a_decision_and_its_data_docs(train: Pictures, holdout: Pictures, tmp_path: Path) -> None:
    given = evidence(train, holdout, made(even(100), 5))
    told = pronounce(given, docs=tmp_path / "docs", only=picture_checks(utility="off"))
    assert told.verdict in ("PASS", "WARN")
    assert (tmp_path / "docs/index.html").is_file()
    assert [f["check"] for f in told.to_json()["findings"]][:3] == ["schema", "modes", "copies"]
    assert "row" not in " ".join(f.summary for f in told.findings)


def test_places_are_told_in_thirds() -> None:
    for cell, said in {
        "place of the mark across=0.1667": "marks in the left third",
        "place of the mark across up to 0.5 within class pit": "marks in the left or middle third within class pit",
        "place of the mark down over 0.1667 to 0.5": "marks in the middle third",
        "place of the mark down over 0.5": "marks in the lower third",
        "look 1 high & place of the mark down over 0.1667": "look 1 high & marks in the middle or lower third",
        "area of the mark over 0.1667": "area of the mark over 0.1667",
    }.items():
        assert in_thirds(cell) == said


def test_a_side_of_the_picture_without_marks_is_missing_and_a_shift_within_a_third_is_not() -> None:
    """Real crops are cut around their marks, say; marks a little off the middle are no missing mode, those of a side are."""
    held, drawn = [made({"pit": 150}, seed) for seed in (1, 2)], made({"pit": 900}, 4)
    across = np.array([np.nonzero(mask)[1].mean() for mask in drawn.masks])
    found = findings(evidence(*held, drawn.take(np.flatnonzero(across > 9))))["modes"]
    assert found.verdict == "BLOCK" and "left" in found.culprits[0].cell
    middle = [side.take(np.flatnonzero(_near_the_middle(side, 2.5))) for side in (made({"pit": 400}, 5), made({"pit": 400}, 6))]
    off = made({"pit": 1500}, 7)
    off = off.take(np.flatnonzero(_near_the_middle(off, 3.5) & ~_near_the_middle(off, 1.5)))
    assert "place" not in str([c.cell for c in findings(evidence(*middle, off))["modes"].culprits])


def _near_the_middle(held: Pictures, reach: float) -> Array:
    places = np.array([[axis.mean() for axis in np.nonzero(mask)] for mask in held.masks])
    return np.asarray((np.abs(places - 11.5) <= reach).all(axis=1))
