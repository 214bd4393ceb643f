"""Can every synthetic picture be used as it is: does it open, is it of the right size, do its marks fit it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.errors import DataError
from data.images import CLASS, GROUP, IMAGE, MARKED, MASK, OBJECTS, SOURCE, Pictures, decode
from validators.base import Culprit, Evidence, Finding, Intent
from validators.stats import clopper_pearson

Array = np.ndarray[Any, Any]

CHECK = "schema"
#: Where `prepare_pictures` leaves what was found.
MEMO = "looks"
#: A picture whose gray values deviate by less than this, in levels, shows nothing.
BLANK = 1.0
#: Pixels by which a box may miss the marks it stands for.
NEAR = 1
#: Share of a class's real pictures that must be marked (or unmarked) for it to be a rule.
RULE_SHARE = 0.95
#: What each of the two rules that real pictures may break has of the check's alpha; `spared` says where the rest goes.
RULE_ALPHA = 0.05
ROWS, SHOWN = 256, 5

#: Rule -> what a picture that breaks it is.
RULES: Mapping[str, str] = {
    "opens": "pictures that cannot be opened",
    "size": "pictures of another size",
    "mode": "pictures of another mode (gray or colour)",
    "class": "pictures of a class that is none",
    "mask size": "masks that have not the size of their picture, or cannot be opened",
    "mask values": "masks with values besides 0 and 255",
    "boxes": "pictures whose boxes are not what their mask marks",
    "blank": "pictures that show nothing, one even gray",
    "marked": "pictures of a defect without any mark",
    "unmarked": "pictures of good parts with marks",
}


@dataclass(frozen=True)
class Looked:
    """Synthetic pictures as they were found. pictures: those that can be judged; places: (k,) their positions in the set;
    rows: how many were looked at; broken: rule -> positions of the pictures that break it; real: rule -> how many real pictures
    break it, and of how many, where some may."""

    pictures: Pictures
    places: Array
    rows: int
    broken: Mapping[str, tuple[int, ...]]
    real: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What a synthetic picture must be like. size, channels: of the training pictures; classes: their names; marked,
    unmarked: classes whose real pictures are marked, and those whose real pictures are known to be unmarked; real: rule -> how
    many real pictures break it, and of how many."""

    size: int
    channels: int
    classes: tuple[str, ...]
    marked: frozenset[str]
    unmarked: frozenset[str]
    real: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, real: Sequence[Pictures]) -> Wanted:
        """What the real pictures are like; the first side settles size and mode."""
        first = real[0]
        marked, unmarked, bare, seen = set(), set(), 0, 0
        for k, name in enumerate(first.classes):
            mine = np.concatenate([side.masks[side.labels == k].any(axis=(1, 2)) for side in real])
            known = np.concatenate([side.masked[side.labels == k] for side in real])
            if len(mine) and mine.mean() >= RULE_SHARE:
                marked.add(name)
                bare, seen = bare + int((~mine).sum()), seen + len(mine)
            if known.any() and not mine.any():
                unmarked.add(name)
        blank = sum(int(_blank(side.pixels).sum()) for side in real), sum(len(side) for side in real)
        broken = {"blank": blank, "marked": (bare, seen)}
        return cls(first.size, first.channels, first.classes, frozenset(marked), frozenset(unmarked), broken)


def _blank(pixels: Array) -> Array:
    return np.asarray(pixels.reshape(len(pixels), -1).std(axis=1) < BLANK)


@dataclass
class _Found:
    """What is gathered picture by picture."""

    pixels: list[Array] = field(default_factory=list)
    masks: list[Array | None] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)
    sources: list[str | None] = field(default_factory=list)
    broken: dict[str, list[int]] = field(default_factory=lambda: {rule: [] for rule in RULES})


