"""Does the small denoiser paint defects inside the mask alone, and does training make them look like the defect?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from data.dataset import Dataset
from data.images import Pictures, box, pictures, schema
from generators.base import GeneratorError, table
from generators.image._inpaint import Denoiser, filled, paint, rows, spread
from generators.image._masks import MaskBank
from generators.image._symmetry import symmetries, turned, turned_by
from generators.image._windows import Window, around, changed, cut, pasted, working_side
from generators.image.finetune import FineTune
from tests.generators.pictures import CLASSES, as_dataset, shapes

QUICK: dict[str, Any] = {"steps": 4, "pretrain_steps": 3, "batch_size": 4, "width": 8, "device": "cpu", "look_every": 0}


def drawn(model: FineTune, n: int, **how: Any) -> tuple[pa.Table, Pictures]:
    rows_ = table(model.sample(n, **how), schema(CLASSES).arrow())
    return rows_, pictures(Dataset(rows_, schema(CLASSES)))


def striped(n: int = 24, size: int = 32, seed: int = 0) -> Dataset:
    """Grounds of upright stripes, good ones and ones with a bright blot; the blot's mask is exact."""
    rng = np.random.default_rng(seed)
    pixels, masks, names = [], [], []
    for i in range(n):
        ground = 90.0 + 40.0 * np.sin(np.arange(size) * 0.8 + rng.uniform(0, 6))[None, :] + rng.normal(0, 3, (size, size))
        mask = np.zeros((size, size), dtype=bool)
        if i % 3 == 0:
            top, left = rng.integers(3, size - 13, 2)
            mask[top : top + 9, left : left + 8] = True
            ground[mask] = 235 + rng.normal(0, 3, int(mask.sum()))
        pixels.append(np.clip(np.round(ground), 0, 255).astype(np.uint8)[:, :, None])
        masks.append(mask)
        names.append("dot" if i % 3 == 0 else "normal")
    return as_dataset(np.stack(pixels), names, masks, CLASSES)


@pytest.fixture(scope="module")
def tiny() -> Dataset:
    return shapes((12, 8, 6), size=32)


@pytest.fixture(scope="module")
def model(tiny: Dataset) -> FineTune:
    return FineTune(**QUICK).fit(tiny, seed=0)


def test_nothing_outside_the_mask_changes_and_the_source_is_told(model: FineTune, tiny: Dataset) -> None:
    table_, found = drawn(model, 40, seed=3)
    real = pictures(tiny)
    where = {source: i for i, source in enumerate(real.sources)}
    inside = 0
    for i, source in enumerate(table_.column("source").to_pylist()):
        before = real.pixels[where[source]]
        assert real.classes[real.labels[where[source]]] == "normal"
        moved = (found.pixels[i] != before).any(axis=2)
        if found.labels[i] != 0:
            assert found.masks[i].any()
            assert not (moved & ~found.masks[i]).any()
        inside += int(moved.sum())
    assert inside > 0


def test_a_good_picture_is_mended_and_has_an_empty_mask(model: FineTune) -> None:
    _, found = drawn(model, 6, where={"class": "normal"}, seed=1)
    assert found.masked.all() and not found.masks.any()


def test_masks_have_the_shapes_of_their_class(model: FineTune) -> None:
    for name, flat in (("dot", False), ("line", True)):
        _, found = drawn(model, 12, where={"class": name}, seed=2)
        sides = np.array([box(mask)[2:] for mask in found.masks])  # type: ignore[index]
        assert (sides[:, 0] > 2 * sides[:, 1]).all() == flat


def test_defects_are_painted_where_it_looks_as_around_real_ones() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(60, 80, (40, 32, 32, 1), dtype=np.uint8)
    pixels[20:30] += 120  # half of the good pictures are bright, and every defect lies on a bright one
    pixels[30:] += 120
    masks = np.zeros((40, 32, 32), dtype=bool)
    masks[30:, 12:18, 12:18] = True
    data = as_dataset(pixels, ["normal"] * 30 + ["dot"] * 10, masks, CLASSES)
    model = FineTune(**QUICK).fit(data, seed=0)
    table_, _ = drawn(model, 20, where={"class": "dot"}, seed=0)
    numbers = [int(str(source).split("/")[1]) for source in table_.column("source").to_pylist()]
    assert min(numbers) >= 20 and len(set(numbers)) > 4


