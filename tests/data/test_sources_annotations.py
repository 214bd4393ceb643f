"""Do COCO, YOLO and Parquet sets give the pictures, marks and classes that their annotations state?"""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.sources import coco, image_parquet, yolo
from data.sources._marks import RunLengths, polygon
from data.sources._pictures import recognise
from tests.data.drawn import by_source, decoded, notices, put, refused, spot, texture


def png(image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def runs(mask: np.ndarray) -> list[int]:
    """COCO's plain run lengths of a mask, column by column, the first of unmarked pixels."""
    flat = np.concatenate([[False], mask.T.ravel()])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()


def packed(counts: list[int]) -> str:
    """Run lengths as COCO packs them into text."""
    out = []
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            out.append(chr(48 + bits + (32 if more else 0)))
    return "".join(out)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_run_lengths_plain_and_packed(h, w, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((h, w)) < rng.random()
    for counts in (runs(mask), packed(runs(mask)), packed(runs(mask)).encode()):
        assert (RunLengths(counts, (h, w), "x").mask() == mask).all()


def test_run_lengths_as_pycocotools_packs_them():
    mask = np.zeros((6, 7), dtype=bool)
    mask[1:4, 2:6] = mask[5, 0] = True
    assert (RunLengths("5172L000005", (6, 7), "x").mask() == mask).all()


@pytest.mark.parametrize("counts", [[3, 4], [50, -8], "5172L00000", "5172L00000\x7f", "5172L00000P"])
def test_run_lengths_that_do_not_fit_are_refused(counts):
    with pytest.raises(DataError, match="annotation 3: .*run lengths"):
        RunLengths(counts, (6, 7), "annotation 3").mask()


def test_polygons_mark_what_is_half_inside():
    square = polygon(np.array([[10, 5], [20, 5], [20, 9], [10, 9]], float), (16, 30))
    assert square.sum() == 40 and square[5:9, 10:20].all()
    assert polygon(np.array([[3.1, 3.1], [3.2, 3.1], [3.2, 3.2]]), (8, 8)).sum() == 1
    assert polygon(np.array([[-50, -50], [60, -50], [60, 60], [-50, 60]], float), (8, 8)).all()


@pytest.fixture
def things(tmp_path):
    """Six pictures of 40 x 40 and what COCO says of them."""
    for i in range(6):
        put(tmp_path / f"images/{i}.png", texture(i))
    ring = np.zeros((40, 40), bool)
    ring[10:20, 10:20], ring[13:17, 13:17] = True, False
    marks = [
        (3, 1, {"bbox": [2, 4, 6, 8], "segmentation": [[2, 4, 8, 4, 8, 12, 2, 12]]}),
        (4, 1, {"bbox": [10, 10, 10, 10], "segmentation": {"size": [40, 40], "counts": runs(ring)}, "iscrowd": 1}),
        (5, 1, {"bbox": [1, 1, 3, 3]}),
        (5, 7, {"bbox": [10, 10, 10, 10], "segmentation": {"size": [40, 40], "counts": packed(runs(ring))}}),
    ]
    held = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 40} for i in range(6)],
        "categories": [{"id": 1, "name": "pit"}, {"id": 7, "name": "ring"}],
        "annotations": [{"id": k, "image_id": i, "category_id": c, **what} for k, (i, c, what) in enumerate(marks)],
    }
    (tmp_path / "annotations").mkdir()
    write(tmp_path, held)
    return tmp_path, held, ring


def write(folder: Path, held, name: str = "annotations/instances.json") -> None:
    (folder / name).write_text(held if isinstance(held, str) else json.dumps(held))


