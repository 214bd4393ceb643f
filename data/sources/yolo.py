"""Which pictures does this YOLO set hold, and what do its text files mark on them?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from data.documents import check_size
from data.errors import DataError
from data.images import Fit, good
from data.sources._found import ENDINGS, NORMAL, Found, Rules, is_picture, of_one_photo, part_of, pictures_below, rarest
from data.sources._marks import Box, Object, Objects
from data.sources._pictures import table_of
from data.sources._within import within

#: Keys of a data.yaml that name a part of the set.
KEYS = ("train", "val", "valid", "validation", "test")
OUTSIDE = "correct it, or name the folder that holds all of them as data.path"
NAMES = ("classes.txt", "obj.names", "names.txt")


def read(
    path: str | Path,
    *,
    names: Sequence[str] | None = None,
    size: int | None = None,
    fit: Fit = "letterbox",
    mode: Literal["auto", "gray", "rgb"] = "auto",
    strict: bool = False,
    near_duplicates: bool = True,
    normal: str | None = None,
    few: bool = False,
) -> pa.Table:
    """The pictures of a YOLO set as the table of `data.sources._pictures.table_of`.

    path: a data.yaml, or the folder of the set. A picture's text file lies beside it, or where its path has labels for
    images; each line is a class and a box (middle, width, height) or a polygon, in shares of the picture. A picture's class
    is that of its lines, of several the one that the fewest pictures have; without lines it is of class `normal`.

    Raises DataError for YAML that cannot be read, no pictures, a line that is no box, a class without a name, and as
    `table_of` does."""
    root = Path(path)
    rules = Rules(str(path), size, fit, mode, strict, near_duplicates, normal, few)
    if not root.exists():
        raise DataError(f"there is no file or folder {root}; check the path (relative paths start at the working folder)")
    plan = _plan(root)
    folder = root if root.is_dir() else root.parent
    called = list(names) if names is not None else _names(plan, folder)
    said = [] if called else ["The classes have no names (no data.yaml, no classes.txt); they are called by their numbers."]
    files = _files(plan, folder, said)
    if strict and said:
        raise DataError(f"{root}: {said[0].rstrip('.')}; correct it, or leave strict out of the plan")
    return table_of(_found(files, folder, called, normal), rules, said)


def _found(files: Sequence[tuple[Path, str | None]], folder: Path, called: list[str] | None, normal: str | None) -> list[Found]:
    labels = [_label(file) for file, _ in files]
    if not any(labels):
        raise DataError(
            f"{folder}: no picture has a text file of labels (images/a.png, labels/a.txt); name the folder of the set"
        )
    lines = [_things(label, called) if label else () for label in labels]
    outlined = any(thing.outline is not None for some in lines for thing in some)
    levels = rarest([{thing.category for thing in some} for some in lines], normal or good(called or ()) or NORMAL)
    return [
        Found(
            file, _name(file, folder), level, Objects(some, _name(label or file, folder), relative=True, outlined=outlined),
            of_one_photo(file.stem), part,
        )
        for (file, part), label, some, level in zip(files, labels, lines, levels, strict=True)
    ]  # fmt: skip


def recognises(path: Path) -> dict[str, Any] | None:
    """A data.yaml with names, or a folder with one, or a folder whose pictures have text files of labels."""
    if path.is_file():
        is_set = path.suffix.lower() in (".yaml", ".yml") and bool(_quietly(path).get("names"))
        return {"path": str(path)} if is_set else None
    if not path.is_dir():
        return None
    if any(_quietly(file).get("names") for file in _yamls(path)):
        return {"path": str(path)}
    texts = (text for pattern in ("labels/*.txt", "labels/*/*.txt", "*/labels/*.txt") for text in path.glob(pattern))
    first = next((text for text in texts if text.name not in NAMES), None)
    return {"path": str(path)} if first is not None and _is_labels(first) else None


def _is_labels(text: Path) -> bool:
    try:
        cells = [line.split() for line in text.read_text(encoding="utf-8").splitlines() if line.strip()]
        return all(len(line) >= 5 and line[0].isdigit() and [float(v) for v in line] for line in cells)
    except (ValueError, OSError):
        return False


def _yamls(folder: Path) -> list[Path]:
    named = [folder / name for name in ("data.yaml", "data.yml", "dataset.yaml")]
    return [file for file in named if file.is_file()] or sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])


def _quietly(file: Path) -> dict[str, Any]:
    try:
        return _yaml(file)
    except DataError:
        return {}


def _yaml(file: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        held = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
        check_size(held)
    except (YAMLError, OSError, ValueError) as error:
        raise DataError(f"{file} is no YAML that can be read ({' '.join(str(error).split())[:120]}); correct it") from None
    if not isinstance(held, dict):
        raise DataError(f"{file} is no data.yaml: it needs names, and train, val or test")
    return held


def _plan(root: Path) -> dict[str, Any]:
    if root.is_file():
        return _yaml(root)
    files = _yamls(root)
    named = [file for file in files if file.stem in ("data", "dataset") or _quietly(file).get("names")]
    return _yaml(named[0]) if named else {}


def _names(plan: dict[str, Any], folder: Path) -> list[str] | None:
    """The classes in the order of their numbers, None when nobody names them."""
    held = plan.get("names")
    if isinstance(held, dict):
        if not all(str(number).isdecimal() for number in held):
            raise DataError(f"names in the data.yaml of {folder}: the numbers of classes are 0, 1, ..., not {list(held)[0]!r}")
        numbers = [int(number) for number in held]
        named = dict(zip(numbers, held.values(), strict=True))
        return [str(named.get(i, i)) for i in range(max(numbers, default=-1) + 1)]
    if isinstance(held, list):
        return [str(name) for name in held]
    if held is not None:
        raise DataError(f"names in the data.yaml of {folder} must be a list, or numbers with their names, not {held!r}")
    file = next((file for name in NAMES for file in (folder / name, folder / "labels" / name) if file.is_file()), None)
    return None if file is None else [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _files(plan: dict[str, Any], folder: Path, said: list[str]) -> list[tuple[Path, str | None]]:
    """Every picture once, with its part of the split."""
    found: dict[Path, str | None] = {}
    for key in (key for key in KEYS if plan.get(key)):
        stated = plan[key] if isinstance(plan[key], list) else [plan[key]]
        for one in stated:
            place = _place(str(one), str(plan.get("path") or ""), folder)
            if place is None:
                said.append(f"The data.yaml in {folder} names {str(one)!r} for {key}, which is not there.")
            if place is not None:
                within(place, [folder], f"the data.yaml in {folder}", str(one), OUTSIDE)
            for file in _below(place, folder) if place else ():
                found.setdefault(file, part_of(key))
    if not found:
        for file in pictures_below(folder):
            parts = file.relative_to(folder).parts[:-1]
            found[file] = next((part for name in parts if (part := part_of(name))), None)
    if not found:
        raise DataError(f"{folder} holds no pictures ({', '.join(sorted(ENDINGS)[:6])}, ...); name the folder of the set")
    return sorted(found.items())


def _place(name: str, base: str, folder: Path) -> Path | None:
    """The folder or list that a key of a data.yaml names, wherever the file was written; None when it is not there."""
    bare = name.replace("\\", "/")
    while bare.startswith("../"):  # exports name their parts as from a folder beside
        bare = bare[3:]
    places = [folder / base / name, folder / name, folder / bare, folder / base / bare, Path(name), Path(base) / name]
    return next((place for place in places if place.exists()), None)


def _below(place: Path, folder: Path) -> list[Path]:
    if place.is_dir():
        return pictures_below(place)
    names = [line.strip() for line in place.read_text(encoding="utf-8").splitlines() if line.strip()]
    files = [next((file for file in (place.parent / name, folder / name) if file.is_file()), Path(name)) for name in names]
    missing = [file for file in files if not (file.is_file() and is_picture(file))]
    if missing:
        raise DataError(f"{place} names {len(missing)} pictures that are not there, first {missing[0]}; correct it")
    return [within(file, [folder], str(place), name, OUTSIDE) for file, name in zip(files, names, strict=True)]


def _label(file: Path) -> Path | None:
    """The text file of a picture: in labels where its path has images, or beside it."""
    parts = list(file.parts)
    places = [file.with_suffix(".txt")]
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            places.insert(0, Path(*parts[:i], "labels", *parts[i + 1 :]).with_suffix(".txt"))
            break
    places.append(file.parent.parent / "labels" / f"{file.stem}.txt")
    return next((place for place in places if place.is_file()), None)


def _things(label: Path, called: list[str] | None) -> tuple[Object, ...]:
    out = []
    for place, line in enumerate(label.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        cells = line.split()
        if not cells:
            continue
        try:
            number, values = int(float(cells[0])), np.array([float(v) for v in cells[1:]])
        except (ValueError, OverflowError):
            raise DataError(f"{label}, line {place}: {line.strip()[:60]!r} is not made of numbers; correct it") from None
        if not _is_thing(values):
            raise DataError(
                f"{label}, line {place}: a class and a box or polygon in shares from 0 to 1 must stand here; correct it"
            )
        if number < 0 or (called is not None and number >= len(called)):
            known = "" if called is None else f", the classes are 0 to {len(called) - 1}"
            raise DataError(f"{label}, line {place}: there is no class {number}{known}; correct it or add its name")
        out.append(_thing(str(number) if called is None else called[number], values))
    return tuple(out)


def _is_thing(values: np.ndarray) -> bool:
    """Whether these are a box, whose sides are not negative, or a polygon, in shares of the picture."""
    shares = all(math.isfinite(v) and -0.5 <= v <= 1.5 for v in values)
    return len(values) >= 4 and shares and (len(values) >= 6 or min(values[2:4]) >= 0)


def _thing(level: str, values: np.ndarray) -> Object:
    if len(values) < 6:  # a fifth number says how sure a detector was
        x, y, width, height = (float(v) for v in values[:4])
        return Object(level, (x - width / 2, y - height / 2, width, height))
    points = values[: len(values) // 2 * 2].reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    box: Box = (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
    return Object(level, box, (points,))


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.as_posix()
