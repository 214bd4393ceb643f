"""Does a picture of any mode come to the same pixels, and do mask and boxes move exactly as their picture does?"""

import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data import images
from data.dataset import Dataset
from data.errors import DataError
from data.images import batch, decode, encode, fitted, fitted_boxes, fitted_mask, opened, parts_of, pictures, schema, to_mask

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
GRAY = Image.fromarray(RAMP)
RGB = Image.merge("RGB", (GRAY, GRAY.rotate(90), GRAY.rotate(180)))


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format=kind, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (saved(Image.fromarray(RAMP > 100)), (RAMP > 100) * 255),
        (saved(Image.fromarray(RAMP > 100), "TIFF"), (RAMP > 100) * 255),
        (saved(GRAY), RAMP),
        (saved(Image.merge("LA", (GRAY, Image.new("L", (16, 16), 51)))), RAMP / 5),
        (saved(GRAY, transparency=255), np.where(RAMP == 255, 0, RAMP)),
        (saved(Image.fromarray(RAMP * np.uint16(257))), RAMP),
        (saved(Image.fromarray(RAMP * np.uint16(257)), transparency=0), RAMP),
        (saved(Image.fromarray(RAMP * np.uint16(257)), "TIFF"), RAMP),
        (saved(Image.fromarray(RAMP.astype(np.int32)), "TIFF"), RAMP),
        (saved(Image.fromarray(RAMP * np.int32(100_000) - 7), "TIFF"), RAMP),
        (saved(Image.fromarray(RAMP.astype(np.float32) / 255), "TIFF"), RAMP),
        (saved(Image.fromarray(RAMP.astype(np.float32)), "TIFF"), RAMP),
        (saved(Image.fromarray(RAMP * np.float32(9) - 100), "TIFF"), RAMP),
        (saved(Image.fromarray(np.where(RAMP == 0, np.nan, RAMP).astype(np.float32)), "TIFF"), np.maximum(RAMP, 1)),
        (saved(Image.fromarray(np.where(RAMP == 255, np.inf, RAMP).astype(np.float32)), "TIFF"), np.minimum(RAMP, 254)),
        (saved(Image.fromarray(np.full((16, 16), 7, np.float32)), "TIFF"), np.full((16, 16), 7)),
    ],
    ids=(
        "1 1-tiff L LA L-transparent I;16 I;16-transparent I;16-tiff I-8bit I F-unit F-bytes F-any F-nan F-inf F-constant"
    ).split(),
)
def test_gray_of_any_mode(data, wanted):
    pixels = decode(data)
    assert pixels.shape == (16, 16, 1)
    assert np.abs(pixels[:, :, 0] - np.asarray(wanted, dtype=float)).max() <= 1


@pytest.mark.parametrize(
    ("data", "wanted", "off"),
    [
        (saved(RGB), np.asarray(RGB), 0),
        (saved(Image.merge("RGBA", (*RGB.split(), Image.new("L", (16, 16), 51)))), np.asarray(RGB) / 5, 1),
        (saved(RGB.quantize(256)), np.asarray(RGB.quantize(256).convert("RGB")), 0),
        (saved(RGB.convert("CMYK"), "TIFF"), np.asarray(RGB), 1),
        (saved(RGB.convert("YCbCr"), "TIFF"), np.asarray(RGB), 5),
    ],
    ids="RGB RGBA P CMYK YCbCr".split(),
)
def test_colour_of_any_mode(data, wanted, off):
    pixels = decode(data)
    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels - np.asarray(wanted, dtype=float)).max() <= off


def test_a_palette_of_grays_is_gray_and_what_is_transparent_is_black():
    palette = GRAY.convert("RGB").quantize(16)
    assert decode(saved(palette)).shape == (16, 16, 1)
    index = int(np.asarray(palette)[8, 8])
    clear = decode(saved(palette, transparency=index))[:, :, 0]
    assert not clear[np.asarray(palette) == index].any() and clear[np.asarray(palette) != index].any()
    half = decode(saved(palette, transparency=bytes([255] * index + [0])))[:, :, 0]
    assert (half == clear).all()


def test_a_mode_can_be_asked_for_and_twelve_bits_reach_white():
    assert images.to_pixels(RGB, "gray").shape == (16, 16, 1)
    assert (images.to_pixels(GRAY, "rgb") == RAMP[:, :, None]).all()
    twelve = Image.fromarray(RAMP * np.uint16(16))
    assert images.to_pixels(twelve).max() == 16
    assert np.abs(images.to_pixels(twelve, top=4080)[:, :, 0].astype(int) - RAMP).max() <= 1


