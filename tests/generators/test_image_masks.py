"""Are drawn masks like the real ones in shape, size and place, and does blending touch nothing outside them?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from data.images import Pictures, box
from generators.base import GeneratorError
from generators.image._blend import added, bare, feathered, filled, laid, matched, poisson, residual, ring
from generators.image._masks import MaskBank, turned

SIZE = 40


def discs(n: int = 24, size: int = SIZE, seed: int = 0) -> Pictures:
    """Two classes: discs in the left half, and flat bars low in the picture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    masks = []
    for i in range(2 * n):
        if i % 2 == 0:
            cy, cx, r = rng.uniform(12, 28), rng.uniform(8, 14), rng.uniform(3, 6)
            masks.append((y - cy) ** 2 + (x - cx) ** 2 <= r * r)
        else:
            top, left, wide = rng.integers(26, 34), rng.integers(4, 14), rng.integers(14, 22)
            masks.append((y >= top) & (y < top + 2) & (x >= left) & (x < left + wide))
    marks = np.stack(masks)
    pixels = rng.integers(0, 256, (2 * n, size, size, 1), dtype=np.uint8)
    return Pictures(pixels, marks, np.ones(2 * n, dtype=bool), np.arange(2 * n) % 2, ("disc", "bar"))


@pytest.fixture(scope="module")
def bank() -> MaskBank:
    return MaskBank.fit(discs())


@pytest.fixture(scope="module")
def drawn(bank: MaskBank) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([bank.draw(0, rng) for _ in range(300)])


def middles(masks: np.ndarray) -> np.ndarray:
    found = np.array([box(mask) for mask in masks])
    return np.stack([found[:, 1] + found[:, 3] / 2, found[:, 0] + found[:, 2] / 2], axis=1)


def test_areas_follow_the_real_ones_and_stay_in_their_range_broadened_a_little(bank: MaskBank, drawn: np.ndarray) -> None:
    real, made = bank.of(0).sum(axis=(1, 2)), drawn.sum(axis=(1, 2))
    assert made.min() >= 0.8 * real.min() and made.max() <= 1.25 * real.max()
    assert stats.ks_2samp(real, made).pvalue > 0.02
    assert made.std() > 0.5 * real.std()


def test_places_follow_the_real_ones_and_stay_in_their_range_broadened_a_little(bank: MaskBank, drawn: np.ndarray) -> None:
    real, made = middles(bank.of(0)), middles(drawn)
    assert (made.min(0) >= real.min(0) - 3).all() and (made.max(0) <= real.max(0) + 3).all()
    for axis in (0, 1):
        assert stats.ks_2samp(real[:, axis], made[:, axis]).pvalue > 0.02


def test_shapes_are_of_the_class_and_hardly_any_is_a_copy(bank: MaskBank, drawn: np.ndarray) -> None:
    def filling(masks: np.ndarray) -> np.ndarray:
        found = np.array([box(mask) for mask in masks])
        return masks.sum(axis=(1, 2)) / (found[:, 2] * found[:, 3])

    assert abs(filling(drawn).mean() - filling(bank.of(0)).mean()) < 0.12
    real = {mask.tobytes() for mask in bank.of(0)}
    assert np.mean([mask.tobytes() in real for mask in drawn]) < 0.1
    assert all(ndimage.label(mask, np.ones((3, 3)))[1] == 1 for mask in drawn)


def test_flat_bars_stay_flat_and_are_not_turned_upright(bank: MaskBank) -> None:
    rng = np.random.default_rng(1)
    boxes = np.array([box(bank.draw(1, rng)) for _ in range(60)])
    assert (boxes[:, 2] > boxes[:, 3]).all()
    assert 0 in bank.turns(1) and 1 not in bank.turns(1)


def test_shapes_of_any_direction_are_turned() -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((40, 24, 24), dtype=bool)
    for i, mask in enumerate(masks):
        mask[8:16, 11:13] = True
        masks[i] = turned(ndimage.rotate(mask, float(rng.uniform(0, 180)), reshape=False, order=0), 0)
    bank = MaskBank(masks, np.zeros(40, dtype=np.int64))
    assert bank.turns(0) == tuple(range(8))


def test_boxes_stay_boxes() -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((12, 32, 32), dtype=bool)
    for mask in masks:
        top, left, h, w = rng.integers(4, 12, 4)
        mask[top : top + h, left : left + w] = True
    bank = MaskBank(masks, np.zeros(12, dtype=np.int64))
    assert bank.boxes(0)
    for _ in range(50):
        mask = bank.draw(0, rng)
        x, y, w, h = box(mask) or (0, 0, 0, 0)
        assert w * h == mask.sum() > 0


