"""Does a pasted defect lie where it fits, change nothing but its mask, and work from five pictures?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import ndimage

from data.dataset import Dataset
from data.images import Pictures, batch, box, pictures, schema
from generators.base import GeneratorError
from generators.image._masks import turned
from generators.image._paste_fit import Grounds, kept
from generators.image._paste_refine import defect, expected
from generators.image._patches import Warp, cut, from_state, piece, to_state, undone
from generators.image.paste import Paste
from tests.generators.pictures import CLASSES, as_dataset, shapes

BOARD = ("normal", "bite", "blob")
SIZE = 48


def drawn(model: Any, n: int, name: str, classes: tuple[str, ...] = CLASSES, seed: int = 0) -> Pictures:
    table = pa.Table.from_batches(list(model.sample(n, where={"class": name}, seed=seed)))
    return pictures(Dataset(table, schema(classes)))


def trace(rng: np.random.Generator) -> tuple[np.ndarray, int, int]:
    """A white board with one black trace from side to side: (SIZE, SIZE) uint8, its first row and the row after its last."""
    board = np.full((SIZE, SIZE), 255, dtype=np.uint8)
    top, thick = int(rng.integers(8, 26)), int(rng.integers(10, 16))
    board[top : top + thick] = 0
    return board, top, top + thick


def boards(bites: int = 5, goods: int = 30, seed: int = 0) -> Dataset:
    """Good boards; bites out of a trace's upper edge and blobs beside it, marked by boxes with room around them."""
    rng = np.random.default_rng(seed)
    made, names, marks = [], [], []
    for name, count in zip(BOARD, (goods, bites, bites), strict=True):
        for _ in range(count):
            board, top, bottom = trace(rng)
            mark = np.zeros((SIZE, SIZE), dtype=bool)
            x = int(rng.integers(14, 28))
            if name == "bite":
                board[top : top + 5, x : x + 6] = 255
                mark[max(0, top - 5) : top + 10, x - 5 : x + 11] = True
            elif name == "blob":
                y = bottom + 5 if bottom + 12 < SIZE else 1
                board[y : y + 4, x : x + 4] = 0
                mark[max(0, y - 4) : y + 8, x - 4 : x + 8] = True
            if seed % 2:
                board, mark = board.T, mark.T
            made.append(board[:, :, None])
            names.append(name)
            marks.append(mark)
    return as_dataset(np.stack(made), names, marks, BOARD)


@pytest.fixture(scope="module")
def board_model() -> Paste:
    return Paste().fit(boards(), seed=0)


@pytest.mark.parametrize("blend", ["auto", "bare", "poisson", "mixed", "copy"])
@pytest.mark.parametrize("channels", [1, 3])
def test_outside_its_mask_a_picture_is_the_good_one_it_names(blend: Any, channels: int) -> None:
    data = shapes(channels=channels)
    held = pictures(data)
    good = dict(zip(held.sources, held.pixels, strict=True))
    made = drawn(Paste(blend=blend).fit(data, seed=0), 12, "dot")
    for pixels, mask, source in zip(made.pixels, made.masks, made.sources, strict=True):
        assert mask.any() and str(source).startswith("normal/")
        np.testing.assert_array_equal(pixels[~mask], good[source][~mask])
        assert (pixels[mask] != good[source][mask]).any()
        assert pixels[mask].mean() > good[source][mask].mean() + 40
    assert len({pixels.tobytes() for pixels in made.pixels}) == 12


def test_five_pictures_give_varied_defects_within_the_class() -> None:
    data = shapes((12, 5, 5), size=32)
    made, real = drawn(Paste().fit(data, seed=0), 60, "dot"), pictures(data).of("dot")
    areas, own = made.masks.sum(axis=(1, 2)), real.masks.sum(axis=(1, 2))
    assert 0.4 * own.min() < areas.min() and areas.max() < 2.5 * own.max() and len(set(areas)) > 5
    strengths = [p[m].mean() for p, m in zip(made.pixels, made.masks, strict=True)]
    assert np.std(strengths) > 2 and abs(np.mean(strengths) - 225) < 25