def look(rows: Dataset, wanted: Wanted) -> Looked:
    """Every synthetic picture, opened and held against what is wanted.

    Raises DataError when there is no picture, or none that could be judged at all."""
    found, place = _Found(), 0
    for batch in rows.batches(ROWS):
        for row in _rows(batch):
            _judge(row, place, wanted, found)
            place += 1
    if not place:
        raise DataError("there are no synthetic pictures to judge")
    if not found.places:
        rule = max(found.broken, key=lambda name: len(found.broken[name]))
        raise DataError(f"none of {place} synthetic pictures can be judged: all are {RULES[rule]}")
    masks = np.zeros((len(found.places), wanted.size, wanted.size), dtype=bool)
    for i, mask in enumerate(found.masks):
        if mask is not None:
            masks[i] = mask
    held = Pictures(
        np.stack(found.pixels), masks, np.array([mask is not None for mask in found.masks]),
        np.array(found.labels, dtype=np.int64), wanted.classes,
        groups=tuple(found.groups), sources=tuple(found.sources),
    )  # fmt: skip
    broken = {rule: tuple(places) for rule, places in found.broken.items()}
    return Looked(held, np.array(found.places, dtype=np.int64), place, broken, wanted.real)


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    names = [name for name in (IMAGE, MASK, OBJECTS, CLASS, GROUP, SOURCE) if name in batch.schema.names]
    rows: list[dict[str, Any]] = batch.select(names).to_pylist()
    return rows


def _judge(row: Mapping[str, Any], place: int, wanted: Wanted, found: _Found) -> None:
    """Note what the picture breaks; keep it where it can be judged."""
    pixels = _opened(row.get(IMAGE))
    rule = _unfit(pixels, row.get(CLASS), wanted)
    if pixels is None or rule is not None:
        found.broken[rule or "opens"].append(place)
        return
    name = str(row[CLASS])
    mask = _mask(row, place, wanted, found)
    if row.get(OBJECTS) is not None and not _boxes_fit(row[OBJECTS], mask, name, wanted.size):
        found.broken["boxes"].append(place)
    if _blank(pixels[None])[0]:
        found.broken["blank"].append(place)
    marked = mask is not None and bool(mask.any())
    if name in wanted.marked and not marked:
        found.broken["marked"].append(place)
    if name in wanted.unmarked and marked:
        found.broken["unmarked"].append(place)
    found.pixels.append(pixels)
    found.masks.append(mask)
    found.labels.append(wanted.classes.index(name))
    found.places.append(place)
    found.groups.append(row.get(GROUP))
    found.sources.append(row.get(SOURCE))


def _opened(cell: Mapping[str, Any] | None) -> Array | None:
    if cell is None or cell.get("bytes") is None:
        return None
    try:
        return decode(cell["bytes"])
    except DataError:
        return None


def _unfit(pixels: Array | None, name: object, wanted: Wanted) -> str | None:
    """The first rule for whose breach a picture cannot be judged."""
    if pixels is None:
        return "opens"
    if pixels.shape[:2] != (wanted.size, wanted.size):
        return "size"
    if pixels.shape[2] != wanted.channels:
        return "mode"
    return None if name is not None and str(name) in wanted.classes else "class"


def _mask(row: Mapping[str, Any], place: int, wanted: Wanted, found: _Found) -> Array | None:
    """The mask of a picture, or its boxes where it has none; None where nothing is known or it cannot be used."""
    cell, objects = row.get(MASK), row.get(OBJECTS)
    if cell is not None and cell.get("bytes") is not None:
        values = _opened(cell)
        if values is None or values.shape[:2] != (wanted.size, wanted.size):
            found.broken["mask size"].append(place)
            return None
        if not np.isin(values, (0, 255)).all():
            found.broken["mask values"].append(place)
        return np.asarray(values[:, :, 0] >= MARKED)
    return None if objects is None else _rectangles(objects, wanted.size)


def _rectangles(objects: Mapping[str, Any], size: int) -> Array:
    out = np.zeros((size, size), dtype=bool)
    for x, y, width, height in objects["bbox"] or ():
        out[max(int(y), 0) : int(np.ceil(y + height)), max(int(x), 0) : int(np.ceil(x + width))] = True
    return out


