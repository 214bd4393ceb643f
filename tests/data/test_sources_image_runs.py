"""Does an index whose marks are runs of pixels, as Severstal's is, give each picture its mask, classes and boxes?"""

from pathlib import Path

import numpy as np
import pytest

from data.sources import image_index
from data.sources._marks import Damaged, Starts
from data.sources._pictures import recognise
from flows.init import write_plan
from tests.data.drawn import by_source, decoded, notices, put, refused, spot, texture

WIDE = (40, 24)


def runs(*boxes: tuple[int, int, int, int]) -> str:
    """Boxes x, y, width, height on a picture of WIDE: starts from 1 and lengths, column by column."""
    return " ".join(f"{column * WIDE[1] + y + 1} {h}" for x, y, w, h in boxes for column in range(x, x + w))


@pytest.fixture
def steel(tmp_path) -> Path:
    """Two pictures of one class, one of two classes, two good ones without a row; other pictures and a form beside."""
    for i in range(5):
        put(tmp_path / f"train_images/{i}.jpg", texture(i, WIDE))
    put(tmp_path / "test_images/9.jpg", texture(9, WIDE))
    rows = [f"0.jpg,1,{runs((2, 3, 5, 4))}", f"1.jpg,1,{runs((1, 1, 3, 3), (20, 5, 6, 2))}"]
    rows += [f"2.jpg,1,{runs((0, 0, 2, 24))}", f"2.jpg,4,{runs((30, 20, 10, 4))}"]
    index(tmp_path, rows)
    (tmp_path / "sample_submission.csv").write_text("ImageId,EncodedPixels,ClassId\n9.jpg,1 1,1\n")
    return tmp_path


def index(root: Path, rows: list[str], head: str = "ImageId,ClassId,EncodedPixels") -> Path:
    (root / "train.csv").write_text("\n".join([head, *rows]) + "\n")
    return root / "train.csv"


def test_rows_of_runs_become_masks_and_boxes(steel):
    table = image_index.read(steel, size=40, fit="letterbox")
    assert table["source"].to_pylist() == [f"{i}.jpg" for i in range(5)]
    assert table["class"].to_pylist() == ["1", "1", "4", "normal", "normal"]
    assert "Taken for good because train.csv has no row of them: 2 (3.jpg, 4.jpg)" in notices(table)
    boxes = [row["objects"] for row in table.to_pylist()]  # bars of 8 pixels are above and below
    assert boxes[1] == {"bbox": [[1, 9, 3, 3], [20, 13, 6, 2]], "category": ["1", "1"]}
    assert boxes[2] == {"bbox": [[0, 8, 2, 24], [30, 28, 10, 4]], "category": ["1", "4"]}
    assert boxes[3] == {"bbox": [], "category": []}
    held = decoded(table)
    assert held.masked.all() and not held.masks[3:].any()
    assert (
        held.masks[2][8:32] == np.array(spot(WIDE, (0, 0, 2, 24))) // 255 + np.array(spot(WIDE, (30, 20, 10, 4))) // 255
    ).all()


def test_init_finds_the_pictures_in_the_folder_beside(steel, tmp_path_factory):
    assert recognise(steel) == {"use": "image_index", "path": str(steel)}
    assert recognise(steel / "train.csv") == {"use": "image_index", "path": str(steel / "train.csv")}
    plan = write_plan(str(steel), target=None, query=None, out=tmp_path_factory.mktemp("plans") / "p.yaml", force=False)
    assert "use: image_index" in plan.read_text() and "normal 2" in plan.read_text()
    table = image_index.read(steel, size=40)
    assert image_index.read(steel, root=str(steel / "train_images"), size=40).equals(table)
    put(steel / "other/0.jpg", texture(7, WIDE))
    refused("line 2: '0.jpg' is not there.*state the folder it is in as root", image_index.read, path=steel)


def test_a_row_for_each_class_counts_where_it_marks(steel):
    rows = [
        f"{i}.jpg,{level},{runs((2, 3, 5, 4)) if (i, level) in ((0, 2), (1, 3)) else ''}" for i in range(4) for level in (2, 3)
    ]
    index(steel, rows)
    table = image_index.read(steel, size=40, normal="fine")
    assert table["class"].to_pylist() == ["2", "3", "fine", "fine", "fine"]


@pytest.mark.parametrize(
    ("head", "rows", "classes"),
    [
        ("ImageId,EncodedPixels", ["0.jpg,1 4", "1.jpg,"], ["defect"] + ["normal"] * 4),
        ("image,label,rle", ["0.jpg,pit,1 4", "1.jpg,good,"], ["pit"] + ["good"] * 4),
        ("image,label,rle", ["0.jpg,pit,1 4", "1.jpg,,"], ["pit"] + ["normal"] * 4),
        ("image,label,rle", ["0.jpg,pit,1 4", "1.jpg,pit,", "2.jpg,,3 5"], ["pit", "pit"] + ["normal"] * 2),
    ],
)
def test_classes_where_some_rows_mark_nothing(steel, head, rows, classes):
    index(steel, rows, head)
    table = image_index.read(steel / "train.csv", size=40)
    assert table["class"].to_pylist() == classes


def test_a_stated_column_goes_before_masks(steel):
    put(steel / "m.png", spot(WIDE, (1, 1, 9, 9)))
    index(steel, ["train_images/0.jpg,a,m.png,1 4", "train_images/1.jpg,b,,"], "image,class,mask,pixels")
    table = image_index.read(steel, size=40)
    assert table.num_rows == 2 and decoded(table).masks[0].sum() == 81
    rows = by_source(image_index.read(steel, rle_column="pixels", size=40))
    assert rows["train_images/0.jpg"]["objects"]["bbox"] == [[0, 8, 1, 4]] and len(rows) == 5


@pytest.mark.parametrize("text", ["1 2 3", "a b", "1 -2", "1.5 2", "²3 4"])
def test_runs_that_are_no_pairs_of_numbers_are_refused(steel, text):
    index(steel, ["0.jpg,1,1 4", f"1.jpg,1,{text}"])
    refused("train.csv, line 3: the runs '.*' are not pairs of a start and a length", image_index.read, path=steel)


@pytest.mark.parametrize("text", ["0 3", "960 2", "2000 1"])
def test_runs_of_another_picture_are_listed(steel, text):
    index(steel, ["0.jpg,1,1 4", f"1.jpg,1,{text}"])
    assert f"1.jpg (train.csv, line 3: the run {text} does not fit the 40 x 24 pixels)" in notices(image_index.read(steel))
    refused("does not fit the 40 x 24 pixels", image_index.read, path=steel, strict=True)


def test_starts_count_from_one_down_the_columns():
    assert Starts((1, 1, 3, 3), "x").mask((2, 3)).tolist() == [[True, True, True], [False, True, False]]
    assert Starts((6, 1), "x").mask((2, 3)).tolist() == [[False] * 3, [False, False, True]]
    with pytest.raises(Damaged, match="x: the run 6 2 does not fit the 3 x 2 pixels"):
        Starts((6, 2), "x").mask((2, 3))
