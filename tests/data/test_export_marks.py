"""Do masks, boxes and defects without either leave as what they are?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from data import contours
from data.errors import DataError
from data.export import export, instances
from tests.data.exporting import SCHEMA, coco, filled, one, painted, ring, with_boxes, yolo


def test_boxes_without_masks_and_several_classes_on_one_picture(tmp_path):
    rows = with_boxes(one(None), [[2.0, 3.0, 5.5, 4.0], [0.0, 0.0, 3.0, 3.0]], ["scratch", "burr"])
    done = export([rows], "coco", tmp_path / "coco", schema=SCHEMA, normal="normal")
    assert done.classes == ("scratch", "pit", "stain", "burr")
    first, second = coco(tmp_path / "coco")["annotations"]
    assert (first["bbox"], first["segmentation"], first["area"]) == ([2, 3, 5.5, 4], [], 22)
    assert second["category_id"] == 4
    export([rows], "yolo", tmp_path / "yolo", schema=SCHEMA, normal="normal")
    ((_, lines),) = yolo(tmp_path / "yolo")
    assert [int(line[0]) for line in lines] == [0, 3]
    assert np.allclose(lines[0][1:], [4.75 / 20, 5 / 20, 5.5 / 20, 4 / 20], atol=1e-5)


def test_parts_of_a_mask_go_to_the_box_they_lie_in():
    mask = np.zeros((30, 30), bool)
    mask[2:5, 2:5] = mask[7:9, 2:5] = mask[20:25, 20:25] = mask[12, 28] = True
    objects = {"bbox": [[1, 1, 6, 9], [19.5, 20, 5.5, 5], [0, 28, 2, 2]], "category": ["a", "b", "c"]}
    found = instances(mask, objects, "own")
    assert [i.category for i in found] == ["a", "b", "c", "own"]
    assert found[0].bbox == (1, 1, 6, 9)
    assert [0 if i.mask is None else int(i.mask.sum()) for i in found] == [15, 25, 0, 1]
    assert found[3].bbox == (28, 12, 1, 1)
    reaching = instances(mask, {"bbox": [[3, 2, 2, 3]], "category": ["a"]}, "own")
    assert reaching[0].bbox == (2, 2, 3, 3), "a box that cuts its object is replaced by the object's own"


@pytest.mark.parametrize("to", ["coco", "yolo"])
def test_an_unmarked_defect_is_left_out_where_it_would_pass_for_a_good_picture(tmp_path, to):
    good, bare, empty = one(ring(), level="normal"), one(None, name="b"), one(np.zeros((20, 20), bool), name="c")
    marked = one(ring(), name="d")
    done = export([good, bare, empty, marked], to, tmp_path / "out", schema=SCHEMA, normal="normal")
    assert (done.pictures, done.unmarked) == (2, 2) and done.objects >= 1
    every = export([good, bare, empty, marked], "folder", tmp_path / "folder", schema=SCHEMA, normal="normal")
    assert (every.pictures, every.unmarked) == (4, 2)
    with pytest.raises(DataError, match="nothing is marked on any of 2 pictures of defects"):
        export([good, bare, empty], to, tmp_path / "none", schema=SCHEMA, normal="normal")
    assert not (tmp_path / "none").exists()
    unknown = export([bare, marked], to, tmp_path / "unknown", schema=SCHEMA)
    assert (unknown.pictures, unknown.unmarked) == (2, 1)


@given(
    st.integers(1, 9).flatmap(
        lambda w: st.lists(st.lists(st.booleans(), min_size=w, max_size=w), min_size=1, max_size=9)
    )
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_outlines_and_run_lengths_give_any_mask_back(rows):
    mask = np.array(rows)
    found = contours.outlines(mask)
    assert np.array_equal(filled(found, mask.shape), mask)
    assert sum(contours.area(outline) for outline in found) == mask.sum()
    assert np.array_equal(painted(contours.run_lengths(mask), mask.shape), mask)
    if found:
        assert np.array_equal(filled([contours.joined(found)], mask.shape), mask)
    holes = ndimage.label(np.pad(~mask, 1, constant_values=True), np.ones((3, 3)))[1] - 1
    assert (contours.polygons(mask) is None) == (holes > 0)
    assert sum(contours.area(outline) > 0 for outline in found) == ndimage.label(mask)[1]
