"""What do COCO, YOLO and plain folders look like on disk? One writer each, fed picture by picture."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TextIO

import numpy as np

from data.contours import joined, outlines, polygons, run_lengths
from data.images import encode

Array = np.ndarray
TRAIN, VAL, HOLDOUT = PARTS = ("train", "val", "holdout")
#: What a division calls its parts, and which part of an export that is.
SPLITS = {
    None: TRAIN, "train": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "reference": VAL,
    "test": HOLDOUT, "holdout": HOLDOUT,
}  # fmt: skip
#: What lies in every exported folder and tells it from one that a user filled.
MARKER = "export.json"
#: Names that some file system keeps for itself.
RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")
LONGEST = 120


@dataclass(frozen=True)
class Instance:
    """One object: its class, its box x, y, width, height in pixels, and its pixels (h, w) bool where they are known."""

    category: str
    bbox: tuple[float, float, float, float]
    mask: Array | None


@dataclass(frozen=True)
class Item:
    """One picture ready to be written: `data` under `stem`.`ending`; what is marked on it; `part`: one of PARTS; `facts`:
    group, source, seed, is_synthetic, split, None where not known."""

    stem: str
    ending: str
    data: bytes
    width: int
    height: int
    level: str
    mask: Array | None
    instances: list[Instance]
    part: str
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.stem}.{self.ending}"

    @property
    def origin(self) -> str:
        """real, synthetic, or unknown where nobody said."""
        return {True: "synthetic", False: "real"}.get(self.facts.get("is_synthetic"), "unknown")  # type: ignore[arg-type]


def part_for(stated: object) -> str | None:
    """The part of an export that a row's own division means, None for a word that means none."""
    return SPLITS.get(stated if stated is None else str(stated).strip().lower())


class Names:
    """Names of files that no other file has, on any file system, and that lead out of no folder."""

    def __init__(self, *taken: str) -> None:
        self.taken = {name.casefold() for name in taken}
        self.next: dict[str, int] = {}

    def of(self, wanted: str) -> str:
        """`wanted` with all but letters, digits, ".", "_", "-" replaced; a number behind it when the name is taken."""
        name = re.sub(r"[^\w.-]", "_", wanted).strip(".") or "picture"
        name = name.encode()[:LONGEST].decode(errors="ignore")
        name = f"_{name}" if RESERVED.match(name) else name
        key = name.casefold()
        for number in itertools.count(self.next.get(key, 1)):
            found = name if number == 1 else f"{name}_{number}"
            if found.casefold() not in self.taken:
                self.taken.add(found.casefold())
                self.next[key] = number + 1
                return found
        raise AssertionError("the numbers do not end")


