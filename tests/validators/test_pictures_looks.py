"""Is a synthetic picture that cannot be used named by what is wrong with it?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data.dataset import Dataset
from data.errors import DataError
from data.images import Pictures, encode, pictures
from tests.validators.picture_sets import SIZE, dataset, even, evidence, made
from validators.base import Finding
from validators.looks import MEMO, RULES, LooksCheck, Wanted, look

Row = dict[str, Any]


@pytest.fixture(scope="module")
def real() -> tuple[Pictures, Pictures]:
    return made(even(10), 1), made(even(10), 2)


def spoiled(change: Callable[[Row], None], places: tuple[int, ...]) -> Dataset:
    """Thirty pictures, ten of a class, of which some are changed."""
    held = dataset(made(even(10), 3))
    rows = held.table.to_pylist()
    for place in places:
        change(rows[place])
    return Dataset(pa.Table.from_pylist(rows, schema=held.table.schema), held.schema)


def gray(value: int, size: int = SIZE, channels: int = 1) -> bytes:
    return encode(np.full((size, size, channels), value, dtype=np.uint8))


def set_image(data: bytes | None) -> Callable[[Row], None]:
    return lambda row: row.update(image=None if data is None else {"bytes": data, "path": "x.png"})


def set_mask(data: bytes | None) -> Callable[[Row], None]:
    return lambda row: row.update(mask=None if data is None else {"bytes": data, "path": "x.png"}, objects=None)


def boxes(*found: list[float], kind: str = "pit") -> Callable[[Row], None]:
    return lambda row: row.update(objects={"bbox": list(found), "category": [kind] * len(found)})


#: Rule -> what breaks it, and on which pictures (0 to 9 are normal, 10 to 19 pits, 20 to 29 lines).
BROKEN: dict[str, tuple[Callable[[Row], None], tuple[int, ...]]] = {
    "opens": (set_image(b"no picture"), (4,)),
    "size": (set_image(gray(9, size=SIZE + 1)), (4, 5)),
    "mode": (set_image(gray(9, channels=3)), (4,)),
    "class": (lambda row: row.update({"class": "crack"}), (4,)),
    "mask size": (set_mask(gray(255, size=SIZE - 2)), (12,)),
    "mask values": (set_mask(gray(77)), (12,)),
    "boxes": (boxes([0.0, 0.0, 2.0, 2.0]), (12,)),
    "blank": (set_image(gray(80)), (3,)),
    "marked": (set_mask(gray(0)), (12, 13)),
    "unmarked": (set_mask(gray(255)), (3,)),
}


def judged(real: tuple[Pictures, Pictures], synthetic: Dataset) -> Finding:
    return LooksCheck().evaluate(evidence(*real, synthetic))


def test_every_rule_has_a_case() -> None:
    assert set(BROKEN) == set(RULES)


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_named_with_the_pictures_that_break_it(real: tuple[Pictures, Pictures], rule: str) -> None:
    change, places = BROKEN[rule]
    found = judged(real, spoiled(change, places))
    assert found.verdict == "BLOCK"
    named = next(culprit for culprit in found.culprits if culprit.cell == RULES[rule])
    assert named.observed == len(places) and named.expected == 0
    if len(found.culprits) == 1:
        assert ", ".join(map(str, places)) in found.summary


def test_good_pictures_break_no_rule(real: tuple[Pictures, Pictures]) -> None:
    found = judged(real, dataset(made(even(10), 3)))
    assert found.verdict == "PASS" and found.value == 0


def test_pictures_that_cannot_be_judged_are_left_out_and_the_others_keep_their_numbers(real: tuple[Pictures, Pictures]) -> None:
    given = evidence(*real, spoiled(set_image(None), (0, 7)))
    assert given.synthetic.num_rows == 28 and len(given.memo["pictures"]["synthetic"]) == 28
    assert given.memo[MEMO].places.tolist() == [i for i in range(30) if i not in (0, 7)]
    assert LooksCheck().evaluate(given).culprits[0].observed == 2


def test_boxes_may_be_split_or_a_pixel_off_but_must_cover_the_mark(real: tuple[Pictures, Pictures]) -> None:
    held = made(even(10), 3)
    x, y, width, height = held.boxes(12) or (0, 0, 0, 0)
    assert judged(real, spoiled(boxes([x - 0.6, y - 0.6, width + 1.2, height + 1.2]), (12,))).verdict == "PASS"
    half = [[x, y, width, height / 2], [x, y + height / 2, width, height / 2]]
    assert judged(real, spoiled(boxes(*half), (12,))).verdict == "PASS"
    assert judged(real, spoiled(boxes([x, y, width, height / 2]), (12,))).verdict == "BLOCK"
    assert judged(real, spoiled(boxes([x, y, width, height], kind="line"), (12,))).verdict == "BLOCK"
    assert judged(real, spoiled(boxes([x, y, width + SIZE, height]), (12,))).verdict == "BLOCK"


def test_blank_pictures_are_allowed_where_real_ones_are_blank() -> None:
    train, holdout = made(even(10), 1), made(even(10), 2)
    for held in (train, holdout):
        held.pixels[:3] = 200  # three of ten good parts are an even white
    rows = dataset(made(even(10), 3))
    assert judged((train, holdout), rows).verdict == "PASS"
    assert judged((train, holdout), spoiled(set_image(gray(200)), (0, 1, 2))).verdict == "PASS"
    assert judged((train, holdout), spoiled(set_image(gray(200)), tuple(range(30)))).verdict == "BLOCK"


def test_nothing_is_asked_of_marks_where_real_pictures_have_none() -> None:
    bare = [made(even(10), seed, masked=False) for seed in (1, 2)]
    assert judged((bare[0], bare[1]), dataset(made(even(10), 3, masked=False))).verdict == "PASS"
    wanted = Wanted.of(bare)
    assert wanted.marked == wanted.unmarked == frozenset()


def test_a_set_of_which_no_picture_can_be_judged_is_refused(real: tuple[Pictures, Pictures]) -> None:
    with pytest.raises(DataError, match="none of 30 synthetic pictures can be judged: all are pictures of another size"):
        look(spoiled(set_image(gray(9, size=8)), tuple(range(30))), Wanted.of(list(real)))


def test_what_is_looked_at_is_what_was_written(real: tuple[Pictures, Pictures]) -> None:
    held = dataset(made(even(4), 3))
    found, plain = look(held, Wanted.of(list(real))).pictures, pictures(held)
    assert np.array_equal(found.pixels, plain.pixels) and np.array_equal(found.masks, plain.masks)
    assert found.labels.tolist() == plain.labels.tolist() and found.sources == plain.sources
