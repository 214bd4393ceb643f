"""Is a missing region found and named, and a healthy set left alone?"""

from __future__ import annotations

import pytest

from tests.validators.rows import evidence, frame
from validators.base import Intent
from validators.gate import Detectable, decide
from validators.modes import ModesCheck


def test_a_dropped_mode_of_five_percent_is_caught_and_named() -> None:
    found = ModesCheck().evaluate(evidence(frame(2000, 1), frame(2000, 2), frame(2000, 3, drop="far")))
    assert found.verdict == "BLOCK"
    assert found.culprits[0].cell == "city=far" and found.culprits[0].observed == 0
    assert found.culprits[0].p_adjusted is not None and found.culprits[0].p_adjusted < 0.005


@pytest.mark.parametrize("seed", range(5))
def test_real_against_real_does_not_block(seed: int) -> None:
    found = ModesCheck().evaluate(evidence(frame(800, 10 * seed), frame(400, 10 * seed + 1), frame(2000, 10 * seed + 2)))
    assert found.verdict == "PASS", found.summary


def test_a_hole_in_a_pair_is_named_as_the_pair() -> None:
    made = frame(12000, 3)
    hole = (made.city == "east") & (made["count"] >= 72)
    found = ModesCheck().evaluate(evidence(frame(2000, 1), frame(2000, 2), made[~hole]))
    assert found.verdict == "BLOCK"
    assert "city=east" in found.culprits[0].cell and "count over" in found.culprits[0].cell


def test_an_intended_mix_is_not_taken_for_a_fault_and_its_absence_is() -> None:
    made = frame(6000, 3)
    even = made.groupby("label").head(1500)
    sides = frame(2000, 1), frame(1000, 2), even
    assert ModesCheck().evaluate(evidence(*sides, mix={"yes": 0.5, "no": 0.5})).verdict == "PASS"
    missed = ModesCheck().evaluate(evidence(*sides, mix={"yes": 0.05, "no": 0.95}))
    assert missed.verdict == "WARN" and missed.culprits[0].cell == "class no"


def test_a_class_without_a_share_is_not_judged() -> None:
    made = frame(3000, 3)
    found = ModesCheck().evaluate(evidence(frame(2000, 1), frame(1000, 2), made[made.label == "yes"], mix={"yes": 1.0}))
    assert found.verdict == "PASS" and list(Detectable.of([found]).classes) == ["yes"]


def test_tiny_sets_say_that_they_can_see_nothing() -> None:
    found = ModesCheck().evaluate(evidence(frame(30, 1), frame(5, 2), frame(10, 3)))
    assert found.verdict in ("PASS", "SKIPPED") and Detectable.of([found]).whole is None
    assert decide([found], intent=Intent()).verdict == "INCONCLUSIVE"


def test_a_kind_that_training_rows_hardly_hold_asks_for_more_of_it_and_not_for_more_training() -> None:
    shown, judged, made = frame(400, 1), frame(1000, 2), frame(4000, 3, drop="far")
    few = shown.drop(shown.index[shown.city == "far"][2:])
    rare = ModesCheck().evaluate(evidence(few.head(120), judged, made))
    assert rare.verdict == "BLOCK" and rare.culprits[0].cell == "city=far"
    assert rare.details["advice"].startswith("get more real rows of it") and "of 120 training rows" in rare.details["advice"]
    known = ModesCheck().evaluate(evidence(shown, judged, made))
    assert known.verdict == "BLOCK" and known.details["advice"].startswith("train the generator longer")