def test_several_parts_stay_together() -> None:
    mask = np.zeros((1, 32, 32), dtype=bool)
    mask[0, 10:14, 10:14] = mask[0, 10:14, 19:23] = True
    mask[0, 12, 10] = False  # no box
    bank = MaskBank(mask, np.zeros(1, dtype=np.int64))
    rng = np.random.default_rng(0)
    assert np.mean([ndimage.label(bank.draw(0, rng), np.ones((3, 3)))[1] == 2 for _ in range(40)]) > 0.9


def test_a_shape_that_the_border_cut_stays_at_that_border() -> None:
    mask = np.zeros((1, 32, 32), dtype=bool)
    y, x = np.mgrid[:32, :32]
    mask[0] = y**2 + (x - 15) ** 2 <= 36
    bank = MaskBank(mask, np.zeros(1, dtype=np.int64))
    rng = np.random.default_rng(0)
    for _ in range(30):
        found = bank.draw(0, rng, places="uniform")
        assert found[0].any() or found[-1].any() or found[:, 0].any() or found[:, -1].any()


def test_uniform_places_reach_where_the_class_never_was(bank: MaskBank) -> None:
    rng = np.random.default_rng(0)
    made = middles(np.stack([bank.draw(0, rng, places="uniform") for _ in range(100)]))
    assert made[:, 1].max() > SIZE * 0.7
    assert stats.ks_2samp(middles(bank.of(0))[:, 1], made[:, 1]).pvalue < 0.01


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([16, 40, 64]), st.sampled_from([0, 1]), st.booleans())
def test_a_drawn_mask_is_never_empty_lies_in_its_region_and_depends_on_the_seed_alone(
    seed: int, size: int, label: int, region: bool
) -> None:
    bank = MaskBank.fit(discs(6))
    near = None
    if region:
        rng = np.random.default_rng(seed)
        near = np.zeros((size, size), dtype=bool)
        near[rng.integers(size) :, rng.integers(size) :] = True
    mask = bank.draw(label, np.random.default_rng(seed), size, near)
    assert mask.shape == (size, size) and mask.dtype == bool and mask.any()
    assert near is None or not (mask & ~near).any()
    np.testing.assert_array_equal(mask, bank.draw(label, np.random.default_rng(seed), size, near))


def test_a_large_region_keeps_the_whole_shape(bank: MaskBank) -> None:
    near = np.zeros((SIZE, SIZE), dtype=bool)
    near[:, SIZE // 2 :] = True
    rng = np.random.default_rng(0)
    areas = [bank.draw(0, rng, near=near).sum() for _ in range(60)]
    assert np.median(areas) > 0.8 * np.median(bank.of(0).sum(axis=(1, 2)))


def test_a_bank_that_was_saved_draws_the_same(bank: MaskBank) -> None:
    again = MaskBank.from_state(bank.to_state())
    for label in (0, 1):
        np.testing.assert_array_equal(bank.draw(label, np.random.default_rng(3)), again.draw(label, np.random.default_rng(3)))


def test_without_masks_one_sentence() -> None:
    held = discs(2)
    bare = Pictures(held.pixels, np.zeros_like(held.masks), held.masked, held.labels, held.classes)
    with pytest.raises(GeneratorError, match="mask or a box"):
        MaskBank.fit(bare)
    with pytest.raises(GeneratorError, match="class has no"):
        MaskBank.fit(held.take([0])).draw(1, np.random.default_rng(0))
    with pytest.raises(GeneratorError, match="empty"):
        MaskBank.fit(held).draw(0, np.random.default_rng(0), near=np.zeros((SIZE, SIZE), dtype=bool))


def picture(seed: int = 0, channels: int = 1, size: int = 24) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(120, 20, (size, size, channels)), 0, 255).astype(np.uint8)


BLENDS = {
    "poisson": poisson,
    "mixed": lambda base, patch, mask: poisson(base, patch, mask, mixed=True),
    "added": lambda base, patch, mask: added(base, residual(patch, mask), mask),
    "feathered": feathered,
    "laid": lambda base, patch, mask: laid(base, patch.astype(float), mask),
}


