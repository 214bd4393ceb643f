"""Are folders of pictures read as they lie, with the right masks, classes and parts, and the rest refused in one sentence?"""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from data import images
from data.sources import image_folder
from data.sources._bring import nearest_size
from data.sources._pictures import recognise
from tests.data.drawn import by_source, classes, decoded, notices, put, refused, spot, texture


@pytest.fixture
def mvtec(tmp_path):
    """The layout of MVTec AD: train/good, test/good, test/<defect>, ground_truth/<defect>/<name>_mask.png."""
    classes(tmp_path / "train", {"good": 4})
    classes(tmp_path / "test", {"good": 2, "scratch": 2, "pit": 2})
    for i, name in enumerate(("scratch", "pit")):
        for k in range(2):
            put(tmp_path / f"test/{name}/{k:03d}.png", texture(100 + 10 * i + k))
            put(tmp_path / f"ground_truth/{name}/{k:03d}_mask.png", spot((40, 40), (4 + k, 8 + i, 10, 6)))
    for k in range(2):
        put(tmp_path / f"test/good/{k:03d}.png", texture(200 + k))
    (tmp_path / "readme.txt").write_text("hello")
    return tmp_path


def test_mvtec_reads_as_it_is(mvtec):
    table = image_folder.read(mvtec, size=40)
    assert table.column_names == ["image", "mask", "objects", "class", "group", "source", "seed", "split"]
    assert Counter(table["class"].to_pylist()) == {"good": 6, "scratch": 2, "pit": 2}
    assert Counter(table["split"].to_pylist()) == {"train": 4, "holdout": 6}
    held = decoded(table)
    assert held.masked.all() and held.size == 40 and held.channels == 1
    rows = by_source(table)
    assert rows["test/scratch/001.png"]["objects"] == {"bbox": [[5, 8, 10, 6]], "category": ["scratch"]}
    assert rows["train/good/000.png"]["objects"] == {"bbox": [], "category": []}
    assert not held.masks[held.labels == held.classes.index("good")].any()
    where = table["source"].to_pylist().index("test/pit/000.png")
    assert held.boxes(where) == (4, 9, 10, 6)
    assert (held.pixels[where][:, :, 0] == np.asarray(texture(110))).all()
    assert "no train pictures of pit, scratch" in notices(table)
    assert recognise(mvtec) == {"use": "image_folder", "path": str(mvtec)}


def test_a_folder_around_it_and_a_folder_of_several(mvtec, tmp_path):
    outer = tmp_path / "outer"
    (outer / "bottle").mkdir(parents=True)
    for name in ("train", "test", "ground_truth"):
        (mvtec / name).rename(outer / "bottle" / name)
    table = image_folder.read(outer, size=40)
    assert set(table["class"].to_pylist()) == {"good", "scratch", "pit"}
    assert decoded(table).masked.all()
    classes(outer / "cable/train", {"good": 1})
    classes(outer / "cable/test", {"cut": 1})
    refused(r"holds 2 sets \(bottle, cable\), each with a split of its own", image_folder.read, path=outer)


def test_masks_in_many_layouts(tmp_path):
    layouts = {
        "beside": ("{c}/{n}.png", "{c}/{n}_mask.png"),
        "beside_gt": ("{c}/deep/er/{n}.png", "{c}/deep/er/{n}_GT.png"),
        "masks": ("{c}/{n}.png", "masks/{c}/{n}.png"),
        "parallel": ("images/{c}/{n}.png", "masks/{c}/{n}.png"),
        "split": ("train/images/{c}/{n}.png", "train/labels/{c}/{n}.png"),
        "flat": ("{c}/{c}{n}.png", "masks/{c}{n}.png"),
        "twins": ("{c}/Imgs/{n}.jpg", "{c}/Imgs/{n}.png"),
        "several": ("{c}/{n}.png", "ground_truth/{c}/{n}/000.png"),
        "inside": ("test/{c}/{n}.png", "test/Label/{c}/{n}_label.png"),
    }
    for layout, (picture, mask) in layouts.items():
        for i, c in enumerate(("ok", "pit")):
            for n in range(3):
                put(tmp_path / layout / picture.format(c=c, n=n), texture(10 * i + n))
                if c == "pit" or layout == "twins":
                    put(
                        tmp_path / layout / mask.format(c=c, n=n),
                        spot((40, 40), (3 + n, 5, 7, 9) if c == "pit" else (0, 0, 0, 0)),
                    )
        table = image_folder.read(tmp_path / layout, size=40)
        assert Counter(table["class"].to_pylist()) == {"ok": 3, "pit": 3}, layout
        held = decoded(table)
        assert held.masked.all(), layout
        assert [held.boxes(i) for i in range(6)] == [None] * 3 + [(3, 5, 7, 9), (4, 5, 7, 9), (5, 5, 7, 9)], layout


