"""Which pictures, classes, masks and parts does a folder of folders hold?"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from data.errors import DataError
from data.images import Fit
from data.sources._folders import are_parts, meaning, role, shared
from data.sources._found import ENDINGS, UNKNOWN, Found, Rules, listed, of_one_photo, pictures_below, told
from data.sources._marks import MaskFiles
from data.sources._pictures import table_of

#: How the name of a mask ends that lies beside its picture.
MASK_NAME = re.compile(r"^(?P<stem>.+?)[-_ ](mask|label|gt|ground_?truth|seg|segmentation|annotation)$", re.IGNORECASE)

Parts = tuple[str, ...]


@dataclass(frozen=True)
class _Spot:
    """Where a file lies. part: of the source's split; folders: those that mean something; stem: its name without ending."""

    file: Path
    part: str | None
    folders: Parts
    stem: str


def read(
    path: str | Path,
    *,
    masks: str | None = None,
    size: int | None = None,
    fit: Fit = "letterbox",
    mode: Literal["auto", "gray", "rgb"] = "auto",
    strict: bool = False,
    near_duplicates: bool = True,
    normal: str | None = None,
    few: bool = False,
    folders: Literal["auto", "class", "part"] = "auto",
) -> pa.Table:
    """The pictures of a folder as the table of `data.sources._pictures.table_of`.

    A picture's class is the first folder below `path` that is neither a part of a split (train, val, test) nor a holder
    (images); folders below it do not matter. Its mask is the file named as it is, with or without `_mask`, beside it, or at
    the same place below a folder of masks (masks, ground_truth, labels, or the one stated). Where no folder is a class but
    there are masks, what is marked is of class defect, and the rest is normal. few: one picture or class will do.
    folders: what that first folder is, a class or the part that was photographed; auto: parts where masks tell what is
    defective and there are many folders of one name with a number, with few pictures each.

    Raises DataError for no folder, no pictures, one class, several sets in one folder, stated masks that match nothing."""
    root = Path(path)
    rules = Rules(str(path), size, fit, mode, strict, near_duplicates, normal, few)
    files = _files(root)
    spots, marks = _apart(root, files, masks)
    said: list[str] = [told("Folders without any picture", empty)] if (empty := _empty(root, files)) else []
    known = _with_class(root, spots, bool(marks), said, few=few)
    parts = folders == "part" or (folders == "auto" and bool(marks) and are_parts(s.folders[0] for s in known if s.folders))
    if parts and folders == "auto":
        said.append(_told_parts(known))
    found = list(_found(root, known, marks, said, parts=parts))
    if few and not marks:
        found = [replace(one, level=one.level or UNKNOWN) for one in found]
    if masks is not None and not any(one.marks for one in found):
        raise DataError(f"masks: no mask in {masks} is named as a picture in {path}; name the folder that holds the masks")
    return table_of(found, rules, said)


def recognises(path: Path) -> dict[str, Any] | None:
    """Any folder with pictures."""
    return {"path": str(path)} if path.is_dir() and pictures_below(path) else None


def _files(root: Path) -> list[Path]:
    if not root.exists():
        raise DataError(f"there is no folder {root}; check the path (relative paths start at the working folder)")
    if not root.is_dir():
        raise DataError(f"{root} is a file; name a folder with a folder of pictures for each class")
    files = pictures_below(root)
    if not files:
        raise DataError(
            f"{root} holds no pictures ({', '.join(sorted(ENDINGS)[:6])}, ...); name a folder with some for each class"
        )
    return files


def _empty(root: Path, files: Sequence[Path]) -> list[str]:
    """Folders beside those that hold pictures, with nothing in them: a class whose pictures were forgotten."""
    full = {place for file in files for place in file.relative_to(root).parents}
    beside = (p for place in sorted(full) for p in sorted((root / place).iterdir()) if p.is_dir())
    named = (p for p in beside if p.relative_to(root) not in full and not p.name.startswith((".", "__MACOSX")))
    return [p.relative_to(root).as_posix() for p in named if not any(p.iterdir())]


def _apart(root: Path, files: Sequence[Path], stated: str | None) -> tuple[list[_Spot], list[_Spot]]:
    """Pictures, and the files that are masks of them."""
    base = root
    if stated is not None:
        base = next((p for p in (root / stated, Path(stated)) if p.is_dir()), root)
        if base == root:
            raise DataError(f"masks: there is no folder {root / stated}; name it relative to {root}")
        masks = pictures_below(base)
    else:
        masks = [p for p in files if any(role(part).masks for part in p.relative_to(root).parts[:-1])]
    if len(masks) == len(files) and stated is None:
        masks = []  # classes below a folder that is merely called labels
    of_masks = set(masks)
    images = [p for p in files if p not in of_masks]
    beside = _beside(images)
    images = [p for p in images if p not in beside]
    if not images:
        raise DataError(f"{root} holds masks and no pictures; name a folder with pictures")
    outer = shared([meaning(p.relative_to(root).parts[:-1]) for p in images])
    spots = [_spot(p, root, outer) for p in images]
    return spots, [_spot(p, base, outer) for p in masks] + [_spot(p, root, outer) for p in sorted(beside)]


