"""How does a dataset of pictures leave for a tool that reads COCO, YOLO or plain folders?

The pictures stream through, so memory does not grow with them. All is written beside and moved into place at the end: a
stopped export leaves nothing behind."""

from __future__ import annotations

import io
import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from data.errors import DataError
from data.export_formats import MARKER, PARTS, Coco, Folder, Instance, Item, Names, Yolo, part_for
from data.images import CLASS, IMAGE, MARKED, MASK, OBJECTS, box, decode, encode, is_pictures
from data.schema import Schema

Array = np.ndarray
To = Literal["coco", "yolo", "folder"]
Shape = Literal["box", "polygon"]
Parts = dict[str, dict[str, dict[str, int]]]

SYNTHETIC, SPLIT = "is_synthetic", "split"
#: Who made it, in the file that tells an exported folder from one that a user filled.
MADE_BY = "counterpoise export"
#: Rows that are plain Python at one time.
ROWS = 64


@dataclass(frozen=True)
class Exported:
    """What lies in `folder`: `pictures`, `objects` marked on them, the `classes` that objects have in the order of their
    numbers, and how many pictures of a defect came `unmarked`, without mask and box: coco and yolo leave them out where good
    pictures are known. parts: train, val, holdout -> class ->
    real, synthetic or unknown -> pictures; places: where in `folder` a tool finds each part."""

    folder: Path
    to: str
    pictures: int
    objects: int
    classes: tuple[str, ...]
    unmarked: int
    parts: Parts
    places: Mapping[str, str]


def export(
    tables: Iterable[pa.RecordBatch],
    to: To,
    out: Path | str,
    *,
    schema: Schema,
    normal: str | None = None,
    shape: Shape = "box",
    force: bool = False,
    license: str | None = None,  # noqa: A002
    told: Callable[[int], None] | None = None,
) -> Exported:
    """Write pictures into the folder `out`, which must be empty or not there.

    tables: batches with the columns of `data.images.schema`, and if they have them `is_synthetic` and `split` (train,
    val or reference, test or holdout). normal: the class of good parts; nothing is marked on them and it is no category.
    shape: what YOLO's labels hold, boxes or polygons. force: replace an earlier export in `out`, and nothing else. license:
    the licence that COCO's annotations name. told: called with how many pictures are done.

    coco: images/<part>/ and annotations/instances_<part>.json for train, val and holdout, where a mask is polygons along its
    pixels' edges, or run lengths if it has holes.  yolo: images/<part>/, labels/<part>/ (train, val, test) and data.yaml.
    folder: <class>/<name>.png, masks/<class>/<name>.png, both below their part where rows state one, and index.csv.

    Raises DataError, and leaves `out` as it was, when the rows are no pictures, a picture or mask cannot be read, there is no
    picture, a split is none of the words above, or `out` cannot be used."""
    writers: dict[str, Callable[[Path], Coco | Yolo | Folder]] = {
        "coco": lambda folder: Coco(folder, _categories(schema, normal), license=license),
        "yolo": lambda folder: Yolo(folder, _categories(schema, normal), polygons=shape == "polygon"),
        "folder": lambda folder: Folder(folder),
    }
    if to not in writers:
        raise DataError(f"pictures are exported to coco, yolo or folder, not to {to!r}")
    if not is_pictures(schema):
        raise DataError("these rows are no pictures, and only pictures are exported; a table's Parquet files are its export")
    target = Path(out).expanduser().resolve()
    _check_target(target, force)
    beside = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}"
    writer = writers[to](beside)
    try:
        beside.mkdir(parents=True)
        result = _write(tables, writer, normal=normal, bare=to == "folder" or normal is None, told=told or (lambda done: None))
        (beside / MARKER).write_text(_marker(to, result), encoding="utf-8")
        _move(beside, target)
    except OSError as error:
        raise DataError(f"{target} cannot be written ({error.strerror or error}); free some space or choose another") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    places = {part: writer.place(part) for part in result.parts}
    return Exported(target, to, result.pictures, result.objects, tuple(result.classes), result.unmarked, result.parts, places)