def test_coco_with_polygons_runs_and_boxes(things):
    folder, _, ring = things
    table = coco.read(folder, size=40)
    assert table["class"].to_pylist() == ["normal"] * 3 + ["pit", "pit", "ring"]
    held = decoded(table)
    assert held.masked.all() and not held.masks[:3].any()
    assert held.boxes(3) == (2, 4, 6, 8) and held.masks[3].sum() == 48
    assert (held.masks[4] == ring).all()
    assert held.masks[5].sum() == ring.sum() + 9  # the box without an outline is filled
    rows = by_source(table)
    assert rows["images/5.png"]["objects"] == {"bbox": [[1, 1, 3, 3], [10, 10, 10, 10]], "category": ["pit", "ring"]}
    assert rows["images/0.png"]["objects"] == {"bbox": [], "category": []}
    assert recognise(folder) == {"use": "coco", "path": str(folder)}
    assert coco.read(folder / "annotations/instances.json", size=40).equals(table)
    assert set(coco.read(folder, size=40, normal="fine")["class"].to_pylist()) == {"fine", "pit", "ring"}


def test_coco_with_boxes_alone_has_no_masks(things):
    folder, held, _ = things
    for one in held["annotations"]:
        one.pop("segmentation", None)
    write(folder, held)
    table = coco.read(folder, size=40)
    assert table["mask"].null_count == 6
    back = decoded(table)
    assert back.masked.all() and back.boxes(4) == (10, 10, 10, 10) and back.masks[:3].sum() == 0


def test_coco_by_parts_of_a_split_wherever_its_pictures_lie(things, tmp_path):
    folder, held, _ = things
    out = tmp_path / "parts"
    for part, ids in {"train": (0, 3, 5), "valid": (1, 4), "test": (2,)}.items():
        for i in ids:
            put(out / part / "deep" / f"{i}.png", texture(i))
        some = {**held, "images": [one for one in held["images"] if one["id"] in ids]}
        some["annotations"] = [one for one in held["annotations"] if one["image_id"] in ids]
        write(out, some, f"{part}/_annotations.coco.json")
    table = coco.read(out, size=40)
    assert table["split"].to_pylist() == ["holdout"] + ["train"] * 3 + ["reference"] * 2
    assert table["source"].to_pylist()[0] == "test/deep/2.png"
    (folder / "images").rename(tmp_path / "elsewhere")
    assert coco.read(folder / "annotations/instances.json", images=str(tmp_path / "elsewhere"), size=40).num_rows == 6


def test_coco_boxes_that_do_not_fit_or_have_no_area(things):
    folder, held, _ = things
    held["annotations"][0] |= {"bbox": [100, 100, 20, 20]}
    held["annotations"][2] |= {"bbox": [5, 5, 0, 3]}
    write(folder, held)
    table = coco.read(folder, size=40)
    assert "images/3.png (instances.json: the box x, y, width, height = 100, 100, 20, 20 does not fit" in notices(table)
    assert table["objects"].to_pylist()[-1]["category"] == ["ring"]


def test_coco_that_cannot_be_used_is_refused(things):
    folder, held, _ = things

    def no(says, change, **options):
        changed = json.loads(json.dumps(held))
        change(changed)
        write(folder, changed)
        refused(says, coco.read, path=folder / "annotations/instances.json", **options)

    first = held["annotations"][0]
    no(
        "annotation 0: there is no category 3; the categories are pit, ring",
        lambda h: h["annotations"][0].update(category_id=3),
    )
    no("annotation 0: there is no image with its image_id", lambda h: h["annotations"][0].update(image_id=99))
    no("its bbox or segmentation is not made of numbers", lambda h: h["annotations"][0].update(bbox=["a", 1, 2, 3]))
    no("its bbox is not the four numbers", lambda h: h["annotations"][0].update(bbox=[1, 2, 3]))
    no("annotation 0: there is no image with its image_id", lambda h: h["annotations"][0].update(image_id=[1]))
    no(r"annotation 0: there is no category \[1\]", lambda h: h["annotations"][0].update(category_id=[1]))
    no("two for each point of an outline", lambda h: h["annotations"][0].update(segmentation=[[1, 2, 3, 4, 5, 6, 7]]))
    no("two for each point of an outline", lambda h: h["annotations"][0].update(segmentation="all of it"))
    no("an image lacks its id or file_name", lambda h: h["images"][0].update(file_name=None))
    no("6 images have only 5 ids", lambda h: h["images"][1].update(id=h["images"][0]["id"]))
    no("names '9.png', which is not there", lambda h: h["images"][0].update(file_name="9.png"))
    no("an image lacks its id or file_name", lambda h: h["images"][0].pop("file_name"))
    no("it needs the lists images, annotations and categories", lambda h: h.pop("categories"))
    no(
        "images/3.png has 40 x 40 pixels and its marks in instances.json have 80 x 40",
        lambda h: h["images"][3].update(width=80),
    )
    no("images: there is no folder nowhere", lambda h: None, images="nowhere")
    assert first["category_id"] == 1
    write(folder, "{broken")
    refused("is no JSON that can be read", coco.read, path=folder / "annotations/instances.json")
    refused("holds no COCO annotations", coco.read, path=folder)