def test_where_marks_are_boxes_the_defect_is_painted_and_boxed() -> None:
    rng = np.random.default_rng(0)
    pixels = np.zeros((36, 32, 32, 1), dtype=np.uint8)
    pixels[:, :, 16:] = 255  # black and white: every good picture the same two halves
    masks = np.zeros((36, 32, 32), dtype=bool)
    for i in range(24, 36):
        top, left = rng.integers(6, 20), rng.integers(19, 24)
        pixels[i, top : top + 4, left : left + 3] = 0
        masks[i, top - 4 : top + 8, left - 3 : left + 6] = True
    data = as_dataset(pixels, ["normal"] * 24 + ["dot"] * 12, masks, CLASSES)
    model = FineTune(**QUICK).fit(data, seed=0)
    bank = model.surfaces_.bank  # type: ignore[union-attr]
    assert 12 <= np.median([mask.sum() for mask in bank.masks]) <= 5 * 6  # four by three, and a pixel around
    table_, found = drawn(model, 16, where={"class": "dot"}, seed=0)
    assert set(np.unique(found.pixels)) <= {0, 255}
    for mask, one in zip(found.masks, found.pixels, strict=True):
        x, y, w, h = box(mask)  # type: ignore[misc]
        assert mask.sum() == w * h and 60 < w * h < 220
        assert not ((one[:, :, 0] != pixels[0, :, :, 0]) & ~mask).any()


def test_a_refined_mask_is_a_part_of_the_whole_one(tiny: Dataset) -> None:
    whole = FineTune(**QUICK).fit(tiny, seed=0)
    fine = FineTune(**QUICK).fit(tiny, seed=0)
    fine.refine_mask = True
    a, b = (drawn(one, 12, where={"class": "dot"}, seed=4)[1] for one in (whole, fine))
    np.testing.assert_array_equal(a.pixels, b.pixels)
    assert not (b.masks & ~a.masks).any() and b.masks.any(axis=(1, 2)).all()


def test_training_makes_the_hole_look_like_the_class_that_is_asked_for() -> None:
    data = striped()
    model = FineTune(
        steps=160, pretrain_steps=60, batch_size=8, width=16, device="cpu", look_every=0, lr=3e-3, ema=0.9, evaluations=6
    )
    model.fit(data, seed=0)
    table_, found = drawn(model, 16, where={"class": "dot"}, seed=1)
    inside = np.array([one[mask].mean() for one, mask in zip(found.pixels, found.masks, strict=True)])
    assert np.median(inside) > 195  # the ground lies between 50 and 130, the blot at 235
    real = pictures(data)
    goods = real.of("normal")
    holes = np.zeros((8, 32, 32), dtype=bool)
    holes[:, 10:20, 10:20] = True
    made = model.way_.paint(goods.pixels[:8], holes, np.zeros(8, dtype=np.int64), seed=0, family=model)
    off = np.abs(made[holes].astype(float) - goods.pixels[:8][holes])
    assert off.mean() < 0.45 * np.abs(235.0 - goods.pixels[:8][holes]).mean()  # not a blot: the class is told


