"""Are copies of training pictures found, exact ones and changed ones, and is nothing else called a copy?"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from benchmarks.gate_pictures_trials import joined
from data.images import Pictures
from tests.validators.picture_sets import blocked, changed, even, evidence, made
from validators._pictures_copies import PictureCopiesCheck, first_rank, nearest_pairs
from validators.base import Finding


@pytest.fixture(scope="module")
def train() -> Pictures:
    return made(even(60), 1)


@pytest.fixture(scope="module")
def holdout() -> Pictures:
    return made(even(60), 2)


def copies(train: Pictures, holdout: Pictures, synthetic: Pictures, **intent: object) -> Finding:
    return PictureCopiesCheck().evaluate(evidence(train, holdout, synthetic, **intent))


def test_one_exact_copy_is_one_too_many(train: Pictures, holdout: Pictures) -> None:
    some = made(even(60), 3)
    found = copies(train, holdout, joined(some, train.take([70])))
    assert found.verdict == "BLOCK"
    assert found.culprits[0].cell == "synthetic picture 180 = training picture 70"
    assert found.details["exact_pictures"] == 1
    assert copies(train, holdout, some).verdict == "PASS"


def test_an_exact_copy_of_another_class_or_mask_is_found_too(train: Pictures, holdout: Pictures) -> None:
    """Pixels alone tell: a good part with a mask and the name of a defect is still the good part."""
    part = train.take([3])
    masks = np.zeros_like(part.masks)
    masks[0, 4:9, 4:9] = True
    taken = replace(part, labels=np.array([1]), masks=masks)
    found = copies(train, holdout, joined(made(even(60), 3), taken), mix={"pit": 0.5, "line": 0.5})
    assert found.verdict == "BLOCK" and found.culprits[0].cell.endswith("= training picture 3")


def test_plain_pictures_that_coincide_are_no_copies(train: Pictures, holdout: Pictures) -> None:
    """Crops of black and white plans repeat by chance: there the rate of unseen real pictures decides."""
    plain = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        held = made({"normal": 150}, seed, classes=("normal",), masked=False)
        pixels = np.zeros_like(held.pixels)
        for i in range(150):
            pixels[i, :, : int(rng.integers(1, 24))] = 255
        plain.append(replace(held, pixels=pixels))
    found = copies(*plain)
    assert found.details["exact_pictures"] == 0 and found.verdict == "PASS"


def test_near_copies_are_found_among_many_others(train: Pictures, holdout: Pictures) -> None:
    many = 1500
    drawn = made(even(many // 3), 3)
    copied = changed(train.take(np.random.default_rng(0).integers(len(train), size=many // 8)), "fbn")
    found = copies(train, holdout, joined(drawn, copied))
    assert found.verdict == "BLOCK" and "nearest" in found.summary
    assert copies(train, holdout, drawn).verdict == "PASS"


def test_copied_defects_on_good_pictures_are_told_from_copies_by_training(train: Pictures, holdout: Pictures) -> None:
    copied = train.take(np.arange(0, len(train), 4))
    told = copies(train, holdout, replace(copied, sources=()))
    pasted = copies(train, holdout, copied)
    assert told.verdict == pasted.verdict == "BLOCK"
    assert "advice" not in told.details and "generator.vary" in pasted.details["advice"]


def test_the_nearest_pairs_are_the_copies_and_what_they_copy(train: Pictures, holdout: Pictures) -> None:
    drawn = made(even(60), 3)
    origins = np.array([70, 80, 130, 140])
    given = evidence(train, holdout, joined(drawn, changed(train.take(origins), "fbn")))
    nearest = nearest_pairs(given)
    assert nearest is not None
    assert {(p.synthetic, p.train) for p in nearest.pairs[:4]} == {(180 + i, int(k)) for i, k in enumerate(origins)}
    assert all(pair.nearer == 0 for pair in nearest.pairs[:4])
    told = PictureCopiesCheck().evaluate(given).details["nearest"]
    assert told[0]["distance"] <= told[1]["distance"] and told[0]["holdout_nearer"] == 0


def test_positions_are_those_of_all_training_pictures_when_a_class_is_not_judged(train: Pictures, holdout: Pictures) -> None:
    copied = train.take([75])
    given = evidence(train, holdout, joined(made({"pit": 100}, 3), changed(copied, "bn")), mix={"pit": 1.0})
    nearest = nearest_pairs(given)
    assert nearest is not None and (nearest.pairs[0].synthetic, nearest.pairs[0].train) == (100, 75)


def test_a_defect_painted_on_a_training_picture_is_no_copy_of_it(train: Pictures, holdout: Pictures) -> None:
    normals, pits = train.take(np.flatnonzero(train.labels == 0)), made({"pit": 400}, 5)
    pixels = normals.pixels[np.random.default_rng(0).integers(len(normals), size=400)].copy()
    for i in range(400):
        ground = np.median(pits.pixels[i][~pits.masks[i]])
        pixels[i][pits.masks[i]] = np.clip(pixels[i][pits.masks[i]] + (pits.pixels[i][pits.masks[i]] - ground), 0, 255)
    assert "copies" not in blocked(evidence(train, holdout, replace(pits, pixels=pixels), mix={"pit": 1.0}))


def test_the_rank_of_the_first_unseen_picture_is_exact() -> None:
    made_count, real_count = 5, 3
    places = list(combinations(range(made_count + real_count), real_count))
    for before in range(made_count + 1):
        share = sum(min(unseen) >= before for unseen in places) / len(places)
        assert first_rank(before, made_count, real_count) == pytest.approx(share)


def test_a_holdout_that_is_the_training_set_judges_nothing(train: Pictures) -> None:
    found = copies(train, train, made(even(60), 3))
    assert found.verdict == "INCONCLUSIVE" and "holdout pictures are training pictures" in found.summary
