"""Do Pascal VOC sets of every layout give the pictures, boxes and classes that their annotations state?"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from data.errors import DataError
from data.sources import voc
from data.sources._pictures import recognise
from flows.init import write_plan
from tests.data.drawn import by_source, decoded, notices, put, refused, spot, texture


def xml(name: str, *things: tuple[str, str], size: str = "40 40", folder: str = "", head: str = "") -> str:
    """An annotation of a picture: objects as a class and "xmin ymin xmax ymax"."""
    width, height = size.split()
    keys = ("xmin", "ymin", "xmax", "ymax")
    objects = "".join(
        f"<object><name>{level}</name><pose>Unspecified</pose><part><name>x</name></part><bndbox>"
        + "".join(f"<{key}>{value}</{key}>" for key, value in zip(keys, box.split(), strict=False))
        + "</bndbox></object>"
        for level, box in things
    )
    shape = f"<size><width>{width}</width><height>{height}</height><depth>1</depth></size>"
    return f"{head}<annotation><folder>{folder}</folder><filename>{name}</filename>{shape}{objects}</annotation>"


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def classes_of(root: Path, **options) -> dict[str, str]:
    return {name: row["class"] for name, row in by_source(voc.read(root, size=40, **options)).items()}


@pytest.fixture
def neu(tmp_path):
    """As NEU-DET lies: a folder of pictures, a folder of annotations."""
    root = tmp_path / "neu"
    for i in range(6):
        level = "pit" if i % 2 else "crack"
        put(root / f"IMAGES/{level}_{i}.jpg", texture(i))
        write(root / f"ANNOTATIONS/{level}_{i}.xml", xml(f"{level}_{i}.jpg", (level, "1 3 10 5")))
    return root


def test_boxes_count_from_one_and_hold_their_last_pixels(neu):
    table = voc.read(neu, size=40)
    assert table["class"].to_pylist() == ["crack"] * 3 + ["pit"] * 3 and notices(table) == ""
    assert table["objects"].to_pylist()[0] == {"bbox": [[0, 2, 10, 3]], "category": ["crack"]}
    held = decoded(table)
    assert held.boxes(0) == (0, 2, 10, 3) and held.masks[0].sum() == 30
    assert table["mask"].null_count == 6 and "split" not in table.column_names


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ("0 0 41 41", [[0, 0, 40, 40]]),  # of a tool that counts from 0
        ("38 38 42 42", [[37, 37, 3, 3]]),
        ("7 7 7 7", [[6, 6, 1, 1]]),
        ("2.0 3.5 4.0 6.5", [[1, 2.5, 3, 4]]),
    ],
)
def test_boxes_are_cut_to_their_pictures(neu, box, kept):
    write(neu / "ANNOTATIONS/pit_1.xml", xml("pit_1.jpg", ("pit", box)))
    table = voc.read(neu, size=40)
    assert by_source(table)["IMAGES/pit_1.jpg"]["objects"]["bbox"] == kept and notices(table) == ""


@pytest.mark.parametrize("box", ["9 9 8 12", "9 9 12 8", "20 5 10 9"])
def test_boxes_without_a_pixel_are_listed_and_mark_nothing(neu, box):
    write(neu / "ANNOTATIONS/pit_1.xml", xml("pit_1.jpg", ("pit", box), ("pit", "2 2 3 3")))
    table = voc.read(neu, size=40)
    assert by_source(table)["IMAGES/pit_1.jpg"]["objects"]["bbox"] == [[1, 1, 2, 2]]
    assert "Boxes without a pixel (xmax below xmin, or ymax below ymin), which mark nothing, in: 1 (ANNOTATIONS/pit_1.xml)" in (
        notices(table)
    )
    refused("Boxes without a pixel.*leave strict out of the plan", voc.read, path=neu, strict=True)
    write(neu / "ANNOTATIONS/pit_1.xml", xml("pit_1.jpg", ("pit", box)))
    assert classes_of(neu)["IMAGES/pit_1.jpg"] == "pit"  # a defect still, though nobody knows where


def test_pictures_without_objects_or_annotations_are_good(neu):
    put(neu / "IMAGES/fine.png", texture(7))
    put(neu / "IMAGES/seen.png", texture(8))
    write(neu / "ANNOTATIONS/seen.xml", xml("seen.png"))
    write(neu / "ANNOTATIONS/pit_1.xml", xml("pit_1.jpg", ("pit", "2 2 3 3"), ("crack", "5 5 9 9"), ("pit", "12 2 13 3")))
    put(neu / "IMAGES/pit_7.jpg", texture(9))
    write(neu / "ANNOTATIONS/pit_7.xml", xml("pit_7.jpg", ("pit", "2 2 3 3")))
    table = voc.read(neu, size=40)
    rows = by_source(table)
    assert [rows[f"IMAGES/{name}"]["class"] for name in ("fine.png", "seen.png")] == ["normal", "normal"]
    assert rows["IMAGES/fine.png"]["objects"] == rows["IMAGES/seen.png"]["objects"] == {"bbox": [], "category": []}
    assert rows["IMAGES/pit_1.jpg"]["class"] in ("pit", "crack")
    assert rows["IMAGES/pit_1.jpg"]["objects"]["category"] == ["pit", "crack", "pit"]
    assert classes_of(neu, normal="fine")["IMAGES/fine.png"] == "fine"


def test_of_several_classes_the_rarest_counts(neu):
    put(neu / "IMAGES/both.jpg", texture(9))
    write(neu / "ANNOTATIONS/both.xml", xml("both.jpg", ("crack", "1 1 5 5"), ("slot", "9 9 12 12")))
    assert classes_of(neu)["IMAGES/both.jpg"] == "slot"


@pytest.fixture
def roboflow(tmp_path):
    """As Roboflow exports VOC: an annotation beside each picture, below train, valid and test."""
    for i, part in enumerate(("train", "train", "train", "valid", "test")):
        name = f"p{i % 3}_jpg.rf.0123456789abcdef{i}"
        put(tmp_path / part / f"{name}.jpg", texture(i))
        write(tmp_path / part / f"{name}.xml", xml(f"{name}.jpg", *([("pit", "3 3 9 9")] if i % 2 else [])))
    write(tmp_path / "README.dataset.txt", "text")
    return tmp_path


def test_annotations_beside_their_pictures(roboflow):
    table = voc.read(roboflow, size=40)
    assert table["split"].to_pylist() == ["holdout", "train", "train", "train", "reference"]
    assert table["group"].to_pylist() == ["p1_jpg", "p0_jpg", "p1_jpg", "p2_jpg", "p0_jpg"]
    assert sorted(table["class"].to_pylist()) == ["normal"] * 3 + ["pit"] * 2


@pytest.fixture
def boards(tmp_path):
    """As HRIPCB lies: a folder for each defect on both sides, good boards in one of their own, turned copies besides."""
    for i, level in enumerate(("Missing_hole", "Missing_hole", "Short", "Short")):
        name = f"0{i}_{level.lower()}"
        put(tmp_path / f"images/{level}/{name}.jpg", texture(i))
        put(tmp_path / f"rotation/{level}_rotation/{name}.jpg", texture(10 + i))
        put(tmp_path / f"rotation/{level}_rotation/more_{i}.jpg", texture(20 + i))
        write(tmp_path / f"Annotations/{level}/{name}.xml", xml(f"{name}.jpg", (level.lower(), "5 5 9 9"), folder=level))
    for i in range(2):
        put(tmp_path / f"PCB_USED/0{i}.JPG", texture(30 + i))
    return tmp_path


def test_a_folder_for_each_defect_and_good_ones_apart(boards):
    assert classes_of(boards) == {
        "PCB_USED/00.JPG": "normal", "PCB_USED/01.JPG": "normal",
        "images/Missing_hole/00_missing_hole.jpg": "missing_hole", "images/Missing_hole/01_missing_hole.jpg": "missing_hole",
        "images/Short/02_short.jpg": "short", "images/Short/03_short.jpg": "short",
    }  # fmt: skip
    assert "no .xml and lie among defects, or are copies of others: 8 (rotation/" in notices(voc.read(boards, size=40))
    refused("Left out because they have no .xml and lie among defects", voc.read, path=boards, strict=True)


@pytest.mark.parametrize("good", ["no_hole", "hole_free", "good", "rest", "images"])
def test_good_pictures_in_folders_of_any_name(tmp_path, good):
    for i in range(2):
        put(tmp_path / f"hole set/hole/{i}.jpg", texture(i))
        write(tmp_path / f"hole set/hole/{i}.xml", xml(f"{i}.jpg", ("hole", "5 5 9 9")))
        put(tmp_path / f"hole set/{good}/{i}.jpg", texture(10 + i))
    assert sorted(classes_of(tmp_path).values()) == ["hole", "hole", "normal", "normal"]
    write(tmp_path / "hole set/hole/0.xml", "<annotation>")
    assert sorted(classes_of(tmp_path).values()) == ["hole", "normal", "normal"]


def test_gc10_finds_pictures_in_numbered_folders(tmp_path):
    for i in range(4):
        folder = str(1 + i % 2)
        put(tmp_path / f"{folder}/img_{i}.jpg", texture(i))
        put(tmp_path / f"{folder}/none_{i}.jpg", texture(10 + i))  # of a defect, and nobody marked it
        write(tmp_path / f"lable/img_{i}.xml", xml("other.jpg", (f"{folder}_{'ab'[i % 2]}", "5 5 9 9")))
    shutil.copy(tmp_path / "1/img_0.jpg", tmp_path / "2/img_0.jpg")
    assert classes_of(tmp_path) == {"1/img_0.jpg": "1_a", "1/img_2.jpg": "1_a", "2/img_1.jpg": "2_b", "2/img_3.jpg": "2_b"}
    put(tmp_path / "2/img_0.jpg", texture(99))
    assert "lable/img_0.xml: it may be of" in notices(voc.read(tmp_path, size=40))
    write(tmp_path / "lable/img_0.xml", xml("other.jpg", ("1_a", "5 5 9 9"), folder="1"))
    assert classes_of(tmp_path)["1/img_0.jpg"] == "1_a"


@pytest.fixture
def devkit(tmp_path):
    """As VOC2007 lies, with lists of its parts, lists of a class, and masks."""
    root = tmp_path / "VOCdevkit/VOC2007"
    for i in range(8):
        put(root / f"JPEGImages/00000{i}.jpg", texture(i))
        write(root / f"Annotations/00000{i}.xml", xml(f"00000{i}.jpg", ("cat" if i % 2 else "train", "5 5 9 9")))
        put(root / f"SegmentationClass/00000{i}.png", spot((40, 40), (5, 5, 4, 4)))
    lists = {"train": "000000\n000001\n", "val": "000002 \n\n000003", "trainval": "000000\n000001\n000002\n000003\n"}
    lists |= {"test": "000004  1\n000005 -1\n", "cat_train": "000006 1\n"}
    for name, text in lists.items():
        write(root / f"ImageSets/Main/{name}.txt", text)
    return tmp_path


def test_the_division_is_that_of_imagesets(devkit):
    table = voc.read(devkit, size=40)
    assert set(table["class"].to_pylist()) == {"cat", "train"} and table.num_rows == 8
    assert table["split"].to_pylist() == ["train"] * 2 + ["reference"] * 2 + ["holdout"] * 2 + [None] * 2
    write(devkit / "VOCdevkit/VOC2007/ImageSets/Main/test.txt", "000004\n000099\n")
    assert "Named in ImageSets and not there: 1 (000099 in test.txt)" in notices(voc.read(devkit, size=40))
    refused("Named in ImageSets and not there", voc.read, path=devkit, strict=True)


def test_pictures_in_a_folder_of_their_own(neu, tmp_path):
    (neu / "IMAGES").rename(tmp_path / "far")
    put(tmp_path / "far/test/fine.jpg", texture(9))
    table = voc.read(neu, images=str(tmp_path / "far"), size=40)
    assert table.num_rows == 7 and by_source(table)["test/fine.jpg"]["split"] == "holdout"
    refused(f"images: there is no folder {neu / 'none'}", voc.read, path=neu, images=str(neu / "none"))
    refused(
        "no picture of its annotations is there, first ANNOTATIONS/crack_0.xml of 'crack_0.jpg'; state the folder",
        voc.read, path=neu,
    )  # fmt: skip


def test_what_names_its_picture_in_other_ways(neu):
    (neu / "ANNOTATIONS/pit_1.xml").rename(neu / "ANNOTATIONS/one.xml")
    (neu / "ANNOTATIONS/pit_3.xml").rename(neu / "ANNOTATIONS/pit_3.jpg.xml")
    write(neu / "ANNOTATIONS/pit_5.xml", xml("wrong.png", ("pit", "1 1 4 4"), size="0 0"))
    write(neu / "more/pit_5.xml", xml("pit_5", ("pit", "1 1 4 4"), ("crack", "11 11 14 14")))  # says one thing again
    rows = by_source(voc.read(neu, size=40))
    assert {f"IMAGES/pit_{i}.jpg" for i in (1, 3, 5)} <= rows.keys() and len(rows) == 6
    assert rows["IMAGES/pit_5.jpg"]["objects"]["category"] == ["pit", "crack"]


BROKEN = {
    "no XML that can be read": "<annotation><filename>pit_1.jpg</filename>",
    "no XML that can be read .no element found": "",
    "no XML that can be read .not well-formed": b"<annotation>\xff\xfe</annotation>",
    "no XML that can be read .unknown encoding": "<?xml version='1.0' encoding='none'?><annotation/>",
    "object 2 has no name": xml("pit_1.jpg", ("pit", "1 1 2 2"), ("", "1 1 2 2")),
    "the bndbox of object 1 is not the four numbers": xml("pit_1.jpg", ("pit", "1 1 a 2")),
    "the bndbox of object 1 is not the four numbers xmin": xml("pit_1.jpg", ("pit", "1 1 2")),
    "the bndbox of object 1 is not finite": xml("pit_1.jpg", ("pit", "1 1 inf 2")),
}


@pytest.mark.parametrize("says", BROKEN)
def test_an_annotation_that_cannot_be_read_is_listed_with_its_picture(neu, says):
    write(neu / "ANNOTATIONS/pit_1.xml", BROKEN[says])
    table = voc.read(neu, size=40)
    assert table.num_rows == 5 and "IMAGES/pit_1.jpg" not in by_source(table)
    assert "Annotations that cannot be read, their pictures left out: 1 (ANNOTATIONS/pit_1.xml: " in notices(table)
    refused(f"ANNOTATIONS/pit_1.xml: {says}.*leave strict out of the plan", voc.read, path=neu, strict=True)


def test_marks_of_another_picture(neu):
    write(neu / "ANNOTATIONS/pit_1.xml", xml("pit_1.jpg", ("pit", "100 1 120 20"), size="0 0"))
    assert "the box x, y, width, height = 99, 0, 21, 20 does not fit the 40 x 40 pixels" in notices(voc.read(neu, size=40))
    write(neu / "ANNOTATIONS/pit_1.xml", xml("pit_1.jpg", ("pit", "1 1 20 20"), size="64 48"))
    refused("pit_1.jpg has 40 x 40 pixels and its marks in ANNOTATIONS/pit_1.xml have 64 x 48", voc.read, path=neu)


def test_an_annotation_without_its_picture_is_listed(neu):
    (neu / "IMAGES/pit_1.jpg").unlink()
    table = voc.read(neu, size=40)
    assert table.num_rows == 5
    assert "whose pictures are not there: 1 (ANNOTATIONS/pit_1.xml of 'pit_1.jpg')" in notices(table)
    refused("Annotations whose pictures are not there", voc.read, path=neu, strict=True)


BOMB = "<!DOCTYPE a [" + "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(9)) + "]>"
OUTSIDE = '<!DOCTYPE annotation [<!ENTITY e SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("head", [BOMB, OUTSIDE, "<!DOCTYPE annotation>", '<!DOCTYPE annotation SYSTEM "a.dtd">'])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_is_refused(neu, head, encoding):
    write(
        neu / "ANNOTATIONS/pit_1.xml",
        xml("pit_1.jpg", ("pit&e1;" if head == BOMB else "pit", "1 1 2 2"), head=head).encode(encoding),
    )
    refused("pit_1.xml declares a document type or entities, .*; remove the declaration", voc.read, path=neu)


def test_other_xml_files_are_none_of_its_business(neu):
    write(neu / "settings.xml", "<project/>")
    write(neu / "list.xml", BOMB + "<plist/>")
    write(neu / "half.xml", "<project>")
    write(neu / ".idea/pit_1.xml", "<annotation>")
    write(neu / "__MACOSX/._pit_1.xml", b"\x00")
    table = voc.read(neu, size=40)
    assert table.num_rows == 6 and notices(table) == ""


def test_a_folder_that_is_no_such_set_is_refused(tmp_path, neu):
    refused("there is no folder .*none; check the path", voc.read, path=tmp_path / "none")
    refused("is a file; name the folder", voc.read, path=neu / "ANNOTATIONS/pit_1.xml")
    for file in (neu / "ANNOTATIONS").iterdir():
        file.write_text("<annotation>")
    refused("none of its annotations can be read, first ANNOTATIONS/crack_0.xml: no XML", voc.read, path=neu)
    for file in (neu / "ANNOTATIONS").iterdir():
        file.unlink()
    refused("holds no VOC annotations", voc.read, path=neu)
    assert recognise(neu) == {"use": "image_folder", "path": str(neu)}


@pytest.mark.parametrize("layout", ["neu", "roboflow", "boards", "devkit"])
def test_init_writes_a_plan_for_every_layout(layout, request, tmp_path):
    root = request.getfixturevalue(layout)
    assert recognise(root) == {"use": "voc", "path": str(root)}
    plan = write_plan(str(root), target=None, query=None, out=tmp_path / "plan.yaml", force=False)
    assert "use: voc" in plan.read_text()


def test_masks_beside_pictures_say_more_than_boxes(tmp_path):
    for i in range(2):
        for level in ("pit", "crack"):
            put(tmp_path / f"{level}/Imgs/{i}.jpg", texture(i + 2 * (level == "pit")))
            put(tmp_path / f"{level}/Imgs/{i}.png", spot((40, 40), (5, 5, 9, 9)))
            write(tmp_path / f"{level}/Imgs/{i}.xml", xml(f"{i}.jpg", (level, "6 6 14 14")))
    assert recognise(tmp_path) == {"use": "image_folder", "path": str(tmp_path)}
    assert classes_of(tmp_path) == {f"{level}/Imgs/{i}.jpg": level for level in ("pit", "crack") for i in range(2)}


def test_index_and_yolo_go_before(neu):
    write(neu / "data.yaml", "names: [pit]\ntrain: IMAGES\n")
    assert recognise(neu)["use"] == "yolo"
    write(neu / "index.csv", "image,class\nIMAGES/pit_1.jpg,pit\n")
    assert recognise(neu)["use"] == "image_index"


def test_bytes_of_any_kind_do_no_harm(neu):
    rng = np.random.default_rng(0)
    whole = xml("pit_1.jpg", ("pit", "1 1 9 9")).encode()
    for _ in range(60):
        torn = bytearray(whole)
        for place in rng.integers(0, len(torn), 3):
            torn[place] = rng.integers(0, 256)
        write(neu / "ANNOTATIONS/pit_1.xml", bytes(torn))
        try:
            voc.read(neu, size=40)
        except DataError as error:
            assert "\n" not in str(error)