@dataclass
class _Counts:
    pictures: int = 0
    objects: int = 0
    unmarked: int = 0
    classes: list[str] = field(default_factory=list)
    parts: Parts = field(default_factory=lambda: {part: {} for part in PARTS})

    def add(self, item: Item, normal: str | None) -> None:
        self.pictures += 1
        self.objects += len(item.instances)
        self.unmarked += not item.instances and item.level != normal
        origins = self.parts[item.part].setdefault(item.level, {})
        origins[item.origin] = origins.get(item.origin, 0) + 1


def _write(
    tables: Iterable[pa.RecordBatch],
    writer: Coco | Yolo | Folder,
    *,
    normal: str | None,
    bare: bool,
    told: Callable[[int], None],
) -> _Counts:
    """bare: write pictures of defects on which nothing is marked, too; a detector that knows good ones would learn that there
    is nothing on them."""
    counts, names = _Counts(), Names()
    with writer:
        for number, row in enumerate(_rows(tables)):
            item = _item(row, names, number=number, normal=normal)
            if not bare and not item.instances and item.level != normal:
                counts.unmarked += 1
                continue
            writer.add(item)
            counts.add(item, normal)
            if counts.pictures % ROWS == 0:
                told(counts.pictures)
        if not bare and counts.unmarked and not counts.objects:
            raise DataError(
                f"nothing is marked on any of {counts.unmarked} pictures of defects, so a detector would learn nothing from "
                "them; export to folder"
            )
        if not counts.pictures:
            raise DataError("there is no picture to export; name a run that published or drew some")
    told(counts.pictures)
    counts.classes = list(writer.classes)
    counts.parts = {part: classes for part, classes in counts.parts.items() if classes}
    return counts