def test_a_killed_fit_of_either_training_ends_as_an_uninterrupted_one(tiny: Dataset, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    class KillAt:
        def __init__(self, left: int) -> None:
            self.left = left

        def advance(self, done: int, total: int, what: str, **figures: float) -> None:
            self.left -= 1
            if self.left < 0:
                raise Killed

    how = {**QUICK, "steps": 21, "pretrain_steps": 21, "checkpoint_seconds": 0.0}
    whole = FineTune(**how).fit(tiny, seed=0)
    for reports in (1, 4):  # in the first training, and in the second
        folder = tmp_path / str(reports)
        with pytest.raises(Killed):
            FineTune(**how).fit(tiny, seed=0, progress=KillAt(reports), checkpoint=folder)
        assert (folder / "surfaces.pt").is_file() == (reports > 2)
        kept = torch.load((folder if reports > 2 else folder / "surfaces") / "training.pt", weights_only=False)
        again = FineTune(**how).fit(tiny, seed=0, checkpoint=folder)
        assert 0 < kept["step"] < 21
        assert not torch.equal(kept["average"]["net"]["stem.weight"], again.way_.net.stem.weight)
        for mine, its in zip(again.way_.net.parameters(), whole.way_.net.parameters(), strict=True):
            assert torch.equal(mine, its)


def test_a_saved_denoiser_is_gone_on_from_and_its_surfaces_are_not_learned_again(tiny: Dataset, tmp_path: Path) -> None:
    FineTune(**{**QUICK, "steps": 0}).fit(tiny, seed=0).save(tmp_path / "surfaces")
    start = FineTune.load(tmp_path / "surfaces").way_.net.state_dict()
    seen: list[int] = []

    class Counts:
        def advance(self, done: int, total: int, what: str, **figures: float) -> None:
            seen.append(total)

    how = {**QUICK, "pretrain_steps": None, "backbone": str(tmp_path / "surfaces")}
    same = FineTune(**{**how, "steps": 0}).fit(tiny, seed=5)
    assert all(torch.equal(value, start[name]) for name, value in same.way_.net.state_dict().items())
    FineTune(**how).fit(shapes((6, 4, 0), size=32), seed=0, progress=Counts())
    assert seen and set(seen) == {QUICK["steps"]}
    with pytest.raises(GeneratorError, match="width"):
        FineTune(**{**how, "width": 16}).fit(tiny, seed=0)


def test_grids_are_kept_while_it_learns(tiny: Dataset, tmp_path: Path) -> None:
    FineTune(**{**QUICK, "look_every": 2}).fit(tiny, seed=0, checkpoint=tmp_path)
    assert sorted(path.name for path in (tmp_path / "grids").iterdir()) == ["000002.png", "000004.png"]


def test_guidance_counts_as_evaluations_and_changes_the_picture(model: FineTune) -> None:
    net, asked = model.way_.net, []
    net.register_forward_hook(lambda *_: asked.append(1))
    shown, hole = torch.zeros(2, 1, 32, 32), torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    hole[:, :, 8:20, 8:20] = True
    labels = torch.tensor([1, 2])
    plain = paint(net, shown, hole, labels, any_label=3, seed=0, evaluations=12)
    assert len(asked) == 12
    guided = paint(net, shown, hole, labels, any_label=3, seed=0, evaluations=12, guidance=2.0)
    assert len(asked) == 24
    assert not torch.equal(plain, guided) and torch.equal(plain[~hole], shown[~hole])


def test_sampling_is_exact_for_a_denoiser_that_knows_the_picture() -> None:
    picture = torch.rand(1, 1, 16, 16) * 1.6 - 0.8

    class Knows(torch.nn.Module):
        """Tells v = (cos a x - picture) / sin a, as a perfect network would; middle gray lies around it."""

        scale = torch.tensor(1.0)

        def forward(self, noisy: Any, blanked: Any, hole: Any, angle: Any, labels: Any) -> Any:
            a = angle[:, None, None, None]
            return (a.cos() * noisy - picture) / a.sin()

    hole = torch.ones(1, 1, 16, 16, dtype=torch.bool)
    made = paint(
        Knows(), torch.zeros(1, 1, 16, 16), hole, torch.zeros(1, dtype=torch.int64), any_label=0, seed=0, evaluations=6
    )
    torch.testing.assert_close(made, picture, atol=1e-3, rtol=0)


@pytest.mark.parametrize("side", [32, 56])
def test_a_hole_is_filled_smoothly_from_around_it(side: int) -> None:
    slope = torch.linspace(-0.8, 0.8, side).repeat(2, 1, side, 1)
    hole = torch.zeros(2, 1, side, side, dtype=torch.bool)
    hole[0, :, 5:20, 8:22] = True
    hole[1, :, :, 20:] = True
    broken = torch.where(hole, 7.0, slope)
    made = filled(broken, ~hole)
    assert torch.equal(made[~hole], slope[~hole])
    assert float((made - slope)[0].abs().max()) < 0.1 and float(made.abs().max()) < 0.801
    assert float(filled(broken, torch.zeros_like(hole)).abs().max()) == 0
    assert abs(spread(torch.where(hole, slope + 0.3, slope)[:1], hole[:1]) - 0.3) < 0.06


def test_no_good_pictures_no_masks_and_no_defects_are_told_apart() -> None:
    cases = [
        (shapes((6, 6), classes=("dot", "line")), "good pictures"),
        (shapes((6, 4, 4), masks=False), "mask or box"),
        (shapes((6,), classes=("normal",)), "pictures of a defect"),
    ]
    for data, said in cases:
        with pytest.raises(GeneratorError, match=said) as caught:
            FineTune(**QUICK, task="inpaint").fit(data, seed=0)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 250
    part = pictures(shapes((6, 4, 4)))
    marks = [None if k == 2 else mask for k, mask in zip(part.labels, part.masks, strict=True)]
    half = as_dataset(part.pixels, [part.classes[k] for k in part.labels], marks, CLASSES)
    with pytest.raises(GeneratorError, match="'line'"):
        FineTune(**QUICK, task="inpaint").fit(half, seed=0)


def test_without_masks_whole_pictures_are_drawn() -> None:
    model = FineTune(**QUICK).fit(shapes((6, 4, 4), masks=False), seed=0)
    _, found = drawn(model, 5, seed=0)
    assert found.pixels.shape == (5, 16, 16, 1) and not found.masked.any()


def test_settings_that_contradict_each_other_are_one_sentence(tiny: Dataset) -> None:
    for how in (
        {"control": "train"}, {"lora": "somewhere"}, {"method": "lora"}, {"prompt": "a photo"}, {"evaluations": 1},
        {"width": 12}, {"lora": "x", "method": "full", "backbone": "y"},
        {"steps": -1}, {"pretrain_steps": -1}, {"batch_size": 0}, {"lr": -1.0}, {"prior_weight": -1.0}, {"ema": 2.0},
    ):  # fmt: skip
        with pytest.raises(GeneratorError) as caught:
            FineTune(**{**QUICK, **how}).fit(tiny, seed=0)
        assert "\n" not in str(caught.value)


def test_a_saved_model_paints_without_the_training_pictures(model: FineTune, tmp_path: Path) -> None:
    model.save(tmp_path)
    again = FineTune.load(tmp_path)
    assert drawn(again, 6, seed=9)[0].equals(drawn(model, 6, seed=9)[0])
    (tmp_path / "surfaces.npz").write_bytes(b"gone")
    with pytest.raises(GeneratorError, match=r"surfaces\.npz"):
        FineTune.load(tmp_path)


@pytest.mark.parametrize("size", [48, 96, 200])
def test_a_window_holds_its_mask_and_stays_on_the_picture(size: int) -> None:
    rng = np.random.default_rng(size)
    for _ in range(50):
        mask = np.zeros((size, size), dtype=bool)
        h, w = rng.integers(1, size // 2, 2)
        y, x = rng.integers(0, size - h), rng.integers(0, size - w)
        mask[y : y + h, x : x + w] = True
        window = around(mask, 32)
        assert window.of(mask).sum() == h * w
        assert 0 <= window.top and window.top + window.side <= size and window.side >= 32
        assert window.side < size or max(h, w) * 1.5 > size - 8 or size <= 48


def test_a_window_as_wide_as_the_network_is_laid_back_unscaled() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)
    mask = np.zeros((60, 60), dtype=bool)
    mask[20:31, 33:40] = True
    window = around(mask, 32)
    pixels, hole = cut(picture, mask, window, 32)
    np.testing.assert_array_equal(pasted(picture, mask, window, pixels), picture)
    made = pasted(picture, mask, window, 255 - pixels)
    np.testing.assert_array_equal(made[mask], 255 - picture[mask])
    np.testing.assert_array_equal(made[~mask], picture[~mask])
    soft = pasted(picture, mask, window, 255 - pixels, soft=2)
    np.testing.assert_array_equal(soft[~mask], picture[~mask])
    np.testing.assert_array_equal(soft[25, 36], 255 - picture[25, 36])
    assert (soft[20, 33] != made[20, 33]).any()


def test_a_large_picture_is_painted_in_its_window_alone() -> None:
    data = shapes((4, 3, 0), size=128)
    model = FineTune(**{**QUICK, "window": 48}).fit(data, seed=0)
    assert model.way_.side == 48
    _, found = drawn(model, 4, where={"class": "dot"}, seed=0)
    assert found.pixels.shape == (4, 128, 128, 1)


def test_working_side_follows_the_masks() -> None:
    small, large = np.zeros((10, 128, 128), dtype=bool), np.zeros((10, 128, 128), dtype=bool)
    small[:, 5:9, 5:9] = True
    large[:, 10:50, 10:50] = True
    assert working_side(small, 128, 64) == 32
    assert working_side(large, 128, 64) == 64 and working_side(large, 128, 96) == 64
    assert working_side(large, 20, 64) == 16


def test_rows_keep_the_mark_in_every_window() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 64, 64, 1), dtype=np.uint8)
    masks = np.zeros((6, 64, 64), dtype=bool)
    for i, wide in enumerate((3, 10, 20, 31, 50, 64)):
        masks[i, :wide, 64 - wide :] = True
    data = rows(pixels, masks, np.zeros(6, dtype=np.int64), 32, pad=4)
    for i in range(6):
        for corner in (data["low"][i], data["low"][i] + data["room"][i]):
            y, x = corner.tolist()
            part = data["mark"][i, 0, y : y + 32, x : x + 32]
            assert part.shape == (32, 32)
            real = data["mark"][i, 0][4:-4, 4:-4] if i < 4 else part
            assert part.sum() >= min(real.sum(), part.sum()) > 0
            if i < 3:
                assert part.sum() >= masks[i].sum()