@pytest.fixture
def lines(tmp_path):
    """A YOLO set: boxes, a polygon, an empty file and a missing one."""
    texts = {
        "train/0": "0 0.5 0.5 0.25 0.5\n",
        "train/1": "",
        "val/2": "1 .1 .1 .6 .1 .6 .35 .1 .35",
        "val/4": "0 .5 .5 .1 .1 0.9\n",
    }
    for name in ("train/0", "train/1", "val/2", "test/3", "val/4"):
        put(tmp_path / f"images/{name}.png", texture(int(name[-1])))
        if name in texts:
            (tmp_path / f"labels/{name}.txt").parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / f"labels/{name}.txt").write_text(texts[name])
    (tmp_path / "data.yaml").write_text(
        "path: .\ntrain: images/train\nval: ../images/val\ntest: images/test\nnames: {0: pit, 1: slot}\n"
    )
    return tmp_path


def test_yolo_with_boxes_and_polygons(lines):
    table = yolo.read(lines, size=40)
    rows = by_source(table)
    assert {k: v["class"] for k, v in rows.items()} == {
        "images/train/0.png": "pit", "images/train/1.png": "normal", "images/val/2.png": "slot",
        "images/test/3.png": "normal", "images/val/4.png": "pit",
    }  # fmt: skip
    assert [row["split"] for row in rows.values()] == ["holdout", "train", "train", "reference", "reference"]
    assert rows["images/train/0.png"]["objects"] == {"bbox": [[15, 10, 10, 20]], "category": ["pit"]}
    held = decoded(table)
    assert held.masked.all() and held.boxes(3) == (4, 4, 20, 10) and held.boxes(1) == (15, 10, 10, 20)
    assert held.boxes(0) is None and held.boxes(2) is None
    for path in (lines, lines / "data.yaml"):
        assert recognise(path) == {"use": "yolo", "path": str(path)}
        assert yolo.read(path, size=40).equals(table)


def test_yolo_without_a_yaml(lines):
    (lines / "data.yaml").unlink()
    assert recognise(lines) == {"use": "yolo", "path": str(lines)}
    table = yolo.read(lines, size=40)
    assert set(table["class"].to_pylist()) == {"normal", "0", "1"} and "called by their numbers" in notices(table)
    assert table["split"].to_pylist()[0] == "holdout"
    (lines / "classes.txt").write_text("pit\nslot\n")
    assert set(yolo.read(lines, size=40)["class"].to_pylist()) == {"normal", "pit", "slot"}
    assert set(yolo.read(lines, size=40, names=["a", "b"], normal="fine")["class"].to_pylist()) == {"fine", "a", "b"}