def test_several_masks_of_one_picture_are_one(tmp_path):
    classes(tmp_path / "test", {"good": 2, "logic": 2})
    put(tmp_path / "ground_truth/logic/000/000.png", spot((40, 40), (1, 1, 5, 5)))
    put(tmp_path / "ground_truth/logic/000/001.png", spot((40, 40), (20, 20, 5, 5), 240))
    put(tmp_path / "ground_truth/logic/001/000.png", spot((40, 40), (9, 9, 5, 5)))
    objects = by_source(image_folder.read(tmp_path, size=40))["test/logic/000.png"]["objects"]
    assert objects["bbox"] == [[1, 1, 5, 5], [20, 20, 5, 5]]


def test_a_stated_folder_of_masks(tmp_path):
    classes(tmp_path, {"ok": 2, "pit": 2})
    for n in range(2):
        put(tmp_path / "drawn" / "pit" / f"{n:03d}.png", spot((40, 40), (5, 5, 9, 9)))
    assert set(image_folder.read(tmp_path, size=40)["class"].to_pylist()) == {"ok", "pit", "drawn"}
    held = decoded(image_folder.read(tmp_path, masks="drawn", size=40))
    assert held.classes == ("ok", "pit") and held.masked.all() and held.masks.sum() == 2 * 81
    refused("masks: there is no folder .*nowhere", image_folder.read, path=tmp_path, masks="nowhere")
    put(tmp_path / "other" / "x.png", spot((40, 40), (5, 5, 9, 9)))
    refused("masks: no mask in other is named as a picture", image_folder.read, path=tmp_path, masks="other")


def test_without_folders_of_classes_the_masks_decide(tmp_path):
    for n in range(4):
        put(tmp_path / "train" / f"{n}.png", texture(n))
        put(tmp_path / "train" / f"{n}_GT.png", spot((40, 40), (5, 5, 9, 9) if n % 2 else (0, 0, 0, 0)))
    table = image_folder.read(tmp_path, size=40)
    assert table["class"].to_pylist() == ["normal", "defect", "normal", "defect"]
    assert table["objects"].to_pylist()[1]["category"] == ["defect"]
    assert decoded(table).masked.all()


def test_train_and_test_pictures_of_one_name_and_masks_of_the_test(tmp_path):
    classes(tmp_path / "train", {"ok": 1, "pit": 1})
    put(tmp_path / "test/ok/000.png", texture(50))
    put(tmp_path / "test/pit/000.png", texture(51, (30, 30)))
    put(tmp_path / "ground_truth/pit/000_mask.png", spot((30, 30), (1, 1, 5, 5)))
    table = image_folder.read(tmp_path, size=30)
    rows = by_source(table)
    assert rows["test/pit/000.png"]["mask"] is not None and rows["train/pit/000.png"]["mask"] is None
    assert "No mask where others of the class have one: 1 (train/pit/000.png)" in notices(table)
    refused("No mask where", image_folder.read, path=tmp_path, size=30, strict=True)


def test_size_and_mode(tmp_path):
    for i, side in enumerate((60, 70, 300)):
        put(tmp_path / f"a/{i}.png", texture(i, (side, side + 20)))
        put(tmp_path / f"b/{i}.png", texture(10 + i, (side, side), "RGB" if i else "L"))
    table = image_folder.read(tmp_path)
    held = decoded(table)
    assert held.pixels.shape == (6, 64, 64, 3)
    assert decoded(image_folder.read(tmp_path, mode="gray", size=48)).pixels.shape == (6, 48, 48, 1)
    for i in range(3):
        put(tmp_path / f"b/{i}.png", Image.merge("RGB", [texture(20 + i, (64, 64))] * 3))
    held = decoded(image_folder.read(tmp_path, size=64))
    assert held.channels == 1 and (held.pixels[3][:, :, 0] == np.asarray(texture(20, (64, 64)))).all()
    assert decoded(image_folder.read(tmp_path, size=64, mode="rgb")).channels == 3


