"""Pictures to export, and plain parsing of what came out, for the tests of exports."""

import json

import numpy as np
import pyarrow as pa

from data.images import BOXES, batch, schema

CLASSES = ("normal", "scratch", "pit", "stain")
SCHEMA = schema(CLASSES)


def filled(polygons, shape):
    """Even-odd filling at the centres of the pixels; polygons: each (k, 2)."""
    h, w = shape
    out = np.zeros(shape, dtype=bool)
    y, x = np.arange(h)[:, None, None] + 0.5, np.arange(w)[None, :, None] + 0.5
    for corners in polygons:
        (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
        level = y0 == y1
        crossing = ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) * (x1 - x0) / np.where(level, 1, y1 - y0))
        out ^= (crossing.sum(axis=2) % 2).astype(bool)
    return out


def painted(segmentation, shape):
    if isinstance(segmentation, dict):
        h, w = segmentation["size"]
        runs = segmentation["counts"]
        return np.repeat(np.arange(len(runs)) % 2, runs).reshape(w, h).T.astype(bool)
    return filled([np.array(flat, dtype=float).reshape(-1, 2) for flat in segmentation], shape)


def ring(size=20):
    y, x = np.mgrid[:size, :size]
    d = np.hypot(y - size / 2, x - size / 2)
    return (d < 7) & (d > 3)


def one(mask, *, name="a", level="scratch", size=20, **more):
    pixels = np.random.default_rng(0).integers(0, 255, (1, size, size, 1)).astype(np.uint8)
    return batch(pixels, [level], masks=[mask], names=[name], **more)


def with_boxes(rows, boxes, names):
    cell = pa.array([{"bbox": boxes, "category": names}], BOXES)
    return rows.set_column(rows.schema.names.index("objects"), "objects", cell)


def coco(folder, part="train"):
    value = json.loads((folder / f"annotations/instances_{part}.json").read_text())
    assert list(value) == ["info", "licenses", "categories", "images", "annotations"]
    return value


def yolo(folder, split="train"):
    for path in sorted((folder / "images" / split).iterdir()):
        lines = (folder / "labels" / split / f"{path.stem}.txt").read_text().splitlines()
        yield path, [[float(v) for v in line.split()] for line in lines]
