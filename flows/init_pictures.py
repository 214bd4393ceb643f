"""What would a first plan for these pictures be?"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from configs.plan import ChooseSpec
from data.dataset import Dataset
from data.errors import DataError
from data.images import CLASS, Pictures, normal_class, pictures, schema
from flows.init import NOTE, asked_to_see, nothing_asked, scalar, schema_reference, sizes_for
from flows.init_choice import family_lines, first_choice
from flows.init_sources import as_named, plan_name
from flows.stages.read import notices_of
from flows.stages.shared import SPLIT

#: Pictures that the gate should judge: with fewer it can look for no kind of defect; and those that it should draw at most:
#: beyond ten for each that it judges they buy little.
JUDGED, DRAWN = 10, 3000


def pictures_plan(
    source: dict[str, Any],
    path: Path,
    *,
    target: str | None,
    stated: ChooseSpec,
    named: bool,
    lies: tuple[str, str] = ("", ""),
) -> tuple[Callable[[Path], str], str]:
    """The text of a plan for pictures (given where it will stand), and the plan's name.

    source: how to read them, as `recognise` found; target: the column of the classes, where an index has several;
    lies: the folder that is looked at, and what the plan is to call it.

    Raises DataError when they cannot be read, or have fewer than two classes."""
    if target is not None:
        source = source | {"class_column": target}
    options = {key: value for key, value in source.items() if key != "use"}
    table = importlib.import_module(f"data.sources.{source['use']}").read(**options)
    held = pictures(Dataset(table, schema(_levels(table))))
    if len(held.classes) < 2:
        raise DataError(
            f"{path}: all pictures are of class {held.classes[0]!r}; give at least two classes, good parts and a defect"
        )
    name = plan_name(path.resolve().name)
    source = as_named(source, *lies)
    return lambda where: _text(where, name, source, table, held, stated, named=named), name


def _levels(table: pa.Table) -> list[str]:
    names, counts = np.unique(table.column(CLASS).to_pylist(), return_counts=True)
    return [str(names[i]) for i in np.lexsort((names, -counts))]


def _text(
    path: Path, name: str, source: dict[str, Any], table: pa.Table, held: Pictures, stated: ChooseSpec, *, named: bool
) -> str:
    counts = {c: int((held.labels == k).sum()) for k, c in enumerate(held.classes)}
    balanced = len(set(counts.values())) > 1
    divided = _usable(table)
    judged = _judged(table, held, divided, balanced)
    sizes = sizes_for(counts, len(held), balanced, judged=judged, wanted=JUDGED, most=DRAWN)
    kept = 1 - sizes.reference - sizes.holdout
    data = Dataset(table, schema(_levels(table)))
    found = first_choice(data, counts, stated, modality="image", balanced=balanced, kept=kept) if named else None
    family = None if found is None else found.left[0].family
    normal = normal_class(held)
    shown = ", ".join(f"{c} {n:,}" for c, n in list(counts.items())[:8])
    lines = [
        f"# yaml-language-server: $schema={schema_reference(path)}",
        f"# counterpoise run {path}",
        f"# {len(held):,} pictures: {shown}. {_marks(held)} Keys not named here have defaults.",
        *(f"{NOTE}{said}" for said in [*notices_of(table), *_where_groups(held, path)]),
        *([f"{NOTE}{found.advice}"] if found is not None and not found.answers else []),
        *nothing_asked(sizes.detect, "pictures"),
        f"name: {name}",
        "seed: 0                 # all randomness comes from here",
        "data:",
        *(f"  {key}: {scalar(value)}" for key, value in (source | {"size": held.size}).items()),
        "  # fit: letterbox       # or crop, stretch: how a picture that is not square comes to size x size",
        "",
        "split:",
        *(_stated_split() if divided else _shares(sizes)),
        "",
        *family_lines(found, stated, pictures=True),
        *([f"  normal: {scalar(normal)}        # the class of good parts"] if normal and family in ON_NORMALS else []),
        "",
        "sample:",
        "  mix: balanced         # every class is filled up to the largest"
        if balanced
        else "  mix: natural          # as many as real ones",
        "  include_real: true",
        "",
        "gate:",
        f"  draws: {sizes.draws:<14} # pictures that the gate draws for each holdout picture it judges",
        *asked_to_see(sizes, "pictures"),
        "  # utility: full        # also: do the pictures help a detector, and at which ratio? (minutes)",
        "",
        "publish:",
        "  root: published       # a folder, or s3://bucket/prefix",
        "",
    ]
    return "\n".join(lines)


#: Families that paint on pictures of good parts.
ON_NORMALS = ("image.paste", "image.finetune", "image.procedural")


def _marks(held: Pictures) -> str:
    count = int(held.masks.any(axis=(1, 2)).sum())
    if not count and bool(held.masked.any()):
        return "All masks are empty."
    return f"{count:,} have marks." if count else "None has a mask or box."


def _where_groups(held: Pictures, plan: Path) -> list[str]:
    """A notice names the first groups alone."""
    if not any(held.groups):
        return []
    return [f"all groups are listed by `counterpoise plan {plan} --json FILE`, and in the profile.json of each run."]


def _judged(table: pa.Table, held: Pictures, stated: bool, balanced: bool) -> int | None:
    """Holdout pictures of the classes that are filled up, where the source states the division."""
    if not stated:
        return None
    side = np.array([part == "holdout" for part in table.column(SPLIT).to_pylist()])
    counts = np.bincount(held.labels)
    return int((side & (counts[held.labels] < counts.max())).sum()) if balanced else int(side.sum())


def _usable(table: pa.Table) -> bool:
    """Whether the source's own division can be taken: every class has pictures to learn from and others to judge by."""
    if SPLIT not in table.column_names:
        return False
    pairs = set(zip(table.column(CLASS).to_pylist(), table.column(SPLIT).to_pylist(), strict=True))
    return all((level, part) in pairs for level in _levels(table) for part in ("train", "holdout"))


def _stated_split() -> list[str]:
    return ["  from_source: true     # the source's own train and test pictures; false cuts by shares"]


def _shares(sizes: Any) -> list[str]:
    why = "          # 0: so few pictures that the training ones fix the gate's geometry" if not sizes.reference else ""
    return [f"  reference: {sizes.reference:g}{why}", f"  holdout: {sizes.holdout:g}          # counted once, by the gate"]
