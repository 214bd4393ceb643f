"""Does the baseline draw exactly what its mask says, on good pictures, by every way?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import ndimage

from data.dataset import Dataset
from data.images import Pictures, pictures, schema
from generators.base import GeneratorError
from generators.image._perlin import blot, perlin, rectangle, strip
from generators.image.procedural import Procedural
from tests.generators.pictures import CLASSES, as_dataset, shapes

WAYS = ("cutpaste", "perlin", "scar", "auto")


def drawn(model: Any, n: int, name: str, seed: int = 0) -> Pictures:
    table = pa.Table.from_batches(list(model.sample(n, where={"class": name}, seed=seed)))
    return pictures(Dataset(table, schema(CLASSES)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("channels", [1, 3])
def test_outside_its_mask_a_picture_is_the_good_one_it_names(way: str, channels: int) -> None:
    data = shapes(channels=channels)
    good = {source: picture for source, picture in zip(pictures(data).sources, pictures(data).pixels, strict=True)}
    made = drawn(Procedural(way=way).fit(data, seed=0), 12, "dot")
    assert made.masks.any(axis=(1, 2)).all()
    changed = 0
    for pixels, mask, source in zip(made.pixels, made.masks, made.sources, strict=True):
        assert str(source).startswith("normal/")
        np.testing.assert_array_equal(pixels[~mask], good[source][~mask])
        changed += int((pixels[mask] != good[source][mask]).any())
    assert changed >= 11
    assert len({pixels.tobytes() for pixels in made.pixels}) == 12


def test_a_defect_is_pasted_as_it_was_but_for_its_light() -> None:
    made = drawn(Procedural(way="cutpaste").fit(shapes(), seed=0), 20, "dot")
    inside = np.array([pixels[mask].mean() for pixels, mask in zip(made.pixels, made.masks, strict=True)])
    assert (inside > 180).all() and inside.std() > 2
    assert set(made.masks.sum(axis=(1, 2))) == {16}


def test_noise_and_strips_take_the_defects_own_surface() -> None:
    for way in ("perlin", "scar"):
        bright, dark = (drawn(Procedural(way=way).fit(shapes(), seed=0), 30, name) for name in ("dot", "line"))
        means = [np.mean([p[m].mean() for p, m in zip(part.pixels, part.masks, strict=True)]) for part in (bright, dark)]
        assert means[0] > 130 > 90 > means[1]


def test_a_class_without_masks_takes_pieces_of_good_pictures() -> None:
    held = pictures(shapes())
    bare = as_dataset(held.pixels, [held.classes[k] for k in held.labels], [None] * len(held), CLASSES)
    for way in WAYS:
        made = drawn(Procedural(way=way).fit(bare, seed=0), 10, "line")
        assert made.masks.any(axis=(1, 2)).all()


def test_black_and_white_stays_black_and_white_and_changes() -> None:
    held = pictures(shapes((8, 6, 6)))
    sharp = np.where(held.pixels > 128, 255, 0).astype(np.uint8)
    data = as_dataset(sharp, [held.classes[k] for k in held.labels], list(held.masks), CLASSES)
    for way in WAYS:
        made = drawn(Procedural(way=way).fit(data, seed=0), 10, "dot")
        assert set(np.unique(made.pixels)) == {0, 255}


def test_places_are_those_of_the_class_or_any() -> None:
    rng = np.random.default_rng(0)
    good = rng.normal(110, 5, (12, 32, 32, 1)).astype(np.uint8)
    bad, mask = good[:6].copy(), np.zeros((6, 32, 32), dtype=bool)
    for i in range(6):
        mask[i, 2 + i % 2 : 6 + i % 2, 3:7] = True
    bad[mask] = 220
    marks = [*np.zeros((12, 32, 32), dtype=bool), *mask]
    data = as_dataset(np.concatenate([good, bad]), ["normal"] * 12 + ["dot"] * 6, marks, CLASSES)

    def rows(places: str) -> np.ndarray:
        made = drawn(Procedural(places=places).fit(data, seed=0), 40, "dot")  # type: ignore[arg-type]
        return np.array([ndimage.center_of_mass(m)[0] for m in made.masks])

    assert rows("real").max() < 9
    assert rows("uniform").max() > 18


@pytest.mark.parametrize("settings", [{"way": "magic"}, {"places": "here"}, {"normal": "absent"}], ids=str)
def test_settings_that_make_no_sense_are_one_sentence(settings: dict[str, Any]) -> None:
    with pytest.raises(GeneratorError) as caught:
        Procedural(**settings).fit(shapes(), seed=0)
    assert "\n" not in str(caught.value)


def test_without_good_pictures_one_sentence() -> None:
    with pytest.raises(GeneratorError, match="good pictures"):
        Procedural().fit(shapes((4, 4), classes=("dot", "line")), seed=0)
    with pytest.raises(GeneratorError, match="'normal'"):
        Procedural().fit(shapes((0, 4, 4)), seed=0)


def test_what_was_saved_draws_the_same_without_masks_too(tmp_path: Path) -> None:
    for masks in (True, False):
        model = Procedural(way="perlin").fit(shapes(masks=masks), seed=0)
        model.save(tmp_path / str(masks))
        again = Procedural.load(tmp_path / str(masks))
        np.testing.assert_array_equal(drawn(model, 5, "dot").pixels, drawn(again, 5, "dot").pixels)


def test_noise_is_smooth_centred_and_of_the_asked_scale() -> None:
    rng = np.random.default_rng(0)
    coarse, fine = perlin(64, (2, 2), rng), perlin(64, (16, 16), rng)
    assert abs(fine.mean()) < 0.05 and np.abs(fine).max() < 1.2
    assert np.abs(np.diff(coarse, axis=0)).mean() < 0.4 * np.abs(np.diff(fine, axis=0)).mean()
    assert np.abs(np.diff(coarse, axis=0)).max() < 0.15  # no step between cells either


def test_shapes_have_the_area_and_the_place_that_are_asked_for() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        made = blot(48, 90, (10.0, 30.0), rng)
        assert made.sum() == 90
        y, x = ndimage.center_of_mass(made)
        assert abs(y - 10) < 8 and abs(x - 30) < 8
        bar = strip(48, (20.0, 20.0), rng)
        assert 1 <= bar.sum() < 60 and bar[18:23, 18:23].any()
        assert 0.015 < rectangle(48, (1.0, 40.0), rng).mean() < 0.18
