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
from typing import Any, Self

import numpy as np

from data.contours import joined, outlines, polygons, run_lengths
from data.errors import DataError
from data.images import encode

Array = np.ndarray
#: A source's own division, and the folders that YOLO's tools look for.
SPLITS = {
    None: "train", "train": "train", "val": "val", "valid": "val", "validation": "val", "reference": "val",
    "test": "test", "holdout": "test",
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
    """One picture ready to be written: `data` under `stem`.`ending`; what is marked on it; `facts`: group, source, seed,
    is_synthetic, split, None where not known."""

    stem: str
    ending: str
    data: bytes
    width: int
    height: int
    level: str
    mask: Array | None
    instances: list[Instance]
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.stem}.{self.ending}"


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
    """images/ and annotations.json. Boxes are x, y, width, height; numbers of pictures, objects and categories start at 1."""

    def __init__(self, folder: Path, classes: Sequence[str], *, license: str | None) -> None:  # noqa: A002
        self.folder, self.classes, self.license = folder, list(classes), license
        self.pictures = self.objects = 0

    def __enter__(self) -> Self:
        (self.folder / "images").mkdir()
        # The two long lists grow in files of their own, so that memory does not grow with them.
        self.lists = {name: (self.folder / f"{name}.part").open("w+", encoding="utf-8") for name in ("images", "annotations")}
        return self

    def add(self, item: Item) -> None:
        """Write one picture and what is marked on it."""
        (self.folder / "images" / item.name).write_bytes(item.data)
        self.pictures += 1
        known = {k: v for k, v in item.facts.items() if v is not None}
        size = {"width": item.width, "height": item.height}
        entry = {"id": self.pictures, "file_name": item.name} | size | {"class": item.level} | known
        self._put("images", entry | ({"license": 1} if self.license else {}), first=self.pictures == 1)
        for instance in item.instances:
            self.objects += 1
            self._put("annotations", self._annotation(instance), first=self.objects == 1)

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

    def _put(self, name: str, value: dict[str, Any], *, first: bool) -> None:
        self.lists[name].write(("" if first else ",\n") + json.dumps(value, ensure_ascii=False))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            with (self.folder / "annotations.json").open("w", encoding="utf-8") as file:
                file.write("{" + ",\n".join(f'"{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in self._head()))
                for name, items in self.lists.items():
                    items.seek(0)
                    file.write(f',\n"{name}": [\n')
                    shutil.copyfileobj(items, file)
                    file.write("\n]")
                file.write("}\n")
        for items in self.lists.values():
            items.close()
            Path(items.name).unlink()

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
    """images/<split>/, labels/<split>/ and data.yaml, as Ultralytics reads them. A picture without objects has an empty file
    of labels: it is background."""

    def __init__(self, folder: Path, classes: Sequence[str], *, polygons: bool) -> None:
        self.folder, self.classes, self.polygons = folder, list(classes), polygons
        self.splits: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def add(self, item: Item) -> None:
        """Write one picture and its labels: class, then a box or the corners of a polygon, as shares of width and height."""
        stated = item.facts.get("split")
        split = SPLITS.get(stated if stated is None else str(stated).strip().lower())
        if split is None:
            raise DataError(f"picture {item.stem}: the split {stated!r} is not train, val, test, reference or holdout")
        if split not in self.splits:
            self.splits.add(split)
            for kind in ("images", "labels"):
                (self.folder / kind / split).mkdir(parents=True)
        (self.folder / "images" / split / item.name).write_bytes(item.data)
        lines = [self._line(instance, item) for instance in item.instances]
        (self.folder / "labels" / split / f"{item.stem}.txt").write_text("".join(line + "\n" for line in lines))

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
            lines += [f"train: images/{sorted(self.splits)[0]}  # no picture was set apart for training"]
        lines += [f"nc: {len(self.classes)}", "names:" if self.classes else "names: []"]
        lines += [f"  {i}: {json.dumps(name, ensure_ascii=False)}" for i, name in enumerate(self.classes)]
        (self.folder / "data.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


class Folder:
    """<class>/<name>.png, masks/<class>/<name>.png, and index.csv with a row for each picture; where a picture has boxes and
    no mask, with a row for each box."""

    COLUMNS = ("image", "class", "mask", "group", "source", "seed", "is_synthetic", "split")
    CORNERS = ("left", "top", "right", "bottom")

    def __init__(self, folder: Path) -> None:
        self.folder, self.folders = folder, dict[str, str]()

    @property
    def classes(self) -> list[str]:
        """The classes that were met, in order."""
        return list(self.folders)

    def __enter__(self) -> Self:
        self.names = Names("masks", "index.csv", MARKER)
        self.file = (self.folder / "index.csv").open("w", encoding="utf-8", newline="")
        self.index = csv.writer(self.file, lineterminator="\n")
        self.index.writerow(self.COLUMNS + self.CORNERS)
        return self

    def add(self, item: Item) -> None:
        """Write one picture, its mask where it is known, and its row."""
        if item.level not in self.folders:
            self.folders[item.level] = self.names.of(item.level)
            (self.folder / self.folders[item.level]).mkdir()
        image = f"{self.folders[item.level]}/{item.name}"
        (self.folder / image).write_bytes(item.data)
        mask = ""
        if item.mask is not None:
            mask = f"masks/{self.folders[item.level]}/{item.stem}.png"
            (self.folder / mask).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / mask).write_bytes(encode(item.mask[:, :, None].astype(np.uint8) * 255))
        facts = [item.facts.get(name) for name in self.COLUMNS[3:]]
        row = [image, item.level, mask, *("" if v is None else str(v) for v in facts)]
        boxes = [one.bbox for one in item.instances] if item.mask is None else []
        corners: list[list[Any]] = [[_plain(v) for v in (x, y, x + w, y + h)] for x, y, w, h in boxes]
        self.index.writerows(row + four for four in corners or [[""] * len(self.CORNERS)])

    def __exit__(self, *_: object) -> None:
        self.file.close()


def _number(classes: list[str], name: str) -> int:
    """The position of a class, which joins the list when it is met first."""
    if name not in classes:
        classes.append(name)
    return classes.index(name)


def _plain(value: float) -> float | int:
    return int(value) if float(value).is_integer() else round(float(value), 3)