def _boxes_fit(objects: Mapping[str, Any], mask: Array | None, name: str, size: int) -> bool:
    """Whether each box lies on the picture, is of its class and ends where marks end, and no mark is in none of them."""
    boxes, kinds = objects["bbox"] or [], objects["category"] or []
    if any(str(kind) != name for kind in kinds) or len(kinds) != len(boxes):
        return False
    for x, y, width, height in boxes:
        inside = min(x, y) >= -NEAR and max(x + width, y + height) <= size + NEAR and min(width, height) > 0
        if not inside or (mask is not None and not _tight(mask, x, y, width, height)):
            return False
    return mask is None or not (mask & ~_rectangles(objects, size)).any()


def _tight(mask: Array, x: float, y: float, width: float, height: float) -> bool:
    top, left, bottom, right = max(int(y), 0), max(int(x), 0), int(np.ceil(y + height)), int(np.ceil(x + width))
    part = mask[top:bottom, left:right]
    edges = (part[: NEAR + 1], part[-NEAR - 1 :], part[:, : NEAR + 1], part[:, -NEAR - 1 :])
    return bool(all(edge.any() for edge in edges))


@dataclass(frozen=True)
class LooksCheck:
    """Every synthetic picture opens, has the size and mode of the training pictures and a known class; its mask is of its
    size and of black and white alone, its boxes are what the mask marks; it is not blank; and a defect whose real pictures
    are marked is marked, good parts are not.

    Each rule is hard but two: blank pictures, and unmarked ones of a class nearly all of whose real pictures are marked, may
    be as many as real ones explain (Clopper-Pearson, at a small part of the check's alpha)."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises KeyError for evidence that `prepare_pictures` did not make."""
        looked: Looked = evidence.memo[MEMO]
        alpha = evidence.intent.level(CHECK) * RULE_ALPHA
        allowed = dict.fromkeys(RULES, 0)
        allowed |= {rule: _allowed(*known, looked.rows, alpha) for rule, known in looked.real.items()}
        failed = [rule for rule, places in looked.broken.items() if len(places) > allowed[rule]]
        failed.sort(key=lambda rule: -len(looked.broken[rule]))
        return Finding(
            CHECK,
            "BLOCK" if failed else "PASS",
            value=float(len(failed)),
            limit=0.0,
            reference=0.0,
            summary=_summary(looked, failed),
            culprits=tuple(_culprit(looked, rule, allowed[rule]) for rule in failed),
            details={
                "expectations": len(RULES),
                "failed": [
                    {"column": "", "rule": RULES[rule], "broken": len(looked.broken[rule]), "rows": looked.rows,
                     "allowed": allowed[rule]} for rule in failed
                ],
                **({"advice": ADVICE} if failed else {}),
            },
        )  # fmt: skip


ADVICE = "correct what the generator writes: the summary names the pictures; then draw and judge anew"


def spared(intent: Intent) -> float:
    """What the rules leave of this check's alpha, for each of the two tests that few pictures have besides: whether a class
    collapsed, and whether it stands apart from all real pictures."""
    return intent.level(CHECK) * (1 - 2 * RULE_ALPHA) / 2


def _allowed(broken: int, real: int, rows: int, alpha: float) -> int:
    """How many of `rows` synthetic pictures may break a rule that `broken` of `real` ones break."""
    return int(np.ceil(clopper_pearson(broken, real, 2 * alpha)[1] * rows)) if broken else 0


def _summary(looked: Looked, failed: Sequence[str]) -> str:
    if not failed:
        return f"every one of {looked.rows} pictures opens, has the right size and mode, and marks that fit it"
    places = looked.broken[failed[0]]
    named = ", ".join(str(place) for place in places[:SHOWN]) + (" and others" if len(places) > SHOWN else "")
    more = f", and {len(failed) - 1} more rules are broken" if len(failed) > 1 else ""
    return f"{len(places)} of {looked.rows} are {RULES[failed[0]]} (numbers {named}){more}"


def _culprit(looked: Looked, rule: str, allowed: int) -> Culprit:
    return Culprit(cell=RULES[rule], expected=allowed, observed=len(looked.broken[rule]))
