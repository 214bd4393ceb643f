"""Which pictures do these Pascal VOC annotations describe, and what is marked on them?"""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import pyarrow as pa

from data.errors import DataError
from data.images import Fit, good
from data.sources._folders import role
from data.sources._found import NORMAL, Found, Rules, files_below, of_one_photo, part_of, pictures_below, rarest, told
from data.sources._marks import Box, Damaged, Object, Objects
from data.sources._pictures import table_of

#: Bytes of a file in which its root stands, and bytes that one of annotations holds there.
START, ROOT = 4096, b"<annotation"


@dataclass(frozen=True)
class _Note:
    """What one file says. called, folder: of its picture; shape: (h, w); flat: how many of its boxes have no pixel."""

    file: Path
    called: str
    folder: str
    shape: tuple[int, int] | None
    things: tuple[Object, ...]
    flat: int


@dataclass
class _Set:
    """The files of a set, sorted out. notes: what is said of each picture; twins: copies and masks of those, beside them;
    broken: pictures of which the annotations cannot be read; said: what there is to tell."""

    notes: dict[Path, list[_Note]]
    twins: set[Path]
    broken: set[Path]
    said: list[str]


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
    """The pictures of a Pascal VOC set as the table of `data.sources._pictures.table_of`.

    path: the folder of the set, with an .xml for each picture beside it or anywhere below. Boxes count pixels from 1 and
    hold their last ones, as VOC defines: xmin 1, xmax 10 are the ten pixels at the left. A picture's class is that of its
    objects, of several the one that the fewest pictures have; without objects, or without an .xml, it is of class `normal`,
    unless it lies in a folder that is named as a defect, or is a copy of one with an .xml. The division is that of
    ImageSets/Main, else of folders named train, val and test; polygons and segmentations are not read.

    Raises DataError for no annotations, none of pictures that are there, a document type or entities, and as `table_of` does;
    what cannot be read is listed and left out."""
    root = Path(path)
    rules = Rules(str(path), size, fit, mode, strict, near_duplicates, normal, few)
    base = _folder(root, images)
    pictures = _Pictures(pictures_below(base))
    files = sorted(files_below(root))
    held = _sorted_out(root, [file for file in files if _is_xml(file, root)], pictures)
    parts = _divided(files, pictures, held.said)
    found = _found(root, base, pictures, held, parts, normal)
    if strict and held.said:
        raise DataError(f"{root}: {held.said[0].rstrip('.')}; correct it, or leave strict out of the plan")
    return table_of(found, rules, held.said)


def recognises(path: Path) -> dict[str, Any] | None:
    """A folder with an .xml of annotations whose picture is there, and has no mask of its own name beside it."""
    if not path.is_dir():
        return None
    pictures: _Pictures | None = None
    for file in files_below(path):
        if not (_is_xml(file, path) and ROOT in (data := _quietly(file))):
            continue
        pictures = pictures or _Pictures(pictures_below(path))
        called = re.search(rb"<filename>\s*([^<]+?)\s*</filename>", data)
        if some := pictures.named(file, called[1].decode("utf-8", "replace") if called else ""):
            folders = [one.parent for one in some]
            return {"path": str(path)} if len(set(folders)) == len(folders) else None
    return None


