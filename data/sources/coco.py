"""Which pictures do these COCO annotations describe, and what is marked on them?"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from data.errors import DataError
from data.images import Fit, good
from data.sources._found import NORMAL, Found, Rules, listed, of_one_photo, part_of, pictures_below, rarest
from data.sources._marks import Object, Objects, RunLengths
from data.sources._pictures import table_of
from data.sources._within import within

Item = Mapping[str, Any]


@dataclass(frozen=True)
class _File:
    """One file of annotations, checked: things by the number of their picture."""

    path: Path
    images: list[Item]
    things: Mapping[Any, list[Object]]
    part: str | None


def read(
    path: str | Path,
    *,
    images: str | None = None,
    size: int | None = None,
    fit: Fit = "letterbox",
    mode: Literal["auto", "gray", "rgb"] = "auto",
    strict: bool = False,
    near_duplicates: bool = True,
    normal: str | None = None,
    few: bool = False,
) -> pa.Table:
    """The pictures of a COCO set as the table of `data.sources._pictures.table_of`.

    path: the annotations, or a folder in which they lie, one file or one for each part of a split. Segmentations (polygons,
    run lengths plain or packed, crowds too) become the mask, bboxes the objects. A picture's class is the category of its
    annotations, of several the one that the fewest pictures have; without any it is of class `normal`.

    Raises DataError for JSON that is broken or is no COCO, a category or picture that is not listed, pictures that are not
    there, an annotation that cannot be read, and as `table_of` does."""
    root = Path(path)
    rules = Rules(str(path), size, fit, mode, strict, near_duplicates, normal, few)
    parts = [_checked(file, root) for file in _files(root)]
    folder = root if root.is_dir() else root.parent.parent if root.parent.name == "annotations" else root.parent
    return table_of(_once(_found(parts, folder, images, normal)), rules)


def _found(parts: Sequence[_File], folder: Path, images: str | None, normal: str | None) -> Iterator[Found]:
    marked = [part.things.get(image["id"], []) for part in parts for image in part.images]
    outlined = any(thing.outline is not None for some in marked for thing in some)
    categories = [{thing.category for thing in some} for some in marked]
    levels = iter(rarest(categories, normal or good(sorted(set().union(*categories))) or NORMAL))
    for part in parts:
        files = _Pictures(part.path, folder, images)
        for image in part.images:
            where = files.of(str(image["file_name"]))
            things = Objects(tuple(part.things.get(image["id"], ())), part.path.name, _shape(image), outlined=outlined)
            base = next((place for place in (folder, Path(images or "")) if where.is_relative_to(place)), where.parent)
            name = where.relative_to(base).as_posix()
            yield Found(where, name, next(levels), things, of_one_photo(where.stem), part.part or _part(where, folder))


def recognises(path: Path) -> dict[str, Any] | None:
    """A file of COCO annotations, or a folder with one or more of them."""
    if path.is_file() and path.suffix.lower() != ".json":
        return None
    candidates = [path] if path.is_file() else _candidates(path) if path.is_dir() else []
    return {"path": str(path)} if any(_looks_so(file) for file in candidates) else None


def _candidates(folder: Path) -> list[Path]:
    return sorted(file for depth in ("*.json", "*/*.json", "*/*/*.json") for file in folder.glob(depth))


def _looks_so(file: Path) -> bool:
    text = file.read_bytes()
    return all(word in text for word in (b'"images"', b'"annotations"', b'"categories"'))


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    if not root.exists():
        raise DataError(f"there is no file or folder {root}; check the path (relative paths start at the working folder)")
    files = [file for file in _candidates(root) if _looks_so(file)]
    if not files:
        raise DataError(f"{root} holds no COCO annotations (a .json with images, annotations and categories); name the file")
    return files


def _checked(file: Path, root: Path) -> _File:
    try:
        held = json.loads(file.read_bytes())
    except (ValueError, OSError) as error:
        raise DataError(
            f"{file} is no JSON that can be read ({' '.join(str(error).split())[:100]}); check that it is whole"
        ) from None
    keys = ("images", "annotations", "categories")
    if not isinstance(held, dict) or not all(isinstance(held.get(key), list) for key in keys):
        raise DataError(f"{file} is no COCO file: it needs the lists images, annotations and categories")
    try:
        names = {one["id"]: str(one["name"]) for one in held["categories"]}
        known = {one["id"]: str(one["file_name"]) for one in held["images"]}
        if not all(one["file_name"] for one in held["images"]):
            raise KeyError
    except (KeyError, TypeError):
        raise DataError(f"{file}: an image lacks its id or file_name, or a category its id or name; add them") from None
    for key, some in (("images", known), ("categories", names)):
        if len(some) < len(held[key]):
            raise DataError(f"{file}: {len(held[key])} {key} have only {len(some)} ids; give each an id of its own")
    things: dict[Any, list[Object]] = defaultdict(list)
    for place, one in enumerate(held["annotations"]):
        origin = f"{file.name}, annotation {one.get('id', place) if isinstance(one, dict) else place}"
        thing = _thing(one, names, known, origin)
        if thing is not None:
            things[one["image_id"]].append(thing)
    return _File(file, held["images"], things, _named_part(file, root))


def _thing(one: Any, names: Mapping[Any, str], known: Mapping[Any, str], origin: str) -> Object | None:
    if not isinstance(one, dict) or not _among(one.get("image_id"), known):
        raise DataError(f"{origin}: there is no image with its image_id; correct it, or remove the annotation")
    if not _among(one.get("category_id"), names):
        raise DataError(
            f"{origin}: there is no category {one.get('category_id')!r}; the categories are {listed([*names.values()])}"
        )
    try:
        box = one.get("bbox") or None
        numbers = None if box is None else tuple(float(v) for v in box)
        outline = _outline(one.get("segmentation"), origin)
    except (TypeError, ValueError, OverflowError):
        raise DataError(
            f"{origin}: its bbox or segmentation is not made of numbers, two for each point of an outline; correct it"
        ) from None
    if numbers is not None and (len(numbers) != 4 or not all(math.isfinite(v) for v in numbers)):
        raise DataError(f"{origin}: its bbox is not the four numbers x, y, width, height; correct it")
    if numbers is not None and (numbers[2] <= 0 or numbers[3] <= 0):
        numbers = None  # a bare point says nothing that an outline would not say
    if numbers is None and outline is None:
        return None
    return Object(names[one["category_id"]], numbers, outline)


def _among(value: Any, known: Mapping[Any, str]) -> bool:
    return isinstance(value, int | str | float) and value in known


def _outline(value: Any, origin: str) -> tuple[np.ndarray, ...] | RunLengths | None:
    if not value:
        return None
    if isinstance(value, str):
        raise ValueError
    if isinstance(value, dict):
        h, w = (int(v) for v in value.get("size", (0, 0)))
        return RunLengths(value.get("counts", ()), (h, w), origin)
    polygons = [value] if isinstance(value[0], int | float) else value
    drawn = [np.array(flat, dtype=float).reshape(-1, 2) for flat in polygons if len(flat) >= 6]
    if not all(np.isfinite(points).all() for points in drawn):
        raise ValueError
    return tuple(drawn) or None


def _shape(image: Item) -> tuple[int, int] | None:
    try:
        h, w = int(image["height"]), int(image["width"])
    except (KeyError, TypeError, ValueError):
        return None
    return (h, w) if h > 0 and w > 0 else None


def _named_part(file: Path, root: Path) -> str | None:
    """The part of a split that a file of annotations is for, by the words of its name or else its folder's."""
    names = [file.stem] if file == root or file.parent == root else [file.stem, file.parent.name]
    words = [word for name in names for word in re.split(r"[^a-z]+", name.lower())]
    return next((part for word in words if word and (part := part_of(word))), None)