def test_yolo_exports_keep_one_photo_together(tmp_path):
    for i, part in enumerate(("train", "train", "valid")):
        name = f"p{i % 2}_jpg.rf.0123456789abcdef{i}"
        put(tmp_path / part / "images" / f"{name}.png", texture(i))
        (tmp_path / part / "labels").mkdir(exist_ok=True)
        (tmp_path / part / "labels" / f"{name}.txt").write_text("0 .5 .5 .2 .2" if i else "")
    (tmp_path / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: [pit]\n")
    table = yolo.read(tmp_path, size=40)
    assert table["group"].to_pylist() == ["p0_jpg", "p1_jpg", "p0_jpg"]
    assert "names '../test/images' for test, which is not there" in notices(table)
    refused("names '../test/images' for test", yolo.read, path=tmp_path, strict=True)


def test_yolo_that_cannot_be_used_is_refused(lines):
    label = lines / "labels/train/0.txt"

    def no(says, text):
        label.write_text(text)
        refused(says, yolo.read, path=lines)

    no("0.txt, line 2: there is no class 5, the classes are 0 to 1", "0 .5 .5 .1 .1\n5 .5 .5 .1 .1\n")
    no("line 1: '0 a b c d' is not made of numbers", "0 a b c d")
    no("line 1: 'inf .5 .5 .1 .1' is not made of numbers", "inf .5 .5 .1 .1")
    no("line 1: a class and a box or polygon in shares", "0 120 80 20 20")
    no("line 1: a class and a box or polygon in shares", "0 .5 .5 -.1 .1")
    no("line 1: a class and a box or polygon in shares", "0 .5 .5 .1")
    (lines / "data.yaml").write_text("names: [a, b\n")
    refused("data.yaml is no YAML that can be read", yolo.read, path=lines)
    (lines / "data.yaml").write_text("names: 3\ntrain: images/train\n")
    refused("must be a list, or numbers with their names", yolo.read, path=lines)
    (lines / "data.yaml").write_text("names: {a: b}\ntrain: images/train\n")
    refused("the numbers of classes are 0, 1, ..., not 'a'", yolo.read, path=lines)
    refused("there is no file or folder", yolo.read, path=lines / "none")
    (lines / "labels").rename(lines / "texts")
    (lines / "data.yaml").write_text("names: [a, b]\n")
    refused("no picture has a text file of labels", yolo.read, path=lines)


def parquet(path: Path, columns: dict, features: dict | None = None) -> Path:
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({b"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def cells(count: int, start: int = 0) -> list[dict]:
    return [{"bytes": png(texture(start + i)), "path": f"{start + i}.png"} for i in range(count)]


def test_parquet_as_datasets_writes_it(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "photo": datasets.Image(),
            "label": datasets.ClassLabel(names=["good", "pit"]),
            "mask": datasets.Image(),
            "objects": {
                "bbox": datasets.List(datasets.List(datasets.Value("float32"))),
                "category": datasets.List(datasets.ClassLabel(names=["pit", "rim"])),
            },
        }
    )
    for part, start in (("train", 0), ("test", 4)):
        rows = {
            "photo": [texture(start + i, mode="RGB") for i in range(4)],
            "label": [0, 1, 0, 1],
            "mask": [None, spot((40, 40), (3, 5, 7, 9))] * 2,
            "objects": [{"bbox": [], "category": []}, {"bbox": [[3, 5, 7, 9], [20, 20, 4, 4]], "category": [0, 1]}] * 2,
        }
        datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / f"data/{part}-00000-of-00001.parquet"))
    table = image_parquet.read(tmp_path, size=40)
    assert table["class"].to_pylist() == ["good", "pit"] * 4
    assert table["split"].to_pylist() == ["holdout"] * 4 + ["train"] * 4
    assert table["objects"].to_pylist()[1] == {"bbox": [[3, 5, 7, 9], [20, 20, 4, 4]], "category": ["pit", "rim"]}
    held = decoded(table)
    assert held.masked.all() and held.channels == 3 and held.boxes(1) == (3, 5, 7, 9)
    assert (held.pixels[4] == np.asarray(texture(0, mode="RGB"))).all()
    assert recognise(tmp_path) == {"use": "image_parquet", "path": str(tmp_path)}


def test_what_a_reader_gives_can_be_read_again(tmp_path):
    first = image_parquet.read(
        parquet(tmp_path / "a.parquet", {"image": cells(4), "class": ["a", "b"] * 2, "part": ["p", "q"] * 2}), size=40
    )
    pq.write_table(first, tmp_path / "b.parquet")
    again = image_parquet.read(tmp_path / "b.parquet", size=40)
    assert again.drop_columns("source").equals(first.drop_columns("source")) and first["group"].to_pylist() == ["p", "q"] * 2


