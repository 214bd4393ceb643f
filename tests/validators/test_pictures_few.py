"""What does the gate say of a handful of pictures, and of sets that are odd?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from data.images import Pictures
from tests.validators.picture_sets import blocked, changed, even, evidence, findings, made
from validators.base import Evidence
from validators.gate import decide


def few(drawn: Pictures, **intent: Any) -> Evidence:
    """Fourteen real pits to learn from, six to judge by."""
    counts = {"normal": 30, "pit": 14}, {"normal": 20, "pit": 6}
    sides = [made(c, 20 + i) for i, c in enumerate(counts)]
    return evidence(*sides, drawn, mix={"pit": 1.0}, **intent)


def test_with_six_pictures_the_gate_says_what_it_cannot_see() -> None:
    given = few(made({"pit": 160}, 30), detect=0.25)
    found = findings(given)
    said = decide(list(found.values()), intent=given.intent)
    assert said.verdict == "INCONCLUSIVE"
    assert said.smallest_detectable_mode is None or said.smallest_detectable_mode > 0.25
    assert "holdout pictures would do" in said.next_action
    assert "a memoriser is seen only if" in found["copies"].summary


def test_with_six_pictures_a_memoriser_is_still_blocked() -> None:
    pits = made({"normal": 30, "pit": 14}, 20)
    drawn = pits.take(np.random.default_rng(0).choice(np.flatnonzero(pits.labels == 1), 160))
    given = few(changed(drawn, "fsbn"))
    assert "copies" in blocked(given)


def test_with_six_pictures_a_collapse_onto_a_new_picture_is_still_blocked() -> None:
    given = few(changed(made({"pit": 1}, 77).take(np.zeros(160, dtype=int)), "sbn"))
    assert "duplicates" in blocked(given)


def test_with_six_pictures_a_good_generator_is_not_blocked() -> None:
    for seed in range(2):
        given = few(made({"pit": 160}, 40 + seed), seed=seed)
        assert blocked(given) == set()


def scarce(drawn: Pictures) -> Evidence:
    """Twenty real pits to learn from, and more of them to judge by, of another kind of surface."""
    train = made({"normal": 30, "pit": 20}, 50)
    return evidence(train, made({"normal": 20, "pit": 90}, 51), drawn, mix={"pit": 1.0})


def test_few_reference_pictures_are_a_yardstick_of_their_own_size() -> None:
    found = findings(scarce(made({"pit": 400}, 52)))["coverage"]
    assert found.verdict == "PASS" and found.value is not None and found.value > 0.8
    scope = found.details["scopes"][0]
    # Twenty pictures cannot reach what ninety would: real ones are held to it as well.
    assert scope["real"] < 0.9 and scope["coverage"] == pytest.approx(scope["real"], abs=0.15)
    far = changed(made({"pit": 2}, 53).take(np.repeat([0, 1], 200)), "bn")
    assert findings(scarce(far))["coverage"].verdict == "BLOCK"


ODD: dict[str, list[dict[str, Any]]] = {
    "three pictures of a class": [{"counts": {"normal": 20, "pit": 3}}] * 2 + [{"counts": {"normal": 60, "pit": 30}}],
    "one picture of a class": [{"counts": {"normal": 20, "pit": 1}}] * 2 + [{"counts": {"normal": 60, "pit": 30}}],
    "one class": [{"counts": {"pit": 20}, "classes": ("pit",)}] * 2 + [{"counts": {"pit": 60}, "classes": ("pit",)}],
    "colour, no masks": [{"counts": even(8), "channels": 3, "masked": False}] * 3,
    "masks in one class": [{"counts": even(12), "masked": ("pit",)}] * 3,
    "sixteen pixels": [{"counts": even(8), "size": 16}] * 3,
    "a hundred pixels": [{"counts": even(8), "size": 100}] * 3,
    "a class that is not drawn": [{"counts": even(20)}] * 2 + [{"counts": {"normal": 60, "pit": 60}}],
}


@pytest.mark.parametrize("name", ODD)
def test_odd_sets_are_judged_without_an_error(name: str) -> None:
    sides = [made(seed=i, **settings) for i, settings in enumerate(ODD[name])]
    found = findings(evidence(*sides))
    assert found["schema"].verdict == "PASS"
    if name == "a class that is not drawn":
        assert found["modes"].culprits[0].cell == "class line"