def test_without_variation_a_patch_is_pasted_as_it_was() -> None:
    data = shapes((12, 5, 5))
    made = drawn(Paste(vary=0, mix=0, blend="copy").fit(data, seed=0), 20, "dot")
    real = pictures(data).of("dot")
    values = {tuple(np.sort(p[m].ravel())) for p, m in zip(real.pixels, real.masks, strict=True)}
    assert all(tuple(np.sort(p[m].ravel())) in values for p, m in zip(made.pixels, made.masks, strict=True))


def test_boxes_are_refined_to_the_defect_and_drawn_ones_are_marked_by_boxes(board_model: Paste) -> None:
    for patch in board_model.scene_.patches:
        assert 12 <= patch.mask.sum() <= 36
    made = drawn(board_model, 20, "bite", BOARD)
    for mask in made.masks:
        x, y, w, h = box(mask) or (0, 0, 0, 0)
        assert mask.sum() == w * h > 80


def test_black_and_white_stays_black_and_white(board_model: Paste) -> None:
    for name in BOARD:
        assert set(np.unique(drawn(board_model, 12, name, BOARD).pixels)) == {0, 255}


def test_a_bite_lies_on_the_edge_of_a_trace_and_a_blob_beside_it(board_model: Paste) -> None:
    held = pictures(boards())
    good = dict(zip(held.sources, held.pixels[:, :, :, 0], strict=True))
    on_edge, alone = [], []
    for name, found in (("bite", on_edge), ("blob", alone)):
        made = drawn(board_model, 30, name, BOARD)
        for pixels, source in zip(made.pixels[:, :, :, 0], made.sources, strict=True):
            changed = pixels != good[source]
            ring = ndimage.binary_dilation(changed, iterations=2) & ~changed
            black = (good[source][ring] == 0).mean()
            found.append(0.3 < black < 0.95 if name == "bite" else black < 0.1)
            assert ((pixels[changed] == 255) == (name == "bite")).all()
    assert np.mean(on_edge) > 0.85 and np.mean(alone) > 0.85


def test_context_decides_and_without_it_a_patch_lands_anywhere(board_model: Paste) -> None:
    from generators.image._paste_scene import Style

    scene = board_model.scene_
    rng = np.random.default_rng(0)

    def off(context: bool) -> list[float]:
        out = []
        for patch in scene.patches:
            one, spot = scene._laid_out(patch, rng, Style(context=context, vary=0.0))
            here, there = one.at(spot.top, spot.left, SIZE, SIZE)
            around = ~one.mask[there] & one.known[there]
            out.append(float((scene.goods[spot.ground][here][around] != one.surface[there][around]).mean()))
        return out

    assert np.mean(off(True)) < 0.03 and np.mean(off(False)) > 0.15


def test_a_defect_is_not_pasted_on_the_part_it_comes_from() -> None:
    """A good picture of the same board fits best of all, and would give a copy of the very picture the defect was cut from."""
    rng = np.random.default_rng(0)
    good = rng.integers(0, 255, (6, SIZE, SIZE, 1), dtype=np.uint8)
    bad, mark = good[:3].copy(), np.zeros((3, SIZE, SIZE), dtype=bool)
    mark[:, 20:26, 20:28] = True
    bad[mark] = 0
    names, parts = ["normal"] * 6 + ["dot"] * 3, [*"abcdef", *"abc"]

    def sources(groups: list[str] | None) -> set[str]:
        rows = batch(
            np.concatenate([good, bad]), names, masks=[None] * 6 + list(mark), names=[str(i) for i in range(9)],
            groups=groups, sources=[f"good of {p}" for p in "abcdef"] + ["-"] * 3,
        )  # fmt: skip
        train = Dataset(pa.Table.from_batches([rows]), schema(("normal", "dot")))
        model = Paste(vary=0.0, mix=0.0, choices=1).fit(train, seed=0)
        assert model.scene_.patches[0].group == (0 if groups else -1)
        found, every = set(), model.scene_.patches
        for k, patch in enumerate(every):
            model.scene_.stock([patch])
            rows = pa.Table.from_batches(list(model.sample(12, where={"class": "dot"}, seed=k)))
            found |= {f"{k} on {source}" for source in rows.column("source").to_pylist()}
        return found

    own = {f"{k} on good of {p}" for k, p in enumerate("abc")}
    assert not own & sources(parts)
    assert own & sources(None), "nobody said which parts they are, and the very board fits best"