def _beside(images: Sequence[Path]) -> set[Path]:
    """Masks that lie in one folder with their pictures: named so, or lossless twins with two values of lossy pictures."""
    names = {(p.parent, p.stem) for p in images}
    named = {p for p in images if (m := MASK_NAME.match(p.stem)) and (p.parent, m["stem"]) in names}
    twins = defaultdict(list)
    for p in images:
        twins[p.parent, p.stem].append(p)
    pairs = [sorted(some, key=lambda p: p.suffix.lower() in (".jpg", ".jpeg")) for some in twins.values() if len(some) == 2]
    pairs = [some for some in pairs if some[1].suffix.lower() in (".jpg", ".jpeg") and some[0] not in named]
    if pairs and all(_two_valued(mask) for mask, _ in pairs[:3]):
        named |= {mask for mask, _ in pairs}
    return named


def _two_valued(file: Path) -> bool:
    from data.images import decode

    try:
        pixels = decode(file.read_bytes())
    except (OSError, DataError):
        return False
    return pixels.shape[2] == 1 and len(set(pixels.ravel().tolist())) <= 2


def _spot(file: Path, base: Path, outer: Parts) -> _Spot:
    parts = file.relative_to(base).parts[:-1]
    folders = meaning(parts)
    if folders[: len(outer)] == outer:
        folders = folders[len(outer) :]
    part = next((said for name in parts if (said := role(name).part)), None)
    return _Spot(file, part, tuple(name for name in folders if not role(name).part), file.stem)


def _with_class(root: Path, spots: list[_Spot], masked: bool, said: list[str], *, few: bool) -> list[_Spot]:
    """The pictures that have a class, or all when masks decide. Raises DataError where neither folders nor masks do."""
    classes = {spot.folders[0] for spot in spots if spot.folders}
    if len(spots) == 1 and not few:
        raise DataError(
            f"{root} holds one picture, {spots[0].file.relative_to(root)}; give a few of each class, in a folder of its own"
        )
    if not classes and not masked and not few:
        raise DataError(
            f"the {len(spots)} pictures in {root} stand in no folders of classes and have no masks, which makes one class; "
            "put those of each class in a folder of its own"
        )
    inner = {spot.folders[0] for spot in spots if len(spot.folders) > 1 and _splits_below(root, spot)}
    if len(inner) > 1:
        raise DataError(
            f"{root} holds {len(inner)} sets ({listed(sorted(inner))}), each with a split of its own; name one of them"
        )
    if few:
        return spots
    outside = [spot for spot in spots if not spot.folders] if classes else []
    if outside:
        said.append(told("Left out because they lie in no folder of a class", [spot.file.name for spot in outside]))
    return [spot for spot in spots if spot.folders or not classes]


def _splits_below(root: Path, spot: _Spot) -> bool:
    """Whether the part of a split lies between the first folder that means something and the next."""
    parts = spot.file.relative_to(root).parts[:-1]
    first, second = parts.index(spot.folders[0]), len(parts) - 1 - parts[::-1].index(spot.folders[1])
    return any(role(name).part for name in parts[first:second])


def _told_parts(spots: Sequence[_Spot]) -> str:
    names = sorted({spot.folders[0] for spot in spots if spot.folders})
    return (
        f"The {len(names)} folders ({listed(names)}) are taken for parts that were photographed: masks tell what is defective, "
        "and pictures of one part stay on one side of the split; state folders: class if they are classes."
    )


def _found(
    root: Path, spots: Sequence[_Spot], marks: Sequence[_Spot], said: list[str], *, parts: bool = False
) -> Iterator[Found]:
    by_place = _by_place(marks)
    alone = Counter(spot.stem for spot in spots)
    # Where a mask does not say of which part it is, and two parts have a picture for it, it is the test part's.
    judged = {(spot.folders, spot.stem) for spot in spots if spot.part == "holdout"}
    used: set[Path] = set()
    bare: list[str] = []
    for spot in spots:
        places = [(spot.part, spot.folders, spot.stem)]
        if spot.part == "holdout" or (spot.folders, spot.stem) not in judged:
            places.append((None, spot.folders, spot.stem))
        if alone[spot.stem] == 1:
            places += [(spot.part, (), spot.stem), (None, (), spot.stem)]
        files = next((by_place[place] for place in places if place in by_place), ())
        used.update(files)
        name = spot.file.relative_to(root).as_posix()
        origin = ", ".join(_relative(file, root) for file in files)
        outer = spot.folders[0] if spot.folders else None
        bare += [name] if not files and (parts or outer is None) else []
        yield Found(
            spot.file, name, None if parts else outer, MaskFiles(tuple(files), origin) if files else None,
            group=(outer if parts else None) or of_one_photo(spot.stem), split=spot.part,
        )  # fmt: skip
    if marks and bare:
        said.append(told("Taken for good parts, as masks tell what is defective and these have no file of a mask", bare))
    if idle := [_relative(spot.file, root) for spot in marks if spot.file not in used]:
        said.append(told("Masks that belong to no picture", idle))


def _by_place(marks: Sequence[_Spot]) -> dict[tuple[str | None, Parts, str], list[Path]]:
    """The masks for each place a picture can have: under their name, less its ending; and all in a folder named as one."""
    out: dict[tuple[str | None, Parts, str], list[Path]] = defaultdict(list)
    for spot in marks:
        out[spot.part, spot.folders, spot.stem].append(spot.file)
        if short := MASK_NAME.match(spot.stem):
            out[spot.part, spot.folders, short["stem"]].append(spot.file)
        if spot.folders:
            out[spot.part, spot.folders[:-1], spot.folders[-1]].append(spot.file)
    return out


def _relative(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