def _rows(tables: Iterable[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    for batch in tables:
        if missing := [name for name in (IMAGE, MASK, OBJECTS, CLASS) if name not in batch.schema.names]:
            raise DataError(f"the pictures have no column {missing[0]!r}; export what `counterpoise run` wrote")
        for start in range(0, batch.num_rows, ROWS):
            yield from batch.slice(start, ROWS).to_pylist()


def _item(row: dict[str, Any], names: Names, *, number: int, normal: str | None) -> Item:
    """One row with its picture checked, its mask read and its objects told apart."""
    cell, level = row[IMAGE] or {}, str(row[CLASS])
    stem = names.of(re.split(r"[/\\]", cell.get("path") or "")[-1].rpartition(".")[0] or f"picture_{number:06d}")
    where = f"picture {number + 1} ({stem})"
    if not cell.get("bytes"):
        raise DataError(f"{where} has no bytes; export what `counterpoise run` wrote")
    try:
        data, ending, (height, width) = _file(cell["bytes"])
        mask = None if not (row[MASK] or {}).get("bytes") else decode(row[MASK]["bytes"])[:, :, 0] >= MARKED
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    if mask is not None and mask.shape != (height, width):
        raise DataError(
            f"{where} is {width} x {height} pixels, its mask {mask.shape[1]} x {mask.shape[0]}; give both the same size"
        )
    facts = {name: row.get(name) for name in ("group", "source", "seed", SYNTHETIC, SPLIT)}
    if (part := part_for(facts[SPLIT])) is None:
        raise DataError(f"{where}: the split {facts[SPLIT]!r} is not train, val, test, reference or holdout")
    facts[SPLIT] = None if facts[SPLIT] is None else part
    found = [] if level == normal else [i for i in instances(mask, row[OBJECTS], level) if i.category != normal]
    return Item(
        stem=stem, ending=ending, data=data, width=width, height=height, level=level, mask=mask, instances=found,
        part=part, facts=facts,
    )  # fmt: skip


def _file(data: bytes) -> tuple[bytes, str, tuple[int, int]]:
    """The bytes to write, the ending they have, and (height, width). PNG and JPEG stay as they are, unless a camera's note
    says that they lie on their side; all else becomes PNG."""
    from PIL import Image

    pixels = decode(data)
    with Image.open(io.BytesIO(data)) as image:
        upright = image.getexif().get(0x0112, 1) == 1
        kept = {"PNG": "png", "JPEG": "jpg"}.get(str(image.format)) if upright else None
    if kept:
        return data, kept, (pixels.shape[0], pixels.shape[1])
    return encode(pixels), "png", (pixels.shape[0], pixels.shape[1])


def instances(mask: Array | None, objects: dict[str, Any] | None, level: str) -> list[Instance]:
    """The objects on one picture: each stated box with the connected parts of the mask that lie most in it, then each part
    that lies in none, as an object of the picture's own class `level`."""
    stated = [
        (tuple(float(v) for v in bbox), str(name))
        for bbox, name in zip((objects or {}).get("bbox") or [], (objects or {}).get("category") or [], strict=True)
        if bbox[2] > 0 and bbox[3] > 0
    ]
    if mask is None or not mask.any():
        return [Instance(name, (x, y, w, h), None) for (x, y, w, h), name in stated]
    from scipy import ndimage

    marked, count = ndimage.label(mask, structure=np.ones((3, 3), dtype=int))
    shares = np.stack([_inside(marked, bbox, count) for bbox, _ in stated], axis=1) if stated else np.zeros((count, 0))
    # Of boxes that hold as much of a part, the smallest is meant.
    sizes = np.array([bbox[2] * bbox[3] for bbox, _ in stated])
    owner = np.full(count + 1, -1)
    for k, row in enumerate(shares, start=1):
        owner[k] = np.lexsort((sizes, -row))[0] if row.any() else len(stated) + k
    owned = owner[marked]
    out = []
    for i, (bbox, name) in enumerate(stated):
        whole = box(owned == i)
        out.append(Instance(name, _around(bbox, whole), owned == i if whole else None))
    loose = owner[owner >= len(stated)]
    return out + [Instance(level, _around(None, box(owned == i)), owned == i) for i in loose]


def _inside(marked: Array, bbox: tuple[float, ...], count: int) -> Array:
    """Pixels of each of `count` parts that lie in a box: (count,) int64."""
    x, y, w, h = bbox
    piece = marked[max(0, int(y)) : max(0, int(np.ceil(y + h))), max(0, int(x)) : max(0, int(np.ceil(x + w)))]
    return np.bincount(piece.ravel(), minlength=count + 1)[1:]


def _around(stated: tuple[float, ...] | None, whole: tuple[int, ...] | None) -> tuple[float, float, float, float]:
    """The stated box; where the pixels of its object reach out of it, or there is none, the box of the pixels."""
    if whole is not None and stated is not None:
        x, y, w, h = stated
        fits = x <= whole[0] and y <= whole[1] and whole[0] + whole[2] <= x + w and whole[1] + whole[3] <= y + h
        stated = stated if fits else None
    x, y, w, h = stated if stated is not None else (whole or (0, 0, 0, 0))
    return float(x), float(y), float(w), float(h)


def _categories(schema: Schema, normal: str | None) -> list[str]:
    return [str(level) for level in schema[CLASS].categories if str(level) != normal]


def _marker(to: str, counts: _Counts) -> str:
    facts = {"made_by": MADE_BY, "to": to, "pictures": counts.pictures, "objects": counts.objects, "classes": counts.classes}
    return json.dumps(facts | {"parts": counts.parts}, indent=1, ensure_ascii=False) + "\n"


def _check_target(target: Path, force: bool) -> None:
    if target.exists() and not target.is_dir():
        raise DataError(f"{target} is a file; name a folder to export into")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not force:
        raise DataError(f"{target} is not empty; name another folder, or replace an earlier export with --force")
    try:
        ours = json.loads((target / MARKER).read_text(encoding="utf-8")).get("made_by") == MADE_BY
    except (OSError, ValueError, AttributeError):
        ours = False
    if not ours:
        raise DataError(f"{target} holds other files than an earlier export, which are not deleted; name another folder")


def _move(beside: Path, target: Path) -> None:
    """Put what is written in the place of what was there."""
    old = beside.with_name(beside.name + ".old")
    if target.exists():
        target.rename(old)
    try:
        beside.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