@pytest.mark.parametrize(
    ("side", "size"), [(8, 32), (40, 32), (50, 64), (64, 64), (100, 96), (110, 96), (150, 128), (900, 256)]
)
def test_the_size_that_is_not_stated(side, size):
    assert nearest_size(side) == size


def test_masks_and_boxes_move_with_their_picture(tmp_path):
    for fit, wanted in {"letterbox": (10, 20, 5, 10), "crop": (10, 20, 10, 20), "stretch": (10, 20, 5, 20)}.items():
        root = tmp_path / fit
        for c in ("ok", "pit"):
            for n in range(2):
                put(root / c / f"{n}.png", texture(n + 10 * (c == "ok"), (80, 40)))
        for n in range(2):
            mask = spot((80, 40), (20 if fit != "crop" else 30, 20, 10, 20))
            put(root / "masks" / "pit" / f"{n}.png", mask)
        table = image_folder.read(root, size=40, fit=fit)
        assert decoded(table).boxes(2) == wanted, fit
        assert table["objects"].to_pylist()[2]["bbox"] == [list(wanted)], fit


def test_a_mark_that_is_cropped_away_is_told(tmp_path):
    classes(tmp_path, {"ok": 2, "pit": 2}, size=(80, 40))
    put(tmp_path / "masks/pit/000.png", spot((80, 40), (0, 0, 10, 10)))
    put(tmp_path / "masks/pit/001.png", spot((80, 40), (35, 10, 10, 10)))
    assert "Marks lost to the crop, which letterbox keeps: 1" in notices(image_folder.read(tmp_path, size=40, fit="crop"))
    assert notices(image_folder.read(tmp_path, size=40)) == ""