def test_the_best_place_is_found_where_the_patch_came_from() -> None:
    rng = np.random.default_rng(0)
    grounds = rng.integers(0, 256, (6, 40, 40, 1), dtype=np.uint8)
    grounds = ndimage.gaussian_filter(grounds.astype(float), (0, 1.5, 1.5, 0)).astype(np.uint8)
    mask = np.zeros((40, 40), dtype=bool)
    mask[12:18, 20:27] = True
    for light, shift in ((1.0, 0), (0.0, 40)):
        scarred = np.minimum(grounds[3].astype(int) + shift, 255).astype(np.uint8)
        scarred[mask] = 255
        one = piece(cut(scarred, mask, 0), 0, 3)
        spots = Grounds(grounds, light).spots(one, np.arange(6))
        x, y, _, _ = one.box
        assert (spots[0].ground, spots[0].top + y, spots[0].left + x) == (3, 12, 20)
        assert spots[0].cost < 1e-4 < spots[1].cost and len(spots) == 6


def test_large_pictures_are_compared_smaller_and_still_fit() -> None:
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (4, 150, 150, 3)).astype(float)
    grounds = ndimage.gaussian_filter(rough, (0, 6, 6, 0))
    grounds = ((grounds - grounds.min()) / np.ptp(grounds) * 255).astype(np.uint8)
    mask = np.zeros((150, 150), dtype=bool)
    mask[60:80, 100:130] = True
    one = piece(cut(grounds[1], mask, 0), 0, 9)
    best = Grounds(grounds).spots(one, np.arange(4))[0]
    x, y, _, _ = one.box
    assert best.ground == 1 and abs(best.top + y - 60) <= 3 and abs(best.left + x - 100) <= 3


def test_what_fits_nowhere_is_not_pushed_to_the_border_where_less_of_it_is_compared() -> None:
    rng = np.random.default_rng(0)
    rough = np.where(ndimage.gaussian_filter(rng.standard_normal((80, 40, 40, 1)), (0, 2, 2, 0)) > 0, 255, 0).astype(np.uint8)
    mask = np.zeros((40, 40), dtype=bool)
    mask[17:23, 17:23] = True
    one = piece(cut(rough[0], mask, 0), 0, 4)
    spots = Grounds(rough[1:], 1.0).spots(one, np.arange(79), most=79)
    x, y, w, h = one.box
    out = [not (4 <= s.top + y <= 36 - h and 4 <= s.left + x <= 36 - w) for s in spots]
    places = (40 - h + 1) * (40 - w + 1)
    assert np.mean(out) < 1.25 * (1 - (33 - h) * (33 - w) / places)


