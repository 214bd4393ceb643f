"""Is what leaves as COCO, YOLO or folders the same pictures, masks and boxes when it is read back by plain parsing?"""

import csv
import io
import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from scipy import ndimage

from data import export_formats
from data.dataset import Dataset
from data.errors import DataError
from data.export import export
from data.images import box, decode, pictures, schema
from data.samples import surfaces
from data.sources import coco as coco_source
from data.sources import image_folder, image_index
from data.sources import yolo as yolo_source
from tests.data.exporting import CLASSES, SCHEMA, coco, filled, one, painted, ring, with_boxes, yolo


def marked(table, synthetic=True):
    return table.append_column("is_synthetic", pa.array([synthetic] * table.num_rows))


@pytest.fixture(scope="module")
def table():
    return marked(surfaces.draw({"normal": 3, "scratch": 4, "pit": 4, "stain": 3}, size=48, seed=6))


@pytest.fixture(scope="module")
def known(table):
    return pictures(Dataset(table.drop_columns(["is_synthetic"]), SCHEMA))


def test_coco_round_trip(table, known, tmp_path):
    done = export(table.to_batches(max_chunksize=5), "coco", tmp_path / "out", schema=SCHEMA, normal="normal", license="MIT")
    value = coco(tmp_path / "out")
    assert [c["name"] for c in value["categories"]] == list(done.classes) == ["scratch", "pit", "stain"]
    assert [c["id"] for c in value["categories"]] == [1, 2, 3]
    assert (done.pictures, done.objects, done.unmarked) == (14, len(value["annotations"]), 0)
    assert value["licenses"] == [{"id": 1, "name": "MIT", "url": ""}]
    assert sorted(p.name for p in (tmp_path / "out/images/train").iterdir()) == sorted(i["file_name"] for i in value["images"])
    numbers = [a["id"] for a in value["annotations"]]
    assert len(set(numbers)) == len(numbers)
    for i, image in enumerate(value["images"]):
        pixels = decode((tmp_path / "out/images/train" / image["file_name"]).read_bytes())
        assert np.array_equal(pixels, known.pixels[i])
        assert (image["width"], image["height"]) == (48, 48)
        assert image["class"] == known.classes[known.labels[i]]
        assert image["is_synthetic"] is True
        assert (image["seed"], image["source"], image["license"]) == (6, known.sources[i], 1)
        own = [a for a in value["annotations"] if a["image_id"] == image["id"]]
        shapes = [painted(a["segmentation"], (48, 48)) for a in own]
        assert np.array_equal(np.any([np.zeros((48, 48), bool), *shapes], axis=0), known.masks[i])
        for a, shape in zip(own, shapes, strict=True):
            assert value["categories"][a["category_id"] - 1]["name"] == image["class"]
            ys, xs = np.nonzero(shape)
            assert a["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert a["area"] == shape.sum()
            assert a["iscrowd"] == 0


def test_coco_says_holes_by_run_lengths_and_diagonal_pixels_by_two_polygons(tmp_path):
    two = np.zeros((20, 20), bool)
    two[3, 3] = two[4, 4] = True
    export([one(ring()), one(two, name="b")], "coco", tmp_path / "out", schema=SCHEMA)
    first, second = coco(tmp_path / "out")["annotations"]
    assert isinstance(first["segmentation"], dict)
    assert np.array_equal(painted(first["segmentation"], (20, 20)), ring())
    assert len(second["segmentation"]) == 2
    assert np.array_equal(painted(second["segmentation"], (20, 20)), two)


def test_polygons_drawn_by_another_library_agree(tmp_path, table, known):
    export(table.to_batches(), "coco", tmp_path / "out", schema=SCHEMA, normal="normal")
    for a in coco(tmp_path / "out")["annotations"]:
        if isinstance(a["segmentation"], dict):
            continue
        mask = known.masks[a["image_id"] - 1]
        many = 16
        page = Image.new("1", (48 * many, 48 * many))
        for flat in a["segmentation"]:
            from PIL import ImageDraw

            ImageDraw.Draw(page).polygon([v * many for v in flat], fill=1)
        drawn = np.asarray(page, dtype=float).reshape(48, many, 48, many).mean(axis=(1, 3)) > 0.5
        x, y, w, h = (int(v) for v in a["bbox"])
        assert (drawn & mask).sum() / drawn.sum() >= 0.95
        assert drawn[y : y + h, x : x + w].sum() == drawn.sum()


def test_yolo_boxes_round_trip(table, known, tmp_path):
    from ruamel.yaml import YAML

    done = export(table.to_batches(), "yolo", tmp_path / "out", schema=SCHEMA, normal="normal")
    head = YAML(typ="safe").load((tmp_path / "out/data.yaml").read_text())
    assert head["names"] == dict(enumerate(done.classes)) == {0: "scratch", 1: "pit", 2: "stain"}
    assert (head["nc"], head["train"], head["val"]) == (3, "images/train", "images/train")
    seen = dict(yolo(tmp_path / "out"))
    where = {f"{known.classes[k]}_{n:05d}.png": i for i, (k, n) in enumerate(_numbered(known))}
    assert len(seen) == 14
    for path, rows in seen.items():
        i = where[path.name]
        assert np.array_equal(decode(path.read_bytes()), known.pixels[i])
        parts, _ = ndimage.label(known.masks[i], np.ones((3, 3)))
        expected = sorted((x.start, y.start, x.stop - x.start, y.stop - y.start) for y, x in ndimage.find_objects(parts))
        got = sorted(tuple((np.array([cx - w / 2, cy - h / 2, w, h]) * 48).round(3)) for _, cx, cy, w, h in rows)
        assert np.allclose(got or 0, expected or 0, atol=1e-2)
        assert {int(row[0]) for row in rows} <= {known.labels[i] - 1}


def _numbered(known):
    count = Counter()
    for label in known.labels:
        yield label, count[label]
        count[label] += 1


def test_yolo_polygons_round_trip_with_holes_and_parts(table, known, tmp_path):
    export([*table.to_batches()], "yolo", tmp_path / "out", schema=SCHEMA, normal="normal", shape="polygon")
    where = {f"{known.classes[k]}_{n:05d}": i for i, (k, n) in enumerate(_numbered(known))}
    for path, rows in yolo(tmp_path / "out"):
        drawn = filled([np.array(row[1:]).reshape(-1, 2) * 48 for row in rows], (48, 48))
        mask = known.masks[where[path.stem]]
        assert (drawn & mask).sum() >= 0.95 * (drawn | mask).sum()
    export([one(ring())], "yolo", tmp_path / "ring", schema=SCHEMA, shape="polygon")
    ((_, rows),) = yolo(tmp_path / "ring")
    assert len(rows) == 1
    assert np.array_equal(filled([np.array(rows[0][1:]).reshape(-1, 2) * 20], (20, 20)), ring())


def test_yolo_keeps_the_division_of_the_source(tmp_path):
    rows = pa.Table.from_batches([one(ring(), name=name) for name in "abc"])
    rows = rows.append_column("split", pa.array(["train", "holdout", "val"]))
    export(rows.to_batches(), "yolo", tmp_path / "out", schema=SCHEMA)
    assert [[p.name for p, _ in yolo(tmp_path / "out", split)] for split in ("train", "val", "test")] == [
        ["a.png"], ["c.png"], ["b.png"],
    ]  # fmt: skip
    text = (tmp_path / "out/data.yaml").read_text()
    assert "test: images/test" in text
    assert "val: images/val\n" in text
    bad = rows.set_column(rows.schema.names.index("split"), "split", pa.array(["train", "monday", "val"]))
    with pytest.raises(DataError, match="the split 'monday'"):
        export(bad.to_batches(), "yolo", tmp_path / "bad", schema=SCHEMA)


def divided():
    """Two real pictures of train, one of the holdout, one drawn."""
    rows = pa.Table.from_batches([one(ring(), name=name) for name in "abcd"])
    rows = rows.append_column("split", pa.array(["train", "train", "holdout", "train"]))
    return rows.append_column("is_synthetic", pa.array([False, False, False, True])).to_batches()


def test_the_holdout_stands_apart_and_what_was_drawn_can_be_told(tmp_path):
    done = export(divided(), "coco", tmp_path / "coco", schema=SCHEMA)
    assert done.parts == {"train": {"scratch": {"real": 2, "synthetic": 1}}, "holdout": {"scratch": {"real": 1}}}
    train, holdout = coco(tmp_path / "coco"), coco(tmp_path / "coco", "holdout")
    told = [[(i["file_name"], i["split"], i["is_synthetic"]) for i in value["images"]] for value in (train, holdout)]
    assert told == [
        [("a.png", "train", False), ("b.png", "train", False), ("d.png", "train", True)],
        [("c.png", "holdout", False)],
    ]
    assert train["categories"] == holdout["categories"]
    assert not {i["id"] for i in train["images"]} & {i["id"] for i in holdout["images"]}
    assert [p.name for p in (tmp_path / "coco/images/holdout").iterdir()] == ["c.png"]
    export(divided(), "yolo", tmp_path / "yolo", schema=SCHEMA)
    assert [p.name for p, _ in yolo(tmp_path / "yolo", "test")] == ["c.png"]
    assert (tmp_path / "yolo/train_real.txt").read_text() == "./images/train/a.png\n./images/train/b.png\n"
    assert (tmp_path / "yolo/train_synthetic.txt").read_text() == "./images/train/d.png\n"
    done = export(divided(), "folder", tmp_path / "folder", schema=SCHEMA)
    assert {p.relative_to(tmp_path / "folder").as_posix() for p in (tmp_path / "folder").rglob("c.png")} == {
        "holdout/scratch/c.png", "masks/holdout/scratch/c.png",
    }  # fmt: skip
    assert json.loads((tmp_path / "folder/export.json").read_text())["parts"] == done.parts


@pytest.mark.parametrize("to", ["coco", "yolo", "folder"])
def test_our_readers_take_the_division_back(to, tmp_path):
    export(divided(), to, tmp_path / "out", schema=SCHEMA, shape="polygon")
    readers = {"coco": [coco_source], "yolo": [yolo_source], "folder": [image_index, image_folder]}
    for reader in readers[to]:
        back = reader.read(tmp_path / "out", size=20, near_duplicates=False, few=True)
        parts = {row["source"].rpartition("/")[2]: row["split"] for row in back.to_pylist()}
        # YOLO's tools need a `val`, so there the holdout stands for it as well.
        assert parts == {
            "a.png": "train",
            "b.png": "train",
            "c.png": "reference" if to == "yolo" else "holdout",
            "d.png": "train",
        }
        assert all(decode(row["mask"]["bytes"]).any() for row in back.to_pylist())


def test_the_holdout_is_never_named_as_what_to_train_on(tmp_path):
    rows = pa.Table.from_batches([one(ring())]).append_column("split", pa.array(["holdout"]))
    export(rows.to_batches(), "yolo", tmp_path / "out", schema=SCHEMA)
    assert not [line for line in (tmp_path / "out/data.yaml").read_text().splitlines() if line.startswith("train:")]


def test_folder_round_trip(table, known, tmp_path):
    done = export(table.to_batches(), "folder", tmp_path / "out", schema=SCHEMA)
    assert done.classes == CLASSES
    with (tmp_path / "out/index.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:7] == ["image", "class", "mask", "group", "source", "seed", "is_synthetic"]
    first = {row["image"]: row for row in rows}
    assert len(first) == 14
    for i, row in enumerate(first.values()):
        x, y, w, h = box(known.masks[i]) or (0, 0, 0, 0)
        corners = [[float(r[k] or 0) for k in ("left", "top", "right", "bottom")] for r in rows if r["image"] == row["image"]]
        low, high = np.min(corners, axis=0)[:2], np.max(corners, axis=0)[2:]
        assert [*low, *high] == [x, y, x + w, y + h], "the boxes are those of the mask"
        assert row["image"].split("/")[0] == row["class"] == known.classes[known.labels[i]]
        assert np.array_equal(decode((tmp_path / "out" / row["image"]).read_bytes()), known.pixels[i])
        assert np.array_equal(decode((tmp_path / "out" / row["mask"]).read_bytes())[..., 0] == 255, known.masks[i])
        assert (row["group"], row["source"]) == (known.groups[i], known.sources[i])
        assert (row["seed"], row["is_synthetic"]) == ("6", "True")


def test_folder_has_a_row_for_each_box(tmp_path):
    rows = [
        with_boxes(one(None), [[2.0, 3.0, 5.5, 4.0], [0.0, 0.0, 3.0, 3.0]], ["scratch"] * 2),
        one(ring(), name="b", level="pit"),
    ]
    export(rows, "folder", tmp_path / "out", schema=SCHEMA)
    with (tmp_path / "out/index.csv").open(newline="") as file:
        first, second, third = csv.DictReader(file)
    assert [first[k] for k in ("left", "top", "right", "bottom")] == ["2", "3", "7.5", "7"]
    assert first["image"] == second["image"] == "scratch/a.png"
    assert (first["mask"], third["mask"]) == ("", "masks/pit/b.png")
    assert [third[k] for k in ("left", "top", "right", "bottom")] == ["4", "4", "17", "17"]
    back = image_index.read(tmp_path / "out", size=20, near_duplicates=False)
    assert back.num_rows == 2
    place = back["class"].to_pylist().index("scratch")
    assert back["objects"].to_pylist()[place]["bbox"] == [[2, 3, 5.5, 4], [0, 0, 3, 3]]


def test_without_a_box_the_index_has_no_columns_for_them(tmp_path):
    export([one(None), one(None, name="b, c")], "folder", tmp_path / "out", schema=SCHEMA)
    head, first, second = list(csv.reader((tmp_path / "out/index.csv").open(newline="")))
    assert head[-1] == "split"
    assert len(head) == len(first) == len(second)


@pytest.mark.parametrize(
    ("to", "more", "reader"),
    [
        ("coco", {}, coco_source),
        ("yolo", {"shape": "polygon"}, yolo_source),
        ("yolo", {"shape": "box"}, yolo_source),
        ("folder", {}, image_index),
        ("folder", {}, image_folder),
    ],
)
def test_our_own_readers_read_it_back(table, known, tmp_path, to, more, reader):
    export(table.to_batches(), to, tmp_path / "out", schema=SCHEMA, normal="normal", **more)
    back = reader.read(tmp_path / "out", size=48, near_duplicates=False, strict=True)
    seen = pictures(Dataset(back.select(SCHEMA.names), SCHEMA))
    keys = {pixels.tobytes(): i for i, pixels in enumerate(known.pixels)}
    order = [keys[pixels.tobytes()] for pixels in seen.pixels]
    assert sorted(order) == list(range(len(known))), "each picture once, its pixels untouched"
    for i, k in enumerate(order):
        assert seen.classes[seen.labels[i]] == known.classes[known.labels[k]]
        if more.get("shape") == "box":
            assert np.array_equal(seen.masks[i], boxed(known.masks[k]))
        else:
            both, either = (seen.masks[i] & known.masks[k]).sum(), (seen.masks[i] | known.masks[k]).sum()
            assert both >= (0.95 if to == "yolo" else 1.0) * either
        if reader is image_index:
            assert seen.groups[i] == known.groups[k]


def boxed(mask):
    out = np.zeros_like(mask)
    for y, x in ndimage.find_objects(ndimage.label(mask, np.ones((3, 3)))[0]):
        out[y, x] = True
    return out


def test_the_same_rows_give_the_same_bytes(table, tmp_path):
    for to in ("coco", "yolo", "folder"):
        for name, size in (("one", 3), ("two", 100)):
            export(table.to_batches(max_chunksize=size), to, tmp_path / to / name, schema=SCHEMA)
        one, two = (
            {p.relative_to(tmp_path / to / name): p.read_bytes() for p in (tmp_path / to / name).rglob("*") if p.is_file()}
            for name in ("one", "two")
        )
        assert one == two
        assert len(one) > 14


def test_no_name_leaves_the_folder_or_meets_another(tmp_path):
    names = ["../../evil", "/etc/passwd", "a", "A", "a", "a_2", "..", "CON", "x/y", "ü" * 200, "", "nul.tar"]
    rows = pa.Table.from_batches([one(None, name=name, level="..") for name in names])
    other = pa.Table.from_batches([one(None, name="n", level=level) for level in ("masks", "index.csv", "a/b", "a_b")])
    for to in ("coco", "yolo", "folder"):
        out = tmp_path / to / "out"
        export([*rows.to_batches(), *other.to_batches()], to, out, schema=schema(("..", "masks", "index.csv", "a/b", "a_b")))
        found = [p for p in (tmp_path / to).rglob("*") if p.suffix == ".png"]
        assert len(found) == 16
        assert all(out in p.parents for p in found)
        assert len({str(p).casefold() for p in found}) == 16
        assert not [p for p in found if p.stem.casefold().split(".")[0] in ("con", "nul")]
    folders = {p.name for p in (tmp_path / "folder/out").iterdir() if p.is_dir()}
    assert folders == {"picture", "masks_2", "index.csv_2", "a_b", "a_b_2"}


def test_other_encodings_stay_or_become_png(tmp_path):
    def cell(**how):
        out = io.BytesIO()
        image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (8, 12, 3)).astype(np.uint8))
        image.save(out, **how)
        return {"bytes": out.getvalue(), "path": "p"}

    turned = Image.Exif()
    turned[0x0112] = 6
    cells = [cell(format="JPEG"), cell(format="BMP"), cell(format="JPEG", exif=turned)]
    rows = pa.table({"image": cells, "mask": [None] * 3, "objects": [None] * 3, "class": ["pit"] * 3}).cast(
        pa.schema([SCHEMA.arrow().field(name) for name in ("image", "mask", "objects", "class")])
    )
    export(rows.to_batches(), "coco", tmp_path / "out", schema=SCHEMA)
    images = coco(tmp_path / "out")["images"]
    assert [i["file_name"].rpartition(".")[2] for i in images] == ["jpg", "png", "png"]
    assert [(i["width"], i["height"]) for i in images] == [(12, 8), (12, 8), (8, 12)]
    for i, image in enumerate(images):
        assert np.array_equal(
            decode((tmp_path / "out/images/train" / image["file_name"]).read_bytes()), decode(cells[i]["bytes"])
        )
        assert "is_synthetic" not in image