def _quietly(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(START)
    except OSError:
        return b""


def _is_xml(file: Path, root: Path) -> bool:
    hidden = any(part.startswith(("__MACOSX", ".")) for part in file.relative_to(root).parts)
    return file.suffix.lower() == ".xml" and not hidden


def _folder(root: Path, images: str | None) -> Path:
    """Where the pictures lie."""
    if not root.exists():
        raise DataError(f"there is no folder {root}; check the path (relative paths start at the working folder)")
    if not root.is_dir():
        raise DataError(f"{root} is a file; name the folder with the annotations and pictures")
    if images is not None and not Path(images).is_dir():
        raise DataError(f"images: there is no folder {images}; name the one that holds the pictures of {root}")
    return root if images is None else Path(images)


class _Pictures:
    """The pictures of a set by their names, with and without ending."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files
        self.by_name: dict[str, list[Path]] = defaultdict(list)
        for file in files:
            self.by_name[file.name].append(file)
            self.by_name[file.stem].append(file)

    def named(self, file: Path, called: str) -> list[Path]:
        """All pictures named as a file of annotations, else as it calls its picture."""
        name = Path(called.replace("\\", "/")).name
        found = (self.by_name.get(key) for key in (file.stem, name, Path(name).stem) if key)
        return next((some for some in found if some), [])

    def nearest(self, file: Path, called: str = "", folder: str = "") -> list[Path]:
        """Of the pictures of the name the nearest one, or those that nothing tells apart."""
        some = self.named(file, called)
        best = max((_near(one, file, called, folder) for one in some), default=None)
        return [one for one in some if _near(one, file, called, folder) == best]


def _near(picture: Path, file: Path, called: str, folder: str) -> tuple[bool, int, bool, bool, bool]:
    """How well a picture suits: beside the file, or by its folders; named as the file says; lossy, as masks are not."""
    around = {part.lower() for part in file.parent.parts} & {part.lower() for part in picture.parent.parts}
    lossy = picture.suffix.lower() in (".jpg", ".jpeg")
    return picture.parent == file.parent, len(around), picture.parent.name == folder, picture.name == called, lossy


def _sorted_out(root: Path, files: Sequence[Path], pictures: _Pictures) -> _Set:
    out = _Set(defaultdict(list), set(), set(), [])
    broken, lost, flat = [], [], []
    for file in files:
        name = file.relative_to(root).as_posix()
        try:
            if (note := _note(file, pictures)) is None:
                continue
            some = pictures.nearest(file, note.called, note.folder)
            _need_one(some)
        except Damaged as error:
            out.broken |= set(pictures.nearest(file))
            broken.append(f"{name}: {error}")
            continue
        if not some:
            lost.append(f"{name} of {note.called or file.stem!r}")
            continue
        out.notes[some[0]].append(note)
        out.twins |= {*some, *(one for one in pictures.named(file, note.called) if one.parent == some[0].parent)}
        flat += [name] if note.flat else []
    if not out.notes:
        raise DataError(_nothing(root, broken, lost))
    for what, names in (
        ("Annotations that cannot be read, their pictures left out", broken),
        ("Annotations whose pictures are not there", lost),
        ("Boxes without a pixel (xmax below xmin, or ymax below ymin), which mark nothing, in", flat),
    ):
        out.said += [told(what, names)] if names else []
    return out


def _need_one(pictures: Sequence[Path]) -> None:
    try:
        alike = len(pictures) < 2 or len({one.read_bytes() for one in pictures}) == 1
    except OSError:
        alike = False
    if not alike:
        raise Damaged(f"it may be of {pictures[0]} or of {pictures[1]}")


def _nothing(root: Path, broken: Sequence[str], lost: Sequence[str]) -> str:
    if lost:
        return f"{root}: no picture of its annotations is there, first {lost[0]}; state the folder of the pictures as images"
    if broken:
        return f"{root}: none of its annotations can be read, first {broken[0]}; check that they are whole"
    return f"{root} holds no VOC annotations (an .xml with an <annotation> for each picture); name the folder of the set"


def _note(file: Path, pictures: _Pictures) -> _Note | None:
    """What a file says; None for an .xml of something else. Raises Damaged when it cannot be read, DataError for entities."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise Damaged(str(error.strerror or error)) from None
    meant = ROOT in data[:START] or bool(pictures.named(file, ""))
    try:
        root = _tree(data)
    except _Declared:
        if not meant:
            return None
        raise DataError(
            f"{file} declares a document type or entities, which can stand for anything; remove the declaration"
        ) from None
    except (expat.ExpatError, ValueError, LookupError) as error:
        if not meant:
            return None
        raise Damaged(f"no XML that can be read ({' '.join(str(error).split())[:80]})") from None
    if root.tag.lower() != "annotation":
        return None
    things = tuple(_thing(one, place) for place, one in enumerate(root.findall("object"), start=1))
    flat = sum(thing.box is None for thing in things)
    return _Note(file, _text(root, "filename"), _text(root, "folder"), _shape(root), things, flat)


class _Declared(Exception):
    """A document type is declared."""


def _tree(data: bytes) -> Element:
    """The root of a document. Raises _Declared before any entity could be read, and ExpatError, ValueError or LookupError."""

    def refuse(*_: Any) -> None:
        raise _Declared

    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.Parse(data, True)
    return builder.close()


def _text(root: Element, where: str) -> str:
    return (root.findtext(where) or "").strip()


def _shape(root: Element) -> tuple[int, int] | None:
    try:
        h, w = (int(float(_text(root, f"size/{side}"))) for side in ("height", "width"))
    except (ValueError, OverflowError):
        return None
    return (h, w) if h > 0 and w > 0 else None  # some tools write 0 for what they did not look up


def _thing(one: Element, place: int) -> Object:
    """An object with its category, and its box unless that has no pixel."""
    name = _text(one, "name")
    if not name:
        raise Damaged(f"object {place} has no name")
    try:
        left, top, right, bottom = (float(_text(one, f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError:
        raise Damaged(f"the bndbox of object {place} is not the four numbers xmin, ymin, xmax, ymax") from None
    if not all(math.isfinite(v) for v in (left, top, right, bottom)):
        raise Damaged(f"the bndbox of object {place} is not finite")
    # VOC counts pixels from 1, and xmax and ymax are the last ones inside.
    box: Box = (left - 1, top - 1, right - left + 1, bottom - top + 1)
    return Object(name, box if box[2] > 0 and box[3] > 0 else None)


def _divided(files: Sequence[Path], pictures: _Pictures, said: list[str]) -> dict[Path, str] | None:
    """The part of each picture that the lists in ImageSets/Main name; None without such lists."""
    lists = [file for file in files if file.suffix.lower() == ".txt" and part_of(file.stem)]
    lists = [file for file in lists if [part.lower() for part in file.parts[-3:-1]] == ["imagesets", "main"]]
    out: dict[Path, str] = {}
    missing = []
    # trainval holds what train and val hold; what it says comes last.
    for file in sorted(lists, key=lambda file: file.stem.lower() == "trainval"):
        for name in _lines(file):
            some = pictures.by_name.get(name, [])
            missing += [] if some else [f"{name} in {file.name}"]
            within = [one for one in some if one.is_relative_to(file.parents[2])] or some
            for one in within:
                out.setdefault(one, str(part_of(file.stem)))
    if missing:
        said.append(told("Named in ImageSets and not there", missing))
    return out or None


def _lines(file: Path) -> Iterator[str]:
    """The names in a list, without the marks (1, 0, -1) that lists of one class have behind them."""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if name := re.sub(r"\s+(-1|0|1)$", "", line.strip()):
            yield Path(name.replace("\\", "/")).name


def _found(
    root: Path, base: Path, pictures: _Pictures, held: _Set, parts: Mapping[Path, str] | None, normal: str | None
) -> list[Found]:
    categories = {file: {thing.category for note in some for thing in note.things} for file, some in held.notes.items()}
    known = sorted(set().union(*categories.values()))
    files = _taken(base, pictures, held, known)
    levels = rarest([categories.get(file, set()) for file in files], normal or good(known) or NORMAL)
    return [
        Found(
            file, _name(file, root, base), level, _marks(held.notes.get(file, ()), root),
            of_one_photo(file.stem), _part(file, base, held.notes.get(file, ()), root) if parts is None else parts.get(file),
        )
        for file, level in zip(files, levels, strict=True)
    ]  # fmt: skip


def _taken(base: Path, pictures: _Pictures, held: _Set, categories: Sequence[str]) -> list[Path]:
    """The pictures with annotations, and the good ones without."""
    taken, left = [], []
    # A folder that holds them all says nothing of one.
    shared = Path(os.path.commonpath([file.parent for file in pictures.files]))
    for file in pictures.files:
        folders = file.relative_to(base).parts[:-1]
        if file in held.notes:
            taken.append(file)
        elif file in held.broken or any(role(name).masks for name in folders):
            continue  # told with its .xml, or none of the pictures
        elif file in held.twins or any(_is_defect(name, categories) for name in file.relative_to(shared).parts[:-1]):
            left.append(file.relative_to(base).as_posix())
        else:
            taken.append(file)
    if left:
        held.said.append(told("Left out because they have no .xml and lie among defects, or are copies of others", left))
    return taken


def _is_defect(folder: str, categories: Sequence[str]) -> bool:
    """Whether a folder is named as a class (1 of 1_hole, hole_rotated of hole) that is not that of good parts."""
    if role(folder).holder or good([folder, *categories]) == folder:
        return False
    named = _words(folder)
    classes = [_words(level) for level in categories if level != good(categories)]
    return bool(named) and any(words and (words <= named or named <= words) for words in classes)


def _words(name: str) -> set[str]:
    return {word for word in re.split(r"[\W_]+", name.lower()) if word}


def _marks(notes: Sequence[_Note], root: Path) -> Objects:
    """All that is said of a picture; what several files say alike is said once."""
    things = tuple(dict.fromkeys(thing for note in notes for thing in note.things))
    origin = ", ".join(note.file.relative_to(root).as_posix() for note in notes)
    return Objects(things, origin, next((note.shape for note in notes if note.shape), None))


def _part(file: Path, base: Path, notes: Sequence[_Note], root: Path) -> str | None:
    """The part by the folders of a picture, else by those of its annotations."""
    folders = [*file.relative_to(base).parts[:-1], *(name for note in notes for name in note.file.relative_to(root).parts[:-1])]
    return next((part for name in folders if (part := role(name).part)), None)


def _name(file: Path, root: Path, base: Path) -> str:
    return file.relative_to(root if file.is_relative_to(root) else base).as_posix()