def test_parquet_with_plain_bytes_numbers_and_lists_of_objects(tmp_path):
    boxes = [[], [{"bbox": [1.0, 2.0, 5.0, 5.0], "category": 1}], [{"bbox": [1.0, 2.0, 5.0, 5.0], "category": 0}], []]
    columns = {"image": [png(texture(i)) for i in range(4)], "objects": boxes}
    features = {"objects": [{"bbox": {}, "category": {"_type": "ClassLabel", "names": ["pit", "rim"]}}]}
    table = image_parquet.read(parquet(tmp_path / "x.parquet", columns, features), size=40)
    assert table["class"].to_pylist() == ["normal", "rim", "pit", "normal"]
    assert "split" not in table.column_names and decoded(table).boxes(1) == (1, 2, 5, 5)
    table = image_parquet.read(parquet(tmp_path / "x.parquet", {"image": columns["image"], "label": [3, 4, 3, 4]}), size=40)
    assert table["class"].to_pylist() == ["3", "4", "3", "4"]


def test_parquet_where_masks_decide_and_stated_columns(tmp_path):
    masks = [{"bytes": png(spot((40, 40), (1, 1, 4, 4 * (i % 2)))), "path": None} for i in range(4)]
    file = parquet(
        tmp_path / "x.parquet", {"pic": cells(4), "gt": masks, "kind": ["a", "b"] * 2, "side": ["train", "test"] * 2}
    )
    table = image_parquet.read(file, image_column="pic", mask_column="gt", split_column="side", size=40)
    assert table["class"].to_pylist() == ["normal", "defect"] * 2 and table["split"].to_pylist() == ["train", "holdout"] * 2
    assert image_parquet.read(file, image_column="pic", class_column="kind", size=40)["class"].to_pylist() == ["a", "b"] * 2
    refused("there is no column 'x'; the columns are pic, gt", image_parquet.read, path=file, image_column="x")


def test_parquet_leaves_out_what_is_drawn_unnamed_or_damaged(tmp_path):
    columns = {"image": cells(6), "label": [0, 1, -1, 0, 1, 1], "is_synthetic": [False] * 5 + [True]}
    columns["image"][3] = {"bytes": b"x", "path": "3.png"}
    put(tmp_path / "beside.png", texture(4))
    columns["image"][4] = {"bytes": None, "path": "beside.png"}
    file = parquet(tmp_path / "x.parquet", columns, {"label": {"_type": "ClassLabel", "names": ["a", "b"]}})
    table = image_parquet.read(file, size=40)
    assert table["class"].to_pylist() == ["a", "b", "b"] and table["source"].to_pylist()[-1] == "beside.png"
    said = notices(table)
    assert "being marked as synthetic: 1" in said and "being without a class: 1" in said and "3.png (cannot be read" in said
    refused("rows without a class: 1; remove them", image_parquet.read, path=file, strict=True)


def test_parquet_that_cannot_be_used_is_refused(tmp_path):
    file = tmp_path / "x.parquet"
    names = {"label": {"_type": "ClassLabel", "names": ["a", "b"]}}
    refused("there is no file or folder", image_parquet.read, path=file)
    refused("holds no .parquet file", image_parquet.read, path=tmp_path)
    parquet(file, {"image": cells(2), "label": [0, 5]}, names)
    refused("row 2: there is no class 5, 'label' has 2 names", image_parquet.read, path=file)
    parquet(file, {"image": cells(2)})
    refused("has no column of classes", image_parquet.read, path=file)
    parquet(file, {"a": [1, 2], "label": ["a", "b"]})
    refused("has no column of pictures", image_parquet.read, path=file)
    assert recognise(file) is None
    parquet(file, {"image": cells(2), "objects": [{"bbox": [[1.0, 2.0]], "category": ["a"]}] * 2})
    refused("its objects need four numbers", image_parquet.read, path=file)
    parquet(tmp_path / "a.parquet", {"image": cells(2), "label": ["a", "b"]})
    parquet(file, {"a": [1, 2], "label": ["a", "b"]})
    refused("x.parquet has no column 'image', which a.parquet has", image_parquet.read, path=tmp_path)
    file.write_bytes(b"no parquet")
    refused("cannot be read as Parquet", image_parquet.read, path=file)
    assert recognise(file) is None