@pytest.mark.parametrize(("light", "slack"), [(1.0, 0.01), (0.15, 2e-4)])
def test_where_all_places_fit_alike_the_wanted_one_is_taken(light: float, slack: float) -> None:
    even = np.full((3, 40, 40, 1), 255, dtype=np.uint8)
    mask = np.zeros((40, 40), dtype=bool)
    mask[30:34, 5:11] = True
    even[0][mask] = 0
    one = piece(cut(even[0], mask, 0), 0, 4)
    away = np.hypot(*(np.mgrid[:40, :40] - np.array([24, 15])[:, None, None])) / 5
    for spot in Grounds(even, light).spots(one, np.array([1, 2]), away, slack=slack):
        x, y, w, h = one.box
        assert (spot.top + y + h // 2, spot.left + x + w // 2) == (24, 15) and spot.cost < 1e-6


def test_a_defect_of_a_rough_surface_is_laid_on_a_rough_one() -> None:
    rng = np.random.default_rng(0)
    rough, smooth = (120 + rng.normal(0, spread, (12, 40, 40, 1)) for spread in (20, 5))
    grounds = np.concatenate([rough, smooth]).astype(np.uint8)
    mask = np.zeros((40, 40), dtype=bool)
    mask[17:23, 17:23] = True
    for which, like in ((0, range(12)), (12, range(12, 24))):
        scarred = grounds[which].copy()
        scarred[mask] = 30
        one = piece(cut(scarred, mask, 0), 0, 5)
        others = np.array([i for i in range(24) if i != which])
        assert all(spot.ground in like for spot in Grounds(grounds).spots(one, others, most=6))


def test_a_change_of_the_defect_alone_leaves_its_surroundings() -> None:
    rng = np.random.default_rng(0)
    pixels, mask = rng.integers(0, 120, (48, 48, 1), dtype=np.uint8), np.zeros((48, 48), dtype=bool)
    mask[20:26, 12:34] = True
    pixels[mask] = 250
    patch = cut(pixels, mask, 0)
    plain = piece(patch, 3, 100)
    for seed in range(5):
        one = piece(patch, 3, 100, warp=Warp(0.1, (1.0, 1.0), seed, inner=True))
        np.testing.assert_array_equal(one.surface, plain.surface)
        assert not np.array_equal(one.mask, plain.mask) and (one.mask & plain.mask).sum() > 0.6 * plain.mask.sum()
        assert one.rest[one.mask].min() > 0.5 * plain.rest[plain.mask].min() > 0 and not one.rest[~one.mask].any()


def test_the_middle_may_be_held_in_a_region_and_a_cut_defect_at_its_border() -> None:
    grounds = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1), dtype=np.uint8)
    mask = np.zeros((32, 32), dtype=bool)
    mask[0:6, 10:16] = True
    one = piece(cut(grounds[0], mask, 0), 0, 3)
    assert one.cut_off == (True, False, False, False)
    allowed = np.full((32, 32), np.inf)
    allowed[:, 20:] = 0
    for spot in Grounds(grounds).spots(one, np.arange(3), allowed):
        x, y, w, _ = one.box
        assert spot.top + y == 0 and spot.left + x + w // 2 >= 20
    assert kept(9, 30, one, 32) == (-one.box[1], 32 - one.box[0] - one.box[2])


def test_turns_undo_each_other_and_sides_turn_with_their_patch() -> None:
    seen = np.arange(12).reshape(3, 4)
    for turn in range(8):
        np.testing.assert_array_equal(turned(turned(seen, turn), undone(turn)), seen)
    pixels, mask, mark = (np.zeros((32, 32, 1), np.uint8), *np.zeros((2, 32, 32), dtype=bool))
    mask[10:14, 12:20] = True
    mark[9:16, 8:25] = True  # 1 above, 4 left, 2 below, 5 right
    for turn in range(8):
        one = piece(cut(pixels, mask, 0, mark=mark), turn, 2)
        wide, narrow = box(turned(mark, turn)), box(turned(mask, turn))
        assert wide and narrow
        expected_margin = [narrow[1] - wide[1], narrow[0] - wide[0],
                           wide[1] + wide[3] - narrow[1] - narrow[3], wide[0] + wide[2] - narrow[0] - narrow[2]]  # fmt: skip
        assert one.margin.tolist() == expected_margin


def test_a_warp_scales_the_area_and_keeps_thin_defects() -> None:
    pixels, mask = np.zeros((48, 48, 1), np.uint8), np.zeros((48, 48), dtype=bool)
    mask[20, 8:40] = True
    pixels[mask] = 200
    patch = cut(pixels, mask, 0)
    for seed in range(10):
        one = piece(patch, 0, 2, warp=Warp(0.2, (1.0, 1.2), seed))
        assert abs(one.mask.sum() - 1.2 * mask.sum()) <= 2
        assert one.box[2] > 30 and ndimage.label(one.mask, np.ones((3, 3)))[1] <= 4
        assert one.rest[one.mask].min() > 0.8 * 200 and not one.rest[~one.mask].any()


def test_the_good_surface_under_a_mark_is_told_from_its_surroundings() -> None:
    held = pictures(boards(seed=2))
    goods, bad = held.of("normal").pixels, held.of("bite")
    clean, cost = expected(bad.pixels[0], bad.masks[0], Grounds(goods, 1.0), (0,), np.arange(len(goods)))
    assert cost < 0.05
    mask = defect(bad.pixels[0], bad.masks[0], clean, sharp=True)
    assert (bad.pixels[0][mask] == 255).all() and 20 <= mask.sum() <= 36