class Coco:
    """images/<part>/ and annotations/instances_<part>.json, so that who trains on one file never meets the holdout.

    Boxes are x, y, width, height; numbers of pictures, objects and categories start at 1, and no two files share one."""

    def __init__(self, folder: Path, classes: Sequence[str], *, license: str | None) -> None:  # noqa: A002
        self.folder, self.classes, self.license = folder, list(classes), license
        self.pictures = self.objects = 0
        self.lists: dict[tuple[str, str], TextIO] = {}

    def __enter__(self) -> Self:
        (self.folder / "annotations").mkdir()
        return self

    @staticmethod
    def place(part: str) -> str:
        """Where the pictures of a part are listed."""
        return f"annotations/instances_{part}.json"

    def add(self, item: Item) -> None:
        """Write one picture and what is marked on it."""
        if (item.part, "images") not in self.lists:
            (self.folder / "images" / item.part).mkdir(parents=True)
            # The two long lists grow in files of their own, so that memory does not grow with them.
            for name in ("images", "annotations"):
                self.lists[item.part, name] = (self.folder / f"{name}.{item.part}").open("w+", encoding="utf-8")
        (self.folder / "images" / item.part / item.name).write_bytes(item.data)
        self.pictures += 1
        known = {k: v for k, v in item.facts.items() if v is not None}
        size = {"width": item.width, "height": item.height}
        entry = {"id": self.pictures, "file_name": item.name} | size | {"class": item.level} | known
        self._put(item.part, "images", entry | ({"license": 1} if self.license else {}))
        for instance in item.instances:
            self.objects += 1
            self._put(item.part, "annotations", self._annotation(instance))

    def _annotation(self, instance: Instance) -> dict[str, Any]:
        x, y, w, h = instance.bbox
        shape: Any = [] if instance.mask is None else polygons(instance.mask)
        if shape is None and instance.mask is not None:
            shape = run_lengths(instance.mask)
        return {
            "id": self.objects,
            "image_id": self.pictures,
            "category_id": _number(self.classes, instance.category) + 1,
            "bbox": [_plain(v) for v in (x, y, w, h)],
            "area": _plain(w * h if instance.mask is None else float(instance.mask.sum())),
            "segmentation": shape,
            "iscrowd": 0,
        }

    def _put(self, part: str, name: str, value: dict[str, Any]) -> None:
        file = self.lists[part, name]
        file.write((",\n" if file.tell() else "") + json.dumps(value, ensure_ascii=False))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            # Only now is every class known: all files number them alike.
            for part in (part for part in PARTS if (part, "images") in self.lists):
                self._write(part)
        for items in self.lists.values():
            items.close()
            Path(items.name).unlink()

    def _write(self, part: str) -> None:
        with (self.folder / self.place(part)).open("w", encoding="utf-8") as file:
            file.write("{" + ",\n".join(f'"{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in self._head()))
            for name in ("images", "annotations"):
                items = self.lists[part, name]
                items.seek(0)
                file.write(f',\n"{name}": [\n')
                shutil.copyfileobj(items, file)
                file.write("\n]")
            file.write("}\n")

    def _head(self) -> list[tuple[str, Any]]:
        licenses = [{"id": 1, "name": self.license, "url": ""}] if self.license else []
        return [
            ("info", {"description": "exported by counterpoise", "version": "1.0"}),
            ("licenses", licenses),
            (
                "categories",
                [{"id": i, "name": name, "supercategory": "defect"} for i, name in enumerate(self.classes, start=1)],
            ),
        ]


class Yolo:
    """images/<split>/, labels/<split>/ and data.yaml, as Ultralytics reads them; the holdout is its test. A picture without
    objects has an empty file of labels: it is background. train_real.txt and train_synthetic.txt list train by origin."""

    def __init__(self, folder: Path, classes: Sequence[str], *, polygons: bool) -> None:
        self.folder, self.classes, self.polygons = folder, list(classes), polygons
        self.splits: set[str] = set()
        self.origins: dict[str, TextIO] = {}

    def __enter__(self) -> Self:
        return self

    @staticmethod
    def place(part: str) -> str:
        """Where the pictures of a part lie."""
        return f"images/{'test' if part == HOLDOUT else part}"

    def add(self, item: Item) -> None:
        """Write one picture and its labels: class, then a box or the corners of a polygon, as shares of width and height."""
        split = self.place(item.part).removeprefix("images/")
        if split not in self.splits:
            self.splits.add(split)
            for kind in ("images", "labels"):
                (self.folder / kind / split).mkdir(parents=True)
        (self.folder / "images" / split / item.name).write_bytes(item.data)
        lines = [self._line(instance, item) for instance in item.instances]
        (self.folder / "labels" / split / f"{item.stem}.txt").write_text("".join(line + "\n" for line in lines))
        if item.part == TRAIN and item.origin != "unknown":
            self._list(item)

    def _list(self, item: Item) -> None:
        # Folders cannot tell who made a picture; such a list can stand for `train` itself.
        if item.origin not in self.origins:
            self.origins[item.origin] = (self.folder / f"train_{item.origin}.txt").open("w", encoding="utf-8")
        self.origins[item.origin].write(f"./images/train/{item.name}\n")

    def _line(self, instance: Instance, item: Item) -> str:
        x, y, w, h = instance.bbox
        left, top, right, bottom = max(0.0, x), max(0.0, y), min(item.width, x + w), min(item.height, y + h)
        if not self.polygons:
            places = np.array([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])
        elif instance.mask is None:
            places = np.array([left, top, right, top, right, bottom, left, bottom])
        else:
            # One object is one polygon there: parts and holes are tied together.
            places = joined(outlines(instance.mask)).reshape(-1).astype(float)
        shares = np.clip(places / np.tile([item.width, item.height], len(places) // 2), 0.0, 1.0)
        return " ".join([str(_number(self.classes, instance.category)), *(f"{share:.6g}" for share in shares)])

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for file in self.origins.values():
            file.close()
        if kind is not None:
            return
        lines = ["# made by counterpoise export; the folders are relative to this file"]
        lines += [f"{split}: images/{split}" for split in ("train", "val", "test") if split in self.splits]
        if "val" not in self.splits:
            # Ultralytics refuses a file without `val`.
            instead = "test" if "test" in self.splits else "train"
            lines += [
                f"val: images/{instead}  # no picture was set apart for validation: put real ones that never trained here"
            ]
        if "train" not in self.splits:
            lines += ["# no train: no picture was set apart for training, and the others must never train"]
        if self.origins:
            named = " and ".join(f"train_{origin}.txt" for origin in sorted(self.origins))
            lines += [f"# {named}: the pictures of train by who made them; to train on one kind alone, name its list as train"]
        lines += [f"nc: {len(self.classes)}", "names:" if self.classes else "names: []"]
        lines += [f"  {i}: {json.dumps(name, ensure_ascii=False)}" for i, name in enumerate(self.classes)]
        (self.folder / "data.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


class Folder:
    """<class>/<name>.png, masks/<class>/<name>.png, and index.csv with a row for each box, one for a picture without.

    Where rows state their part, the classes lie below it (train/<class>, holdout/<class>): a folder is all that some tools
    look at. Without a single box the index has no columns for them."""

    COLUMNS = ("image", "class", "mask", "group", "source", "seed", "is_synthetic", "split")
    CORNERS = ("left", "top", "right", "bottom")

    def __init__(self, folder: Path) -> None:
        self.folder, self.folders, self.boxed = folder, dict[str, str](), False

    @property
    def classes(self) -> list[str]:
        """The classes that were met, in order."""
        return list(self.folders)

    @staticmethod
    def place(part: str) -> str:
        """Where the pictures of a part lie."""
        return part

    def __enter__(self) -> Self:
        self.names = Names("masks", "index.csv", MARKER, *PARTS)
        self.file = (self.folder / "index.csv").open("w", encoding="utf-8", newline="")
        self.index = csv.writer(self.file, lineterminator="\n")
        self.index.writerow(self.COLUMNS + self.CORNERS)
        return self

    def add(self, item: Item) -> None:
        """Write one picture, its mask where it is known, and its rows."""
        if item.level not in self.folders:
            self.folders[item.level] = self.names.of(item.level)
        below = self.folders[item.level]
        below = below if item.facts.get("split") is None else f"{item.part}/{below}"
        image = f"{below}/{item.name}"
        _put(self.folder / image, item.data)
        mask = ""
        if item.mask is not None:
            mask = f"masks/{below}/{item.stem}.png"
            _put(self.folder / mask, encode(item.mask[:, :, None].astype(np.uint8) * 255))
        facts = [item.facts.get(name) for name in self.COLUMNS[3:]]
        row = [image, item.level, mask, *("" if v is None else str(v) for v in facts)]
        corners: list[list[Any]] = [
            [_plain(v) for v in (x, y, x + w, y + h)] for x, y, w, h in (i.bbox for i in item.instances)
        ]
        self.boxed |= bool(corners)
        self.index.writerows(row + four for four in corners or [[""] * len(self.CORNERS)])

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.file.close()
        if kind is None and not self.boxed:
            _cut(self.folder / "index.csv", len(self.CORNERS))


def _put(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def _cut(file: Path, last: int) -> None:
    """Leave the last columns of a csv out."""
    beside = file.with_name(f"{file.name}.part")
    with file.open(encoding="utf-8", newline="") as whole, beside.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows(row[:-last] for row in csv.reader(whole))
    beside.replace(file)


def _number(classes: list[str], name: str) -> int:
    """The position of a class, which joins the list when it is met first."""
    if name not in classes:
        classes.append(name)
    return classes.index(name)


def _plain(value: float) -> float | int:
    return int(value) if float(value).is_integer() else round(float(value), 3)