def test_a_picture_is_turned_as_its_camera_says():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(RGB.resize((32, 16)), exif=exif)
    upright = decode(data)
    assert upright.shape == (32, 16, 3)
    lying = images.to_pixels(opened(data, upright=False))
    assert (upright == np.rot90(lying, -1)).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP"])
def test_damaged_bytes_are_refused_or_read_but_nothing_else(kind):
    rng = np.random.default_rng(0)
    whole = saved(RGB, kind)
    refused = 0
    for _ in range(60):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 4):
            data[place] = rng.integers(256)
        try:
            decode(bytes(data[: int(rng.integers(1, len(data)))]))
        except DataError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 30
    with pytest.raises(DataError, match="it is empty"):
        decode(b"")
    with pytest.raises(DataError, match="it is no picture"):
        decode(b"x")


def test_the_same_pixels_give_the_same_bytes_and_come_back():
    for pixels in (RAMP[:, :, None], np.asarray(RGB)):
        assert encode(pixels) == encode(pixels.copy())
        assert (decode(encode(pixels)) == pixels).all()
    assert images.key(RAMP[:, :, None]) != images.key(RAMP.reshape(32, 8, 1))


MARK = RAMP > 200


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(MARK),
        Image.fromarray(MARK * np.uint8(255)),
        Image.fromarray(MARK * np.uint8(3)),
        Image.fromarray(MARK * np.uint16(65535)),
        Image.fromarray(MARK * np.uint16(900)),
        Image.fromarray(MARK.astype(np.float32)),
        Image.merge("RGB", (Image.fromarray(MARK * np.uint8(255)), *[Image.new("L", (16, 16))] * 2)),
        Image.merge("RGBA", (*[Image.fromarray(MARK * np.uint8(255))] * 3, Image.new("L", (16, 16), 255))),
        Image.merge("LA", (Image.new("L", (16, 16)), Image.fromarray(MARK * np.uint8(255)))),
    ],
    ids="1 L labels I;16 I;16-labels F red RGBA alpha".split(),
)
def test_masks_of_any_mode_mark_the_same(image):
    assert (to_mask(image) == MARK).all()


