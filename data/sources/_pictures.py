"""How do the pictures that a source names become one table, with classes, groups and a split; and who reads a path?"""

from __future__ import annotations

import importlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data import images
from data.errors import DataError
from data.images import CLASS, GROUP, IMAGE, MASK, OBJECTS, SEED, SOURCE
from data.near import groups_of
from data.sources._bring import SLIM, Brought, bring, mask_png, measured
from data.sources._found import DEFECT, NORMAL, Found, Rules, in_order, told

#: Where a table carries what its reader has to tell, as JSON; and the column of the source's own division.
NOTICES = b"counterpoise.notices"
SPLIT = "split"
#: In the order in which they are asked: an index, or annotations, say more than the folders they lie in.
READERS = ("image_index", "coco", "yolo", "voc", "image_parquet", "image_folder")


def recognise(path: Path) -> dict[str, Any] | None:
    """Which source reads the pictures at a path, as `data` of a plan ({"use": ..., "path": ...}); None when there are none."""
    for use in READERS:
        found: dict[str, Any] | None = importlib.import_module(f"data.sources.{use}").recognises(path)
        if found is not None:
            return {"use": use, **found}
    return None


def table_of(found: Iterable[Found], rules: Rules, notices: Sequence[str] = ()) -> pa.Table:
    """The pictures as a table of the columns of `data.images`, with `split` where the source divides them.

    found: gone through twice, so that bytes need not be held. Raises DataError, one sentence, for no picture, one picture,
    one class, a mask of another size than its picture, and with `strict` for anything that would else be a notice."""
    _need_pillow()
    said = list(notices)
    size, top = measured(found, rules, said)
    brought: list[Brought] = []
    damaged: list[str] = []
    for one in in_order(lambda each: bring(each, rules, size, top), found):
        if isinstance(one, Brought):
            brought.append(one)
        elif rules.strict:
            raise DataError(f"{rules.origin}: {one}; mend or remove it, or leave strict out of the plan to skip it")
        else:
            damaged.append(one)
    if not brought:
        first = f"; the first: {damaged[0]}" if damaged else ""
        raise DataError(f"{rules.origin} holds no picture that can be read{first}; name a folder that holds some")
    if damaged:
        said.append(told("Left out because they cannot be read", damaged))
    return _table(_judged(brought, rules, said), rules, size, said)


def _need_pillow() -> None:
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise DataError("pictures are read with Pillow, which is not installed; install counterpoise[image]") from None


def _judged(brought: list[Brought], rules: Rules, said: list[str]) -> list[Brought]:
    """The pictures with their classes, and with marks that say nothing where good parts have none."""
    normal = rules.normal or images.good(sorted({one.found.level for one in brought if one.found.level})) or NORMAL
    named = []
    for one in brought:
        level = one.found.level or (DEFECT if one.marked else normal)
        named.append(replace(one, found=replace(one.found, level=level)))
    levels = Counter(str(one.found.level) for one in named)
    if len(named) == 1 and not rules.few:
        raise DataError(f"{rules.origin} holds one picture, {named[0].found.name}; at least a few of each class are needed")
    if len(levels) == 1 and not rules.few:
        raise DataError(f"all {len(named)} pictures in {rules.origin} are of one class, {next(iter(levels))}; two are needed")
    if rules.normal is not None and rules.normal not in levels:
        raise DataError(
            f"normal: there is no class {rules.normal!r} in {rules.origin}; the classes are {', '.join(sorted(levels))}"
        )
    _tell(named, rules, normal, said)
    masked = any(one.mask is not None for one in named)
    if not any(one.marked for one in named):
        return named
    return [_unmarked(one, masked) if one.found.level == normal else one for one in named]


def _unmarked(one: Brought, masked: bool) -> Brought:
    if one.mask is not None or one.objects is not None:
        return one
    return replace(one, mask=one.mask if not masked else b"", objects={"bbox": [], "category": []})


