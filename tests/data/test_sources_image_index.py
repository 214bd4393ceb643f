"""Does an index give each picture its class, mask, boxes, part and side of the split, by names that people use?"""

from pathlib import Path

import pytest

from data.sources import image_index
from data.sources._pictures import recognise
from tests.data.drawn import decoded, notices, put, refused, spot, texture


def index(root: Path, text: str, name: str = "index.csv") -> Path:
    (root / name).write_text(text)
    return root / name


@pytest.fixture
def pictured(tmp_path):
    for i in range(6):
        put(tmp_path / f"img/{i}.png", texture(i))
    for i in range(3, 6):
        put(tmp_path / f"mask/{i}.png", spot((40, 40), (i, 5, 7, 9)))
    return tmp_path


def test_an_index_with_everything(pictured):
    parts = ("train", "val", "test")
    rows = ["File Name;Label;Mask;part;Subset"]
    rows += [
        f"img\\{i}.png;{'pit' if i > 2 else 'good'};{f'mask/{i}.png' if i > 2 else ''};00{i // 2};{parts[i // 2]}"
        for i in range(6)
    ]
    index(pictured, "\n".join(rows))
    table = image_index.read(pictured, size=40)
    assert table["class"].to_pylist() == ["good"] * 3 + ["pit"] * 3
    assert table["group"].to_pylist() == ["000", "000", "001", "001", "002", "002"]
    assert table["split"].to_pylist() == ["train", "train", "reference", "reference", "holdout", "holdout"]
    held = decoded(table)
    assert held.masked.all() and held.boxes(4) == (4, 5, 7, 9)
    assert recognise(pictured) == {"use": "image_index", "path": str(pictured)}
    assert recognise(pictured / "index.csv") == {"use": "image_index", "path": str(pictured / "index.csv")}


@pytest.mark.parametrize(
    ("head", "cells"),
    [
        ("bx0,by0,bx1,by1", "3,5,10,14"),
        ("xmin,ymin,xmax,ymax", "3,5,10,14"),
        ("x1,y1,x2,y2", "3,5,10,14"),
        ("x,y,w,h", "3,5,7,9"),
        ("x,y,width,height", "3.0,5,7,9"),
        ("left,top,right,bottom", "3,5,10,14"),
    ],
)
def test_boxes_of_an_index(pictured, head, cells):
    index(pictured, f"image,class,{head}\nimg/0.png,ok,,,,\nimg/1.png,ok,,,,\nimg/2.png,pit,{cells}\nimg/2.png,pit,{cells}\n")
    table = image_index.read(pictured, size=40)
    assert table.num_rows == 3
    assert table["objects"].to_pylist()[2] == {"bbox": [[3, 5, 7, 9]] * 2, "category": ["pit"] * 2}
    held = decoded(table)
    assert held.masked.all() and held.boxes(2) == (3, 5, 7, 9) and not held.masks[:2].any()


def test_boxes_that_reach_out_are_none_beside_masks_and_damage_without(pictured):
    rows = [f"img/{i}.png,{'pit' if i > 2 else 'ok'},{f'mask/{i}.png' if i > 2 else ''},100,90,292,282" for i in range(6)]
    index(pictured, "image,class,mask,x0,y0,x1,y1\n" + "\n".join(rows))
    table = image_index.read(pictured, size=40)
    assert decoded(table).boxes(3) == (3, 5, 7, 9)
    assert table["objects"].to_pylist()[3]["bbox"] == [[3, 5, 7, 9]]
    assert "The columns x0, y0, x1, y1 reach out of the pictures" in notices(table)
    index(pictured, "image,class,x0,y0,x1,y1\nimg/0.png,ok,,,,\nimg/1.png,pit,1,1,9,9\nimg/2.png,pit,100,90,292,282\n")
    assert "img/2.png (index.csv: the box x, y, width, height = 100, 90, 192, 192 does not fit the 40 x 40 pixels)" in notices(
        image_index.read(pictured, size=40)
    )


def test_columns_that_are_stated(pictured):
    index(
        pictured, "a,b,c,l,t,r,u,lot,s\n" + "\n".join(f"{i}.png,{i % 2},{9 - i},1,2,11,12,p{i},test" for i in range(6)), "x.csv"
    )
    options = {
        "image_column": "a",
        "class_column": "b",
        "group_column": "c",
        "box_columns": ["l", "t", "r", "u"],
        "split_column": "s",
    }
    table = image_index.read(pictured / "x.csv", root=str(pictured / "img"), size=40, **options)
    assert table["class"].to_pylist() == list("010101") and table["group"].to_pylist() == list("987654")
    assert table["objects"].to_pylist()[0]["bbox"] == [[1, 2, 10, 10]]
    assert "split" not in table.column_names  # all of one part is no division
    refused("there is no column 'z'; the columns are a, b", image_index.read, path=pictured / "x.csv", mask_column="z")


