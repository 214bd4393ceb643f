"""Are public defect sets read as they are laid out, by their folder alone?"""

from collections import Counter

import numpy as np
import pytest

from data import images
from data.sources import image_folder
from data.sources._folders import are_parts, role
from data.sources._pictures import recognise
from tests.data.drawn import by_source, decoded, notices, put, spot, texture

MARK = spot((40, 40), (6, 9, 8, 5))
EMPTY, FAINT = spot((40, 40), (0, 0, 0, 0)), spot((40, 40), (6, 9, 8, 5), 1)


def aitex(root):
    """AITEX: three folders side by side, the good ones in a folder for each fabric."""
    for k in range(6):
        put(root / f"NODefect_images/2306{k % 2}-1u/000{k}_000_0{k % 2}.png", texture(k))
    for k in range(3):
        put(root / f"Defect_images/010{k}_002_01.png", texture(50 + k))
        put(root / f"Mask_images/010{k}_002_01_mask.png", MARK)
    return {"NODefect_images": 6, "Defect_images": 3}, "NODefect_images"


def visa(root):
    """VisA: pictures and masks in folders of their own below the name of the part, masks of 0 and 1."""
    for k in range(6):
        put(root / f"candle/Data/Images/Normal/{k:04d}.JPG", texture(k))
    for k in range(3):
        put(root / f"candle/Data/Images/Anomaly/{k:03d}.JPG", texture(50 + k))
        put(root / f"candle/Data/Masks/Anomaly/{k:03d}.png", FAINT)
    return {"Normal": 6, "Anomaly": 3}, "Normal"


def kolektor(root):
    """KolektorSDD: a folder for each part that was photographed, a mask for each picture, mostly black."""
    for part in range(9):
        for k in range(2):
            put(root / f"kos{part:02d}/Part{k}.jpg", texture(10 * part + k))
            put(root / f"kos{part:02d}/Part{k}_label.bmp", MARK if part < 3 and k == 0 else EMPTY)
    return {"normal": 15, "defect": 3}, "normal"


def deep_crack(root):
    """DeepCrack: train_img, train_lab, test_img, test_lab."""
    for part, count in (("train", 6), ("test", 3)):
        for k in range(count):
            put(root / f"{part}_img/{part}{k}.png", texture(10 * count + k))
            put(root / f"{part}_lab/{part}{k}.png", MARK if k < 3 else EMPTY)
    return {"normal": 3, "defect": 6}, "normal"


def denied(root):
    """Positive and Negative, as sets of cracks in concrete are called."""
    for k in range(4):
        put(root / f"Negative/{k:05d}.png", texture(k))
        put(root / f"Positive/{k:05d}.png", texture(50 + k))
    return {"Negative": 4, "Positive": 4}, "Negative"


@pytest.mark.parametrize("layout", [aitex, visa, kolektor, deep_crack, denied], ids=lambda layout: layout.__name__)
def test_public_sets_are_read_as_they_lie(layout, tmp_path):
    counts, normal = layout(tmp_path)
    table = image_folder.read(tmp_path, size=40, near_duplicates=False)
    assert Counter(table["class"].to_pylist()) == counts
    held = decoded(table)
    assert images.normal_class(held) == normal
    bad = held.labels != held.classes.index(normal)
    if layout is not denied:
        assert held.masks[bad].any(axis=(1, 2)).all() and not held.masks[~bad].any()
        where = int(np.flatnonzero(bad)[0])
        assert held.boxes(where) == (6, 9, 8, 5) and "Masks that belong to no picture" not in notices(table)
    assert recognise(tmp_path) == {"use": "image_folder", "path": str(tmp_path)}


def test_folders_of_parts_are_groups_unless_the_plan_says_that_they_are_classes(tmp_path):
    kolektor(tmp_path)
    table = image_folder.read(tmp_path, size=40, near_duplicates=False)
    rows = by_source(table)
    assert {rows[f"kos04/Part{k}.jpg"]["group"] for k in range(2)} == {rows["kos04/Part0.jpg"]["group"]}
    assert len(set(table["group"].to_pylist())) == 9
    assert "The 9 folders (kos00, kos01, kos02, kos03, kos04 and 4 more) are taken for parts" in notices(table)
    stated = image_folder.read(tmp_path, size=40, near_duplicates=False, folders="class")
    assert len(set(stated["class"].to_pylist())) == 9 and "taken for parts" not in notices(stated)


def test_a_plan_may_say_that_a_few_folders_are_parts(tmp_path):
    for part in ("left", "right", "top"):
        for k in range(4):
            put(tmp_path / f"{part}/{k}.png", texture(20 * len(part) + k))
            put(tmp_path / f"{part}/{k}_mask.png", MARK if k == 0 else EMPTY)
    table = image_folder.read(tmp_path, size=40, near_duplicates=False, folders="part")
    assert Counter(table["class"].to_pylist()) == {"normal": 9, "defect": 3}
    assert set(table["group"].to_pylist()) == {"left", "right", "top"}
    assert set(image_folder.read(tmp_path, size=40, near_duplicates=False)["class"].to_pylist()) == {"left", "right", "top"}


@pytest.mark.parametrize(
    ("name", "part", "masks", "holder"),
    [
        ("train", "train", False, True),
        ("train_images", "train", False, True),
        ("TestMasks", "holdout", True, True),
        ("valid-labels", "reference", True, True),
        ("Mask_images", None, True, True),
        ("Ground Truth", None, True, True),
        ("ground_truth", None, True, True),
        ("JPEGImages", None, False, True),
        ("Defect_images", None, False, False),
        ("truth", None, False, False),
        ("test_1", None, False, False),
        ("unmasked", None, False, False),
        ("_", None, False, False),
    ],
)
def test_the_name_of_a_folder_says_what_it_holds(name, part, masks, holder):
    said = role(name)
    assert (said.part, said.masks, said.holder) == (part, masks, holder)


@pytest.mark.parametrize(
    ("folders", "parts"),
    [
        ([f"kos{i:02d}" for i in range(8)] * 4, True),
        ([f"kos{i:02d}" for i in range(7)] * 4, False),  # too few folders
        ([f"Class{i}" for i in range(10)] * 31, False),  # too many pictures each
        (["scratch", "pit", "stain", "dent", "crack", "hole", "chip", "burr"] * 3, False),  # no numbers
        ([f"kos{i:02d}" for i in range(8)] + ["scratch"], False),  # several namings
        ([], False),
    ],
)
def test_many_numbered_folders_of_few_pictures_are_parts(folders, parts):
    assert are_parts(folders) is parts


def test_defects_without_a_mask_are_not_taken_for_good_parts_in_silence(tmp_path):
    for k in range(6):
        put(tmp_path / f"hole/{k}.png", texture(k))
        if k < 4:
            put(tmp_path / f"hole/{k}_mask.png", MARK)
    said = notices(image_folder.read(tmp_path, size=40, near_duplicates=False))
    assert "Taken for good parts, as masks tell what is defective and these have no file of a mask: 2 (hole/4.png, " in said


def test_a_class_whose_pictures_were_forgotten_is_named(tmp_path):
    denied(tmp_path)
    for name in ("Scratch", "masks", ".cache", "Positive/more"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/read_me.txt").write_text("no pictures here, but not empty")
    table = image_folder.read(tmp_path, size=40, near_duplicates=False)
    assert "Folders without any picture: 3 (Scratch, masks, Positive/more)." in notices(table)