def _tell(brought: Sequence[Brought], rules: Rules, normal: str, said: list[str]) -> None:
    """Say, or with `strict` refuse, what is odd about the marks and sizes."""
    with_marks = {one.found.level for one in brought if one.marked} - {normal}
    of_marked = [one for one in brought if one.found.level in with_marks and not one.marked]
    odd = [
        ("No mask where others of the class have one", [o for o in of_marked if o.mask is None and o.objects is None]),
        ("Marks lost to the crop, which letterbox keeps", [o for o in of_marked if o.lost]),
        (
            "Empty mask where others of the class are marked",
            [o for o in of_marked if not o.lost and (o.mask is not None or o.objects is not None)],
        ),
        (f"Of class {normal} and yet marked", [o for o in brought if o.marked and o.found.level == normal]),
        ("All masks are empty, so that nothing is marked", _blank(brought, normal)),
        (f"So long that fewer than {SLIM} pixels are left across, which fit: crop mends", [o for o in brought if o.slim]),
    ]
    if rules.size is not None or not rules.strict:
        odd.append(("Enlarged, being smaller than what all are brought to", [one for one in brought if one.enlarged]))
    for what, which in odd:
        if which and rules.strict:
            shown = f"{rules.origin}: {what}: {len(which)}, first {which[0].found.name}"
            raise DataError(f"{shown}; mend them, or leave strict out of the plan")
        if which:
            said.append(told(what, [one.found.name for one in which]))


def _blank(brought: Sequence[Brought], normal: str) -> list[Brought]:
    """The pictures of defects with masks, when no picture at all is marked."""
    if any(one.marked for one in brought):
        return []
    return [one for one in brought if one.mask is not None and one.found.level != normal]


def _table(brought: list[Brought], rules: Rules, size: int, said: list[str]) -> pa.Table:
    found = [one.found for one in brought]
    grouped = groups_of(
        np.stack([one.thumb for one in brought]), [one.group for one in found], keys=[one.key for one in brought],
        alike=rules.near_duplicates, names=[one.name for one in found],
    )  # fmt: skip
    said += grouped.notices
    _tell_twins(brought, said)
    names = _file_names([one.name for one in found])
    gray = rules.mode == "gray" or (rules.mode == "auto" and all(one.gray for one in brought))
    empty = mask_png(np.zeros((size, size), dtype=bool))
    masks = [one.mask or (None if one.mask is None else empty) for one in brought]
    columns: dict[str, pa.Array] = {
        IMAGE: pa.array(
            [{"bytes": _picture(one, gray), "path": f"{name}.png"} for one, name in zip(brought, names, strict=True)],
            images.PICTURE,
        ),
        MASK: pa.array(
            [
                None if mask is None else {"bytes": mask, "path": f"{name}_mask.png"}
                for mask, name in zip(masks, names, strict=True)
            ],
            images.PICTURE,
        ),
        OBJECTS: pa.array([one.objects for one in brought], images.BOXES),
        CLASS: pa.array([one.level for one in found], pa.string()),
        GROUP: pa.array(grouped.groups, pa.string()),
        SOURCE: pa.array([one.name for one in found], pa.string()),
        SEED: pa.array([None] * len(found), pa.int64()),
    }
    if len({one.split for one in found}) > 1:
        columns[SPLIT] = pa.array([one.split for one in found], pa.string())
        _tell_split(found, grouped.groups, said)
    table = pa.table(columns)
    return table.replace_schema_metadata({NOTICES: json.dumps(said)}) if said else table


def _picture(one: Brought, gray: bool) -> bytes:
    if one.gray == gray:
        return one.picture
    return images.encode(np.repeat(images.decode(one.picture), 3, axis=2))


def _file_names(names: Sequence[str]) -> list[str]:
    """A flat file name without ending for each, no two alike whatever the case."""
    taken: Counter[str] = Counter()
    out = []
    for name in names:
        flat = "_".join(part for part in Path(name).with_suffix("").parts if part not in ("/", "..", "."))
        taken[flat.lower()] += 1
        again = taken[flat.lower()]
        out.append(flat if again == 1 else f"{flat}-{again}")
    return out


def _tell_twins(brought: Sequence[Brought], said: list[str]) -> None:
    first: dict[str, Found] = {}
    pairs = []
    for one in brought:
        other = first.setdefault(one.key, one.found)
        if other.level != one.found.level:
            pairs.append(f"{other.name} ({other.level}) and {one.found.name} ({one.found.level})")
    if pairs:
        said.append(told("Identical and yet of different classes", pairs))


def _tell_split(found: Sequence[Found], groups: Sequence[str | None], said: list[str]) -> None:
    parts: dict[str, set[str | None]] = {}
    for one, group in zip(found, groups, strict=True):
        if group is not None:
            parts.setdefault(group, set()).add(one.split)
    across = {group for group, some in parts.items() if "train" in some and "holdout" in some}
    if across:
        count = sum(group in across for group in groups)
        said.append(
            f"{count} pictures are in groups that the source's own split cuts, of train on one side and test on the other."
        )
    of_train = {one.level for one in found if one.split == "train"}
    if missing := sorted({str(one.level) for one in found} - {str(level) for level in of_train}):
        said.append(f"The source's own split has no train pictures of {', '.join(missing)}.")