def test_nothing_half_written_stays(table, tmp_path, monkeypatch):
    def broken():
        yield from table.slice(0, 5).to_batches()
        raise KeyboardInterrupt

    for to in ("coco", "yolo", "folder"):
        with pytest.raises(KeyboardInterrupt):
            export(broken(), to, tmp_path / "deep" / "out", schema=SCHEMA)
        assert not list((tmp_path / "deep").iterdir())
    monkeypatch.setattr(export_formats.Folder, "add", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DataError, match="No space left on device"):
        export(table.to_batches(), "folder", tmp_path / "deep" / "out", schema=SCHEMA)
    assert not list((tmp_path / "deep").iterdir())


def test_an_earlier_export_is_replaced_by_force_and_nothing_else_is(table, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    export(table.to_batches(), "folder", out, schema=SCHEMA)
    with pytest.raises(DataError, match=r"out is not empty; .*--force"):
        export(table.to_batches(), "coco", out, schema=SCHEMA)
    with pytest.raises(DataError, match="no picture to export"):
        export([], "coco", out, schema=SCHEMA, force=True)
    assert (out / "index.csv").exists(), "a failed export left the earlier one alone"
    export(table.to_batches(), "coco", out, schema=SCHEMA, force=True)
    assert sorted(p.name for p in out.iterdir()) == ["annotations", "export.json", "images"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years")
    with pytest.raises(DataError, match="other files than an earlier export"):
        export(table.to_batches(), "coco", tmp_path / "mine", schema=SCHEMA, force=True)
    assert (tmp_path / "mine/thesis.txt").read_text() == "years"
    with pytest.raises(DataError, match="is a file"):
        export(table.to_batches(), "coco", tmp_path / "mine/thesis.txt", schema=SCHEMA, force=True)


def test_refusals_name_the_picture(tmp_path):
    good = one(ring())
    place = good.schema.names.index("mask")
    small = good.set_column(place, "mask", one(np.ones((4, 4), bool), size=4).column("mask"))
    torn = good.set_column(0, "image", pa.array([{"bytes": b"\x89PNG torn", "path": "t.png"}], good.schema.field(0).type))
    none = good.set_column(0, "image", pa.array([{"bytes": None, "path": "t.png"}], good.schema.field(0).type))
    for rows, said in (
        (small, r"picture 1 \(a\) is 20 x 20 pixels, its mask 4 x 4"),
        (torn, r"picture 1 \(t\): the picture cannot be read"),
        (none, r"picture 1 \(t\) has no bytes"),
        (pa.record_batch({"x": [1]}), "no column 'image'"),
    ):
        with pytest.raises(DataError, match=said):
            export([rows], "coco", tmp_path / "out", schema=SCHEMA)
    with pytest.raises(DataError, match="coco, yolo or folder, not to 'voc'"):
        export([good], "voc", tmp_path / "out", schema=SCHEMA)
    with pytest.raises(DataError, match="no pictures"):
        export([], "coco", tmp_path / "out", schema=Dataset.from_arrow(pa.table({"x": [1, 2]})).schema)
    assert not list(tmp_path.iterdir())