def _part(file: Path, folder: Path) -> str | None:
    parts = file.relative_to(folder).parts[:-1] if file.is_relative_to(folder) else ()
    return next((part for name in parts if (part := part_of(name))), None)


def _once(found: Iterable[Found]) -> list[Found]:
    """The pictures with a name of their own each: one that several files describe keeps all that they say."""
    out: dict[str, Found] = {}
    for one in found:
        if one.name in out:
            first, second = out[one.name].marks, one.marks
            if isinstance(first, Objects) and isinstance(second, Objects):
                out[one.name] = replace(out[one.name], marks=replace(first, things=first.things + second.things))
        else:
            out[one.name] = one
    return list(out.values())


class _Pictures:
    """Finds the files that annotations name: in the stated folder, beside them, or anywhere below the set's folder."""

    def __init__(self, file: Path, folder: Path, stated: str | None) -> None:
        self.file, self.folder = file, folder
        if stated is not None and not Path(stated).is_dir():
            raise DataError(f"images: there is no folder {stated}; name the one that holds the pictures of {file}")
        part = re.sub(r"^(instances|annotations|_annotations)[_.]?", "", file.stem.removesuffix(".coco"))
        beside = [file.parent, file.parent / "images", folder, folder / "images", folder / part, folder / "images" / part]
        self.folders = [Path(stated)] if stated is not None else beside
        self.homes = [folder, file.parent, *([Path(stated)] if stated is not None else [])]
        self.below: dict[str, list[Path]] | None = None

    def of(self, name: str) -> Path:
        """The file of this name. Raises DataError when it is not there, or outside of the set."""
        remedy = "correct it, or state the folder that it is in as images"
        return within(self._of(name.replace("\\", "/")), self.homes, str(self.file), name, remedy)

    def _of(self, name: str) -> Path:
        near = next((place / name for place in self.folders if (place / name).is_file()), None)
        if near is not None:
            return near
        if self.below is None:
            self.below = defaultdict(list)
            for one in pictures_below(self.folders[0] if len(self.folders) == 1 else self.folder):
                self.below[one.name].append(one)
        found = self.below.get(Path(name).name, [])
        if len(found) != 1:
            what = "is not there" if not found else f"is there {len(found)} times"
            raise DataError(f"{self.file} names {name!r}, which {what}; state the folder of the pictures as images")
        return found[0]