def test_changed_marks_what_changed_and_never_nothing() -> None:
    before = np.full((20, 20, 1), 100, dtype=np.uint8)
    mask = np.zeros((20, 20), dtype=bool)
    mask[4:16, 4:16] = True
    after = before.copy()
    after[5:12, 5:12] = 180
    np.testing.assert_array_equal(np.argwhere(changed(before, after, mask)).min(axis=0), [5, 5])
    assert changed(before, after, mask).sum() == 49
    np.testing.assert_array_equal(changed(before, before, mask), mask)


def test_symmetries_are_those_that_the_pictures_have() -> None:
    rng = np.random.default_rng(0)
    flat = rng.integers(80, 120, (60, 32, 32, 1), dtype=np.uint8)
    assert symmetries(flat) == tuple(range(8))
    slanted = np.stack([np.sin(np.add.outer(np.arange(32), 2 * np.arange(32)) * 0.5 + rng.uniform(0, 6)) for _ in range(60)])
    assert symmetries((slanted[..., None] * 90 + 120).astype(np.uint8)) == (0, 2)
    lit = np.clip(flat.astype(int) + np.linspace(0, 100, 32).astype(int)[None, :, None, None], 0, 255).astype(np.uint8)
    assert symmetries(lit) == (0, 4)
    assert symmetries(flat[:1]) == (0,)


def test_turns_are_the_eight_of_a_square_and_each_row_gets_its_own() -> None:
    one = torch.arange(9.0).view(1, 1, 3, 3)
    all_ = torch.cat([turned(one, g) for g in range(8)])
    assert len({tuple(part.flatten().tolist()) for part in all_}) == 8
    assert torch.equal(turned_by(one.repeat(8, 1, 1, 1), torch.arange(8)), all_)


def test_the_network_refuses_a_width_that_does_not_divide() -> None:
    with pytest.raises(GeneratorError, match="width"):
        Denoiser(1, 12, 3)


def test_window_of_an_empty_mask_is_in_the_middle() -> None:
    assert around(np.zeros((64, 64), dtype=bool), 32) == Window(16, 16, 32)


def test_the_bank_of_a_saved_model_draws_the_same_masks(model: FineTune) -> None:
    bank = model.surfaces_.bank  # type: ignore[union-attr]
    again = MaskBank.from_state(bank.to_state())
    a, b = (one.draw(1, np.random.default_rng(5)) for one in (bank, again))
    np.testing.assert_array_equal(a, b)
