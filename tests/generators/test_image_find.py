"""Are defects found that nobody marked, and nothing where there is nothing?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data.dataset import Dataset
from data.images import Pictures, pictures
from generators.base import GeneratorError
from generators.image._find import LEAST_GOOD, check_enough, marked, unlike
from generators.image.paste import Paste
from tests.generators.pictures import as_dataset

SIZE = 48


def cloth(rng: np.random.Generator, defect: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A weave of any tone, with a dark hole or a pale, soft stain on it, and its true mask."""
    y, x = np.mgrid[:SIZE, :SIZE]
    weave = np.sin(2 * np.pi * x / 5 + rng.uniform(0, 6)) * np.sin(2 * np.pi * y / 5 + rng.uniform(0, 6))
    pixels = rng.uniform(110, 140) + 15 * weave + rng.normal(0, 3, (SIZE, SIZE))
    far = np.hypot(y - rng.uniform(12, 36), x - rng.uniform(12, 36))
    mask = far < {None: 0.0, "hole": 4.0, "stain": 7.0}[defect]
    pixels = np.where(mask, 20.0 if defect == "hole" else 0.5 * pixels + 110, pixels)
    return pixels.clip(0, 255).astype(np.uint8)[:, :, None], mask


def several(n: int, defect: str | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = [cloth(rng, defect) for _ in range(n)]
    return np.stack([p for p, _ in made]), np.stack([m for _, m in made])


def unmarked(held: Pictures) -> Dataset:
    return as_dataset(held.pixels, [held.classes[k] for k in held.labels], None, held.classes)


def folder(goods: int = 60, each: int = 10, *, masks: bool = False) -> tuple[Pictures, np.ndarray]:
    """Good cloth, holes and stains; unmarked unless `masks`. And the true masks."""
    parts = [several(goods, None, 0), several(each, "hole", 1), several(each, "stain", 2)]
    pixels, true = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    labels = np.repeat([0, 1, 2], [goods, each, each])
    known = np.full(len(labels), masks)
    return Pictures(pixels, true & masks, known, labels, ("good", "hole", "stain")), true


@pytest.mark.parametrize(("defect", "overlap"), [("hole", 0.6), ("stain", 0.4)])
def test_what_looks_like_no_good_place_is_found(defect: str, overlap: float) -> None:
    held, true = folder()
    found = marked(held, 0, seed=0)
    which = held.labels == held.classes.index(defect)
    got, own = found.masks[which], true[which]
    share = (got & own).sum(axis=(1, 2)) / (got | own).sum(axis=(1, 2))
    assert np.median(share) >= overlap
    assert not found.masks[held.labels == 0].any()
    assert not found.masked.any(), "what was found is no mark of the user's"


def test_good_pictures_are_seldom_taken_for_defects() -> None:
    good, fresh = several(90, None, 0)[0], several(60, None, 5)[0]
    assert unlike(good, fresh, np.random.default_rng(0)).any(axis=(1, 2)).mean() <= 0.25


def test_classes_that_differ_in_nothing_are_refused() -> None:
    held, _ = folder()
    same = replace(held, pixels=np.where((held.labels == 0)[:, None, None, None], held.pixels, several(80, None, 7)[0]))
    with pytest.raises(GeneratorError, match="no picture of class 'hole' has a mask or box, and only in"):
        marked(same, 0, seed=0)


def test_marks_that_are_there_stay_and_few_good_pictures_are_nothing_to_go_by() -> None:
    held, true = folder(masks=True)
    assert marked(held, 0, seed=0) is held and (held.masks == true).all()
    few, _ = folder(goods=LEAST_GOOD - 1)
    assert not marked(few, 0, seed=0).masks.any()


@pytest.mark.parametrize(
    ("found", "count", "enough"), [(3, 3, True), (2, 3, False), (1, 1, False), (6, 10, True), (50, 100, False)]
)
def test_how_many_are_enough(found: int, count: int, enough: bool) -> None:
    if enough:
        check_enough(found, count, "x")
    else:
        with pytest.raises(GeneratorError, match=f"only in {found} of {count}"):
            check_enough(found, count, "x")


def test_pasted_without_marks_are_handed_out_without_any_and_the_same_after_loading(tmp_path: Path) -> None:
    held, _ = folder()
    family = Paste().fit(unmarked(held), seed=0)
    drawn = list(family.sample(6, seed=1))
    family.save(tmp_path / "model")
    assert drawn == list(Paste.load(tmp_path / "model").sample(6, seed=1))
    table = drawn[0]
    assert table.column("mask").null_count == table.column("objects").null_count == 6
    holes = np.concatenate([b.column("image").to_pylist() for b in family.sample(12, where={"class": "hole"}, seed=2)])
    assert len(holes) == 12


def test_pasted_holes_are_dark_and_the_rest_of_the_cloth_is_untouched() -> None:
    held, _ = folder()
    train = unmarked(held)
    family = Paste().fit(train, seed=0)
    made = pictures(Dataset(pa.Table.from_batches(list(family.sample(20, where={"class": "hole"}, seed=3))), train.schema))
    goods = held.pixels[held.labels == 0].astype(int)
    darkest = made.pixels.reshape(20, -1).min(axis=1)
    assert np.median(darkest) < 45
    apart = [np.abs(goods - p.astype(int)).mean(axis=(1, 2, 3)).min() for p in made.pixels]
    assert np.median(apart) < 6