def test_gray_boxes_are_refined_by_what_differs_from_the_surface_around() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.normal(120, 4, (40, 40, 1))
    spot, mark = np.zeros((40, 40), dtype=bool), np.zeros((40, 40), dtype=bool)
    spot[16:22, 17:25], mark[10:28, 10:32] = True, True
    pixels[spot] -= 60
    from generators.image._blend import filled

    seen = pixels.astype(np.uint8)
    found = defect(seen, mark, filled(seen, mark), sharp=False)
    assert (found & spot).sum() > 0.9 * spot.sum() and found.sum() < 2 * spot.sum()
    nothing = rng.normal(120, 4, (40, 40, 1)).astype(np.uint8)
    np.testing.assert_array_equal(defect(nothing, mark, filled(nothing, mark), sharp=True), mark)


def test_patches_are_kept_as_arrays() -> None:
    held = pictures(shapes())
    patches = [cut(held.pixels[i], held.masks[i], int(held.labels[i]), trust=0.5) for i in range(13, 20)]
    for one, other in zip(patches, from_state(to_state(patches)), strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.mask, other.mask)
        assert (one.label, one.trust, one.margin.tolist()) == (other.label, other.trust, other.margin.tolist())
    assert from_state(to_state([])) == []


@pytest.mark.parametrize("kind", ["gan", "diffusion"])
def test_patches_can_be_learned_and_drawn(kind: Any, tmp_path: Path) -> None:
    data = shapes((10, 6, 6))
    made = Paste(patches=kind, steps=3, width=8, latent=8, drawn=2, look_every=3, device="cpu", checkpoint_seconds=0.0)
    model = made.fit(data, seed=0, checkpoint=tmp_path / "state")
    assert any((tmp_path / "state").rglob("training.pt"))
    assert {p.label for p in model.scene_.patches} == {1, 2}
    again = drawn(model, 6, "dot")
    assert again.masks.any(axis=(1, 2)).all()
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(drawn(Paste.load(tmp_path / "model"), 6, "dot").pixels, again.pixels)


def test_good_pictures_are_mended_and_unmarked() -> None:
    data = shapes((12, 5, 5))
    made, real = drawn(Paste().fit(data, seed=0), 12, "normal"), pictures(data).of("normal")
    assert not made.masks.any()
    copies = {p.tobytes() for p in real.pixels}
    assert np.mean([p.tobytes() in copies for p in made.pixels]) < 0.2
    assert abs(made.pixels.mean() - real.pixels.mean()) < 5


@pytest.mark.parametrize(
    ("counts", "masks", "said"),
    [((0, 4, 4), True, "'normal'"), ((4, 4, 4), False, "mask or box"), ((6, 0, 0), True, "no defect")],
    ids=str,
)
def test_what_is_missing_is_said_in_one_sentence(counts: tuple[int, ...], masks: bool, said: str) -> None:
    with pytest.raises(GeneratorError, match=said) as caught:
        Paste().fit(shapes(counts, masks=masks), seed=0)
    assert "\n" not in str(caught.value)


def test_one_class_without_masks_is_named() -> None:
    held = pictures(shapes((4, 4, 4)))
    marks = [None if held.classes[k] == "line" else mask for k, mask in zip(held.labels, held.masks, strict=True)]
    with pytest.raises(GeneratorError, match="'line'"):
        Paste().fit(as_dataset(held.pixels, [held.classes[k] for k in held.labels], marks, CLASSES), seed=0)


@pytest.mark.parametrize(
    "settings", [{"patches": "x"}, {"blend": "x"}, {"places": "x"}, {"candidates": 0}, {"vary": -1}, {"mix": 2}], ids=str
)
def test_settings_that_make_no_sense_are_one_sentence(settings: dict[str, Any]) -> None:
    with pytest.raises(GeneratorError, match="generator"):
        Paste(**settings).fit(shapes((4, 4, 4)), seed=0)
