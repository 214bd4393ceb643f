"""Does the gate block pictures that are collapsed, copied, mislabelled, dull, or without one of their modes?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.images import Pictures
from tests.validators.picture_sets import CLASSES, blocked, changed, even, evidence, findings, made
from validators._pictures_missing import CELLS


@pytest.fixture(scope="module")
def train() -> Pictures:
    return made(even(60), 1)


@pytest.fixture(scope="module")
def holdout() -> Pictures:
    return made(even(60), 2)


@pytest.fixture(scope="module")
def good() -> Pictures:
    return made(even(300), 3)


def test_a_missing_mode_is_blocked_named_and_shown(train: Pictures, holdout: Pictures) -> None:
    given = evidence(train, holdout, made(even(300), 3, without="narrow"))
    found = findings(given)["modes"]
    assert found.verdict == "BLOCK"
    assert found.culprits[0].observed < 0.2 * found.culprits[0].expected
    # What the report will show as missing is what is missing.
    inside = given.memo[CELLS][found.culprits[0].cell](given.reference)
    shown = [train.sources[i] for i in np.flatnonzero(inside)]
    assert len(shown) >= 8 and shown.count("narrow") >= 0.8 * len(shown)
    assert "smaller" in found.culprits[0].cell or "area of the mark" in found.culprits[0].cell


def test_swapped_labels_are_blocked(train: Pictures, holdout: Pictures, good: Pictures) -> None:
    labels, rng = good.labels.copy(), np.random.default_rng(0)
    some = np.flatnonzero(np.isin(labels, (0, 1)) & (rng.random(len(labels)) < 0.3))
    labels[some] = 1 - labels[some]
    # Marks go with the class, so that only what the pictures show tells.
    bare = [replace(side, masks=np.zeros_like(side.masks)) for side in (train, holdout, replace(good, labels=labels))]
    assert "labels" in blocked(evidence(*bare))


def test_pictures_drawn_towards_their_mean_are_blocked(train: Pictures, holdout: Pictures, good: Pictures) -> None:
    pixels = good.pixels.astype(float)
    for k in range(len(CLASSES)):
        mine = good.labels == k
        pixels[mine] = 0.6 * pixels[mine] + 0.4 * train.pixels[train.labels == k].mean(axis=0)
    dull = replace(good, pixels=np.round(pixels).astype(np.uint8))
    assert blocked(evidence(train, holdout, dull)) & {"modes", "spread", "duplicates", "coverage"}


def test_a_generator_that_learned_by_heart_is_blocked(train: Pictures, holdout: Pictures) -> None:
    drawn = np.random.default_rng(1).integers(len(train), size=500)
    assert "copies" in blocked(evidence(train, holdout, changed(train.take(drawn), "fsbn")))


def test_a_collapsed_generator_is_blocked(train: Pictures, holdout: Pictures) -> None:
    one = made(even(1), 99)  # a picture of each class that is no training picture
    same = changed(one.take(np.repeat(np.arange(3), 180)), "n")
    assert {"modes", "duplicates", "coverage"} <= blocked(evidence(train, holdout, same))


def test_a_class_that_collapsed_alone_is_blocked(train: Pictures, holdout: Pictures, good: Pictures) -> None:
    pits = np.flatnonzero(good.labels == 1)
    places = np.arange(len(good))
    places[pits] = pits[0]
    found = findings(evidence(train, holdout, changed(good.take(places), "n")))
    assert found["duplicates"].verdict == "BLOCK"
    assert "class pit" in found["duplicates"].summary