@pytest.mark.parametrize("how", BLENDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_nothing_outside_the_mask_changes_by_a_bit_and_something_inside_does(how: str, channels: int) -> None:
    base, patch = picture(0, channels), picture(1, channels) // 2
    for seed in range(4):
        mask = np.random.default_rng(seed).random((24, 24)) < (0.1, 0.4, 0.9, 0.02)[seed]
        made = BLENDS[how](base, patch, mask)
        assert made.dtype == np.uint8
        np.testing.assert_array_equal(made[~mask], base[~mask])
        assert (made[mask] != base[mask]).any()


def test_the_membrane_solves_laplaces_equation_and_continues_a_slope() -> None:
    slope = np.add.outer(np.arange(24.0), 2 * np.arange(24.0))[:, :, None]
    mask = np.zeros((24, 24), dtype=bool)
    mask[5:15, 6:18] = True
    hidden = np.where(mask[:, :, None], 0.0, slope)
    np.testing.assert_allclose(filled(hidden, mask), slope, atol=1e-4)
    rough = filled(picture(), mask)
    inner = rough[6:14, 7:17, 0]
    around = (rough[5:13, 7:17, 0] + rough[7:15, 7:17, 0] + rough[6:14, 6:16, 0] + rough[6:14, 8:18, 0]) / 4
    np.testing.assert_allclose(inner, around, atol=1e-4)


def test_a_lighter_patch_blends_in_without_its_lightness() -> None:
    base = np.full((24, 24, 1), 90, dtype=np.uint8)
    patch = np.full((24, 24, 1), 180, dtype=np.uint8)
    patch[10:14, 10:14] -= 50
    mask = np.zeros((24, 24), dtype=bool)
    mask[7:17, 7:17] = True
    for made in (poisson(base, patch, mask), added(base, residual(patch, mask), mask)):
        assert abs(int(made[8, 8, 0]) - 90) <= 1
        assert abs(int(made[12, 12, 0]) - 40) <= 1


def test_a_residual_loses_the_texture_of_its_surface_and_keeps_the_defect() -> None:
    stripes = 120 + 12 * np.sin(np.arange(40) * 2.0)[None, :, None] * np.ones((40, 1, 1))
    mask = np.zeros((40, 40), dtype=bool)
    mask[10:30, 10:30] = True
    stained, pitted = stripes - 40 * mask[:, :, None], stripes.copy()
    pitted[19:21, 19:21] -= 80
    for picture, depth in ((stained, -40), (pitted, 0)):
        rest, surface = residual(picture, mask), filled(picture, mask)
        clean = bare(rest, mask, surface, ring(mask, 4))
        assert clean[14:17, 14:26].std() < 0.5 * rest[14:17, 14:26].std()
        assert abs(clean[13:17, 13:27].mean() - depth) < 4
    assert clean[19:21, 19:21].mean() < -55


def test_mixed_gradients_keep_a_line_of_the_base() -> None:
    base, patch = np.full((24, 24, 1), 120, dtype=np.uint8), np.full((24, 24, 1), 60, dtype=np.uint8)
    base[12] = 200
    mask = np.zeros((24, 24), dtype=bool)
    mask[6:18, 6:18] = True
    assert poisson(base, patch, mask, mixed=True)[12, 12, 0] > 170
    assert poisson(base, patch, mask)[12, 12, 0] < 150


def test_a_mask_over_the_whole_picture_and_an_empty_one_are_no_problem() -> None:
    base, patch = picture(0), picture(1)
    np.testing.assert_array_equal(poisson(base, patch, np.zeros((24, 24), dtype=bool)), base)
    assert np.isfinite(poisson(base, patch, np.ones((24, 24), dtype=bool))).all()
    edge = np.zeros((24, 24), dtype=bool)
    edge[:, :5] = True
    assert abs(filled(base, edge)[:, :5].mean() - base[:, 5].mean()) < 10


def test_light_is_matched_by_mean_and_spread_or_by_ranks() -> None:
    rng = np.random.default_rng(0)
    own, target = rng.normal(100, 10, (500, 1)), rng.normal(150, 15, (500, 1))
    for how in ("moments", "histogram"):
        moved = matched(own[:, :, None], own, target, how)[:, :, 0]  # type: ignore[arg-type]
        assert abs(moved.mean() - 150) < 2 and abs(moved.std() - 15) < 2
    np.testing.assert_array_equal(matched(own[:, :, None], own[:0], target), own[:, :, None])


def test_a_hundred_small_pictures_a_second() -> None:
    import time

    base, patch, mask = picture(0, size=64), picture(1, size=64), np.zeros((64, 64), dtype=bool)
    mask[20:40, 20:40] = True
    laps = []
    for i in range(5):
        moved = np.roll(mask, i, axis=0)
        moved[21 + i, 20] = False  # another system each time
        started = time.process_time()
        poisson(base, patch, moved)
        laps.append(time.process_time() - started)
    assert min(laps) < 0.01


def test_the_ring_lies_around_the_mask() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[8:12, 8:12] = True
    around = ring(mask, 2)
    assert not (around & mask).any() and around[7, 9] and around[6, 9] and not around[4, 9]