def test_damaged_pictures_and_masks_are_listed_or_refused(mvtec):
    whole = (mvtec / "train/good/000.png").read_bytes()
    (mvtec / "train/good/000.png").write_bytes(whole[: len(whole) // 2])
    (mvtec / "train/good/001.png").write_bytes(b"")
    (mvtec / "ground_truth/pit/001_mask.png").write_bytes(b"no picture")
    table = image_folder.read(mvtec, size=40)
    assert table.num_rows == 7
    said = notices(table)
    assert "Left out because they cannot be read: 3" in said
    assert "train/good/001.png (cannot be read (it is empty))" in said
    assert "test/pit/001.png (the mask ground_truth/pit/001_mask.png cannot be read" in said
    refused(r"test/pit/001.png \(the mask .*; mend or remove it", image_folder.read, path=mvtec, size=40, strict=True)


def test_a_mask_of_another_size_and_one_of_a_turned_camera(tmp_path):
    classes(tmp_path, {"ok": 2, "pit": 1})
    exif = Image.Exif()
    exif[0x0112] = 6
    texture(5, (60, 40)).save(tmp_path / "pit/turned.jpg", exif=exif)
    put(tmp_path / "masks/pit/turned.png", spot((60, 40), (3, 5, 7, 9)))
    put(tmp_path / "masks/pit/000.png", spot((40, 40), (3, 5, 7, 9)))
    held = decoded(image_folder.read(tmp_path, size=60))
    assert held.boxes(3) == (3, 15, 7, 9)  # the picture lies as its mask does
    put(tmp_path / "masks/pit/000.png", spot((41, 40), (3, 5, 7, 9)))
    refused("pit/000.png has 40 x 40 pixels and its marks in masks/pit/000.png have 41 x 40", image_folder.read, path=tmp_path)


def test_empty_masks_small_pictures_and_marked_good_ones_are_told(mvtec):
    put(mvtec / "ground_truth/pit/000_mask.png", spot((40, 40), (0, 0, 0, 0)))
    put(mvtec / "ground_truth/good/000_mask.png", spot((40, 40), (3, 3, 3, 3)))
    said = notices(image_folder.read(mvtec, size=64))
    assert "Empty mask where others of the class are marked: 1 (test/pit/000.png)" in said
    assert "Of class good and yet marked: 1 (test/good/000.png)" in said
    assert "Enlarged, being smaller than what all are brought to: 10" in said
    assert "Enlarged" not in notices(image_folder.read(mvtec, size=48))
    refused("Empty mask .*first test/pit/000.png", image_folder.read, path=mvtec, size=40, strict=True)
    (mvtec / "ground_truth/pit/000_mask.png").unlink()
    (mvtec / "ground_truth/pit/001_mask.png").unlink()
    (mvtec / "ground_truth/good/000_mask.png").unlink()
    refused("Enlarged, being smaller .*: 10, first", image_folder.read, path=mvtec, size=48, strict=True)
    image_folder.read(mvtec, size=40, strict=True)


def test_twelve_bits_in_sixteen_reach_white(tmp_path):
    for i in range(4):
        deep = np.random.default_rng(i).integers(0, 4096, (40, 40)).astype(np.uint16)
        put(tmp_path / f"{'ab'[i % 2]}/{i}.png", Image.fromarray(deep))
    table = image_folder.read(tmp_path, size=40)
    assert decoded(table).pixels.max() > 250 and "4095 is taken for white" in notices(table)


def test_copies_are_grouped_and_twins_of_two_classes_told(tmp_path):
    classes(tmp_path, {"a": 8, "b": 8}, size=(64, 64))
    one = Image.open(tmp_path / "a/000.png")
    one.point(lambda v: v * 0.8 + 9).save(tmp_path / "a/copy.png")
    one.save(tmp_path / "b/same.png")
    table = image_folder.read(tmp_path, size=64)
    groups = {row["source"]: row["group"] for row in table.to_pylist()}
    assert groups["a/000.png"] == groups["a/copy.png"] == groups["b/same.png"] == "alike-00001"
    assert sum(name is not None for name in groups.values()) == 3
    said = notices(table)
    assert "nearly so: 3 pictures (groups: 1): a/000.png = a/copy.png = b/same.png." in said
    assert "Identical and yet of different classes: 1 (a/000.png (a) and b/same.png (b))" in said
    plain = image_folder.read(tmp_path, size=64, near_duplicates=False)
    assert sum(name is not None for name in plain["group"].to_pylist()) == 2


def test_what_is_no_set_of_classes_is_refused(tmp_path):
    refused("there is no folder", image_folder.read, path=tmp_path / "none")
    refused("holds no pictures", image_folder.read, path=tmp_path)
    put(tmp_path / "a/0.png", texture(0))
    refused("is a file; name a folder", image_folder.read, path=tmp_path / "a/0.png")
    refused("holds one picture, a/0.png; give a few of each class", image_folder.read, path=tmp_path)
    put(tmp_path / "a/1.png", texture(1))
    refused("the 2 pictures in .* stand in no folders of classes", image_folder.read, path=tmp_path)
    (tmp_path / "a/1.png").unlink()
    put(tmp_path / "train/b/0.png", texture(0))
    (tmp_path / "a/0.png").unlink()
    refused("holds one picture, train/b/0.png", image_folder.read, path=tmp_path)
    put(tmp_path / "train/b/1.png", texture(1))
    refused("all 2 pictures in .* are of one class, b", image_folder.read, path=tmp_path)
    put(tmp_path / "train/c/1.png", texture(2))
    refused("normal: there is no class 'fine'", image_folder.read, path=tmp_path, normal="fine")
    refused("size: 4 pixels", image_folder.read, path=tmp_path, size=4)
    (tmp_path / "train/c/1.png").write_bytes(b"x")
    (tmp_path / "train/b/1.png").write_bytes(b"x")
    (tmp_path / "train/b/0.png").write_bytes(b"x")
    refused("holds no picture that can be read; the first: train/b/0.png", image_folder.read, path=tmp_path)


def test_the_same_folder_gives_the_same_bytes(mvtec):
    first, second = (image_folder.read(mvtec, size=40) for _ in range(2))
    assert first.equals(second, check_metadata=True)
    names = [row["path"] for row in first["image"].to_pylist()]
    assert len(set(names)) == len(names) and all("/" not in name for name in names)
    assert images.decode(first["image"].to_pylist()[0]["bytes"]).shape == (40, 40, 1)


def test_what_a_set_is_made_of_does_not_matter_to_its_reader(tmp_path):
    for i, kind in enumerate(("png", "jpg", "bmp", "tif", "webp", "gif", "pgm")):
        for c in "ab":
            put(tmp_path / c / f"{i}.{kind}", texture(i + 20 * (c == "b")))
    held = decoded(image_folder.read(tmp_path, size=40))
    assert len(held) == 14 and held.channels == 1
    buffer = io.BytesIO()
    texture(0).save(buffer, "PNG")
    assert (held.pixels[0] == images.decode(buffer.getvalue())).all()


def test_stray_pictures_and_masks_are_told_and_one_photo_made_over_stays_together(tmp_path):
    classes(tmp_path, {"ok": 2, "pit": 2})
    put(tmp_path / "overview.png", texture(90))
    put(tmp_path / "masks/pit/000.png", spot((40, 40), (5, 5, 9, 9)))
    put(tmp_path / "masks/pit/777.png", spot((40, 40), (5, 5, 9, 9)))
    for i in range(2):
        put(tmp_path / f"pit/p1_jpg.rf.0123456789abcdef{i}.png", texture(91 + i))
    table = image_folder.read(tmp_path, size=40)
    said = notices(table)
    assert "Left out because they lie in no folder of a class: 1 (overview.png)" in said
    assert "Masks that belong to no picture: 1 (masks/pit/777.png)" in said
    assert table["group"].to_pylist() == [None] * 4 + ["p1_jpg"] * 2


def test_linked_folders_are_read_where_links_are_followed_and_links_that_lead_back_are_not(tmp_path, monkeypatch):
    classes(tmp_path / "far", {"good": 3, "pit": 2})
    for name in ("good", "pit"):
        (tmp_path / "near").mkdir(exist_ok=True)
        (tmp_path / "near" / name).symlink_to(tmp_path / "far" / name)
    (tmp_path / "far/pit/back").symlink_to(tmp_path / "near")
    (tmp_path / "near/none.png").symlink_to(tmp_path / "nowhere.png")
    refused("is a link to .*/far/.*, outside of .*/near; name that folder", image_folder.read, path=tmp_path / "near", size=40)
    monkeypatch.setenv("COUNTERPOISE_LINKS", "follow")
    assert recognise(tmp_path / "near") == {"use": "image_folder", "path": str(tmp_path / "near")}
    assert Counter(image_folder.read(tmp_path / "near", size=40)["class"].to_pylist()) == {"good": 3, "pit": 2}


def test_empty_files_empty_masks_and_strips_are_told_or_refused(tmp_path):
    classes(tmp_path, {"good": 2, "pit": 1})
    (tmp_path / "good/void.png").write_bytes(b"")
    put(tmp_path / "good/strip.png", texture(9, (400, 4)))
    put(tmp_path / "masks/pit/000.png", spot((40, 40), (0, 0, 0, 0)))
    table = image_folder.read(tmp_path, size=40)
    said = notices(table)
    assert "good/void.png (cannot be read (it is empty))" in said
    assert "All masks are empty, so that nothing is marked: 1 (pit/000.png)" in said
    assert "So long that fewer than 4 pixels are left across, which fit: crop mends: 1 (good/strip.png)" in said
    assert "So long" not in notices(image_folder.read(tmp_path, size=40, fit="crop"))
    (tmp_path / "good/void.png").unlink()
    refused(f"{tmp_path}: All masks are empty.*first pit/000.png", image_folder.read, path=tmp_path, size=40, strict=True)


def test_pictures_to_be_scored_may_be_one_or_of_one_class_or_of_none(tmp_path):
    put(tmp_path / "0.png", texture(0))
    assert image_folder.read(tmp_path, size=40, few=True)["class"].to_pylist() == ["unknown"]
    classes(tmp_path, {"good": 2})
    assert image_folder.read(tmp_path, size=40, few=True).num_rows == 3