def test_a_palette_of_labels_and_a_lossy_mask():
    palette = Image.fromarray(MARK * np.uint8(2), "P")
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 100, 0])
    assert (to_mask(opened(saved(palette))) == MARK).all()
    assert not to_mask(opened(saved(Image.fromarray(RAMP // 64), "JPEG"))).any()
    assert not to_mask(opened(saved(Image.fromarray(RAMP * 0)))).any()


@pytest.mark.parametrize("how", ["letterbox", "crop", "stretch"])
@pytest.mark.parametrize("shape", [(40, 24), (24, 40), (32, 32), (7, 5)])
def test_picture_mask_and_box_move_together(how, shape):
    h, w = shape
    y, x, side = h // 2 - 2, w // 2 - 2, 4
    pixels = np.zeros((h, w, 3), dtype=np.uint8)
    pixels[y : y + side, x : x + side] = 255
    bright = fitted(pixels, 64, how)
    mask = fitted_mask(pixels[:, :, 0] > 0, 64, how)
    (where,) = fitted_boxes([(x, y, side, side)], h, w, 64, how)
    assert bright.shape == (64, 64, 3) and mask.shape == (64, 64)
    found = images.box(bright[:, :, 0] > 127)
    assert found is not None and where is not None
    assert np.abs(np.subtract(found, where)).max() <= 1
    assert np.abs(np.subtract(images.box(mask), where)).max() <= 1


def test_the_three_fits():
    wide = np.full((10, 30, 1), 90, dtype=np.uint8)
    wide[:, :10], wide[:, 20:] = 10, 170
    assert (fitted(wide, 10, "crop") == 90).all()
    assert fitted(wide, 30, "stretch").shape == (30, 30, 1)
    boxed = fitted(wide, 30, "letterbox")
    assert (boxed[10:20] == wide).all()
    assert (boxed[:10] == 90).all()  # the mean of the border
    assert fitted(wide[:, :10], 10, "letterbox") is not wide and (fitted(wide[:, :10], 10, "letterbox") == wide[:, :10]).all()


def test_boxes_cut_away_and_clipped():
    assert fitted_boxes([(0, 0, 5, 5), (5, 0, 10, 4), (40, 0, 9, 9)], 20, 60, 20, "crop") == [None, None, None]
    assert fitted_boxes([(15, 2, 10, 4), (35, 0, 30, 20)], 20, 60, 40, "crop") == [
        [0.0, 4.0, 10.0, 8.0],
        [30.0, 0.0, 10.0, 40.0],
    ]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 10_000), st.sampled_from(["letterbox", "stretch"]))
def test_no_part_of_a_mask_vanishes(h, w, place, how):
    mask = np.zeros((h, w), dtype=bool)
    y, x = divmod(place % (h * w), w)
    mask[y, x] = True
    small = fitted_mask(mask, 8, how)
    (where,) = fitted_boxes([(x, y, 1, 1)], h, w, 8, how)
    box = images.box(small)
    assert box is not None and where is not None
    # What is left lies where the box of the pixel lies.
    assert abs(box[0] + box[2] / 2 - where[0] - where[2] / 2) <= 1 and abs(box[1] + box[3] / 2 - where[1] - where[3] / 2) <= 1


def test_a_pit_beside_a_large_mark_keeps_a_pixel():
    mask = np.zeros((256, 256), dtype=bool)
    mask[:128, :128] = True
    mask[200, 230] = True
    small = fitted_mask(mask, 32, "letterbox")
    assert small[:16, :16].all() and small[25, 28] and small.sum() == 257


def test_a_table_of_pictures_and_back():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (3, 16, 16, 1), dtype=np.uint8)
    masks = [np.zeros((16, 16), bool), None, MARK]
    rows = batch(
        pixels, ["good", "scratch", "scratch"], masks=masks, names=["a", "b", "c"], groups=[None, "p", "p"], seeds=[1, 2, None]
    )
    back = pictures(Dataset(pa.Table.from_batches([rows]), schema(["scratch", "good"])))
    assert (back.pixels == pixels).all() and back.masked.tolist() == [True, False, True]
    assert back.labels.tolist() == [1, 0, 0] and back.groups == (None, "p", "p")
    assert (back.masks[2] == MARK).all() and not back.masks[1].any()
    assert back.boxes(2) == (0, 12, 16, 4) and back.boxes(0) is None
    assert back.take([2, 0]).groups == ("p", None) and len(back.of("scratch")) == 2


def test_boxes_stand_in_for_a_mask_and_no_boxes_say_that_nothing_is_marked():
    rows = batch(np.zeros((3, 16, 16, 1), np.uint8), ["a", "b", "b"], names=["1", "2", "3"])
    objects = pa.array([{"bbox": [], "category": []}, None, {"bbox": [[2.5, 3, 4, 5]], "category": ["b"]}], images.BOXES)
    table = pa.Table.from_batches([rows]).set_column(2, "objects", objects)
    back = pictures(Dataset(table, schema(["b", "a"])))
    assert back.masked.tolist() == [True, False, True]
    assert back.boxes(2) == (2, 3, 5, 5) and not back.masks[:2].any()


def test_pictures_of_two_sizes_are_refused():
    two = [batch(np.zeros((1, n, n, 1), np.uint8), ["a"], names=["x"]) for n in (8, 16)]
    with pytest.raises(DataError, match="2 shapes"):
        pictures(Dataset(pa.Table.from_batches(two), schema(["a"])))


def test_connected_parts_touch_at_corners():
    mask = np.zeros((8, 8), bool)
    mask[0, 0] = mask[1, 1] = mask[5:7, 4:8] = True
    assert parts_of(mask, "pit") == {"bbox": [[0, 0, 2, 2], [4, 5, 4, 2]], "category": ["pit", "pit"]}


def test_good_parts_by_their_names():
    for name in (
        "good",
        "OK",
        "ok_front",
        "MT_Free",
        "defect-free",
        "No Defect",
        "Normal",
        "non-defective",
        "pass",
        "01_clean",
    ):
        assert images.good(["scratch", name]) == name
    for name in ("not ok", "no good", "abnormal", "broken", "defect", "bypass", "non_normal", "goods"):
        assert images.good([name]) is None


@pytest.mark.parametrize(
    ("classes", "named"),
    [
        (["crack", "no_crack"], "no_crack"),
        (["Cracked", "NonCracked"], "NonCracked"),
        (["Positive", "Negative"], "Negative"),
        (["Negative", "pit"], None),
        (["even", "notch"], None),
        (["defect", "NODefect_images"], "NODefect_images"),
        (["not_good", "bad"], None),
    ],
)
def test_a_class_that_is_what_another_one_is_not_is_the_good_one(classes: list[str], named: str | None) -> None:
    assert images.good(classes) == named