def test_several_defects_on_one_picture_give_the_rarest(pictured):
    index(
        pictured,
        "image,class,x,y,w,h\nimg/0.png,pit,1,1,5,5\nimg/1.png,pit,1,1,5,5\nimg/2.png,pit,1,1,5,5\nimg/2.png,crack,9,9,5,5\n",
    )
    table = image_index.read(pictured, size=40)
    assert table["class"].to_pylist() == ["pit", "pit", "crack"]
    assert table["objects"].to_pylist()[2]["category"] == ["pit", "crack"]


def test_masks_decide_where_an_index_has_no_classes(pictured):
    index(pictured, "image,mask\n" + "\n".join(f"img/{i}.png,{f'mask/{i}.png' if i > 2 else ''}" for i in range(6)))
    assert image_index.read(pictured, size=40)["class"].to_pylist() == ["normal"] * 3 + ["defect"] * 3


def test_an_index_that_cannot_be_used_is_refused(pictured):
    def no(says, text, **options):
        refused(says, image_index.read, path=index(pictured, text), **options)

    no("index.csv has no column of pictures", "name,class\na,b\n")
    no("has no column of classes", "image,size\nimg/0.png,3\n")
    no("line 3: 'img/9.png' is not there.*; add it", "image,class\nimg/0.png,a\nimg/9.png,b\n")
    no("line 2: 'mask/0.png' is not there", "image,class,mask\nimg/0.png,a,mask/0.png\n")
    no("line 3: no picture is named", "image,class\nimg/0.png,a\n,b\n")
    no("line 2: the box 1, 2, x, 4 is not four numbers", "image,class,x,y,w,h\nimg/0.png,a,1,2,x,4\n")
    no("line 2: the box 9, 2, 3, 4 has no area", "image,class,x0,y0,x1,y1\nimg/0.png,a,9,2,3,4\n")
    no("line 3: 1 fields where the header has 2", "image,class\nimg/0.png,a\nimg/1.png\n")
    no("the column name 'class' stands there twice", "image,class,class\nimg/0.png,a,b\n")
    no("are of one class, a", "image,class\nimg/0.png,a\nimg/1.png,a\n")
    no("line 3: img/1.png has no class", "image,class\nimg/0.png,a\nimg/1.png,\n", strict=True)
    (pictured / "index.csv").unlink()
    refused("holds no index.csv, and of its csv files none that names pictures", image_index.read, path=pictured)
    index(pictured, "image,class\nimg/0.png,a\n", "one.csv")
    index(pictured, "image,class\nimg/0.png,a\n", "two.csv")
    refused("2 that name pictures", image_index.read, path=pictured)


def test_a_picture_without_a_class_is_left_out(pictured):
    index(pictured, "image,class\nimg/0.png,a\nimg/1.png,\nimg/2.png,b\n")
    table = image_index.read(pictured, size=40)
    assert table.num_rows == 2 and "Left out because index.csv gives no class: 1 (img/1.png)" in notices(table)


def test_groups_cut_by_the_source_are_told(pictured):
    index(
        pictured, "image,class,part,split\nimg/0.png,a,p,train\nimg/1.png,b,p,test\nimg/2.png,b,q,train\nimg/3.png,a,r,test\n"
    )
    assert "2 pictures are in groups that the source's own split cuts" in notices(image_index.read(pictured, size=40))


def test_tables_and_empty_folders_are_no_pictures(tmp_path):
    (tmp_path / "t.csv").write_text("file,class\nnone.png,a\n")
    assert recognise(tmp_path) is None and recognise(tmp_path / "t.csv") is None
    (tmp_path / "sub").mkdir()
    put(tmp_path / "sub/.hidden.png", texture(0))
    assert recognise(tmp_path) is None


def test_names_that_start_from_a_folder_further_out(pictured):
    (pictured / "lists").mkdir()
    file = index(pictured / "lists", "image,label\nimg/0.png,good\nimg/1.png,pit\nimg/2.png,pit\n", "all.csv")
    table = image_index.read(pictured / "lists", size=40)
    assert table["source"].to_pylist() == ["img/0.png", "img/1.png", "img/2.png"]
    assert recognise(file) == {"use": "image_index", "path": str(file)}


@pytest.mark.parametrize(
    ("says", "text"),
    [
        ("line 2: 'img/9.png' is not there", "image,class\nimg/9.png,a\nimg/1.png,b\n"),
        ("line 3: 1 fields where the header has 2", "image,class\nimg/0.png,a\nimg/1.png\n"),
        ("holds a header and no rows", "image,class\n"),
        ("is empty", ""),
    ],
)
def test_an_index_with_a_fault_is_not_passed_over_for_the_folders_beside_it(pictured, says, text):
    index(pictured, text)
    assert recognise(pictured) == {"use": "image_index", "path": str(pictured)}
    refused(says, image_index.read, path=pictured)
